"""Triton-Ascend kernels through the cascade, by the vendor's compiler and on the host."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from triton_ascend import FOUND, PLACE, REDTEAM, SOFTMAX

from kernelwright.agent.cli.doctor import _ascend
from kernelwright.agent.prompt.knowledge import PROMPTS, solves
from kernelwright.evaluator import selftest
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.specimens import load_corpus
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, Kernel, Stage, Status, Verdict

pytestmark = pytest.mark.requires_triton_ascend

EXEMPLARS = {"matmul_triton": "matmul/gemm", "normalization_triton": "normalization/layer_norm"}
SOFT = str(REDTEAM / "tasks" / "row_softmax")
FOLDER = PROMPTS / "backends" / "ascend" / "exemplars"
FUNCTIONS = {
    "tl.exp(v)": "torch.exp(x)",
    "tl.exp2(v)": "torch.exp2(x)",
    "tl.log(v + 4)": "torch.log(x + 4)",
    "tl.log2(v + 4)": "torch.log2(x + 4)",
    "tl.sqrt(v + 4)": "torch.sqrt(x + 4)",
    "tl.rsqrt(v + 4)": "torch.rsqrt(x + 4)",
    "tl.sin(v)": "torch.sin(x)",
    "tl.cos(v)": "torch.cos(x)",
    "tl.erf(v)": "torch.erf(x)",
    "tl.sigmoid(v)": "torch.sigmoid(x)",
    "tl.abs(v)": "torch.abs(x)",
    "tl.floor(v)": "torch.floor(x)",
    "tl.maximum(v, 0.5)": "x.clamp_min(0.5)",
    "v - tl.max(v, axis=0)": "x - x.amax(-1, keepdim=True)",
    "v - tl.min(v, axis=0)": "x - x.amin(-1, keepdim=True)",
    "v + tl.argmax(v, axis=0)": "x + x.argmax(-1, keepdim=True)",
    "v + tl.argmin(v, axis=0)": "x + x.argmin(-1, keepdim=True)",
    "tl.cumsum(v, 0)": "x.cumsum(-1)",
    "tl.cumsum(v, 0, reverse=True)": "x.flip(-1).cumsum(-1).flip(-1)",
    "tl.cumprod(v * 0.01 + 1, 0)": "(x * 0.01 + 1).cumprod(-1)",
    "tl.reshape(tl.cumsum(tl.reshape(v, (16, 16)), 1), (256,))": "x.view(-1, 16, 16).cumsum(-1).view(-1, 256)",
    "tl.reshape(tl.cumsum(tl.reshape(v, (16, 16)), 0), (256,))": "x.view(-1, 16, 16).cumsum(-2).view(-1, 256)",
    "libdevice.tanh(v)": "torch.tanh(x)",
    "libdevice.atan(v) + libdevice.log1p(tl.abs(v))": "torch.atan(x) + torch.log1p(x.abs())",
    "libdevice.pow(tl.abs(v) + 0.5, v)": "(x.abs() + 0.5).pow(x)",
    "libdevice.relu(v) + libdevice.tan(v * 0.1)": "torch.relu(x) + torch.tan(x * 0.1)",
    "tl.where(v > 0, v, v * 0.1)": "torch.where(x > 0, x, x * 0.1)",
    "v.to(tl.float16).to(tl.float32)": "x.half().float()",
    "v.to(tl.bfloat16).to(tl.float32)": "x.bfloat16().float()",
    "v.to(tl.int32).to(tl.float32)": "x.int().float()",
}
"""Expression of a jitted function -> what torch computes of a row of 256."""
REFERENCE = """
import torch
from torch import nn

rows = 6


class Model(nn.Module):
    def forward(self, x):
        return {expression}


def get_inputs():
    return [torch.randn(rows, 256)]


def get_init_inputs():
    return []
"""
ROWS = """
import torch
import torch.nn as nn
import triton
import triton.language as tl
import triton.language.extra.ascend.libdevice as libdevice


@triton.jit
def rows_of(x, o, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at)
    tl.store(o + at, {expression})


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        out = torch.empty_like(x)
        rows_of[(x.shape[0],)](x, out, BLOCK=256)
        return out
