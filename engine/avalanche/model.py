"""From a book, its margin and a market to the arrays of the kernel (`layout.Model`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.exposures import Exposures
from engine.avalanche.sparse import index_array, pack_rows
from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.domain.book import Book
from engine.domain.market import ASSET_CLASSES, MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import MarginResult
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.layout import HOURS_PER_DAY, Model

ACTIVE_HOURS = range(7, 21)
SETTLEMENT_HOUR = 16
# Where the concentration curve is read: the kernel's hinges, and one beyond for the last slope.
CURVE_MULTIPLES = (*layout.HINGES, 20.0)


@dataclass(frozen=True)
class MarketInputs:
    """The factors a run simulates, the lead factor first, and their joint daily moves.

    Attributes
    ----------
    columns : int64 array of shape (K,)
        Column of each simulated factor in the market.
    daily_volatility : float64 array of shape (K,)
        Standard deviation of a day's move, floors applied.
    correlation : float64 array of shape (K, K)
        Positive definite.
    """

    columns: Int64Array
    daily_volatility: Float64Array
    correlation: Float64Array


def hour_weights(config: AvalancheConfig) -> Float64Array:
    """Return each hour's share of a day's variance, shape (24,), sum 1."""
    active = np.isin(np.arange(HOURS_PER_DAY), ACTIVE_HOURS)
    quiet_share = 1.0 - config.active_hours_share
    weights: Float64Array = np.where(
        active,
        config.active_hours_share / active.sum(),
        quiet_share / (~active).sum(),
    )
    return weights


def build_model(
    book: Book,
    market: MarketState,
    margin: MarginResult,
    exposures: Exposures,
    inputs: MarketInputs,
    curve: Float64Array,
    config: AvalancheConfig,
) -> Model:
    """Build the kernel's model; rows of agreements follow `margin.agreement_id`.

    `curve` is the concentration add-on in USD at CURVE_MULTIPLES times today's volatility, shape
    (n_agreements of the book, len(CURVE_MULTIPLES)).

    Raises
    ------
    ValueError
        If `margin` names an agreement the book does not have.
    """
    position = {name: i for i, name in enumerate(book.agreements.agreement_id)}
    rows = np.array([position[name] for name in margin.agreement_id], dtype=np.int64)
    delta = exposures.delta[np.ix_(rows, inputs.columns)] * CENTS_PER_UNIT
    gamma = exposures.gamma[np.ix_(rows, inputs.columns)] * CENTS_PER_UNIT
    buckets, bucket_of = np.unique(
        market.factors.bucket[inputs.columns].astype(str), return_inverse=True
    )
    bucket_of = bucket_of.astype(np.int64)
    segments = _segments(delta, gamma, bucket_of, len(buckets))
    covariance = (
        inputs.correlation * inputs.daily_volatility[:, None] * inputs.daily_volatility[None, :]
    )
    pairs, norm, gradient = _sizes(delta, gamma, covariance, bucket_of, len(buckets))
    im, threshold = _gross_margin(book, market, margin, rows)
    parts: dict[str, object] = {}
    parts.update(_market_part(inputs, market, bucket_of, config))
    parts.update(segments)
    parts.update(pairs)
    parts.update({"im_start": im, "im_threshold": threshold, "daily_norm": norm})
    parts.update(_curve_part(curve[rows]))
    parts.update(_agreement_part(book, market, rows, margin, exposures.value[rows], config))
    posted = np.rint(_cents(book, market, book.agreements.im_held, rows))
    required = np.maximum(im - threshold, 0.0) + np.rint(curve[rows, 0] * CENTS_PER_UNIT)
    parts["open_call"] = np.rint(margin.vm_usd * CENTS_PER_UNIT) + required - posted
    called = np.where(im > threshold, im, 0.0)
    parts.update(_sales_part(market, inputs, delta, bucket_of, called, gradient, config))
    parts.update(_liquidity_part(book, market, config))
    parts.update(_flow_part(book, market, config))
    return Model(**parts)


def _gross_margin(
    book: Book, market: MarketState, margin: MarginResult, rows: Int64Array
) -> tuple[Float64Array, Float64Array]:
    """IM before the threshold and the threshold, in cents; the broker's multiplier on both."""
    before = margin.basis.get("im_before_threshold_usd", {})
    gross = np.array(
        [
            before.get(str(name), im)
            for name, im in zip(margin.agreement_id, margin.im_usd, strict=True)
        ]
    )
    agreements = book.agreements
    limit = _cents(book, market, agreements.im_threshold, rows)
    has_limit = np.array([str(name) in before for name in margin.agreement_id], dtype=bool)
    multiplier = agreements.broker_multiplier[rows]
    net_of = np.where(has_limit, limit, 0.0)
    return np.rint(gross * CENTS_PER_UNIT * multiplier), np.rint(net_of * multiplier)


