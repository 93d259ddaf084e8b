from __future__ import annotations

import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.domain.failures import FailureReason, InputError
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions
from engine.margin.flat_rate import FlatRateConfig, prepare, share_of_notional
from engine.margin.flat_rate_rules import (
    ALWAYS,
    RATES_FILE,
    FlatRate,
    find_rate,
    packaged_rates,
    read_flat_rates,
)
from engine.margin.notional import notional_per_unit
from tests.support.tiny_fund import FundBuilder, tiny_market

HEADER = "venue,asset_class,margin_group,netting,rate,effective,mark,source,note\n"


@pytest.fixture(scope="module")
def market():
    return tiny_market(300)


def family(builder, market, own=None):
    exposures = net_positions(builder.build(market), market)
    rows = np.arange(len(builder.agreements))
    return prepare(exposures, rows, MarginConfig(), own or FlatRateConfig())


def margin_of(builder, market, own=None):
    return family(builder, market, own).margin(np.ones(len(builder.agreements)))


# --- rulebook ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("venue", "asset_class", "group", "as_of", "rate", "in_force"),
    [
        ("HKSCC", "equity", "", date(2026, 11, 20), 0.12, True),
        ("HKSCC", "equity", "2", date(2026, 11, 20), 0.30, True),
        ("HKSCC", "equity", "3", date(2026, 11, 20), 0.55, True),
        ("HKSCC", "equity", "3", date(2025, 10, 27), 0.55, True),
        ("HKSCC", "equity", "3", date(2025, 10, 26), 0.55, False),
        ("CFFEX", "equity", "", date(2026, 11, 20), 0.12, True),
        ("CFFEX", "rates", "", date(2026, 11, 20), 0.02, True),
        ("SHFE", "commodity", "", date(2026, 11, 20), 0.10, True),
        ("DCE", "commodity", "", date(2026, 11, 20), 0.12, True),
        ("CZCE", "commodity", "", date(2026, 11, 20), 0.09, True),
        ("SHFE", "equity", "", date(2026, 11, 20), 0.15, True),
        ("", "equity", "", date(2026, 11, 20), 0.15, True),
        ("", "volatility", "", date(2026, 11, 20), 0.15, True),
        ("", "commodity", "", date(2026, 11, 20), 0.15, True),
        ("", "fx", "", date(2026, 11, 20), 0.06, True),
        ("", "rates", "", date(2026, 11, 20), 0.04, True),
        ("", "credit", "", date(2026, 11, 20), 0.10, True),
    ],
)
def test_packaged_rates(venue, asset_class, group, as_of, rate, in_force):
    found, known = find_rate(packaged_rates()[1], venue, asset_class, group, as_of)
    assert found is not None
    assert (found.rate, known) == (rate, in_force)
    assert found.mark == ("verified" if found.venue == "HKSCC" else "indicative")
    assert found.source


def test_a_group_nobody_knows_has_no_rate():
    assert find_rate(packaged_rates()[1], "HKSCC", "equity", "9", date(2026, 1, 1)) == (None, False)


def test_the_latest_rate_in_force_is_taken_and_the_first_before_all():
    early = FlatRate(asset_class="fx", rate=0.1, effective=date(2020, 1, 1))
    late = FlatRate(asset_class="fx", rate=0.2, effective=date(2021, 1, 1))
    for rates in ((early, late), (late, early)):
        assert find_rate(rates, "X", "fx", "", date(2021, 1, 1)) == (late, True)
        assert find_rate(rates, "X", "fx", "", date(2020, 12, 31)) == (early, True)
        assert find_rate(rates, "X", "fx", "", date(2019, 12, 31)) == (early, False)


