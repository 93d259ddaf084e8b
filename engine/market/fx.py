"""USD per unit of each currency from currency pairs."""

from __future__ import annotations

from collections.abc import Mapping

PAIR_LENGTH = 6


def usd_per_unit(pairs: Mapping[str, float]) -> dict[str, float]:
    """Return USD per unit of every currency that the pairs connect to USD.

    Parameters
    ----------
    pairs : mapping of str to float
        Id ABCDEF to the number of DEF per one ABC, above zero. An id that is not six letters is
        no pair and is passed over.

    Returns
    -------
    dict of str to float
        With `USD` 1.0. A pair with USD goes before a cross; crosses are used in the order of
        their ids and only for currencies without a pair with USD.

    Notes
    -----
    Worked numbers: EURUSD 1.25 and EURCHF 1.0 and USDJPY 160 give EUR 1.25, CHF 1.25, JPY 0.00625.
    """
    rates = {"USD": 1.0}
    legs = {
        (name[:3], name[3:]): float(value)
        for name, value in sorted(pairs.items())
        if len(name) == PAIR_LENGTH and name.isalpha()
    }
    for direct in (True, False):
        found = True
        while found:
            found = False
            for (base, quote), value in legs.items():
                if direct and "USD" not in (base, quote):
                    continue
                if quote in rates and base not in rates:
                    rates[base] = rates[quote] * value
                    found = True
                elif base in rates and quote not in rates:
                    rates[quote] = rates[base] / value
                    found = True
    return rates
