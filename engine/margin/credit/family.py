"""The model `cds`: six charges of every agreement, their shares, and what they rest on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.failures import Failure, FailureReason
from engine.margin.config import MarginConfig
from engine.margin.credit.account import (
    Account,
    Charge,
    Terms,
    account_of,
    agreement_terms,
    held_by,
    rate_charge,
)
from engine.margin.credit.config import CdsConfig
from engine.margin.credit.default import default_table
from engine.margin.credit.rates import RateShocks
from engine.margin.credit.rules import credit_rules
from engine.margin.credit.scenarios import (
    Moves,
    historical_moves,
    market_moves,
    spread_history,
    student_moves,
)
from engine.margin.credit.spread import spread_charge
from engine.margin.enough_history import (
    listed,
    shortened_lookback,
    too_few_scenarios,
    without_first_moves,
)
from engine.margin.exposure import Exposures, unit_pnl
from engine.margin.family import FamilyMargin, pairs_of

COMPONENTS = (
    "spread_response",
    "jump_to_default",
    "wrong_way",
    "interest_rate",
    "basis",
    "bid_offer",
)


@dataclass(frozen=True)
class SpreadClass:
    """Agreements with the same scenarios: positions in the list of accounts, and their moves."""

    members: tuple[int, ...]
    held: Int64Array
    moves: Moves


class PreparedCds:
    """Agreements of the model `cds`, ready to be asked.

    Attributes
    ----------
    failures : tuple of Failure
        Agreements without enough history, currencies without a rate, spreads that cannot move by
        their logarithm, instruments whose kind has no loss at default.
    """

    def __init__(
        self, exposures: Exposures, rows: Int64Array, margin: MarginConfig, own: CdsConfig
    ) -> None:
        self.exposures = exposures
        self.rows = np.asarray(rows, dtype=np.int64)
        self.margin_config = margin
        self.own = own
        self.rules = credit_rules(own)
        self._history = spread_history(exposures.market, own.spread_moves)
        self._failures: list[Failure] = []
        alive = [int(a) for a in self.rows if self._has_history(int(a))]
        table = default_table(exposures.instruments, exposures.market, self.rules)
        held = held_by(exposures, pairs_of(exposures, np.array(alive, dtype=np.int64)))
        self._name_what_is_left_out(held, table.uncovered)
        rates = RateShocks(exposures, margin, self.rules)
        self._accounts = [account_of(exposures, a, table, rates, self.rules, own) for a in alive]
        self._failures += rates.failures
        self._classes = self._spread_classes()

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Return what could not be margined or was margined on less than asked."""
        return tuple(self._failures)

    def margin(self, scale: Float64Array) -> FamilyMargin:
        """Return the margin when spread and rate volatility are `scale` times today's.

        Losses at default and bid-offer spreads are not scaled.
        """
        exposures = self.exposures
        pairs = pairs_of(exposures, self.rows)
        place = {int(a): i for i, a in enumerate(self.rows)}
        parts = {name: np.full(len(self.rows), np.nan) for name in COMPONENTS}
        pair_im = np.full(len(pairs), np.nan)
        basis: dict[str, dict[str, Any]] = {}
        names = exposures.book.agreements.agreement_id
        for group in self._classes:
            for account, spread, scenarios in self._spreads(group, scale):
                charges: dict[str, Charge] = {
                    **spread,
                    "jump_to_default": account.jump,
                    "wrong_way": account.wrong_way,
                    "interest_rate": rate_charge(exposures, account, float(scale[account.row])),
                    "bid_offer": account.bid_offer,
                }
                i = place[account.row]
                for name in COMPONENTS:
                    parts[name][i] = charges[name][0]
                pair_im[np.searchsorted(pairs, account.pairs)] = sum(
                    charges[name][1] for name in COMPONENTS
                )
                basis[str(names[account.row])] = {**account.basis, "scenarios": scenarios}
        im = np.sum([parts[name] for name in COMPONENTS], axis=0)
        return FamilyMargin(self.rows, im, pairs, pair_im, parts, basis)

    def _spreads(
        self, group: SpreadClass, scale: Float64Array
    ) -> list[tuple[Account, dict[str, Charge], int]]:
        """Spread response and basis of every account of a class, and its scenarios."""
        exposures, market = self.exposures, self.exposures.market
        agreements = exposures.book.agreements
        out = []
        by_scale: dict[float, list[Account]] = {}
        for m in group.members:
            account = self._accounts[m]
            by_scale.setdefault(float(scale[account.row]), []).append(account)
        for size, accounts in by_scale.items():
            moves = market_moves(group.moves, self._history, market, size)
            # A move that stress takes to infinity is known: the account fails, and is reported.
            known = np.isfinite(group.moves.table)
            usable = np.where(known.all(axis=0), len(moves), known[::-1].argmin(axis=0))
            pnl = unit_pnl(exposures, group.held, np.where(known, moves, 0.0))
            for account in accounts:
                used = exposures.agreement_factor[account.row]
                count = int(usable[used].min())
                at = np.searchsorted(group.held, account.held)
                losses = self._losses(account, -pnl[at, len(moves) - count :])
                charge = spread_charge(
                    *losses,
                    float(agreements.confidence[account.row]),
                    self.own.measure == "es",
                    self.rules.index_offset,
                )
                parts = {
                    "spread_response": (charge.response, charge.response_shares),
                    "basis": (charge.basis, charge.basis_shares),
                }
                out.append((account, parts, count))
        return out

    def _losses(
        self, account: Account, loss: Float64Array
    ) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Losses in credit indices, single names and all else, each (n_pairs, n_scenarios)."""
        instruments, market = self.exposures.instruments, self.exposures.market
        factor = instruments.factor[account.held]
        index = np.isin(instruments.factor_id[account.held], list(self.rules.index_names))
        credit = np.asarray(market.factors.asset_class[factor] == "credit", dtype=np.bool_)
        credit |= np.asarray(instruments.kind[account.held] == "cds", dtype=np.bool_)
        index, name = index & credit, credit & ~index

        def part(keep: BoolArray) -> Float64Array:
            return np.asarray(account.quantity[:, np.flatnonzero(keep)] @ loss[keep])

        return part(index), part(name), part(~credit)

    def _spread_classes(self) -> list[SpreadClass]:
        exposures, monte_carlo = self.exposures, self.own.scenarios == "monte_carlo"
        keys: dict[tuple[Terms, bytes], list[int]] = {}
        for m, account in enumerate(self._accounts):
            # Draws of a t depend on the factors drawn together: what others hold must not matter.
            own = exposures.agreement_factor[account.row].tobytes() if monte_carlo else b""
            keys.setdefault((agreement_terms(exposures, account.row), own), []).append(m)
        out = []
        for (terms, _), members in sorted(keys.items()):
            rows = [self._accounts[m].row for m in members]
            used = np.flatnonzero(exposures.agreement_factor[rows].any(axis=0)).astype(np.int64)
            held = np.unique(np.concatenate([self._accounts[m].held for m in members]))
            args = (self._history, exposures.market, used, terms, self.margin_config)
            moves = (
                student_moves(*args, self.rules.draws, self.rules.degrees_of_freedom, self.own.seed)
                if monte_carlo
                else historical_moves(*args)
            )
            out.append(SpreadClass(tuple(members), held, moves))
        return out

    def _has_history(self, a: int) -> bool:
        ewma_lambda, mpor_days, lookback = agreement_terms(self.exposures, a)
        failure = None
        if ewma_lambda < 1.0:
            failure = without_first_moves(
                self.exposures, a, self._history.returns, self._history.floor, self.margin_config
            )
        failure = failure or too_few_scenarios(self.exposures, a, mpor_days - 1, lookback)
        if failure is None:
            shorter = shortened_lookback(self.exposures, a, mpor_days - 1, lookback)
            self._failures += [shorter] if shorter else []
            return True
        self._failures.append(failure)
        return False

    def _name_what_is_left_out(self, held: Int64Array, uncovered: StrArray) -> None:
        factors = self.exposures.market.factors.factor_id
        factor = self.exposures.instruments.factor[held]
        for k in np.intersect1d(self._history.not_positive, factor).tolist():
            message = (
                "its history has a level of zero or less, so it moves by differences and not by "
                'log changes; mend the history or choose spread_moves = "factor"'
            )
            where, name = "spread moves of cds", str(factors[k])
            self._failures.append(Failure(FailureReason.INVALID, name, where, message))
        names = self.exposures.instruments.instrument_id[held]
        left = names[np.isin(names, uncovered)]
        if len(left):
            message = (
                f"only swaps and bonds have a loss at default; {listed(left)} are margined for "
                "moves of their spread alone"
            )
            where, name = "jump to default of cds", str(left[0])
            self._failures.append(Failure(FailureReason.UNSUPPORTED, name, where, message))


def prepare(
    exposures: Exposures, rows: Int64Array, margin: MarginConfig, own: CdsConfig
) -> PreparedCds:
    """Prepare the model `cds` for the agreements `rows` (`docs/methodology/credit.md`).

    Raises `InputError` if the choices contradict the rulebook (`credit_rules`).
    """
    return PreparedCds(exposures, rows, margin, own)
