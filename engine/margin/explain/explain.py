"""Why margin is what it is, and why it changed: parts that sum to the cent.

A change between two dates is explained by computing the margin in states between them: first the
positions change, then the market (and the date), then the rules. Every state is a full calculation,
so it holds for every family of models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from engine.domain.agreements import Agreements
from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.domain.book import Instruments
from engine.domain.failures import Failure, FailureReason, InputError
from engine.domain.market import MarketState
from engine.domain.money import to_cents
from engine.domain.results import MarginResult
from engine.margin.explain.cents import split_cents
from engine.margin.explain.explain_results import (
    ADD_ONS,
    CLOSED,
    NEW,
    NOT_SEPARATED,
    STEPS,
    MarginChange,
)
from engine.margin.explain.margin_inputs import MarginInputs
from engine.margin.explain.margin_parts import explain_margin

__all__ = ["METHODS", "explain_change", "explain_margin"]

METHODS = ("sequential", "symmetric")

State = tuple[bool, bool, bool]
"""Whether positions, market and rules are those of after."""

START: State = (False, False, False)
END: State = (True, True, True)


@dataclass(frozen=True)
class Amounts:
    """Margin of one state in cents, by row of the union of agreements.

    `known` (n,) is false for agreements without margin in the state; their cents are 0.
    """

    im: Int64Array
    add_ons: dict[str, Int64Array]
    known: np.ndarray

    def required(self) -> Int64Array:
        """Return IM plus add-ons."""
        total: Int64Array = np.sum([self.im, *self.add_ons.values()], axis=0, dtype=np.int64)
        return total


def explain_change(
    before: MarginInputs, after: MarginInputs, method: str = "sequential"
) -> MarginChange:
    """Explain the change of required margin (IM plus add-ons) between two sets of inputs.

    Parameters
    ----------
    before, after : MarginInputs
        Two dates, two books or two sets of rules. Agreements are matched by id, factors by id.
    method : {"sequential", "symmetric"}
        `sequential`: positions, then market, then rules: each step is computed with everything
        before it changed already. `symmetric`: the mean over all six orders (Shapley), for eight
        calculations instead of four.

    Returns
    -------
    MarginChange
        Cents. For every agreement: positions + market + rules + add-ons = change, exactly; an
        agreement on one side only is new or closed as a whole.

    Raises
    ------
    InputError
        For an unknown method.

    Notes
    -----
    positions: trades, and the user's sensitivities. market: levels, history, rates of exchange and
    the passage of time. rules: terms of the agreements (thresholds too), the SIMM version and
    `MarginConfig`. These three explain IM; add-ons are one item, with their own steps in
    `add_on_steps`. An agreement that cannot be margined in a state between stays unexplained: its
    change is `not separated`, with a failure.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r} is not known; choose one of {', '.join(METHODS)}")
    first, last = before.margin(), after.margin()
    names, sides = _union(before, after)
    states = _states(method)
    amounts = {START: _amounts(first, names), END: _amounts(last, names)}
    for state in states[1:-1]:
        amounts[state] = _amounts(
            _between(before, after, first, last, names, state).margin(), names
        )
    failures = [*first.failures, *(f for f in last.failures if f not in first.failures)]
    return _explained(before, after, method, names, sides, amounts, failures)


def _states(method: str) -> list[State]:
    if method == "symmetric":
        return [(p, m, r) for p, m, r in product((False, True), repeat=3)]
    return [START, (True, False, False), (True, True, False), END]


def _union(before: MarginInputs, after: MarginInputs) -> tuple[StrArray, StrArray]:
    """Agreements of both, those of before first; and `both`, `closed` or `new` for each."""
    old, new = (side.book.agreements.agreement_id for side in (before, after))
    added = new[~np.isin(new, old)]
    sides = np.where(np.isin(old, new), "both", "closed")
    names = np.concatenate([old, added])
    return names, np.concatenate([sides, np.full(len(added), "new")]).astype(np.object_)


def _amounts(result: MarginResult, names: StrArray) -> Amounts:
    row = {str(name): i for i, name in enumerate(result.agreement_id)}
    at = np.array([row.get(str(name), -1) for name in names], dtype=np.int64)
    known = at >= 0

    def cents(values: Float64Array) -> Int64Array:
        out = np.zeros(len(names), dtype=np.int64)
        out[known] = to_cents(values[at[known]])
        return out

    add_ons = {name: cents(values) for name, values in result.add_ons.items()}
    return Amounts(cents(result.im_usd), add_ons, known)


