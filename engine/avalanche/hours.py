"""Hours of the day: when each zone's markets move, and when each currency can be paid."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import numpy as np

from engine.avalanche.config import AvalancheConfig
from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.kernels.avalanche.layout import HOURS_PER_DAY
from engine.rulebooks.calendars import load_payment_systems

# Hours (UTC) in which a zone's markets trade most.
ACTIVE_HOURS = {"APAC": range(8), "EU": range(7, 17), "US": range(13, 22)}
WORLD_HOURS = range(7, 21)
ZONE_CURRENCIES = {
    "APAC": ("JPY", "HKD", "AUD", "NZD", "KRW", "SGD", "CNY", "INR", "TWD", "THB", "IDR", "MYR"),
    "US": ("USD", "CAD", "MXN", "BRL", "CLP", "COP"),
}


def zone_of(currency: str) -> str:
    """Return the zone whose hours a factor paid in `currency` keeps: APAC, US, or else EU."""
    for zone, currencies in ZONE_CURRENCIES.items():
        if currency in currencies:
            return zone
    return "EU"


def zone_weights(zone: str, config: AvalancheConfig) -> Float64Array:
    """Return each hour's share of a day's variance in one zone, shape (24,), sum 1."""
    return _weights(ACTIVE_HOURS[zone], config)


def hour_weights(config: AvalancheConfig) -> Float64Array:
    """Return each hour's share of a day's trading worldwide, shape (24,), sum 1."""
    return _weights(WORLD_HOURS, config)


def _weights(hours: range, config: AvalancheConfig) -> Float64Array:
    active = np.isin(np.arange(HOURS_PER_DAY), hours)
    quiet_share = 1.0 - config.active_hours_share
    weights: Float64Array = np.where(
        active,
        config.active_hours_share / active.sum(),
        quiet_share / (~active).sum(),
    )
    return weights


ALWAYS = (1 << HOURS_PER_DAY) - 1
HUB_CURRENCY = "USD"


def open_hours(currency: str, day: date) -> int:
    """Return a bit for each hour (UTC) at whose start the currency can be exchanged and paid.

    A currency is open from local midnight to the cut-off of its payment system
    (`currency_cutoffs.csv`). The hub, and a currency without a known cut-off, which is kept in the
    hub, are always open.
    """
    system = load_payment_systems().get(currency)
    if system is None or currency == HUB_CURRENCY:
        return ALWAYS
    bits = 0
    for hour in range(HOURS_PER_DAY):
        moment = datetime.combine(day, time(hour), tzinfo=UTC)
        local = moment.astimezone(system.zone()).time()
        bits |= int(local < system.cut_off) << hour
    return bits


def waiting_hours(currency: str, day: date) -> Int64Array:
    """Return the hours from each hour of the day to the next one that is open, shape (24,)."""
    bits = open_hours(currency, day)
    is_open = [bool(bits >> hour & 1) for hour in range(HOURS_PER_DAY)]
    waits = [
        next(w for w in range(HOURS_PER_DAY) if is_open[(hour + w) % HOURS_PER_DAY])
        for hour in range(HOURS_PER_DAY)
    ]
    return np.array(waits, dtype=np.int64)


def pools(agreement_currency: StrArray, cash_currency: StrArray) -> list[str]:
    """Return the currencies kept apart, the hub first: those of calls and cash that have a cut-off.

    A currency without one is kept in the hub.
    """
    known = load_payment_systems()
    used = {str(c) for c in agreement_currency} | {str(c) for c in cash_currency}
    return [HUB_CURRENCY, *sorted(c for c in used if c in known and c != HUB_CURRENCY)]
