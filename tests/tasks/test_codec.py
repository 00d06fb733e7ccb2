"""Records to JSON and back, unchanged; anything else is one clear line."""

import json
import math

import pytest

from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.load import all_tasks
from kernelwright.tasks.records import (
    Answer,
    Assurance,
    Attempt,
    CaseResult,
    CaseTiming,
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
)

INTERVAL = Interval(2.0, 1.5, 2.5)
CASE_TIMING = CaseTiming(
    "cpu", "float32", INTERVAL, {"eager": INTERVAL}, {"eager": INTERVAL, "best": INTERVAL}, 0.5, "memory", 30, ("hot",)
)
VERDICT = Verdict(
    Status.PASSED,
    Stage.HELD_OUT,
    "all gates passed",
    "k1",
    "core/math/cumsum",
    Assurance.DEVICE,
    {"log": ["a", 1, None, {"b": True}]},
    (CaseResult("small", Use.CORRECTNESS, "float32", "passed", 1e-7, 0.25, ""),),
    Timing(INTERVAL, {"eager": INTERVAL}, {"eager": INTERVAL}, "eager", 0.5, (CASE_TIMING,), 3),
    "passed",
)
ATTEMPT = Attempt(
    Idea("r1", "core/math/cumsum", 2, IdeaStage.REFINE, "r1-abcdef-001", 7),
    Answer("text", Kernel("source", "cpp", {"opt": "3"}), cost_usd=None),
    VERDICT,
)


@pytest.mark.parametrize(
    "record", [INTERVAL, CASE_TIMING, VERDICT, ATTEMPT, *all_tasks()], ids=lambda r: type(r).__name__
)
def test_a_record_comes_back_as_it_went(record: object) -> None:
    text = json.dumps(to_json(record), allow_nan=False)
    assert from_json(type(record), json.loads(text)) == record


def test_a_verdict_without_a_timing_and_an_unread_answer() -> None:
    attempt = Attempt(ATTEMPT.idea, Answer("rubbish", None, "no code block"), None)
    assert from_json(Attempt, to_json(attempt)) == attempt


def test_floats_that_json_lacks_survive() -> None:
    result = CaseResult("small", Use.TIMING, "float32", "incorrect", math.inf, math.nan)
    data = json.loads(json.dumps(to_json(result), allow_nan=False))
    assert (data["max_error"], data["error_ratio"]) == ("inf", "nan")
    back = from_json(CaseResult, data)
    assert back.max_error == math.inf
    assert back.error_ratio is not None
    assert math.isnan(back.error_ratio)


def test_fields_with_a_default_may_be_left_out() -> None:
    assert from_json(ShapeCase, {"name": "a", "use": "timing"}) == ShapeCase("a", Use.TIMING)


@pytest.mark.parametrize(
    ("cls", "data", "message"),
    [
        (ShapeCase, {"name": "a", "use": "timing", "sise": {}}, "ShapeCase has no field 'sise'"),
        (ShapeCase, {"name": "a"}, "ShapeCase: .*'use'"),
        (ShapeCase, {"name": "a", "use": "tming"}, "'tming' is no Use"),
        (Task, ["a"], r"Task is \['a'\], expected an object"),
        (Attempt, {"idea": 3, "answer": None, "verdict": None}, "Idea is 3"),
    ],
)
def test_what_does_not_fit_is_named(cls: type, data: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_json(cls, data)
