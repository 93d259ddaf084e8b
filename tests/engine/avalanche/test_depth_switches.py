"""Each feedback switch: what it changes, and what stays bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.kernels.avalanche import layout
from engine.kernels.avalanche.compiled import run_paths
from engine.kernels.avalanche.layout import METRICS, Output
from tests.engine.avalanche.test_depth_harness import (
    SEED,
    cut,
    inside,
    many_currencies,
    metric,
    with_pool,
)

SWITCHES = ("prices", "margin", "volatility", "depth", "haircuts")
ALL_OFF = {f"feedback_{name}": False for name in SWITCHES}
POLICIES: list[dict[str, Any]] = [
    {"sale_policy": "pro_rata"},
    {"sale_policy": "greedy"},
    {"impact_law": "linear"},
    {"sale_policy": "greedy", "impact_law": "linear", "default_grace_hours": 0},
]


def _fund(make_network: Callable[..., Any], **settings: Any) -> Any:
    return many_currencies(make_network(), cash_usd=2.0e6).model(
        **{"volatility_multiplier": 4.0} | settings
    )


def _same(a: Output, b: Output, *, but: tuple[str, ...] = ()) -> None:
    for i, name in enumerate(METRICS):
        if name not in but:
            np.testing.assert_array_equal(a.metrics[i], b.metrics[i], err_msg=name)
    for field in ("windows", "calls", "left", "fan"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field), err_msg=field)


def _changed(a: Any, b: Any) -> set[str]:
    return {name for name in a._fields if not np.array_equal(getattr(a, name), getattr(b, name))}


@pytest.mark.parametrize(
    ("switch", "fields", "entry"),
    [
        ("prices", {"impact", "seg_push"}, None),
        ("margin", {"pool"}, "SALES_IN_MARGIN"),
        ("volatility", {"pool"}, "HEAT_MOVES"),
        ("depth", {"pool"}, "HEAT_DEPTH"),
        ("haircuts", {"pool"}, "HEAT_HAIRCUT"),
    ],
)
def test_a_switch_changes_its_own_arrays_and_the_run(
    make_network: Callable[..., Any], switch: str, fields: set[str], entry: str | None
) -> None:
    on = _fund(make_network, crowding=10.0, volatility_reaction=1.0)
    off = _fund(
        make_network, crowding=10.0, volatility_reaction=1.0, **{f"feedback_{switch}": False}
    )
    assert _changed(on, off) == fields
    if entry is not None:
        place = getattr(layout, f"POOL_{entry}")
        assert np.nonzero(on.pool != off.pool)[0].tolist() == [place] and off.pool[place] == 0.0
    a, b = run_paths(on, 256, SEED), run_paths(off, 256, SEED)
    assert not np.array_equal(a.metrics, b.metrics)


def _hot(make_network: Callable[..., Any], **settings: Any) -> Any:
    """One sale in hour 0 with a strong reaction, then random hours."""
    network = make_network(cash_usd=4.0e7)
    model = network.model(
        horizon_days=1, crowding=20.0, volatility_reaction=2.0, tail_degrees=0, jumps_per_day=0.0,
        **settings,
    )  # fmt: skip
    cap = np.zeros_like(model.sale_cap)
    cap[0] = 0.2
    return with_pool(model._replace(sale_cap=cap), TARGET=1e15)


def test_what_the_first_hours_of_a_sale_show(make_network: Callable[..., Any]) -> None:
    """After the same first sale each switch shows in its own quantity and in no other.

    Moves of the second hour see prices (their mean) and volatility (their scale); haircuts and
    depth do not move them.
    """
    base = inside(cut(_hot(make_network), 2))

    def second_hour(**settings: Any) -> np.ndarray:
        end = inside(cut(_hot(make_network, **settings), 2))
        np.testing.assert_array_equal(end.state.holdings.left, base.state.holdings.left)
        return end.state.tape.basis[:8]

    moves = base.state.tape.basis[:8]
    for switch in ("depth", "haircuts", "margin"):
        np.testing.assert_array_equal(second_hour(**{f"feedback_{switch}": False}), moves)
    still = second_hour(feedback_prices=False, feedback_volatility=False)
    scaled = second_hour(feedback_prices=False)
    pushed = second_hour(feedback_volatility=False)
    heat = base.state.holdings.heat[_hot(make_network).bucket]
    # A bucket that releases nothing is not sold: it has neither heat nor push.
    hot = heat[:, 0] > 1.0
    assert np.any(hot)
    ratio = np.divide(scaled, still, out=np.ones_like(still), where=still != 0)
    assert np.all(ratio[hot] > 1.0) and np.all(ratio[~hot] == 1.0)
    push = pushed - still
    model = _hot(make_network)
    assert np.all(np.sign(push[hot]) == np.sign(model.impact[hot])[:, None])
    np.testing.assert_allclose(moves - scaled, push, rtol=0, atol=1e-15)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: "-".join(map(str, p.values())))
def test_zero_impact_is_feedback_off(
    make_network: Callable[..., Any], policy: dict[str, Any]
) -> None:
    """Bit for bit, whoever sells alongside, in whatever order buckets are sold."""
    off = run_paths(_fund(make_network, feedback=False, **policy), 256, SEED, fan=True)
    assert np.any(metric(off, "raised") > 0) and np.any(metric(off, "default_count") > 0)
    for crowd in (0.0, 20.0):
        zero = _fund(make_network, impact_coefficient=0.0, crowding=crowd, **policy)
        _same(off, run_paths(zero, 256, SEED, fan=True))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: "-".join(map(str, p.values())))
def test_crowds_do_not_matter_without_feedback(
    make_network: Callable[..., Any], policy: dict[str, Any]
) -> None:
    runs = [
        run_paths(_fund(make_network, feedback=False, crowding=c, **policy), 256, SEED, fan=True)
        for c in (0.0, 7.0)
    ]
    _same(*runs)
    with_feedback = run_paths(_fund(make_network, crowding=7.0, **policy), 256, SEED, fan=True)
    assert not np.array_equal(with_feedback.metrics, runs[0].metrics)


def test_all_switches_off_leave_the_cost_of_selling_alone(
    make_network: Callable[..., Any],
) -> None:
    """The switches stop what sales do to others; what they cost the fund has no switch."""
    off = _fund(make_network, feedback=False)
    every = _fund(make_network, **ALL_OFF)
    assert _changed(off, every) <= {"cost", "heat", "pool"}
    # Impact costs leave cash: without them the two are one, but for the lender's view (below).
    same = every._replace(cost=np.zeros_like(every.cost))
    a, b = run_paths(off, 256, SEED, fan=True), run_paths(same, 256, SEED, fan=True)
    _same(a, b)


def test_all_switches_off_leave_lenders_calm(make_network: Callable[..., Any]) -> None:
    settings = {
        "adverse_change_multiple": 4.2, "volatility_multiplier": 4.0, "crowding": 50.0,
        "volatility_reaction": 5.0, "volatility_of_volatility": 0.0, "defaults": False,
    }  # fmt: skip
    network = make_network(cash_usd=1.0e6, facility_usd=2.0e7)
    off = network.model(feedback=False, **settings)
    every = network.model(**ALL_OFF, **settings)
    every = every._replace(cost=np.zeros_like(every.cost))
    covenant = np.array([1e9])
    a, b = (
        run_paths(m._replace(facility_covenant=covenant), 128, SEED, fan=True) for m in (off, every)
    )
    assert np.any(metric(a, "drawn_max") > 0)
    _same(a, b)