def _between(
    before: MarginInputs,
    after: MarginInputs,
    first: MarginResult,
    last: MarginResult,
    names: StrArray,
    state: State,
) -> MarginInputs:
    """Inputs of a state between the two."""
    held, market, rules = (after if side else before for side in state)
    agreements = _terms(before, after, names, rules is after)
    row = {str(name): i for i, name in enumerate(names)}
    own = held.book.agreements.agreement_id
    place = np.array([row[str(name)] for name in own], dtype=np.int64)
    positions = replace(held.book.positions, agreement=place[held.book.positions.agreement])
    book = replace(
        held.book,
        as_of=market.book.as_of,
        agreements=agreements,
        positions=positions,
        instruments=_linked(held.book.instruments, market.market),
    )
    # The version in force follows the date; here it is a rule and changes with the rules.
    version = (last if rules is after else first).basis.get("simm_version")
    config = rules.config
    if config.simm_version is None and version is not None:
        config = config.model_copy(update={"simm_version": version})
    anchors = (last if rules is after else first).basis["anchor_ratio"]
    return MarginInputs(book, market.market, config, held.crif, anchors)


def _terms(
    before: MarginInputs, after: MarginInputs, names: StrArray, new_rules: bool
) -> Agreements:
    """Terms of the union: of the side whose rules hold where it has them, else of the other."""
    main, other = (after, before) if new_rules else (before, after)
    columns = {}
    own = {str(n): i for i, n in enumerate(main.book.agreements.agreement_id)}
    rest = {str(n): i for i, n in enumerate(other.book.agreements.agreement_id)}
    n_own = len(own)
    at = np.array(
        [own[n] if n in own else n_own + rest[n] for n in map(str, names)], dtype=np.int64
    )
    for column, values in vars(main.book.agreements).items():
        both = np.concatenate([values, getattr(other.book.agreements, column)])
        columns[column] = both[at]
    return Agreements(**columns)


def _linked(instruments: Instruments, market: MarketState) -> Instruments:
    """Point the instruments at the factors of `market`, by id; -1 where it lacks one."""
    index = market.index()

    def column(ids: StrArray) -> Int64Array:
        return np.array([index.get(str(name), -1) for name in ids], dtype=np.int64)

    return replace(
        instruments,
        factor=column(instruments.factor_id),
        vol_factor=column(instruments.vol_factor_id),
    )


def _explained(
    before: MarginInputs,
    after: MarginInputs,
    method: str,
    names: StrArray,
    sides: StrArray,
    amounts: dict[State, Amounts],
    failures: list[Failure],
) -> MarginChange:
    first, last = amounts[START], amounts[END]
    zeros = np.zeros(len(names), dtype=np.int64)
    change = last.required() - first.required()
    held = np.all([a.known for a in amounts.values()], axis=0)
    common = (sides == "both") & held
    contributions = {name: zeros.copy() for name in (*STEPS, ADD_ONS, NEW, CLOSED, NOT_SEPARATED)}
    for name, part in zip(STEPS, _steps({s: a.im for s, a in amounts.items()}), strict=True):
        contributions[name][common] = part[common]
    kinds = sorted({kind for a in amounts.values() for kind in a.add_ons})
    steps = {}
    for kind in kinds:
        parts = _steps({s: a.add_ons.get(kind, zeros) for s, a in amounts.items()})
        steps[kind] = dict(zip(STEPS, [np.where(common, p, 0) for p in parts], strict=True))
        contributions[ADD_ONS] += np.sum(list(steps[kind].values()), axis=0, dtype=np.int64)
    for name, rows in ((NEW, sides == "new"), (CLOSED, sides == "closed")):
        contributions[name][rows] = change[rows]
    lost = (sides == "both") & ~held
    contributions[NOT_SEPARATED][lost] = change[lost]
    for name in names[lost & (first.known | last.known)]:
        reason = FailureReason.CALCULATION_FAILED
        message = (
            "it has no margin before, after or in a state between (a factor or an expiry that "
            "one side lacks); its change is not separated into steps"
        )
        failures.append(Failure(reason, str(name), f"agreement {name}", message))
    assert (np.sum(list(contributions.values()), axis=0) == change).all()
    return MarginChange(
        before_as_of=before.book.as_of,
        after_as_of=after.book.as_of,
        method=method,
        agreement_id=names,
        before_cents=first.required(),
        after_cents=last.required(),
        contributions=contributions,
        add_on_steps=steps,
        failures=tuple(failures),
    )


def _steps(cents: dict[State, Int64Array]) -> list[Int64Array]:
    """Contribution of positions, market and rules; they sum to the change from START to END."""
    if len(cents) == len(_states("sequential")):
        path = [cents[state] for state in _states("sequential")]
        return [b - a for a, b in zip(path, path[1:], strict=False)]
    weight = {0: 1 / 3, 1: 1 / 6, 2: 1 / 3}
    parts = []
    for factor in range(3):
        total = np.zeros(len(cents[START]))
        for state, values in cents.items():
            if not state[factor]:
                joined = tuple(side or i == factor for i, side in enumerate(state))
                total += weight[sum(state)] * (cents[joined] - values)  # type: ignore[index]
        parts.append(total / 100.0)
    whole = cents[END] - cents[START]
    rows = zip(whole.tolist(), np.stack(parts, axis=1), strict=True)
    split = np.array([split_cents(total, row) for total, row in rows], dtype=np.int64)
    split = split.reshape(-1, 3)
    return [split[:, i] for i in range(3)]