"""


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLACE, str(FOUND))
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def judge(environment: None, cache: Path) -> Iterator[Judge]:
    with Judge("ascend", "cpu", cache, Settings()) as made:
        yield made


def judged(judge: Judge, text: str, task: str = SOFT) -> Verdict:
    return judge.judge(Kernel(text, "ascend"), load_task(task))


def changed(*pairs: tuple[str, str]) -> str:
    text = SOFTMAX
    for said, instead in pairs:
        assert said in text
        text = text.replace(said, instead)
    return text


def test_doctor_says_that_it_works() -> None:
    (row,) = [row for row in _ascend() if row["what"] == "Triton-Ascend"]
    assert row["ok"], row["problem"]
    assert "triton-ascend 3.2.0" in row["found"]


@pytest.mark.parametrize("name", EXEMPLARS)
def test_an_exemplar_passes(name: str, judge: Judge) -> None:
    assert solves("ascend", name, load_task(EXEMPLARS[name]))
    verdict = judged(judge, (FOLDER / f"{name}.py").read_text(), EXEMPLARS[name])
    assert verdict.status is Status.PASSED, verdict.reason
    assert (verdict.assurance, verdict.held_out, verdict.timing) == (Assurance.SIMULATED, "passed", None)
    launches = verdict.evidence["compiled"]["launches"]
    assert all(launch["instructions"]["set_flag"] >= 1 for launch in launches)
    assert max(launch.get("ub_bytes", 0) for launch in launches) <= 196608
    if name == "matmul_triton":
        assert all(launch["l0c_bytes"] == 64 * 64 * 4 for launch in launches)


@pytest.mark.slow
def test_no_cheat_passes_and_no_honest_kernel_is_accused(cache: Path) -> None:
    corpus = [s for s in load_corpus(REDTEAM, "ascend") if "import triton" in s.source]
    report = selftest.run(corpus, "cpu", cache)
    assert [(row.name, row.status, row.reason) for row in report.rows if not row.ok] == []
    assert len(report.rows) == len(corpus) >= 16
    assert (report.detection, report.false_alarms) == (1.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("expression", FUNCTIONS)
def test_a_function_is_what_torch_computes(expression: str, judge: Judge, tmp_path: Path) -> None:
    path = tmp_path / "reference.py"
    path.write_text(REFERENCE.replace("{expression}", FUNCTIONS[expression]))
    verdict = judge.judge(Kernel(ROWS.replace("{expression}", expression), "ascend"), load_task(str(path)))
    assert verdict.status is Status.PASSED, verdict.reason


def test_what_the_vendors_compiler_refuses_is_told_in_its_words(judge: Judge) -> None:
    verdict = judged(judge, changed(("BLOCK=triton.next_power_of_2(n)", "BLOCK=65536")))
    assert (verdict.status, verdict.stage) == (Status.BUILD_FAILED, Stage.BUILD)
    bits = int(verdict.reason.partition("ub overflow, requires ")[2].split()[0])
    assert bits > 196608 * 8
    assert "1572864 bits available" in verdict.reason
    assert "Ub overflow detected" in verdict.evidence["compiler"]


def test_what_triton_refuses_is_told_with_the_line(judge: Judge) -> None:
    verdict = judged(judge, changed(("tl.exp(v", "tl.exponential(v")))
    assert verdict.status is Status.BUILD_FAILED
    assert "has no attribute 'exponential'" in verdict.reason
    assert "e = tl.exponential(v" in verdict.evidence["compiler"]


def test_what_the_host_cannot_run_is_unsupported(judge: Judge) -> None:
    verdict = judged(judge, changed(("tl.sum(e, axis=0)", "tl.sum(e, axis=0) + 0 * tl.sort(e)")))
    assert (verdict.status, verdict.stage) == (Status.UNSUPPORTED, Stage.BUILD)
    assert "it calls triton_sort of the vendor's library" in verdict.reason


def test_a_launch_while_the_module_loads_does_not_build(judge: Judge) -> None:
    verdict = judged(judge, SOFTMAX + "\nsoftmax[(1,)](torch.ones(1, 4), torch.empty(1, 4), 4, BLOCK=4)\n")
    assert verdict.status is Status.BUILD_FAILED
    assert "launch in forward" in verdict.reason


def test_narrow_floats_go_through_the_cube_unit(judge: Judge, tmp_path: Path) -> None:
    tasks = REDTEAM / "tasks" / "matmul"
    for path in tasks.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("dtypes: [float32]", "dtypes: [float16, bfloat16]"))
    text = (REDTEAM / "ascend" / "honest" / "triton_matmul.py").read_text()
    verdict = judged(judge, text, str(tmp_path))
    assert verdict.status is Status.PASSED, verdict.reason
    kinds = {launch["signature"]["a"] for launch in verdict.evidence["compiled"]["launches"]}
    assert kinds == {"*fp16", "*bf16"}


def test_a_wrong_value_is_incorrect(judge: Judge) -> None:
    verdict = judged(judge, changed(("v - tl.max(v, axis=0)", "v")))
    assert verdict.status is Status.INCORRECT, verdict.reason


def test_a_fallback_to_the_library_where_a_launch_waits_is_seen(judge: Judge) -> None:
    """A runner that swallows the wait answers from the library once; the answer is not taken, and the call is seen."""
    launch = "        softmax[(rows,)](x, out, n, BLOCK=triton.next_power_of_2(n))\n"
    fallback = "        except RuntimeError:\n            return torch.softmax(x, -1)\n"
    text = changed((launch, f"        try:\n    {launch}{fallback}"))
    verdict = judged(judge, text)
    assert verdict.status is Status.CHEATING
    assert "_softmax" in verdict.reason


def test_a_runner_that_asks_for_nonsense_is_not_believed(judge: Judge) -> None:
    text = SOFTMAX + (
        "\nimport gc\nfrom kernelwright.evaluator.backends import ascend_launches\n"
        "for one in gc.get_objects():\n    if isinstance(one, ascend_launches.Launches):\n"
        "        one._wanted['x'] = {'function': '../../etc'}\n"
    )
    verdict = judged(judge, text)
    assert verdict.status in (Status.CHEATING, Status.BUILD_FAILED)
    assert not verdict.passed


def test_the_compiler_sees_no_files_of_the_host(cache: Path, tmp_path: Path) -> None:
    """A jitted function calls whatever it reaches by attributes while it is compiled: Python's `open`, for one."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    opened = f'    tl.static_assert(tl.core.builtins.open("{secret}".value).read() == "")\n'
    text = changed(("    row = tl.program_id(0)\n", opened + "    row = tl.program_id(0)\n"))
    with Judge("ascend", "cpu", cache, Settings(screen=False, sandbox="auto")) as judge:
        verdict = judged(judge, text)
    assert verdict.status is Status.BUILD_FAILED
    assert "PermissionError" in verdict.evidence["compiler"] or "FileNotFoundError" in verdict.evidence["compiler"]