def test_the_file_is_read_in_order_with_its_version(tmp_path):
    path = tmp_path / "rates.csv"
    path.write_text(f"# version: 1.2 | x\n{HEADER},fx,,net,0.05,,indicative,s,n\n")
    version, rates = read_flat_rates(path)
    assert version == "1.2"
    assert rates == (
        FlatRate(asset_class="fx", netting="net", rate=0.05, mark="indicative", source="s",
                 note="n"),
    )  # fmt: skip
    assert rates[0].effective == ALWAYS == date(1900, 1, 1)
    assert read_flat_rates(RATES_FILE) == packaged_rates()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line must be"),
        (HEADER, "first line must be"),
        ("# version: 1\n" + HEADER + "\n,fx,,net,much,,indicative,s,n\n", "rates.csv line 3"),
        ("# version: 1\n" + HEADER + ",fx,,both,0.1,,indicative,s,n\n", "netting"),
        ("# version: 1\n" + HEADER + ",fx,,net,-0.1,,indicative,s,n\n", "greater than or equal"),
        ("# version: 1\n" + HEADER + ",fx,,net,0.1,,sure,s,n\n", "mark"),
        ("# version: 1\n" + HEADER + ",fx,,net,0.1,,user,s,n,more\n", "line 3"),
        ("# version: 1\n" + HEADER + 2 * ",fx,,net,0.1,,user,s,n\n", "line 4: .* is repeated"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path, text, message):
    path = tmp_path / "rates.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_flat_rates(path)


def test_a_user_rate_says_so():
    assert FlatRate(asset_class="fx", rate=0.1).mark == "user"
    with pytest.raises(ValidationError):
        FlatRate(asset_class="fx", rate=10.1)


# --- notional ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "factor", "terms", "notional"),
    [
        ("future", "IDX", {"multiplier": 50.0}, 200_000.0),
        ("equity", "STK", {}, 100.0),
        ("rate_future", "UST", {"multiplier": 2500.0}, 250_000.0),
        ("swap", "UST", {"multiplier": 1e6, "fixed_rate": 3.5, "tenor_years": 10.0}, 1e6),
        ("bond", "UST", {"multiplier": 1e6, "fixed_rate": 3.5, "tenor_years": 10.0}, 1e6),
        ("fx_forward", "EURUSD", {"strike": 1.05, "expiry": "2023-03-15"}, 1.06),
        ("trs", "IDX", {"multiplier": 2.0, "strike": 3900.0}, 8_000.0),
        (
            "option", "IDX",
            {"multiplier": 50.0, "strike": 3900.0, "right": "P", "vol": 0.2,
             "expiry": "2023-03-17"},
            200_000.0,
        ),
    ],
)  # fmt: skip
def test_notional_by_kind(market, kind, factor, terms, notional):
    builder = FundBuilder().instrument("X", kind, factor, **terms)
    book = builder.agreement("A").position("X", "A", "M1", 1.0).build(market)
    assert notional_per_unit(book.instruments, market).tolist() == [pytest.approx(notional)]


def test_a_negative_level_has_a_positive_notional(market):
    level = market.level.copy()
    level[3] = -37.0
    from dataclasses import replace

    low = replace(market, level=level)
    builder = FundBuilder().instrument("CL", "future", "OIL", multiplier=1000.0).agreement("A")
    book = builder.position("CL", "A", "M1", -1.0).build(low)
    assert notional_per_unit(book.instruments, low).tolist() == [37_000.0]


# --- margin --------------------------------------------------------------------------------------


def test_worked_numbers_of_gross_and_net():
    notional, factor = np.array([[100.0, -40.0]]), np.array([7, 7])
    rate = np.array([0.1, 0.1])
    for net, want in ((False, 14.0), (True, 6.0)):
        margin, shares = share_of_notional(notional, factor, rate, np.array([net, net]))
        assert margin == pytest.approx(want) and shares == pytest.approx([want])


def test_long_and_short_of_one_instrument_are_set_off_even_gross():
    notional = np.array([[100.0], [-40.0]])
    margin, shares = share_of_notional(notional, np.zeros(1), np.array([0.1]), np.array([False]))
    assert margin == pytest.approx(6.0)
    assert shares == pytest.approx([10.0, -4.0])


def test_factors_are_not_set_off_against_each_other():
    notional, rate = np.array([[100.0, -40.0]]), np.array([0.1, 0.2])
    net = np.array([True, True])
    margin, _ = share_of_notional(notional, np.array([1, 2]), rate, net)
    assert margin == pytest.approx(18.0)


