"""The playbook as a writer: drafts, refinements, what it says when it cannot."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from playbook_check import graphs_of, task_of
from playbook_zoo import ZOO, function

from kernelwright.agent.writers.playbook import space, writer
from kernelwright.agent.writers.playbook.graph import Symbols, Unsupported, Varying
from kernelwright.agent.writers.playbook.index import Axis as LoopAxis
from kernelwright.agent.writers.playbook.index import FloorDiv, Mod, Poly, Sym, evaluate
from kernelwright.agent.writers.playbook.specialise import structural
from kernelwright.agent.writers.writer import Assignment
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory.records import Context
from kernelwright.tasks.errors import Exhausted
from kernelwright.tasks.records import Answer, Attempt, Idea, IdeaStage, Task

SOURCES = dict(ZOO)


@pytest.fixture
def playbook(monkeypatch: pytest.MonkeyPatch) -> writer.Playbook:
    """A playbook that traces in this process: the child takes seconds to import torch."""

    def trace(request: dict[str, Any]) -> dict[str, Any]:
        return {"graphs": graphs_of(request["variants"][0][0]), "problem": ""}

    monkeypatch.setattr(writer, "_trace", trace)
    return writer.Playbook()


def assignment(task: Task, number: int, history: tuple[Attempt, ...] = (), backend: str = "cpp") -> Assignment:
    start = history[-1] if history else None
    stage = IdeaStage.REFINE if start else IdeaStage.DRAFT
    idea = Idea("r", task.name, number, stage, start.id if start else None, seed=number)
    return Assignment(idea, task, backend, DeviceInfo("cpu", "test"), Context(start=start, history=history))


def test_refinements_are_new_points_near_the_start(playbook: writer.Playbook) -> None:
    task = task_of("softmax", SOURCES["softmax_last"])
    history: tuple[Attempt, ...] = ()
    points = []
    for number in range(1, 7):
        given = assignment(task, number, history)
        answer = playbook.write(given)
        assert answer.kernel is not None, answer.problem
        assert "class ModelNew" in answer.kernel.source
        points.append(space.read(answer.strategy))
        history = (*history, Attempt(given.idea, answer, None))
    assert len({space.key(p) for p in points if p}) == 6
    assert points[0] == {name: choices[0] for name, choices in _choices(playbook, task).items()}
    for before, after in zip(points, points[1:], strict=False):
        assert before is not None
        assert after is not None
        assert 1 <= sum(before[k] != after[k] for k in after) <= 2


def _choices(playbook: writer.Playbook, task: Task) -> dict[str, list[Any]]:
    from kernelwright.agent.writers.playbook import emit_cpp

    program = playbook._program(task, "cpu")
    assert not isinstance(program, str)
    return emit_cpp.space(program)


def test_the_same_assignment_gives_the_same_kernel(playbook: writer.Playbook) -> None:
    task = task_of("rms", SOURCES["rms"])
    first, again = playbook.write(assignment(task, 1)), playbook.write(assignment(task, 1))
    assert first.text == again.text


def test_an_operator_without_a_template_is_named(playbook: writer.Playbook) -> None:
    task = task_of("fft", function("return torch.fft.rfft(x).abs()", "torch.randn(N, M)"))
    answer = playbook.write(assignment(task, 1))
    assert answer.kernel is None
    assert "aten::abs of complex values has no template" in answer.problem


def test_an_order_has_no_cpp_template(playbook: writer.Playbook) -> None:
    task = task_of("sort", function("return torch.sort(x, -1).values", "torch.randn(N, M)"))
    answer = playbook.write(assignment(task, 1))
    assert answer.kernel is None
    assert "no C++ template" in answer.problem


def test_an_unknown_backend_is_an_answer_not_an_error(playbook: writer.Playbook) -> None:
    answer = playbook.write(assignment(task_of("x", SOURCES["softmax_last"]), 1, backend="pallas"))
    assert answer.kernel is None
    assert "no templates for backend pallas" in answer.problem


def test_a_problem_is_said_once(playbook: writer.Playbook) -> None:
    given = assignment(task_of("x", SOURCES["softmax_last"]), 1, backend="pallas")
    said = Attempt(given.idea, playbook.write(given), None)
    with pytest.raises(Exhausted, match="no templates for backend pallas"):
        playbook.write(assignment(given.task, 2, (said,), backend="pallas"))


def test_a_spent_space_ends_the_task(playbook: writer.Playbook) -> None:
    task = task_of("tanh", function("return torch.tanh(x)", "torch.randn(N, M)"))
    history: tuple[Attempt, ...] = ()
    most = math.prod(len(choices) for choices in _choices(playbook, task).values())
    for number in range(1, most + 1):
        given = assignment(task, number, history)
        history = (*history, Attempt(given.idea, playbook.write(given), None))
    with pytest.raises(Exhausted, match="every point"):
        playbook.write(assignment(task, most + 1, history))
    assert len({a.answer.text for a in history}) == most


def test_a_spent_space_gives_none() -> None:
    choices = {"a": [1, 2], "b": [3]}
    tried = [({"a": a, "b": 3}, 1.0) for a in (1, 2)]
    assert space.untried(choices, None, tried, random.Random(0)) is None
    assert space.untried(choices, {"a": 1, "b": 3}, tried[:1], random.Random(0)) == {"a": 2, "b": 3}


def test_a_tracing_child_that_fails_is_a_problem() -> None:
    task = task_of("bad", "import torch\nclass Model(torch.nn.Module):\n    def forward(self, x):\n        return x\n")
    program = writer.trace_task(task, "cpu")
    assert isinstance(program, str)
    assert "does not export" in program


def test_schedules_are_made_for_the_tasks_own_sizes_not_for_those_that_tell_dimensions_apart() -> None:
    source = (
        "import torch\nfrom torch import nn\n\nbatch = 4\nchannels = 32\nsize = 24\nkernel = 3\n\n\nclass Model(nn.Module):\n"
        "    def __init__(self, channels, kernel):\n        super().__init__()\n"
        "        self.f = nn.Conv2d(channels, channels, kernel, padding=1)\n\n"
        "    def forward(self, x):\n        return self.f(x)\n"
        "\n\ndef get_inputs():\n    return [torch.randn(batch, channels, size, size)]\n"
        "\n\ndef get_init_inputs():\n    return [channels, kernel]\n"
    )
    program = writer.trace_task(task_of("conv", source), "cpu")
    assert not isinstance(program, str), program
    assert {values for values in program.hints.values()} <= {(4,), (32,), (24,), (3,), (1,)}
    assert structural(program)
    assert set(structural(program).values()) <= {3, 1}


def test_sizes_are_found_as_expressions_of_the_shapes() -> None:
    symbols = Symbols(3, 3)
    c, h = symbols.dimension("x.shape[1]", Varying((32, 48, 96))), symbols.dimension("x.shape[2]", Varying((17, 23, 29)))
    assert symbols.size(Varying((544, 1104, 2784))) is c * h
    assert symbols.size(Varying((8, 12, 24))) is c // 4
    assert symbols.size(Varying((15, 21, 27))) is h - 2
    assert symbols.size(7).const == 7
    with pytest.raises(Unsupported):
        symbols.size(Varying((5, 1000, 3)))


def test_polynomials_know_their_divisions() -> None:
    n, m = (Poly.of(Sym(s)) for s in ("n", "m"))
    i, j = Poly.of(LoopAxis("i", n)), Poly.of(LoopAxis("j", m))
    flat = i * m + j
    assert flat // m is i
    assert flat % m is j
    assert i // 3 is Poly.of(FloorDiv(i, Poly.of(3)))
    assert (i * 6 + 3) % 3 is Poly.of(0)
    assert Poly.of(Mod(n, m)) is n % m
    assert evaluate((n * m + 7) // m, {"n": 5, "m": 3}) == (5 * 3 + 7) // 3


def test_answers_carry_the_time_they_took(playbook: writer.Playbook) -> None:
    answer: Answer = playbook.write(assignment(task_of("x", SOURCES["extremes"]), 1))
    assert answer.seconds > 0
    assert answer.model == "playbook"
