"""Kernelwright: an agent that writes fast kernels and judges them so that the numbers hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernelwright.agent.tune.request import tune

__all__ = ["tune"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``kernelwright.tune``, imported when it is first asked for: the package itself stays light."""
    if name == "tune":
        from kernelwright.agent.tune.request import tune

        return tune
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
