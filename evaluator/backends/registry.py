"""Backends by name: a short name of the table, or the import path of a user's own."""

from __future__ import annotations

from collections.abc import Mapping

from kernelwright.evaluator.backends.backend import Backend
from kernelwright.evaluator.device import CHIPS, default_device, parse_device
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.resolve import resolve

BACKENDS: Mapping[str, str] = {
    "ascend": "kernelwright.evaluator.backends.ascend:AscendBackend",
    "cpp": "kernelwright.evaluator.backends.cpp:CppBackend",
    "cuda": "kernelwright.evaluator.backends.cuda:CudaBackend",
    "pallas": "kernelwright.evaluator.backends.pallas:PallasBackend",
    "triton": "kernelwright.evaluator.backends.triton:TritonBackend",
    "ttlang": "kernelwright.evaluator.backends.ttlang:TTLangBackend",
}


def backend(name: str) -> Backend:
    """The backend called ``name``: a short name of the table, or ``package.module:Class``.

    Raises:
        UnknownName: there is none; lists what there is.
        InputError: what the path names is no backend.
    """
    made = resolve("backend", name, BACKENDS)
    made = made() if isinstance(made, type) else made
    missing = [part for part in ("name", "available", "build", "run_entry", "diagnose") if not hasattr(made, part)]
    if missing:
        raise InputError(
            f"{name!r} is no backend: it has no {', '.join(missing)}",
            "see evaluator/backends/backend.py for the Protocol",
        )
    return made  # type: ignore[no-any-return]


def judged_here(name: str, device: str | None, *, numerics: bool = False) -> str:
    """Empty where the judge can take kernels of a backend on this machine, else reason and remedy in one line.

    ``device`` is what was asked for; None: a GPU where there is one and the backend runs on it, else the CPU. ``numerics``:
    compiling alone, of which no kernel can pass, is not enough.

    Raises:
        UnknownName: no such backend; InputError: no such device.
    """
    made, found = backend(name), parse_device(device) if device else default_device()
    kind = found.partition(":")[0]
    problem = made.available(found if kind in CHIPS else kind)
    if problem and device is None and kind != "cpu":
        kind, problem = "cpu", made.available("cpu")
    if not problem and numerics and made.name == "cuda" and kind == "cpu":
        return "without a GPU its kernels are only compiled, which no kernel passes by"
    return problem
