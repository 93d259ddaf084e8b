"""`simulate_margin_avalanche`: can the calls cascade, how large do they get, when do they stop?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from engine.avalanche.branching import branching_ratio
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.detect import Detection, detect
from engine.avalanche.exposures import aggregate
from engine.avalanche.market_inputs import estimate_inputs, simulated_factors
from engine.avalanche.model import build_model
from engine.avalanche.statistics import expected_shortfall, quantile, ratio_of_sums, wilson
from engine.avalanche.terms import CURVE_MULTIPLES
from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.failures import Failure, FailureReason
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import AvalancheResult, MarginResult
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.layout import HOURS_PER_DAY, METRICS, WINDOW_HOURS, Model, Output
from engine.margin.add_ons.apply import FOLLOWS_MARGIN, FOLLOWS_VOLATILITY
from engine.margin.concentration import concentration_curve
from engine.margin.config import MarginConfig

FAN_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
TAIL = 0.99
# The raise of the closed form: one share for all scenarios, so that they can be compared.
REFERENCE_RAISE_SHARE = 0.1

Progress = Callable[[str, float], None]


def fund_model(
    book: Book, market: MarketState, margin: MarginResult, config: AvalancheConfig
) -> Model:
    """Build the kernel's model of a fund: exposures, factors, terms, liquidity."""
    return fund_models(book, market, margin, [config])[0]


def fund_models(
    book: Book, market: MarketState, margin: MarginResult, configs: Sequence[AvalancheConfig]
) -> list[Model]:
    """Build one model for each config from the same exposures and factor estimates.

    The estimates follow the first config's correlation lookback.
    """
    exposures = aggregate(book, market)
    inputs = estimate_inputs(market, simulated_factors(market, exposures), configs[0])
    config = MarginConfig(**margin.basis["config"])
    curve = concentration_curve(book, market, config, CURVE_MULTIPLES)
    ratio = margin.basis["anchor_ratio"]
    curve *= np.array([[ratio.get(str(name), 1.0)] for name in book.agreements.agreement_id])
    curve += _fixed_add_ons(book, margin)[:, np.newaxis]
    return [
        build_model(book, market, margin, exposures, inputs, curve, config) for config in configs
    ]


def _fixed_add_ons(book: Book, margin: MarginResult) -> Float64Array:
    """Add-ons that follow neither margin nor volatility, (n_agreements,) of the book, USD."""
    row = {str(name): a for a, name in enumerate(book.agreements.agreement_id)}
    at = [row[str(name)] for name in margin.agreement_id]
    fixed = np.zeros(len(row))
    for name, amount in margin.add_ons.items():
        if name not in FOLLOWS_MARGIN and name not in FOLLOWS_VOLATILITY:
            fixed[at] += amount
    return fixed


