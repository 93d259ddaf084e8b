"""Which device a run takes, what is said where there is none, and how paths are cut."""

from __future__ import annotations

import pytest

from engine.kernels import cuda_backend
from engine.kernels.cuda_backend import (
    LEAST_PATHS,
    CudaUnavailable,
    choose_device,
    find_backend,
    has_device,
    paths_that_fit,
    require_device,
)


def test_auto_takes_the_gpu_only_where_it_pays() -> None:
    assert choose_device("auto", LEAST_PATHS, present=lambda: True) == "cuda"
    assert choose_device("auto", LEAST_PATHS - 1, present=lambda: True) == "cpu"
    assert choose_device("auto", LEAST_PATHS, present=lambda: False) == "cpu"


def test_a_small_run_does_not_look_for_a_device() -> None:
    def present() -> bool:
        raise AssertionError("loads the compiler for nothing")

    assert choose_device("auto", 10_000, present=present) == "cpu"


def test_a_wish_is_followed() -> None:
    assert choose_device("cpu", 10 * LEAST_PATHS, present=lambda: True) == "cpu"
    assert choose_device("cuda", 1, present=lambda: False) == "cuda"


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(ValueError, match="device is 'gpu'; use one of auto, cpu, cuda"):
        choose_device("gpu", 1)


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_backend, "find_spec", lambda name: None)
    with pytest.raises(CudaUnavailable, match=r"margin-avalanche\[cuda\].*--device cpu"):
        find_backend()
    assert not has_device()


def test_without_a_device_the_message_says_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoDevice:
        @staticmethod
        def is_available() -> bool:
            return False

    backend = cuda_backend.Backend("numba-cuda", "0.30.4", NoDevice)
    monkeypatch.setattr(cuda_backend, "find_backend", lambda: backend)
    with pytest.raises(
        CudaUnavailable, match=r"numba-cuda 0\.30\.4 finds no CUDA device.*--device"
    ):
        require_device()
    assert not has_device()


def test_paths_of_a_launch() -> None:
    assert paths_that_fit(2**30, 20_000, 10**6) == 42_949
    assert paths_that_fit(2**30, 20_000, 1_000) == 1_000
    assert paths_that_fit(1.0, 20_000, 1_000) == 1
    assert paths_that_fit(float("inf"), 20_000, 1_000) == 1_000
