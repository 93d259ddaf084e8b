"""Counter-based random numbers: the draw for (seed, scenario, path, step, dimension) is fixed.

Philox4x32-10 of Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
Counter = (draw block, path, scenario, stream), key = the two halves of the 64-bit seed. The
inverse normal is the single-precision polynomial of Giles, "Approximating the erfinv function"
(2010), in float64: monotone, symmetric, in error by less than 2e-6 up to 5 and 2e-3 at the
largest draw of 6.2. It needs no library function, so that every target gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.domain.arrays import Float64Array

ROUNDS = 10
MULTIPLIER_0 = 0xD2511F53
MULTIPLIER_1 = 0xCD9E8D57
WEYL_0 = 0x9E3779B9
WEYL_1 = 0xBB67AE85
LOW_32 = 0xFFFFFFFF

STREAM_HOURLY = 0
STREAM_MIXING = 1

# Giles 2010, table 5 (single precision): w < 5 and w >= 5, highest power first.
CENTRAL = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
TAIL = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)


def philox_words(
    block: np.ndarray[Any, Any], path: np.ndarray[Any, Any], scenario: int, stream: int, seed: int
) -> list[np.ndarray[Any, np.dtype[np.uint64]]]:
    """NumPy twin: four 32-bit words (as uint64) for each broadcast (block, path)."""
    low = np.uint64(LOW_32)
    shift = np.uint64(32)
    c0, c1 = np.broadcast_arrays(block.astype(np.uint64), path.astype(np.uint64))
    c2 = np.full(c0.shape, scenario, dtype=np.uint64)
    c3 = np.full(c0.shape, stream, dtype=np.uint64)
    k0 = np.uint64(seed & LOW_32)
    k1 = np.uint64(seed >> 32)
    for _ in range(ROUNDS):
        p0 = c0 * np.uint64(MULTIPLIER_0)
        p1 = c2 * np.uint64(MULTIPLIER_1)
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ k0, p1 & low, (p0 >> shift) ^ c3 ^ k1, p0 & low
        k0 = (k0 + np.uint64(WEYL_0)) & low
        k1 = (k1 + np.uint64(WEYL_1)) & low
    return [c0, c1, c2, c3]


def normal_from_word(word: np.ndarray[Any, np.dtype[np.uint64]]) -> Float64Array:
    """NumPy twin of the inverse normal: the low 31 bits choose the tail probability, bit 31 the
    sign."""
    magnitude = (word & np.uint64(0x7FFFFFFF)).astype(np.float64)
    t = (magnitude + 0.5) * 2.0**-32
    w = -np.log(4.0 * t * (1.0 - t))
    central = w < 5.0
    y = np.where(central, w - 2.5, np.sqrt(w) - 3.0)
    p = np.where(central, CENTRAL[0], TAIL[0])
    for a, b in zip(CENTRAL[1:], TAIL[1:], strict=True):
        p = p * y + np.where(central, a, b)
    z = p * (1.0 - 2.0 * t) * math.sqrt(2.0)
    return np.where(word >> np.uint64(31), -z, z)


def normals(
    seed: int, scenario: int, stream: int, paths: np.ndarray[Any, Any], first_block: int, rows: int
) -> Float64Array:
    """NumPy twin: normals of shape (rows, n_paths), four rows a block from `first_block`."""
    blocks = np.arange(first_block, first_block + rows // 4)[:, None]
    words = philox_words(blocks, np.asarray(paths)[None, :], scenario, stream, seed)
    stacked = np.stack(words, axis=1).reshape(rows, len(paths))
    return normal_from_word(stacked)


def build_log(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Natural logarithm of a positive normal float64 by the series of atanh; error below 1e-13."""
    one, two, half = 1.0, 2.0, 0.5
    root_two = math.sqrt(2.0)
    log_two = math.log(2.0)
    mantissa_mask = np.uint64(0x000FFFFFFFFFFFFF)
    one_bits = np.uint64(0x3FF0000000000000)
    exponent_shift = np.uint64(52)

    @inline
    def log(x):
        bits = np.float64(x).view(np.uint64)
        exponent = np.float64(np.int64(bits >> exponent_shift) - np.int64(1023))
        m = np.uint64((bits & mantissa_mask) | one_bits).view(np.float64)
        high = m > root_two
        m = m * half if high else m
        exponent = exponent + one if high else exponent
        s = (m - one) / (m + one)
        u = s * s
        p = 1.0 / 17.0
        p = p * u + 1.0 / 15.0
        p = p * u + 1.0 / 13.0
        p = p * u + 1.0 / 11.0
        p = p * u + 1.0 / 9.0
        p = p * u + 1.0 / 7.0
        p = p * u + 1.0 / 5.0
        p = p * u + 1.0 / 3.0
        return exponent * log_two + two * s * (p * u + one)

    return log


def build_exp(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Exponential for |x| <= 4: Taylor of x/32 to the eighth power, squared five times."""
    scale = 1.0 / 32.0
    third, fifth, sixth, seventh = 1.0 / 3.0, 0.2, 1.0 / 6.0, 1.0 / 7.0

    @inline
    def exp(x):
        y = x * scale
        p = 1.0 + y * 0.125
        p = 1.0 + y * p * seventh
        p = 1.0 + y * p * sixth
        p = 1.0 + y * p * fifth
        p = 1.0 + y * p * 0.25
        p = 1.0 + y * p * third
        p = 1.0 + y * p * 0.5
        p = 1.0 + y * p
        p = p * p
        p = p * p
        p = p * p
        p = p * p
        return p * p

    return exp


def build_philox(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Ten rounds on uint64 words that hold 32 bits each."""
    m0, m1 = np.uint64(MULTIPLIER_0), np.uint64(MULTIPLIER_1)
    w0, w1 = np.uint64(WEYL_0), np.uint64(WEYL_1)
    low, shift = np.uint64(LOW_32), np.uint64(32)

    @inline
    def philox(c0, c1, c2, c3, k0, k1):
        for _ in range(ROUNDS):
            p0 = c0 * m0
            p1 = c2 * m1
            n0 = (p1 >> shift) ^ c1 ^ k0
            n2 = (p0 >> shift) ^ c3 ^ k1
            c1 = p1 & low
            c3 = p0 & low
            c0 = n0
            c2 = n2
            k0 = (k0 + w0) & low
            k1 = (k1 + w1) & low
        return c0, c1, c2, c3

    return philox


def build_normal(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Inverse normal of a 32-bit word, without branches."""
    log = build_log(inline)
    low31, shift31, zero = np.uint64(0x7FFFFFFF), np.uint64(31), np.uint64(0)
    scale = 2.0**-32
    root_two = math.sqrt(2.0)
    a0, a1, a2, a3, a4, a5, a6, a7, a8 = CENTRAL
    b0, b1, b2, b3, b4, b5, b6, b7, b8 = TAIL

    @inline
    def normal(word):
        t = (np.float64(np.int64(word & low31)) + 0.5) * scale
        w = -log(4.0 * t * (1.0 - t))
        central = w < 5.0
        y = (w - 2.5) if central else (math.sqrt(w) - 3.0)
        p = a0 if central else b0
        p = p * y + (a1 if central else b1)
        p = p * y + (a2 if central else b2)
        p = p * y + (a3 if central else b3)
        p = p * y + (a4 if central else b4)
        p = p * y + (a5 if central else b5)
        p = p * y + (a6 if central else b6)
        p = p * y + (a7 if central else b7)
        p = p * y + (a8 if central else b8)
        z = p * (1.0 - 2.0 * t) * root_two
        return -z if (word >> shift31) > zero else z

    return normal
