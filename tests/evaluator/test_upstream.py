"""A suite's own rule, applied in a runner: what it takes and what it does not, on small tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.runner.upstream_measures import differs
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.upstream import Upstream, judge_by
from kernelwright.tasks.records import Kernel, ShapeCase, Task, Use
from kernelwright.tasks.suites.upstream import Clock, Rule, Tolerance

LOOSE = {"": Tolerance(1e-2, 1e-2)}
RULE = Rule("a test", {"": Tolerance(1e-4, 1e-4)}, trials=3, seed=42, reseeded=True, cast=True, single=True)
REFERENCE = """
import torch
import torch.nn as nn
N = 8


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(N))

    def forward(self, x):
        {before}
        return torch.relu(x) * self.weight


def get_inputs():
    return [torch.rand(4, N)]


def get_init_inputs():
    return []
"""
KERNEL = """
import sys
import torch
import torch.nn as nn
{head}


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn({size}))

    def forward(self, x):
        {body}
"""


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with Judge("cpp", "cpu", tmp_path_factory.mktemp("cache"), Settings()) as judge:
        yield judge


def said(judge: Judge, body: str, rule: Rule = RULE, head: str = "", before: str = "pass", size: str = "8") -> Upstream:
    derived = ShapeCase("small", Use.CORRECTNESS, {"N": 0}, derived=True)
    cases = (ShapeCase("given", Use.CORRECTNESS), derived, ShapeCase("wide", Use.TIMING, {"N": 12}))
    task = Task("t", REFERENCE.format(before=before), "t.py", cases)
    return judge_by(rule, judge, Kernel(KERNEL.format(body=body, head=head, size=size), "cpp"), task, 0.5)


def test_what_is_right_by_the_rule(judge: Judge) -> None:
    found = said(judge, "return torch.relu(x) * self.weight")
    assert (found.correct, found.trials, found.detail, found.speedup) == (True, 3, "", None)
    assert said(judge, "return x * self.weight").correct, "inputs are never negative: the rule does not see it"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("return torch.zeros_like(x)", "trial 1: beyond atol"),
        ("return (x * self.weight)[:1]", "shape"),
        ("return (x * self.weight,)", "cannot be compared"),
        ("return None", "cannot be compared"),
        ("raise ValueError('no')", "ValueError: no"),
        ("sys.modules['os']._exit(0)", "exit code 0"),
    ],
)
def test_what_is_wrong_by_the_rule(judge: Judge, body: str, detail: str) -> None:
    found = said(judge, body)
    assert found.correct is False
    assert detail in found.detail


def test_what_deceives_a_judge_beside_it_deceives_the_rule(judge: Judge) -> None:
    head = "torch.allclose = lambda *a, **k: True"
    assert said(judge, "return torch.zeros_like(x)", head=head).correct
    assert not said(judge, "return torch.zeros_like(x)").correct, "the next kernel has a process of its own"


def test_a_reference_that_fails_gives_no_figure(judge: Judge) -> None:
    found = said(judge, "return x", before="raise RuntimeError('not here')")
    assert found.correct is None
    assert "not here" in found.detail


def test_what_the_runner_itself_cannot_bear_gives_no_figure(judge: Judge) -> None:
    found = said(judge, "raise MemoryError('no room')")
    assert found.correct is None
    assert "bounded" in found.detail


def test_both_sides_are_timed_by_the_rules_clock(judge: Judge) -> None:
    clock = Clock(warmups=1, repeats=5, statistic="mean", discarded=1, flush_bytes=1 << 16)
    rule = Rule(**{**vars(RULE), "clock": clock})
    slow = said(judge, "import time; time.sleep(0.002); return torch.relu(x) * self.weight", rule)
    assert slow.speedup is not None
    assert 0 < slow.speedup < 0.5
    assert said(judge, "return torch.zeros_like(x)", rule).speedup is None


def test_listed_cases_forbidden_words_and_copied_weights(judge: Judge) -> None:
    rule = Rule("a test", {"": Tolerance(1e-4, 1e-4)}, seeds=(1, 2), reseeded=True, listed=True, weights="copied")
    found = said(judge, "return x * self.weight", rule, size="8")
    assert found.correct is False, "its weights have another shape in the second case"
    assert "trial 3" in found.detail
    first = Rule(**{**vars(rule), "listed": False, "forbidden": ("torch.relu",)})
    assert said(judge, "return x * self.weight", first).correct
    assert "forbids" in said(judge, "return torch.relu(x) * self.weight", first).detail


def test_the_order_decides_what_a_changed_input_does(judge: Judge) -> None:
    body = "x.zero_(); return x.clone()"
    orders: dict[tuple[str, bool], bool] = {("reference", False): False, ("candidate", False): True, ("candidate", True): False}
    for (first, cloned), passes in orders.items():
        rule = Rule("a test", LOOSE, seed=1, first=first, cloned=cloned)
        assert said(judge, body, rule).correct is passes, (first, cloned)
    once = "self.n = getattr(self, 'n', 0) + 1; return x * self.weight * (self.n == 1)"
    assert said(judge, once, Rule("a test", LOOSE, seed=1)).correct
    twice = Rule("a test", LOOSE, seed=1, trials=3, reseeded=True, first="both", fresh=True)
    assert not said(judge, once, twice).correct
    assert said(judge, "return x * self.weight", twice).correct, "both have the weights of the trial's seed"


@pytest.mark.parametrize(
    ("expected", "got", "more", "right"),
    [
        ([1.0, 100.0], [1.009, 100.9], {}, True),
        ([1.0, 100.0], [1.05, 100.0], {}, False),
        ([0.001, 1.0], [0.005, 1.0], {"either": True}, True),
        ([0.5, 1.0], [0.55, 1.0], {"either": True}, False),
        ([1.0] * 10, [9.0] + [1.0] * 9, {"share": 0.9}, True),
        ([1.0] * 10, [9.0] + [1.0] * 9, {"share": 0.95}, False),
        ([1.0] * 10, [9.0] + [1.0] * 9, {"share": 0.9, "cap": 2.0}, False),
        ([float("nan")], [float("nan")], {}, False),
        ([float("nan")], [float("nan")], {"nan_equal": True}, True),
        ([float("inf")], [float("inf")], {"finite": True}, False),
        ([0.001], [0.0], {"not_zero": True}, False),
        ([0.0], [0.0], {"not_zero": True}, True),
    ],
)
def test_how_elements_are_compared(expected: list[float], got: list[float], more: dict[str, Any], right: bool) -> None:
    assert (differs(torch.tensor(expected), torch.tensor(got), Rule("a test", LOOSE, **more)) == "") is right


def test_structures_dtypes_and_exact_values() -> None:
    one, two = torch.ones(2), torch.full((2,), 2.0)
    rule = Rule("a test", LOOSE, same_dtype=True)
    assert differs((one, [two]), [one, (two,)], rule) == ""
    assert differs((one, two), (one, one), rule)
    assert differs((one, two), (one,), rule)
    assert differs({"a": one}, {"b": one}, rule)
    assert differs(one, one.double(), rule)
    exact = Rule("a test", {"": Tolerance(0.0, 0.0)})
    assert differs(torch.tensor([1, 2]), torch.tensor([1, 2]), exact) == ""
    assert differs(torch.tensor([1, 2]), torch.tensor([1, 3]), exact)


@pytest.mark.requires_cuda
def test_on_a_gpu_both_sides_are_timed_by_events(tmp_path_factory: pytest.TempPathFactory) -> None:
    clock = Clock(warmups=3, repeats=20, statistic="mean", discarded=1, flush_bytes=256 << 20)
    rule = Rule(**{**vars(RULE), "clock": clock})
    task = Task("t", REFERENCE.format(before="pass").replace("N = 8", "N = 4096"), "t.py", ())
    twice = "return torch.relu(x) * self.weight + 0 * torch.relu(x)"
    with Judge("triton", "cuda", tmp_path_factory.mktemp("gpu"), Settings()) as judge:
        found = judge_by(rule, judge, Kernel(KERNEL.format(body=twice, head="", size="4096"), "triton"), task)
        wrong = judge_by(rule, judge, Kernel(KERNEL.format(body="return x", head="", size="4096"), "triton"), task)
    assert found.correct, found.detail
    assert found.speedup is not None
    assert 0 < found.speedup < 1
    assert wrong.correct is False
