"""Schedule initial margin: standard rates on notionals, with credit for netting of values.

IM = gross * (0.4 + 0.6 * NGR), where gross = sum over trades of rate(class, maturity) * |notional|
and NGR = max(sum of values, 0) / sum of positive values. Source: BCBS-IOSCO, Margin requirements
for non-centrally cleared derivatives, Appendix A.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import engine.rulebooks
from engine.domain.arrays import DateArray, Float64Array, StrArray
from engine.domain.failures import InputError

SIDES = ("call", "post")


@dataclass(frozen=True)
class ScheduleTrades:
    """Rows of trades of one netting set; every array has shape (n_rows,).

    Several rows may carry one `trade_id` (legs, or notional and value apart): notionals and values
    are added per trade with their signs before anything else. `pv_usd` is the value to us,
    positive when the counterparty would owe us; `maturity_years` is the remaining maturity.
    """

    trade_id: StrArray
    product_class: StrArray
    maturity_years: Float64Array
    notional_usd: Float64Array
    pv_usd: Float64Array

    def __len__(self) -> int:
        return len(self.trade_id)


@dataclass(frozen=True)
class ScheduleResult:
    """Schedule margin of one netting set on one side, in USD.

    `gross_by_product_class` sums to `gross`; `net_to_gross` is NGR on this side.
    """

    side: str
    currency: str
    gross: float
    net_to_gross: float
    total: float
    gross_by_product_class: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready object."""
        return {
            "side": self.side,
            "currency": self.currency,
            "total": self.total,
            "gross": self.gross,
            "net_to_gross": self.net_to_gross,
            "gross_by_product_class": dict(self.gross_by_product_class),
        }


@dataclass(frozen=True)
class _Rulebook:
    classes: tuple[str, ...]
    bounds: Float64Array
    rates: Float64Array
    fixed_share: float
    netting_share: float
    ngr_without_positive_value: float


@lru_cache(maxsize=1)
def _rulebook() -> _Rulebook:
    path = Path(engine.rulebooks.__file__).parent / "schedule.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    return _Rulebook(
        classes=tuple(document["rates_per_cent"]),
        bounds=np.array(document["maturity_bounds_years"], dtype=np.float64),
        rates=np.array(list(document["rates_per_cent"].values()), dtype=np.float64) / 100.0,
        fixed_share=float(document["fixed_share"]),
        netting_share=float(document["net_to_gross_share"]),
        ngr_without_positive_value=float(document["net_to_gross_without_positive_value"]),
    )


def maturity_years(as_of: date, end_date: DateArray) -> Float64Array:
    """Return remaining maturity in years, exact on anniversaries.

    Parameters
    ----------
    as_of : date
    end_date : datetime64[D] array of shape (n,)
        NaT gives NaN.

    Returns
    -------
    float64 array of shape (n,)
        (months between + day difference / 31) / 12: 2020-02-15 to 2022-02-15 is exactly 2, so a
        leap year does not push a two-year trade over the bound.
    """
    start = np.datetime64(as_of, "D")
    start_month, end_month = start.astype("datetime64[M]"), end_date.astype("datetime64[M]")
    days = (end_date - end_month) - (start - start_month)
    months = (end_month - start_month) / np.timedelta64(1, "M")
    return np.asarray((months + days / np.timedelta64(1, "D") / 31.0) / 12.0, dtype=np.float64)


def schedule_margin(trades: ScheduleTrades, side: str) -> ScheduleResult:
    """Return the schedule margin of one netting set.

    Parameters
    ----------
    trades : ScheduleTrades
        n_rows rows. Product classes: Rates, Credit, FX, Equity, Commodity, Other.
    side : str
        `call`: margin we may call, NGR from `pv_usd`; `post`: margin we must post, NGR from the
        counterparty's values, `-pv_usd`.

    Returns
    -------
    ScheduleResult
        USD. Two short rates trades of 1,000 and -1,000 with values 1,000 and -1,000: gross
        10 + 10 = 20, NGR 0, margin 20 * 0.4 = 8. Without a positive value NGR is 1.

    Raises
    ------
    InputError
        Unknown class or side; a trade whose rows disagree on class or maturity; a figure that is
        not finite; a negative maturity.
    """
    if side not in SIDES:
        raise InputError(f"side {side!r} is not known; choose call or post")
    rules = _rulebook()
    classes = _classes(trades, rules)
    _check_figures(trades)
    _, first, trade = np.unique(
        np.asarray(trades.trade_id, dtype=str), return_index=True, return_inverse=True
    )
    _check_agreement(trades, first[trade])
    n = len(first)
    notional = np.bincount(trade, weights=trades.notional_usd, minlength=n)
    value = np.bincount(trade, weights=trades.pv_usd, minlength=n)
    value = value if side == "call" else -value
    # A maturity equal to the bound still takes the lower rate.
    column = np.searchsorted(rules.bounds, trades.maturity_years[first], side="left")
    gross = rules.rates[classes[first], column] * np.abs(notional)
    positive = float(np.sum(np.maximum(value, 0.0)))
    ngr = rules.ngr_without_positive_value
    if positive > 0.0:
        ngr = max(float(np.sum(value)), 0.0) / positive
    by_class = np.bincount(classes[first], weights=gross, minlength=len(rules.classes))
    total_gross = float(np.sum(gross))
    return ScheduleResult(
        side=side,
        currency="USD",
        gross=total_gross,
        net_to_gross=ngr,
        total=total_gross * (rules.fixed_share + rules.netting_share * ngr),
        gross_by_product_class={
            name: float(by_class[i]) for i, name in enumerate(rules.classes) if by_class[i] > 0.0
        },
    )


def _classes(trades: ScheduleTrades, rules: _Rulebook) -> np.typing.NDArray[np.int64]:
    position = {name: i for i, name in enumerate(rules.classes)}
    codes = np.array([position.get(str(name), -1) for name in trades.product_class], dtype=np.int64)
    for row in np.flatnonzero(codes < 0)[:1]:
        raise InputError(
            f"schedule row {row + 1}, trade {trades.trade_id[row]}: product class "
            f"{trades.product_class[row]!r} is not known; allowed: {', '.join(rules.classes)}"
        )
    return codes


def _check_figures(trades: ScheduleTrades) -> None:
    for name in ("maturity_years", "notional_usd", "pv_usd"):
        values = getattr(trades, name)
        for row in np.flatnonzero(~np.isfinite(values))[:1]:
            raise InputError(
                f"schedule row {row + 1}, trade {trades.trade_id[row]}: {name} is {values[row]}; "
                "it must be a finite number"
            )
    for row in np.flatnonzero(trades.maturity_years < 0.0)[:1]:
        raise InputError(
            f"schedule row {row + 1}, trade {trades.trade_id[row]}: it ended "
            f"{-trades.maturity_years[row]:.3g} years ago; leave ended trades out"
        )


def _check_agreement(trades: ScheduleTrades, first: np.typing.NDArray[np.int64]) -> None:
    for name in ("product_class", "maturity_years"):
        values = getattr(trades, name)
        for row in np.flatnonzero(values != values[first])[:1]:
            raise InputError(
                f"schedule row {row + 1}, trade {trades.trade_id[row]}: {name} {values[row]} "
                f"differs from {values[first[row]]} in row {first[row] + 1} of the same trade"
            )