def _cents(book: Book, market: MarketState, amount: Float64Array, rows: Int64Array) -> Float64Array:
    """Amounts in the agreements' currencies as cents of USD."""
    usd = market.usd_per(book.agreements.currency[rows])
    return np.asarray(amount[rows] * usd * CENTS_PER_UNIT)


def _curve_part(curve: Float64Array) -> dict[str, object]:
    """Slopes of the add-on between hinges, as changes at each hinge (beyond the last: on)."""
    cents = curve * CENTS_PER_UNIT
    slopes = np.diff(cents, axis=1) / np.diff(CURVE_MULTIPLES)
    changes = np.diff(slopes, axis=1, prepend=0.0)
    return {
        "concentration_start": np.rint(cents[:, 0]),
        "concentration_slope": np.ascontiguousarray(changes),
    }


def _market_part(
    inputs: MarketInputs, market: MarketState, bucket_of: Int64Array, config: AvalancheConfig
) -> dict[str, object]:
    classes = market.factors.asset_class[inputs.columns]
    present = [name for name in ASSET_CLASSES if name in set(classes)]
    group = np.array([present.index(name) for name in classes])
    hours = config.horizon_days * HOURS_PER_DAY
    day = np.arange(1, hours + 1) / HOURS_PER_DAY
    fade = 0.5 ** (day / config.volatility_half_life_days)
    stress = 1.0 + (config.volatility_multiplier - 1.0) * fade
    weight = np.tile(hour_weights(config), config.horizon_days)
    keep = 1.0 - config.mean_reversion_per_hour
    noise = config.volatility_of_volatility
    # Taking out the variance of log volatility keeps E[volatility^2] at the scenario's level. An
    # hour's moves use the volatility before it, so the first has none.
    powers = keep ** (2 * np.arange(hours))
    log_variance = noise**2 * (np.cumsum(powers) - powers)
    volatility = np.sqrt(weight) * stress * np.exp(-log_variance)
    lower = np.linalg.cholesky(inputs.correlation) * inputs.daily_volatility[:, None]
    ptr, row, coef = pack_rows(list(lower))
    load = np.array([config.leverage[name] for name in present])
    return {
        "chol_ptr": ptr,
        "chol_row": row,
        "chol_coef": coef,
        "group": index_array(group),
        "bucket": index_array(bucket_of),
        "gamma_range": config.convexity_range_sigmas * inputs.daily_volatility,
        "shock": np.zeros((hours, len(classes))),
        "volatility": np.repeat(volatility[:, None], len(present), axis=1),
        "stress": stress,
        "keep": np.full(len(present), keep),
        "lead_row": index_array([0]),
        "lead_load": noise * load,
        "own_load": noise * np.sqrt(1.0 - load**2),
    }


def _segments(
    delta: Float64Array, gamma: Float64Array, bucket_of: Int64Array, buckets: int
) -> dict[str, object]:
    """P&L rows of each (agreement, bucket) that has any exposure."""
    factors = delta.shape[1]
    seg_ptr, seg_bucket, rows = [0], [], []
    for r in range(len(delta)):
        for b in range(buckets):
            inside = bucket_of == b
            row = np.zeros(2 * factors)
            row[:factors] = np.where(inside, delta[r], 0.0)
            row[factors:] = np.where(inside, gamma[r], 0.0)
            if np.any(row):
                rows.append(row)
                seg_bucket.append(b)
        seg_ptr.append(len(rows))
    ptr, row_index, coef = pack_rows(rows)
    return {
        "seg_ptr": index_array(seg_ptr),
        "seg_bucket": index_array(seg_bucket),
        "ent_ptr": ptr,
        "ent_row": row_index,
        "ent_coef": coef,
    }


