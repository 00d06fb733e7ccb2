"""Timed calls on a chip: the launches of one ``forward``, captured once and made again on arrays that lie on the chip already.

``forward`` works on torch's tensors, which are the host's: timed as it stands, a call would be two transfers with a kernel in
between, and no baseline under ``jax.jit`` has them. So one call is watched: what each launch is given must be an input, a
parameter or what an earlier launch gave, seen through views, casts and contiguous copies. Those are done again inside the
compiled launch, on the chip and in the clock. Whatever else ``forward`` makes on the host (a constant, a padded copy) cannot
be told from work done ahead, so such a kernel is not timed and the reason says what to move into the launched function.

What is timed is therefore not ``forward`` but its launches, one after the other; that they are the whole of its work is seen by
their outputs, which are compared with the oracle. Views and casts of what ``forward`` returns are left to the host, after the
clock: a TPU has no int64, and a view costs nothing in torch either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kernelwright.evaluator.backends.pallas_launch import Launched, Launches, compiled, to_jax, to_torch
from kernelwright.evaluator.backends.pallas_trace import inspect
from kernelwright.evaluator.runner.trees import decode, encode

_COPIES = frozenset({"aten::_to_copy", "aten::clone"})
_SMALLER = {torch.int64: "int32"}
"""What :func:`to_jax` makes of a dtype that a TPU has not."""


class NotResident(RuntimeError):
    """The launches cannot be made without ``forward``; says why and what to do."""


@dataclass(frozen=True)
class Value:
    """The elements of one piece of memory, in order: an array's (``root``), or a copy of a view of another piece."""

    root: int = -1
    of: View | None = None
    dtype: torch.dtype = torch.float32
    order: tuple[int, ...] = ()
    """Dimensions of the copy from the slowest to the fastest."""


@dataclass(frozen=True)
class View:
    """How a tensor lies in a piece of memory."""

    value: Value
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @property
    def order(self) -> tuple[int, ...]:
        return _order(self.shape, self.strides)

    def whole(self, numel: int) -> bool:
        """Whether it shows all ``numel`` elements once, in some order of dimensions."""
        expected = 1
        for d in reversed(self.order):
            if self.shape[d] > 1 and self.strides[d] != expected:
                return False
            expected *= self.shape[d]
        return self.offset == 0 and math.prod(self.shape) == numel

    def roots(self) -> Iterator[int]:
        if self.value.of is None:
            yield self.value.root
        else:
            yield from self.value.of.roots()


@dataclass(frozen=True)
class Step:
    """One launch: what it is given, and under which numbers its results are known."""

    launched: Launched
    given: tuple[View, ...]
    needs: tuple[int, ...]
    results: tuple[int, ...]

    def traced(self, arrays: Sequence[Any]) -> Any:
        """The launch as a function of the arrays that it needs, traced: the kernel's Python runs here, and not again."""
        import jax

        def step(*given: Any) -> tuple[Any, ...]:
            known = dict(zip(self.needs, given, strict=True))
            made = self.launched.function(*[_array(view, known) for view in self.given], **self.launched.static)
            return tuple(jax.tree.leaves(made))

        step.__name__ = getattr(self.launched.function, "__name__", "kernel")
        return jax.jit(step).trace(*arrays)


