"""`run_fund`: from a fund pack to every answer and a run folder, for every caller alike.

The command line and any other entry point call these functions; none of them prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.domain.failures import Failure, FailureReason
from engine.domain.provenance import Provenance, product_version
from workflows.funds import (
    Opened,
    avalanche_config,
    data_quality,
    open_fund,
    packaged_data_hash,
    rulebook_ids,
)
from workflows.run import REPORT, Recipe, RunFolder, environment, hash_inputs, json_ready

if TYPE_CHECKING:
    import pandas as pd

    from engine.avalanche.config import AvalancheConfig
    from engine.avalanche.ladder import Ladder
    from engine.domain.market import MarketState
    from engine.domain.results import (
        AvalancheResult,
        LiquidityResult,
        MarginResult,
        StressMarginResult,
    )
    from engine.domain.scenarios import Scenario
    from engine.margin.config import MarginConfig
    from engine.stress.generator.result import ScenarioSet

Progress = Callable[[str, int, int], None]

RUNS = Path("runs")
STEPS = (
    "inputs",
    "margin today",
    "margin under stress",
    "stress scenarios",
    "avalanche",
    "volatility ladder",
    "liquidity",
    "report",
)
SCENARIOS_SHOWN = 10
NOTHING_TO_MARGIN = "the fund has no positions: there is nothing to margin"


def silent(step: str, done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Answers:
    """What was computed; `scenarios` to `liquidity` are None for a fund without positions."""

    margin: MarginResult
    stress: StressMarginResult
    scenarios: ScenarioSet | None
    avalanche: AvalancheResult | None
    ladder: Ladder | None
    liquidity: LiquidityResult | None
    notes: tuple[str, ...]
    failures: tuple[Failure, ...]


def compute(
    opened: Opened,
    margin: MarginConfig,
    avalanche: AvalancheConfig,
    progress: Progress,
    scenario: Scenario | None = None,
    device: str = "cpu",
    should_stop: Callable[[], bool] | None = None,
) -> Answers:
    """Compute margin, stress, scenarios, avalanche and liquidity of an opened fund."""
    from engine.avalanche.ladder import volatility_ladder
    from engine.avalanche.prepared import prepare_fund
    from engine.avalanche.simulate import never, simulate_fund
    from engine.liquidity.survival import assess_liquidity
    from engine.margin.baseline import calculate_margin_requirements
    from engine.margin.stress import project_stress_margin
    from engine.stress.generator.generate import generate_stress_scenarios

    book, market, crif = opened.book, opened.market, opened.reading.crif
    progress(STEPS[1], 1, len(STEPS))
    today = calculate_margin_requirements(book, market, margin, crif)
    progress(STEPS[2], 2, len(STEPS))
    stress = project_stress_margin(book, market, today, margin, crif)
    failures = (*opened.failures, *today.failures, *stress.failures)
    if not len(book.positions):
        return Answers(today, stress, None, None, None, None, (NOTHING_TO_MARGIN,), failures)
    progress(STEPS[3], 3, len(STEPS))
    scenarios = generate_stress_scenarios(book, market)
    notes, unmade = split_failures(scenarios.failures, failures)
    progress(STEPS[4], 4, len(STEPS))
    fund = prepare_fund(book, market, today, avalanche)
    stop = should_stop or never
    simulated = simulate_fund(fund, avalanche, scenario, device=device, should_stop=stop)
    progress(STEPS[5], 5, len(STEPS))
    known = simulated if scenario is None else None
    ladder = volatility_ladder(book, market, today, avalanche, known=known, fund=fund)
    progress(STEPS[6], 6, len(STEPS))
    liquidity = assess_liquidity(book, market, simulated)
    failures = (*failures, *unmade, *simulated.failures, *liquidity.failures)
    return Answers(today, stress, scenarios, simulated, ladder, liquidity, notes, failures)


def split_failures(
    found: tuple[Failure, ...], known: tuple[Failure, ...]
) -> tuple[tuple[str, ...], tuple[Failure, ...]]:
    """Return a note on scenarios that do not apply, and the new failures a user can act on."""
    idle = [failure.item for failure in found if failure.reason == FailureReason.NOT_APPLICABLE]
    new = [f for f in found if f.reason != FailureReason.NOT_APPLICABLE and f not in known]
    if not idle:
        return (), tuple(new)
    note = f"stress scenarios that move no factor of the fund's market: {', '.join(idle)}"
    return (f"{note} (`mca scenarios` says why)",), tuple(new)


def _market_table(market: MarketState) -> pd.DataFrame:
    import pandas as pd

    factors = market.factors
    return pd.DataFrame(
        {
            "factor_id": factors.factor_id,
            "asset_class": factors.asset_class,
            "level": market.level,
            "unit": factors.unit,
            "synthetic": factors.synthetic,
            "substituted": [name in market.substituted for name in factors.factor_id],
            "filled_days": [market.filled_days.get(str(name), 0) for name in factors.factor_id],
            "source": factors.source,
        }
    )


def all_tables(opened: Opened, answers: Answers) -> dict[str, pd.DataFrame]:
    """Return every table of a run by name."""
    import pandas as pd

    failures = [failure.to_dict() for failure in answers.failures]
    columns = ["reason", "item", "where", "message"]
    tables = {
        "market_factors": _market_table(opened.market),
        "quarantine": opened.reading.quarantine,
        "failures": pd.DataFrame(failures, columns=columns, dtype=object),
    }
    for part in (
        answers.margin,
        answers.stress,
        answers.scenarios,
        answers.avalanche,
        answers.ladder,
        answers.liquidity,
    ):
        if part is not None:
            tables.update(part.tables())
    return tables


def part_objects(answers: Answers) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the `avalanche` and `liquidity` objects; all keys without figures if nothing ran."""
    if answers.avalanche is None or answers.liquidity is None:
        blank = {"value": None, "low": None, "high": None}
        return {
            "paths": 0,
            "steps": 0,
            "amplification": None,
            "sales_amplification": blank,
            "branching_ratio": None,
            "p_avalanche": blank,
            "bands": {},
            "estimates": {},
            "sampling": {},
            "first_failure_by_currency": {},
            "peak_call_usd": dict.fromkeys(("mean", "q99", "es99", "es99_low", "es99_high")),
            "cash_error_cents": 0,
        }, {
            "p_exhaustion": None,
            "median_hours_to_exhaustion": None,
            "facility_need_99_usd": blank,
        }
    return answers.avalanche.to_dict(), answers.liquidity.to_dict()


