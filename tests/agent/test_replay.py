"""Replay: the recorded answers byte for byte, the recorded verdicts at no cost, and judging again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ledgered import MODEL as LEDGERED
from ledgered import reached
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent import recording
from kernelwright.agent.run import Result, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.tasks.errors import InputError, UnknownName
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Status, Task, Verdict


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(reference(tmp_path))


def config(task: Task, **changes: object) -> RunConfig:
    base = RunConfig(argv=(), order=(task.name,), backend="cpp", model=MODEL, engine=ENGINE, budget=4, seed=3)
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture
def recorded(place: Workspace, task: Task) -> Result:
    script(place.home, "rubbish\r\nwith odd bytes \u2028", kernel("incorrect"), kernel("passed 1.2"), kernel("passed 1.5", 2))
    return start(config(task), [task], place, Silence())


def steps(result: Result) -> list[tuple[object, ...]]:
    return [
        (s.idea.number, s.idea.stage, s.idea.seed, s.answer and (s.answer.text, s.answer.kernel, s.answer.prompt), s.verdict)
        for s in result.steps
    ]


def replay(of: str, task: Task, place: Workspace, **changes: object) -> Result:
    changes = {"policy": "recorded", "engine": "local"} | changes
    return start(config(task, model=f"replay:{of}", **changes), [task], place, Silence())


def test_a_replay_repeats_the_run_at_no_cost(place: Workspace, task: Task, recorded: Result) -> None:
    again = replay(recorded.run.id, task, place)
    assert steps(again) == steps(recorded)
    assert recorded.outcomes[0].cost_usd == pytest.approx(1.0)
    assert again.outcomes[0].cost_usd == 0.0
    assert again.outcomes[0].verdict == recorded.outcomes[0].verdict
    assert again.outcomes[0].reason == recorded.outcomes[0].reason
    assert len((place.home / "asked").read_text().split()) == 4  # the recorded run's own


def test_a_recording_is_a_file_that_works_anywhere(place: Workspace, task: Task, recorded: Result, tmp_path: Path) -> None:
    file = tmp_path / "kept" / "recording.json"
    file.parent.mkdir()
    (place.run(recorded.run.id) / "recording.json").rename(file)
    elsewhere = Workspace.at(tmp_path / "elsewhere", None)
    for name in (file, file.parent):
        again = replay(str(name), task, elsewhere)
        assert steps(again) == steps(recorded)
    device = recording.load(str(file), elsewhere).device
    assert device is not None
    assert device.name == "fake device"


def test_the_same_policy_with_the_same_seed_asks_the_same(
    place: Workspace, task: Task, recorded: Result, tmp_path: Path
) -> None:
    elsewhere = Workspace.at(tmp_path / "elsewhere", None)
    file = place.run(recorded.run.id) / "recording.json"
    again = replay(str(file), task, elsewhere, policy="evokernel")
    assert steps(again) == steps(recorded)


def test_judging_again_agrees(place: Workspace, task: Task, recorded: Result) -> None:
    again = replay(recorded.run.id, task, place, rejudge=True, engine=ENGINE)
    assert again.rejudged is not None
    assert again.rejudged.compared == 4
    assert again.rejudged.differences == ()


def test_judging_again_tells_each_difference(
    place: Workspace, task: Task, recorded: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = FakeEngine.evaluate

    def stricter(self: FakeEngine, job: Job) -> Verdict:
        verdict = judged(self, job)
        return replace(verdict, status=Status.CHEATING, timing=None) if "# number 2" in job.kernel.source else verdict

    monkeypatch.setattr(FakeEngine, "evaluate", stricter)
    again = replay(recorded.run.id, task, place, rejudge=True, engine=ENGINE)
    assert again.rejudged is not None
    (difference,) = again.rejudged.differences
    assert (difference.recorded, difference.now) == ("passed", "cheating")
    assert difference.attempt == again.steps[3].idea.id


def test_a_policy_that_asks_beyond_the_recording_is_told(place: Workspace, task: Task, recorded: Result) -> None:
    with pytest.raises(InputError, match="has 4 answers") as raised:
        replay(recorded.run.id, task, place, policy="greedy", budget=9)
    assert "--budget 4" in raised.value.remedy


def test_a_task_that_was_not_recorded_is_refused(place: Workspace, task: Task, recorded: Result, tmp_path: Path) -> None:
    other = load_task(reference(tmp_path, "other", 5))
    again = start(
        config(task, model=f"replay:{recorded.run.id}", policy="recorded", engine="local", order=(other.name,)),
        [other],
        place,
        Silence(),
    )
    assert again.outcomes[0].status == "refused"
    assert task.name in again.outcomes[0].reason


def test_a_task_is_found_by_what_it_computes(place: Workspace, task: Task, recorded: Result) -> None:
    again = replay(recorded.run.id, replace(task, name="renamed"), place, order=("renamed",))
    assert again.outcomes[0].status == "improved"


def test_unfinished_steps_are_not_recorded(place: Workspace, task: Task) -> None:
    script(place.home, kernel("passed 1.2"), kernel("pending"))
    first = start(config(task, policy="greedy"), [task], place, Silence())
    assert first.run.status == "waiting"
    again = replay(first.run.id, task, place)
    assert len(again.steps) == 1
    assert again.run.status == "finished"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', '{"format": 1, "what": 2}'])
def test_what_is_no_recording_is_refused(place: Workspace, tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(InputError):
        recording.load(str(file), place)
    with pytest.raises(UnknownName, match="no recording 'nowhere'"):
        recording.load("nowhere", place)


def test_rejudging_needs_a_recording(task: Task) -> None:
    with pytest.raises(InputError, match="--rejudge"):
        config(task, rejudge=True)


def test_a_recording_is_plain_json(place: Workspace, recorded: Result) -> None:
    data = json.loads((place.run(recorded.run.id) / "recording.json").read_text())
    assert [s["idea"]["number"] for s in data["steps"]] == [1, 2, 3, 4]
    assert sorted(data["audits"]) == [f"{recorded.steps[3].idea.id}-audit{n}" for n in (1, 2)]


PLAN = "Block the rows by 64.\r\nThen \u2028 vectorise."


@pytest.fixture
def called(place: Workspace, task: Task) -> Result:
    """A recorded run of a model: a plan and a kernel a step, one step unreadable."""
    answers = (PLAN, kernel("passed 1.2"), "another plan", "no kernel here", PLAN, kernel("passed 1.5", 2))
    script(place.home, *answers)
    return start(config(task, model=LEDGERED, budget=3, steps=("plan", "code")), [task], place, Silence())


def normal(run: str, place: Workspace) -> str:
    """A run's recording without what a replay may change: run ids, times and cost, and what the run was asked for."""
    data = json.loads((place.run(run) / "recording.json").read_text())
    del data["config"]

    def timeless(value: object) -> object:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k not in ("cost_usd", "seconds", "created")}
        return [timeless(v) for v in value] if isinstance(value, list) else value

    return json.dumps(timeless(data)).replace(run, "RUN")


