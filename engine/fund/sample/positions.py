"""Positions: a background book in every account, and the planted legs on top.

Each block of positions is drawn with random weights and then scaled so that its margin proxy
(`sizing`) meets the block's target. Random numbers come from one generator in a fixed order.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from engine.domain.arrays import Float64Array
from engine.domain.market import MarketState
from engine.fund.sample.agreements import THRESHOLD_SHARES
from engine.fund.sample.instruments import Catalogue
from engine.fund.sample.planted import FIXED_VIEWS, LEGS, LIGHT_DESKS, Leg
from engine.fund.sample.sizing import UnitRisk, block_margin_usd, unit_risk
from engine.fund.sample.tables import (
    STOCKS,
    Manager,
    Product,
    bilateral_products,
    cleared_products,
    dealers,
    managers,
    prime_products,
    service_uses,
)
from engine.rulebooks.services import load_services

COLUMNS = (
    "position_id", "instrument_id", "agreement_id", "manager_id", "strategy_id", "quantity",
)  # fmt: skip
# Share of the aimed IM that the background books take; set against the engine's own margin.
CLEARED_SCALE = 0.5
PRIME_IM_USD = 130e6
PRIME_ACCOUNTS = ("PB1-ALDGATE", "PB2-CORVANE", "PB3-HARROWGATE", "PB4-INVERLEA")
PRIME_POSITIONS = 500
BILATERAL_POSITIONS = {"large": 54, "medium": 39, "small": 25}
# A desk keeps to its view of a factor in four trades of five; the rest are hedges and legs.
VIEW_KEPT = 0.8
WEIGHT_SIGMA = 0.8
# Share of the usual background trading for the desks whose book is planted.
LIGHT_BACKGROUND = 0.3
BILATERAL_PRODUCTS = 14
BILATERAL_MPOR, PRIME_MPOR = 10, 5


@dataclass(frozen=True)
class Workbench:
    """What every block needs: catalogue, unit risks, managers by sector and their views."""

    catalogue: Catalogue
    as_of: date
    level: dict[str, float]
    risk: UnitRisk
    by_sector: dict[str, list[Manager]]
    manager: dict[str, Manager]
    manager_row: dict[str, int]
    tilt: Float64Array
    view: Float64Array


def build_workbench(
    catalogue: Catalogue, market: MarketState, rng: np.random.Generator
) -> Workbench:
    """Compute what is shared by all blocks and draw each manager's view of each factor."""
    desks = managers()
    by_sector: dict[str, list[Manager]] = {}
    for desk in desks:
        for sector in desk.sectors:
            by_sector.setdefault(sector, []).append(desk)
    return Workbench(
        catalogue,
        market.as_of,
        dict(zip(market.factors.factor_id, market.level.tolist(), strict=True)),
        unit_risk(catalogue.frame, market),
        by_sector,
        {desk.manager_id: desk for desk in desks},
        {desk.manager_id: i for i, desk in enumerate(desks)},
        np.sqrt(market.factors.adv / np.median(market.factors.adv)),
        _views(desks, market, rng),
    )


def _views(
    desks: tuple[Manager, ...], market: MarketState, rng: np.random.Generator
) -> Float64Array:
    views = rng.choice([-1.0, 1.0], size=(len(desks), len(market.factors)))
    index = market.index()
    # As many stocks long as short, so that no stock picker is a bet on the market.
    balanced = np.resize([-1.0, 1.0], len(STOCKS))
    for i in range(len(desks)):
        views[i, [index[name] for name in STOCKS]] = rng.permutation(balanced)
    row = {desk.manager_id: i for i, desk in enumerate(desks)}
    for manager_id, factor_id, sign in FIXED_VIEWS:
        views[row[manager_id], index[factor_id]] = sign
    return views


def position_table(bench: Workbench, rng: np.random.Generator) -> pd.DataFrame:
    """Return all positions in the pack's columns, ordered by agreement.

    Two draws of one instrument, manager and account become one position.
    """
    blocks = [*_cleared_blocks(bench, rng), *_bilateral_blocks(bench, rng)]
    blocks += _prime_blocks(bench, rng)
    blocks += [_planted_block(bench, leg, rng) for leg in LEGS]
    drawn = pd.concat(blocks, ignore_index=True)
    keys = ["instrument_id", "agreement_id", "manager_id", "strategy_id"]
    order = {name: i for i, name in enumerate(dict.fromkeys(drawn["agreement_id"]))}
    merged = drawn.groupby(keys, sort=False, as_index=False)["quantity"].sum()
    merged = merged[merged["quantity"] != 0.0]
    merged = merged.sort_values(
        "agreement_id", key=lambda ids: ids.map(order), kind="stable"
    ).reset_index(drop=True)
    merged.insert(0, "position_id", [f"P{i + 1:05d}" for i in range(len(merged))])
    return pd.DataFrame(merged, columns=list(COLUMNS))


def margin_targets_usd() -> dict[str, float]:
    """Return the margin aimed at for each CSA (before threshold) and prime account."""
    bilateral = {
        f"CSA-{dealer.group}-{place}": dealer.im_usd * share
        for dealer in dealers()
        for place, share in zip(("NY", "LN", "HK"), THRESHOLD_SHARES, strict=True)
    }
    return bilateral | dict.fromkeys(PRIME_ACCOUNTS, PRIME_IM_USD)