def test_worked_number_of_the_family_and_its_basis(market):
    builder = FundBuilder().instrument("FUT", "future", "IDX", multiplier=50.0)
    builder.agreement("A", model="flat", venue="").position("FUT", "A", "M1", 10.0)
    prepared = family(builder, market)
    got = prepared.margin(np.ones(1))
    assert got.im.tolist() == [pytest.approx(300_000.0)]
    assert got.pair_im.tolist() == [pytest.approx(300_000.0)]
    assert prepared.failures == ()
    assert got.basis["A"] == {
        "rulebook": f"flat_rates:{packaged_rates()[0]}",
        "mark": "indicative",
        "rates": [
            {"asset_class": "equity", "margin_group": "", "venue": "", "netting": "gross",
             "rate": 0.15, "mark": "indicative", "source": "BCBS-IOSCO d317 and d475, Appendix A"}
        ],
    }  # fmt: skip
    assert got.components == {}


def test_margin_does_not_follow_volatility(market):
    builder = FundBuilder().instrument("EQ", "equity", "STK")
    builder.agreement("A", model="flat", venue="CFFEX").position("EQ", "A", "M1", -5.0)
    prepared = family(builder, market)
    assert prepared.margin(np.full(1, 10.0)).im.tolist() == [pytest.approx(60.0)]


def test_groups_venues_and_netting_choose_the_rate(market):
    builder = FundBuilder().instrument("EQ", "equity", "STK").instrument("FUT", "future", "STK")
    builder.instrument("CL", "future", "OIL", multiplier=1000.0)
    for name, venue in (("H", "HKSCC"), ("C", "CFFEX")):
        builder.agreement(name, model="flat", venue=venue)
        builder.position("EQ", name, "M1", 30.0).position("FUT", name, "M2", -10.0)
    builder.agreement("S", model="flat", venue="SHFE").position("CL", "S", "M1", 1.0)
    plain = margin_of(builder, market)
    assert plain.im == pytest.approx([0.12 * 2_000.0, 0.12 * 4_000.0, 0.10 * 80_000.0])
    assert plain.pair_im[:4] == pytest.approx([360.0, -120.0, 360.0, 120.0])
    assert plain.basis["H"]["mark"] == "verified"
    own = FlatRateConfig(
        margin_groups={"STK": "2"}, rates=(FlatRate(venue="CFFEX", asset_class="equity",
                                                    margin_group="2", rate=0.2),),
    )  # fmt: skip
    grouped = margin_of(builder, market, own)
    assert grouped.im[:2] == pytest.approx([0.30 * 2_000.0, 0.20 * 4_000.0])
    assert grouped.basis["C"]["mark"] == "user"


def test_a_user_rate_replaces_that_of_the_rulebook(market):
    builder = FundBuilder().instrument("EQ", "equity", "STK").instrument("FWD", "fx_forward",
        "EURUSD", strike=1.05, expiry="2023-03-15")  # fmt: skip
    builder.agreement("A", model="flat", venue="HKSCC").agreement("B", model="flat", venue="X")
    for name in "AB":
        builder.position("EQ", name, "M1", 10.0)
    builder.position("FWD", "B", "M1", 1000.0)
    mine = FlatRate(venue="HKSCC", asset_class="equity", rate=0.5, effective=date(2020, 1, 1))
    got = margin_of(builder, market, FlatRateConfig(rates=(mine,)))
    assert got.im == pytest.approx([500.0, 150.0 + 0.06 * 1060.0])
    everywhere = FlatRate(asset_class="equity", rate=0.4)
    got = margin_of(builder, market, FlatRateConfig(rates=(everywhere,)))
    assert got.im == pytest.approx([120.0, 400.0 + 0.06 * 1060.0])
    assert got.basis["B"]["mark"] == "indicative"


def test_ended_instruments_have_no_notional(market):
    builder = FundBuilder()
    for name, expiry in (("PAST", "2022-12-27"), ("TODAY", "2022-12-28")):
        builder.instrument(name, "fx_forward", "EURUSD", strike=1.05, expiry=expiry)
        builder.agreement(name, model="flat").position(name, name, "M1", 1000.0)
    assert margin_of(builder, market).im == pytest.approx([0.0, 0.06 * 1060.0])


