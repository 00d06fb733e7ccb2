"""One shape case of a task in one dtype: the reference, its inputs, and what it should give."""

from __future__ import annotations

import copy
import linecache
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from kernelwright.evaluator.correctness import compare
from kernelwright.evaluator.runner.arena import Arena, dtype_of, layout
from kernelwright.evaluator.runner.observe import observe
from kernelwright.evaluator.runner.trees import decode, describe, encode
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.shapes import integers, with_sizes

_FEW_VALUES = 16
"""A floating tensor with fewer distinct values than this in a sample is a mask or a label: never scaled or mixed."""


class Refused(Exception):
    """The reference cannot be judged against; the message says why."""


@dataclass(frozen=True)
class Expected:
    """Outputs of the reference for one set of inputs, flattened, the mutated inputs after the outputs."""

    eager: tuple[torch.Tensor, ...]
    oracle: tuple[torch.Tensor, ...]
    tree: Any
    mutated: tuple[int, ...]
    """Indices of input tensors that the reference changes."""


class Case:
    """A reference executed for given sizes and dtype on a device, with the arenas a candidate shares."""

    def __init__(
        self, task: Task, sizes: Mapping[str, int], dtype: str, device: str, leading: int | None, seed: int
    ) -> None:
        self._task = task
        self._sizes = dict(sizes)
        self.device = device
        self.dtype = dtype_of(dtype)
        self._leading = leading
        self._seed = seed
        self.oracle_dtype = "float64"
        self._namespace = execute(task, sizes)
        self._init = self._call("get_init_inputs")
        self.model = self._construct()
        self._randomise(torch.Generator().manual_seed(seed))
        self._double = self._in_double()
        inputs = self.new_inputs(seed)
        self._inputs, self._input_tree = self._flatten(inputs)
        self._expected = self.expect(self._inputs)
        self._check_randomness()
        self._share()

    def _call(self, name: str) -> Any:
        function = self._namespace.get(name)
        if not callable(function):
            raise Refused(f"the reference has no {name}()")
        torch.manual_seed(self._seed)
        with _on_device(self.device):
            return function()

    def _construct(self) -> Any:
        torch.manual_seed(self._seed)
        with _on_device(self.device):
            model = self._namespace["Model"](*self._init)
        model = model.to(self.device)
        if self.dtype != torch.float32:
            model = model.to(self.dtype)
        return model.train(self._task.training)

    def _randomise(self, generator: torch.Generator) -> None:
        """Perturb parameters that are one constant (a norm's ones and zeros): a kernel that ignores them must fail."""
        for name, value in self.model.state_dict(keep_vars=True).items():
            learned = isinstance(value, torch.nn.Parameter) or name.endswith(("running_mean", "running_var"))
            if not (learned and value.is_floating_point() and value.numel() > 1):
                continue
            if bool((value == value.flatten()[0]).all()):
                noise = torch.rand(value.shape, generator=generator, dtype=torch.float32).to(value.device, value.dtype)
                value.data.add_((noise - 0.5) * 0.5)

    def _in_double(self) -> Any:
        model = copy.deepcopy(self.model).double()
        for module in model.modules():
            for name, value in vars(module).items():
                if isinstance(value, torch.Tensor) and value.is_floating_point():
                    setattr(module, name, value.double())
        return model

    def new_inputs(self, seed: int) -> list[Any]:
        """What ``get_inputs()`` gives under ``seed``, on the device, floating tensors in the working dtype."""
        torch.manual_seed(seed)
        with _on_device(self.device):
            inputs = self._namespace["get_inputs"]()
        if not isinstance(inputs, (list, tuple)):
            raise Refused(f"get_inputs() gave {type(inputs).__name__} (expected a list)")
        cut = _cutter(inputs, self._leading)
        return [_map(v, lambda t: cut(_place(t, self.device, self.dtype))) for v in inputs]

    def _flatten(self, inputs: Sequence[Any]) -> tuple[list[torch.Tensor], Any]:
        tensors: list[torch.Tensor] = []
        try:
            tree = encode(list(inputs), tensors)
        except TypeError as error:
            raise Refused(f"get_inputs() gave {error}") from error
        return [t.contiguous() for t in tensors], tree

    def arguments(self, tensors: Sequence[torch.Tensor]) -> list[Any]:
        """The positional arguments of ``forward`` with ``tensors`` in their places."""
        return list(decode(self._input_tree, tensors))

    def expect(self, tensors: Sequence[torch.Tensor]) -> Expected:
        """What the reference gives for input tensors, in the working dtype and in float64."""
        mine = [t.clone() for t in tensors]
        torch.manual_seed(self._seed)
        eager, tree = self._outputs(self.model(*self.arguments(mine)))
        mutated = tuple(i for i, (a, b) in enumerate(zip(mine, tensors, strict=True)) if not _same(a, b))
        oracle = self._oracle(tensors, mutated, eager)
        return Expected((*eager, *(mine[i] for i in mutated)), oracle, tree, mutated)

    def _oracle(
        self, tensors: Sequence[torch.Tensor], mutated: tuple[int, ...], eager: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        wide = [t.double() if t.is_floating_point() else t.clone() for t in tensors]
        torch.manual_seed(self._seed)
        try:
            with _default_dtype(torch.float64):
                outputs, _ = self._outputs(self._double(*self.arguments(wide)))
        except (RuntimeError, NotImplementedError, TypeError):
            self.oracle_dtype = str(self.dtype).removeprefix("torch.")
            return (*(e.clone() for e in eager), *(tensors[i] for i in mutated))
        return (*outputs, *(wide[i] for i in mutated))

    def _outputs(self, value: Any) -> tuple[list[torch.Tensor], Any]:
        tensors: list[torch.Tensor] = []
        try:
            tree = encode(value, tensors)
        except TypeError as error:
            raise Refused(f"forward gave {error}") from error
        if not tensors:
            raise Refused("forward returns no tensor")
        return [t.detach() for t in tensors], tree

    def _check_randomness(self) -> None:
        """Two other torch seeds must give the same outputs, else only a property checker could judge."""
        first = self._expected.eager
        torch.manual_seed(self._seed + 1)
        again, _ = self._outputs(self.model(*self.arguments([t.clone() for t in self._inputs])))
        for a, b in zip(first, again, strict=False):
            if a.shape != b.shape or not _close(a, b):
                raise Refused("forward is random: equal inputs gave different outputs under another torch seed")

    def _share(self) -> None:
        self.descriptors: list[int] = []
        self._arenas: list[tuple[str, Arena]] = []
        state = self.model.state_dict(keep_vars=True)
        init_tensors: list[torch.Tensor] = []
        try:
            self._init_tree = encode(list(self._init), init_tensors)
        except TypeError as error:
            raise Refused(f"get_init_inputs() gave {error}") from error
        self._names = [n for n, v in state.items() if isinstance(v, torch.Tensor)]
        parameters = [state[n].data for n in self._names]
        specs, self._parameters = self._arena("parameters", [*parameters, *init_tensors])
        self._parameter_specs = dict(zip(self._names, specs, strict=False))
        self._init_specs = specs[len(parameters) :]
        for spec, t in zip(specs, [*parameters, *init_tensors], strict=True):
            self._parameters.tensor(spec).copy_(t)
        self.input_specs, self._input_arena = self._arena("inputs", self._inputs)
        self._output_specs, self._output_arena = self._arena("outputs", self._expected.eager)
        self.publish(self._inputs)

    def _arena(self, name: str, tensors: Sequence[torch.Tensor]) -> tuple[list[dict[str, Any]], Arena]:
        specs, nbytes = layout(tensors)
        arena, fds = Arena.create(self.device, nbytes)
        self.descriptors += fds
        self._arenas.append((name, arena))
        return specs, arena

    def describe(self) -> dict[str, Any]:
        """All that the judge and a candidate need to know."""
        outputs = len(self._expected.eager) - len(self._expected.mutated)
        arguments = self.arguments([t.clone() for t in self._inputs])
        seen = observe(lambda: self.model(*arguments), cuda=False)
        return {
            "arenas": [{"name": name, "arena": arena.describe()} for name, arena in self._arenas],
            "init": self._init_tree,
            "init_specs": self._init_specs,
            "parameters": self._parameter_specs,
            "inputs": self._input_tree,
            "specs": self.input_specs,
            "output_specs": self._output_specs,
            "tree": self._expected.tree,
            "outputs": [describe(t) for t in self._expected.eager[:outputs]],
            "mutated": list(self._expected.mutated),
            "training": self._task.training,
            "sizes": {**integers(self._task.source), **self._sizes},
            "bytes": _nbytes([*self._inputs, *self._expected.eager, *self.model.state_dict().values()]),
            "ops": seen["ops"],
            "flops": seen["flops"],
        }

    def publish(self, tensors: Sequence[torch.Tensor]) -> None:
        """Write ``tensors`` where the candidate reads its inputs: always the same addresses."""
        for spec, t in zip(self.input_specs, tensors, strict=True):
            self._input_arena.tensor(spec).copy_(t)
        self._synchronize()

    def draw(self, seed: int, scale: float, spikes: bool, vary: bool) -> bool:
        """New inputs and their expected outputs; False when the reference leaves its domain on them."""
        if vary:
            self._vary_parameters(seed)
        generator = torch.Generator().manual_seed(seed)
        tensors, _ = self._flatten(self.new_inputs(seed))
        if [t.shape for t in tensors] != [t.shape for t in self._inputs]:
            raise Refused("get_inputs() gives other shapes under another seed")
        plain = scale == 1.0 and not spikes
        tensors = tensors if plain else [_scaled(t, scale, spikes, generator) for t in tensors]
        try:
            expected = self.expect(tensors)
        except (RuntimeError, ValueError, IndexError):
            if plain:
                raise
            return False
        if not plain and not all(bool(torch.isfinite(e).all()) for e in expected.eager if e.is_floating_point()):
            return False
        self._inputs, self._expected = tensors, expected
        self.publish(tensors)
        return True

    def _vary_parameters(self, seed: int) -> None:
        """Other values in every learned floating parameter, under the same addresses."""
        generator = torch.Generator().manual_seed(seed)
        state, wide = self.model.state_dict(keep_vars=True), self._double.state_dict(keep_vars=True)
        for name, spec in self._parameter_specs.items():
            value = state[name]
            if not (isinstance(value, torch.nn.Parameter) and value.is_floating_point()):
                continue
            factor = torch.rand(value.shape, generator=generator, dtype=torch.float32).to(value.device, value.dtype)
            value.data.mul_(factor + 0.5)
            wide[name].data.copy_(value.data)
            self._parameters.tensor(spec).copy_(value.data)

    def output(self, index: int) -> torch.Tensor:
        """What the candidate exported as output ``index``."""
        return self._output_arena.tensor(self._output_specs[index])

    def poison_outputs(self) -> None:
        """NaN (the largest value for integers) in the output arena, so that an export that writes nothing is seen."""
        for spec in self._output_specs:
            place = self._output_arena.tensor(spec)
            place.fill_(float("nan") if place.is_floating_point() else (1 if place.dtype == torch.bool else 113))

    def compare_outputs(self, rtol: float | None) -> list[dict[str, Any]]:
        count = len(self._expected.eager) - len(self._expected.mutated)
        results = []
        for i in range(count):
            result = compare(self.output(i), self._expected.oracle[i], self._expected.eager[i], rtol)
            results.append(result.to_dict())
        self.poison_outputs()
        self._synchronize()
        return results

    def compare_inputs(self, rtol: float | None) -> list[dict[str, Any]]:
        """Inputs that the candidate changed though the reference does not, or changed wrongly where it does."""
        changed = []
        count = len(self._expected.eager) - len(self._expected.mutated)
        for i, (spec, mine) in enumerate(zip(self.input_specs, self._inputs, strict=True)):
            now = self._input_arena.tensor(spec)
            if i in self._expected.mutated:
                at = count + self._expected.mutated.index(i)
                result = compare(now, self._expected.oracle[at], self._expected.eager[at], rtol)
                if not result.passed:
                    changed.append({"input": i, "detail": f"changed in place, wrongly: {result.detail}"})
            elif not _same(now, mine):
                changed.append({"input": i, "detail": "changed in place, though the reference leaves it alone"})
        return changed

    def _synchronize(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()


def execute(task: Task, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The reference's module namespace for given sizes. Trusted code; its own file name is kept for messages."""
    try:
        source = with_sizes(task.source, sizes)
    except TaskError as error:
        raise Refused(str(error)) from error
    name = f"reference_{abs(hash((task.path, tuple(sorted(sizes.items()))))):x}"
    filename = f"<{name}>"
    module = types.ModuleType(name)
    module.__file__ = task.path
    sys.modules[name] = module
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), module.__dict__)
    for needed in ("Model", "get_inputs"):
        if needed not in module.__dict__:
            raise Refused(f"the reference defines no {needed}")
    module.__dict__.setdefault("get_init_inputs", list)
    return module.__dict__


@contextmanager
def _on_device(device: str) -> Iterator[None]:
    """Factory functions make their tensors on the device, so that large inputs are not drawn on the host."""
    if device == "cpu":
        yield
    else:
        with torch.device(device):
            yield


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(previous)


def _map(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_map(v, change) for v in value)
    if isinstance(value, dict):
        return {k: _map(v, change) for k, v in value.items()}
    return value


def _place(t: torch.Tensor, device: str, dtype: torch.dtype) -> torch.Tensor:
    moved = t.detach().to(device)
    return moved.to(dtype) if moved.is_floating_point() and dtype != torch.float32 else moved


def _cutter(inputs: Sequence[Any], leading: int | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """Cuts the leading dimension that the first tensor has, in every tensor that shares it."""
    tensors = [v for v in inputs if isinstance(v, torch.Tensor) and v.dim()]
    if leading is None or not tensors:
        return lambda t: t
    common = tensors[0].shape[0]
    if leading >= common:
        raise Refused(f"the leading dimension is {common}: it cannot be cut to {leading}")
    return lambda t: t[:leading] if t.dim() and t.shape[0] == common else t


def _many_valued(t: torch.Tensor) -> bool:
    return t.is_floating_point() and len(t.flatten()[:4096].unique()) >= min(_FEW_VALUES, t.numel())


def _scaled(t: torch.Tensor, scale: float, spikes: bool, generator: torch.Generator) -> torch.Tensor:
    """``scale * t``; with ``spikes``, another eighth of the elements grow by a random factor up to 8."""
    if not _many_valued(t) or t.numel() < 2:
        return t
    out = t * scale
    if spikes:
        where = torch.rand(t.shape, generator=generator).to(t.device) < 0.125
        factor = (torch.rand(t.shape, generator=generator) * 7 + 1).to(t.device, t.dtype)
        out = torch.where(where, out * factor, out)
    return out


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bitwise equal."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.numel() == 0:
        return True
    return bool(torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)))


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    if not a.is_floating_point():
        return bool(torch.equal(a, b))
    return bool(torch.allclose(a, b, rtol=1e-2, atol=1e-3 * float(a.abs().float().max() + 1e-30), equal_nan=True))


def _nbytes(tensors: Sequence[Any]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))
