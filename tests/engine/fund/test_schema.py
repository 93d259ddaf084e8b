"""The schema describes what is read, written and documented."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

from engine.domain.agreements import Agreements
from engine.domain.market import FactorTable
from engine.fund.schema import TABLES, Column, reference_tables, table_schemas
from engine.fund.suggest import did_you_mean, plain_number

ROOT = Path(__file__).resolve().parents[3]


def test_agreements_and_factors_have_the_fields_of_the_domain() -> None:
    for name, kind in (("agreements", Agreements), ("factors", FactorTable)):
        assert [c.name for c in TABLES[name].columns] == [f.name for f in fields(kind)]


def test_template_headers_are_the_schema(pack) -> None:
    for name, table in TABLES.items():
        if table.required:
            header = pack.text(f"{name}.csv").splitlines()[0].split(",")
            assert header == [column.name for column in table.columns]


def test_tables_come_after_those_they_refer_to() -> None:
    seen = []
    for name, table in TABLES.items():
        seen.append(name)
        for column in table.columns:
            if column.references:
                target, field = column.references.split(".")
                assert target in seen[:-1]
                assert TABLES[target].column(field).type == "id"


def test_json_schemas_are_json_and_complete() -> None:
    schemas = json.loads(json.dumps(table_schemas()))
    assert set(schemas) == set(TABLES)
    quantity = schemas["positions"]["properties"]["quantity"]
    assert re.match(quantity["pattern"], "-1.5e3")
    assert not re.match(quantity["pattern"], "1,000")
    assert schemas["positions"]["required"] == [c.name for c in TABLES["positions"].columns]
    tenor = schemas["instruments"]["properties"]["tenor_years"]
    assert tenor["x-exclusiveMinimum"] == 0
    assert tenor["x-unit"] == "years"
    assert tenor["x-required-for"] == {"kind": ["swap", "cds", "bond"]}
    assert re.match(tenor["pattern"], "")
    assert schemas["instruments"]["properties"]["right"]["enum"] == ["C", "P", ""]


def test_every_column_of_the_template_passes_its_json_schema(pack) -> None:
    schemas = table_schemas()
    for name, table in TABLES.items():
        if not table.required:
            continue
        header, *rows = [line.split(",") for line in pack.text(f"{name}.csv").splitlines()]
        for row in rows:
            for column, cell in zip(header, row, strict=True):
                rule = schemas[name]["properties"][column]
                if "pattern" in rule:
                    assert re.match(rule["pattern"], cell), (name, column, cell)
                if "enum" in rule:
                    assert cell in rule["enum"], (name, column, cell)


def test_reference_page_is_the_schema() -> None:
    page = (ROOT / "docs" / "fund-pack.md").read_text(encoding="utf-8")
    generated = page.split("<!-- tables -->\n")[1].split("<!-- end of tables -->")[0]
    assert generated.strip() == reference_tables().strip()


def test_rule_in_words() -> None:
    column = Column("haircut", "number", "", low=0, high=1, high_open=True)
    assert column.rule().endswith("; >= 0; < 1")


def test_did_you_mean() -> None:
    assert did_you_mean("CMEX", ["CME", "LCH"]) == "CME"
    assert did_you_mean(" Quantity ", ["quality", "quantity"]) == "quantity"
    assert did_you_mean("zzz", ["CME"]) == ""
    assert did_you_mean("", ["CME"]) == ""


def test_plain_number() -> None:
    assert plain_number("(1,000)") == "-1000"
    assert plain_number("1_000") == "1000"
    assert plain_number("١٢") == "12"
    assert plain_number(" 5 ") == "5"
    assert plain_number("1.2.3") == ""
    assert plain_number("1.000,50") == ""