def test_an_asset_class_without_a_rate_fails_its_agreement_alone(market):
    builder = FundBuilder().instrument("EQ", "equity", "STK").instrument("FUT", "future", "IDX")
    builder.agreement("A", model="flat").agreement("B", model="flat")
    builder.position("EQ", "A", "M1", 1.0).position("FUT", "A", "M1", 1.0)
    builder.position("FUT", "B", "M1", 1.0)
    prepared = family(builder, market, FlatRateConfig(margin_groups={"STK": "77"}))
    got = prepared.margin(np.ones(2))
    assert math.isnan(got.im[0]) and math.isnan(got.pair_im[0])
    assert got.im[1] == pytest.approx(600.0)
    (failure,) = prepared.failures
    assert (failure.item, failure.reason) == ("A", FailureReason.MISSING_DATA)
    assert "equity group 77 at venue 'CCP'" in failure.message
    assert set(got.basis) == {"B"}


def test_a_rate_used_before_its_first_date_is_put_on_record_once(market):
    builder = FundBuilder().instrument("EQ", "equity", "STK")
    for name in ("A", "B"):
        builder.agreement(name, model="flat", venue="HKSCC").position("EQ", name, "M1", 1.0)
    prepared = family(builder, market, FlatRateConfig(margin_groups={"STK": "3"}))
    assert prepared.margin(np.ones(2)).im == pytest.approx([55.0, 55.0])
    (failure,) = prepared.failures
    assert (failure.item, failure.reason) == ("HKSCC", FailureReason.NOT_APPLICABLE)
    assert "2025-10-27, after the date of the book 2022-12-28" in failure.message


# --- properties ----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["M1", "M2"]), st.floats(-100, 100)),
        min_size=1, max_size=10,
    ),
    st.floats(0.1, 10.0),
    st.sampled_from(["gross", "net"]),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_order_split_scale_and_opposites(market, positions, size, netting, random):
    own = FlatRateConfig(rates=(FlatRate(asset_class="equity", rate=0.1, netting=netting),))
    names = ("EQ", "TRS", "FUT", "CL")

    def fund(rows):
        builder = FundBuilder().instrument("EQ", "equity", "STK")
        builder.instrument("TRS", "trs", "STK", strike=90.0).instrument("FUT", "future", "IDX")
        builder.instrument("CL", "future", "OIL").agreement("A", model="flat")
        for i, manager, quantity in rows:
            builder.position(names[i], "A", manager, quantity)
        return margin_of(builder, market, own)

    base = fund(positions)
    close = 1e-9 * (1.0 + sum(abs(q) for _, _, q in positions) * 4000.0)
    shuffled = positions.copy()
    random.shuffle(shuffled)
    split = [(i, m, part * q) for i, m, q in shuffled for part in (0.3, 0.7)]
    assert fund(split).im[0] == pytest.approx(base.im[0], abs=close)
    larger = fund([(i, m, size * q) for i, m, q in positions])
    assert larger.im[0] == pytest.approx(size * base.im[0], abs=size * close)
    assert base.pair_im.sum() == pytest.approx(base.im[0], abs=close)
    opposite = fund(positions + [(i, m, -q) for i, m, q in positions])
    assert opposite.im[0] == pytest.approx(0.0, abs=close)
    assert fund([(i, m, -q) for i, m, q in positions]).im[0] == pytest.approx(base.im[0], abs=close)


def test_net_is_never_more_than_gross(market):
    rng = np.random.default_rng(6)
    for _ in range(20):
        notional = rng.normal(size=(2, 6))
        factor, rate = rng.integers(0, 3, size=6), np.full(6, 0.1)
        gross, _ = share_of_notional(notional, factor, rate, np.zeros(6, dtype=bool))
        net, _ = share_of_notional(notional, factor, rate, np.ones(6, dtype=bool))
        assert 0.0 <= net <= gross * (1 + 1e-12)
