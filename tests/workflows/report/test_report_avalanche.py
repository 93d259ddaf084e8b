"""What the page says of the simulation: bands, failures to pay, sales, precision, scenarios."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from workflows.report.avalanche_sections import (
    RUNAWAY,
    failing_section,
    ladder_section,
    precision_section,
    severity_section,
    sold_section,
)
from workflows.report.conditions import (
    named_scenario,
    ratio_format,
    sampling_words,
    scenario_words,
    settings,
    with_interval,
)
from workflows.report.facts import Avalanche, Estimated, read_facts
from workflows.report.format import NBSP, percent
from workflows.report.scenario_section import scenario_section
from workflows.report.section import Section
from workflows.report.story import cards

Inputs = tuple[dict[str, Any], dict[str, pd.DataFrame]]


def simulated(summary: dict[str, Any]) -> Avalanche:
    avalanche = read_facts(summary).avalanche
    assert avalanche is not None
    return avalanche


def told(section: Section | None) -> str:
    assert section is not None
    return " ".join((section.lead, *section.notes)).replace(NBSP, " ")


def test_runaway_is_a_band_with_its_meaning(run_inputs: Inputs) -> None:
    section = severity_section(simulated(run_inputs[0]))
    assert section is not None and section.table is not None
    rows = {row[0].text: row for row in section.table.rows}
    assert list(rows) == ["contained", "amplified", "avalanche", "runaway"]
    assert rows["runaway"][1].sort == 0.022
    assert "than they have raised" in rows["runaway"][2].text
    assert RUNAWAY in section.lead
    assert "2.2 % (1.6 % to 2.9 %) run away." in told(section)
    assert "3.1 % (2.5 % to 4.0 %) of paths become an avalanche." in told(section)


def test_many_runaways_alone_are_a_reason_to_act(run_inputs: Inputs) -> None:
    summary = run_inputs[0]
    calm = {"amplification": 1.0, "branching_ratio": 0.2, "p_avalanche": {"value": 0.0}}
    summary["avalanche"].update(calm)
    for share, level in ((0.009, "holds"), (0.01, "watch"), (0.05, "act")):
        summary["avalanche"]["estimates"]["p_runaway"]["value"] = share
        assert cards(read_facts(summary))[1].status.level == level


def test_a_refused_line_is_told_as_a_share_of_those_who_need_one(run_inputs: Inputs) -> None:
    summary = run_inputs[0]
    section = failing_section(simulated(summary))
    assert "which is 25.0 % of the paths that need it." in told(section)
    assert "Payment first fails in USD in 3.0 % of paths." in told(section)
    assert "1.2 % (0.85 % to 1.8 %) of paths end in a default." in told(section)
    lines = {line.label: line for line in cards(read_facts(summary))[2].lines}
    assert lines["Line refused when needed"].value == f"25.0{NBSP}%"
    assert lines["Probability of a default"].detail.replace(NBSP, " ") == "0.85 % to 1.8 %"


def test_a_line_that_is_never_needed_is_not_refused(run_inputs: Inputs) -> None:
    summary = run_inputs[0]
    summary["avalanche"]["estimates"]["p_line_needed"]["value"] = 0.0
    summary["avalanche"]["estimates"]["p_line_refused"]["value"] = 0.0
    summary["avalanche"]["first_failure_by_currency"] = {}
    section = failing_section(simulated(summary))
    assert section is not None and section.chart is None
    assert "No path needs a credit line." in told(section)
    assert "No call stays unpaid in any path." in told(section)
    lines = {line.label: line.value for line in cards(read_facts(summary))[2].lines}
    assert lines["Line refused when needed"] == "never needed"


def test_failures_by_currency_are_ordered(run_inputs: Inputs) -> None:
    summary = run_inputs[0]
    summary["avalanche"]["first_failure_by_currency"] = {"JPY": 0.1, "EUR": 0.3}
    section = failing_section(simulated(summary))
    assert section is not None and section.table is not None
    assert [row[0].text for row in section.table.rows] == ["EUR", "JPY"]


def test_sales_by_bucket_show_their_crowding(run_inputs: Inputs) -> None:
    summary, tables = run_inputs
    section = sold_section(simulated(summary), tables)
    assert section is not None and section.table is not None
    first = [cell.sort for cell in section.table.rows[0]]
    assert first == ["volatility", 5.0, pytest.approx(0.1), pytest.approx(0.45)]
    crowding = {row[0].text: row[1].text for row in section.table.rows}
    assert crowding["rates gbp"] == "20"
    said = "Sold most: volatility, 45.0 % in the worst 1 % of paths and 10.0 % over all paths."
    assert said in told(section)


def test_buckets_sold_alike_are_counted(run_inputs: Inputs) -> None:
    summary, tables = run_inputs
    frame = tables["avalanche_sales_by_bucket"].assign(sold_share_mean=0.2, sold_share_tail=0.4)
    said = told(sold_section(simulated(summary), {"avalanche_sales_by_bucket": frame}))
    assert "Sold most: equity us index and 5 more buckets, each 40.0 %" in said
    none = frame.assign(sold_share_mean=0.0, sold_share_tail=0.0)
    said = told(sold_section(simulated(summary), {"avalanche_sales_by_bucket": none}))
    assert "Nothing is sold by force in the worst 1 % of paths." in said


def test_every_estimate_has_its_interval(run_inputs: Inputs) -> None:
    section = precision_section(simulated(run_inputs[0]))
    assert section is not None and section.table is not None
    rows = {row[0].text: [cell.text.replace(NBSP, " ") for cell in row[1:]]
            for row in section.table.rows}  # fmt: skip
    assert rows["Amplification of calls"] == ["1.24", "1.20 to 1.28"]
    assert rows["Peak daily call, ES99"] == ["USD 1.72 bn", "1.58 bn to 1.90 bn"]
    assert rows["new figure"] == ["0.5", "0.4 to 0.6"]
    assert len(rows) == len(run_inputs[0]["avalanche"]["estimates"])


def test_the_way_of_drawing_and_the_precision_are_said(run_inputs: Inputs) -> None:
    summary = run_inputs[0]
    assert sampling_words(simulated(summary)).replace(NBSP, " ") == (
        "2,000 paths in 32 batches of low-discrepancy points. ES99 of the peak daily call is known"
        " to within 9.3 % either way. The run stopped at the precision asked for."
    )
    summary["avalanche"]["sampling"] = {"method": "independent", "batches": 0}
    said = sampling_words(simulated(summary)).replace(NBSP, " ")
    # (1.90 - 1.58) / 2 / 1.72
    assert said.startswith("2,000 paths of independent random draws.")
    assert "within 9.3 % either way." in said
    summary["avalanche"]["sampling"] = {}
    summary["avalanche"]["peak_call_usd"]["es99_low"] = None
    assert sampling_words(simulated(summary)).startswith("2,000 paths. How precise ES99")


def test_odd_buckets_are_named_and_the_rest_counted(run_inputs: Inputs) -> None:
    summary = run_inputs[0]
    held = summary["avalanche"]["assumptions"]["crowding_by_bucket"]
    held.update(oil=1.0, rates_usd=0.0, volatility=2.5)
    said = settings(simulated(summary))
    assert "= 5 (20 in rates gbp, 8 in gas power eu, 2.5 in volatility, 1 in oil and 1 more" in said
    held.update(dict.fromkeys(held, 5.0))
    assert "= 5, participation" in settings(simulated(summary))


def test_ratios_have_the_decimals_their_interval_needs() -> None:
    wide, narrow = Estimated(1.238, 1.201, 1.279), Estimated(0.9969, 0.9954, 0.9984)
    assert with_interval(wide, ratio_format(wide)) == "1.24 (1.20 to 1.28)"
    assert with_interval(narrow, ratio_format(narrow)) == "0.997 (0.995 to 0.998)"
    assert with_interval(Estimated(0.5), percent) == f"50.0{NBSP}%"


def test_a_run_under_a_scenario_says_which(run_inputs: Inputs) -> None:
    summary, tables = run_inputs
    avalanche, row = simulated(summary), tables["scenarios"].iloc[0].to_dict()
    said = named_scenario(avalanche, row)
    assert said.startswith(
        "Simulated under the scenario COVID crash 2020 (covid_2020, historical, severe,"
        " indicative)."
    )
    assert "steps volatility alone" in said
    assert "covid_2020, simulated above, is not one of them" in told(
        ladder_section(read_facts(summary))
    )
    assert named_scenario(avalanche, None).startswith("Simulated under your scenario covid_2020.")
    assert scenario_words(avalanche) == "in scenario \u201ccovid_2020\u201d at 5x volatility"


def test_a_step_of_volatility_is_no_scenario(run_inputs: Inputs) -> None:
    summary = run_inputs[0]
    summary["avalanche"]["scenario"] = "volatility 5x"
    avalanche = simulated(summary)
    assert named_scenario(avalanche, None) == ""
    assert scenario_words(avalanche) == "at 5x volatility"
    assert "not one of them" not in told(ladder_section(read_facts(summary)))


def test_scenarios_show_size_cost_and_mark(run_inputs: Inputs) -> None:
    summary, tables = run_inputs
    section = scenario_section(read_facts(summary), tables)
    assert section.table is not None
    first, second = section.table.rows
    assert (first[0].text, first[0].mark) == ("COVID crash 2020", "indicative")
    assert [cell.text for cell in first[3:]] == ["10", "4.3x", "19.0", "\u22121.57", "3.14"]
    assert (second[0].mark, second[2].text, second[5].text) == ("user", "n/a", "not available")
    assert section.table.note == "Shown: 2 of 3 scenarios. The run folder holds them all."
    assert "the fund loses USD 1.57 bn and has USD 3.14 bn to pay." in told(section)


def test_scenarios_that_cost_nothing_are_an_answer(run_inputs: Inputs) -> None:
    summary, tables = run_inputs
    summary["scenarios"] = []
    said = told(scenario_section(read_facts(summary), tables))
    assert said == "None of 3 stress scenarios costs the fund anything."
    assert told(scenario_section(read_facts({}), {})).startswith("No stress scenario")


def test_without_a_simulation_there_is_no_such_section() -> None:
    facts = read_facts({})
    for section in (severity_section, failing_section, precision_section):
        assert section(facts.avalanche) is None
    assert sold_section(None, {}) is None
