"""A run at work is watched from outside, paused, let go on, given more attempts, stopped; and resumed where it was."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from preloaded import Preloaded
from processes import TESTS, spawn, the_run, told, until
from scripted import ENGINE, MODEL, kernel, reference, script
from tiny_suite import SUITE, clone

from kernelwright.agent import control
from kernelwright.agent.cli.app import run as command
from kernelwright.agent.sight import Sight, look
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.store import Store
from kernelwright.tasks.errors import InputError, UnknownName


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


@pytest.fixture
def store(place: Workspace) -> Iterator[Store]:
    store = place.open_store()
    yield store
    store.close()


def begin(place: Workspace, folder: Path, *more: str, pause: float = 0.3, budget: int = 4) -> Preloaded:
    """A run of slow attempts, each a little faster than the one before."""
    script(place.home, *(f"~{pause} {kernel(f'passed 1.{n}', n)}" for n in range(1, 10)))
    arguments = ("optimize", reference(folder), "--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--policy", "greedy")
    process = spawn(place.home, *arguments, "--budget", str(budget), *more)
    until((place.home / "asked").is_file, process)
    return process


def sight(place: Workspace, store: Store) -> Sight:
    return look(the_run(place.home).id, place, store)


def at_rest(place: Workspace, store: Store, process: Preloaded) -> str:
    """Wait until it asks nothing more, for the time of three attempts; what it asked. One that does not pause comes to its end.

    Seen between two attempts, it may ask once more before it looks at what it was told.
    """
    while True:
        until(lambda: not sight(place, store).tasks[0].in_flight, process)
        asked = (place.home / "asked").read_text()
        time.sleep(0.9)
        if (place.home / "asked").read_text() == asked and not sight(place, store).tasks[0].in_flight:
            return asked


def call(capsys: pytest.CaptureFixture[str], place: Workspace, *arguments: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = command(["watch", *arguments, "--home", str(place.home), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_paused_resumed_and_stopped(place: Workspace, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = begin(place, tmp_path, budget=9)
    run = the_run(place.home).id
    assert call(capsys, place, run, "--pause")[1]["watch"]["wish"] == "pause"
    asked = at_rest(place, store, process)
    assert sight(place, store).working
    assert sight(place, store).tasks[0].attempts < 9
    assert call(capsys, place, run, "--go")[0] == 0
    until(lambda: (place.home / "asked").read_text() != asked, process)
    assert call(capsys, place, run, "--stop")[0] == 0
    done = told(process)
    assert process.returncode == 130
    attempts = done["tasks"][0]["attempts"]
    assert done["status"] == "interrupted"
    assert 1 <= attempts < 9
    process = spawn(place.home, "resume", run)  # the wish to stop has ended with the process that heeded it
    assert told(process)["tasks"][0]["attempts"] == 9
    assert process.returncode == 0
    assert len(set((place.home / "asked").read_text().split())) == 9


def test_stopped_while_it_is_paused(place: Workspace, store: Store, tmp_path: Path) -> None:
    process = begin(place, tmp_path)
    run = the_run(place.home).id
    control.ask(run, "pause", place)
    until(lambda: not sight(place, store).tasks[0].in_flight, process)
    control.ask(run, "stop", place)
    assert told(process)["status"] == "interrupted"


def test_what_is_in_flight_is_finished(place: Workspace, store: Store, tmp_path: Path) -> None:
    process = begin(place, tmp_path, "--jobs", "2", pause=0.8)
    run = the_run(place.home).id
    until(lambda: sight(place, store).tasks[0].in_flight == 2, process)
    control.ask(run, "pause", place)
    until(lambda: not sight(place, store).tasks[0].in_flight, process)
    assert all(step.learned for step in store.steps(run))
    assert len(store.steps(run)) == 2
    control.ask(run, "go", place)
    assert told(process)["tasks"][0]["attempts"] == 4


def test_a_budget_is_raised_while_the_run_works(place: Workspace, store: Store, tmp_path: Path) -> None:
    process = begin(place, tmp_path, budget=3)
    run = the_run(place.home).id
    assert control.raise_budget(run, 6, place) == 3
    done = told(process)
    assert (done["tasks"][0]["attempts"], done["status"]) == (6, "finished")
    assert store.run(run).config["budget"] == 6
    with pytest.raises(InputError, match="finished"):
        control.raise_budget(run, 9, place)


def test_a_budget_that_was_raised_between_two_processes_counts(place: Workspace, tmp_path: Path) -> None:
    process = begin(place, tmp_path, budget=5)
    run = the_run(place.home).id
    control.ask(run, "stop", place)
    assert told(process)["status"] == "interrupted"
    control.raise_budget(run, 7, place)
    assert told(spawn(place.home, "resume", run))["tasks"][0]["attempts"] == 7


@pytest.mark.parametrize(("option", "limit", "name"), [("--max-usd", "0.5", "usd"), ("--max-seconds", "1.0", "seconds")])
def test_a_limit_is_raised_while_the_run_works(
    place: Workspace, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, limit: str, name: str
) -> None:
    process = begin(place, tmp_path, option, limit, budget=6)  # enough for two attempts, or three
    run = the_run(place.home).id
    code, data = call(capsys, place, run, option, "60")
    assert (code, data["watch"]["limits"]) == (0, {name: 60})
    done = told(process)
    assert (done["tasks"][0]["attempts"], done["status"]) == (6, "finished")
    assert call(capsys, place, run, option, "90")[0] == 2  # it is finished


def test_the_money_of_each_task_is_raised_while_a_bench_works(
    place: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(place.home, *(f"~0.4 {kernel('passed 1.2', n)}" for n in range(6)))
    path = str(clone(tmp_path / "clone", "level1/1_add"))
    asked = ["bench", "--suite", SUITE, "--path", path, "--model", MODEL, "--engine", ENGINE, "--backend", "cpp"]
    process = spawn(place.home, *asked, "--attempts", "5", "--task-usd", "0.5")  # enough for two attempts
    until(lambda: (place.home / "asked").is_file(), process)
    run = the_run(place.home).id
    assert call(capsys, place, run, "--max-usd", "9")[1]["error"]["message"].endswith("has no such limit")
    assert call(capsys, place, run, "--task-usd", "0.5")[1]["error"]["message"].endswith("has 0.5 already")
    code, data = call(capsys, place, run, "--task-usd", "1")
    assert (code, data["watch"]["limits"]) == (0, {"task_usd": 1})
    (record,) = told(process)["records"]
    assert (record["attempts"], record["cost_usd"]) == (4, 1.0)
    assert "$1.00 a task spent" in record["reason"]


def test_limits_that_were_raised_between_two_processes_count(place: Workspace, tmp_path: Path) -> None:
    process = begin(place, tmp_path, "--max-usd", "0.75", budget=5)
    run = the_run(place.home).id
    control.ask(run, "stop", place)
    assert told(process)["status"] == "interrupted"
    control.raise_limits(run, {"usd": 9.0}, place)
    assert told(spawn(place.home, "resume", run))["tasks"][0]["attempts"] == 5


def test_a_limit_that_is_not_raised_still_ends_the_task(place: Workspace, tmp_path: Path) -> None:
    done = told(begin(place, tmp_path, "--max-usd", "0.5", budget=6, pause=0.05))
    assert done["tasks"][0]["attempts"] == 2


def test_a_limit_is_only_raised_and_only_where_there_is_one(place: Workspace, store: Store, tmp_path: Path) -> None:
    process = begin(place, tmp_path, "--max-tokens", "500", pause=1.0)
    run = the_run(place.home).id
    with pytest.raises(InputError, match="--max-tokens is 500"):
        control.raise_limits(run, {"tokens": 500}, place)
    with pytest.raises(InputError, match="--max-usd is 3, and run .* has no such limit"):
        control.raise_limits(run, {"tokens": 900, "usd": 3}, place)
    assert store.run(run).config["limits"]["tokens"] == 500, "none is changed where one cannot be"
    control.raise_limits(run, {"tokens": 900}, place)
    assert store.run(run).config["limits"]["tokens"] == 900
    control.ask(run, "stop", place)
    told(process)


def test_what_cannot_be_asked(place: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, place)[1]["error"]["message"] == "no run is there to watch"
    process = begin(place, tmp_path, pause=0.05, budget=2)
    told(process)
    run = the_run(place.home).id
    code, data = call(capsys, place, run, "--pause")
    assert code == 2
    assert data["error"]["message"] == f"no process of this workspace is at work on run {run}"
    assert call(capsys, place, run, "--pause", "--stop")[0] == 2
    assert call(capsys, place, "nobody")[0] == 2
    with pytest.raises(InputError, match="'dance'"):
        control.ask(run, "dance", place)
    with pytest.raises(UnknownName):
        control.raise_budget("nobody", 5, place)


def test_a_budget_is_not_lowered_and_a_stop_not_taken_back(place: Workspace, tmp_path: Path) -> None:
    process = begin(place, tmp_path, pause=1.0)
    run = the_run(place.home).id
    with pytest.raises(InputError, match="--budget is 4"):
        control.raise_budget(run, 4, place)
    control.ask(run, "stop", place)
    with pytest.raises(InputError, match="is stopping"):
        control.ask(run, "go", place)
    told(process)


def test_the_sight_is_that_of_the_store(
    place: Workspace, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(place.home, "rubbish", kernel("incorrect"), kernel("passed 1.5"), kernel("passed 1.2", 2))
    task = reference(tmp_path)
    arguments = ["optimize", task, "--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--policy", "greedy"]
    assert command([*arguments, "--budget", "4", "--home", str(place.home)]) == 0
    code, data = call(capsys, place)
    (row,) = data["watch"]["tasks"]
    outcome = store.outcomes(data["watch"]["run"])[row["task"]]
    assert (code, row["attempts"], row["passed"], row["in_flight"]) == (0, 4, 2, 0)
    assert row["best"]["id"] == outcome.best
    assert [e["status"] for e in data["watch"]["errors"]] == ["incorrect", "unreadable"]
    assert data["watch"]["device"]["name"] == "fake device"
    assert data["watch"]["spent"]["cost_usd"] == pytest.approx(1.0)
    assert command(["watch", "--home", str(place.home)]) == 0
    out = capsys.readouterr().out
    assert "finished" in out
    assert "no code block" in out


def test_on_a_terminal_keys_pause_and_stop(place: Workspace, store: Store, tmp_path: Path) -> None:
    process = begin(place, tmp_path, "--max-usd", "40", budget=9)
    ours, theirs = pty.openpty()
    paths = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH", ""))))
    told_of = {**os.environ, "PYTHONPATH": paths, "KERNELWRIGHT_HOME": str(place.home), "TERM": "xterm", "COLUMNS": "120"}
    watching = subprocess.Popen(
        [sys.executable, "-m", "kernelwright", "watch"], env=told_of, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    screen = Screen(ours)
    try:
        screen.until("running", watching)
        os.write(ours, b"p")
        screen.until("paused", watching)
        at_rest(place, store, process)
        os.write(ours, b"+")
        screen.until("14 attempts a task", watching)
        os.write(ours, b"$")
        screen.until("up to 60 usd", watching)
        os.write(ours, b"w")
        screen.until("no limit of seconds", watching)
        os.write(ours, b"s")
        done = told(process)
        assert done["status"] == "interrupted"
        assert store.run(done["run"]).config["budget"] == 14
        screen.until("interrupted", watching)
        assert watching.wait(20) == 0
    finally:
        watching.kill()
        watching.wait()
        os.close(ours)


@pytest.mark.slow
def test_the_playbook_at_work_with_the_real_judge(place: Workspace, store: Store) -> None:
    judged = ("--baselines", "eager", "--timing-seconds", "0.2", "--backend", "cpp", "--device", "cpu")
    process = spawn(place.home, "optimize", "core/activation/gelu_tanh", "--model", "playbook", "--budget", "5", *judged)

    def learned() -> int:
        return sum(step.learned for run in store.runs() for step in store.steps(run.id))

    until(lambda: learned() >= 1, process)
    run = the_run(place.home).id
    control.ask(run, "pause", place)
    until(lambda: not sight(place, store).tasks[0].in_flight, process)
    count = learned()
    time.sleep(4)  # an attempt takes about two
    assert learned() == count < 5
    control.ask(run, "go", place)
    until(lambda: learned() > count, process)
    control.ask(run, "stop", place)
    stopped = told(process)
    assert (stopped["status"], process.returncode) == ("interrupted", 130)
    out, _ = spawn(place.home, "resume", run).communicate(timeout=400)  # further attempts, and the winner's audit
    resumed = json.loads(out)
    assert resumed["tasks"][0]["attempts"] == 5
    assert resumed["tasks"][0]["status"] in ("improved", "solved")


class Screen:
    """What was written to a terminal."""

    def __init__(self, end: int) -> None:
        self._end, self._text = end, ""

    def until(self, words: str, process: subprocess.Popen[bytes]) -> None:
        """Wait until ``words`` were written; what came before them is forgotten."""
        end = time.monotonic() + 30
        while words not in self._text:
            assert time.monotonic() < end, self._text[-2000:]
            if select.select([self._end], [], [], 0.1)[0]:
                try:
                    self._text += os.read(self._end, 65536).decode("utf-8", "replace")
                except OSError:  # the other side has closed
                    assert words in self._text, self._text[-2000:]
        self._text = self._text.partition(words)[2]
