"""The parts of an agreement's margin: what the model calculates, each step after it, add-ons."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.money import CENTS_PER_UNIT, to_cents
from engine.domain.results import MarginResult
from engine.margin.explain.cents import split_cents

OTHER = "other"
"""What named parts leave of their whole."""


def explain_margin(result: MarginResult) -> dict[str, Any]:
    """Return the parts of every agreement's margin; they sum to it to the cent.

    Parameters
    ----------
    result : MarginResult

    Returns
    -------
    dict
        `agreements`: one object each, in USD: the `components` of its IM (`calculated` by the
        model, then what anti-procyclicality, threshold and so on add or take away), `model_parts`
        of the first (those that are not zero), `im`, `add_ons`, `required` = IM plus add-ons, and
        `vm`, which is no part of it. `totals`: components, `im`, one `add_on:NAME` each,
        `required` and `vm`, summed over agreements.
    """
    names = [*result.components, "im", *(f"add_on:{n}" for n in result.add_ons), "required", "vm"]
    totals = dict.fromkeys(names, 0)
    rows = []
    for i in range(len(result.agreement_id)):
        im = int(to_cents(result.im_usd[i]))
        components = _parts(im, {n: v[i] for n, v in result.components.items()})
        model = {n: v[i] for n, v in result.model_parts.items() if v[i] != 0.0}
        calculated = components.get("calculated", im)
        add_ons = {name: int(to_cents(values[i])) for name, values in result.add_ons.items()}
        required, vm = im + sum(add_ons.values()), int(to_cents(result.vm_usd[i]))
        found = {"im": im, "required": required, "vm": vm}
        for name, cents in (
            *components.items(),
            *found.items(),
            *((f"add_on:{kind}", cents) for kind, cents in add_ons.items()),
        ):
            totals[name] = totals.get(name, 0) + cents
        rows.append(
            {
                "agreement_id": str(result.agreement_id[i]),
                "model": str(result.model[i]),
                "mark": str(result.mark[i]),
                "components": _usd(components),
                "model_parts": _usd(_parts(calculated, model)),
                "add_ons": _usd(add_ons),
                **_usd(found),
            }
        )
    return {"as_of": result.as_of.isoformat(), "agreements": rows, "totals": _usd(totals)}


def _parts(whole: int, parts: dict[str, Any]) -> dict[str, int]:
    """Round parts to cents that sum to `whole`; what they do not explain is `OTHER`."""
    if not parts:
        return {}
    values: Float64Array = np.array(list(parts.values()), dtype=np.float64)
    gap = whole / CENTS_PER_UNIT - float(values.sum())
    names = list(parts)
    # Rounding alone is less than a cent for each part; more is a part without a name.
    if abs(gap) * CENTS_PER_UNIT > len(parts):
        names, values = [*names, OTHER], np.append(values, gap)
    return dict(zip(names, split_cents(whole, values).tolist(), strict=True))


def _usd(cents: dict[str, int]) -> dict[str, float]:
    return {name: value / CENTS_PER_UNIT for name, value in cents.items()}
