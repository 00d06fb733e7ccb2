"""Identities hang on everything that matters, and impossible records cannot be made."""

from dataclasses import FrozenInstanceError, replace

import pytest

from kernelwright.tasks.records import (
    Answer,
    Assurance,
    Attempt,
    Idea,
    IdeaStage,
    Interval,
    Kernel,
    ShapeCase,
    Stage,
    Status,
    Task,
    Timing,
    Use,
    Verdict,
    digest,
)

TASK = Task("core/math/x", "source", "x.py", (ShapeCase("small", Use.CORRECTNESS, {"N": 4}),))
INTERVAL = Interval(2.0, 1.0, 3.0)
TIMING = Timing(INTERVAL, {"eager": INTERVAL}, {"eager": INTERVAL, "best": INTERVAL}, "eager", None, ())
IDEA = Idea("run", "core/math/x", 1, IdeaStage.DRAFT)


def verdict(status: Status, assurance: Assurance, timing: Timing | None) -> Verdict:
    return Verdict(status, Stage.TIME, "", "k", "core/math/x", assurance, timing=timing)


def test_a_digest_is_of_the_list_not_of_the_text() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a") != digest("a", "")
    assert len(digest("a")) == 20


def test_a_kernel_is_its_source_backend_and_options() -> None:
    kernel = Kernel("s", "cpp", {"a": "1", "b": "2"})
    assert kernel.kernel_id == Kernel("s", "cpp", {"b": "2", "a": "1"}).kernel_id
    others = [replace(kernel, source="t"), replace(kernel, backend="triton"), replace(kernel, options={"a": "1"})]
    assert len({kernel.kernel_id, *(k.kernel_id for k in others)}) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"source": "other"},
        {"deterministic": True},
        {"static_parameters": True},
        {"training": True},
        {"rtol": {"float32": 1e-3}},
        {"cases": (ShapeCase("small", Use.CORRECTNESS, {"N": 5}),)},
        {"cases": (ShapeCase("small", Use.CORRECTNESS, {"N": 4}, ("bfloat16",)),)},
        {"cases": (ShapeCase("small", Use.HELD_OUT, {"N": 4}),)},
        {"cases": (ShapeCase("small", Use.CORRECTNESS, {"N": 4}, leading=3),)},
    ],
)
def test_a_task_is_another_when_what_a_kernel_must_do_changes(change: dict[str, object]) -> None:
    assert replace(TASK, **change).task_id != TASK.task_id


def test_a_task_is_the_same_under_another_name_or_summary() -> None:
    assert replace(TASK, name="y", path="y.py", summary="z").task_id == TASK.task_id


def test_slugs_are_safe_and_unlike() -> None:
    one, two = replace(TASK, name="a/my task!.py"), replace(TASK, name="b/my task!.py")
    assert one.slug.startswith("my_task_-")
    assert one.slug != two.slug
    assert all(ch.isalnum() or ch in "-_" for ch in one.slug)


def test_cases_are_chosen_by_use_and_device() -> None:
    cases = (
        ShapeCase("a", Use.CORRECTNESS),
        ShapeCase("b", Use.TIMING, device="cpu"),
        ShapeCase("c", Use.TIMING, device="cuda"),
        ShapeCase("d", Use.HELD_OUT),
    )
    task = replace(TASK, cases=cases)
    assert [c.name for c in task.cases_for("cuda", Use.TIMING, Use.CORRECTNESS)] == ["a", "c"]
    assert [c.name for c in task.cases_for("cpu", Use.TIMING)] == ["b"]


def test_records_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        TASK.name = "other"  # type: ignore[misc]


def test_an_interval_is_ordered() -> None:
    with pytest.raises(ValueError, match="not ordered"):
        Interval(1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("status", "assurance"),
    [
        (Status.INCORRECT, Assurance.DEVICE),
        (Status.PASSED, Assurance.SIMULATED),
        (Status.UNSUPPORTED, Assurance.COMPILED),
    ],
)
def test_only_what_passed_on_a_device_has_a_time(status: Status, assurance: Assurance) -> None:
    with pytest.raises(ValueError, match="timing"):
        verdict(status, assurance, TIMING)
    assert verdict(status, assurance, None).speedup is None


def test_the_yardstick_is_the_speedup_against_eager() -> None:
    passed = verdict(Status.PASSED, Assurance.DEVICE, TIMING)
    attempt = Attempt(IDEA, Answer("text", Kernel("s", "cpp")), passed)
    assert (attempt.status, attempt.feasible, attempt.speedup) == ("passed", True, 2.0)


def test_an_unread_answer_is_no_feasible_attempt() -> None:
    attempt = Attempt(IDEA, Answer("text", None, "no code"), None)
    assert (attempt.status, attempt.feasible, attempt.speedup) == ("unreadable", False, None)
    assert attempt.id == IDEA.id


def test_ideas_of_a_run_have_ids_of_their_own() -> None:
    ideas = [IDEA, replace(IDEA, number=2), replace(IDEA, task="core/math/y"), replace(IDEA, run="other")]
    assert len({idea.id for idea in ideas}) == 4
