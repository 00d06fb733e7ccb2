"""Real processes, really killed: nothing committed is lost, nothing is spent twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from processes import spawn, the_run, told, until
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent.run import resume
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.tasks.records import Kernel


def optimize(home: Path, task: str, *more: str) -> subprocess.Popen[str]:
    fixed = ("--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--policy", "greedy")
    return spawn(home, "optimize", task, *fixed, "--budget", "4", *more)


def asked(home: Path) -> list[str]:
    path = home / "asked"
    return path.read_text().split() if path.is_file() else []


def test_kill_9_while_judging_asks_no_writer_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    script(home, kernel("passed 1.2"), kernel("sleep 30; passed 1.5", 2), kernel("passed 1.1", 3))
    process = optimize(home, reference(tmp_path))
    until(lambda: len(asked(home)) == 2, process)
    time.sleep(0.5)  # past the commit of the answer, into the fake judging of 30 s
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    run = the_run(home)
    assert run.status == "running"
    _answer_in_store_sleeps_no_more(home, run.id)
    (outcome,) = resume(run.id, Workspace.at(home, None), Silence()).outcomes
    assert outcome.status == "improved"
    assert outcome.attempts == 4
    assert max(Counter(asked(home)).values()) == 1
    assert len(asked(home)) == 4


def _answer_in_store_sleeps_no_more(home: Path, run: str) -> None:
    """The second kernel sleeps 30 s in the fake judge; its answer is replaced so that the test stays short."""
    store = Workspace.at(home, None).open_store()
    step = store.steps(run)[1]
    assert step.answer is not None
    assert step.verdict is None
    store.answer(step.idea.id, replace(step.answer, kernel=Kernel("# judge: passed 1.5", "cpp")))
    store.close()


def test_kill_9_while_writing_loses_that_answer_only(tmp_path: Path) -> None:
    home = tmp_path / "home"
    script(home, kernel("passed 1.2"), f"~60 {kernel('passed 1.5', 2)}")
    process = optimize(home, reference(tmp_path))
    until(lambda: len(asked(home)) == 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    script(home, "never", kernel("passed 1.5", 2), kernel("passed 1.1", 3))
    (outcome,) = resume(the_run(home).id, Workspace.at(home, None), Silence()).outcomes
    counts = Counter(i.rsplit("-", 1)[1] for i in asked(home))
    assert counts == {"001": 1, "002": 2, "003": 1, "004": 1}
    assert outcome.verdict is not None
    assert outcome.verdict.speedup == pytest.approx(1.5)


def test_ctrl_c_finishes_the_step_in_flight_and_says_how_to_go_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    script(home, kernel("passed 1.2"), kernel("sleep 1.5; passed 1.5", 2), kernel("passed 1.1", 3))
    process = optimize(home, reference(tmp_path))
    until(lambda: len(asked(home)) == 2, process)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    result = json.loads(out)
    assert result["status"] == "interrupted"
    assert result["tasks"][0]["attempts"] == 2
    assert "Ctrl-C again" in err
    then = spawn(home, "resume", result["run"])
    assert told(then)["tasks"][0]["attempts"] == 4
    assert then.returncode == 0
    assert max(Counter(asked(home)).values()) == 1


def test_a_second_ctrl_c_aborts_at_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    script(home, f"~60 {kernel('passed 1.2')}")
    process = optimize(home, reference(tmp_path), "--jobs", "2")
    until(lambda: len(asked(home)) == 2, process)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    assert the_run(home).status == "interrupted"
