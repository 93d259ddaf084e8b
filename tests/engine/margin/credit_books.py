"""A market with two indices and single names, and books of credit default swaps on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from engine.domain.market import MarketState
from engine.margin.config import MarginConfig
from engine.margin.credit.config import CdsConfig
from engine.margin.credit.family import PreparedCds, prepare
from engine.margin.exposure import Exposures, net_positions
from engine.margin.family import FamilyMargin
from tests.support.tiny_fund import FundBuilder, text, tiny_market

SEED = 77
# factor_id, level in per cent, daily volatility of the log spread
NAMES = [
    ("IG", 0.8, 0.03),
    ("HY", 4.5, 0.03),
    ("ACME", 1.0, 0.04),
    ("BOLT", 2.0, 0.04),
    ("CORK", 3.5, 0.05),
    ("UST5", 3.0, 0.0),
]
TERMS = {"model": "cds", "confidence": 0.995, "mpor_days": 5, "venue": "CDS"}
COMPONENTS = (
    "spread_response", "jump_to_default", "wrong_way", "interest_rate", "basis", "bid_offer",
)  # fmt: skip


def credit_market(n_days: int = 1300, **changes: Any) -> MarketState:
    """The tiny market with the factors of `NAMES` behind its own.

    Spreads follow a random walk in logarithms that ends at today's level; the rate moves by 0.06
    a day. `changes` maps factor ids to daily moves, and `level` to levels by factor id.
    """
    base = tiny_market(n_days=n_days)
    rng = np.random.default_rng(SEED)
    common = rng.standard_t(4, n_days) * np.sqrt(0.5)
    columns = []
    for name, level, volatility in NAMES:
        own = rng.standard_t(4, n_days) * np.sqrt(0.5)
        moves = volatility * (0.8 * common + 0.6 * own)
        path = level * np.exp(np.cumsum(moves[::-1])[::-1] * -1.0)
        steps = np.diff(np.append(path, level))
        columns.append(changes.get(name, 0.06 * own if name == "UST5" else steps))
    n = len(NAMES)
    rate = np.array([name == "UST5" for name, _, _ in NAMES])
    more = {
        "factor_id": text([name for name, _, _ in NAMES]),
        "asset_class": text(["rates" if r else "credit" for r in rate]),
        "currency": text(["USD"] * n),
        "unit": text(["per cent"] * n),
        "return_type": text(["absolute"] * n),
        "bucket": text(["credit"] * n),
        "adv": np.full(n, 1e12),
        "daily_vol_floor": np.full(n, 1e-5),
        "synthetic": np.ones(n, dtype=np.bool_),
        "source": text(["test"] * n),
    }
    blank = ("simm_risk_type", "simm_qualifier", "simm_bucket", "simm_label1", "simm_label2")
    more.update({name: text([""] * n) for name in blank})
    factors = replace(
        base.factors,
        **{name: np.concatenate([col, more[name]]) for name, col in vars(base.factors).items()},
    )
    levels = changes.get("level", {})
    level = np.array([levels.get(name, value) for name, value, _ in NAMES])
    return replace(
        base,
        factors=factors,
        level=np.concatenate([base.level, level]),
        returns=np.column_stack([base.returns, *columns]),
    )


def credit_builder() -> FundBuilder:
    """Five-year swaps of one million on every name, coupon 1 % (indices 1 and 5 %)."""
    builder = FundBuilder()
    for name, _, _ in NAMES[:5]:
        coupon = 5.0 if name == "HY" else 1.0
        builder.instrument(
            f"{name}-5Y", "cds", name, multiplier=1e6, fixed_rate=coupon, tenor_years=5.0
        )
    builder.instrument("ACME-10Y", "cds", "ACME", multiplier=1e6, fixed_rate=1.0, tenor_years=10.0)
    builder.instrument("SWAP", "swap", "UST", multiplier=1e6, fixed_rate=3.5, tenor_years=10.0)
    builder.instrument("ACME-B", "bond", "ACME", multiplier=1e6, fixed_rate=4.0, tenor_years=5.0)
    builder.instrument("ACME-F", "future", "ACME", multiplier=1e6)
    builder.instrument("FUT", "future", "IDX", multiplier=50.0)
    return builder


def one(positions: dict[str, float], **terms: Any) -> FundBuilder:
    """A book of one agreement, A, and one manager."""
    builder = credit_builder().agreement("A", **{**TERMS, **terms})
    for name, quantity in positions.items():
        builder.position(name, "A", "M1", quantity)
    return builder


def prepared(
    builder: FundBuilder,
    market: MarketState,
    own: CdsConfig | None = None,
    margin: MarginConfig | None = None,
) -> tuple[Exposures, PreparedCds]:
    book = builder.build(market)
    exposures = net_positions(book, market)
    rows = np.flatnonzero(book.agreements.model == "cds").astype(np.int64)
    return exposures, prepare(exposures, rows, margin or MarginConfig(), own or CdsConfig())


def answer(
    builder: FundBuilder,
    market: MarketState,
    own: CdsConfig | None = None,
    scale: float = 1.0,
    margin: MarginConfig | None = None,
) -> FamilyMargin:
    exposures, model = prepared(builder, market, own, margin)
    got = model.margin(np.full(len(exposures.book.agreements), scale))
    total = np.sum([got.components[name] for name in COMPONENTS], axis=0)
    assert tuple(got.components) == COMPONENTS
    np.testing.assert_array_equal(total, got.im)
    owner = np.searchsorted(got.rows, exposures.pair_agreement[got.pairs])
    sums = np.bincount(owner, weights=got.pair_im, minlength=len(got.rows))
    np.testing.assert_allclose(sums, got.im, rtol=1e-9, atol=1e-6)
    return got