def simulate_margin_avalanche(
    book: Book,
    market: MarketState,
    margin: MarginResult,
    config: AvalancheConfig,
    *,
    threads: int | None = None,
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
    threads : int, optional
        Worker threads, all cores if None. Does not change any figure.
    progress : callable, optional
        Called with the name of the run and the share done.

    Returns
    -------
    AvalancheResult
        Amounts in USD.
    """
    model = fund_model(book, market, margin, config)
    return simulate_model(model, margin, config, threads=threads, progress=progress)


def simulate_model(
    model: Model,
    margin: MarginResult,
    config: AvalancheConfig,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> AvalancheResult:
    """Run a model that is already built; see `simulate_margin_avalanche`."""

    def run(name: str, variant: Model, fan: bool) -> Output:
        from engine.kernels.avalanche.compiled import run_paths

        report = None if progress is None else lambda share: progress(name, share)
        return run_paths(
            variant, config.paths, config.seed, threads=threads, fan=fan, progress=report
        )

    on = run("with feedback", model, True)
    off = run("without feedback", _without_impact(model), False)
    held = run("without sales", _without_sales(model), False)
    return _summarise(model, margin, config, on, off, held)


def _without_impact(model: Model) -> Model:
    return model._replace(impact=np.zeros_like(model.impact), cost=np.zeros_like(model.cost))


def _without_sales(model: Model) -> Model:
    pool = model.pool.copy()
    pool[layout.POOL_SELL] = 0.0
    return model._replace(pool=pool)


def metric(output: Output, name: str) -> Float64Array:
    """Return one per-path metric of a run in the kernel's units (cents, hours, counts)."""
    values: Float64Array = output.metrics[METRICS.index(name)]
    return values


def _usd(cents: Float64Array) -> Float64Array:
    return cents / CENTS_PER_UNIT


def peak_daily_calls(output: Output) -> Float64Array:
    """Return the largest sum of calls issued in one day, USD, shape (n_paths,)."""
    per_day = HOURS_PER_DAY // WINDOW_HOURS
    windows = output.windows
    days = windows.reshape(len(windows) // per_day, per_day, windows.shape[1]).sum(axis=1)
    return _usd(days.max(axis=0))


def _cash_failures(error_cents: float) -> tuple[Failure, ...]:
    if error_cents == 0.0:
        return ()
    message = (
        f"cash does not close: {error_cents:.0f} cents are lost, because an amount is too large to "
        "be exact (beyond about 20 trillion USD): check quantities and multipliers"
    )
    return (Failure(FailureReason.CALCULATION_FAILED, "cash", "avalanche", message),)


def _summarise(
    model: Model,
    margin: MarginResult,
    config: AvalancheConfig,
    on: Output,
    off: Output,
    held: Output,
) -> AvalancheResult:
    verdict = detect(on, off)
    peak = peak_daily_calls(on)
    es99 = expected_shortfall(peak, TAIL, config.seed)
    tail_paths = peak >= np.quantile(peak, TAIL)
    raised = REFERENCE_RAISE_SHARE * float(np.sum(model.im_start))
    branch = branching_ratio(model, raised, config.volatility_multiplier)
    error = max(float(np.max(np.abs(metric(run, "cash_error")))) for run in (on, off, held))
    return AvalancheResult(
        scenario=config.scenario(),
        volatility_multiplier=config.volatility_multiplier,
        paths=config.paths,
        steps=len(model.stress),
        seed=config.seed,
        amplification=ratio_of_sums(
            metric(on, "calls_total"), metric(off, "calls_total"), config.seed
        ),
        sales_amplification=ratio_of_sums(metric(on, "raised"), metric(off, "raised"), config.seed),
        branching_ratio=branch.ratio,
        branching_loss=branch.loss,
        branching_margin=branch.margin,
        branching_raise_usd=raised / CENTS_PER_UNIT,
        p_avalanche=wilson(int(verdict.avalanche.sum()), config.paths),
        bands=verdict.bands(),
        peak_call_mean=float(peak.mean()),
        peak_call_q99=quantile(peak, TAIL),
        peak_call_es99=es99,
        calls_total_mean=float(_usd(metric(on, "calls_total")).mean()),
        cash_error_cents=round(error),
        forced_sales_share=float(np.mean(metric(on, "raised") > 0)),
        impact_cost_mean_usd=float(_usd(metric(on, "impact_cost")).mean()),
        feedback_loss_mean_usd=float(
            _usd(metric(off, "nav_end")).mean() - _usd(metric(on, "nav_end")).mean()
        ),
        crowding=config.crowding,
        participation=config.participation,
        impact_coefficient=config.impact_coefficient,
        fan_quantiles=FAN_QUANTILES,
        fan_usd=_usd(np.quantile(on.fan.astype(np.float64), FAN_QUANTILES, axis=1)),
        mean_calls_by_window_usd=_usd(on.windows.mean(axis=1)),
        mean_calls_by_window_exogenous_usd=_usd(off.windows.mean(axis=1)),
        mean_calls_by_agreement_usd=_usd(on.calls.mean(axis=1)),
        tail_calls_by_agreement_usd=_usd(on.calls[:, tail_paths].mean(axis=1)),
        agreement_id=margin.agreement_id,
        failures=_cash_failures(error),
        per_path=_per_path(on, off, held, peak, verdict),
    )


def _per_path(
    on: Output, off: Output, held: Output, peak: Float64Array, verdict: Detection
) -> dict[str, Float64Array]:
    return {
        "calls_usd": _usd(metric(on, "calls_total")),
        "calls_without_feedback_usd": _usd(metric(off, "calls_total")),
        "peak_daily_call_usd": peak,
        "branching": verdict.branching,
        "avalanche": verdict.avalanche.astype(np.float64),
        "exhausted_hour": metric(on, "exhausted_hour"),
        "liquidity_min_usd": _usd(metric(on, "liquidity_min")),
        "drawn_max_usd": _usd(metric(on, "drawn_max")),
        "unpaid_max_usd": _usd(metric(on, "unpaid_max")),
        "raised_usd": _usd(metric(on, "raised")),
        "impact_cost_usd": _usd(metric(on, "impact_cost")),
        "im_max_usd": _usd(metric(on, "im_max")),
        "margin_multiple_max": metric(on, "margin_multiple_max"),
        "nav_end_usd": _usd(metric(on, "nav_end")),
        "facility_need_usd": _usd(metric(held, "need_max")),
        "exhausted_hour_without_sales": metric(held, "exhausted_hour"),
    }
