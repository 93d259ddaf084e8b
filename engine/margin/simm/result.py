"""The answer of one SIMM calculation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SimmResult:
    """Margin of one netting set on one side.

    Attributes
    ----------
    version, horizon_days, side : str, int, str
        What was computed; `side` is `call` (margin we may call) or `post` (margin we must post).
    currency : str
        Currency of every amount: USD.
    total : float
        Initial margin, product-class multipliers and add-ons included.
    by_product_class : dict of str to float
        Margin of each product class, its multiplier included, and `AddOn`; they sum to `total`.
    by_risk_class : dict of str to float
        Margin of each risk class summed over product classes, before diversification between
        classes: they sum to more than `total`.
    calculation_currency : str
        The currency whose FX risk is left out.
    components : dict
        Product class -> risk class -> measure (`delta`, `vega`, `curvature`, `base_correlation`).
    regulation : str
        The regulation whose rows gave the largest margin (`simm_worst_of`); "" where regulations
        were not looked at, or leave no row.
    by_regulation : dict of str to float
        Margin of each regulation's rows (`simm_worst_of`), names in sorted order.
    """

    version: str
    horizon_days: int
    side: str
    currency: str
    total: float
    by_product_class: dict[str, float]
    by_risk_class: dict[str, float]
    calculation_currency: str = "USD"
    components: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    regulation: str = ""
    by_regulation: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object shown to users; its keys are fixed."""
        return {
            "version": self.version,
            "horizon_days": self.horizon_days,
            "side": self.side,
            "currency": self.currency,
            "total": self.total,
            "by_product_class": dict(self.by_product_class),
            "by_risk_class": dict(self.by_risk_class),
        }
