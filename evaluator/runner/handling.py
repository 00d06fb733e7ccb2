"""What the runner does with a kernel's inputs, outputs and failures, apart from calling it."""

from __future__ import annotations

import contextlib
import errno
import traceback
from typing import Any

import torch

from kernelwright.evaluator import native
from kernelwright.evaluator.backends.triton_semantics import NotModelled
from kernelwright.evaluator.runner.trees import encode

_TRACEBACK_LINES = 14
_LINE = 500
_POOL_STREAMS = 32
"""torch gives out so many streams of each priority in turn."""
_PADDING = 3
"""Elements beyond the last dimension of a strided input."""
_DELAY_CYCLES = 5_000_000
"""Some milliseconds."""


def failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, native.OutsideEnvelope):
        return {"outside": str(error) or "outside the kernel's envelope"}
    while type(error).__name__ == "InterpreterError" and error.__cause__ is not None:
        error = error.__cause__  # Triton's interpreter quotes the error it wraps
    said = str(error)
    if type(error).__name__ == "CompilationError" and "\n" in said:  # Triton quotes the source first: what is wrong comes last
        said = f"{said.splitlines()[-1]}\n{said}"
    text = f"{type(error).__name__}: {said}"
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    tail = [line[:_LINE] for line in "".join(lines).splitlines()[-_TRACEBACK_LINES:]]
    if isinstance(error, NotModelled):
        return {"failed": "not_modelled", "message": said[:2000], "traceback": tail}
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text
    memory = memory or "out of memory" in text.lower() or getattr(error, "errno", None) == errno.ENOMEM
    return {"failed": "out_of_memory" if memory else "runtime_error", "message": text[:2000], "traceback": tail}


def addresses(output: Any) -> list[int]:
    """Where the tensors of an output lie, in the order of their encoding."""
    if type(output) is torch.Tensor:
        return [output.data_ptr()]
    tensors: list[torch.Tensor] = []
    with contextlib.suppress(TypeError):
        encode(output, tensors)
    return [t.data_ptr() for t in tensors]


def placed(t: torch.Tensor, variant: str) -> torch.Tensor:
    """A copy of ``t`` at another address (``fresh``), one element off alignment (``unaligned``), or in a wider buffer
    (``strided``: the last dimension padded; in one dimension every other element).

    The gaps of a wider buffer hold neighbours: where a kernel ignores strides values are wrong, but no index leaves its range.
    """
    if t.numel() == 0 or t.dim() == 0 or variant == "fresh":
        return t.clone()
    if variant == "unaligned":
        return torch.empty(t.numel() + 1, dtype=t.dtype, device=t.device)[1:].view(t.shape).copy_(t)
    if t.dim() == 1:
        return torch.empty((t.numel(), 2), dtype=t.dtype, device=t.device).copy_(t.unsqueeze(1))[:, 0]
    wide = torch.empty((*t.shape[:-1], t.shape[-1] + _PADDING), dtype=t.dtype, device=t.device)
    wide[..., t.shape[-1] :].copy_(t[..., -1:])
    return wide[..., : t.shape[-1]].copy_(t)


def plain(t: torch.Tensor) -> bool:
    """An ordinary tensor: no subclass, no per-object overrides, real storage."""
    if type(t) not in (torch.Tensor, torch.nn.Parameter) or getattr(t, "__dict__", None):
        return False
    with contextlib.suppress(RuntimeError):
        return t.untyped_storage().data_ptr() != 0 or t.numel() == 0
    return False


def elsewhere(value: Any, variant: str) -> Any:
    """The same values elsewhere in memory, tensor by tensor (see :func:`placed`)."""
    if variant in ("", "delayed"):
        return value
    if isinstance(value, torch.Tensor):
        return placed(value, variant)
    if isinstance(value, (list, tuple)):
        return type(value)(elsewhere(v, variant) for v in value)
    return value


def delay_other_streams() -> None:
    """Give every stream that torch hands out something long to do: work there comes late, unless the current one waits."""
    for priority in (0, -1):
        for _stream in range(_POOL_STREAMS):
            with torch.cuda.stream(torch.cuda.Stream(priority=priority)):
                torch.cuda._sleep(_DELAY_CYCLES)
