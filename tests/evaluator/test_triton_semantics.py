"""Triton launches executed by their IR: bfloat16 is judged with no GPU, faults and races are named with their line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kernelwright.evaluator.backends.triton import semantics_problem
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Kernel, Stage, Status, Task, Verdict

pytestmark = pytest.mark.requires_ttsem

REFERENCE = """
import torch, torch.nn as nn
N = 1000
class Model(nn.Module):
    def forward(self, x):
        return EXPRESSION
def get_inputs():
    return [torch.rand(N)]
def get_init_inputs():
    return []
"""

FRAME = """
import torch, torch.nn as nn, triton, triton.language as tl

@triton.jit
def k(x, o, c, n, B: tl.constexpr):
    p = tl.program_id(0)
    i = p * B + tl.arange(0, B)
    m = i < n
    BODY

class ModelNew(nn.Module):
    def forward(self, x):
        o = torch.OUTPUT
        c = torch.zeros(1, dtype=torch.int32)
        LAUNCH
        return o
"""
LINE = 9
"""Of the first line of BODY."""
LAUNCH = "k[(triton.cdiv(x.numel(), 128),)](x, o, c, x.numel(), B=128)"
PLAIN = "v = tl.load(x + i, mask=m)\ntl.store(o + i, v * 2.0, mask=m)"


def kernel(body: str, output: str = "empty_like(x)", launch: str = LAUNCH) -> Kernel:
    source = FRAME.replace("BODY", body.replace("\n", "\n    ")).replace("OUTPUT", output)
    return Kernel(source.replace("LAUNCH", launch.replace("\n", "\n        ")), "triton")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("semantics")


def task_of(folder: Path, expression: str = "x * 2.0", dtype: str = "bfloat16") -> Task:
    path = folder / f"t{abs(hash(expression))}.py"
    path.write_text(REFERENCE.replace("EXPRESSION", expression))
    task = load_task(str(path))
    return replace(task, cases=tuple(replace(case, dtypes=(dtype,)) for case in task.cases))


@pytest.fixture(scope="module")
def judge(folder: Path) -> Iterator[Judge]:
    with Judge("triton", "cpu", folder / "cache", Settings(timing=False)) as found:
        assert found.by_ir, semantics_problem()
        yield found


def statuses(verdict: Verdict) -> set[tuple[str, str]]:
    return {(case.dtype, case.status) for case in verdict.cases}


def test_bfloat16_is_right_to_its_last_bit(judge: Judge, folder: Path) -> None:
    verdict = judge.judge(kernel(PLAIN), task_of(folder))
    assert verdict.passed, verdict.reason
    assert statuses(verdict) == {("bfloat16", "passed")}
    assert all(case.max_error == 0.0 for case in verdict.cases)
    assert verdict.evidence["simulator"] == "ttsem 0.1.0"


SOFTMAX = """
import torch, torch.nn as nn, triton, triton.language as tl

@triton.jit
def softmax(x, o, n, B: tl.constexpr):
    row = tl.program_id(0) * n
    i = tl.arange(0, B)
    v = tl.load(x + row + i, mask=i < n, other=-float("inf")).to(tl.float32)
    e = tl.exp(v - tl.max(v, axis=0))
    tl.store(o + row + i, e / tl.sum(e, axis=0), mask=i < n)

