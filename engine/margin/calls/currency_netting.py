"""Requirements in several currencies: conversion before or after max(0, .), which differ."""

from __future__ import annotations

from collections.abc import Mapping

from engine.domain.failures import InputError


def net_then_convert(
    required: Mapping[str, float], held: Mapping[str, float], fx_usd: Mapping[str, float]
) -> float:
    """USD called when each currency is settled by itself: max(0, .) first, conversion after.

    sum over c of fx_c * max(0, required_c - held_c). A surplus in one currency does not help
    another: so pay services that settle variation margin currency by currency.

    Required EUR 10 and USD 3, held EUR 4 and USD 8, at 1.10: 6 EUR are called, 6.60 USD.
    """
    return sum(
        rate_of(c, fx_usd) * max(0.0, required.get(c, 0.0) - held.get(c, 0.0))
        for c in sorted({*required, *held})
    )


def convert_then_net(
    required: Mapping[str, float], held: Mapping[str, float], fx_usd: Mapping[str, float]
) -> float:
    """USD called when everything is converted first: max(0, sum of fx_c * (required_c - held_c)).

    So work a CSA with one base currency, initial margin against a pool of collateral, and every
    agreement of this engine, which has one currency. Never above `net_then_convert`.

    Required EUR 10 and USD 3, held EUR 4 and USD 8, at 1.10: 6.60 less the surplus of 5 is 1.60.
    """
    gaps = (
        rate_of(c, fx_usd) * (required.get(c, 0.0) - held.get(c, 0.0))
        for c in sorted({*required, *held})
    )
    return max(0.0, sum(gaps))


def rate_of(currency: str, fx_usd: Mapping[str, float]) -> float:
    """Return USD per unit of a currency; one without a rate is an InputError."""
    rate = fx_usd.get(currency)
    if rate is None:
        raise InputError(f"no USD rate for {currency}; add the currency pair's factor")
    return rate