class Resident:
    """The launches of one call of a kernel, ready to be made again on other inputs of the same shapes.

    Args:
        launches: of this process.
        call: the kernel's ``forward``, all of whose work is done when it returns.
        arguments: of the call that is watched.
        parameters: the module's tensors, by name; they are put on the chip once.

    Raises:
        NotResident: something else than launches computes.
    """

    def __init__(
        self,
        launches: Launches,
        call: Callable[..., Any],
        arguments: Sequence[Any],
        parameters: Mapping[str, torch.Tensor],
    ) -> None:
        self._launches = launches
        inputs: list[torch.Tensor] = []
        encode(list(arguments), inputs)
        watch = _Watch([*inputs, *parameters.values()])
        launches.watcher = watch.launched
        try:
            with watch:
                output = call(*arguments)
        finally:
            launches.watcher = None
        tensors: list[torch.Tensor] = []
        self._tree = encode(output, tensors)
        self._outputs = [watch.view(t, "forward's output") for t in tensors]
        if watch.problem:
            raise NotResident(watch.problem)
        if not watch.steps:
            raise NotResident("forward launches nothing")
        self._kept = sorted({root for view in self._outputs for root in view.roots()})
        used = {root for step in watch.steps for root in step.needs} | set(self._kept)
        self._parameters = {n: to_jax(t) for n, t in enumerate(parameters.values(), len(inputs)) if n in used}
        self._kernels = 0
        with launches.tracing({}):
            self._steps = self._compiled(watch.steps, {**self._parameters, **dict(enumerate(map(to_jax, inputs)))})

    def _compiled(self, steps: Sequence[Step], known: dict[int, Any]) -> list[tuple[Step, Callable[..., Any]]]:
        """Each launch with what runs it. A launch is judged by this trace too: its function may be another one by now."""
        made = []
        for step in steps:
            arrays = [known[n] for n in step.needs]
            traced = step.traced(arrays)
            found = inspect(traced.jaxpr)
            self._launches.charge(found)
            self._kernels += found.kernels
            run = compiled(traced)
            known.update(zip(step.results, run(*arrays), strict=True))
            made.append((step, run))
        return made

    def place(self, calls: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """The tensors among the arguments of each call as arrays on the chip; they have arrived when this returns."""
        import jax

        placed = []
        for arguments in calls:
            tensors: list[torch.Tensor] = []
            encode(list(arguments), tensors)
            placed.append([to_jax(t) for t in tensors])
        jax.block_until_ready((placed, self._parameters))
        return placed

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """One call; the arrays that the outputs are made of, which may be under way."""
        known = {**self._parameters, **dict(enumerate(arrays))}
        for step, run in self._steps:
            known.update(zip(step.results, run(*[known[n] for n in step.needs]), strict=True))
        self._launches.count += self._kernels
        return tuple(known[n] for n in self._kept)

    @staticmethod
    def wait(outputs: Sequence[Any]) -> None:
        """Return when all of ``outputs`` are there."""
        import jax

        jax.block_until_ready(list(outputs))

    def output(self, kept: Sequence[Any]) -> Any:
        """What ``forward`` would have returned, in torch's tensors, of what a call gave."""
        known = {n: to_torch(array) for n, array in zip(self._kept, kept, strict=True)}
        return decode(self._tree, [_tensor(view, known) for view in self._outputs])


class _Watch(TorchDispatchMode):
    """Sees which memory holds what, and what each launch is given. Keeps every tensor, so that no address comes twice."""

    def __init__(self, roots: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.steps: list[Step] = []
        self.problem = ""
        self._values: dict[int, tuple[Value, int]] = {}
        self._alive: list[torch.Tensor] = []
        self._count = 0
        for tensor in roots:
            self._root(tensor)

    def _root(self, tensor: torch.Tensor) -> int:
        self._know(tensor, Value(root=self._count))
        self._count += 1
        return self._count - 1

    def _know(self, tensor: torch.Tensor, value: Value) -> None:
        self._alive.append(tensor)
        self._values[_place(tensor)] = (value, tensor.numel())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        out = func(*args, **given)
        if func._schema.name in _COPIES and _place(args[0]) in self._values and _place(out) != _place(args[0]):
            view = self._seen(args[0])
            self._know(out, Value(of=view, dtype=out.dtype, order=_order(out.shape, out.stride())))
        elif func._schema.is_mutable:
            for argument, value in [*zip(func._schema.arguments, args, strict=False)]:
                if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, torch.Tensor):
                    self._values.pop(_place(value), None)
        return out

    def launched(self, launched: Launched) -> None:
        """A launch was run."""
        number = len(self.steps) + 1
        given = tuple(self.view(t, f"argument {i} of launch {number}") for i, t in enumerate(launched.tensors))
        results = tuple(self._root(t) for t in launched.results)
        if self.problem:
            return
        for i, (view, tensor) in enumerate(zip(given, launched.tensors, strict=True)):
            if not view.whole(self._values[_place(tensor)][1]):
                self.problem = f"argument {i} of launch {number} is a part of a tensor: slice it inside the launched function"
                return
        needs = tuple(sorted({root for view in given for root in view.roots()}))
        self.steps.append(Step(launched, given, needs, results))

    def view(self, tensor: torch.Tensor, what: str) -> View:
        """Where a tensor lies; a ``problem`` where nobody knows what of."""
        if _place(tensor) in self._values:
            return self._seen(tensor)
        self.problem = self.problem or (
            f"{what} is made on the host, of no input, parameter or launch by views and casts alone: "
            "make it inside the launched function"
        )
        return View(Value(), (), (), 0)

    def _seen(self, tensor: torch.Tensor) -> View:
        value, _ = self._values[_place(tensor)]
        return View(value, tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset()))


def _place(tensor: Any) -> int:
    return int(tensor.untyped_storage().data_ptr()) if isinstance(tensor, torch.Tensor) else 0


def _order(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(shape)), key=lambda d: (-strides[d], -shape[d], d)))


def _array(view: View, known: Mapping[int, Any]) -> Any:
    """A view as a JAX array, of arrays."""
    value = view.value
    if value.of is None:
        flat = known[value.root]
    else:
        copied = _array(value.of, known).astype(_SMALLER.get(value.dtype) or str(value.dtype).removeprefix("torch."))
        flat = copied.transpose(value.order)
    order = view.order
    back = sorted(range(len(order)), key=order.__getitem__)
    return flat.reshape([view.shape[d] for d in order]).transpose(back)


def _tensor(view: View, known: Mapping[int, torch.Tensor]) -> torch.Tensor:
    """A view as a torch tensor, of tensors."""
    value = view.value
    of = value.of
    flat = known[value.root] if of is None else _tensor(of, known).to(value.dtype).permute(value.order).contiguous()
    return torch.as_strided(flat.reshape(-1), view.shape, view.strides, view.offset)
