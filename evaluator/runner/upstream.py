"""A suite's own rule, applied as suites do it: reference and kernel in one process, which is the kernel's.

So what comes of it is a claim of an untrusted process, as it is upstream: code that deceives a judge beside it deceives this
one. It decides nothing; it is the figure that ours is set against. It runs in a runner of its own, inside the sandbox.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from kernelwright.evaluator import native_inline
from kernelwright.evaluator.runner.draws import map_tensors
from kernelwright.evaluator.runner.execute import execute
from kernelwright.evaluator.runner.tensors import on_device
from kernelwright.evaluator.runner.upstream_measures import differs, timed
from kernelwright.tasks.codec import from_json
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.upstream import Rule

_MODULE = "kernel_by_upstream"


class _Unavailable(Exception):
    """The rule cannot be computed here; the message says why."""


def apply(request: dict[str, Any], device: str) -> dict[str, Any]:
    """Correct or not by the rule, and each side's time.

    ``correct`` is None where it cannot be computed: ``detail`` says why then, and else why it is wrong; ``raised``: because the
    kernel raises. ``times``: µs of kernel and reference, empty without a clock.
    """
    rule, task = from_json(Rule, request["rule"]), from_json(Task, request["task"])
    if device != "cpu":
        torch.backends.cudnn.allow_tf32 = True  # torch's default, which suites leave alone
    trial = _Trial(rule, task, request["source"], device)
    try:
        detail, trials = trial.run()
        times = trial.times(request["cap"]) if not detail and rule.clock is not None and request["timing"] else []
    except _Unavailable as problem:
        return {"correct": None, "detail": str(problem)[:800], "raised": False, "trials": 0, "times": []}
    return {"correct": not detail, "detail": detail[:800], "raised": trial.raised, "trials": trials, "times": times}


class _Trial:
    """The two models, as upstream's process has them."""

    def __init__(self, rule: Rule, task: Task, source: str, device: str) -> None:
        self._rule = rule
        self._task = task
        self._source = source
        self._device = device
        self._kernel: Any = None
        self.raised = False
        self._last: tuple[Any, Any, Callable[[], list[Any]]] | None = None

    def run(self) -> tuple[str, int]:
        """Why the kernel is wrong, empty when it is right; and how many trials there were."""
        done = 0
        word = next((word for word in self._rule.forbidden if word in self._source), None)
        if word is not None:
            return f"its text contains {word!r}, which upstream forbids for this problem", 0
        for sizes in self._sizes():
            namespace = self._reference(sizes)
            try:
                models = self._made(namespace, self._rule.seed)
                for seed in self._seeds():
                    models = self._made(namespace, seed) if self._rule.fresh else models
                    problem = self._tried(models, namespace, seed)
                    done += 1
                    if problem:
                        return f"trial {done}: {problem}", done
            except _Raised as raised:
                self.raised = True
                return f"trial {done + 1}: {raised}", done
            self._last = (*models, lambda namespace=namespace: self._inputs(namespace, self._rule.seed))
        return "", done

    def _sizes(self) -> Iterator[dict[str, int]]:
        if not self._rule.listed:
            yield {}
            return
        seen: list[dict[str, int]] = []
        for case in self._task.cases:
            if not case.derived and dict(case.sizes) not in seen:
                seen.append(dict(case.sizes))
        yield from seen

    def _seeds(self) -> list[int | None]:
        rule = self._rule
        if rule.seeds:
            return list(rule.seeds)
        if not rule.reseeded:
            return [None] * rule.trials
        torch.manual_seed(rule.seed or 0)
        return [int(torch.randint(0, 2**32 - 1, (1,)).item()) for _ in range(rule.trials)]

    def _reference(self, sizes: dict[str, int]) -> dict[str, Any]:
        try:
            return execute(self._task, sizes)
        except Exception as error:  # noqa: BLE001 - process boundary: the reference is a suite's code and may raise anything
            raise _Unavailable(f"the reference does not load beside the kernel: {_said(error)}") from error

    def _made(self, namespace: dict[str, Any], seed: int | None) -> tuple[Any, Any]:
        """(reference, kernel), both constructed after ``seed``."""
        try:
            self._seed(seed)
            init = self._cast(self._drawn(namespace["get_init_inputs"]))
            self._seed(seed)
            reference = self._constructed(namespace["Model"], init)
        except Exception as error:  # noqa: BLE001 - process boundary, as above
            raise _Unavailable(f"the reference cannot be made beside the kernel: {_said(error)}") from error
        try:
            if self._kernel is None:
                self._kernel = self._loaded()
            self._seed(seed)
            kernel = self._constructed(self._kernel, init)
            if self._rule.weights == "copied" and isinstance(kernel, torch.nn.Module):
                kernel.load_state_dict(reference.state_dict(), strict=True)
        except Exception as error:  # noqa: BLE001 - process boundary: the kernel may raise anything
            raise _Raised(f"cannot be made: {_said(error)}") from error
        return reference, kernel

    def _loaded(self) -> Any:
        """The kernel's class, from a module in a file, as jitted functions need it."""
        path = Path.cwd() / f"{_MODULE}.py"
        path.write_text(self._source)
        module = types.ModuleType(_MODULE)
        module.__file__ = str(path)
        sys.modules[_MODULE] = module
        if "load_inline" in self._source:
            native_inline.install()
        exec(compile(self._source, str(path), "exec"), module.__dict__)
        return module.__dict__["ModelNew"]

    def _constructed(self, cls: Any, init: Sequence[Any]) -> Any:
        with on_device(self._device):
            model = cls(*init)
        if isinstance(model, torch.nn.Module):
            model = model.to(self._device)
            model = model.to(torch.float32) if self._rule.cast else model
            model = model.eval() if self._rule.weights == "copied" else model
        return model

    def _tried(self, models: tuple[Any, Any], namespace: dict[str, Any], seed: int | None) -> str:
        """One trial: what is wrong, or nothing."""
        reference, kernel = models
        inputs = self._inputs(namespace, seed)
        given = map_tensors(inputs, torch.clone) if self._rule.cloned else inputs
        if self._rule.reseeded:
            self._seed(seed)
        if self._rule.first == "reference":
            expected = self._expected(reference, inputs)
            outputs = [self._called(kernel, given)]
        else:
            outputs = [self._called(kernel, given)]
            expected = self._expected(reference, inputs)
            outputs += [self._called(kernel, given)] if self._rule.first == "both" else []
        try:
            return next((problem for got in outputs if (problem := differs(expected, got, self._rule))), "")
        except Exception as error:  # noqa: BLE001 - process boundary: upstream's comparison raises on outputs it does not know
            return f"cannot be compared: {_said(error)}"

    def _expected(self, reference: Any, inputs: Sequence[Any]) -> Any:
        try:
            output = reference(*inputs)
            self._synchronize()
        except Exception as error:  # noqa: BLE001 - process boundary, as above
            raise _Unavailable(f"the reference fails beside the kernel: {_said(error)}") from error
        return output

    def _called(self, kernel: Any, inputs: Sequence[Any]) -> Any:
        try:
            output = kernel(*inputs)
            self._synchronize()
        except Exception as error:  # noqa: BLE001 - process boundary, as above
            raise _Raised(f"raises {_said(error)}") from error
        return output

    def _inputs(self, namespace: dict[str, Any], seed: int | None) -> list[Any]:
        try:
            self._seed(seed)
            return self._cast(self._drawn(namespace["get_inputs"]))
        except Exception as error:  # noqa: BLE001 - process boundary, as above
            raise _Unavailable(f"inputs cannot be drawn beside the kernel: {_said(error)}") from error

    def _drawn(self, function: Callable[[], Any]) -> list[Any]:
        with on_device(self._device):
            return list(function())

    def _cast(self, values: Sequence[Any]) -> list[Any]:
        def placed(t: torch.Tensor) -> torch.Tensor:
            return t.to(self._device, torch.float32) if self._rule.cast else t.to(self._device)

        return [map_tensors(value, placed) for value in values]

    def times(self, seconds: float) -> list[float]:
        """µs a call of the kernel and of the reference, on equal inputs; each at most ``seconds``."""
        clock, last = self._rule.clock, self._last
        if clock is None or last is None:
            return []
        reference, kernel, inputs = last
        given = inputs()
        try:
            times = [timed(model, given, clock, self._device, seconds) for model in (kernel, reference)]
        except Exception:  # noqa: BLE001 - process boundary: a kernel that fails when timed has no time, as upstream
            return []
        return times if all(math.isfinite(t) and t > 0 for t in times) else []

    def _seed(self, seed: int | None) -> None:
        if seed is not None:
            torch.manual_seed(seed)

    def _synchronize(self) -> None:
        if self._device != "cpu":
            torch.cuda.synchronize()


class _Raised(Exception):
    """The kernel failed; the message says how."""


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]
