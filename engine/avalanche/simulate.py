"""`simulate_margin_avalanche`: can the calls cascade, how large do they get, when do they stop?"""

from __future__ import annotations

from collections.abc import Callable

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.prepared import PreparedFund, prepare_fund
from engine.avalanche.runs import SCORED, Progress, batch_size, simulate_runs
from engine.avalanche.summary import summarise
from engine.domain.book import Book
from engine.domain.failures import InputError, MissingDependencyError
from engine.domain.market import MarketState
from engine.domain.results import AvalancheResult, MarginResult
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.layout import Model
from engine.kernels.cuda_backend import CudaUnavailable, choose_device, require_device


def never() -> bool:
    """Return False: no time budget."""
    return False


def fund_model(
    book: Book,
    market: MarketState,
    margin: MarginResult,
    config: AvalancheConfig,
    scenario: Scenario | None = None,
) -> Model:
    """Build the kernel's model of a fund: exposures, factors, terms, liquidity."""
    return prepare_fund(book, market, margin, config).model(config, scenario)


def simulate_margin_avalanche(
    book: Book,
    market: MarketState,
    margin: MarginResult,
    config: AvalancheConfig,
    scenario: Scenario | None = None,
    *,
    threads: int | None = None,
    device: str = "cpu",
    should_stop: Callable[[], bool] = never,
    progress: Progress | None = None,
) -> AvalancheResult:
    """Simulate calls, cash and forced sales on `config.paths` paths of hourly steps.

    Three runs share their random numbers: with price feedback, without it, and without forced
    sales (which gives the need for a credit line). Money is exact to the cent on every path.

    Parameters
    ----------
    book, market, margin
        The fund, the market, and the fund's margin from `calculate_margin_requirements`.
    config : AvalancheConfig
        Assumptions; all are repeated in the result.
    scenario : Scenario, optional
        What happens to markets; it takes the place of the config's volatility step.
    threads : int, optional
        Worker threads, all cores if None. Does not change any figure.
    device : str
        `cpu`, `cuda`, or `auto`: the GPU where one is present and the paths make it pay.
    should_stop : callable
        A time budget: asked between batches where the config sets a precision.
    progress : callable, optional
        Called with the name of the run and the share done.

    Returns
    -------
    AvalancheResult
        Amounts in USD.

    Raises
    ------
    InputError
        If the scenario names what the market lacks, or assumes a model change.
    """
    fund = prepare_fund(book, market, margin, config)
    return simulate_fund(
        fund,
        config,
        scenario,
        threads=threads,
        device=device,
        should_stop=should_stop,
        progress=progress,
    )


def simulate_fund(
    fund: PreparedFund,
    config: AvalancheConfig,
    scenario: Scenario | None = None,
    *,
    threads: int | None = None,
    device: str = "cpu",
    should_stop: Callable[[], bool] = never,
    progress: Progress | None = None,
) -> AvalancheResult:
    """Simulate a fund that is already prepared; see `simulate_margin_avalanche`."""
    if scenario is not None and scenario.model_changes:
        raise InputError(
            f"scenario {scenario.scenario_id!r} assumes model changes "
            f"{list(scenario.model_changes)}: the simulation keeps today's models; `mca changes` "
            "shows what they do to margin"
        )
    scored = SCORED if batch_size(config) else 0
    model = fund.model(config, scenario, scored)
    runs = simulate_runs(
        model, config, threads, progress, should_stop, _device(device, config.paths)
    )
    return summarise(fund, model, config, scenario, runs)


def _device(requested: str, paths: int) -> str:
    try:
        chosen = choose_device(requested, paths)
        if chosen == "cuda":
            require_device()
    except CudaUnavailable as error:
        raise MissingDependencyError(str(error)) from error
    return chosen
