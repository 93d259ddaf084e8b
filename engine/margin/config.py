"""What a user may choose in the margin calculations; every default is stated where it is used."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.margin.add_ons.config import AddOnConfig
from engine.margin.close_out.config import CloseOutConfig
from engine.margin.credit.config import CdsConfig
from engine.margin.flat_rate import FlatRateConfig
from engine.margin.monte_carlo import McConfig
from engine.margin.parametric import ParametricConfig
from engine.margin.span.config import SpanConfig

LARGEST_MULTIPLIER = 10_000.0


class MarginConfig(BaseModel):
    """Choices of `calculate_margin_requirements` and `project_stress_margin`.

    Attributes
    ----------
    seed_days : int
        Returns whose variance starts the volatility recursion.
    aggregation : {"overlapping", "sqrt"}
        Moves over the margin period of risk: overlapping sums of daily moves, or daily moves
        times the square root of the days.
    mid_volatility : bool
        Scale residuals by the average of today's volatility and that of their own day instead
        of today's alone.
    stress_days : int
        Length of an agreement's stress period: the `stress_days` days with the highest average
        volatility of the factors it holds, where all of them are known (EMIR RTS 153/2013
        Art. 28(1)(b) leaves the choice to the CCP).
    simm_version : str or None
        None picks the version in force on the date of the book.
    simm_horizon_days : int
    side : {"call", "post"}
        Side of the standard models (SIMM and schedule), seen from the fund: `post` is what it
        owes, `call` what it may ask for.
    concentration_coefficient : float
        c of the concentration add-on, in daily standard deviations. 1.0 is an assumption of the
        house: no venue publishes its own.
    concentration_fraction : float
        f: share of average daily volume above which a position counts as concentrated.
    depth_exponent : float
        zeta: market depth falls as (volatility ratio) ** -zeta under stress, never below
        `depth_floor` of today's. The literature has 0.7 to 1.
    cap_volatility_factors : bool
        Under a volatility step, keep the volatility of factors that are volatilities themselves
        within the highest of their own history.
    volatility_multipliers, stress_horizon_days, stress_mode
        Stress projection: volatility steps up by each multiplier for `stress_horizon_days`.
    parametric, span, monte_carlo, cds, close_out, flat_rate
        Choices of the families of these models.
    add_ons : AddOnConfig
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed_days: int = Field(250, ge=2)
    aggregation: Literal["overlapping", "sqrt"] = "overlapping"
    mid_volatility: bool = False
    stress_days: int = Field(250, ge=20)
    simm_version: str | None = None
    simm_horizon_days: Literal[1, 10] = 10
    side: Literal["call", "post"] = "post"
    concentration_coefficient: float = Field(1.0, ge=0.0)
    concentration_fraction: float = Field(0.25, gt=0.0)
    depth_exponent: float = Field(1.0, ge=0.0)
    depth_floor: float = Field(0.1, gt=0.0, le=1.0)
    cap_volatility_factors: bool = True
    volatility_multipliers: tuple[float, ...] = (2.0, 5.0, 10.0)
    stress_horizon_days: int = Field(10, ge=1)
    stress_mode: Literal["volatility", "margin"] = "volatility"
    parametric: ParametricConfig = ParametricConfig()
    span: SpanConfig = SpanConfig()
    monte_carlo: McConfig = McConfig()
    cds: CdsConfig = CdsConfig()
    close_out: CloseOutConfig = CloseOutConfig()
    flat_rate: FlatRateConfig = FlatRateConfig()
    add_ons: AddOnConfig = AddOnConfig()

    @model_validator(mode="after")
    def _multipliers_positive(self) -> MarginConfig:
        given = self.volatility_multipliers
        if not given or not all(0.0 < m <= LARGEST_MULTIPLIER for m in given):
            raise ValueError(
                f"volatility_multipliers = {given}: give at least one, each above 0 and at most "
                f"{LARGEST_MULTIPLIER:g} (for example 2, 5, 10)"
            )
        return self


