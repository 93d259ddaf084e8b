"""Factors, history, and the market of one date."""

from engine.market.factors import merge_factors, read_factors
from engine.market.levels import Levels, read_levels
from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market

__all__ = [
    "Levels",
    "build_market",
    "merge_factors",
    "packaged_factors",
    "packaged_levels",
    "read_factors",
    "read_levels",
]
