"""What a case expects and compares: state and guard bands beside the outputs, and an oracle that cannot be float64."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plain import kernel, task

from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.runner import cases
from kernelwright.evaluator.runner.arena import Arena
from kernelwright.evaluator.runner.cases import Case
from kernelwright.tasks.records import Status, Task

NORM = {"forward": "return self.n(x)", "init": "self.n = nn.BatchNorm1d(COLS)"}


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def training(folder: Path, **more: str) -> Task:
    """The same in training mode."""
    return replace(task(folder, **more), training=True)


class Shared:
    """A case and its arenas, mapped as a runner maps them."""

    def __init__(self, found: Task) -> None:
        self.case = Case(found, {}, "float32", "cpu", None, 7)
        self.facts = self.case.describe()
        fds = [os.dup(fd) for fd in self.case.descriptors]
        self.arenas = {
            entry["name"]: Arena.attach(entry["arena"], [fd])
            for entry, fd in zip(self.facts["arenas"], fds, strict=True)
        }

    def parameter(self, name: str) -> torch.Tensor:
        return self.arenas["parameters"].tensor(self.facts["parameters"][name])

    def input(self, index: int = 0) -> torch.Tensor:
        return self.arenas["inputs"].tensor(self.facts["specs"][index])

    def output(self, index: int = 0) -> torch.Tensor:
        return self.arenas["outputs"].tensor(self.facts["output_specs"][index])


def test_parameters_and_buffers_that_the_reference_leaves_alone_may_not_change(tmp_path: Path) -> None:
    shared = Shared(task(tmp_path, **NORM))
    assert shared.case.compare_state(None) == []
    for name in ("n.weight", "n.running_var", "n.num_batches_tracked"):
        before = shared.parameter(name).clone()
        shared.parameter(name).view(-1)[-1] += 1
        assert [p for p in shared.case.compare_state(None) if p.startswith(name) and "leaves it alone" in p]
        shared.parameter(name).copy_(before)
    assert shared.case.compare_state(None) == []


def test_buffers_that_the_reference_changes_must_change_likewise(tmp_path: Path) -> None:
    shared = Shared(training(tmp_path, **NORM))
    state = shared.case.expected.state
    assert set(state) == {"n.running_mean", "n.running_var", "n.num_batches_tracked"}
    problems = shared.case.compare_state(None)
    assert len(problems) == 3, "left alone, they are wrong"
    assert all("wrongly" in p for p in problems)
    for name in state:
        shared.parameter(name).copy_(state[name][0])
    assert shared.case.compare_state(None) == []
    shared.parameter("n.running_mean").mul_(1.01)
    assert len(shared.case.compare_state(None)) == 1


def test_state_is_put_back_before_every_draw(tmp_path: Path) -> None:
    shared = Shared(training(tmp_path, **NORM))
    before = shared.parameter("n.running_mean").clone()
    for name, (eager, _) in shared.case.expected.state.items():
        shared.parameter(name).copy_(eager)
    assert shared.case.draw(3, 1.0, "", False)
    assert torch.equal(shared.parameter("n.running_mean"), before)
    assert int(shared.parameter("n.num_batches_tracked")) == 0
    assert int(shared.case.expected.state["n.num_batches_tracked"][0]) == 1, "each draw starts from the same state"


UPDATE = """
extern "C" void norm(const float* x, const float* w, const float* b, float* mean, float* var, int64_t* count, float* y,
                     int64_t rows, int64_t cols) {
  *count += 1;
  for (int64_t j = 0; j < cols; ++j) {
    double s = 0, q = 0;
    for (int64_t i = 0; i < rows; ++i) s += x[i * cols + j];
    double m = s / rows;
    for (int64_t i = 0; i < rows; ++i) q += (x[i * cols + j] - m) * (x[i * cols + j] - m);
    mean[j] = 0.9f * mean[j] + 0.1f * (float)m;
    var[j] = 0.9f * var[j] + 0.1f * (float)(q / (rows - 1));
    for (int64_t i = 0; i < rows; ++i) y[i * cols + j] = (x[i * cols + j] - m) / __builtin_sqrt(q / rows + 1e-5) * w[j] + b[j];
  }
}
"""
CALL = (
    "if x.shape[1] != 96: raise OutsideEnvelope('96 columns')\ny = torch.empty(x.shape)\nx = x.contiguous()\nn = self.n\n"
    "lib.norm(x, n.weight, n.bias, MEAN, n.running_var, n.num_batches_tracked, y, x.shape[0], x.shape[1])\nreturn y"
)


@pytest.mark.parametrize(("mean", "status"), [("n.running_mean", Status.PASSED), ("n.running_mean.clone()", Status.INCORRECT)])
def test_kernel_must_update_running_statistics(bare_judge: Judge, tmp_path: Path, mean: str, status: Status) -> None:
    mine = kernel(CALL.replace("MEAN", mean), UPDATE, NORM["init"].replace("COLS", "96"))
    verdict = bare_judge.judge(mine, training(tmp_path, **NORM))
    assert verdict.status is status, verdict.reason
    if status is Status.INCORRECT:
        assert "n.running_mean is changed in place, wrongly" in verdict.reason


@pytest.mark.parametrize("arena", ["inputs", "parameters"])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_byte_beside_a_tensor_is_seen(tmp_path: Path, arena: str, side: int) -> None:
    shared = Shared(task(tmp_path, **NORM))
    spec = shared.facts["specs"][0] if arena == "inputs" else shared.facts["parameters"]["n.bias"]
    size = shared.input().numel() * 4 if arena == "inputs" else 96 * 4
    at = spec["offset"] - 1 if side < 0 else spec["offset"] + size
    for distance in (0, 63, 2000):
        where = at + side * distance
        shared.arenas[arena].raw(where, where + 1).fill_(0)
        assert [p for p in shared.case.compare_state(None) if f"beside the {arena}" in p], distance
        assert shared.case.compare_state(None) == [], "mended, so that the next kernel is not blamed"


def test_inputs_may_not_change_bit_for_bit(tmp_path: Path) -> None:
    shared = Shared(task(tmp_path, "return x + 1"))
    assert shared.case.compare_inputs(None) == []
    shared.input().view(-1)[5] = torch.nextafter(shared.input().view(-1)[5], torch.tensor(9.0))
    assert [c["input"] for c in shared.case.compare_inputs(None)] == [0]


def test_an_output_that_is_not_written_is_wrong(tmp_path: Path) -> None:
    shared = Shared(task(tmp_path, "return x * 0, (x > 9).long(), x > 9"))
    shared.case.poison_outputs()
    assert [r["passed"] for r in shared.case.compare_outputs(None)] == [False] * 3


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "available_memory", lambda: 1 << 10)


@pytest.mark.usefixtures("little_memory")
def test_oracle_that_does_not_fit_falls_back_and_says_so(tmp_path: Path) -> None:
    shared = Shared(task(tmp_path, "return x * 3"))
    assert shared.case.oracle_dtype.startswith("float32, not float64: the float64 oracle needs 0 MiB")
    assert shared.case.expected.oracle[0].dtype == torch.float32
    shared.output().copy_(shared.case.inputs[0] * 3)
    assert shared.case.compare_outputs(None)[0]["passed"]
    shared.output().copy_(shared.case.inputs[0] * 3.01)
    assert not shared.case.compare_outputs(None)[0]["passed"]


@pytest.mark.usefixtures("little_memory")
def test_changed_inputs_are_expected_without_the_oracle_too(tmp_path: Path) -> None:
    shared = Shared(task(tmp_path, "x.mul_(2)\nreturn x + 1"))
    assert shared.case.compare_inputs(None), "left alone, it is wrong"
    shared.input().mul_(2)
    assert shared.case.compare_inputs(None) == []


def test_oracle_is_float64_when_it_fits(tmp_path: Path) -> None:
    shared = Shared(task(tmp_path, "return x / 3"))
    assert shared.case.oracle_dtype == "float64"
    assert shared.case.expected.oracle[0].dtype == torch.float64


def test_operator_without_float64_falls_back_and_the_verdict_says_so(bare_judge: Judge, tmp_path: Path) -> None:
    forward = "if x.dtype == torch.float64:\n    raise NotImplementedError('no float64 here')\nreturn x * 2"
    mine = kernel("y = torch.empty(x.shape)\nlib.doubled(x, y, x.numel())\nreturn y")
    verdict = bare_judge.judge(mine, task(tmp_path, forward))
    assert verdict.status is Status.PASSED, verdict.reason
    assert any("not float64: no float64 here" in said for said in verdict.evidence["oracle"].values())


@pytest.mark.parametrize("forward", ["return torch.log(x)", "return torch.log(x - 100)", "return x[:0]"])
def test_outputs_that_are_not_numbers_or_empty_are_not_random(tmp_path: Path, forward: str) -> None:
    assert Case(task(tmp_path, forward=forward), {}, "float32", "cpu", None, 7).expected.eager