class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        o, n = torch.empty_like(x), x.shape[-1]
        softmax[(x.numel() // n,)](x, o, n, B=triton.next_power_of_2(n))
        return o
"""


def test_the_cases_of_a_library_task_for_a_gpu_are_judged(judge: Judge) -> None:
    verdict = judge.judge(Kernel(SOFTMAX, "triton"), load_task("softmax"))
    assert verdict.passed, verdict.reason
    assert statuses(verdict) == {("float32", "passed"), ("bfloat16", "passed")}


def test_wrong_in_bfloat16_alone(judge: Judge, folder: Path) -> None:
    body = "v = tl.load(x + i, mask=m)\nif v.dtype == tl.bfloat16:\n    v = v * 1.05\ntl.store(o + i, v * 2.0, mask=m)"
    verdict = judge.judge(kernel(body), task_of(folder))
    assert verdict.status is Status.INCORRECT
    float32 = judge.judge(kernel(body.replace("v * 1.05", "v * 1.0")), task_of(folder, dtype="float32"))
    assert float32.passed, float32.reason


def test_narrow_types_inside_a_float32_kernel_are_computed_right(judge: Judge, folder: Path) -> None:
    """The interpreter adds the bits of bfloat16 numbers."""
    body = "v = tl.load(x + i, mask=m)\nh = v.to(tl.bfloat16)\nl = v - h.to(tl.float32)\ns = (h + h).to(tl.float32) + l + l"
    verdict = judge.judge(kernel(f"{body}\ntl.store(o + i, s, mask=m)"), task_of(folder, dtype="float32"))
    assert verdict.passed, verdict.reason


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("v = tl.load(x + i)\ntl.store(o + i, v * 2.0, mask=m)", f"kernel line {LINE}: load of"),
        ("v = tl.load(x + i, mask=m)\ntl.store(o + i, v * 2.0)", f"kernel line {LINE + 1}: store of"),
        ("v = tl.load(x + i, mask=m)\ntl.store(o + i * 0, v, mask=m)", f"kernel line {LINE + 1}: "),
    ],
    ids=["load", "store", "two values to one address"],
)
def test_faults_are_named_with_their_line(judge: Judge, folder: Path, body: str, words: str) -> None:
    verdict = judge.judge(kernel(body), task_of(folder))
    assert verdict.status is Status.RUNTIME_ERROR
    assert words in verdict.reason


def test_a_fault_that_is_caught_is_a_fault(judge: Judge, folder: Path) -> None:
    launch = f"try:\n    {LAUNCH}\nexcept Exception:\n    pass"
    verdict = judge.judge(kernel("v = tl.load(x + i)\ntl.store(o + i, v * 2.0, mask=m)", launch=launch), task_of(folder))
    assert verdict.status is Status.RUNTIME_ERROR
    assert "outside every tensor" in verdict.reason


SUM = "v = tl.sum(tl.load(x + i, mask=m, other=0.0).to(tl.float32), axis=0)\n"


def test_races_are_found_and_atomics_are_none(judge: Judge, folder: Path) -> None:
    task = task_of(folder, "x.float().sum().reshape(1)")
    racing = SUM + "tl.store(o, tl.load(o) + v)"
    verdict = judge.judge(kernel(racing, "zeros(1)"), task)
    assert (verdict.status, verdict.stage) == (Status.INCORRECT, Stage.SANITIZE)
    assert f"kernel line {LINE + 1}" in verdict.reason
    honest = judge.judge(kernel(SUM + "tl.atomic_add(o, v)", "zeros(1)"), task)
    assert honest.passed, honest.reason


def test_programs_that_atomics_order_do_not_race(judge: Judge, folder: Path) -> None:
    body = SUM + (
        "tl.store(o + 1 + p, v)\n"
        "done = tl.atomic_add(c, 1)\n"
        "if done == tl.num_programs(0) - 1:\n"
        "    j = tl.arange(0, 8)\n"
        "    tl.store(o, tl.sum(tl.load(o + 1 + j, mask=j < tl.num_programs(0), other=0.0), axis=0))"
    )
    launch = f"o = torch.zeros(64)\n{LAUNCH}\no = o[:1].clone()"
    verdict = judge.judge(kernel(body, launch=launch), task_of(folder, "x.float().sum().reshape(1)"))
    assert verdict.passed, verdict.reason


def test_work_of_the_library_in_a_grid_is_seen(judge: Judge, folder: Path) -> None:
    launch = LAUNCH.replace("(triton.cdiv(x.numel(), 128),)", "lambda meta: (o.copy_(x * 2.0) is o and 8,)")
    body = "tl.store(c, 1, mask=p == 0)"
    verdict = judge.judge(kernel(body, launch=launch), task_of(folder))
    assert verdict.status is Status.CHEATING, verdict.reason


def test_work_of_the_library_in_an_argument_is_seen(judge: Judge, folder: Path) -> None:
    """An integer that works when it is asked for its value; it claims to be torch's own."""
    launch = (
        "class Size(int):\n"
        "    __module__ = 'torch'\n"
        "    def __index__(self): return int(o.copy_(x * 2.0) is o)\n"
        "    __int__ = __eq__ = __mod__ = __array__ = lambda self, *a, **k: self.__index__()\n"
        "    __hash__ = int.__hash__\n" + LAUNCH.replace("x.numel(), B", "Size(x.numel()), B")
    )
    verdict = judge.judge(kernel("tl.store(c, 1, mask=(p == 0) & (n > 0))", launch=launch), task_of(folder))
    assert not verdict.passed, verdict.reason
    assert verdict.status in (Status.CHEATING, Status.INCORRECT, Status.RUNTIME_ERROR, Status.UNSUPPORTED), verdict.reason


def test_cases_for_the_cpu_are_judged_too(judge: Judge, folder: Path) -> None:
    task = task_of(folder)
    first, *others = task.cases
    task = replace(task, cases=(replace(first, device="cpu"), *(replace(case, device="cuda") for case in others)))
    verdict = judge.judge(kernel(PLAIN), task)
    assert verdict.passed, verdict.reason
    assert first.name in {case.case for case in verdict.cases}


def test_what_is_not_modelled_is_interpreted_and_says_so(judge: Judge, folder: Path) -> None:
    body = "a = tl.load(c).to(tl.pointer_type(tl.float32))\nv = tl.load(a + i, mask=m)\ntl.store(o + i, v * 2.0, mask=m)"
    launch = LAUNCH.replace("c,", "torch.tensor([x.data_ptr()]),")
    source = kernel(body, launch=launch).source + "# bfloat16\n"
    verdict = judge.judge(Kernel(source, "triton"), task_of(folder, dtype="float32"))
    assert verdict.passed, verdict.reason
    assert "interpreter" in verdict.evidence["sanitize"]["bounds"]
    narrow = judge.judge(Kernel(source.replace("float32", "bfloat16"), "triton"), task_of(folder))
    assert {status for _, status in statuses(narrow)} == {"skipped"}
    assert "pointers of integers" in narrow.cases[0].detail


@pytest.mark.parametrize(
    "patch",
    [
        "sys.modules['ttsem.ops'].OPS['tt.store'] = lambda *a: []",
        "sys.modules['ttsem.interp'].OPS = {}",
        "sys.modules['ttsem.memory'].Memory.store = lambda *a: None",
        "sys.modules['ttsem.memory'].RMW['max'] = sys.modules['ttsem.memory'].RMW['min']",
        "sys.modules['ttsem.ops'].OPS['tt.unheard_of'] = print",
    ],
)
def test_a_simulator_that_is_changed_is_cheating(judge: Judge, folder: Path, patch: str) -> None:
    late = f"if x.numel() > 64:\n    import sys\n    {patch}"
    verdict = judge.judge(kernel(PLAIN, launch=f"{LAUNCH}\n{late}"), task_of(folder))
    assert (verdict.status, verdict.evidence.get("rule")) == (Status.CHEATING, "patching"), verdict.reason
