"""One shape case of a task in one dtype: the reference, its inputs, and what it should give."""

from __future__ import annotations

import collections
import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kernelwright.evaluator.correctness import compare
from kernelwright.evaluator.runner.arena import Arena, dtype_name, dtype_of, guards, layout
from kernelwright.evaluator.runner.draws import cutter, map_tensors, moved_by_one, nudged, place, scaled
from kernelwright.evaluator.runner.execute import Refused, execute
from kernelwright.evaluator.runner.hashes import hash_of
from kernelwright.evaluator.runner.observe import observe
from kernelwright.evaluator.runner.tensors import (
    available_memory,
    crowded,
    default_dtype,
    free_memory,
    is_tensor,
    nearly_same,
    on_device,
    restored,
    same,
    shares_memory,
    total_bytes,
)
from kernelwright.evaluator.runner.trees import decode, describe, encode
from kernelwright.tasks.records import Task
from kernelwright.tasks.shapes import integers

HISTORY, _HISTORY_BYTES = 8, 1 << 30
"""Draws whose expectations are kept, for outputs that later calls must leave alone: so many, or fewer of a large case."""
_GUARD = 4096
"""Bytes of guard band before and after every input and parameter."""
_GUARD_BYTE = 0xFF
"""NaN in every floating dtype, -1 in every integer one."""
_NEARBY = 3
"""Inputs near a draw's at which the oracle is asked, where a candidate would be rejected otherwise."""


