"""The 221 agreements: 142 clearing accounts, 75 CSAs and 4 prime brokerage accounts."""

from __future__ import annotations

import math

import pandas as pd

from engine.domain.agreements import TAIL_MODELS
from engine.domain.market import MarketState
from engine.fund.sample.tables import (
    ASIA,
    BROKERS,
    EUROPE,
    MASTER,
    PRIME_BROKERS,
    Dealer,
    dealers,
    service_uses,
)
from engine.rulebooks.services import ClearingService, load_services

ENTITY_OF_ZONE = {"US": MASTER, "EU": EUROPE, "APAC": ASIA}
# The uncleared-margin rules let 50m per pair of groups go uncollected; its three CSAs share it.
GROUP_IM_THRESHOLD = 50e6
THRESHOLD_SHARES = (0.6, 0.25, 0.15)
MTA = 500e3
ROUNDING = 10e3
# Legacy CSAs, one in three of the small groups, still have a variation margin threshold.
LEGACY_VM_THRESHOLD = 5e6
# The third CSA of these groups margins by the regulatory schedule.
SCHEDULE_TIERS = ("small",)
BILATERAL_BRANCHES = (("NY", MASTER, "USD", 22), ("LN", EUROPE, "EUR", 17), ("HK", ASIA, "USD", 9))
PRIME_MULTIPLIERS = (1.15, 1.2, 1.25, 1.3)
# Shorter than the service's own, to fit the packaged history of its factors.
LOOKBACKS = {"B3": 3500}
NO_CSA = {
    "vm_threshold": 0.0, "im_threshold": 0.0, "mta": 0.0, "rounding": 0.0,
    "independent_amount": 0.0, "vm_held": 0.0, "im_held": 0.0,
}  # fmt: skip
NO_GROUP = {"im_group": "", "eligible_collateral": "", "reported_im": math.nan}
NO_HISTORY: dict[str, object] = {
    "confidence": math.nan, "lookback_days": 0, "ewma_lambda": math.nan,
}  # fmt: skip


def agreement_table(market: MarketState) -> pd.DataFrame:
    """Return the agreements in the pack's columns, one row each; nothing is held yet.

    Calls are in the service's currency where the market has a rate for it, else in USD, which is
    how brokers call for currencies a client does not keep.
    """
    services = load_services()
    rows = [
        _cleared(services[use.service_id], broker, market)
        for use in service_uses()
        for broker in use.brokers
    ]
    for dealer in dealers():
        rows.extend(_bilateral(dealer, branch) for branch in range(len(BILATERAL_BRANCHES)))
    rows.extend(_prime(i, code) for i, code in enumerate(PRIME_BROKERS))
    return pd.DataFrame(rows)


def _cleared(service: ClearingService, broker: str, market: MarketState) -> dict[str, object]:
    has_rate = service.currency in market.fx_usd
    # One broker of the six adds a margin of its own on top of the service's.
    multiplier = 1.1 if broker == "FEN" else 1.0
    return {
        "agreement_id": f"{service.service_id}-{broker}",
        "kind": "cleared",
        "venue": service.service_id,
        "counterparty": BROKERS[broker],
        "broker": BROKERS[broker],
        "legal_entity": ENTITY_OF_ZONE[service.zone],
        "currency": service.currency if has_rate else "USD",
        "model": service.engine_model,
        **_tail_terms(service),
        "mpor_days": service.client_mpor_days,
        "apc": service.apc,
        "stress_weight": service.stress_weight,
        "apc_buffer": service.apc_buffer or math.nan,
        "broker_multiplier": multiplier,
        **NO_CSA,
        "eod_hour_utc": service.eod_hour_utc,
        "intraday_hours_utc": ";".join(str(hour) for hour in service.intraday_hours_utc),
        "pay_lag_hours": service.pay_lag_hours,
        **NO_GROUP,
        "evidence": service.agreement_evidence,
    }


def _tail_terms(service: ClearingService) -> dict[str, object]:
    if service.engine_model not in TAIL_MODELS:
        return NO_HISTORY
    return {
        "confidence": service.confidence,
        "lookback_days": LOOKBACKS.get(service.service_id, service.lookback_days),
        "ewma_lambda": service.ewma_lambda,
    }


def _bilateral(dealer: Dealer, branch: int) -> dict[str, object]:
    place, entity, currency, hour = BILATERAL_BRANCHES[branch]
    schedule = branch == 2 and dealer.tier in SCHEDULE_TIERS
    legacy = dealer.tier == "small" and branch == 1
    return {
        "agreement_id": f"CSA-{dealer.group}-{place}",
        "kind": "bilateral",
        "venue": "",
        "counterparty": f"{dealer.name} {place}",
        "broker": "",
        "legal_entity": entity,
        "currency": currency,
        "model": "schedule" if schedule else "simm",
        **NO_HISTORY,
        "mpor_days": 10,
        "apc": "none",
        "stress_weight": 0.0,
        "apc_buffer": math.nan,
        "broker_multiplier": 1.0,
        **NO_CSA,
        "vm_threshold": LEGACY_VM_THRESHOLD if legacy else 0.0,
        "im_threshold": GROUP_IM_THRESHOLD * THRESHOLD_SHARES[branch],
        "mta": MTA,
        "rounding": ROUNDING,
        "eod_hour_utc": hour,
        "intraday_hours_utc": "",
        "pay_lag_hours": 24 if branch < 2 else 28,
        "im_group": dealer.group,
        "eligible_collateral": "",
        "reported_im": math.nan,
        # The methodology and the thresholds of a CSA are contract terms the fund knows.
        "evidence": "user",
    }


def _prime(position: int, code: str) -> dict[str, object]:
    name = PRIME_BROKERS[code]
    return {
        "agreement_id": f"{code}-{name.split()[0].upper()}",
        "kind": "prime",
        "venue": "",
        "counterparty": name,
        "broker": name,
        "legal_entity": MASTER if position < 3 else EUROPE,
        "currency": "USD" if position < 3 else "EUR",
        "model": "fhs_es",
        "confidence": 0.99,
        "mpor_days": 5,
        "lookback_days": 1250,
        "ewma_lambda": 0.99,
        "apc": "stress_weight",
        "stress_weight": 0.25,
        "apc_buffer": math.nan,
        "broker_multiplier": PRIME_MULTIPLIERS[position],
        **NO_CSA,
        "eod_hour_utc": 22,
        "intraday_hours_utc": "",
        "pay_lag_hours": 15,
        **NO_GROUP,
        "evidence": "indicative",
    }
