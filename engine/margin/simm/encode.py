"""From text rows to netted integer-coded sensitivities.

Words are looked up once per distinct value, never once per row. Rows that agree on every key are
added. Ids are ranked by their text and amounts added in sorted order, so the result does not
depend, to the last bit, on the order of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.crif import CrifTable
from engine.margin.simm import vocabulary as words

UNKNOWN = -1


@dataclass(frozen=True)
class EncodedRows:
    """Integer codes of CRIF rows; every array has shape (n_rows,), -1 means not a known word.

    `qualifier` is a currency code, a pair code (first * n_currencies + second, sorted) or the rank
    of a name, as the risk type asks; columns that the risk type ignores are 0. `number` is the row
    of the table counted from 1, for messages.
    """

    number: Int64Array
    portfolio: Int64Array
    product_class: Int64Array
    risk_type: Int64Array
    qualifier: Int64Array
    bucket: Int64Array
    tenor: Int64Array
    label2: Int64Array
    amount_usd: Float64Array
    portfolio_ids: StrArray
    names: StrArray


@dataclass(frozen=True)
class Sensitivities:
    """Netted records sorted by their keys; arrays have shape (n_records,).

    `silo` is portfolio * 4 + product class: margins are first computed per silo.
    """

    n_portfolios: int
    silo: Int64Array
    risk_type: Int64Array
    bucket: Int64Array
    qualifier: Int64Array
    label2: Int64Array
    tenor: Int64Array
    amount_usd: Float64Array

    @property
    def n_silos(self) -> int:
        """Return the number of (portfolio, product class) pairs."""
        return self.n_portfolios * len(words.PRODUCT_CLASSES)

    def of(self, risk_type: str) -> Sensitivities:
        """Return the records of one risk type, order kept."""
        return self.where(self.risk_type == words.RISK_TYPE_CODE[risk_type])

    def where(self, mask: BoolArray) -> Sensitivities:
        """Return the records selected by `mask`, order kept."""
        return Sensitivities(
            self.n_portfolios,
            self.silo[mask],
            self.risk_type[mask],
            self.bucket[mask],
            self.qualifier[mask],
            self.label2[mask],
            self.tenor[mask],
            self.amount_usd[mask],
        )

    def __len__(self) -> int:
        return len(self.amount_usd)


def _rank(values: StrArray) -> tuple[Int64Array, StrArray]:
    """Return codes and distinct texts, stripped, in sorted order."""
    codes, uniques = pd.factorize(np.asarray(values, dtype=object), use_na_sentinel=False)
    texts = ["" if value is None or value != value else str(value).strip() for value in uniques]
    distinct = sorted(set(texts))
    position = {text: i for i, text in enumerate(distinct)}
    table = np.array([position[text] for text in texts], dtype=np.int64)
    if not len(table):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=object)
    return table[codes], np.array(distinct, dtype=object)


def _lookup(texts: StrArray, allowed: dict[str, int]) -> Int64Array:
    folded = {word.casefold(): code for word, code in allowed.items()}
    return np.array([folded.get(text.casefold(), UNKNOWN) for text in texts], dtype=np.int64)


def _words(allowed: tuple[str, ...]) -> dict[str, int]:
    return {word: code for code, word in enumerate(allowed)}


def _pair_codes(texts: StrArray) -> Int64Array:
    """Return sorted pair codes of `EURUSD`-like texts; USDEUR is the same pair."""
    known = words.currency_codes()
    n = len(words.currencies()[0])
    codes = np.full(len(texts), UNKNOWN, dtype=np.int64)
    for i, text in enumerate(texts):
        if len(text) != 6:
            continue
        first, second = known.get(text[:3].upper()), known.get(text[3:].upper())
        if first is not None and second is not None and first != second:
            codes[i] = min(first, second) * n + max(first, second)
    return codes


def _flag(attribute: str, value: str) -> npt.NDArray[np.bool_]:
    """Return, per risk type code (and a last False for unknown), whether the attribute is value."""
    return np.array([getattr(t, attribute) == value for t in words.RISK_TYPES] + [False])


def encode(crif: CrifTable) -> EncodedRows:
    """Look up every word of a CRIF.

    Parameters
    ----------
    crif : CrifTable
        n_rows rows. Words are matched without regard to case; names of issuers, equities and
        commodities are kept as written. CNH is CNY and USDEUR is EURUSD.

    Returns
    -------
    EncodedRows
        With -1 where a word is not known; `engine.margin.simm.validate` says what is wrong.
    """
    portfolio, portfolio_ids = _rank(crif.portfolio_id)
    product, product_texts = _rank(crif.product_class)
    kind, kind_texts = _rank(crif.risk_type)
    name, name_texts = _rank(crif.qualifier)
    bucket, bucket_texts = _rank(crif.bucket)
    tenor, tenor_texts = _rank(crif.label1)
    label2, label2_texts = _rank(crif.label2)

    classes = _words(words.PRODUCT_CLASSES)
    classes |= {alias: classes[target] for alias, target in words.PRODUCT_CLASS_ALIASES.items()}
    risk_type = _lookup(kind_texts, words.RISK_TYPE_CODE)[kind]
    qualifier = np.zeros(len(crif), dtype=np.int64)
    for style, codes in (
        ("currency", _lookup(name_texts, words.currency_codes())),
        ("pair", _pair_codes(name_texts)),
        ("product_class", _lookup(name_texts, classes)),
        ("name", np.where(name_texts == "", UNKNOWN, np.arange(len(name_texts)))),
    ):
        rows = _flag("qualifier", style)[risk_type]
        qualifier[rows] = codes[name[rows]]
    return EncodedRows(
        number=np.arange(1, len(crif) + 1),
        portfolio=portfolio,
        product_class=_lookup(product_texts, classes)[product],
        risk_type=risk_type,
        qualifier=qualifier,
        bucket=_by_type("buckets", words.ALL_BUCKETS, bucket, bucket_texts, risk_type),
        tenor=_by_type("tenors", words.TENORS, tenor, tenor_texts, risk_type),
        label2=_label2_codes(label2, label2_texts, risk_type),
        amount_usd=np.asarray(crif.amount_usd, dtype=np.float64),
        portfolio_ids=portfolio_ids,
        names=name_texts,
    )


def _by_type(
    attribute: str,
    vocabulary: tuple[str, ...],
    codes: Int64Array,
    texts: StrArray,
    risk_type: Int64Array,
) -> Int64Array:
    """Return the code in `vocabulary`, -1 if the row's risk type does not allow the word."""
    allowed = np.zeros((len(words.RISK_TYPES) + 1, len(vocabulary) + 1), dtype=np.bool_)
    used = np.zeros(len(words.RISK_TYPES) + 1, dtype=np.bool_)
    for i, kind in enumerate(words.RISK_TYPES):
        listed = getattr(kind, attribute)
        used[i] = bool(listed)
        allowed[i, [vocabulary.index(word) for word in listed]] = True
    found = _lookup(texts, _words(vocabulary))[codes]
    found = np.where(allowed[risk_type, found], found, UNKNOWN)
    return np.where(used[risk_type], found, 0)


