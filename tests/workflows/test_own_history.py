"""A user's history takes the place of the packaged one, and of its labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.domain.failures import InputError
from engine.fund.template import write_template
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.market.packaged import packaged_factors, packaged_levels
from workflows.funds import Opened, data_quality, open_fund
from workflows.markets import OWN_HISTORY


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    write_template(folder)
    return folder


def write_history(folder: Path, factor: str, until: str = "2022-12-28") -> Path:
    levels = packaged_levels()
    path = folder / "history.csv"
    rows = zip(levels.dates[-800:].astype(str), levels.column(factor)[-800:], strict=True)
    observed = [f"{day},{level}\n" for day, level in rows if level == level and day <= until]
    path.write_text(f"date,{factor}\n" + "".join(observed))
    return path


@pytest.fixture
def wti_history(tmp_path: Path) -> Path:
    return write_history(tmp_path, "WTI")


def test_levels_the_user_brings_are_not_called_synthetic(pack: Path, wti_history: Path) -> None:
    before = open_fund(pack)
    after = open_fund(pack, wti_history)
    assert "WTI" in data_quality(before)["synthetic_factors"]
    quality = data_quality(after)
    assert "WTI" not in quality["synthetic_factors"]
    assert "WTI" not in quality["substituted_factors"]
    assert "BRENT" in quality["synthetic_factors"]
    assert "BRENT" in quality["substituted_factors"]
    factors = after.market.factors
    assert factors.source[list(factors.factor_id).index("WTI")] == OWN_HISTORY


def test_the_pack_s_own_label_stays(pack: Path, wti_history: Path) -> None:
    packaged = packaged_factors()
    row = list(packaged.factor_id).index("WTI")
    names = list(packaged.__dataclass_fields__)
    cells = {name: str(getattr(packaged, name)[row]) for name in names}
    cells |= {"synthetic": "true", "source": "our own model"}
    (pack / "factors.csv").write_text(",".join(names) + "\n" + ",".join(cells.values()) + "\n")
    text = (pack / "fund.toml").read_text().replace("# factors =", "factors =")
    (pack / "fund.toml").write_text(text)
    opened = open_fund(pack, wti_history)
    assert "WTI" in data_quality(opened)["synthetic_factors"]
    factors = opened.market.factors
    assert factors.source[list(factors.factor_id).index("WTI")] == "our own model"


def margins(opened: Opened) -> dict[str, float]:
    result = calculate_margin_requirements(opened.book, opened.market, MarginConfig())
    return {row["agreement_id"]: row["im_usd"] for row in result.to_dict()["agreements"]}


def test_a_factor_that_falls_out_leaves_every_other_position_on_its_own_factor(
    pack: Path, tmp_path: Path
) -> None:
    # The market drops RUT, which stands third, so numbers the factors behind it anew.
    history = write_history(tmp_path, "RUT", until="2022-11-01")
    whole, opened = open_fund(pack), open_fund(pack, history)
    assert len(opened.market.factors) == len(whole.market.factors) - 1
    names = opened.market.factors.factor_id
    for instruments, facts in (
        (whole.book.instruments, whole.market.factors.factor_id),
        (opened.book.instruments, names),
    ):
        assert list(facts[instruments.factor]) == list(instruments.factor_id)
    assert margins(opened) == pytest.approx(margins(whole), rel=1e-12)


def test_a_position_without_its_factor_is_left_out_and_named(pack: Path, tmp_path: Path) -> None:
    opened = open_fund(pack, write_history(tmp_path, "WTI", until="2022-11-01"))
    assert [failure.item for failure in opened.failures] == ["WTI"]
    instruments = opened.book.instruments
    assert list(instruments.instrument_id[instruments.factor < 0]) == ["WTI-FUT"]
    result = calculate_margin_requirements(opened.book, opened.market, MarginConfig())
    assert "WTI-FUT" in [failure.item for failure in result.failures]


def test_a_packaged_factor_nobody_holds_is_no_failure(pack: Path) -> None:
    text = (pack / "fund.toml").read_text().replace("2022-12-28", "2005-06-30")
    (pack / "fund.toml").write_text(text)
    for name in ("instruments.csv", "settlements.csv"):
        table = (pack / name).read_text()
        (pack / name).write_text(table.replace("2022-", "2005-").replace("2023-", "2006-"))
    opened = open_fund(pack)
    assert not opened.failures
    unused = data_quality(opened)["unused_factors_without_levels"]
    assert "EUA" in unused
    assert "SPX" not in unused


def test_cash_without_a_rate_stops_the_run(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="JPY, a currency of cash, has no rate to USD") as caught:
        open_fund(pack, write_history(tmp_path, "USDJPY", until="2022-11-01"))
    assert "the last level of 'USDJPY' is of 2022-11-01" in str(caught.value)