def _sizes(
    delta: Float64Array,
    gamma: Float64Array,
    covariance: Float64Array,
    bucket_of: Int64Array,
    buckets: int,
) -> tuple[dict[str, object], Float64Array, Float64Array]:
    """Daily P&L variance by pairs of buckets, its root, and the gradient of relative size.

    Convexity adds its own variance: Var(gamma x^2 / 2) = gamma_k gamma_l cov_kl^2 / 2 for normal
    moves. An agreement without exposure keeps size 1 through its first bucket.
    """
    member = (bucket_of[None, :] == np.arange(buckets)[:, None]).astype(np.float64)
    ptr, first, second, coefs = [0], [], [], []
    norm = np.zeros(len(delta))
    gradient = np.zeros((len(delta), buckets))
    for r in range(len(delta)):
        by_bucket = member * delta[r]
        bent = member * gamma[r]
        matrix = by_bucket @ covariance @ by_bucket.T + 0.5 * bent @ covariance**2 @ bent.T
        total = float(matrix.sum())
        norm[r] = np.sqrt(max(total, 0.0))
        if norm[r] == 0.0:
            matrix, total = np.zeros((buckets, buckets)), 1.0
            matrix[0, 0] = 1.0
        else:
            gradient[r] = matrix.sum(axis=1) / total
        a, b = np.nonzero(np.triu(matrix != 0.0))
        first.append(a)
        second.append(b)
        coefs.append(matrix[a, b] / total * np.where(a == b, 1.0, 2.0))
        ptr.append(ptr[-1] + len(a))
    pairs: dict[str, object] = {
        "pair_ptr": index_array(ptr),
        "pair_a": index_array(np.concatenate(first) if first else []),
        "pair_b": index_array(np.concatenate(second) if second else []),
        "pair_coef": np.concatenate(coefs) if coefs else np.zeros(0),
    }
    return pairs, norm, gradient


def _agreement_part(
    book: Book,
    market: MarketState,
    rows: Int64Array,
    margin: MarginResult,
    value_usd: Float64Array,
    config: AvalancheConfig,
) -> dict[str, object]:
    """Terms of each agreement, and where its variation margin stands.

    Cleared and prime positions are settled daily, so their exposure starts at zero. A bilateral
    exposure is what the trades are worth. Today's call is on its way: the collateral counts as
    held already, the cash moves after the usual lag (`open_call`: variation margin called today,
    and initial margin required beyond what is posted).
    """
    a = book.agreements
    usd_cents = market.usd_per(a.currency[rows]) * CENTS_PER_UNIT
    reactive = np.char.startswith(a.model[rows].astype(str), "fhs")
    bilateral = a.kind[rows] == "bilateral"
    held = np.rint(-a.vm_held[rows] * usd_cents) - np.rint(margin.vm_usd * CENTS_PER_UNIT)
    pay_lag = a.pay_lag_hours[rows]
    receive_lag = np.minimum(pay_lag + config.receipt_delay_hours, layout.RING_HOURS - 1)
    windows = [_window_bits(a.eod_hour_utc[r], a.intraday_hours_utc[r]) for r in rows]
    return {
        "ewma_lambda": np.where(reactive, np.nan_to_num(a.ewma_lambda[rows], nan=1.0), 1.0),
        "stress_share": np.where(reactive, a.stress_weight[rows], 0.0),
        "multiple_floor": np.array([config.margin_floor]),
        "vm_threshold": np.rint(a.vm_threshold[rows] * usd_cents),
        "mta": np.rint(a.mta[rows] * usd_cents),
        "exposure_start": np.where(bilateral, value_usd * CENTS_PER_UNIT, 0.0),
        "held_start": np.where(bilateral, held, 0.0),
        "window_mask": index_array(windows),
        "eod_hour": index_array(a.eod_hour_utc[rows]),
        "pay_lag": index_array(pay_lag),
        "receive_lag": index_array(receive_lag),
        "trigger": np.where(bilateral, 0.0, config.intraday_trigger_share),
    }


def _window_bits(eod_hour: int, intraday_hours: tuple[int, ...]) -> int:
    bits = 1 << int(eod_hour)
    for hour in intraday_hours:
        bits |= 1 << int(hour)
    return bits


