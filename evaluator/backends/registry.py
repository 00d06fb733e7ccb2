"""Backends by name: a short name of the table, or the import path of a user's own."""

from __future__ import annotations

from collections.abc import Mapping

from kernelwright.evaluator.backends.backend import Backend
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.resolve import resolve

BACKENDS: Mapping[str, str] = {
    "cpp": "kernelwright.evaluator.backends.cpp:CppBackend",
    "cuda": "kernelwright.evaluator.backends.cuda:CudaBackend",
    "pallas": "kernelwright.evaluator.backends.pallas:PallasBackend",
    "triton": "kernelwright.evaluator.backends.triton:TritonBackend",
}


def backend(name: str) -> Backend:
    """The backend called ``name`` (``"cpp"``, ``"cuda"``, ``"pallas"``, ``"triton"`` or ``package.module:Class``).

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
