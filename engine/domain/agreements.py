"""Margin agreements: what binds the fund to a venue or counterparty, and on which terms."""

from __future__ import annotations

from dataclasses import dataclass

from engine.domain.arrays import Float64Array, Int64Array, StrArray

AGREEMENT_KINDS = ("cleared", "bilateral", "prime")
MARGIN_MODELS = (
    "fhs_var",
    "fhs_es",
    "parametric",
    "span",
    "mc_es",
    "cds",
    "close_out",
    "flat",
    "simm",
    "schedule",
)
# Models whose margin is a tail of moves: they need a confidence, a lookback and a decay.
TAIL_MODELS = ("fhs_var", "fhs_es", "parametric", "span", "mc_es", "cds", "close_out")
# Models whose margin follows volatility; the others keep their weights until a rulebook changes.
REACTIVE_MODELS = ("fhs_var", "fhs_es", "parametric", "span", "mc_es", "cds")
# Models with an anti-procyclicality tool; crisis paths already stand in a close-out margin.
TOOL_MODELS = ("fhs_var", "fhs_es", "parametric", "span", "mc_es", "cds")
# Anti-procyclicality: none, or a tool of EMIR RTS 153/2013 Art. 28(1) (a), (b), (c), or a floor at
# the margin of the stress period.
APC_TOOLS = ("none", "buffer", "stress_weight", "long_run_floor", "stress_floor")
EVIDENCE = ("verified", "indicative", "user")


@dataclass(frozen=True)
class Agreements:
    """One row per agreement; every array has shape (n_agreements,).

    Attributes
    ----------
    agreement_id : object array of str
        Unique id.
    kind : object array of str
        `cleared` (a CCP service through a clearing broker), `bilateral` (a CSA) or `prime`.
    venue : object array of str
        Clearing service for `cleared` ("" otherwise).
    counterparty : object array of str
        Who calls: the clearing broker, the dealer, the prime broker.
    broker : object array of str
        Clearing or prime broker ("" for `bilateral`).
    legal_entity, currency : object arrays of str
        Entity of the fund that pays, and the currency of calls.
    model : object array of str
        One of `MARGIN_MODELS`.
    confidence : float64 array
        Of the tail measure, for example 0.99 (NaN for models outside `TAIL_MODELS`).
    mpor_days : int64 array
        Margin period of risk in business days.
    lookback_days : int64 array
        Days of history the model uses (0 outside `TAIL_MODELS`).
    ewma_lambda : float64 array
        Daily decay of the volatility filter (NaN outside `TAIL_MODELS`; 1.0 switches it off).
    apc : object array of str
        One of `APC_TOOLS`.
    stress_weight : float64 array
        Weight of the stress-period margin in the total, 0 to 1; above 0 only with `stress_weight`.
    apc_buffer : float64 array
        Buffer on calculated margin, a fraction; above 0 only with `buffer`.
    broker_multiplier : float64 array
        The broker's factor on the venue's margin, 1.0 if none.
    vm_threshold, im_threshold, mta, rounding, independent_amount : float64 arrays
        CSA terms in the agreement's currency; 0 where none.
    vm_held, im_held : float64 arrays
        Collateral now posted by the fund (positive) or held by it (negative), same currency.
    eod_hour_utc : int64 array
        Hour (0 to 23) of the daily call.
    intraday_hours_utc : object array of tuple of int
        Hours of further calls; only increases are called then.
    pay_lag_hours : int64 array
        Hours from call to payment deadline (1 to 31).
    im_group : object array of str
        Group of counterparties that shares the regulatory IM threshold ("" outside `bilateral`).
    eligible_collateral : object array of tuple of str
        Asset classes that may be posted as margin; () is cash only.
    reported_im : float64 array
        Margin the venue or dealer reports for today, in the agreement's currency; NaN if not
        known. Projections are scaled to it.
    evidence : object array of str
        `verified`, `indicative` or `user`: how well the model parameters are known. Always shown.
    """

    agreement_id: StrArray
    kind: StrArray
    venue: StrArray
    counterparty: StrArray
    broker: StrArray
    legal_entity: StrArray
    currency: StrArray
    model: StrArray
    confidence: Float64Array
    mpor_days: Int64Array
    lookback_days: Int64Array
    ewma_lambda: Float64Array
    apc: StrArray
    stress_weight: Float64Array
    apc_buffer: Float64Array
    broker_multiplier: Float64Array
    vm_threshold: Float64Array
    im_threshold: Float64Array
    mta: Float64Array
    rounding: Float64Array
    independent_amount: Float64Array
    vm_held: Float64Array
    im_held: Float64Array
    eod_hour_utc: Int64Array
    intraday_hours_utc: StrArray
    pay_lag_hours: Int64Array
    im_group: StrArray
    eligible_collateral: StrArray
    reported_im: Float64Array
    evidence: StrArray

    def __len__(self) -> int:
        return len(self.agreement_id)