def _cleared_blocks(bench: Workbench, rng: np.random.Generator) -> list[pd.DataFrame]:
    menu: dict[str, list[Product]] = {}
    for product in cleared_products():
        for service in product.services:
            menu.setdefault(service, []).append(product)
    blocks = []
    for use in service_uses():
        share = rng.dirichlet(np.full(len(use.brokers), 6.0))
        for broker, part in zip(use.brokers, share, strict=True):
            target = CLEARED_SCALE * use.im_usd * float(part)
            count = round(22 + 3.3e-6 * use.im_usd * float(part))
            name = f"{use.service_id}-{broker}"
            blocks.append(_background(bench, name, menu[use.service_id], count, target, rng))
    return blocks


def _bilateral_blocks(bench: Workbench, rng: np.random.Generator) -> list[pd.DataFrame]:
    blocks = []
    menu = bilateral_products()
    tier_of = {
        f"CSA-{dealer.group}-{place}": dealer.tier
        for dealer in dealers()
        for place in ("NY", "LN", "HK")
    }
    for name, target in margin_targets_usd().items():
        if name not in tier_of:
            continue
        chosen = np.sort(rng.choice(len(menu), BILATERAL_PRODUCTS, replace=False))
        products = [menu[int(i)] for i in chosen]
        count = BILATERAL_POSITIONS[tier_of[name]]
        blocks.append(_background(bench, name, products, count, target, rng))
    return blocks


def _prime_blocks(bench: Workbench, rng: np.random.Generator) -> list[pd.DataFrame]:
    products = list(prime_products())
    return [
        _background(bench, name, products, PRIME_POSITIONS, PRIME_IM_USD, rng)
        for name in PRIME_ACCOUNTS
    ]


def _background(
    bench: Workbench,
    agreement_id: str,
    products: list[Product],
    count: int,
    target_usd: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    picks = rng.integers(len(products), size=count)
    rows = np.empty(count, dtype=np.int64)
    desks: list[Manager] = []
    for i, pick in enumerate(picks):
        product = products[int(pick)]
        candidates = bench.catalogue.rows_of[product.product]
        # Squaring a uniform draw leans towards the near months, where the volume is.
        rows[i] = candidates[int(len(candidates) * rng.random() ** 2)]
        eligible = bench.by_sector[product.sector]
        share = np.cumsum([_activity(desk) for desk in eligible])
        desks.append(eligible[int(np.searchsorted(share, rng.random() * share[-1]))])
    desk_rows = np.array([bench.manager_row[desk.manager_id] for desk in desks])
    view = bench.view[desk_rows, bench.risk.instruments.factor[rows]]
    view = np.where(rng.random(count) < VIEW_KEPT, view, -view)
    direction = view * np.where(bench.risk.delta[rows] < 0.0, -1.0, 1.0)
    return _scaled(bench, agreement_id, rows, desks, direction, target_usd, rng)


def _activity(desk: Manager) -> float:
    """Weight of a desk in the draw: one with many sectors trades less of each."""
    light = LIGHT_BACKGROUND if desk.manager_id in LIGHT_DESKS else 1.0
    return light / (1 + len(desk.sectors))


def _planted_block(bench: Workbench, leg: Leg, rng: np.random.Generator) -> pd.DataFrame:
    rows = [r for r in bench.catalogue.rows_of[leg.product] if _wanted(bench, r, leg)]
    picked = np.array(rows[: leg.count] if leg.right == "" else _spread(rows, leg.count))
    desk = bench.manager[leg.manager_id]
    direction = np.full(len(picked), float(leg.side))
    return _scaled(
        bench, leg.agreement_id, picked, [desk] * len(picked), direction, leg.im_usd, rng
    )


def _wanted(bench: Workbench, row: int, leg: Leg) -> bool:
    terms = bench.risk.instruments
    is_option = terms.kind[row] == "option"
    if leg.right == "":
        return not is_option
    if not is_option or terms.right[row] != leg.right:
        return False
    days = int((terms.expiry[row] - np.datetime64(bench.as_of, "D")).astype(np.int64))
    strike, level = float(terms.strike[row]), bench.level[terms.factor_id[row]]
    out_of_the_money = strike < level if leg.right == "P" else strike > level
    return days <= leg.most_days and out_of_the_money


def _spread(rows: list[int], count: int) -> list[int]:
    step = max(1, len(rows) // count)
    return rows[::step][:count]


def _scaled(
    bench: Workbench,
    agreement_id: str,
    rows: np.ndarray,
    desks: list[Manager],
    direction: Float64Array,
    target_usd: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    weight = rng.lognormal(0.0, WEIGHT_SIGMA, len(rows))
    if agreement_id.startswith("PB"):
        weight = weight * bench.tilt[bench.risk.instruments.factor[rows]]
    raw = direction * weight / bench.risk.size[rows]
    margin = block_margin_usd(bench.risk, rows, raw, _mpor_days(agreement_id))
    quantity = whole(raw * target_usd / margin)
    frame = bench.catalogue.frame
    return pd.DataFrame(
        {
            "instrument_id": frame["instrument_id"].to_numpy(object)[rows],
            "agreement_id": agreement_id,
            "manager_id": [desk.manager_id for desk in desks],
            "strategy_id": [desk.strategy_id for desk in desks],
            "quantity": quantity,
        }
    )


def _mpor_days(agreement_id: str) -> int:
    if agreement_id.startswith("CSA-"):
        return BILATERAL_MPOR
    if agreement_id.startswith("PB"):
        return PRIME_MPOR
    return load_services()[agreement_id.rsplit("-", 1)[0]].client_mpor_days


def whole(quantity: Float64Array) -> Float64Array:
    """Round to whole units away from zero below one, and to three digits above a thousand."""
    digits = 10.0 ** np.maximum(0.0, np.floor(np.log10(np.maximum(np.abs(quantity), 1.0))) - 2.0)
    rounded = np.rint(quantity / digits) * digits
    return np.asarray(np.where(rounded == 0.0, np.sign(quantity), rounded), dtype=np.float64)
