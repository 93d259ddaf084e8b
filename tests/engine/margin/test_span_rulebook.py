"""The rulebook file: its numbers, marks and what happens when it is damaged."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from engine.domain.failures import InputError
from engine.margin.span.config import SpanConfig
from engine.margin.span.rulebook import (
    PRODUCT_CLASSES,
    RULEBOOK_FILE,
    class_rule,
    load_rulebook,
    product_classes,
    venue_rule,
)


def test_numbers():
    book = load_rulebook()
    assert (book.extreme_move.multiple, book.extreme_move.covered_fraction) == (2.0, 0.35)
    assert book.look_ahead_days.value == 1
    assert sum(book.composite_delta.weights) == pytest.approx(1.0, abs=1e-12)
    venue = venue_rule(book, "NSE_CLEARING")
    assert (venue.price_scan_multiple, venue.price_scan_days) == (6.0, 2)
    assert venue.long_dated.floor == 0.177
    index, single = (class_rule(book, "NSE_CLEARING", c) for c in PRODUCT_CLASSES[:2])
    assert (index.mark, single.mark) == ("verified", "verified")
    assert (index.rule.price_scan_floor, single.rule.price_scan_floor) == (0.093, 0.142)
    assert (index.rule.volatility_scan_floor, single.rule.volatility_scan_floor) == (0.04, 0.10)
    assert (index.rule.calendar_rate, single.rule.calendar_rate) == (0.0175, 0.022)
    assert (index.rule.exposure_rate, single.rule.exposure_rate) == (0.02, 0.035)


def test_unknown_venue_and_class_are_indicative():
    book = load_rulebook()
    assert venue_rule(book, "NOWHERE") is book.default
    assert class_rule(book, "NSE_CLEARING", "fx").mark == "indicative"
    assert all(class_rule(book, "", name).mark == "indicative" for name in PRODUCT_CLASSES)


def test_product_classes():
    factors = SimpleNamespace(
        asset_class=np.array(["equity", "equity", "equity", "rates", "volatility"], dtype=object),
        simm_bucket=np.array(["11", "8", "", "1", "12"], dtype=object),
    )
    assert list(product_classes(factors)) == [
        "equity_index", "equity_single", "equity_single", "rates", "volatility",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("default"), "default"),
        (lambda d: d["default"]["classes"].pop("fx"), "lacks fx"),
        (lambda d: d["composite_delta"].update(weights=[0.1] * 7), "sum to 1"),
        (lambda d: d["extreme_move"].update(multiple=1.0), "multiple"),
        (lambda d: d["venues"]["NSE_CLEARING"].update(mark="sure"), "mark"),
        (lambda d: d["default"]["classes"]["fx"].update(calendar_rate=1.5), "calendar_rate"),
        (lambda d: d.update(extra=1), "extra"),
    ],
)
def test_damaged_file(tmp_path, change, message):
    document = json.loads(RULEBOOK_FILE.read_text(encoding="utf-8"))
    change(document)
    path = tmp_path / "span.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_rulebook(path)


def test_unreadable_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.json"):
        load_rulebook(tmp_path / "none.json")


@pytest.mark.parametrize(
    "bad",
    [{"extreme_multiple": 1.0}, {"extreme_covered_fraction": 0.0}, {"look_ahead_days": -1},
     {"price_scan_multiple": 0.0}, {"option_style": "other"}, {"unknown": 1}],
)  # fmt: skip
def test_config_refuses(bad):
    with pytest.raises(ValidationError):
        SpanConfig(**bad)
