"""Sensitivities in the field's common record: one CRIF row each, columnar."""

from __future__ import annotations

from dataclasses import dataclass

from engine.domain.arrays import Float64Array, StrArray


@dataclass(frozen=True)
class CrifTable:
    """CRIF rows; every array has shape (n_rows,), text is "" where the row has none.

    `portfolio_id` names the netting set (the agreement id in a fund pack). Amounts are signed
    sensitivities in USD, with the scaling of the CRIF convention for each risk type.
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

    def __len__(self) -> int:
        return len(self.amount_usd)
