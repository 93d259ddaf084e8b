"""A synthetic network of agreements and factors, made directly as exposures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pytest

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.exposures import Exposures
from engine.avalanche.market_inputs import MarketInputs
from engine.avalanche.model import build_model
from engine.avalanche.prepared import PreparedFund
from engine.avalanche.terms import CURVE_MULTIPLES
from engine.domain.agreements import Agreements
from engine.domain.book import (
    Book,
    Cash,
    Collateral,
    Facilities,
    Instruments,
    Managers,
    Positions,
    Settlements,
    Strategies,
)
from engine.domain.market import ASSET_CLASSES, FactorTable, MarketState
from engine.domain.results import MarginResult
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.layout import Model


@dataclass(frozen=True)
class Network:
    """Everything `build_model` needs."""

    book: Book
    market: MarketState
    margin: MarginResult
    exposures: Exposures
    inputs: MarketInputs
    curve: np.ndarray

    @property
    def fund(self) -> PreparedFund:
        """The fund as simulations take it."""
        return PreparedFund(
            self.book, self.market, self.margin, self.exposures, self.inputs, self.curve
        )

    def model(self, scenario: Scenario | None = None, scored: int = 0, **settings: Any) -> Model:
        """Build the kernel model under the given assumptions."""
        return build_model(
            self.book,
            self.market,
            self.margin,
            self.exposures,
            self.inputs,
            self.curve,
            AvalancheConfig(**settings),
            scenario,
            scored=scored,
        )


def _text(values: list[str]) -> np.ndarray:
    return np.array(values, dtype=object)


def _agreements(
    count: int, rng: np.random.Generator, plain: bool, im_held: np.ndarray
) -> Agreements:
    kinds = ["cleared", "bilateral", "prime"]
    kind = _text(["cleared"] * count if plain else [kinds[i % 3] for i in range(count)])
    simm = kind == "bilateral"
    empty = _text([""] * count)
    zeros = np.zeros(count)
    return Agreements(
        agreement_id=_text([f"A{i:03d}" for i in range(count)]),
        kind=kind,
        venue=empty,
        counterparty=empty,
        broker=empty,
        legal_entity=_text(["MAIN"] * count),
        currency=_text(["USD"] * count),
        model=np.where(simm, "simm", "fhs_var").astype(object),
        confidence=np.full(count, 0.99),
        mpor_days=np.full(count, 2),
        lookback_days=np.full(count, 1250),
        ewma_lambda=np.where(simm, np.nan, 0.97),
        apc=np.where(simm | plain, "none", "stress_weight").astype(object),
        stress_weight=np.where(simm | plain, 0.0, 0.25),
        apc_buffer=zeros,
        broker_multiplier=np.ones(count),
        vm_threshold=zeros if plain else np.where(simm, 2.0e5, 0.0),
        im_threshold=zeros,
        mta=zeros if plain else np.where(simm, 5.0e4, 0.0),
        rounding=zeros,
        independent_amount=zeros,
        vm_held=zeros if plain else np.where(simm, rng.normal(0, 1e6, count).round(), 0.0),
        im_held=im_held,
        eod_hour_utc=np.full(count, 23) if plain else rng.choice([7, 17, 21], count),
        intraday_hours_utc=np.array(
            [() if plain or simm[i] else (9, 13) for i in range(count)] + [None], dtype=object
        )[:-1],
        pay_lag_hours=np.ones(count, dtype=np.int64) if plain else np.where(simm, 24, 2),
        im_group=empty,
        eligible_collateral=np.array([()] * count + [None], dtype=object)[:-1],
        reported_im=np.full(count, np.nan),
        evidence=_text(["user"] * count),
    )


def _factors(count: int, adv_usd: float) -> FactorTable:
    classes = [ASSET_CLASSES[i % len(ASSET_CLASSES)] for i in range(count)]
    text = _text([""] * count)
    return FactorTable(
        factor_id=_text([f"F{i:02d}" for i in range(count)]),
        asset_class=_text(classes),
        currency=_text(["USD"] * count),
        unit=text,
        return_type=_text(["log"] * count),
        bucket=_text([f"{name}_{i % 2}" for i, name in enumerate(classes)]),
        adv=np.full(count, adv_usd),
        daily_vol_floor=np.full(count, 1e-4),
        simm_risk_type=text,
        simm_qualifier=text,
        simm_bucket=text,
        simm_label1=text,
        simm_label2=text,
        synthetic=np.ones(count, dtype=bool),
        source=text,
    )


def _margin(
    terms: Agreements, margin_usd: np.ndarray, rng: np.random.Generator, plain: bool
) -> MarginResult:
    count = len(margin_usd)
    return MarginResult(
        as_of=date(2022, 12, 28),
        currency="USD",
        agreement_id=terms.agreement_id,
        kind=terms.kind,
        venue=terms.venue,
        counterparty=terms.counterparty,
        broker=terms.broker,
        model=terms.model,
        mark=terms.evidence,
        im_usd=np.round(margin_usd, 2),
        vm_usd=np.zeros(count) if plain else np.round(rng.normal(0, 5e5, count), 2),
        add_ons={"concentration": np.round((0.0 if plain else 0.1) * margin_usd, 2)},
        components={"calculated": margin_usd, "anti_procyclicality": np.zeros(count)},
    )


def _settlements(plain: bool, cash_usd: float) -> Settlements:
    if plain:
        none = _text([])
        return Settlements(none, np.zeros(0, "datetime64[D]"), none, none, np.zeros(0, np.int64))
    return Settlements(
        _text(["IN", "OUT"]),
        np.array(["2022-12-30", "2023-01-03"], dtype="datetime64[D]"),
        _text(["MAIN", "MAIN"]),
        _text(["USD", "USD"]),
        np.array([round(5 * cash_usd), round(-8 * cash_usd)]),
    )


def _book(agreements: Agreements, cash_usd: float, facility_usd: float, plain: bool) -> Book:
    none = _text([])
    zero = np.zeros(0)
    whole = np.zeros(0, dtype=np.int64)
    day = np.zeros(0, dtype="datetime64[D]")
    one = _text(["MAIN"])
    return Book(
        name="network",
        as_of=date(2022, 12, 28),
        currency="USD",
        nav_usd=20 * cash_usd,
        positions=Positions(none, whole, whole, whole, whole, zero),
        instruments=Instruments(
            none, none, none, whole, none, zero, day, zero, none, zero, zero, zero, none, whole
        ),
        agreements=agreements,
        cash=Cash(one, _text(["USD"]), np.array([round(cash_usd * 100)])),
        collateral=Collateral(
            _text(["BILL"]),
            one,
            _text(["govt"]),
            _text(["USD"]),
            np.array([cash_usd / 2]),
            np.array([0.02]),
            np.array([0]),
        ),
        facilities=Facilities(
            _text(["RCF"]),
            one,
            _text(["BANK"]),
            _text(["USD"]),
            np.array([round(facility_usd * 100)]),
            np.array([0]),
            np.array([24]),
            np.array([0.15]),
            np.array([150.0]),
            np.array([40.0]),
        ),
        settlements=_settlements(plain, cash_usd),
        managers=Managers(none, none, zero),
        strategies=Strategies(none, none, none),
    )


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Network]:
    """Return `make(agreements, factors, ...)`.

    `plain` gives one call a day, no thresholds, no stress share: the setting of closed forms.
    """

    def make(
        agreements: int = 9,
        factors: int = 8,
        *,
        seed: int = 7,
        plain: bool = False,
        cash_usd: float = 4.0e7,
        facility_usd: float = 2.0e7,
        adv_usd: float = 2.0e8,
        delta_usd: float = 2.0e8,
        gamma_usd: float = -2.0e8,
    ) -> Network:
        rng = np.random.default_rng(seed)
        table = _factors(factors, adv_usd)
        sigma = np.full(factors, 0.01)
        shape = (agreements, factors)
        sparse = rng.random(shape) < 0.4
        tilt = np.where(rng.random(factors) < 0.7, 1.0, -1.0)
        delta = np.where(sparse, tilt * rng.uniform(0.1, 1.0, shape) * delta_usd, 0.0)
        gamma = np.where(rng.random(shape) < 0.2, gamma_usd * rng.uniform(0, 1, shape), 0.0)
        if plain:
            delta, gamma = np.full(shape, delta_usd), np.zeros(shape)
        correlation = 0.3 * np.ones((factors, factors)) + 0.7 * np.eye(factors)
        margin_usd = 3.0 * 0.01 * np.sqrt(np.sum(delta**2, axis=1))
        posted = np.round(margin_usd * (1.0 if plain else 1.1), 2)
        terms = _agreements(agreements, rng, plain, posted)
        margin = _margin(terms, margin_usd, rng, plain)
        market = MarketState(
            as_of=date(2022, 12, 28),
            factors=table,
            level=np.full(factors, 100.0),
            dates=np.array(["2022-12-27", "2022-12-28"], dtype="datetime64[D]"),
            returns=np.zeros((2, factors)),
            fx_usd={"USD": 1.0},
        )
        return Network(
            _book(terms, cash_usd, facility_usd, plain),
            market,
            margin,
            Exposures(delta, gamma, np.zeros(agreements) if plain else -terms.vm_held),
            MarketInputs(np.arange(factors), sigma, correlation),
            np.outer(margin.add_ons["concentration"], np.power(CURVE_MULTIPLES, 1.5)),
        )

    return make
