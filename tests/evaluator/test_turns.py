"""Turns at a device: whoever names it, and however its process counts, waits for the same one."""

from __future__ import annotations

import pytest

from kernelwright.evaluator.turns import _physical


@pytest.mark.parametrize(
    ("visible", "device", "same"),
    [
        ("", "cuda", "cuda:0"),
        ("0,1", "cuda", "cuda:0"),
        ("3", "cuda", "cuda:0"),
    ],
)
def test_the_first_device_has_two_names(monkeypatch: pytest.MonkeyPatch, visible: str, device: str, same: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _physical(device) == _physical(same)


def test_processes_that_count_differently_wait_where_they_share_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first, second = _physical("cuda:0"), _physical("cuda:1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert (_physical("cuda:0"), _physical("cuda:1")) == (second, first)
    assert _physical("cpu") == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8a/../x")
    assert "/" not in _physical("cuda")
