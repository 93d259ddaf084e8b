"""Who causes the margin: shares of managers, strategies or positions, exact to the cent.

Every method asks the margin engine as a whole, so it holds for every family of models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.book import Book
from engine.domain.failures import Failure, FailureReason, InputError
from engine.domain.money import to_cents
from engine.domain.results import MarginResult
from engine.margin.add_ons.apply import FOLLOWS_MARGIN
from engine.margin.explain.attribution_games import (
    Game,
    aumann_shapley_game,
    incremental_game,
    shapley_game,
    stand_alone_game,
)
from engine.margin.explain.attribution_results import Attribution
from engine.margin.explain.cents import split_cents
from engine.margin.explain.margin_inputs import (
    Elements,
    MarginInputs,
    VariantMargins,
    elements_of,
    evaluate_variants,
    with_labels_as_managers,
)

LEVELS = ("manager", "strategy", "position")
METHODS = ("engine", "incremental", "shapley", "aumann_shapley", "stand_alone")
UNATTRIBUTED = "(unattributed)"
"""Margin of an agreement that no position carries: CRIF rows of no position, or none at all."""
INTERACTION = "(interaction)"
"""What increments leave: the margin that belongs to players together."""
STEPS = 4
ORDERS = 64
MOST_ROWS = 1_000_000
"""Most position rows for one agreement; above it there is a failure, and stand-alone shares."""


def attribute_margin(
    inputs: MarginInputs,
    result: MarginResult,
    by: str = "manager",
    method: str = "engine",
    agreements: Sequence[str] | None = None,
    seed: int = 0,
) -> Attribution:
    """Share IM and add-ons of agreements over managers, strategies or positions.

    Parameters
    ----------
    inputs : MarginInputs
    result : MarginResult
        Its margin. Shares sum to these amounts, agreement by agreement and add-on by add-on.
    by : {"manager", "strategy", "position"}
    method : {"engine", "incremental", "shapley", "aumann_shapley", "stand_alone"}
        `engine`: the shares of the family and of the add-ons, which are Euler shares where these
        are of degree one and pro rata to stand-alone amounts elsewhere. The others ask the engine
        for variants of each agreement (`engine.margin.explain.attribution_games`); pro rata to
        stand-alone where that needs more than `MOST_ROWS` rows, with a failure. `broker` follows
        IM.
    agreements : sequence of str, optional
        Ids; all agreements of the result if None.
    seed : int
        Of the drawn orders of `shapley` with many players.

    Returns
    -------
    Attribution
        Margin is shared before the IM threshold; the threshold then reduces all shares alike. An
        agreement with a variant that cannot be margined gives a `Failure` and one row
        `(unattributed)`.

    Raises
    ------
    InputError
        For an unknown level, method or agreement.
    """
    _check(by, "attribution level", LEVELS)
    _check(method, "attribution method", METHODS)
    wanted = list(map(str, result.agreement_id if agreements is None else agreements))
    for name in wanted:
        _check(name, "agreement", [str(a) for a in result.agreement_id])
    label, names = _labels(inputs.book, by)
    work = _Work(inputs, result, label, names, seed)
    if method == "engine":
        work.engine(wanted)
    else:
        work.play(wanted, work.rule(method))
    return work.attribution(wanted, by)


class _Work:
    """Shares while they are collected: {(agreement, component): (rule, {label: USD})}."""

    def __init__(
        self, inputs: MarginInputs, result: MarginResult, label: Int64Array, names: list[str],
        seed: int,
    ) -> None:  # fmt: skip
        self.inputs, self.result, self.label, self.names, self.seed = (
            inputs, result, label, names, seed,
        )  # fmt: skip
        self.row = {str(n): a for a, n in enumerate(inputs.book.agreements.agreement_id)}
        self.at = {str(n): i for i, n in enumerate(result.agreement_id)}
        self.shares: dict[tuple[str, str], tuple[str, dict[str, float]]] = {}
        self.failures: list[Failure] = []

    def amount(self, name: str, component: str) -> float:
        values = self.result.im_usd if component == "im" else self.result.add_ons[component]
        return float(values[self.at[name]])

    def rule(self, method: str) -> Callable[[int], Game]:
        """Return the game of `method` for a number of players."""
        generator = np.random.Generator(np.random.Philox(self.seed))
        games: dict[str, Callable[[int], Game]] = {
            "incremental": incremental_game,
            "stand_alone": stand_alone_game,
            "shapley": lambda n: shapley_game(n, ORDERS, generator),
            "aumann_shapley": lambda n: aumann_shapley_game(n, STEPS),
        }
        return games[method]

    def engine(self, wanted: Sequence[str]) -> None:
        """The engine's own shares: labels within each agreement take the managers' place."""
        positions = self.inputs.book.positions
        key = positions.agreement * len(self.names) + self.label
        pairs, pair = np.unique(key, return_inverse=True)
        book = with_labels_as_managers(self.inputs.book, pair.astype(np.int64), len(pairs))
        result = MarginInputs(book, self.inputs.market, self.inputs.config, self.inputs.crif)
        found = result.margin().shares
        pair_of = found["manager_id"].astype(np.int64)
        owner = pairs[pair_of] // max(1, len(self.names))
        for component in ("im", *self.result.add_ons):
            usd = found["im_usd" if component == "im" else f"add_on_{component}_usd"]
            for name in wanted:
                mine = np.flatnonzero(owner == self.row[name])
                shares = {
                    self.names[int(pairs[pair_of[i]]) % len(self.names)]: float(usd[i])
                    for i in mine
                }
                self.shares[name, component] = ("engine", self._closed(name, component, shares))

    def play(self, wanted: Sequence[str], rule: Callable[[int], Game]) -> None:
        """Evaluate a game for every agreement that needs one, all in one go."""
        jobs, tables = [], []
        for name in wanted:
            components = [c for c in ("im", *self.result.add_ons) if self._played(name, c)]
            if components:
                elements = elements_of(self.inputs, self.row[name])
                players, member = self._players(elements)
                game = rule(len(players))
                rows = len(elements) * len(game.weights)
                if rows > MOST_ROWS:
                    self._too_large(name, game, rows)
                    game = stand_alone_game(len(players))
                jobs.append((name, components, players, game))
                tables.append((elements, game.weights @ member))
        values = evaluate_variants(self.inputs, tables) if tables else []
        for (name, components, players, game), margins in zip(jobs, values, strict=True):
            for component in components:
                self._play_one(name, component, players, game, margins)

    def _too_large(self, name: str, game: Game, rows: int) -> None:
        message = (
            f"{game.name} would take {rows} position rows, more than {MOST_ROWS}; shared pro "
            "rata to stand-alone margin instead: use the method engine, or a coarser level"
        )
        reason = FailureReason.NOT_APPLICABLE
        self.failures.append(Failure(reason, name, f"attribution of agreement {name}", message))

    def _played(self, name: str, component: str) -> bool:
        return component not in FOLLOWS_MARGIN and self.amount(name, component) != 0.0

    def _players(self, elements: Elements) -> tuple[list[str], Float64Array]:
        """Names of the players and their membership, (n_players, n_elements)."""
        at = self.label[elements.position]
        used, player = np.unique(at, return_inverse=True)
        names = [self.names[i] for i in used] + [UNATTRIBUTED] * int(elements.loose)
        member = np.zeros((len(names), len(elements)))
        member[player, np.arange(len(at))] = 1.0
        if elements.loose:
            member[-1, -1] = 1.0
        return names, member

    def _play_one(
        self, name: str, component: str, players: list[str], game: Game, margins: VariantMargins
    ) -> None:
        values = margins.im if component == "im" else margins.add_ons.get(component)
        if values is None:
            values = np.zeros(len(game.weights))
        amount = self.amount(name, component)
        if not np.isfinite(values).all():
            self._fail(name, component, "a part of the agreement cannot be margined alone")
            return
        share = game.shares(values)
        full = float(values[np.argmax(game.weights.sum(axis=1))]) if len(players) else 0.0
        if full == 0.0:
            self._fail(name, component, "its positions alone carry none of it")
            return
        shares = dict(zip(players, (share * (amount / full)).tolist(), strict=True))
        if not game.additive:
            shares[INTERACTION] = amount - sum(shares.values())
        self.shares[name, component] = (game.name, shares)

    def _fail(self, name: str, component: str, why: str) -> None:
        message = f"{component} is not shared: {why}; use the method engine, or another level"
        reason = FailureReason.CALCULATION_FAILED
        self.failures.append(Failure(reason, name, f"attribution of agreement {name}", message))
        amount = self.amount(name, component)
        self.shares[name, component] = ("none", {UNATTRIBUTED: amount})

    def _closed(self, name: str, component: str, shares: dict[str, float]) -> dict[str, float]:
        """Scale away float noise; what no label carries goes to `(unattributed)`."""
        amount, found = self.amount(name, component), sum(shares.values())
        if abs(found - amount) > 1e-9 * max(abs(amount), abs(found)) + 1e-6:
            return {**shares, UNATTRIBUTED: amount - found}
        return shares

    def attribution(self, wanted: Sequence[str], by: str) -> Attribution:
        """Round every share to cents that sum to the agreement's amount."""
        rows: list[tuple[str, str, str, str, int]] = []
        for name in wanted:
            for component in ("im", *self.result.add_ons):
                method, shares = self._settled(name, component)
                total = int(to_cents(self.amount(name, component)))
                cents = split_cents(total, np.array(list(shares.values()), dtype=np.float64))
                rows += [
                    (name, label, component, method, int(c))
                    for label, c in zip(shares, cents, strict=True)
                ]
        columns = list(zip(*rows, strict=True)) if rows else [()] * 5
        names, labels, components, methods = (np.array(c, dtype=np.object_) for c in columns[:4])
        cents = np.array(columns[4], dtype=np.int64)
        return Attribution(
            self.result.as_of, by, names, labels, components, methods, cents, tuple(self.failures)
        )

    def _settled(self, name: str, component: str) -> tuple[str, dict[str, float]]:
        if (name, component) in self.shares:
            return self.shares[name, component]
        amount = self.amount(name, component)
        if amount == 0.0:
            return "nothing to share", {}
        method, im = self.shares.get((name, "im"), ("none", {}))
        whole = sum(im.values())
        if whole == 0.0:
            return "none", {UNATTRIBUTED: amount}
        return f"as im: {method}", {label: usd * (amount / whole) for label, usd in im.items()}


def _labels(book: Book, by: str) -> tuple[Int64Array, list[str]]:
    """Label of every position and the labels' names."""
    positions = book.positions
    if by == "manager":
        return positions.manager, [str(n) for n in book.managers.manager_id]
    if by == "strategy":
        return positions.strategy, [str(n) for n in book.strategies.strategy_id]
    n = len(positions)
    return np.arange(n, dtype=np.int64), [str(name) for name in positions.position_id]


def _check(value: str, what: str, known: Sequence[str]) -> None:
    if value not in known:
        shown = ", ".join(list(known)[:10])
        raise InputError(f"{what} {value!r} is not known; choose one of {shown}")