def costliest(scenarios: ScenarioSet | None) -> list[dict[str, Any]]:
    """Return the scenarios with the largest losses to pay; none that costs nothing."""
    if scenarios is None:
        return []
    worst = scenarios.worst(SCENARIOS_SHOWN)
    return [entry.to_dict() for entry in worst if entry.calls_usd > 0]


def _summary(opened: Opened, answers: Answers, recipe: Recipe) -> dict[str, Any]:
    detail = answers.margin.to_dict()
    avalanche, liquidity = part_objects(answers)
    book = opened.book
    provenance = Provenance(recipe.inputs, rulebook_ids(), recipe.seed, recipe.version)
    return {
        "run_id": recipe.run_id(),
        "out": ".",
        "report": REPORT,
        "as_of": book.as_of.isoformat(),
        "fund": {"name": book.name, "currency": book.currency, "nav_usd": book.nav_usd},
        "margin": {
            **{key: value for key, value in detail.items() if key != "failures"},
            "largest": answers.margin.summary()["largest"],
        },
        "stress": answers.stress.to_dict(),
        "scenarios": costliest(answers.scenarios),
        "avalanche": avalanche,
        "avalanche_ladder": [] if answers.ladder is None else answers.ladder.rows(),
        "liquidity": liquidity,
        "notes": list(answers.notes),
        "failures": [failure.to_dict() for failure in answers.failures],
        "data_quality": data_quality(opened),
        "provenance": {
            **provenance.to_dict(),
            "options": recipe.options,
            "environment": environment(),
        },
        "reproduce": "mca reproduce .",
    }


def run_fund(
    pack: Path,
    out: Path | None,
    seed: int | None = None,
    history: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run the whole job and write the run folder.

    Parameters
    ----------
    pack : Path
        Fund pack.
    out : Path, optional
        Run folder; `runs/RUN_ID` if None.
    seed : int, optional
        Of the simulation; the pack's, else the default of `AvalancheConfig`, if None.
    history : Path, optional
        Takes the place of the pack's own history.
    overrides : mapping, optional
        Fields of `AvalancheConfig`, such as {"paths": 256}; None values are ignored.
    progress : callable
        Called with (step, steps done, steps in all).

    Returns
    -------
    dict
        The JSON object of `mca run --json`.

    Raises
    ------
    McaError
        If the input or an option cannot be used. Anything less is in `failures`.
    """
    from engine.margin.config import MarginConfig

    progress(STEPS[0], 0, len(STEPS))
    inputs = hash_inputs(pack, history)
    opened = open_fund(pack, history)
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    config = avalanche_config(opened.reading.config.avalanche, given, seed)
    options = {"overrides": given, "packaged_data": packaged_data_hash()}
    recipe = Recipe(inputs, config.seed, options, product_version())
    folder = RunFolder(RUNS / recipe.run_id() if out is None else out)
    folder.prepare(keep=pack)
    folder.take_inputs(pack, history, recipe)
    with folder.recording(recipe):
        answers = compute(opened, MarginConfig(), config, progress)
        progress(STEPS[7], 7, len(STEPS))
        return _write(folder, recipe, opened, answers)


def _write(folder: RunFolder, recipe: Recipe, opened: Opened, answers: Answers) -> dict[str, Any]:
    from workflows.report.build import write_report

    tables = all_tables(opened, answers)
    summary: dict[str, Any] = json_ready(_summary(opened, answers, recipe))
    write_report(summary, tables, folder.path / REPORT)
    folder.finish(recipe, summary, tables)
    return {
        **summary,
        "out": str(folder.path),
        "report": str(folder.path / REPORT),
        "reproduce": f"mca reproduce {folder.path}",
    }
