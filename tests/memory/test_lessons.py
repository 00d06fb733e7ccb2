"""What an attempt teaches, and what must not get into it."""

from __future__ import annotations

import pytest

from kernelwright.memory import lessons
from kernelwright.tasks.records import Stage, Status


def test_a_feasible_draft_gives_a_trace_with_code_and_a_lesson_without(scenes):
    task = scenes.task()
    attempt = scenes.attempt(scenes.idea(task), scenes.answer("CODE", "online softmax"), scenes.verdict(task, 2.5))
    trace, success = lessons.from_attempt(attempt, None, task, "cpp", "EPYC")
    assert (trace.kind, trace.id, trace.code) == ("trace", attempt.id, "CODE")
    assert (success.kind, success.code) == ("success", "")
    for made in (trace, success):
        assert (made.family, made.task, made.backend, made.device, made.speedup) == (
            "softmax",
            task.name,
            "cpp",
            "EPYC",
            2.5,
        )
        assert made.bottleneck == "memory"
        for said in ("softmax", "cpp", "EPYC", "2.50x eager", "online softmax"):
            assert said in made.lesson
        assert made.lesson in made.text


@pytest.mark.parametrize(("speedup", "said"), [(3.0, "helped: 1.50x"), (2.0, "changed nothing"), (1.0, "slower: 0.50x")])
def test_a_refinement_says_whether_it_helped(scenes, speedup, said):
    task = scenes.task()
    start = scenes.attempt(scenes.idea(task), scenes.answer("a"), scenes.verdict(task, 2.0))
    child = scenes.attempt(scenes.idea(task, 2, start.id), scenes.answer("b"), scenes.verdict(task, speedup))
    trace, _ = lessons.from_attempt(child, start, task, "cpp", "")
    assert said in trace.lesson
    assert trace.parents == (child.id, start.id)


def test_a_failure_gives_one_lesson_with_its_evidence_and_no_code(scenes):
    task = scenes.task()
    log = "In file x.cpp:\nx.cpp:3:5: error: 'foo' was not declared\n   3 | foo();\n" * 3
    judged = scenes.verdict(
        task,
        status=Status.BUILD_FAILED,
        stage=Stage.BUILD,
        reason="the compiler refused it",
        evidence={"log": log, "limits": {"seconds": 120.0}, "ok": False},
    )
    attempt = scenes.attempt(scenes.idea(task), scenes.answer("bad code", "guess"), judged)
    (failure,) = lessons.from_attempt(attempt, None, task, "cpp", "")
    assert (failure.kind, failure.code, failure.status) == ("failure", "", "build_failed")
    assert failure.id != attempt.id
    for said in ("build_failed at build", "the compiler refused it", "error: 'foo' was not declared", "guess"):
        assert said in failure.lesson
    assert "\n" not in failure.lesson
    assert len(failure.lesson) <= 600


def test_nothing_of_a_held_out_shape_gets_into_a_lesson_or_a_query(scenes):
    task = scenes.task()
    judged = scenes.verdict(
        task,
        status=Status.INCORRECT,
        stage=Stage.HELD_OUT,
        reason="wrong at N=31337",
        evidence={"case": "hidden", "N": 31337},
    )
    attempt = scenes.attempt(scenes.idea(task), scenes.answer(), judged)
    (failure,) = lessons.from_attempt(attempt, None, task, "cpp", "")
    for text in (failure.lesson, failure.text, lessons.trouble(attempt), lessons.describe(task)):
        assert "31337" not in text
        assert "hidden" not in text


def test_an_unreadable_answer_teaches_nothing(scenes):
    task = scenes.task()
    attempt = scenes.attempt(scenes.idea(task), scenes.unreadable(), None)
    assert lessons.from_attempt(attempt, None, task, "cpp", "") == ()


def test_a_task_is_described_by_its_operators_not_by_its_setup(scenes):
    said = lessons.describe(scenes.task("core/loss/cross_entropy", "loss"))
    assert "cross_entropy" in said
    assert "Module" not in said


@pytest.mark.parametrize(
    ("bound", "fraction", "expected"),
    [("compute", 0.5, "compute"), ("memory", 0.9, "memory"), ("memory", 0.1, "latency"), ("", 0.5, "latency")],
)
def test_bottleneck_by_the_roofline(scenes, bound, fraction, expected):
    import dataclasses

    task = scenes.task()
    judged = dataclasses.replace(scenes.verdict(task, 2.0), timing=scenes.timing(2.0, bound, fraction))
    assert lessons.bottleneck(judged) == expected
    assert lessons.bottleneck(scenes.verdict(task)) == ""
    assert lessons.bottleneck(dataclasses.replace(judged, evidence={"bottleneck": "compute"})) == "compute"
