"""What whoever answers from outside may see: of any run and any writer, but nothing of held-out shapes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent.cli.app import run as cli
from kernelwright.agent.exchange.seat import Seat, brief
from kernelwright.agent.run import resume, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import Call
from kernelwright.tasks.errors import InputError, UnknownName
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, ShapeCase, Stage, Status, Task, Use, Verdict


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(reference(tmp_path))


def config(task: Task, **changes: Any) -> RunConfig:
    plain = RunConfig((), (task.name,), "cpp", "exchange", engine=ENGINE, budget=2, policy="greedy", repairs=0)
    return replace(plain, **changes)


def test_an_idea_from_prompt_to_verdict(place: Workspace, task: Task) -> None:
    seat = Seat(place)
    run = start(config(task), [task], place, Silence()).run.id
    (sheet,) = seat.waiting()
    asked = seat.seen(sheet.id)
    assert (asked.state, asked.answer, asked.verdict) == ("waiting", "", None)
    assert asked.prompt == sheet.prompt.read_text()
    seat.submit(sheet.id, kernel("passed 1.5").encode())
    assert seat.seen(sheet.id).state == "answered"
    assert seat.waiting() == ()
    resume(run, place, Silence())
    judged = seat.seen(sheet.id)
    assert (judged.state, judged.answer, judged.prompt) == ("judged", kernel("passed 1.5"), asked.prompt)
    assert judged.verdict is not None
    assert judged.verdict.passed
    assert [s.id for s in seat.waiting(run)] == [s.id for s in seat.waiting()]
    assert seat.waiting("another run") == ()


def test_what_the_run_has_read_is_not_replaced(place: Workspace, task: Task) -> None:
    seat = Seat(place)
    run = start(config(task), [task], place, Silence()).run.id
    (sheet,) = seat.waiting()
    seat.submit(sheet.id, b"nothing to read here")
    seat.submit(sheet.id, b"nor here", replace=True)
    resume(run, place, Silence())
    seen = seat.seen(sheet.id)
    assert (seen.state, seen.answer) == ("unreadable", "nor here")
    assert seen.problem
    with pytest.raises(InputError, match="its run has read the answer") as refused:
        seat.submit(sheet.id, kernel("passed 2").encode(), replace=True)
    assert f"exchange show {sheet.id}" in refused.value.remedy
    assert sheet.answer.read_text() == "nor here"


def test_the_best_of_a_run_and_of_all_runs(place: Workspace, task: Task) -> None:
    seat = Seat(place)
    runs = []
    for speedups in (("1.5", "1.2"), ("1.3", "1.9")):
        script(place.home, *(kernel(f"passed {x}", n) for n, x in enumerate(speedups)))
        runs.append(start(config(task, model=MODEL), [task], place, Silence()).run.id)
    (first,) = seat.best_of_run(runs[0])
    (second,) = seat.best_of_run(runs[1])
    assert (first.idea.rsplit("-", 1)[1], first.audited) == ("001", True)
    assert first.verdict.timing is not None
    assert first.verdict.timing.processes == 3
    assert "# judge: passed 1.9" in second.source
    (over_all,) = seat.best_on(task)
    assert (over_all.idea, over_all.run) == (second.idea, runs[1])
    assert seat.best_on(task, "triton") == ()
    with pytest.raises(UnknownName, match="unknown run"):
        seat.best_of_run("nothing")


def test_so_far_there_may_be_no_best(place: Workspace, task: Task) -> None:
    run = start(config(task), [task], place, Silence()).run.id
    assert Seat(place).best_of_run(run) == ()


@pytest.mark.parametrize(("wanted", "found"), [({}, True), ({"backend": "cpp"}, True), ({"budget": 3}, False)])
def test_only_an_unfinished_exchange_run_that_judges_here_is_gone_on_with(
    place: Workspace, task: Task, wanted: dict[str, Any], found: bool
) -> None:
    seat = Seat(place)
    script(place.home, kernel("passed 2"))
    start(config(task, model=MODEL), [task], place, Silence())
    start(config(task), [task], place, Silence())  # its engine is not the local one
    assert seat.continuing(task) is None
    store = place.open_store()
    run = replace(store.runs()[0], id="here", config={**store.runs()[0].config, "engine": "local"})
    store.create_run(run)
    assert (seat.continuing(task, **wanted) is not None) is found
    assert seat.continuing(replace(task, source=task.source + "\n"), **wanted) is None
    store.set_run_status("here", "finished")
    store.close()
    assert seat.continuing(task, **wanted) is None


def test_a_held_out_failure_is_told_by_its_status_alone(task: Task) -> None:
    hidden = replace(task, cases=(*task.cases, ShapeCase("odd", Use.HELD_OUT, {"N": 7919}, ("float32",))))
    lost = Verdict(
        Status.INCORRECT, Stage.HELD_OUT, "wrong at N=7919", "k", task.name, Assurance.DEVICE, {"seen": "7919 elements"},
        envelope="N up to 7919",
    )  # fmt: skip
    assert "7919" not in json.dumps(brief(lost, hidden))
    assert brief(lost, hidden)["status"] == "incorrect"
    shown = brief(replace(lost, stage=Stage.CORRECT, reason="wrong at case N=64", evidence={"seen": "64 elements"}), hidden)
    assert "N=64" in shown["reason"]
    assert "64 elements" in shown["evidence"]


def test_show_gives_the_exact_prompt_the_calls_and_the_verdict(
    place: Workspace, task: Task, capfd: pytest.CaptureFixture[str]
) -> None:
    script(place.home, kernel("incorrect"))
    (step,) = start(config(task, model=MODEL, budget=1), [task], place, Silence()).steps
    store = place.open_store()
    sent = json.dumps({"model": "m", "messages": [{"role": "user", "content": "write\tit\nwell"}]})
    call = Call("", step.idea.id, "plan", "provider/model", sent, "a plan", tokens_in=7, tokens_out=3, cost_usd=0.01)
    store.record_call(step.idea.run, task.name, call)
    store.close()
    shown = ["exchange", "show", step.idea.id, "--home", str(place.home)]

    assert cli(shown) == 0
    text = capfd.readouterr().out
    head = "plan, provider/model, 7 + 3 tokens, 0.0100 USD"
    for part in (head, "write\tit\nwell", "a plan", "incorrect at", kernel("incorrect")):
        assert part in text
    assert cli([*shown, "--json"]) == 0
    row = json.loads(capfd.readouterr().out)["exchange"]
    assert (row["state"], row["prompt"], row["verdict"]["status"]) == ("judged", "p", "incorrect")
    assert [(c["role"], c["request"], c["text"]) for c in row["calls"]] == [("plan", sent, "a plan")]
    assert cli([*shown, "--prompt"]) == 0
    assert capfd.readouterr().out == "p"


def test_show_gives_a_waiting_prompt_byte_for_byte(place: Workspace, task: Task, capfd: pytest.CaptureFixture[str]) -> None:
    start(config(task), [task], place, Silence())
    (sheet,) = Seat(place).waiting()
    assert cli(["exchange", "show", sheet.id, "--prompt", "--home", str(place.home)]) == 0
    assert capfd.readouterr().out.encode() == sheet.prompt.read_bytes()
    assert cli(["exchange", "show", sheet.id[:-1], "--home", str(place.home)]) == 2
    assert sheet.id in capfd.readouterr().err


def test_next_waits_for_a_prompt(place: Workspace, task: Task, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli(["exchange", "next", "--wait", "0.1", "--home", str(place.home)]) == 0
    assert "no prompt waits" in capfd.readouterr().out
    start(config(task), [task], place, Silence())
    assert cli(["exchange", "next", "--wait", "60", "--home", str(place.home)]) == 0  # at once
    assert Seat(place).waiting()[0].id in capfd.readouterr().out
