"""Every library reference is executed: in float32 and float64, at small and at hidden shapes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from kernelwright.tasks.expression import evaluate
from kernelwright.tasks.load import all_tasks
from kernelwright.tasks.records import ShapeCase, Task, Use
from kernelwright.tasks.shapes import derive, integers, keep_accepted, with_sizes

TASKS = {task.name: task for task in all_tasks()}
SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.py"))
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())


class Run:
    """A reference, executed once for given sizes and dtype."""

    def __init__(
        self, source: str, sizes: Mapping[str, int], dtype: torch.dtype = torch.float32, seed: int = 0
    ) -> None:
        namespace: dict[str, Any] = {}
        exec(compile(with_sizes(source, sizes), "reference", "exec"), namespace)
        torch.manual_seed(seed)
        self.model = namespace["Model"](*namespace["get_init_inputs"]()).eval().to(dtype)
        self.inputs = [t.to(dtype) if t.is_floating_point() else t for t in namespace["get_inputs"]()]
        self.outputs = self.call(self.inputs)

    def call(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        with torch.no_grad():
            out = self.model(*inputs)
        return list(out) if isinstance(out, (tuple, list)) else [out]


def smallest(task: Task) -> ShapeCase:
    return task.cases_for("cpu", Use.CORRECTNESS)[0]


def relative(candidate: torch.Tensor, truth: torch.Tensor) -> float:
    return float((candidate.double() - truth.double()).norm() / truth.double().norm())


@each_task
def test_the_reference_runs_at_every_small_shape(task: Task) -> None:
    for case in task.cases_for("cpu", Use.CORRECTNESS, Use.HELD_OUT):
        for out in Run(task.source, case.sizes).outputs:
            assert out.isfinite().all(), case.name
            assert out.dtype == torch.float32 or not out.is_floating_point(), case.name


@each_task
def test_the_reference_is_right_in_double_precision(task: Task) -> None:
    sizes = smallest(task).sizes
    double, single = Run(task.source, sizes, torch.float64), Run(task.source, sizes)
    again = Run(task.source, sizes, torch.float64)
    for wide, narrow, repeated in zip(double.outputs, single.outputs, again.outputs, strict=True):
        assert wide.dtype == torch.float64 or not wide.is_floating_point()
        assert torch.equal(wide, repeated), "forward is not deterministic"
        assert relative(narrow.double(), wide.double()) < 1e-5


@each_task
def test_inputs_are_left_alone_and_integers_stay_integers(task: Task) -> None:
    run = Run(task.source, smallest(task).sizes)
    before = [t.clone() for t in run.inputs]
    run.call(run.inputs)
    assert all(torch.equal(a, b) for a, b in zip(before, run.inputs, strict=True))
    assert all(t.dtype in (torch.float32, torch.int64, torch.int32, torch.int8, torch.bool) for t in run.inputs)


@each_task
def test_no_trivial_kernel_would_pass(task: Task) -> None:
    """Zeros, a constant, another draw's output, an input handed through, a row or column mean spread out."""
    sizes = task.cases_for("cpu", Use.CORRECTNESS)[-1].sizes
    run, other = Run(task.source, sizes, torch.float64), Run(task.source, sizes, torch.float64, seed=1)
    with torch.no_grad():
        for parameter, copied in zip(other.model.parameters(), run.model.parameters(), strict=True):
            parameter.copy_(copied)
    for truth, stale in zip(run.outputs, other.call(other.inputs), strict=True):
        truth = truth.double()
        fakes = [torch.zeros_like(truth), truth.mean().expand_as(truth), stale]
        if truth.dim() > 1:
            fakes += [truth.mean(d, keepdim=True).expand_as(truth) for d in (0, -1) if truth.shape[d] > 1]
        fakes += [t for t in run.inputs if t.shape == truth.shape and t.is_floating_point()]
        for number, fake in enumerate(fakes):
            assert relative(fake, truth) > 0.05, f"fake {number}"


