"""The device path of backend ascend, whole: transfer, stages, the wire, timing, turns with the reference. Torch's CPU stands
where the NPU would be and the model of a core makes the launches; nothing else is different."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.errors import HarnessError
from kernelwright.tasks.records import Assurance, Kernel, ShapeCase, Stage, Status, Task, Use, Verdict

REFERENCE = """
import torch
import torch.nn as nn

ROWS = 8

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(128))

    def forward(self, x):
        return x * self.scale + x

def get_inputs():
    return [torch.randn(ROWS, 128)]

def get_init_inputs():
    return []
"""
KERNEL = '''
import torch
import torch.nn as nn
from kernelwright.evaluator.native import load

lib = load(ascend=r"""
#include "kernel_operator.h"
using namespace AscendC;

extern "C" __global__ __aicore__ void scaled(GM_ADDR x, GM_ADDR s, GM_ADDR y, uint32_t rows) {
  TPipe pipe;
  TQue<TPosition::VECIN, 2> in;
  TQue<TPosition::VECOUT, 1> out;
  GlobalTensor<float> xGm, sGm, yGm;
  xGm.SetGlobalBuffer((__gm__ float*)x, rows * 128);
  sGm.SetGlobalBuffer((__gm__ float*)s, 128);
  yGm.SetGlobalBuffer((__gm__ float*)y, rows * 128);
  pipe.InitBuffer(in, 2, 512);
  pipe.InitBuffer(out, 1, 512);
  for (uint32_t row = GetBlockIdx(); row < rows; row += GetBlockNum()) {
    LocalTensor<float> a = in.AllocTensor<float>(), b = in.AllocTensor<float>();
    DataCopy(a, xGm[row * 128], 128);
    DataCopy(b, sGm, 128);
    in.EnQue(a);
    in.EnQue(b);
    a = in.DeQue<float>();
    b = in.DeQue<float>();
    LocalTensor<float> c = out.AllocTensor<float>();
    Mul(c, a, b, 128);
    Add(c, c, a, 128);
    in.FreeTensor(a);
    in.FreeTensor(b);
    out.EnQue(c);
    c = out.DeQue<float>();
    DataCopy(yGm[row * 128], c, 128);
    out.FreeTensor(c);
  }
}
""")

KEPT = {}

class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(128))

    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.scaled[4](x, self.scale, y, x.shape[0])
        return y
'''
CASES = (
    ShapeCase("small", Use.CORRECTNESS, {"ROWS": 8}),
    ShapeCase("large", Use.CORRECTNESS, {"ROWS": 24}),
    ShapeCase("timed", Use.TIMING, {"ROWS": 32}),
    ShapeCase("other", Use.HELD_OUT, {"ROWS": 40}),
)
TASK = Task("test/custom/scaled_sum", REFERENCE, "scaled_sum.py", CASES)
TIMED = (Use.CORRECTNESS, Use.TIMING)
LAST = "        return y\n"


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    settings = Settings(record=True, timing_seconds=1.0, min_blocks=3, max_blocks=3)
    with Judge("standing_npu:StandIn", "npu:1", tmp_path_factory.mktemp("cache"), settings) as made:
        yield made


def judged(judge: Judge, source: str, *uses: Use) -> Verdict:
    """``uses``: of the cases, where not all are judged."""
    task = TASK if not uses else replace(TASK, cases=tuple(case for case in CASES if case.use in uses))
    return judge.judge(Kernel(source, "ascend"), task)


def test_a_right_kernel_passes_on_the_device_and_is_timed_against_the_reference(judge: Judge) -> None:
    verdict = judged(judge, KERNEL)
    assert verdict.status is Status.PASSED, verdict.reason
    assert (verdict.assurance, verdict.stage) == (Assurance.DEVICE, Stage.HELD_OUT)
    assert {case.case for case in verdict.cases if case.status == "passed"} == {"small", "large", "timed", "other"}
    assert verdict.evidence["sanitize"]["launches"] == 2, "simulated first, blocks in both orders"
    assert verdict.evidence["chip"]["name"] == verdict.environment["device"] == "torch's CPU stands in for an NPU"
    assert (verdict.environment["kind"], verdict.environment["memory_gbps"]) == ("npu", None)
    assert set(verdict.evidence["oracle"].values()) == {"float64"}
    assert verdict.evidence["robust"]["strided"] == verdict.evidence["robust"]["unaligned"] == "passed"

    assert verdict.timing is not None
    assert set(verdict.timing.baselines) == {"eager"}
    assert set(verdict.timing.speedup) == {"eager", "best"}
    assert verdict.timing.roofline_fraction is None
    assert any("whose L2 nobody flushed; each side in processes of its own" in note for note in verdict.timing.cases[0].notes)
    sides = verdict.evidence["record"]["timing"]["timed/timing/float32"]["sides"]
    assert set(sides) == {"eager", "candidate"}
    assert {len(side["readings"]) for side in sides.values()} == {2 * len(sides["eager"]["spacers_us"])}


def test_every_layer_of_the_sandbox_that_works_here_is_around_the_runner(judge: Judge) -> None:
    plain = judge.server(dict(judge.backend.run_entry("cpu"))).layers
    found = judge.server(dict(judge.backend.run_entry("npu:1"))).layers
    layers = ("namespaces", "landlock", "seccomp")
    assert {layer: found[f"npu_{layer}"] for layer in layers} == {layer: plain[layer] for layer in layers}


def test_wrong_values_are_incorrect(judge: Judge) -> None:
    """In the rehearsal only how a kernel runs is looked at; what it gives is compared with the oracle on the chip."""
    verdict = judged(judge, KERNEL.replace("Add(c, c, a, 128)", "Sub(c, c, a, 128)"), Use.CORRECTNESS)
    assert (verdict.status, verdict.stage) == (Status.INCORRECT, Stage.SMOKE), verdict.reason


def test_what_the_model_stops_is_never_run_there(judge: Judge) -> None:
    verdict = judged(judge, KERNEL.replace("DataCopy(yGm[row * 128]", "DataCopy(yGm[row * 128 + 64]"), Use.CORRECTNESS)
    assert (verdict.status, verdict.stage) == (Status.RUNTIME_ERROR, Stage.SANITIZE), verdict.reason
    assert "chip" not in verdict.evidence


@pytest.mark.parametrize(
    ("what", "said"),
    [("x.copy_(y)", "input 0 changed in place"), ("self.scale.data.copy_(y[0])", "scale is changed in place")],
)
def test_what_is_done_to_inputs_and_parameters_is_seen(judge: Judge, what: str, said: str) -> None:
    """They are copies on the chip: what a call did to them is brought back."""
    verdict = judged(judge, KERNEL.replace(LAST, f"        {what}\n{LAST}"), Use.CORRECTNESS)
    assert verdict.status is Status.INCORRECT, verdict.reason
    assert said in verdict.reason


def test_library_work_on_the_device_is_caught(judge: Judge) -> None:
    verdict = judged(judge, KERNEL.replace(LAST, "        return y + 0.0\n"), Use.CORRECTNESS)
    assert verdict.status is Status.CHEATING, verdict.reason
    assert verdict.evidence["rule"] == "library"
    assert "aten::add" in verdict.reason


def test_an_output_of_an_earlier_call_is_caught_where_it_is_kept(judge: Judge) -> None:
    source = KERNEL.replace("y = torch.empty_like(x)", "y = KEPT.setdefault(tuple(x.shape), torch.empty_like(x))")
    verdict = judged(judge, source, Use.CORRECTNESS)
    assert verdict.status is Status.INCORRECT, verdict.reason
    assert verdict.stage is Stage.ROBUST


def test_timed_outputs_are_compared(judge: Judge) -> None:
    """Right wherever it is looked at, and one row short when many calls follow one another on the timed shape."""
    short = "lib.scaled[4](x, self.scale, y, x.shape[0] - (x.shape[0] == 32))"
    source = KERNEL.replace("lib.scaled[4](x, self.scale, y, x.shape[0])", short)
    verdict = judged(judge, source, *TIMED)
    assert (verdict.status, verdict.stage) == (Status.INCORRECT, Stage.TIME), verdict.reason


def test_a_triton_kernel_is_left_to_the_simulation(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    from kernelwright.evaluator.backends.backend import Built

    monkeypatch.setattr(judge.backend, "build", lambda kernel, cache: Built(ok=True, evidence={"triton": {"functions": []}}))
    verdict = judged(judge, KERNEL, Use.CORRECTNESS)
    assert verdict.status is Status.UNSUPPORTED, verdict.reason
    assert "use --device cpu" in verdict.reason


def test_an_npu_that_is_gone_is_nobody_s_fault(judge: Judge) -> None:
    """torch_npu is not here, so that opening one fails as it would where the driver does not answer."""
    settings = replace(judge.settings, sanitize="off", timing=False)
    with Judge("standing_npu:Gone", "npu", judge.cache, settings) as other, pytest.raises(HarnessError) as gone:
        judged(other, KERNEL, Use.CORRECTNESS)
    assert "the NPU cannot be used in a runner" in gone.value.message
    assert "torch_npu opens no NPU" in gone.value.message
    assert "npu-smi info" in gone.value.remedy
