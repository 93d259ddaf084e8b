"""The cascade network: a chain with a known answer, additivity, and no edges without feedback."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.avalanche.attribution.cascade import Links, fund_cascade, link, sources
from engine.avalanche.attribution.cascade_result import OTHER_PAYMENTS, CascadeNetwork, when
from engine.avalanche.attribution.selected import run_selected, sampled_model
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.prepared import PreparedFund
from engine.avalanche.runs import without_impact
from engine.domain.failures import InputError
from engine.kernels.avalanche.layout import Output, empty_output

SETTINGS: dict[str, Any] = {"paths": 640, "crowding": 10.0, "horizon_days": 4}


def prepared(network: Any) -> PreparedFund:
    return PreparedFund(
        network.book,
        network.market,
        network.margin,
        network.exposures,
        network.inputs,
        network.curve,
    )


def two_agreements(make_network: Callable[..., Any]) -> tuple[Any, Output, Output]:
    """A model of two agreements and one bucket, and empty records of two days."""
    network = make_network(2, 1, plain=True)
    model = network.model(horizon_days=2)._replace(open_call=np.zeros(2))
    on, off = (empty_output(model, 1, False, record=True) for _ in range(2))
    for record in (on, off):
        record.window_left[:] = 1.0
        record.window_im[:] = 1.0
    return model, on, off


def test_a_chain_of_two_with_a_known_answer(make_network: Callable[..., Any]) -> None:
    model, on, off = two_agreements(make_network)
    on.window_calls[0, 0] = off.window_calls[0, 0] = 100.0
    on.window_left[1:] = 0.9
    on.window_calls[2, 1] = 7.0
    links = link(model, on, off)
    expected = np.zeros((6, 3, 2))
    expected[2, 0, 1] = 7.0
    np.testing.assert_allclose(links.edges, expected, rtol=1e-12)
    assert links.raised[1] == pytest.approx(0.1 * model.relief[0])
    assert links.orphan == 0.0


def test_sources_share_a_sale_by_their_calls(make_network: Callable[..., Any]) -> None:
    model, on, off = two_agreements(make_network)
    for record in (on, off):
        record.window_calls[0, :, 0] = 300.0, 100.0
    on.window_left[1:] = 0.9
    on.window_calls[2, 1] = 8.0
    links = link(model, on, off)
    np.testing.assert_allclose(links.edges[2, :, 1], [6.0, 2.0, 0.0], rtol=1e-12)


def test_older_sales_count_for_what_is_still_felt(make_network: Callable[..., Any]) -> None:
    model, on, off = two_agreements(make_network)
    for record in (on, off):
        record.window_calls[0, 0] = 100.0
        record.window_calls[3, 1] = 100.0
    # The same share is sold in windows 2 and 5, for the calls of A and then of B alone.
    on.window_left[1:4], on.window_left[4:] = 0.9, 0.8
    on.window_calls[5, 1] = 10.0
    links = link(model, on, off)
    # Windows 2 and 5: the first sale has faded for three windows, a day: 0.5 ** (1 / 2).
    faded = 0.5**0.5
    np.testing.assert_allclose(
        links.edges[5, :2, 1], [10.0 * faded / (1 + faded), 10.0 / (1 + faded)], rtol=1e-9
    )


def test_a_close_out_is_a_sale_of_its_own_agreement(make_network: Callable[..., Any]) -> None:
    model, on, off = two_agreements(make_network)
    for record in (on, off):
        record.window_calls[0, 1] = 100.0
    on.window_im[2:, 0] = 0.0
    on.window_calls[4, 1] = 5.0
    links = link(model, on, off)
    np.testing.assert_allclose(links.edges[4, :, 1], [5.0, 0.0, 0.0], rtol=1e-12)
    assert links.closed.tolist() == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]


def test_smaller_calls_have_no_edges(make_network: Callable[..., Any]) -> None:
    model, on, off = two_agreements(make_network)
    off.window_calls[3, 0] = 4.0
    links = link(model, on, off)
    assert not links.edges.any()
    assert links.avoided[3, 0] == -4.0


def test_calls_without_a_sale_are_told(make_network: Callable[..., Any]) -> None:
    model, on, off = two_agreements(make_network)
    on.window_calls[1, 1] = 3.0
    links = link(model, on, off)
    assert links.orphan == 3.0
    assert links.edges[1, 2, 1] == 3.0


def test_sources_of_a_window() -> None:
    calls = np.array([[6.0, 2.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 5.0]])
    share = sources(calls, np.array([0.0, -3.0]))
    np.testing.assert_allclose(share[0], [0.75, 0.25, 0.0])
    np.testing.assert_allclose(share[3], [0.75, 0.25, 0.0])
    np.testing.assert_allclose(share[4], [0.0, 1.0, 0.0])
    assert sources(np.zeros((1, 2)), np.zeros(2))[0].tolist() == [0.0, 0.0, 1.0]


@pytest.fixture(scope="module")
def real(make_network: Callable[..., Any]) -> tuple[Links, CascadeNetwork]:
    network = make_network(cash_usd=1.0e7)
    config = AvalancheConfig(**SETTINGS)
    fund = prepared(network)
    found = fund_cascade(fund, config, tail=0.9)
    model = sampled_model(fund, config)
    on = run_selected(model, config, found.path_ids, record=True)
    off = run_selected(without_impact(model), config, found.path_ids, record=True)
    return link(model, on, off), found


def test_edges_into_an_agreement_sum_to_its_endogenous_calls(
    real: tuple[Links, CascadeNetwork],
) -> None:
    links, found = real
    assert links.endogenous.sum() > 0.0
    np.testing.assert_allclose(links.edges.sum(axis=1), links.endogenous, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(
        links.by_bucket.sum(axis=0), links.endogenous.sum(axis=0), rtol=1e-9, atol=1e-6
    )
    assert links.orphan == 0.0
    assert np.all(links.edges >= 0.0)
    difference = found.endogenous_usd.sum() + found.avoided_usd.sum()
    calls = found.window["calls_usd"].sum() - found.window["calls_without_usd"].sum()
    assert difference == pytest.approx(calls, rel=1e-9)


def test_tables_chain_and_json(real: tuple[Links, CascadeNetwork]) -> None:
    _, found = real
    tables = found.tables()
    assert tables["cascade_edges"]["usd"].sum() == pytest.approx(found.endogenous_usd.sum())
    assert tables["cascade_nodes"]["endogenous_usd"].sum() == pytest.approx(
        found.endogenous_usd.sum()
    )
    assert len(tables["cascade_windows"]) == 12
    json.dumps(found.to_dict(), allow_nan=False)
    chain = found.chain()
    assert chain
    called = [chain[0]["source"], *(step["target"] for step in chain)]
    assert len(set(called)) == len(called)
    assert all(a["window"] < b["window"] for a, b in zip(chain, chain[1:], strict=False))
    assert chain[0]["target"] in found.chain_words()
    assert found.names()[-1] == OTHER_PAYMENTS


def test_without_feedback_there_is_no_edge(make_network: Callable[..., Any]) -> None:
    network = make_network(cash_usd=1.0e7)
    config = AvalancheConfig(**SETTINGS, feedback=False)
    found = fund_cascade(prepared(network), config, tail=0.9)
    assert found.window["raised_usd"].sum() > 0.0
    assert not found.edge_usd.any()
    assert found.edges() == [] == found.chain()
    assert "No call is caused" in found.chain_words()


def test_selections(make_network: Callable[..., Any]) -> None:
    network = make_network(cash_usd=1.0e7)
    fund = prepared(network)
    with pytest.raises(InputError, match="is an avalanche"):
        fund_cascade(fund, AvalancheConfig(**SETTINGS, feedback=False), selection="avalanche")
    config = AvalancheConfig(**SETTINGS)
    assert len(fund_cascade(fund, config, tail=0.9, most_paths=5).path_ids) == 5


def test_when_names_the_end_of_a_window() -> None:
    assert when(4) == "day 2, hour 8"
    assert when(3) == "day 1, hour 24"
