"""Institutions that hold common assets: balance sheets, and what binds each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.domain.arrays import Float64Array, StrArray, freeze
from engine.domain.failures import InputError
from engine.kernels.system import System

AMOUNTS = ("cash", "cash_buffer", "other_assets", "repayable_debt", "fixed_debt")
RATIOS = ("leverage_minimum", "leverage_buffer", "leverage_target")


@dataclass(frozen=True)
class Institutions:
    """N institutions and K assets, in one currency (`unit`, such as `EUR m`).

    Attributes
    ----------
    unit : str
    institution_id : object array of str (N,)
    asset_id : object array of str (K,)
    holding : float64 array (N, K)
        Value of each holding today, negative for a short position.
    margin : float64 array (N, K)
        Share of the value that stands in the institution's own assets, above 0 and at most 1: 1
        for what it owns outright, the margin rate of a derivative, the haircut of a repo. Below 1
        every move of the price is paid in cash at once, and a sale releases only this share.
    cash, cash_buffer : float64 arrays (N,)
        Cash, and the least of it that the institution keeps: below, it sells.
    other_assets, repayable_debt, fixed_debt : float64 arrays (N,)
    leverage_minimum, leverage_buffer, leverage_target : float64 arrays (N,)
        Equity over assets at which it defaults, begins to sell, and stops selling. A target of 0:
        leverage does not bind, only cash does.

    Raises
    ------
    InputError
        Where an amount is not finite or has the wrong sign, naming institution and field.
    """

    unit: str
    institution_id: StrArray
    asset_id: StrArray
    holding: Float64Array
    margin: Float64Array
    cash: Float64Array
    cash_buffer: Float64Array
    other_assets: Float64Array
    repayable_debt: Float64Array
    fixed_debt: Float64Array
    leverage_minimum: Float64Array
    leverage_buffer: Float64Array
    leverage_target: Float64Array

    def __post_init__(self) -> None:
        if not len(self.institution_id) or not len(self.asset_id):
            raise InputError("a system needs at least 1 institution and 1 asset; it has none")
        for name in ("institution_id", "asset_id"):
            values = [str(value) for value in getattr(self, name)]
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise InputError(f"{name} {twice[0]!r} appears twice; make every id unique")
        _check(self)
        arrays = [getattr(self, name) for name in (*AMOUNTS, *RATIOS, "holding", "margin")]
        freeze(self.institution_id, self.asset_id, *arrays)

    def __len__(self) -> int:
        return len(self.institution_id)

    @property
    def equity(self) -> Float64Array:
        """Assets less debt of each institution, today."""
        return np.asarray(self.assets - self.repayable_debt - self.fixed_debt)

    @property
    def assets(self) -> Float64Array:
        """Assets of each institution today, only its own share of margined holdings."""
        own = np.sum(self.margin * np.abs(self.holding), axis=1)
        return np.asarray(own + self.cash + self.other_assets)

    def to_kernel(self) -> System:
        """Return the arrays the kernel reads."""
        arrays = (
            self.holding,
            self.margin,
            self.cash,
            self.cash_buffer,
            self.other_assets,
            self.repayable_debt,
            self.fixed_debt,
            self.leverage_minimum,
            self.leverage_buffer,
            self.leverage_target,
        )
        return System(*(np.array(array, dtype=np.float64) for array in arrays))


def join(first: Institutions, second: Institutions) -> Institutions:
    """Return both systems in one; the assets of `first`, in its order, must be those of `second`.

    Raises
    ------
    InputError
        If units or assets differ, or an id is in both.
    """
    if first.unit != second.unit:
        raise InputError(f"units {first.unit!r} and {second.unit!r} differ; convert one of them")
    if list(first.asset_id) != list(second.asset_id):
        raise InputError(
            f"assets {_shown(first.asset_id)} and {_shown(second.asset_id)} differ; give both "
            "the same assets in the same order"
        )
    names = ("institution_id", "holding", "margin", *AMOUNTS, *RATIOS)
    both = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names}
    return Institutions(unit=first.unit, asset_id=first.asset_id.copy(), **both)


def split(x: Institutions, institution_id: str) -> tuple[Institutions, Institutions]:
    """Return one institution, and all the others.

    Raises
    ------
    InputError
        If there is no such institution, or no other.
    """
    inside = x.institution_id == institution_id
    if not np.any(inside):
        raise InputError(
            f"institution {institution_id!r} is not in the system; it has "
            f"{_shown(x.institution_id[:10])}"
        )
    names = ("institution_id", "holding", "margin", *AMOUNTS, *RATIOS)
    one, others = (
        replace(x, **{name: getattr(x, name)[rows] for name in names}) for rows in (inside, ~inside)
    )
    return one, others


def with_assets(x: Institutions, asset_id: Sequence[str]) -> Institutions:
    """Return the same institutions over the assets `asset_id`: none is held of those that are new.

    Raises
    ------
    InputError
        If an asset of the institutions is not among `asset_id`.
    """
    wanted = [str(name) for name in asset_id]
    absent = [str(name) for name in x.asset_id if str(name) not in wanted]
    if absent:
        raise InputError(f"asset {absent[0]!r} is not among {_shown(wanted)}; add it")
    place = [wanted.index(str(name)) for name in x.asset_id]
    holding, margin = np.zeros((len(x), len(wanted))), np.ones((len(x), len(wanted)))
    holding[:, place], margin[:, place] = x.holding, x.margin
    ids = np.array(wanted, dtype=object)
    return replace(x, asset_id=ids, holding=holding, margin=margin)


def _shown(ids: Sequence[str] | StrArray) -> str:
    return ", ".join(str(name) for name in ids)


def _check(x: Institutions) -> None:
    """Raise for the first amount that no balance sheet has."""
    one, many = (len(x.institution_id),), (len(x.institution_id), len(x.asset_id))
    for name in (*AMOUNTS, *RATIOS):
        _check_rows(x, name, getattr(x, name), one)
    _check_rows(x, "holding", x.holding, many, signed=True)
    _check_rows(x, "margin", x.margin, many)
    for name, wrong, remedy in (
        ("margin", (x.margin <= 0.0) | (x.margin > 1.0), "above 0 and at most 1"),
        ("leverage_minimum", x.leverage_minimum >= 1.0, "below 1"),
        ("leverage_target", x.leverage_target >= 1.0, "below 1; 0 where leverage does not bind"),
    ):
        if np.any(wrong):
            row = int(np.argwhere(wrong)[0][0])
            value = float(getattr(x, name)[tuple(np.argwhere(wrong)[0])])
            raise InputError(f"{x.institution_id[row]}: {name} is {value:g}; give it {remedy}")
    bound = x.leverage_target > 0.0
    order = (x.leverage_minimum <= x.leverage_buffer) & (x.leverage_buffer <= x.leverage_target)
    if np.any(bound & ~order):
        i = int(np.nonzero(bound & ~order)[0][0])
        raise InputError(
            f"{x.institution_id[i]}: leverage minimum {x.leverage_minimum[i]:g}, buffer "
            f"{x.leverage_buffer[i]:g} and target {x.leverage_target[i]:g} must rise in this order"
        )


def _check_rows(
    x: Institutions, name: str, values: Float64Array, shape: tuple[int, ...], signed: bool = False
) -> None:
    if values.shape != shape:
        raise InputError(f"{name} has shape {values.shape}; give it {shape}")
    wrong = ~np.isfinite(values) | (False if signed else values < 0.0)
    if np.any(wrong):
        place = tuple(np.argwhere(wrong)[0])
        what = "a finite number" if signed else "a finite number, not negative"
        raise InputError(
            f"{x.institution_id[place[0]]}: {name} is {float(values[place]):g}; give it {what}"
        )
