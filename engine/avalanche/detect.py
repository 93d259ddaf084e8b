"""Which paths are avalanches, from a run with feedback and one without on the same draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array
from engine.kernels.avalanche.layout import METRICS, Output

AVALANCHE_BRANCHING = 0.5
AMPLIFIED_BRANCHING = 0.2
LEAST_AGREEMENTS = 3
RUNAWAY_RATIO = 1.0


@dataclass(frozen=True)
class Detection:
    """Per-path verdicts, arrays of shape (n_paths,).

    `branching` is n = 1 - calls without feedback / calls with it (0 where there are no calls).
    A path is an avalanche if n >= 0.5 and the endogenous calls reach at least 2 consecutive
    windows and 3 agreements, so that one large venue alone is not a cascade. n = 0.5 is the
    share the Bank of England attributes to forced selling in the gilt market of September 2022
    (Staff Working Paper 1089). It is a runaway if at some time everything its sales have caused
    exceeds everything they have raised (`branching_max` >= 1): selling more does not help.
    """

    branching: Float64Array
    avalanche: BoolArray
    runaway: BoolArray


def detect(with_feedback: Output, without: Output) -> Detection:
    """Compare the two runs path by path."""
    total, exogenous = with_feedback.metrics[0], without.metrics[0]
    positive = total > 0
    branching = np.where(positive, 1.0 - exogenous / np.where(positive, total, 1.0), 0.0)
    window = with_feedback.windows > without.windows
    consecutive = np.any(window[1:] & window[:-1], axis=0)
    agreements = np.sum(with_feedback.calls > without.calls, axis=0) >= LEAST_AGREEMENTS
    avalanche = (branching >= AVALANCHE_BRANCHING) & consecutive & agreements
    runaway = with_feedback.metrics[METRICS.index("branching_max")] >= RUNAWAY_RATIO
    return Detection(branching, avalanche, np.asarray(runaway))


def severity_bands(
    branching: Float64Array, avalanche: BoolArray, runaway: BoolArray
) -> dict[str, float]:
    """Return the share of paths in each band; a path is in the most severe band it belongs to.

    Contained: n < 0.2. Amplified: n >= 0.2. Avalanche and runaway: see `Detection`.
    """
    n = max(len(branching), 1)
    milder = ~avalanche & ~runaway
    contained = branching < AMPLIFIED_BRANCHING
    return {
        "contained": float(np.sum(contained & milder)) / n,
        "amplified": float(np.sum(~contained & milder)) / n,
        "avalanche": float(np.sum(avalanche & ~runaway)) / n,
        "runaway": float(np.sum(runaway)) / n,
    }
