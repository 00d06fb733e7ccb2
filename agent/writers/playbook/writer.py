"""The writer without a model: kernels by templates from the reference's exported graph, schedules by search."""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from kernelwright.agent.writers.playbook import space as spaces
from kernelwright.agent.writers.playbook.graph import Unsupported
from kernelwright.agent.writers.playbook.holder import forward_arguments
from kernelwright.agent.writers.playbook.ir import Program
from kernelwright.agent.writers.playbook.plans import Plans
from kernelwright.agent.writers.playbook.program import program_of
from kernelwright.agent.writers.playbook.variants import variants
from kernelwright.agent.writers.writer import Assignment, Setup
from kernelwright.tasks.errors import Exhausted
from kernelwright.tasks.records import Answer, Attempt, Kernel, Task

EMITTERS = {"cpp": "emit_cpp", "triton": "emit_triton"}
"""Backend -> the module of this package that emits for it: ``emit(program, point)`` and ``space(program)``."""
PLANNED = ("triton",)
"""Backends in which it can be told without a device what a kernel file launches."""
NATIVE = ("float32", "bfloat16", "float16")
PLANS = 4
"""Tasks whose processes that tell plans apart are kept: each has imported torch."""
TRACE_SECONDS = 40.0
"""After this no further shape is traced."""
TRACE_LIMIT = 240.0
"""The tracing process is given up after this."""


class Playbook:
    """Writes kernels for whatever its templates cover; the rest is answered with a problem that names the operator."""

    name = "playbook"

    def __init__(self, setup: Setup | None = None) -> None:
        self._setup = setup
        self._programs: dict[tuple[str, str], Program | str] = {}
        self._plans: dict[tuple[str, str], Plans] = {}
        self._lock = threading.Lock()

    def write(self, assignment: Assignment) -> Answer:
        """The next point of the program's space. What it cannot write is said once, as an answer's problem.

        Raises:
            Exhausted: every point was tried, or the problem was said already.
        """
        started = time.monotonic()
        with self._lock:
            answer = self._write(assignment)
        if answer.problem and any(a.answer.problem == answer.problem for a in assignment.context.history):
            raise Exhausted(answer.problem)
        return Answer(**{**vars(answer), "seconds": time.monotonic() - started})

    def told(self, attempt: Attempt) -> None:
        """Nothing is learned here: what was tried is in each assignment's history."""

    def close(self) -> None:
        """End the processes that tell plans apart."""
        with self._lock:
            while self._plans:
                self._plans.popitem()[1].close()

    def _write(self, assignment: Assignment) -> Answer:
        backend = assignment.backend
        if backend not in EMITTERS:
            return _no(f"playbook: no templates for backend {backend}; it has {', '.join(EMITTERS)}")
        program = self._program(assignment.task, assignment.device.kind)
        if isinstance(program, str):
            return _no(program)
        emitter = importlib.import_module(f"kernelwright.agent.writers.playbook.{EMITTERS[backend]}")
        try:
            choices = emitter.space(program)
            point = next_point(choices, assignment, self._same(assignment, program, emitter))
            if point is None:
                raise Exhausted("playbook: every point of the parameter space was tried")
            strategy = f"playbook: {summary(program)} at {spaces.key(point)}"
            source = emitter.emit(program, point)
        except Exhausted:
            raise
        except Unsupported as reason:
            return _no(f"playbook: {reason}")
        except Exception as error:  # noqa: BLE001 - an emitter's bug costs this task, and is shown; a bench of hundreds goes on
            return _no(f"playbook: its emitter failed: {type(error).__name__}: {error}")
        return Answer(source, Kernel(source, backend), strategy=strategy, model=self.name)

    def _same(self, assignment: Assignment, program: Program, emitter: Any) -> Callable[[spaces.Point], str]:
        """What points do on the task at its timing shapes; where that cannot be told, each its own."""
        if assignment.backend not in PLANNED:
            return spaces.key
        task = (assignment.task.task_id, assignment.device.kind)
        if task not in self._plans:
            while len(self._plans) >= PLANS:
                self._plans.pop(next(iter(self._plans))).close()
            self._plans[task] = Plans(assignment.task, assignment.device)
        plans = self._plans[task]
        return lambda point: plans.of(point, lambda: emitter.emit(program, point))

    def _program(self, task: Task, device: str) -> Program | str:
        key = (task.task_id, device)
        if key not in self._programs:
            self._programs[key] = trace_task(task, device)
        return self._programs[key]


def _no(problem: str) -> Answer:
    return Answer("", None, problem=problem, model="playbook")


def summary(program: Program) -> str:
    """What the program is, in a few words."""
    kinds = [type(k).__name__.lower() for k in program.kernels]
    return f"{len(kinds)} kernel{'s' if len(kinds) != 1 else ''} ({', '.join(dict.fromkeys(kinds)) or 'views only'})"


def next_point(
    choices: Mapping[str, list[Any]], assignment: Assignment, same: Callable[[spaces.Point], str] = spaces.key
) -> spaces.Point | None:
    """The point of the space that an idea is answered with, by what its task's history shows; None when it seems spent.

    ``same``: equal for points that do the same work.
    """
    context = assignment.context
    observed = [(p, a.speedup if a.feasible else None) for a in context.history if (p := _read(a)) is not None]
    start = None if context.start is None else _read(context.start)
    return spaces.untried(choices, start, observed, random.Random(assignment.idea.seed), same)


def _read(attempt: Attempt) -> spaces.Point | None:
    answer: Answer | None = attempt.answer
    return None if answer is None else spaces.read(answer.strategy)


def trace_task(task: Task, device: str) -> Program | str:
    """The task's program, or the problem why there is none."""
    try:
        _, arguments = forward_arguments(task.source)
        sources, own = variants(task, device)
        request = {
            "variants": sources,
            "own": own,
            "training": task.training,
            "seconds": TRACE_SECONDS,
            "arguments": arguments,
        }
        answer = _trace(request)
        if answer["problem"]:
            return f"playbook: the reference does not export: {answer['problem']}"
        asked = {d for case in task.cases for d in case.dtypes} | {"float32"}
        return program_of(answer["graphs"], task.source, tuple(d for d in NATIVE if d in asked))
    except Unsupported as reason:
        return f"playbook: {reason}"
    except SyntaxError as error:
        return f"playbook: the reference does not parse: {error.msg}"
    except RecursionError:
        return "playbook: the reference's graph is too deep for its templates"
    except Exception as error:  # noqa: BLE001 - a lowering's bug costs this task, and is shown; a bench of hundreds goes on
        return f"playbook: its lowering failed: {type(error).__name__}: {error}"


def _trace(request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the tracing process.

    Raises:
        Unsupported: it crashed or took too long.
    """
    command = [sys.executable, "-m", "kernelwright.agent.writers.playbook.export"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=TRACE_LIMIT,
            env=environment,
            check=False,
            start_new_session=True,  # Ctrl-C is for the loop, which finishes the step in flight
        )
    except subprocess.TimeoutExpired as error:
        raise Unsupported(f"tracing the reference took more than {TRACE_LIMIT:.0f} s") from error
    if done.returncode:
        tail = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise Unsupported(f"tracing the reference failed with exit code {done.returncode}: {tail[0][:200]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