def _label2_codes(codes: Int64Array, texts: StrArray, risk_type: Int64Array) -> Int64Array:
    result = np.zeros(len(codes), dtype=np.int64)
    upper = np.array([text.upper() for text in texts], dtype=object)
    currency = _lookup(texts, words.currency_codes())
    n = len(words.currencies()[0])
    # A blank payment currency is allowed, and so is the older mark of a securitisation.
    currency = np.where(upper == "", n, np.where(upper == "SEC", n + 1, currency))
    group = np.where(upper == "", UNKNOWN, np.unique(upper, return_inverse=True)[1])
    for style, table in (
        ("sub_curve", _lookup(texts, _words(words.SUB_CURVES))),
        ("payment_currency", currency),
        ("group", group),
    ):
        rows = _flag("label2", style)[risk_type]
        result[rows] = table[codes[rows]]
    return result


def net(rows: EncodedRows, keep: BoolArray) -> Sensitivities:
    """Add the rows in `keep` that agree on every key.

    Amounts of one key are added in sorted order: a sum in row order would make the last bits
    depend on how the file was written.
    """
    parts = (
        rows.portfolio[keep],
        rows.product_class[keep],
        rows.risk_type[keep],
        rows.bucket[keep],
        rows.qualifier[keep],
        rows.label2[keep],
        rows.tenor[keep],
    )
    amount = rows.amount_usd[keep]
    key = np.zeros(len(amount), dtype=np.int64)
    size = 1
    for part in parts:
        radix = int(part.max(initial=0)) + 1
        if size * radix >= 2**62:
            key = np.unique(key, return_inverse=True)[1]
            size = len(key) + 1
        key = key * radix + part
        size *= radix
    order = np.lexsort((amount, key))
    sorted_key = key[order]
    starts = np.flatnonzero(np.r_[True, sorted_key[1:] != sorted_key[:-1]][: len(sorted_key)])
    first = order[starts]
    total = np.add.reduceat(amount[order], starts) if len(starts) else amount
    portfolio, product, kind, bucket, qualifier, label2, tenor = (part[first] for part in parts)
    return Sensitivities(
        n_portfolios=len(rows.portfolio_ids),
        silo=portfolio * len(words.PRODUCT_CLASSES) + product,
        risk_type=kind,
        bucket=bucket,
        qualifier=qualifier,
        label2=label2,
        tenor=tenor,
        amount_usd=total,
    )
