"""The whole page: self-contained, safe, complete, the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workflows.report.build import render_report, script_json, write_report
from workflows.report.format import NBSP

Inputs = tuple[dict[str, Any], dict[str, pd.DataFrame]]
MOST_BYTES = 2_500_000
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202egnp\u2066"
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects elements, scripts and visible text; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self._open and self._open[-1] != "style":
            self.words.append(data)

    def text(self) -> str:
        return " ".join(" ".join(self.words).replace(NBSP, " ").split())

    def charts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            next(text for attributes, text in self.scripts if attributes.get("id") == "charts")
        )
        return found

    def attributes(self, name: str) -> list[str]:
        return [str(attrs[name]) for _, attrs in self.elements if name in attrs]


def without(inputs: Inputs, *keys: str) -> Inputs:
    summary, tables = inputs
    return {key: value for key, value in summary.items() if key not in keys}, tables


def test_page_is_written_whole_and_small(run_inputs: Inputs, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(*run_inputs, path)
    assert path.stat().st_size < MOST_BYTES
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]
    assert path.read_bytes().startswith(b"<!DOCTYPE html>")


def test_a_missing_folder_is_an_error(run_inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_report(*run_inputs, tmp_path / "absent" / "report.html")


def test_same_input_same_bytes(make_run: Callable[[], Inputs]) -> None:
    assert render_report(*make_run()) == render_report(*make_run())


def test_input_is_not_changed(make_run: Callable[[], Inputs]) -> None:
    summary, tables = make_run()
    render_report(summary, tables)
    fresh, fresh_tables = make_run()
    assert summary == fresh
    for name, frame in tables.items():
        pd.testing.assert_frame_equal(frame, fresh_tables[name])


def test_policy_names_exactly_the_scripts_that_run(run_inputs: Inputs) -> None:
    page = Page(render_report(*run_inputs))
    policy = next(
        str(attrs["content"])
        for tag, attrs in page.elements
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    )
    run = [text for attributes, text in page.scripts if "type" not in attributes]
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode() for text in run
    ]
    named = " ".join(f"'sha256-{value}'" for value in hashes)
    assert len(run) == 2
    assert policy.startswith(
        f"default-src 'none'; script-src {named}; style-src 'unsafe-inline'; img-src data:"
    )


def test_nothing_is_fetched(run_inputs: Inputs) -> None:
    page = Page(render_report(*run_inputs))
    links = page.attributes("src") + page.attributes("href")
    assert all(link.startswith(("#", "data:")) for link in links), links
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    style = (Path(write_report.__code__.co_filename).parent / "static/report.css").read_text()
    assert "url(" not in style
    assert "@import" not in style


def test_vendored_script_can_stand_in_a_page() -> None:
    static = Path(write_report.__code__.co_filename).parent / "static"
    script = (static / "echarts.min.js").read_bytes()
    assert b"Licensed to the Apache Software Foundation" in script[:400]
    assert b"</script" not in script.lower()
    assert b"<!--" not in script
    assert b"\r" not in script
    assert "Apache License" in (static / "LICENSE").read_text("utf-8")
    assert "Apache ECharts" in (static / "NOTICE").read_text("utf-8")


def hostile(value: Any) -> Any:
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return value


def test_hostile_text_is_shown_as_text(run_inputs: Inputs) -> None:
    summary, tables = run_inputs
    frames = {
        name: frame.assign(
            **{c: frame[c] + HOSTILE for c in frame.columns if frame[c].dtype.kind not in "fiub"}
        )
        for name, frame in tables.items()
    }
    text = render_report(hostile(summary), frames)
    page = Page(text)
    assert len(page.scripts) == 3
    assert page.charts()["stress"]["yAxis"]["data"][0].startswith("CLE-000<")
    assert "img" not in {tag for tag, _ in page.elements}
    assert "\u202e" not in text
    assert "\u2066" not in text
    assert "alert(1)" in page.text()
    assert "<" not in next(s for attrs, s in page.scripts if attrs.get("id") == "charts")


def test_json_cannot_close_its_script() -> None:
    held = script_json({"name": "</script><!--&"})
    assert "<" not in held and "&" not in held and ">" not in held
    assert json.loads(held) == {"name": "</script><!--&"}
    with pytest.raises(ValueError, match="Out of range"):
        script_json({"x": float("nan")})


def test_first_screen_answers_in_words(run_inputs: Inputs) -> None:
    text = Page(render_report(*run_inputs)).text()
    assert "Margin required today is USD 3.05 bn." in text
    assert "Liquidity runs out within 10 days in 4.1 % (3.3 % to 5.1 %) of simulated paths." in text
    assert "A 10x volatility shock held for 10 days takes required margin to USD 14.7 bn" in text
    assert "Where it starts: CLE-010 calls most in the worst 1.0 % of paths" in text
    assert "2 failures, 1 row quarantined, 2 synthetic factors" in text
    for multiplier in ("2x", "5x", "10x"):
        assert f"Required at {multiplier} volatility" in text


def test_assumptions_stand_beside_every_result_of_the_simulation(run_inputs: Inputs) -> None:
    page = render_report(*run_inputs)
    text = Page(page).text()
    said = (
        "crowding θ = 5 (20 in rates gbp, 8 in gas power eu), participation 10 % of volume,"
        " impact coefficient 0.8"
    )
    text_of = {part.split('"')[0]: part for part in page.split('<section id="')[1:]}
    for name in ("liquidity", "calls", "survival", "severity", "failing", "sold", "precision",
                 "ladder", "funding", "method"):  # fmt: skip
        assert f"Assumes {said}." in text_of[name].replace(NBSP, " "), name
    assert f"This assumes {said}." in text
    assert f"Assumes {said}." in text_of["answer"].replace(NBSP, " ")
    assert "Assumes" not in text_of["managers"] + text_of["scenarios"] + text_of["stress"]


def test_status_has_a_word_and_a_rule(run_inputs: Inputs) -> None:
    text = Page(render_report(*run_inputs)).text()
    assert "Probability of an avalanche is 3.1 % (watch from 1.25x, 1 % avalanches" in text
    assert "Exhausted in 4.1 % of paths (watch from 1 %, act from 5 %)." in text
    assert "of opening resources (watch from 50 %, act from 100 %)." in text


def test_every_chart_has_a_table_and_a_label(run_inputs: Inputs) -> None:
    text = render_report(*run_inputs)
    page = Page(text)
    assert set(page.charts()) == set(page.attributes("data-chart"))
    assert set(page.charts()) == {
        "liquidity", "calls", "survival", "severity", "failing", "sold", "stress", "funding",
        "managers",
    }  # fmt: skip
    for name in page.charts():
        part = text.split(f'<section id="{name}"')[1].split("</section>")[0]
        assert "<details>" in part and "<table" in part
        assert 'role="img"' in part and "aria-label=" in part


def test_indicative_marks_stand_with_their_agreement(run_inputs: Inputs) -> None:
    text = render_report(*run_inputs)
    part = text.split('<section id="agreements"')[1].split("</section>")[0]
    shown = run_inputs[1]["margin_by_agreement"].nlargest(50, "im_usd")
    assert part.count('class="mark mark-indicative"') == int((shown["mark"] == "indicative").sum())


def test_long_tables_are_thinned_and_say_so(run_inputs: Inputs) -> None:
    page = Page(render_report(*run_inputs))
    assert "Shown: 50 of 223 agreements. The run folder holds them all." in page.text()
    assert "Shown: 60 of 240 rows, evenly spaced." in page.text()
    assert len([tag for tag, _ in page.elements if tag == "tr"]) < 500


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        (("avalanche", "avalanche_ladder"), "No avalanche was simulated."),
        (("liquidity",), "liquidity was not assessed"),
        (("stress",), "needs a stress run"),
        (("margin",), "Margin was not calculated in this run."),
        (("failures", "data_quality"), "Every item was processed"),
        (("provenance", "reproduce", "run_id"), "not recorded"),
        (("fund", "as_of"), "Unnamed fund"),
    ],
)
def test_absent_parts_are_said_in_words(
    run_inputs: Inputs, absent: tuple[str, ...], said: str
) -> None:
    assert said in Page(render_report(*without(run_inputs, *absent))).text()


def test_an_empty_run_still_reads() -> None:
    page = Page(render_report({}, {}))
    assert "Margin was not calculated in this run." in page.text()
    assert page.charts() == {}


def test_a_fund_without_positions_reads(run_inputs: Inputs) -> None:
    summary, _ = run_inputs
    nothing = {
        **summary,
        "margin": {
            "totals": {"im_usd": 0.0, "vm_usd": 0.0, "add_ons_usd": 0.0},
            "agreements": [],
            "largest": [],
            "by_manager": {},
        },
        "avalanche": {"paths": 0, "steps": 0, "amplification": None, "p_avalanche": {}},
        "liquidity": {"p_exhaustion": None, "median_hours_to_exhaustion": None},
        "notes": ["the fund has no positions: there is nothing to margin"],
    }
    text = Page(render_report(nothing, {})).text()
    assert "The fund has no margin agreements, so nothing is owed." in text
    assert "No avalanche was simulated." in text
    assert "there is nothing to margin" in text


def test_no_calls_is_an_answer(run_inputs: Inputs) -> None:
    summary, tables = run_inputs
    summary["avalanche"].update(
        amplification=None, calls_total_mean_usd=0.0, p_avalanche={"value": 0.0}
    )
    summary["liquidity"].update(p_exhaustion=0.0)
    windows = tables["avalanche_calls_by_window"]
    agreements = tables["avalanche_calls_by_agreement"]
    tables["avalanche_calls_by_window"] = windows.assign(
        calls_usd=0.0, calls_without_feedback_usd=0.0
    )
    tables["avalanche_calls_by_agreement"] = agreements.assign(tail_calls_usd=0.0)
    text = Page(render_report(summary, tables)).text()
    assert "No margin calls arose in the simulation, so nothing cascades." in text
    assert "Liquidity lasts within 10 days in every simulated path." not in text
    assert "Liquidity lasts 10 days in every simulated path." in text
    assert "Where it starts" not in text


def test_unknown_figures_are_named_not_drawn(run_inputs: Inputs) -> None:
    summary, tables = run_inputs
    summary["liquidity"]["p_exhaustion_low"] = None
    tables["margin_by_agreement"].loc[3, "im_usd"] = float("nan")
    tables["avalanche_liquidity_fan"].loc[5, "q1"] = float("nan")
    text = Page(render_report(summary, tables)).text()
    assert "interval not available" in text
    assert "not available" in text
    assert "nan" not in text.lower().split()


def test_repairs_are_grouped_and_labelled(run_inputs: Inputs) -> None:
    summary, tables = run_inputs
    summary["data_quality"]["synthetic_factors"] = [f"F{i}" for i in range(130)]
    text = Page(render_report(summary, tables)).text()
    assert "synthetic 130 made up, not observed F0, F1," in text
    assert "F99 and 30 more" in text
    assert "filled 1 days without a level, carried forward USDJPY 3" in text
    assert "quarantined 1 rows left out positions 1" in text


def test_feedback_that_adds_nothing_is_said_so(run_inputs: Inputs) -> None:
    summary, tables = run_inputs
    summary["avalanche"]["amplification"] = 0.987
    text = Page(render_report(summary, tables)).text()
    assert "do not add to calls: amplification 0.99 (1.20 to 1.28)" in text


def test_quarantined_rows_may_come_with_their_reasons(run_inputs: Inputs) -> None:
    summary, tables = run_inputs
    summary["data_quality"] = {
        "rows": {"positions": {"rows_in": 10, "accepted": 8, "quarantined": 2}},
        "quarantined": [{"file": "positions.csv", "row": 4, "field": "quantity", "reason": "zero"}],
        "synthetic_factors": [],
        "substituted_factors": ["EURUSD"],
        "filled_days": {},
    }
    text = Page(render_report(summary, tables)).text()
    assert "2 rows quarantined, 1 substituted factor" in text
    assert "Shown: 1 of 2 rows." in text
    assert "positions.csv" in text
