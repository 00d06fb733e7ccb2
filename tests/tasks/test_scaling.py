"""Scaled tasks: smaller timing shapes that every reference still accepts, and that say so."""

import math
from typing import Any

import pytest
import torch

from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import InputError, TaskError
from kernelwright.tasks.expression import ITEMSIZE, evaluate
from kernelwright.tasks.load import all_tasks, load_suite, load_task
from kernelwright.tasks.records import ShapeCase, Task, Use
from kernelwright.tasks.scaling import scaled
from kernelwright.tasks.shapes import integers, with_sizes
from kernelwright.tasks.suites.suite import Selection, load_tasks

TASKS = {task.name: task for task in all_tasks()}
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())


def work(task: Task, case: ShapeCase) -> list[float]:
    names = {**integers(task.source), **case.sizes, "itemsize": ITEMSIZE[case.dtypes[0]]}
    return [evaluate(e, names) for e in (task.bytes, task.flops) if e]


def timed(task: Task) -> dict[str, ShapeCase]:
    return {case.name: case for case in task.cases if case.use is Use.TIMING}


@each_task
def test_the_reference_accepts_its_smallest_timing_shapes(task: Task) -> None:
    small = scaled(task, 1e-4)
    for case in timed(small).values():
        namespace: dict[str, Any] = {}
        exec(compile(with_sizes(task.source, case.sizes), "reference", "exec"), namespace)
        torch.manual_seed(0)
        model = namespace["Model"](*namespace["get_init_inputs"]()).eval()
        with torch.no_grad():
            out = model(*namespace["get_inputs"]())
        assert all(torch.isfinite(t).all() for t in (out if isinstance(out, (tuple, list)) else [out])), case.name


@each_task
def test_the_work_is_at_most_the_share_or_the_floor_is_reached(task: Task) -> None:
    small = scaled(task, 0.05)
    for name, case in timed(task).items():
        shrunk = timed(small)[name]
        share = max(a / b for a, b in zip(work(task, shrunk), work(task, case), strict=True))
        floor = timed(scaled(task, 1e-4))[name]
        assert share <= 0.05 or shrunk == floor, f"{name}: {share}"
        assert share < 0.5 or case.device != "cuda", name  # those for a CPU are near the floor as shipped
        assert math.prod(shrunk.sizes.values()) > 0


@each_task
def test_small_cases_and_the_task_itself_stay(task: Task) -> None:
    small = scaled(task, 0.05)
    assert [c for c in small.cases if c.use is not Use.TIMING] == [c for c in task.cases if c.use is not Use.TIMING]
    assert (small.name, small.source, small.scale) == (task.name, task.source, 0.05)
    assert small.task_id != task.task_id
    assert from_json(Task, to_json(small)) == small
    assert scaled(task, None) is task
    assert scaled(task, 1) is task


def test_aligned_sizes_stay_aligned_and_a_matrix_keeps_its_form() -> None:
    case = timed(scaled(load_task("gemm"), 0.05))["cuda_bf16"]
    assert len(set(case.sizes.values())) == 1
    assert case.sizes["M"] % 64 == 0
    assert 512 <= case.sizes["M"] < 4096


def test_a_task_may_say_which_sizes_shrink(tmp_path: Any) -> None:
    task = load_task("softmax")
    text = (tmp_path / "task.yaml", tmp_path / "reference.py")
    text[1].write_text(task.source)
    rows = "\n".join(f"  - {{name: {u}, use: {u}, sizes: {{rows: 512, cols: 4096}}}}" for u in ("correctness", "timing"))
    form = f"category: activation\nfamily: softmax\nsummary: s\nbytes: 8 * rows * cols\nshrinks: [%s]\ncases:\n{rows}\n"
    text[0].write_text(form % "rows")
    assert dict(timed(scaled(load_task(str(tmp_path)), 0.25))["timing"].sizes) == {"rows": 128, "cols": 4096}
    text[0].write_text(form % "columns")
    with pytest.raises(TaskError, match="shrinks"):
        load_task(str(tmp_path))


def test_a_plain_file_shrinks_too(tmp_path: Any) -> None:
    path = tmp_path / "model.py"
    path.write_text(load_task("softmax").source)
    small = scaled(load_task(str(path)), 0.01)
    assert math.prod(integers(small.source).values()) <= 0.01 * math.prod(integers(load_task(str(path)).source).values())
    assert small.scale == 0.01


@pytest.mark.parametrize("scale", [0.0, -1.0, 2.0, float("nan")])
def test_a_scale_that_is_none_is_one_clear_error(scale: float) -> None:
    with pytest.raises(InputError, match="the scale is"):
        scaled(load_task("softmax"), scale)


def test_a_suite_of_the_library_is_scaled() -> None:
    loaded = load_tasks("quickstart", None, Selection(scale=0.1))
    assert {task.scale for task in loaded.tasks} == {0.1}


def test_the_anchors_are_twenty_cases_of_known_size() -> None:
    cases = {
        (task.name, case.name, dtype, *sorted(case.sizes.items()))
        for task in load_suite("anchors")
        for case in task.cases_for("cuda", Use.TIMING)
        for dtype in case.dtypes
    }
    assert len(cases) == 20
    assert {case[2] for case in cases} == {"float16", "bfloat16"}
    square = {(("cols", n), ("rows", n)) for n in (4096, 8192)}
    losses = {(("classes", 32000), ("rows", 4096)), (("classes", 50257), ("rows", 8192))}
    assert {case[3:] for case in cases} == square | losses
    for task in load_suite("anchors"):
        for use in (Use.CORRECTNESS, Use.HELD_OUT):
            assert {"float16", "bfloat16"} <= {d for c in task.cases_for("cuda", use) for d in c.dtypes}
