"""Sensitivities in the field's common record: one CRIF row each, columnar."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.domain.arrays import Float64Array, StrArray


def _no_text() -> StrArray:
    return np.empty(0, dtype=object)


@dataclass(frozen=True)
class CrifTable:
    """CRIF rows; every array has shape (n_rows,), text is "" where the row has none.

    `portfolio_id` names the netting set (the agreement id in a fund pack). Amounts are signed
    sensitivities in USD, with the scaling of the CRIF convention for each risk type.
    `collect_regulations` and `post_regulations` list the regulations a row falls under on each
    side, separated by commas; left out, they are "" in every row.
    """

    portfolio_id: StrArray
    trade_id: StrArray
    product_class: StrArray
    risk_type: StrArray
    qualifier: StrArray
    bucket: StrArray
    label1: StrArray
    label2: StrArray
    amount_usd: Float64Array
    collect_regulations: StrArray = field(default_factory=_no_text)
    post_regulations: StrArray = field(default_factory=_no_text)

    def __post_init__(self) -> None:
        for name in ("collect_regulations", "post_regulations"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.full(len(self), "", dtype=object))

    def __len__(self) -> int:
        return len(self.amount_usd)
