"""The ledger over real HTTP: it adds up to what the server says it used, broken answers included, and its limits hold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from llm_server import Fault, LlmServer, Say
from scripted import ENGINE, kernel, reference

from kernelwright.agent.llm.options import Limits, ModelOptions, Price
from kernelwright.agent.run import Result, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import Call
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Task

PLAN = Say("Block the rows.", usage=(900, 30, 100))
PRICE = {"*": Price(1.0, 10.0)}
USED = (2000, 500)


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with LlmServer() as server:
        yield server


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(reference(tmp_path))


def run(server: LlmServer, place: Workspace, task: Task, **changes: object) -> Result:
    options = ModelOptions(api_base=server.url, answer_tokens=1000, prices=PRICE)
    config = RunConfig((), (task.name,), "cpp", "openai/mine", policy="greedy", engine=ENGINE, repairs=0, llm=options)
    return start(replace(config, **changes), [task], place, Silence())  # type: ignore[arg-type]


def calls(place: Workspace, result: Result) -> tuple[Call, ...]:
    store = place.open_store()
    try:
        return store.calls(result.run.id)
    finally:
        store.close()


def says(judge: str, number: int) -> Say:
    return Say(kernel(judge, number), usage=USED)


def test_the_ledger_adds_up_to_what_the_server_used(server: LlmServer, place: Workspace, task: Task) -> None:
    server.script = [PLAN, says("passed 1.5", 1), PLAN, Say("no kernel", usage=USED), PLAN, says("passed 1.7", 3)]
    result = run(server, place, task, budget=3, steps=("plan", "code"))
    whole = [line.spent for line in result.ledger]
    assert sum(s.calls for s in whole) == len(server.seen) == 6
    assert sum(s.tokens_in for s in whole) == 3 * (900 + 2000)
    assert sum(s.tokens_out for s in whole) == 3 * (30 + 500)
    assert result.outcomes[0].cost_usd == pytest.approx(3 * (2900 * 1.0 + 530 * 10.0) / 1e6)
    kept = calls(place, result)
    assert [c.role for c in kept] == ["plan", "code"] * 3
    assert {c.tokens_cached for c in kept if c.role == "plan"} == {100}
    assert not any(c.estimated for c in kept)


def test_an_answer_that_broke_off_is_paid_for_beside_the_next(server: LlmServer, place: Workspace, task: Task) -> None:
    broken = Say(kernel("passed 1.5"), cut=10)
    server.script = [broken, Fault(429, headers={"Retry-After": "0.05"}), says("passed 1.5", 1)]
    result = run(server, place, task, budget=1)
    (call,) = calls(place, result)
    assert (call.tries, call.estimated) == (3, True)
    assert call.tokens_in > 2000 + 100  # the prompt was read twice
    assert call.tokens_out > 500
    assert call.problem == ""
    assert result.outcomes[0].cost_usd == call.cost_usd == pytest.approx((call.tokens_in + 10 * call.tokens_out) / 1e6)


@pytest.mark.parametrize("jobs", [1, 4])
def test_money_is_never_overspent(server: LlmServer, place: Workspace, task: Task, jobs: int) -> None:
    server.script = [lambda seen: says("incorrect", len(server.seen))]
    limit = 0.16  # three times what one more call may cost with a long prompt
    result = run(server, place, task, budget=30, jobs=jobs, limits=Limits(usd=limit))
    cost = result.outcomes[0].cost_usd
    assert cost == pytest.approx(len(server.seen) * 0.007)
    assert limit / 2 < cost <= limit
    assert "budget of $0.16 spent" in result.outcomes[0].reason
    assert result.outcomes[0].attempts == len(server.seen) == len(result.steps)


def test_a_replay_needs_no_server(server: LlmServer, place: Workspace, task: Task) -> None:
    server.script = [PLAN, says("passed 1.5", 1)]
    result = run(server, place, task, budget=1, steps=("plan", "code"))
    seen = len(server.seen)
    again = run(server, place, task, budget=1, model=f"replay:{result.run.id}", policy="recorded")
    assert len(server.seen) == seen
    assert calls(place, again) == ()
    assert [s.answer and s.answer.text for s in again.steps] == [s.answer and s.answer.text for s in result.steps]
    assert again.outcomes[0].cost_usd == 0.0


def test_an_answer_does_not_outlast_the_time_and_what_came_of_it_is_paid_for(
    server: LlmServer, place: Workspace, task: Task
) -> None:
    server.script = [Say(kernel("passed 1.5"), stall=4)]
    began = time.monotonic()
    result = run(server, place, task, budget=3, limits=Limits(seconds=2))
    assert time.monotonic() - began < 10
    assert (result.outcomes[0].status, result.outcomes[0].attempts) == ("unsolved", 0)
    assert "budget of 2 s of wall time spent" in result.outcomes[0].reason
    (call,) = calls(place, result)
    assert call.estimated
    assert call.tokens_out > 0
