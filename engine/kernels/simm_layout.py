"""What the standard margin's kernel reads: its structure, without any amount.

The margin is a tree. Rows add up to *factors* (the risks that correlations speak of); factors lie
in *groups* (the names or currencies that concentration is measured on), groups in *buckets*,
buckets in *blocks* (one risk class and measure), blocks in *silos* (one product class of one
portfolio), four silos in a portfolio. Each level is sorted, so a level is a run of the one below.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.domain.arrays import Float64Array, Int64Array

PRODUCTS = 4
CLASSES = 6
RATES = 0
DELTA, VEGA, CURVATURE, BASE_CORRELATION = range(4)

# Cells of the rates correlation: 7 sub-curves of 12 tenors, inflation, cross-currency basis.
INFLATION_CELL = 84
BASIS_CELL = 85
CELLS = 86


class Structure(NamedTuple):
    """The tree and its parameters.

    Shapes: E entries (row, factor), F factors, G groups, B buckets, K blocks, M silos, P
    portfolios, R rows of the table. `x_start` arrays have one more item than their level and give
    the run of the level below.

    Attributes
    ----------
    entry_start (F + 1), entry_row (E), entry_coefficient (E)
        Value of a factor: sum of coefficient * amount of its rows.
    weight, group, family, same, cell (F)
        Weighted sensitivity = weight * value * ratio of the group. Factors of one `family` (where
        `same` is constant) have correlation `same`, others `different`; in rates `cell` is the
        place in `rates_correlation`.
    threshold (G)
        Concentration threshold on the sum of the group's values, USD; inf where there is none.
    factor_start, group_start (B + 1), bucket_code, different (B)
        `bucket_code` is the place in `between`; a code of `ordinary` or more is the residual.
    bucket_start (K + 1), block_class, block_measure, block_scale (K)
    block_start (M + 1), multiplier (M)
    add_on (P)
        Fixed add-ons and factors on notionals, USD.
    rates_correlation (2, 86, 86), rates_gamma (2), between (2, 6, 18, 18)
        First index 0: for delta and vega; 1: squared, for curvature.
    ordinary (6), class_correlation (6, 6)
    """

    entry_start: Int64Array
    entry_row: Int64Array
    entry_coefficient: Float64Array
    weight: Float64Array
    group: Int64Array
    family: Int64Array
    same: Float64Array
    cell: Int64Array
    threshold: Float64Array
    factor_start: Int64Array
    group_start: Int64Array
    bucket_code: Int64Array
    different: Float64Array
    bucket_start: Int64Array
    block_class: Int64Array
    block_measure: Int64Array
    block_scale: Float64Array
    block_start: Int64Array
    multiplier: Float64Array
    add_on: Float64Array
    rates_correlation: Float64Array
    rates_gamma: Float64Array
    between: Float64Array
    ordinary: Int64Array
    class_correlation: Float64Array


class State(NamedTuple):
    """What one pass over one set of amounts fills.

    value, ws (F): factor values and weighted sensitivities; size, ratio (G): sums that
    concentration is measured on, and their ratios; variance, total (B): K^2 and sum of weighted
    sensitivities; margin (K): margins of blocks, USD. The reverse pass fills a second State with
    derivatives (`size` and `ws` unused there).
    """

    value: Float64Array
    ws: Float64Array
    size: Float64Array
    ratio: Float64Array
    variance: Float64Array
    total: Float64Array
    margin: Float64Array
