"""Full revaluation of European options on scenario grids: compiled loops and their NumPy twins.

Both models need the normal distribution twice per price. The kernels write it as
`Phi(-z) = phi(z) * M(z)` with `M` the Mills ratio, because `forward * phi(d1) == strike * phi(d2)`:
one exponential then serves both terms, and out-of-the-money prices keep their relative accuracy.
`M` and `exp` are polynomials, so that a loop over scenarios is one straight line of arithmetic
that the compiler turns into vector instructions (a call to `math.exp` would keep it scalar).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.kernels.jit import inlined, kernel

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

# Below any standard deviation that matters; it replaces zero, for which d1 is undefined, and makes
# the price the intrinsic value without a branch.
LEAST_DEVIATION = 1e-150
# phi(38) is 1e-314: beyond this the tail adds nothing to a float64 price.
MOST_DEVIATIONS = 37.0

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.6931471803691238
_LN2_LOW = 1.9082149292705877e-10
# Adding 1.5 * 2**52 rounds to an integer and leaves it in the low bits: no conversion instruction,
# which AVX2 lacks for 64 bits.
_ROUND = 6755399441055744.0
_INV_SQRT_2PI = 0.3989422804014327


@inlined
def _exp_of_negative(x: float) -> float:
    """Return exp(x) for -700 <= x <= 0, relative error below 5e-16."""
    shifted = x * _LOG2_E + _ROUND
    k = shifted - _ROUND
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 1.6059043836821613e-10
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    exponent = (np.float64(shifted).view(np.int64) + np.int64(1023)) << np.int64(52)
    return p * np.int64(exponent).view(np.float64)


@inlined
def _mills_ratio(z: float) -> float:
    """Return Phi(-z)/phi(z) for 0 <= z <= 40, relative error below 5e-15.

    Rational minimax fit of degree 8 over 9 (Remez exchange on 1201 points in 50-digit arithmetic,
    relative error 2.9e-15). All coefficients are positive: no cancellation.
    """
    p = 2.0516023756408507e-05
    p = p * z + 0.00046869292460423117
    p = p * z + 0.005225072605202365
    p = p * z + 0.03649155727064392
    p = p * z + 0.17323887083283962
    p = p * z + 0.5711337950999538
    p = p * z + 1.280749110654106
    p = p * z + 1.8041164651301305
    p = p * z + 1.253314137315504
    q = 2.0516023755671504e-05
    q = q * z + 0.00046869292474033806
    q = q * z + 0.00524558861781281
    q = q * z + 0.036960250735180535
    q = q * z + 0.17842289394492244
    q = q * z + 0.6066883689542424
    q = q * z + 1.4437360670640946
    q = q * z + 2.30704592736352
    q = q * z + 2.2373612342209253
    q = q * z + 1.0
    return p / q


@kernel
def mills_ratio(z: Float64Array, out: Float64Array) -> None:
    """Write the Mills ratio of each `z` (0 to 40) to `out`; for tests of the fit."""
    for i in range(z.shape[0]):
        out[i] = _mills_ratio(z[i])


@kernel
def black_revalue(
    levels: Float64Array,
    moves: Float64Array,
    vol_ratios: Float64Array,
    level_row: Int64Array,
    vol_row: Int64Array,
    log_moneyness: Float64Array,
    strike: Float64Array,
    deviation: Float64Array,
    sign: Float64Array,
    scale: Float64Array,
    base: Float64Array,
    out_row: Int64Array,
    out: Float64Array,
) -> None:
    """Write `scale * (Black price - base)` of each option in each scenario to `out[out_row]`.

    Parameters
    ----------
    levels, moves : float64 arrays of shape (n_levels, n_scenarios)
        Positive forward in each scenario, and its log return from today.
    vol_ratios : float64 array of shape (n_vols, n_scenarios)
        Implied volatility in each scenario over today's, not negative.
    level_row, vol_row, out_row : int64 arrays of shape (n_options,)
        Rows of `levels`/`moves`, `vol_ratios` and `out` for each option.
    log_moneyness, strike, deviation, sign, scale, base : float64 arrays of shape (n_options,)
        log(forward today / strike); strike > 0; vol * sqrt(years left), not negative; +1 for a
        call and -1 for a put; multiplier; premium today.
    out : float64 array of shape (n_rows, n_scenarios)
        Rows not in `out_row` are left alone.

    Notes
    -----
    Undiscounted Black (1976): sign * (F*Phi(sign*d1) - K*Phi(sign*d2)). No NaN may enter.
    F = K = 100, deviation 0.2: price 7.965567455405804.
    """
    for i in range(level_row.shape[0]):
        # Sliced rows indexed from 0: without the wrap-around check the loop becomes vector code.
        level = levels[level_row[i]]
        move = moves[level_row[i]]
        vol_ratio = vol_ratios[vol_row[i]]
        row = out[out_row[i]]
        x0, k, dev0 = log_moneyness[i], strike[i], deviation[i]
        w, unit, now = sign[i], scale[i], base[i]
        for s in range(row.shape[0]):
            f = level[s]
            dev = max(dev0 * vol_ratio[s], LEAST_DEVIATION)
            middle = (x0 + move[s]) / dev
            d1 = w * (middle + 0.5 * dev)
            d2 = w * (middle - 0.5 * dev)
            z1 = min(abs(d1), MOST_DEVIATIONS)
            z2 = min(abs(d2), MOST_DEVIATIONS)
            # F*phi(d1) == K*phi(d2): one density for both tails; beyond the cap it is 1e-298*F.
            density = _INV_SQRT_2PI * _exp_of_negative(-0.5 * z1 * z1) * f
            tail1 = density * _mills_ratio(z1)
            tail2 = density * _mills_ratio(z2)
            first = f - tail1 if d1 >= 0.0 else tail1
            second = k - tail2 if d2 >= 0.0 else tail2
            row[s] = unit * (max(w * (first - second), 0.0) - now)


@kernel
def bachelier_revalue(
    levels: Float64Array,
    vol_ratios: Float64Array,
    level_row: Int64Array,
    vol_row: Int64Array,
    strike: Float64Array,
    deviation: Float64Array,
    sign: Float64Array,
    scale: Float64Array,
    base: Float64Array,
    out_row: Int64Array,
    out: Float64Array,
) -> None:
    """Write `scale * (Bachelier price - base)` of each option in each scenario to `out[out_row]`.

    As `black_revalue`, with a forward and strike of any sign and `deviation` in units of the
    level (normal volatility * sqrt(years left)).

    Notes
    -----
    Undiscounted Bachelier (1900): D*Phi(D/s) + s*phi(D/s) with D = sign*(F - K), written as
    max(D, 0) + s*phi(d)*(1 - |d|*M(|d|)). F = K = 0, deviation 1: price 0.3989422804014327.
    """
    for i in range(level_row.shape[0]):
        level = levels[level_row[i]]
        vol_ratio = vol_ratios[vol_row[i]]
        row = out[out_row[i]]
        k, dev0, w, unit, now = strike[i], deviation[i], sign[i], scale[i], base[i]
        for s in range(row.shape[0]):
            dev = max(dev0 * vol_ratio[s], LEAST_DEVIATION)
            gain = w * (level[s] - k)
            z = min(abs(gain) / dev, MOST_DEVIATIONS)
            density = _INV_SQRT_2PI * _exp_of_negative(-0.5 * z * z)
            time_value = dev * density * max(1.0 - z * _mills_ratio(z), 0.0)
            row[s] = unit * (max(gain, 0.0) + time_value - now)


def black_revalue_numpy(
    levels: Float64Array,
    moves: Float64Array,
    vol_ratios: Float64Array,
    level_row: Int64Array,
    vol_row: Int64Array,
    log_moneyness: Float64Array,
    strike: Float64Array,
    deviation: Float64Array,
    sign: Float64Array,
    scale: Float64Array,
    base: Float64Array,
    out_row: Int64Array,
    out: Float64Array,
) -> None:
    """Twin of `black_revalue` with scipy's normal distribution: the oracle of the kernel."""
    from scipy.special import ndtr

    for i in range(len(level_row)):
        forward = levels[level_row[i]]
        dev = np.maximum(deviation[i] * vol_ratios[vol_row[i]], LEAST_DEVIATION)
        d1 = (log_moneyness[i] + moves[level_row[i]]) / dev + 0.5 * dev
        d2 = d1 - dev
        price = sign[i] * (forward * ndtr(sign[i] * d1) - strike[i] * ndtr(sign[i] * d2))
        out[out_row[i]] = scale[i] * (np.maximum(price, 0.0) - base[i])


def bachelier_revalue_numpy(
    levels: Float64Array,
    vol_ratios: Float64Array,
    level_row: Int64Array,
    vol_row: Int64Array,
    strike: Float64Array,
    deviation: Float64Array,
    sign: Float64Array,
    scale: Float64Array,
    base: Float64Array,
    out_row: Int64Array,
    out: Float64Array,
) -> None:
    """Twin of `bachelier_revalue` with scipy's normal distribution: the oracle of the kernel."""
    from scipy.special import ndtr

    for i in range(len(level_row)):
        dev = np.maximum(deviation[i] * vol_ratios[vol_row[i]], LEAST_DEVIATION)
        gain = sign[i] * (levels[level_row[i]] - strike[i])
        d = gain / dev
        capped = np.minimum(np.abs(d), MOST_DEVIATIONS)
        density = _INV_SQRT_2PI * np.exp(-0.5 * capped * capped)
        out[out_row[i]] = scale[i] * (gain * ndtr(d) + dev * density - base[i])