@dataclass(frozen=True)
class Expected:
    """Outputs of the reference for one set of inputs, flattened, the mutated inputs after the outputs."""

    eager: tuple[torch.Tensor, ...]
    oracle: tuple[torch.Tensor, ...]
    tree: Any
    mutated: tuple[int, ...]
    """Indices of input tensors that the reference changes."""
    state: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    """Parameters and buffers that the reference changes: name -> (in the working dtype, in float64) afterwards."""
    nearby: list[tuple[torch.Tensor, ...]] = field(default_factory=list)
    """Outputs of the oracle for inputs one unit in the last place away; empty until a comparison asks."""


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
        self._first_parameters: dict[str, torch.Tensor] = {}
        inputs = self.new_inputs(seed)
        self.inputs, self._input_tree = self._flatten(inputs)
        self._stateful = True
        self.expected = self.expect(self.inputs)
        held = total_bytes([*self.expected.eager, *self.expected.oracle])
        self._history = collections.deque([self.expected], maxlen=max(1, min(HISTORY, _HISTORY_BYTES // max(held, 1))))
        self._stateful = bool(self.expected.state) or self._task.training
        self._check_randomness()
        self._share()

    def _call(self, name: str) -> Any:
        function = self._namespace.get(name)
        if not callable(function):
            raise Refused(f"the reference has no {name}()")
        torch.manual_seed(self._seed)
        with on_device(self.device):
            return function()

    def _construct(self) -> Any:
        torch.manual_seed(self._seed)
        with on_device(self.device):
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
        with on_device(self.device):
            inputs = self._namespace["get_inputs"]()
        if not isinstance(inputs, (list, tuple)):
            raise Refused(f"get_inputs() gave {type(inputs).__name__} (expected a list)")
        cut = cutter(inputs, self._leading)
        return [map_tensors(v, lambda t: cut(place(t, self.device, self.dtype))) for v in inputs]

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
        """What the reference gives for input tensors, in the working dtype and in float64; its state is put back."""
        mine = [t.clone() for t in tensors]
        torch.manual_seed(self._seed)
        with restored(self.model, self._stateful) as changed:
            eager, tree = self._outputs(self.model(*self.arguments(mine)))
        self._aliased = shares_memory(eager, [*mine, *filter(is_tensor, self.model.state_dict(keep_vars=True).values())])
        mutated = tuple(i for i, (a, b) in enumerate(zip(mine, tensors, strict=True)) if not same(a, b))
        with restored(self._double, self._stateful) as wide:
            oracle = self._oracle(tensors, mutated, (*eager, *(mine[i] for i in mutated)))
        state = {name: (now, wide.get(name, now)) for name, now in changed.items()}
        return Expected((*eager, *(mine[i] for i in mutated)), oracle, tree, mutated, state)

    def _oracle(
        self, tensors: Sequence[torch.Tensor], mutated: tuple[int, ...], eager: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(self._seed)
        try:
            self._fits_in_double([*tensors, *eager])
            wide = [t.double() if t.is_floating_point() else t.clone() for t in tensors]
            with default_dtype(torch.float64):
                outputs, _ = self._outputs(self._double(*self.arguments(wide)))
        except (RuntimeError, NotImplementedError, TypeError, MemoryError) as error:
            if isinstance(error, torch.OutOfMemoryError) and crowded(Arena.held):
                raise  # another's memory may not decide how exact this judging is
            why = (str(error).splitlines() or [""])[0][:120]
            self.oracle_dtype = f"{dtype_name(self.dtype)}, not float64: {why}"
            return tuple(e.clone() for e in eager)
        return (*outputs, *(wide[i] for i in mutated))

    def look_nearby(self, expected: Expected, tensors: Sequence[torch.Tensor]) -> bool:
        """Fill ``expected.nearby`` for the inputs that it was made for; whether there is anything now."""
        if expected.nearby or self.oracle_dtype != "float64":
            return bool(expected.nearby)
        generator = torch.Generator().manual_seed(self._seed)
        for _ in range(_NEARBY):
            moved = [moved_by_one(t, generator) for t in tensors]
            with restored(self._double, self._stateful):
                found = self._oracle(moved, expected.mutated, expected.eager)
            if self.oracle_dtype != "float64":  # it failed on these: what it is for the draw itself stands
                self.oracle_dtype = "float64"
                expected.nearby.clear()
                break
            expected.nearby.append(found)
        return bool(expected.nearby)

    def _fits_in_double(self, tensors: Sequence[torch.Tensor]) -> None:
        """MemoryError when the float64 copies of these tensors, and as much again for what is between, do not fit."""
        wanted = 2 * sum(8 * t.numel() for t in tensors if t.is_floating_point())
        free = free_memory(wanted) if self.device != "cpu" else available_memory()
        if wanted > free:
            problem = f"the float64 oracle needs {wanted >> 20} MiB, {free >> 20} MiB are free"
            raise (torch.OutOfMemoryError if self.device != "cpu" else MemoryError)(problem)

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
        first = self.expected.eager
        torch.manual_seed(self._seed + 1)
        with restored(self.model, self._stateful):
            again, _ = self._outputs(self.model(*self.arguments([t.clone() for t in self.inputs])))
        for a, b in zip(first, again, strict=False):
            if a.shape != b.shape or not nearly_same(a, b):
                raise Refused("forward is random: equal inputs gave different outputs under another torch seed")

    def _share(self) -> None:
        self.descriptors: list[int] = []
        self._arenas: list[tuple[str, Arena]] = []
        self._bands: dict[str, list[tuple[int, int]]] = {}
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
        for spec, t in zip(self._init_specs, init_tensors, strict=True):
            self._parameters.tensor(spec).copy_(t)
        self.input_specs, self._input_arena = self._arena("inputs", self.inputs)
        self._output_specs, self._output_arena = self._arena("outputs", self.expected.eager)
        self.publish(self.inputs)

    def _arena(self, name: str, tensors: Sequence[torch.Tensor]) -> tuple[list[dict[str, Any]], Arena]:
        specs, nbytes = layout(tensors, guard=_GUARD)
        arena, fds = Arena.create(self.device, nbytes)
        self._bands[name] = guards(specs, nbytes)
        for low, high in self._bands[name]:
            arena.raw(low, high).fill_(_GUARD_BYTE)
        self.descriptors += fds
        self._arenas.append((name, arena))
        return specs, arena

    def describe(self) -> dict[str, Any]:
        """All that the judge and a candidate need to know."""
        outputs = len(self.expected.eager) - len(self.expected.mutated)
        arguments = self.arguments([t.clone() for t in self.inputs])
        with restored(self.model, self._stateful):
            seen = observe(lambda: self.model(*arguments), cuda=False)
        return {
            "arenas": [{"name": name, "arena": arena.describe()} for name, arena in self._arenas],
            "init": self._init_tree,
            "init_specs": self._init_specs,
            "parameters": self._parameter_specs,
            "inputs": self._input_tree,
            "specs": self.input_specs,
            "output_specs": self._output_specs,
            "tree": self.expected.tree,
            "outputs": [describe(t) for t in self.expected.eager[:outputs]],
            "aliased": self._aliased,
            "mutated": list(self.expected.mutated),
            "training": self._task.training,
            "remembered": self._history.maxlen,
            "sizes": {**integers(self._task.source), **self._sizes},
            "bytes": total_bytes([*self.inputs, *self.expected.eager, *self.model.state_dict().values()]),
            "ops": seen["ops"],
            "flops": seen["flops"],
        }

    def hand_over(self, path: Path) -> dict[str, Any]:
        """Write what a candidate may see of the last draw to ``path``, as raw bytes; the description of each tensor."""
        with path.open("wb") as file:

            def entry(arena: Arena, spec: dict[str, Any]) -> dict[str, Any]:
                t = arena.tensor(spec).detach().cpu().contiguous().reshape(-1)
                at = file.tell()
                file.write(t.view(torch.uint8).numpy().tobytes() if t.numel() else b"")
                return {"shape": spec["shape"], "dtype": spec["dtype"], "at": at, "nbytes": file.tell() - at}

            return {
                "tensors": [entry(self._input_arena, spec) for spec in self.input_specs],
                "parameters": {name: entry(self._parameters, spec) for name, spec in self._parameter_specs.items()},
                "init_tensors": [entry(self._parameters, spec) for spec in self._init_specs],
            }

    def publish(self, tensors: Sequence[torch.Tensor]) -> None:
        """Write inputs, parameters and buffers where the candidate reads them: always the same addresses."""
        for spec, t in zip(self.input_specs, tensors, strict=True):
            self._input_arena.tensor(spec).copy_(t)
        state = self.model.state_dict(keep_vars=True)
        for name, spec in self._parameter_specs.items():
            self._parameters.tensor(spec).copy_(state[name].data)
        self._synchronize()

    def draw(self, seed: int, scale: float, spikes: str, vary: bool) -> bool:
        """New inputs and their expected outputs; False when the reference leaves its domain on them."""
        if vary or spikes == "nudge":
            self._vary_parameters(seed, few=spikes == "nudge")
        generator = torch.Generator().manual_seed(seed)
        tensors, _ = self._flatten(self.new_inputs(seed))
        if [t.shape for t in tensors] != [t.shape for t in self.inputs]:
            raise Refused("get_inputs() gives other shapes under another seed")
        plain = scale == 1.0 and spikes in ("", "nudge")
        if spikes == "nudge":
            tensors = [nudged(old, new, generator) for old, new in zip(self.inputs, tensors, strict=True)]
        tensors = tensors if plain else [scaled(t, scale, spikes, generator) for t in tensors]
        try:
            expected = self.expect(tensors)
        except (RuntimeError, ValueError, IndexError):
            if plain:
                raise
            return False
        if not plain and not all(bool(torch.isfinite(e).all()) for e in expected.eager if e.is_floating_point()):
            return False
        self._history.appendleft(expected)
        self.inputs, self.expected = tensors, expected
        self.publish(tensors)
        return True

    def reset(self) -> None:
        """The first parameters again, so that what is drawn next depends on its seeds alone."""
        state, wide = self.model.state_dict(keep_vars=True), self._double.state_dict(keep_vars=True)
        for name, first in self._first_parameters.items():
            state[name].data.copy_(first)
            wide[name].data.copy_(first)
        if self._first_parameters:
            self.publish(self.inputs)

    def _vary_parameters(self, seed: int, few: bool = False) -> None:
        """Other values in every learned floating parameter, or in ``few`` of its elements: the first ones times 0.5 … 1.5."""
        generator = torch.Generator().manual_seed(seed)
        state, wide = self.model.state_dict(keep_vars=True), self._double.state_dict(keep_vars=True)
        for name in self._parameter_specs:
            value = state[name]
            if not (isinstance(value, torch.nn.Parameter) and value.is_floating_point()):
                continue
            first = self._first_parameters.setdefault(name, value.data.clone())
            factor = torch.rand(value.shape, generator=generator, dtype=torch.float32).to(value.device, value.dtype)
            other = first * (factor + 0.5)
            value.data.copy_(nudged(value.data, other, generator) if few else other)
            wide[name].data.copy_(value.data)

    def output(self, index: int) -> torch.Tensor:
        """What the candidate exported as output ``index``."""
        return self._output_arena.tensor(self._output_specs[index])

    def poison_outputs(self) -> None:
        """NaN (the largest value for integers) in the output arena, so that an export that writes nothing is seen."""
        for spec in self._output_specs:
            place = self._output_arena.tensor(spec)
            place.fill_(float("nan") if place.is_floating_point() else (1 if place.dtype == torch.bool else 113))

    def compare_outputs(self, rtol: float | None, back: int = 0) -> list[dict[str, Any]]:
        """The exported outputs against what the last draw should give, or the draw ``back`` before it."""
        expected = self._history[back]
        count = len(expected.eager) - len(expected.mutated)
        results = []
        for i in range(count):
            given = self.output(i), expected.oracle[i], expected.eager[i], rtol
            result = compare(*given)
            if not result.passed and (expected.nearby if back else self.look_nearby(expected, self.inputs)):
                result = compare(*given, [near[i] for near in expected.nearby])
            results.append(result.to_dict())
        self.poison_outputs()
        self._synchronize()
        return results

    def hashes(self) -> dict[str, str]:
        """Hashes of the last draw: its inputs with the parameters, and what the oracle makes of them."""
        state = self.model.state_dict(keep_vars=True)
        given = [*self.inputs, *(state[name].data for name in self._names)]
        return {"inputs": hash_of(given), "expected": hash_of(self.expected.oracle)}

    def hash_outputs(self) -> str:
        """Hash of the exported outputs, as in :meth:`hashes`."""
        return hash_of(self.output(i) for i in range(len(self.expected.eager) - len(self.expected.mutated)))

    def fingerprint(self) -> str:
        """Hash of the exported outputs, bit for bit."""
        h = hashlib.sha256()
        for i in range(len(self.expected.eager) - len(self.expected.mutated)):
            h.update(self.output(i).contiguous().view(-1).view(torch.uint8).cpu().numpy().tobytes())
        return h.hexdigest()

    def compare_state(self, rtol: float | None) -> list[str]:
        """What the candidate did to parameters, buffers and guard bands that the reference did not."""
        problems = []
        state = self.model.state_dict(keep_vars=True)
        for name, spec in self._parameter_specs.items():
            now = self._parameters.tensor(spec)
            if name in self.expected.state:
                eager, oracle = self.expected.state[name]
                result = compare(now, oracle, eager, rtol)
                if not result.passed:
                    problems.append(f"{name} is changed in place, wrongly: {result.detail}")
            elif not same(now, state[name].data):
                problems.append(f"{name} is changed in place, though the reference leaves it alone")
        for arena_name, arena in self._arenas:
            for low, high in self._bands[arena_name]:
                band = arena.raw(low, high)
                if arena_name != "outputs" and not bool((band == _GUARD_BYTE).all()):
                    problems.append(f"writes outside its tensors, beside the {arena_name}")
                    band.fill_(_GUARD_BYTE)
        return problems

    def compare_inputs(self, rtol: float | None) -> list[dict[str, Any]]:
        """Inputs that the candidate changed though the reference does not, or changed wrongly where it does."""
        changed = []
        count = len(self.expected.eager) - len(self.expected.mutated)
        for i, (spec, mine) in enumerate(zip(self.input_specs, self.inputs, strict=True)):
            now = self._input_arena.tensor(spec)
            if i in self.expected.mutated:
                at = count + self.expected.mutated.index(i)
                result = compare(now, self.expected.oracle[at], self.expected.eager[at], rtol)
                if not result.passed:
                    changed.append({"input": i, "detail": f"changed in place, wrongly: {result.detail}"})
            elif not same(now, mine):
                changed.append({"input": i, "detail": "changed in place, though the reference leaves it alone"})
        return changed

    def _synchronize(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()
