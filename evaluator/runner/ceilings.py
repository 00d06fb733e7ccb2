"""What this device can do: identity, and measured copy bandwidth and matrix-product rates."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def facts(device: str) -> dict[str, Any]:
    """Name and versions of the device and what drives it."""
    found: dict[str, Any] = {
        "kind": "cpu" if device == "cpu" else "cuda",
        "name": _cpu_name() if device == "cpu" else torch.cuda.get_device_name(device),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
    }
    if device != "cpu":
        properties = torch.cuda.get_device_properties(device)
        found["versions"]["cuda"] = str(torch.version.cuda)
        found["units"] = properties.multi_processor_count
        found["l2_bytes"] = properties.L2_cache_size
        found["memory_bytes"] = properties.total_memory
    return found


def measure(device: str) -> dict[str, float]:
    """``memory_gbps`` (bytes read plus written) and ``<dtype>_tflops`` of a large matrix product, on random data.

    float32 on a GPU: the library's product, or a third of its TF32 product where that is more, since three of those make one
    of float32 accuracy.
    """
    cuda = device != "cpu"
    count = (1 << 30) if cuda else (1 << 26)
    source = torch.rand(count // 4, device=device)
    target = torch.empty_like(source)
    found = {"memory_gbps": 2 * count / _best_seconds(lambda: target.copy_(source), cuda) / 1e9}
    n = 8192 if cuda else 1024
    for name in ("float32", "bfloat16", "float16") if cuda else ("float32",):
        a, b = (torch.randn(n, n, device=device, dtype=getattr(torch, name)) for _ in range(2))
        found[f"{name}_tflops"] = _product_rate(a, b)
        if cuda and name == "float32":
            found[f"{name}_tflops"] = max(found[f"{name}_tflops"], _tf32_rate(a, b) / 3)
    return found


def _product_rate(a: torch.Tensor, b: torch.Tensor) -> float:
    return 2 * a.shape[0] ** 3 / _best_seconds(lambda: a @ b, a.is_cuda) / 1e12


def _tf32_rate(a: torch.Tensor, b: torch.Tensor) -> float:
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return _product_rate(a, b)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed


def _best_seconds(call: Callable[[], Any], cuda: bool) -> float:
    """Best of ten after two warm-ups: a ceiling is what the device reaches undisturbed."""
    best = float("inf")
    for i in range(12):
        if cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        if cuda:
            torch.cuda.synchronize()
        if i >= 2:
            best = min(best, time.perf_counter() - began)
    return best


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
