"""Random numbers: known answers, distribution, and equality of the three ways to draw them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from engine.kernels import philox
from engine.kernels.jit import inlined, kernel

# Random123 1.14, file kat_vectors, philox4x32 with 10 rounds: counter, key, answer.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(
    counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]
) -> None:
    seed = key[0] | (key[1] << 32)
    words = philox.philox_words(
        np.array([counter[0]]), np.array([counter[1]]), counter[2], counter[3], seed
    )
    assert tuple(int(word[0]) for word in words) == answer
    body = philox.build_philox(_plain)
    with np.errstate(over="ignore"):
        assert tuple(int(w) for w in body(*map(np.uint64, (*counter, *key)))) == answer


def test_normals_have_the_normal_distribution() -> None:
    z = philox.normals(11, 0, 0, np.arange(50_000), 0, 8).ravel()
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert abs(z.std() - 1) < 4 / np.sqrt(2 * len(z))
    assert stats.kstest(z, "norm").pvalue > 0.001


def test_inverse_normal_error_and_symmetry() -> None:
    words = np.linspace(1, 2**31 - 2, 50_001).astype(np.uint64)
    z = philox.normal_from_word(words)
    probability = (words.astype(float) + 0.5) * 2.0**-32
    error = np.abs(z + stats.norm.ppf(probability))
    assert np.max(error[np.abs(z) <= 5]) < 2e-6
    assert np.max(error) < 2e-3
    mirrored = philox.normal_from_word(words | np.uint64(1 << 31))
    np.testing.assert_array_equal(mirrored, -z)
    assert np.all(np.diff(z) <= 0)


_log = philox.build_log(inlined)
_exp = philox.build_exp(inlined)


@kernel
def _both(x, log_out, exp_out, scale):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        log_out[i] = _log(x[i])
        exp_out[i] = _exp(scale[i])


def test_log_and_exp_without_a_library() -> None:
    x = np.concatenate([np.geomspace(1e-12, 1e12, 4001), [0.5, 1.0, np.sqrt(2), 2.0]])
    scale = np.linspace(-4, 4, len(x))
    log_out, exp_out = np.empty_like(x), np.empty_like(x)
    _both(x, log_out, exp_out, scale)
    np.testing.assert_allclose(log_out, np.log(x), rtol=2e-13, atol=1e-15)
    np.testing.assert_allclose(exp_out, np.exp(scale), rtol=1e-12)


def test_draws_depend_on_every_part_of_the_counter() -> None:
    base = philox.normals(1, 0, 0, np.arange(4), 0, 8)
    for other in (
        philox.normals(2, 0, 0, np.arange(4), 0, 8),
        philox.normals(1, 1, 0, np.arange(4), 0, 8),
        philox.normals(1, 0, 1, np.arange(4), 0, 8),
        philox.normals(1, 0, 0, np.arange(4) + 4, 0, 8),
        philox.normals(1, 0, 0, np.arange(4), 2, 8),
    ):
        assert not np.any(base == other)
