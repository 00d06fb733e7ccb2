"""Launches of TT-Lang operations: tensors in and out of the simulated chip, and what the simulator finds told in its words."""

from __future__ import annotations

import contextlib
import io
import re
import sysconfig
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from kernelwright.evaluator.backends.ttlang_access import Accesses

_DTYPES = (torch.float32, torch.bfloat16, torch.int32, torch.uint8)
_TILE = 32
_LIMITS = "Kernel defines|Total DataflowBuffer"
"""The simulator's warnings of what does not fit a core."""
_FOLDER = re.compile(r"/\S*/(?=[^/\s]+\.py\b)")
"""Where a kernel lies is nobody's business."""
_SHOWN = 4
"""Diagnostics that are told of one fault."""


class Fault(RuntimeError):
    """The simulator stopped an operation."""


class Race(Fault):
    """Cores touch the same elements and nothing orders them, or the order of threads changes the result."""


class Launches:
    """The launches of one process.

    Args:
        lend: while this context lasts, torch's operators may compute: it is the harness or the simulator that does.
    """

    def __init__(self, lend: Callable[[], Any] = contextlib.nullcontext) -> None:
        from kernelwright.evaluator.ttlang_language import Language, Operation
        from kernelwright.evaluator.ttlang_simulator import MODULES

        self.count = 0
        """Launches that wrote to a tensor."""
        self.unchecked = ""
        """Which accesses of the last launch were not compared, and why."""
        self._language = Language(lend)
        self._kind = Operation
        self._modules = MODULES
        self._schedule = "fair"
        self._said: list[str] = []
        self._accesses: Accesses | None = None
        self._fault: Exception | None = None
        for module in ("ttl.sim.greenlet_scheduler", "ttl.sim.program"):
            MODULES[module].print_diagnostic_error = self._diagnosed
        handlers = MODULES["ttl.sim.copyhandlers"]
        handlers.TensorToBlockHandler.transfer = self._seen(handlers.TensorToBlockHandler.transfer, False)
        handlers.BlockToTensorHandler.transfer = self._seen(handlers.BlockToTensorHandler.transfer, True)
        handlers.BlockToPipeHandler.transfer = self._sent(handlers.BlockToPipeHandler.transfer)
        handlers.PipeToBlockHandler.transfer = self._received(handlers.PipeToBlockHandler.transfer)

    def modules(self) -> dict[str, types.ModuleType]:
        """What ``import ttl`` and ``import ttnn`` give a kernel."""
        return self._language.modules()

    def check(self) -> None:
        """After a call: a fault that the kernel caught is a fault still.

        Raises:
            Fault: what was found, once.
        """
        fault, self._fault = self._fault or self._language.fault, None
        self._language.clear()
        if fault is not None:
            raise fault if isinstance(fault, (Fault, TypeError)) else Fault(f"{type(fault).__name__}: {fault}") from fault

    def launch(self, operation: Any, *tensors: torch.Tensor, row_major: tuple[int, ...] = (), **static: Any) -> None:
        """See :func:`kernelwright.evaluator.ttlang.launch`."""
        try:
            self._check(operation, tensors)
            with self._language.aside():
                held = [self._stored(tensor, position in row_major) for position, tensor in enumerate(tensors)]
                self._accesses = Accesses([each.to_torch() for each in held])
            self._run(operation, held, static)
            self.count += bool(self._accesses.written)
            with self._language.aside():
                for index in self._accesses.written:
                    _brought_back(tensors[index], held[index].to_torch())
        except Exception as error:
            self._fault = self._fault or error
            raise
        finally:
            self._accesses = None

    def races(self, call: Callable[[], Any]) -> list[str]:
        """Call in both of the simulator's schedules; what differs between them, bit by bit, is a race."""
        found, results = [], []
        for schedule in ("fair", "greedy"):
            self._schedule = schedule
            try:
                results.append(_tensors(call()))
            except Race as race:
                found.append(str(race))
            finally:
                self._schedule = "fair"
        if len(results) == 2:
            with self._language.aside():
                if not all(map(_same_bits, *results)):
                    found.append("the order in which threads run changes the result: a wait between them is missing")
        return found

    def _check(self, operation: Any, tensors: tuple[torch.Tensor, ...]) -> None:
        elsewhere = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
        if type(operation) is not self._kind or operation.function.__code__.co_filename.startswith(("<frozen", *elsewhere)):
            raise TypeError(f"launch takes a function of the kernel's under @ttl.operation, not {operation!r}")
        for tensor in tensors:
            if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
                raise TypeError(f"launch takes tensors by position, not {type(tensor).__name__}; pass the rest by keyword")
            if tensor.dtype not in _DTYPES:
                known = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
                raise TypeError(f"a Tensix core has no {tensor.dtype}; cast to one of {known}")

    def _stored(self, tensor: torch.Tensor, by_rows: bool) -> Any:
        """A copy as it lies in the device's memory."""
        sim = self._modules["ttl.sim.ttnnsim"]
        layout = sim.ROW_MAJOR_LAYOUT if by_rows else sim.TILE_LAYOUT
        copy = tensor.detach().clone(memory_format=torch.contiguous_format)
        if not by_rows and copy.dim() >= 2:
            below, beside = -copy.shape[-2] % _TILE, -copy.shape[-1] % _TILE
            copy = torch.nn.functional.pad(copy, (0, beside, 0, below)) if below or beside else copy
        if not by_rows and copy.dim() < 2:
            raise ValueError(f"TILE_LAYOUT tensors must have at least 2 dimensions, got shape {tuple(copy.shape)}")
        return sim.Tensor(copy, layout)

    def _run(self, operation: Any, held: list[Any], static: dict[str, Any]) -> None:
        context = self._modules["ttl.sim.context"]
        context.reset_context()
        context.get_context().config.scheduler_algorithm = self._schedule
        self._said.clear()
        self._language.clear()
        with _quiet():
            try:
                operation.run(*held, **static)
            except Exception as error:
                raise self._told(error) from error
        assert self._accesses is not None
        self.unchecked = self._accesses.unchecked
        if self._accesses.races:
            raise Race(self._accesses.races[0])

    def _told(self, error: Exception) -> Fault:
        """The simulator's message, with where it happened: its own way of printing that fails in the wheel."""
        if isinstance(error, AssertionError) and isinstance(error.__context__, Exception):
            error = error.__context__  # found as a thread ended, where no line of the kernel's is running
        plain = isinstance(error, (RuntimeError, Warning))
        text = str(error) if plain else f"{type(error).__name__}: {error}"
        where = [line for line in self._said if line not in text][:_SHOWN]
        return Fault("; ".join([_FOLDER.sub("", " ".join(text.split())), *where]))

    def _diagnosed(self, label: str, message: str, source_file: str, line: int, col: int = 1, **_: Any) -> None:
        said = f"{Path(source_file).name} line {line}"
        self._said.append(said if label.startswith("node") else f"{' '.join(message.split())} at {said}")

    def _seen(self, transfer: Callable[..., None], write: bool) -> Callable[..., None]:
        """A copy between memory and a block, noted with the core that does it."""

        def through(handler: Any, src: Any, dst: Any) -> None:
            if self._accesses is not None:
                with self._language.aside():
                    memory, block = (dst.to_torch(), src) if write else (src.to_torch(), dst)
                    inside = block.raw_tensor.to_torch()
                    if inside.dtype != memory.dtype:
                        raise ValueError(f"a copy moves bytes: the block holds {inside.dtype}, the tensor {memory.dtype}")
                    self._accesses.note(memory, self._core(), write)
            transfer(handler, src, dst)

        through.__name__ = transfer.__name__
        return through

    def _core(self) -> int:
        return int(getattr(self._modules["greenlet"].getcurrent(), "_sim_node", 0))

    def _messages(self, pipe: Any) -> list[tuple[Any, ...]]:
        """Those in a pipe: each with how many have yet to receive it, its number, and who has."""
        return list(self._modules["ttl.sim.context"].get_context().copy_state.pipe_buffer.get(pipe, {"queue": ()})["queue"])

    def _sent(self, transfer: Callable[..., None]) -> Callable[..., None]:
        """A block that is sent, noted with what its sender has done."""

        def through(handler: Any, src: Any, dst: Any) -> None:
            transfer(handler, src, dst)
            if self._accesses is not None:
                with self._language.aside():
                    self._accesses.sent(id(self._messages(dst)[-1][0]), self._core())

        through.__name__ = transfer.__name__
        return through

    def _received(self, transfer: Callable[..., None]) -> Callable[..., None]:
        """A block that is received: its receiver knows from here on what its sender had done."""

        def through(handler: Any, src: Any, dst: Any) -> None:
            core = self._core()
            waiting = [id(message) for message, _, _, had in self._messages(src) if core not in had]
            transfer(handler, src, dst)
            if self._accesses is not None and waiting:
                with self._language.aside():
                    self._accesses.received(waiting[0], core)

        through.__name__ = transfer.__name__
        return through


class _Nowhere(io.TextIOBase):
    """Where a thread prints values to, and reads none back."""

    def write(self, text: str) -> int:
        return len(text)


@contextmanager
def _quiet() -> Iterator[None]:
    """What threads and the simulator print goes nowhere; what does not fit a core is an error."""
    with contextlib.redirect_stdout(_Nowhere()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=_LIMITS)
        yield


def _brought_back(tensor: torch.Tensor, held: torch.Tensor) -> None:
    tensor.detach().copy_(held[tuple(slice(0, size) for size in tensor.shape)])


def _tensors(output: Any) -> list[torch.Tensor]:
    from kernelwright.evaluator.runner.trees import encode

    found: list[torch.Tensor] = []
    encode(output, found)
    return [t.detach().clone() for t in found]


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(a.contiguous().reshape(-1).view(torch.uint8), b.contiguous().reshape(-1).view(torch.uint8))