class BacktestConfig(BaseModel):
    """Choices of `backtest_margin`: one model and one tool on one series.

    Attributes
    ----------
    model : str
        `fhs`, `fhs_es`: tail of filtered losses (VaR, ES). `hs`: VaR of unfiltered losses.
        `normal`, `t`, `t_es`: quantile (or ES) of a law of unit variance times EWMA volatility.
        `scan`: `scan_multiple` times EWMA volatility, not below `scan_floor`. `close_out`: worst
        loss over up to `mpor_days` days in the last `close_out_days`. `flat`: one rate for ever.
    confidence : float or None
        None is 0.99 for VaR and 0.975 for ES.
    target_breach_rate : float or None
        Rate the coverage test expects. None is what the model claims: `1 - confidence` for VaR,
        `scan` and `flat`; 1 % for `fhs_es` (what ES at 97.5 % covers when returns are normal, to
        the nearest tenth of a per cent); the tail beyond ES for `t_es`;
        1 / (`close_out_days` + 1) for `close_out`.
    degrees_of_freedom : float
        Of Student's t in `t` and `t_es`, above 2. 5 is an assumption of the house.
    scan_multiple, scan_floor : float
        Daily volatilities of the price scan range, and its least value over the margin period as
        a fraction of notional. A multiple of 3 is an assumption of the house.
    flat_rate : float or None
        Margin over the margin period as a fraction of notional. None is the VaR of the first
        `lookback_days` losses times the square root of the margin period, never changed.
    side : {"long", "short"}
        Which position is margined.
    apc : str
        Tool of `engine.margin.procyclicality_paths.PATH_TOOLS`; its triggers, refill and decline
        are the defaults there.
    stress_start, stress_end : date or None
        Stress period, both ends included. None is the `stress_days` days of highest volatility.
    stress_choice : {"hindsight", "known"}
        Where no dates are given: the worst period of the whole series, or on each day the worst
        one up to that day.
    window_start, window_end : date or None
        Window of the procyclicality measures and of the mean margin; None is the whole history.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal["fhs", "fhs_es", "hs", "normal", "t", "t_es", "scan", "close_out", "flat"] = (
        "fhs"
    )
    ewma_lambda: float = Field(0.97, gt=0.0, lt=1.0)
    confidence: float | None = Field(None, gt=0.5, lt=1.0)
    lookback_days: int = Field(1250, ge=100)
    mpor_days: int = Field(2, ge=1)
    seed_days: int = Field(250, ge=2)
    returns: Literal["log", "absolute"] = "log"
    side: Literal["long", "short"] = "long"
    target_breach_rate: float | None = Field(None, gt=0.0, lt=0.5)
    degrees_of_freedom: float = Field(5.0, gt=2.0)
    scan_multiple: float = Field(3.0, gt=0.0)
    scan_floor: float = Field(0.0, ge=0.0)
    close_out_days: int = Field(2500, ge=100)
    flat_rate: float | None = Field(None, gt=0.0)
    apc: Literal[
        "none",
        "buffer",
        "buffer_path",
        "stress_weight",
        "long_run_floor",
        "stress_floor",
        "step",
    ] = "none"
    stress_weight: float = Field(0.25, ge=0.0, le=1.0)
    stress_days: int = Field(250, ge=20)
    stress_start: date | None = None
    stress_end: date | None = None
    stress_choice: Literal["hindsight", "known"] = "hindsight"
    floor_days: int = Field(2500, ge=250)
    buffer: float = Field(0.25, ge=0.0)
    buffer_mean_days: int = Field(250, ge=2)
    window_start: date | None = None
    window_end: date | None = None

    @model_validator(mode="after")
    def _pairs(self) -> BacktestConfig:
        for start, end, name in (
            (self.stress_start, self.stress_end, "stress"),
            (self.window_start, self.window_end, "window"),
        ):
            if name == "stress" and (start is None) != (end is None):
                raise ValueError("give both stress_start and stress_end, or neither")
            if start is not None and end is not None and start > end:
                raise ValueError(f"{name}_start {start} is after {name}_end {end}")
        return self

    def level(self) -> float:
        """Return the confidence of the tail measure."""
        if self.confidence is not None:
            return self.confidence
        return 0.975 if self.model in ("fhs_es", "t_es") else 0.99
