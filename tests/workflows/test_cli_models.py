"""`mca simm` and `mca backtest` on their own inputs."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from workflows.cli import exits, main

HEADER = (
    "TradeID,PortfolioID,ProductClass,RiskType,Qualifier,Bucket,Label1,Label2,Amount,"
    "AmountCurrency,AmountUSD"
)
LONG = "t1,p1,RatesFX,Risk_IRCurve,USD,1,10y,OIS,1000000,USD,1000000"
SHORT = "t2,p2,RatesFX,Risk_IRCurve,USD,1,10y,OIS,-1000000,USD,-1000000"
EQUITY = "t3,p2,Equity,Risk_Equity,ACME,1,,,500000,USD,500000"


def mca(*arguments: str | Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def crif(folder: Path, rows: Sequence[str]) -> Path:
    path = folder / "crif.csv"
    path.write_text("\n".join((HEADER, *rows)) + "\n", encoding="utf-8")
    return path


def simm(folder: Path, rows: Sequence[str], *options: str) -> dict[str, Any]:
    code, out, err = mca("simm", crif(folder, rows), "--json", *options)
    assert code == exits.OK, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_portfolios_are_added_up_and_do_not_net(tmp_path: Path) -> None:
    first, second = simm(tmp_path, [LONG]), simm(tmp_path, [SHORT, EQUITY])
    both = simm(tmp_path, [LONG, SHORT, EQUITY], "--by-portfolio")
    assert (both["portfolios"], first["portfolios"]) == (2, 1)
    assert both["total"] == pytest.approx(first["total"] + second["total"], rel=1e-14)
    assert both["total"] > first["total"] > 0
    for key in ("by_product_class", "by_risk_class"):
        names = {*first[key], *second[key]}
        assert both[key] == pytest.approx(
            {name: first[key].get(name, 0.0) + second[key].get(name, 0.0) for name in names},
            rel=1e-14,
        )
    keys = ("version", "horizon_days", "side", "currency", "total", "by_product_class")
    for name, one in (("p1", first), ("p2", second)):
        assert {k: both["by_portfolio"][name][k] for k in keys} == {k: one[k] for k in keys}
    code, out, _ = mca("simm", crif(tmp_path, [LONG, SHORT]))
    assert code == exits.OK
    assert "sum of 2 portfolios, which do not net with each other" in out


def test_one_portfolio_says_nothing_of_sums(tmp_path: Path) -> None:
    _, out, _ = mca("simm", crif(tmp_path, [LONG]))
    assert "sum of" not in out
    assert "by_portfolio" not in simm(tmp_path, [LONG])


def test_no_rows_are_no_margin_and_no_usable_rows_are_bad_input(tmp_path: Path) -> None:
    assert simm(tmp_path, [])["total"] == 0.0
    code, out, err = mca("simm", crif(tmp_path, [LONG.replace("Risk_IRCurve", "Risk_Foo")]))
    assert (code, out) == (exits.BAD_INPUT, "")
    assert "not a row can be used" in err
    assert "'Risk_Foo' is not known" in err


def test_some_bad_rows_are_left_out_and_listed(tmp_path: Path) -> None:
    code, out, err = mca("simm", crif(tmp_path, [LONG, SHORT.replace("-1000000", "x")]), "--json")
    assert code == exits.DONE_WITH_FAILURES
    assert len(json.loads(out)["failures"]) == 1
    assert "crif.csv:3" in err


@pytest.mark.parametrize(("version", "near"), [("2.8-2512", "2.8+2512"), ("v2.6", "2.6")])
def test_an_unknown_version_is_a_usage_error(tmp_path: Path, version: str, near: str) -> None:
    code, out, err = mca("simm", crif(tmp_path, [LONG]), "--version", version)
    assert (code, out) == (exits.USAGE, "")
    assert f"did you mean {near}?" in err
    assert "2.5A" in err


def test_a_history_that_is_not_there_is_named_as_the_option_it_is(tmp_path: Path) -> None:
    code, _, err = mca("backtest", "--history", tmp_path / "absent.csv")
    assert code == exits.BAD_INPUT
    assert "absent.csv: not found; --history takes" in err
    assert "fund.toml" not in err


def test_a_rule_over_two_options_is_said_without_all_the_others() -> None:
    code, _, err = mca(
        "backtest", "--window-from", "2020-12-31", "--window-to", "2020-01-01", "--json"
    )
    assert code == exits.USAGE
    assert "2020-12-31 is after" in err
    assert "lookback_days" not in err
    assert "Value error" not in err
