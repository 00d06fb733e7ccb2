"""Which points do the same work, told without a device; and what the search makes of it."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from playbook_check import graphs_of
from playbook_zoo import ZOO

from kernelwright.agent.writers.playbook import emit_triton, launches, plans, space
from kernelwright.agent.writers.playbook.program import program_of
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.tasks.records import ShapeCase, Task, Use

SOURCES = dict(ZOO)
HOPPER = DeviceInfo("cuda", "NVIDIA H100 80GB HBM3")


def point_digests(name: str, capability: tuple[int, int] = (9, 0)) -> Any:
    """A function of a point: its digest in this process, at the reference's own sizes in bfloat16."""
    source = SOURCES[name]
    program = program_of(graphs_of(source), source, ("float32", "bfloat16"))
    request = {"shapes": [[source, ["bfloat16"]]], "training": False, "units": 132, "capability": list(capability)}
    digests = launches.Digests(request)
    choices = emit_triton.space(program)
    return choices, lambda **changed: digests.of(emit_triton.emit(program, {**space.default(choices), **changed}))


def test_points_that_launch_the_same_have_one_digest() -> None:
    _, digest = point_digests("softmax_last")
    first = digest()
    assert digest(online_unroll=4) == digest(split_programs=264) == first  # of schedules that a short row does not take
    assert digest(lane_elements=8) != first  # other warps
    assert digest(schedule="loop") != first
    assert digest(schedule="loop", online_unroll=4) != digest(schedule="loop")


def test_a_device_without_tma_launches_something_else() -> None:
    wide = "import torch\nfrom torch import nn\nclass Model(nn.Module):\n    def forward(self, a, b):\n        return a @ b\n"
    wide += "def get_inputs():\n    return [torch.randn(2048, 1024), torch.randn(1024, 2048)]\n"
    wide += "def get_init_inputs():\n    return []\n"
    program = program_of(graphs_of(wide), wide, ("float32", "bfloat16"))
    text = emit_triton.emit(program, space.default(emit_triton.space(program)))
    found = {}
    for capability in ([9, 0], [8, 0]):
        request = {"shapes": [[wide, ["bfloat16"]]], "training": False, "units": 132, "capability": capability}
        found[capability[0]] = launches.Digests(request).of(text)
    assert found[9] != found[8]


def test_the_stand_ins_are_gone_afterwards() -> None:
    import torch

    before = torch.Tensor.data_ptr, torch.cuda.get_device_capability, sys.modules.get("triton")
    _, digest = point_digests("softmax_last")
    digest()
    assert (torch.Tensor.data_ptr, torch.cuda.get_device_capability, sys.modules.get("triton")) == before


def test_a_child_tells_plans_apart_and_a_failing_one_tells_nothing() -> None:
    source = SOURCES["softmax_last"]
    program = program_of(graphs_of(source), source, ("float32", "bfloat16"))
    task = Task("softmax", source, "", (ShapeCase("given", Use.TIMING),))
    default = space.default(emit_triton.space(program))
    points = [default, {**default, "split_programs": 264}, {**default, "lane_elements": 8}]
    known = plans.Plans(task, HOPPER)
    try:
        first, same, other = (known.of(p, lambda p=p: emit_triton.emit(program, p)) for p in points)  # type: ignore[misc]
    finally:
        known.close()
    assert first == same != other
    broken = plans.Plans(Task("x", "raise ValueError", "", task.cases), HOPPER)
    assert [broken.of(p, lambda: "") for p in points] == [space.key(p) for p in points]
    broken.close()


CHOICES = {"a": [1, 2, 3], "b": [1, 2, 3], "idle": [1, 2, 3, 4, 5, 6, 7, 8]}


def work(point: space.Point) -> str:
    return f"{point['a']} {point['b']}"


def test_a_search_proposes_nothing_that_does_the_same_work() -> None:
    observed: list[tuple[space.Point, float | None]] = []
    for seed in range(9):
        start = observed[-1][0] if observed else None
        point = space.untried(CHOICES, start, observed, random.Random(seed), work)
        assert point is not None
        observed.append((point, 1.0))
    assert len({work(p) for p, _ in observed}) == 9
    assert space.untried(CHOICES, None, observed, random.Random(0), work) is None


def test_after_failures_alone_a_point_of_the_same_work_is_tried_again() -> None:
    every = [({"a": a, "b": b, "idle": 1}, None if a == 2 else 1.0) for a in CHOICES["a"] for b in CHOICES["b"]]
    point = space.untried(CHOICES, None, every, random.Random(0), work)
    assert point is not None
    assert point["a"] == 2
    assert point["idle"] != 1


@pytest.mark.parametrize("bad", [0.5, None])
def test_choices_that_did_badly_are_avoided(bad: float | None) -> None:
    observed: list[tuple[space.Point, float | None]] = []
    for idle in CHOICES["idle"]:
        observed += [({"a": 1, "b": 1, "idle": idle}, 1.0), ({"a": 2, "b": 1, "idle": idle}, bad)]
        observed += [({"a": 1, "b": 2, "idle": idle}, 2.0)]
    found = [space.untried(CHOICES, {"a": 3, "b": 3, "idle": 1}, observed, random.Random(seed)) for seed in range(40)]
    assert sum(p["a"] == 2 for p in found if p) <= 2
    assert sum(p["b"] == 2 for p in found if p) > sum(p["b"] == 1 for p in found if p)
