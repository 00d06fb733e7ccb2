"""Run, check and lower the Pallas launches of a kernel: TPU interpret mode here, the device where there is a TPU."""

from __future__ import annotations

import sysconfig
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kernelwright.evaluator.backends.pallas_probe import SEMAPHORES
from kernelwright.evaluator.backends.pallas_trace import Traced, inspect
from kernelwright.evaluator.chip_tpu import Tpu

_AS_BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16}
_KEPT = 64
"""Compiled functions kept."""
_to_numpy = torch.Tensor.numpy  # before the runner shuts the bridges out of torch


def check_own(function: Any) -> None:
    """Only a function written in the kernel is launched: one of a library would do its work in the harness's name.

    Raises:
        TypeError: it is none.
    """
    elsewhere = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    if not isinstance(function, types.FunctionType) or function.__code__.co_filename.startswith(("<frozen", *elsewhere)):
        raise TypeError(f"launch takes a function that the kernel defines, not {function!r}")


class Race(RuntimeError):
    """TPU interpret mode saw two accesses that nothing orders."""


class NotCompiled(RuntimeError):
    """The chip's compiler refuses a launch; carries what it says."""


class Unbalanced(RuntimeError):
    """A kernel ends with a semaphore that is not at zero: on a chip the next one that uses it goes on too early."""


@dataclass(frozen=True)
class Launched:
    """A launch that was run."""

    function: Callable[..., Any]
    tensors: tuple[torch.Tensor, ...]
    static: dict[str, Any]
    results: tuple[torch.Tensor, ...]
    """What the kernel was given back, flattened."""


