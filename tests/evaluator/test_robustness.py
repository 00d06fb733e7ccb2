"""Stage robust: what is kept between calls shows, and what a kernel may refuse narrows its envelope and still passes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from plain import kernel, task

from kernelwright.evaluator.accidents import context_broken
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.runner.handling import placed
from kernelwright.tasks.records import Stage, Status, Verdict

RUN = "y = torch.empty_like(x.contiguous())\nlib.doubled(x.contiguous(), y, x.numel())\nreturn y"
FRESH = "y = torch.empty(x.shape)\nlib.doubled(x, y, x.numel())\nreturn y"


def judged(judge: Judge, folder: Path, body: str, forward: str = "return x * 2") -> Verdict:
    return judge.judge(kernel(body), task(folder, forward))


def test_kernel_that_takes_any_layout_passes_unnarrowed(bare_judge: Judge, tmp_path: Path) -> None:
    verdict = judged(bare_judge, tmp_path, RUN)
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.envelope == ""
    robust = verdict.evidence["robust"]
    assert (robust["bitwise"], robust["fresh"], robust["unaligned"], robust["strided"]) == (True, *["passed"] * 3)


@pytest.mark.parametrize(
    ("refusal", "envelope", "variant"),
    [
        ("if not x.is_contiguous(): raise ValueError('contiguous only')", "contiguous inputs only", "strided"),
        ("", "contiguous inputs only", "strided"),  # load() itself raises
        ("if x.data_ptr() % 16: raise ValueError('aligned only')\nx = x.contiguous()", "aligned inputs only", "unaligned"),
    ],
)
def test_layout_that_a_kernel_refuses_narrows_its_envelope(
    bare_judge: Judge, tmp_path: Path, refusal: str, envelope: str, variant: str
) -> None:
    verdict = judged(bare_judge, tmp_path, f"{refusal}\n{FRESH}")
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.envelope == envelope
    assert verdict.evidence["robust"][variant] != "passed"


def test_wrong_values_on_strided_inputs_narrow_too(bare_judge: Judge, tmp_path: Path) -> None:
    flat = "y = torch.empty(x.shape)\nlib.doubled(x.as_strided((x.numel(),), (1,)), y, x.numel())\nreturn y"
    verdict = judged(bare_judge, tmp_path, flat)
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.envelope == "contiguous inputs only"


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (4, 1)])
def test_no_index_leaves_its_range_for_a_kernel_that_ignores_strides(shape: tuple[int, ...]) -> None:
    """It would crash, which no kernel that was made for contiguous inputs deserves."""
    given = torch.randint(1 << 40, shape)
    strided = placed(given, "strided")
    assert torch.equal(strided, given)
    assert strided.stride() != given.stride()
    below = strided.as_strided((strided.untyped_storage().nbytes() // 8,), (1,))
    assert set(below.tolist()) == set(given.flatten().tolist())


def test_a_kernel_that_breaks_its_context_on_strided_inputs_has_crashed() -> None:
    """Its process lives, and can compute nothing any more: what it is asked later would be blamed for it."""
    assert context_broken("AcceleratorError: CUDA error: an illegal memory access was encountered")
    assert context_broken("AcceleratorError: CUDA error: misaligned address")
    assert not context_broken("CUDA error: invalid argument")


def test_wrong_values_on_unaligned_inputs_are_wrong(bare_judge: Judge, tmp_path: Path) -> None:
    verdict = judged(bare_judge, tmp_path, f"if x.data_ptr() % 16: return torch.zeros(x.shape)\n{RUN}")
    assert (verdict.status, verdict.stage) == (Status.INCORRECT, Stage.ROBUST), verdict.reason


@pytest.mark.parametrize(
    ("body", "words"),
    [
        # one output buffer a shape, filled anew each time
        ("y = self.kept.setdefault(x.shape, torch.empty(x.shape))\nlib.doubled(x, y, x.numel())\nreturn y", "memory"),
        # a ring of them, too long for any two calls in a row to meet
        ("ring = self.kept.setdefault(x.shape, [torch.empty(x.shape) for _ in range(4)])\n"
         "y = ring[self.calls % 4]\nlib.doubled(x, y, x.numel())\nreturn y", "memory"),
        ("ring = self.kept.setdefault(x.shape, [torch.empty(x.shape) for _ in range(16)])\n"
         "y = ring[self.calls % 16]\nlib.doubled(x, y, x.numel())\nreturn y", "memory"),
        # one allocation, handed out as new tensors
        ("base = self.kept.setdefault(x.shape, torch.empty(x.shape))\ny = base.view(x.shape).detach()\n"
         "lib.doubled(x, y, x.numel())\nreturn y", "memory"),
    ],
)  # fmt: skip
def test_outputs_that_share_memory_are_wrong(bare_judge: Judge, tmp_path: Path, body: str, words: str) -> None:
    verdict = judged(bare_judge, tmp_path, f"x = x.contiguous()\n{body}")
    assert verdict.status is Status.INCORRECT, verdict.reason
    assert verdict.stage is Stage.ROBUST
    assert words in verdict.reason


@pytest.mark.parametrize(
    "known",
    [
        "self.calls > 30 and old[1] == x.data_ptr()",  # trusts the pointer after a while
        "all(old[0][i].item() == x.view(-1)[i].item() for i in (0, 77, -1))",  # samples the contents
    ],
)
def test_results_kept_between_calls_are_wrong(bare_judge: Judge, tmp_path: Path, known: str) -> None:
    body = (
        f"old = self.kept.get(x.shape)\nif old is not None and {known}:\n    return old[2].clone()\n"
        "y = torch.empty(x.shape)\nlib.doubled(x, y, x.numel())\n"
        "self.kept[x.shape] = (x.clone().view(-1), x.data_ptr(), y.clone())\nreturn y"
    )
    verdict = judged(bare_judge, tmp_path, f"x = x.contiguous()\n{body}")
    assert (verdict.status, verdict.stage) == (Status.INCORRECT, Stage.ROBUST), verdict.reason


@pytest.mark.parametrize(
    ("forward", "body"),
    [
        ("x.mul_(2)\nreturn x", "lib.doubled(x, x, x.numel())\nreturn x"),
        ("x.mul_(2)\nreturn x + 0", "lib.doubled(x, x, x.numel())\nreturn x.clone()"),
        ("x.mul_(2)\nreturn x.view(-1)", "lib.doubled(x, x, x.numel())\nreturn x.view(-1)"),
    ],
)
def test_task_in_place_is_done_in_place(bare_judge: Judge, tmp_path: Path, forward: str, body: str) -> None:
    verdict = judged(bare_judge, tmp_path, body, forward)
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.evidence["robust"]["bitwise"] is True