def test_a_second_judging_compiles_nothing_again(judge: Judge) -> None:
    first = judged(judge, SOFTMAX)
    again = judged(judge, SOFTMAX)
    assert first.passed, first.reason
    assert again.passed, again.reason
    assert math.fsum(launch["compile_seconds"] for launch in again.evidence["compiled"]["launches"]) == 0


def test_double_buffering_can_be_turned_off(judge: Judge) -> None:
    loop = (
        "    for row in range(tl.program_id(0), rows, 4):\n        cols = tl.arange(0, BLOCK)\n"
        '        v = tl.load(x + row * n + cols, mask=cols < n, other=-float("inf"))\n'
        "        e = tl.exp(v - tl.max(v, axis=0))\n"
        "        tl.store(o + row * n + cols, e / tl.sum(e, axis=0), mask=cols < n)\n\n\n"
    )
    head, _, tail = SOFTMAX.partition("    row = tl.program_id(0)\n")
    text = head.replace("(x, o, n,", "(x, o, rows, n,") + loop + tail[tail.index("class ModelNew") :]
    text = text.replace("softmax[(rows,)](x, out, n,", "softmax[(4,)](x, out, rows, n,")
    taken = []
    for option in ("", ", multibuffer=False"):
        verdict = judged(judge, text.replace("next_power_of_2(n))", f"next_power_of_2(n){option})"))
        assert verdict.passed, verdict.reason
        taken.append(max(launch["ub_bytes"] for launch in verdict.evidence["compiled"]["launches"]))
    assert taken[1] < taken[0]
    verdict = judged(judge, text.replace("next_power_of_2(n))", "next_power_of_2(n), unit_flag=True)"))
    assert verdict.status is Status.RUNTIME_ERROR
    assert "the option 'unit_flag'" in verdict.reason
