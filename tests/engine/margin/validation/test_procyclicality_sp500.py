"""Procyclicality of EWMA margins on the S&P 500, 1999 to 2025, against figures computed apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

from engine.margin.procyclicality import largest_rise, peak_to_trough
from engine.market.volatility import ewma_paths

# Decay; peak over trough; largest rise over 1, 5 and 20 days in per cent; breaches in per cent.
PUBLISHED = [
    (0.94, 18.4, (130, 182, 677), 1.59),
    (0.97, 12.8, (69, 132, 503), 1.45),
    (0.99, 7.46, (28, 69, 236), 1.41),
]
CONFIDENCE = 0.995


@pytest.mark.conformance
@pytest.mark.parametrize(("decay", "ratio", "rises", "breaches"), PUBLISHED)
def test_ewma_margin_of_the_sp500(
    shared_folder: Path, decay: float, ratio: float, rises: tuple[int, ...], breaches: float
) -> None:
    frame = pd.read_csv(shared_folder / "history" / "real_panel.csv", parse_dates=["date"])
    level = frame.set_index("date")["SPX"].dropna()
    moves = np.log(level).diff().dropna()
    volatility = ewma_paths(moves.to_numpy()[:, None], decay, np.zeros(1))[:-1, 0]
    days = (moves.index >= "1999") & (moves.index < "2026")
    margin = float(ndtri(CONFIDENCE)) * volatility[days]
    assert peak_to_trough(margin) == pytest.approx(ratio, rel=5e-3)
    for days_apart, rise in zip((1, 5, 20), rises, strict=True):
        assert 100.0 * largest_rise(margin, days_apart) == pytest.approx(rise, abs=0.6)
    found = 100.0 * float(np.mean(-moves.to_numpy()[days] > margin))
    # Computed apart with another convention of the first day: the same within a tenth of a point.
    assert found == pytest.approx(breaches, abs=0.1)