def _sales_part(
    market: MarketState,
    inputs: MarketInputs,
    delta: Float64Array,
    bucket_of: Int64Array,
    im: Float64Array,
    gradient: Float64Array,
    config: AvalancheConfig,
) -> dict[str, object]:
    """Relief, caps and impact of each bucket.

    Selling raises margin where a bucket hedges the rest: such a bucket releases nothing and is
    not sold. The cap keeps every factor of the bucket within its participation.
    """
    net = delta.sum(axis=0)
    adv = market.factors.adv[inputs.columns] * CENTS_PER_UNIT
    buckets = gradient.shape[1]
    relief = np.maximum((im[:, None] * gradient).sum(axis=0), 0.0)
    share_of_adv = np.abs(net) / adv
    capacity = np.ones(buckets)
    root = np.sqrt(share_of_adv)
    signed = -np.sign(net) * config.impact_coefficient * inputs.daily_volatility * root
    if not config.feedback:
        signed = np.zeros_like(signed)
    cost = np.zeros(buckets)
    np.add.at(cost, bucket_of, np.abs(net) * np.abs(signed))
    for b in range(buckets):
        largest = share_of_adv[bucket_of == b].max()
        capacity[b] = min(1.0, config.participation / largest) if largest > 0 else 1.0
    weight = relief * capacity
    total = weight.sum()
    hours = np.tile(hour_weights(config), config.horizon_days)
    return {
        "impact": signed,
        "relief": relief,
        "sale_share": weight / total if total > 0 else np.zeros(buckets),
        "sale_cap": hours[:, None] * capacity[None, :],
        "cost": cost,
    }


def _liquidity_part(book: Book, market: MarketState, config: AvalancheConfig) -> dict[str, object]:
    cash = float(np.sum(np.rint(book.cash.amount_cents * market.usd_per(book.cash.currency))))
    c = book.collateral
    value = c.market_value * market.usd_per(c.currency) * CENTS_PER_UNIT
    hqla = float(np.sum(np.rint(value)))
    haircut = float(np.sum(value * c.haircut) / np.sum(value)) if hqla > 0 else 0.0
    f = book.facilities
    undrawn = np.rint((f.limit_cents - f.drawn_cents) * market.usd_per(f.currency))
    resources = cash + hqla * (1.0 - haircut) + float(undrawn.sum())
    pool = np.zeros(layout.POOL_SIZE)
    pool[layout.POOL_CASH] = cash
    pool[layout.POOL_HQLA] = hqla
    pool[layout.POOL_HAIRCUT] = haircut
    pool[layout.POOL_HQLA_CAP] = np.rint(hqla * config.hqla_share_per_hour)
    nav_usd = book.nav_usd
    pool[layout.POOL_NAV] = max(np.rint(nav_usd * CENTS_PER_UNIT), 1.0)
    pool[layout.POOL_TARGET] = np.rint(config.liquidity_target_share * resources)
    pool[layout.POOL_REQUEST] = np.rint(
        config.facility_request_share * (cash + hqla * (1 - haircut))
    )
    pool[layout.POOL_DECAY] = 0.5 ** (1.0 / (config.impact_half_life_days * HOURS_PER_DAY))
    pool[layout.POOL_CROWD] = config.crowding
    pool[layout.POOL_SELL] = float(config.forced_sales)
    pool[layout.POOL_DEGREES] = config.tail_degrees
    pool[layout.POOL_KEEP_SHARE] = config.least_position_share
    return {
        "facility_limit": undrawn,
        "facility_notice": f.notice_hours.astype(np.float64),
        "facility_covenant": f.nav_covenant.astype(np.float64),
        "pool": pool,
    }


def _flow_part(book: Book, market: MarketState, config: AvalancheConfig) -> dict[str, object]:
    """Agreed settlements by hour: each on its business day, in the settlement hour."""
    flow = np.zeros(config.horizon_days * HOURS_PER_DAY)
    settlements = book.settlements
    if len(settlements.settlement_id):
        start = np.datetime64(book.as_of, "D")
        day = np.busday_count(start, settlements.value_date.astype("datetime64[D]"))
        hour = (day - 1) * HOURS_PER_DAY + SETTLEMENT_HOUR
        usd = np.rint(settlements.amount_cents * market.usd_per(settlements.currency))
        inside = (day >= 1) & (hour < len(flow))
        np.add.at(flow, hour[inside], usd[inside])
    return {"flow": flow}


def simulated_factors(market: MarketState, exposures: Exposures) -> StrArray:
    """Return ids of the factors to simulate: those exposed, and the lead factor first.

    The lead factor drives leverage of volatility: the first equity factor of the market, or the
    first factor if there is none.
    """
    used = np.any(exposures.delta != 0, axis=0) | np.any(exposures.gamma != 0, axis=0)
    equity = np.nonzero(market.factors.asset_class == "equity")[0]
    lead = int(equity[0]) if len(equity) else 0
    order = [lead, *[int(k) for k in np.nonzero(used)[0] if k != lead]]
    return np.array([market.factors.factor_id[k] for k in order], dtype=object)