class Launches:
    """The launches of one process.

    Args:
        allowed: operator classes that may stay XLA's work.
        trip: told of each primitive that computes outside ``pallas_call`` though it may not.
        chip: where they run; None: a TPU where JAX has one, else TPU interpret mode with its checks.
    """

    def __init__(
        self, allowed: Sequence[str] = (), trip: Callable[[str], None] | None = None, chip: Tpu | None = None
    ) -> None:
        self.count = 0
        """``pallas_call`` run so far."""
        self.watcher: Callable[[Launched], None] | None = None
        """Told of each launch that was run."""
        self._chip = chip
        self._allowed = frozenset(allowed)
        self._trip = trip
        self._compiled: dict[Any, tuple[Any, Traced]] = {}
        self._modes: list[dict[str, Any]] = [{}]
        self._lowered: list[dict[str, Any]] | None = None
        self._targets: Sequence[str] = ()

    def launch(self, function: Callable[..., Any], *tensors: torch.Tensor, **static: Any) -> Any:
        """See :func:`kernelwright.evaluator.pallas.launch`."""
        import jax

        check_own(function)
        arrays = [to_jax(tensor) for tensor in tensors]
        if self._lowered is not None:
            self._lowered.append(self._lower(function, arrays, static))
            shapes = jax.eval_shape(lambda *given: function(*given, **static), *arrays)
            return jax.tree.map(lambda s: to_torch(np.zeros(s.shape, s.dtype)), shapes)
        mode = self._modes[-1]
        run, traced = self._prepare(function, arrays, static, mode)
        self.charge(traced)
        self.count += traced.kernels
        with self.tracing(mode), _balanced() if self._simulated() else nullcontext():
            results = jax.block_until_ready(run(*arrays))
        if mode.get("detect_races") and _races_found():
            raise Race(f"a data race (dma_execution_mode={mode['dma_execution_mode']!r})")
        given = jax.tree.map(to_torch, results)
        if self.watcher is not None:
            self.watcher(Launched(function, tensors, static, tuple(jax.tree.leaves(given))))
        return given

    def charge(self, traced: Traced) -> None:
        """Tell of what computes outside ``pallas_call`` though it may not.

        Raises:
            RuntimeError: there is such, and nobody to tell.
        """
        for name in traced.charged(self._allowed):
            if self._trip is None:
                raise RuntimeError(f"{name} computes outside pallas_call: library work; the kernel must do it itself")
            self._trip(f"jax.{name}")

    def _simulated(self) -> bool:
        """Whether the interpreter runs them and looks for what only it sees."""
        import jax

        return self._chip is None and jax.default_backend() != "tpu"

    def tracing(self, mode: dict[str, Any]) -> AbstractContextManager[None]:
        """How ``pallas_call`` is traced and run inside, whatever its own ``interpret=`` says."""
        if self._simulated():
            return interpreting(mode)
        return (self._chip or Tpu()).tracing()

    def _prepare(
        self, function: Callable[..., Any], arrays: list[Any], static: dict[str, Any], mode: dict[str, Any]
    ) -> tuple[Any, Traced]:
        """The compiled function and what it does; kept for functions that close over nothing that could change."""
        import jax

        key: Any = None
        if getattr(function, "__closure__", True) is None:
            shapes = tuple((a.shape, str(a.dtype)) for a in arrays)
            key = (function, shapes, tuple(sorted(static.items())), tuple(sorted(mode.items())))
            if key in self._compiled:
                return self._compiled[key]

        def bound(*given: Any) -> Any:
            return function(*given, **static)

        with self.tracing(mode):
            made = jax.jit(bound), inspect(jax.make_jaxpr(bound)(*arrays))
            if not self._simulated():
                made = compiled(made[0].trace(*arrays)), made[1]
        if key is not None and len(self._compiled) < _KEPT:
            self._compiled[key] = made
        return made

    @contextmanager
    def races(self, dma: str) -> Iterator[None]:
        """Launches inside are watched for races, copies done ``eager`` or ``on_wait``.

        Raises:
            Race: by the launch that has one.
        """
        from jax.experimental.pallas import tpu as pltpu

        pltpu.reset_tpu_interpret_mode_state()
        self._modes.append({"detect_races": True, "dma_execution_mode": dma})
        try:
            yield
        finally:
            self._modes.pop()
            pltpu.reset_tpu_interpret_mode_state()

    @contextmanager
    def lowering(self, targets: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Launches inside are also lowered for a TPU, and compiled for each of ``targets`` where libtpu is installed."""
        self._lowered, self._targets = [], targets
        try:
            yield self._lowered
        finally:
            self._lowered = None

    def _lower(self, function: Callable[..., Any], arrays: list[Any], static: dict[str, Any]) -> dict[str, Any]:
        import jax

        def bound(*given: Any) -> Any:
            return function(*given, **static)

        bound.__name__ = getattr(function, "__name__", "kernel")  # what the compiler calls it
        began = time.monotonic()
        shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays]
        module = jax.export.export(jax.jit(bound), platforms=["tpu"])(*shapes).mlir_module()
        found: dict[str, Any] = {
            "name": getattr(function, "__name__", "kernel"),
            "tpu_custom_calls": module.count("@tpu_custom_call"),
            "export_seconds": round(time.monotonic() - began, 3),
        }
        if self._targets:
            from kernelwright.evaluator.backends.pallas_aot import compile_ahead

            found["aot"] = {target: compile_ahead(bound, shapes, target) for target in self._targets}
        return found


def compiled(traced: Any) -> Any:
    """A traced launch, compiled for where it will run.

    Raises:
        NotCompiled: the compiler refuses it.
    """
    try:
        return traced.lower().compile()
    except Exception as error:  # noqa: BLE001 - lowering and PJRT's compilers raise what they like
        raise NotCompiled(f"{type(error).__name__}: {error}"[:1500]) from error


@contextmanager
def interpreting(mode: dict[str, Any]) -> Iterator[None]:
    """Every ``pallas_call`` inside is interpreted as a TPU would run it, whatever its own ``interpret=`` says."""
    from jax.experimental.pallas import tpu as pltpu

    with pltpu.force_tpu_interpret_mode(pltpu.InterpretParams(**mode)):
        yield


def _races_found() -> bool:
    """Raises AttributeError where another JAX keeps them elsewhere: a check that is not there finds nothing."""
    import jax._src.pallas.mosaic.interpret.interpret_pallas_call as interpreter

    return interpreter.races is not None and bool(interpreter.races.races_found)


@contextmanager
def _balanced() -> Iterator[None]:
    """Watch what the interpreter finds of semaphores when a kernel ends, of which it only prints a line.

    Raises:
        Unbalanced: one is not at zero.
    """
    import jax._src.pallas.mosaic.interpret.shared_memory as memory

    look = getattr(memory.SharedMemory, SEMAPHORES)
    seen: list[str] = []

    def looked(*given: Any, **named: Any) -> Any:
        found = look(*given, **named)
        seen.extend(f"{semaphore.count_by_core[core]}" for semaphore, core in found)
        return found

    setattr(memory.SharedMemory, SEMAPHORES, looked)
    try:
        yield
    finally:
        setattr(memory.SharedMemory, SEMAPHORES, look)
    if seen:
        raise Unbalanced(f"a semaphore is at {seen[0]} when the kernel ends, not at 0: every start and signal needs its wait")


def to_jax(tensor: torch.Tensor) -> Any:
    """A copy of a tensor as a JAX array; int64 as int32."""
    import jax.numpy as jnp

    plain = tensor.detach().contiguous()
    if plain.dtype == torch.float64 or plain.is_complex():
        raise TypeError(f"a TPU has no {str(plain.dtype).removeprefix('torch.')}; cast to float32 before launch")
    if plain.dtype in _AS_BITS:
        name = str(plain.dtype).removeprefix("torch.")
        return jnp.asarray(_to_numpy(plain.view(_AS_BITS[plain.dtype])).view(jnp.dtype(name)).copy())
    values = _to_numpy(plain)
    if values.dtype == np.int64:
        if values.size and (values.min() < -(1 << 31) or values.max() >= 1 << 31):
            raise OverflowError("an int64 value does not fit int32, the widest integer of a TPU")
        values = values.astype(np.int32)
    return jnp.asarray(values.copy())


def to_torch(array: Any) -> torch.Tensor:
    """A copy of a JAX array as a tensor on the CPU."""
    values = np.array(array)
    name = str(values.dtype)
    if name in ("bfloat16", "float16"):
        return torch.from_numpy(values.view(np.int16)).view(getattr(torch, name))
    return torch.from_numpy(values)