@each_task
def test_no_parameter_could_be_left_out(task: Task) -> None:
    run = Run(task.source, smallest(task).sizes, torch.float64)
    for name, parameter in run.model.named_parameters():
        kept = parameter.detach().clone()
        for plain in (torch.zeros_like(kept), torch.ones_like(kept)):
            parameter.data = plain
            changed = max(relative(a, b) for a, b in zip(run.call(run.inputs), run.outputs, strict=True))
            assert changed > 0.02, name
        parameter.data = kept


@each_task
def test_the_bytes_are_those_of_the_tensors(task: Task) -> None:
    for case in task.cases_for("cpu", Use.CORRECTNESS, Use.HELD_OUT):
        run = Run(task.source, case.sizes)
        tensors = [*run.inputs, *run.outputs, *run.model.parameters()]
        moved = sum(t.numel() * t.element_size() for t in tensors)
        names = {**integers(task.source), **case.sizes, "itemsize": 4}
        if task.family == "gather":
            # Only the rows that are looked up have to be read.
            table = max(t.numel() * t.element_size() for t in [*run.inputs, *run.model.parameters()] if t.is_floating_point())
            assert moved - table < evaluate(task.bytes, names) <= moved, case.name
        else:
            assert evaluate(task.bytes, names) == moved, case.name
        assert task.family == "gather" or evaluate(task.flops, names) > 0


@each_task
def test_there_are_shapes_for_every_use(task: Task) -> None:
    for device in ("cpu", "cuda"):
        correct, held_out, timing = (task.cases_for(device, use) for use in (Use.CORRECTNESS, Use.HELD_OUT, Use.TIMING))
        assert len(correct) >= 2
        assert len(held_out) >= 2
        assert 1 <= sum(len(case.dtypes) for case in timing) <= 2
        assert any(any(size % 2 for size in case.sizes.values()) for case in held_out)
        shown = {tuple(sorted(case.sizes.items())) for case in (*correct, *timing)}
        assert not any(tuple(sorted(case.sizes.items())) in shown for case in held_out), "a hidden shape is shown"


@each_task
def test_timing_shapes_fill_a_device_and_fit_it(task: Task) -> None:
    limits = {"cpu": (1 << 18, 1 << 27), "cuda": (1 << 23, 1 << 30)}
    for device, (least, most) in limits.items():
        for case in task.cases_for(device, Use.TIMING):
            assert device != "cpu" or case.dtypes == ("float32",)
            names = {**integers(task.source), **case.sizes, "itemsize": 4 if "float32" in case.dtypes else 2}
            moved, work = evaluate(task.bytes, names), evaluate(task.flops, names) if task.flops else 0
            assert moved <= most, case.name
            assert moved >= least or work >= 128 * least, case.name


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_plain_files_get_shapes_that_their_reference_accepts(path: Path) -> None:
    source = path.read_text()

    def accepts(case: ShapeCase) -> bool:
        if case.leading is not None:
            return path.stem == "literal"
        try:
            return all(out.isfinite().all() for out in Run(source, case.sizes).outputs)
        except (RuntimeError, ValueError):
            return False

    kept = [case for case in keep_accepted(derive(source), accepts) if case.derived]
    assert any(case.use is Use.CORRECTNESS for case in kept)
    assert sum(case.use is Use.HELD_OUT for case in kept) >= 2
    assert "unaligned" in {case.name.partition("-")[0] for case in kept}


def test_the_group_norm_sample_takes_the_divisible_shape() -> None:
    source = next(path for path in SAMPLES if path.stem == "group_norm").read_text()
    cases = {case.name: case for case in derive(source)}
    with pytest.raises(ValueError, match="divisible"):
        Run(source, cases["unaligned"].sizes)
    assert Run(source, cases["unaligned-divisible"].sizes).outputs[0].shape[1] % 16 == 0
