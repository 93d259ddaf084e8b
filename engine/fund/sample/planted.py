"""What the sample fund holds on purpose, so that an analysis has something to find.

Each `Leg` is a set of positions added to one account; `planted_facts` tells what they amount to.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.fund.sample.tables import bilateral_products, cleared_products

TAIL, ENERGY, NETTING = "tail_together", "energy_surge", "netting"


@dataclass(frozen=True, slots=True)
class Leg:
    """Positions of one manager in one product at one agreement, all on one side.

    `side` is the sign of the quantity. `right` and `most_days` narrow options to out-of-the-money
    ones of that right that expire within so many days.
    """

    fact_id: str
    agreement_id: str
    manager_id: str
    product: str
    side: int
    im_usd: float
    count: int
    right: str = ""
    most_days: int = 0


@dataclass(frozen=True)
class PlantedFact:
    """Something that is true of the sample fund by construction.

    `moves` is a scenario that shows it: factor id to move in return units (log return, or
    difference of levels for `absolute` factors).
    """

    fact_id: str
    kind: str
    statement: str
    managers: tuple[str, ...]
    agreements: tuple[str, ...]
    factors: tuple[str, ...]
    moves: dict[str, float] = field(default_factory=dict)


def _million(fact: str, *rows: tuple[str, str, str, int, float, int, str, int]) -> list[Leg]:
    return [Leg(fact, a, m, p, s, 1e6 * im, n, r, d) for a, m, p, s, im, n, r, d in rows]


LEGS: tuple[Leg, ...] = (
    *_million(
        "TAIL-1",
        ("OCC-ALD", "M05", "SPXO", -1, 18, 24, "P", 130),
        ("OCC-ALD", "M05", "VX", -1, 12, 4, "", 0),
        ("CME_BASE-BRW", "M05", "ES", -1, 13, 16, "P", 130),
        ("EUREX_ETD-COR", "M05", "ESX", -1, 11, 16, "P", 130),
        ("CSA-D03-NY", "M05", "OSX", -1, 8, 10, "P", 400),
        ("ICC-ALD", "M16", "CHY", -1, 22, 4, "", 0),
        ("LCH_SA_CDSCLEAR-COR", "M16", "CIX", -1, 14, 4, "", 0),
        ("CSA-D01-NY", "M16", "KHY", -1, 14, 4, "", 0),
        ("CSA-D02-LN", "M16", "KIX", -1, 9, 4, "", 0),
        ("CME_BASE-EAS", "M23", "MP", -1, 14, 5, "", 0),
        ("CME_BASE-EAS", "M23", "RA", -1, 14, 5, "", 0),
        ("B3-ALD", "M23", "DOL", -1, 10, 5, "", 0),
        ("LCH_FOREXCLEAR-ALD", "M23", "NBR", -1, 9, 8, "", 0),
        ("CSA-D04-NY", "M23", "FMX", -1, 11, 8, "", 0),
        ("CSA-D04-NY", "M23", "OBR", -1, 8, 8, "C", 400),
        ("CSA-D05-NY", "M23", "FZA", -1, 12, 8, "", 0),
        ("CSA-D05-NY", "M23", "OMX", -1, 7, 8, "C", 400),
    ),
    *_million(
        "ENERGY-1",
        ("ICEU_IRM2-ALD", "M10", "TTF", -1, 70, 6, "", 0),
        ("ICEU_IRM2-ALD", "M10", "TTF", -1, 20, 10, "C", 200),
        ("ICEU_IRM2-COR", "M10", "TTF", -1, 45, 6, "", 0),
        ("ECC-DUN", "M10", "TFE", -1, 30, 6, "", 0),
        ("ECC-ALD", "M11", "DEB", -1, 290, 6, "", 0),
        ("ECC-DUN", "M11", "DEB", -1, 130, 6, "", 0),
        ("ICEU_IRM2-ALD", "M11", "ECF", -1, 95, 6, "", 0),
        ("ICEU_IRM2-COR", "M10", "BRN", 1, 15, 5, "", 0),
    ),
    *_million(
        "NET-1",
        ("CME_BASE-BRW", "M32", "ES", 1, 27, 4, "", 0),
        ("CME_BASE-DUN", "M08", "ES", -1, 26, 4, "", 0),
    ),
    *_million(
        "NET-2",
        ("LCH_SWAPCLEAR-ALD", "M12", "US10", 1, 27, 5, "", 0),
        ("LCH_SWAPCLEAR-COR", "M17", "US10", -1, 25, 5, "", 0),
    ),
    *_million(
        "NET-3",
        ("EUREX_ETD-ALD", "M13", "GBL", 1, 18, 3, "", 0),
        ("EUREX_ETD-BRW", "M18", "GBL", -1, 16, 3, "", 0),
    ),
    *_million(
        "NET-4",
        ("ICEU_IRM2-DUN", "M25", "BRN", 1, 18, 4, "", 0),
        ("ICEU_IRM2-EAS", "M30", "BRN", -1, 16, 4, "", 0),
    ),
    *_million(
        "NET-5",
        ("LME_CLEAR-BRW", "M27", "CA", 1, 13, 4, "", 0),
        ("LME_CLEAR-FEN", "M32", "CA", -1, 12, 4, "", 0),
    ),
    *_million(
        "NET-6",
        ("JSCC_LISTED-EAS", "M09", "NKO", 1, 14, 4, "", 0),
        ("SGX_DC-FEN", "M33", "NKS", -1, 14, 4, "", 0),
    ),
    *_million(
        "NET-7",
        ("LCH_SWAPCLEAR-DUN", "M13", "EU10", 1, 16, 4, "", 0),
        ("EUREX_IRS-ALD", "M17", "EU10", -1, 14, 4, "", 0),
    ),
)

# Desks whose book is mostly planted.
LIGHT_DESKS = ("M05", "M16", "M23")
# Views that the planted managers keep in their background books too, so as not to hedge the facts.
FIXED_VIEWS: tuple[tuple[str, str, float], ...] = (
    *(("M05", factor, 1.0) for factor in ("SPX", "NDX", "RUT", "STOXX50", "DAX", "FTSE")),
    *(("M05", factor, -1.0) for factor in ("VIX", "V2X")),
    *(("M16", factor, -1.0) for factor in ("IG", "HY", "ITRX", "ITRXX")),
    *(
        ("M23", factor, -1.0)
        for factor in ("USDMXN", "USDBRL", "USDZAR", "USDTRY", "USDINR", "USDKRW")
    ),
    *((desk, factor, -1.0) for desk in ("M10", "M11") for factor in ("TTF", "POWER_DE", "EUA")),
)

_STATEMENTS: dict[str, tuple[str, str, dict[str, float]]] = {
    "TAIL-1": (
        TAIL,
        "Three managers that look diversified by asset class (M05 sells equity volatility, M16 "
        "earns credit carry, M23 earns emerging-currency carry) lose and are margined up together "
        "when equities fall and volatility rises.",
        {
            "SPX": -0.18, "STOXX50": -0.17, "VIX": 0.9, "V2X": 0.8, "HY": 1.6, "ITRXX": 1.5,
            "USDMXN": 0.13, "USDZAR": 0.11, "USDBRL": 0.12,
        },
    ),
    "ENERGY-1": (
        ENERGY,
        "M10 and M11 are short European gas, power and allowances in four accounts, a fifth of "
        "a day's volume in power and a quarter in allowances; a jump of gas and power over three "
        "days calls about 1.2bn USD.",
        {"TTF": 44.0, "POWER_DE": 102.0, "EUA": 0.12},
    ),
    "NET-1": (NETTING, "US index futures: long at one broker, short at another.", {}),
    "NET-2": (NETTING, "USD ten-year swaps: paid at one broker, received at another.", {}),
    "NET-3": (NETTING, "German ten-year futures: long at one broker, short at another.", {}),
    "NET-4": (NETTING, "Brent futures: long at one broker, short at another.", {}),
    "NET-5": (NETTING, "Copper futures: long at one broker, short at another.", {}),
    "NET-6": (NETTING, "Japanese index futures: long at one venue, short at another.", {}),
    "NET-7": (NETTING, "EUR ten-year swaps: paid at one venue, received at another.", {}),
}  # fmt: skip


def planted_facts() -> tuple[PlantedFact, ...]:
    """Return what the sample fund holds on purpose, by id."""
    factor_of = {p.product: p.factor_id for p in (*cleared_products(), *bilateral_products())}
    return tuple(
        PlantedFact(
            fact_id,
            kind,
            statement,
            tuple(dict.fromkeys(leg.manager_id for leg in legs)),
            tuple(dict.fromkeys(leg.agreement_id for leg in legs)),
            tuple(dict.fromkeys(factor_of[leg.product] for leg in legs)),
            moves,
        )
        for fact_id, (kind, statement, moves) in _STATEMENTS.items()
        if (legs := [leg for leg in LEGS if leg.fact_id == fact_id])
    )
