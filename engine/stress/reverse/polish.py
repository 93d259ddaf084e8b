"""The last steps to a minimum by gradient, inside the box.

Without bounds the step is that of Hasofer and Lind (1974) and Rackwitz and Fiessler (1978) for the
design point of structural reliability, which is the same problem: the nearest point, in whitened
units, of a boundary. With bounds it is a small quadratic programme.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from engine.domain.arrays import Float64Array
from engine.stress.reverse.rays import Evaluate, MoveBox, first_reach, unit_directions

# How near the linearised problem must come to the point's own distance to call it a minimum.
SAME_DISTANCE = 2e-3
# Steps towards the linear solution that are tried at once.
STEP_SHARES = (1.0, 0.5, 0.2, 0.05)
DIFFERENCE = 1e-3
LEAST_GAIN = 1e-12
QUADRATIC_STEPS = 100


@dataclass(frozen=True)
class Answer:
    """One point that reaches the target.

    Attributes
    ----------
    point : float64 array of shape (K,)
        Whitened; its length is the Mahalanobis distance.
    loss : float
    optimum : bool
        True where it is a local minimum of the distance: with the loss replaced by its tangent, no
        allowed point is nearer. False where it is only the nearest point found that is
        distinct from better ones.
    """

    point: Float64Array
    loss: float
    optimum: bool

    @property
    def distance(self) -> float:
        """Length of the point."""
        return float(np.linalg.norm(self.point))


def polish(
    evaluate: Evaluate,
    target: float,
    point: Float64Array,
    box: MoveBox,
    steps: int = 30,
    least_gain: float = LEAST_GAIN,
) -> Answer:
    """Move a point that reaches the target along the boundary to the nearest local minimum.

    Each step goes towards the nearest allowed point of the linearised boundary and back onto the
    boundary by ray repair; it is taken only if the distance falls. So the answer is never farther
    than the point given. The gradient is by forward differences: kinks may end it early.

    Returns
    -------
    Answer
        Loss 3 y_1 + 4 y_2, target 10, from any point: (1.2, 1.6), a minimum.
    """
    y, at_zero = point, float(evaluate(np.zeros((1, len(point))))[0])
    loss = float(evaluate(y[None, :])[0])
    for _ in range(steps):
        radius = float(np.linalg.norm(y))
        goal = _linear_solution(evaluate, target, y, loss, box)
        if goal is None:
            return Answer(y, loss, False)
        optimum = float(np.linalg.norm(goal)) >= radius * (1.0 - SAME_DISTANCE)
        trials = np.array([y + share * (goal - y) for share in STEP_SHARES])
        directions, _ = unit_directions(trials)
        most = np.minimum(box.longest(directions), radius)
        reach = first_reach(
            evaluate, target, at_zero, directions, most, scans=1, steps=60, tolerance=1e-13
        )
        found = np.where(reach.reached, reach.radius, np.inf)
        best = int(np.argmin(found))
        if not found[best] < radius * (1.0 - least_gain):
            return Answer(y, loss, optimum)
        y, loss = directions[best] * found[best], float(reach.loss[best])
    return Answer(y, loss, False)


def _linear_solution(
    evaluate: Evaluate, target: float, y: Float64Array, loss: float, box: MoveBox
) -> Float64Array | None:
    """Nearest allowed point at which the tangent of the loss reaches the target; None if flat."""
    step = DIFFERENCE * max(float(np.linalg.norm(y)), 1e-9)
    around = evaluate(y + step * np.eye(len(y)))
    if not np.isfinite(around).all():
        return None
    gradient = (around - loss) / step
    size = float(np.linalg.norm(gradient))
    if size == 0.0:
        return None
    # n'z >= c, with n of unit length.
    normal = gradient / size
    level = float(normal @ y) - (loss - target) / size
    free = normal * level
    x = box.loading @ free
    if (np.abs(x) <= box.bound).all() and (box.sign * x >= 0.0).all():
        return free
    return _bounded_solution(normal, level, y, box)


def _bounded_solution(
    normal: Float64Array, level: float, y: Float64Array, box: MoveBox
) -> Float64Array:
    """Minimise |z|^2 / 2 subject to normal'z >= level inside the box, from y, which is allowed.

    Solved in moves over their scale, where the box is bounds on variables.
    """
    scale = np.linalg.norm(box.loading, axis=1)
    inverse = np.linalg.inv(box.loading / scale[:, None])
    hessian = inverse.T @ inverse
    slope = inverse.T @ normal
    low = np.where(box.sign > 0.0, 0.0, -box.bound / scale)
    high = np.where(box.sign < 0.0, 0.0, box.bound / scale)
    start = np.clip((box.loading @ y) / scale, low, high)
    answer = minimize(
        lambda v: 0.5 * float(v @ hessian @ v),
        start,
        jac=lambda v: hessian @ v,
        bounds=list(zip(low, high, strict=True)),
        constraints=[
            {"type": "ineq", "fun": lambda v: float(slope @ v) - level, "jac": lambda v: slope}
        ],
        method="SLSQP",
        options={"maxiter": QUADRATIC_STEPS, "ftol": 1e-9},
    )
    inside = np.clip(answer.x, low, high)
    out: Float64Array = inverse @ inside
    return out