def test_a_replay_records_what_it_repeats_byte_for_byte(place: Workspace, task: Task, called: Result) -> None:
    asked = len(reached(place.home))
    again = replay(called.run.id, task, place)
    assert normal(again.run.id, place) == normal(called.run.id, place)
    third = replay(again.run.id, task, place)  # a replay of a replay
    assert normal(third.run.id, place) == normal(called.run.id, place)
    assert len(reached(place.home)) == asked == 6
    assert PLAN in [c.text for s in recording.load(again.run.id, place).steps for c in s.calls]


def test_a_replay_calls_nobody_and_costs_nothing(place: Workspace, task: Task, called: Result) -> None:
    again = replay(called.run.id, task, place)
    store = place.open_store()
    assert len(store.calls(called.run.id)) == 6
    assert store.calls(again.run.id) == ()
    spent = store.spent(again.run.id)
    store.close()
    assert (spent.calls, spent.tokens_in, spent.tokens_out, spent.cost_usd) == (0, 0, 0, 0.0)
    assert again.outcomes[0].cost_usd == 0.0
    assert called.outcomes[0].cost_usd == pytest.approx(0.6)


def test_each_step_keeps_its_calls(place: Workspace, called: Result) -> None:
    kept = recording.load(str(place.run(called.run.id)), place)
    assert [[(c.role, c.text) for c in step.calls] for step in kept.steps] == [
        [("plan", PLAN), ("code", kernel("passed 1.2"))],
        [("plan", "another plan"), ("code", "no kernel here")],
        [("plan", PLAN), ("code", kernel("passed 1.5", 2))],
    ]
    assert kept.steps[0].answer.prompt == json.loads(kept.steps[0].calls[1].request)["messages"][0]["content"]


def test_a_replay_can_be_recorded_after_its_source_has_gone(
    place: Workspace, task: Task, called: Result, tmp_path: Path
) -> None:
    file = tmp_path / "recording.json"
    file.write_bytes((place.run(called.run.id) / "recording.json").read_bytes())
    again = replay(str(file), task, place)
    before = recording.load(again.run.id, place)
    file.unlink()
    assert recording.load(again.run.id, place).steps == before.steps
    assert [len(step.calls) for step in before.steps] == [2, 2, 2]


def test_judging_a_model_s_answers_again(place: Workspace, task: Task, called: Result) -> None:
    again = replay(called.run.id, task, place, rejudge=True, engine=ENGINE)
    assert again.rejudged is not None
    assert (again.rejudged.compared, again.rejudged.differences) == (3, ())


def test_recordings_without_calls_are_still_read(place: Workspace, task: Task, recorded: Result, tmp_path: Path) -> None:
    path = place.run(recorded.run.id) / "recording.json"
    data = json.loads(path.read_text())
    assert data["format"] == 2
    data["format"] = 1
    for step in data["steps"]:
        del step["calls"]
    (tmp_path / "old.json").write_text(json.dumps(data))
    again = replay(str(tmp_path / "old.json"), task, place)
    assert steps(again) == steps(recorded)
