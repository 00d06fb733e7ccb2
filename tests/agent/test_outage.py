"""A run whose Chroma server is killed in the middle: it waits for the server, or stops with one line; nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from processes import TESTS, spawn, the_run, told, until
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import Step

ATTEMPTS = 6
HASTY = """
import sys
from kernelwright.agent.cli.app import run
from kernelwright.memory import chroma_server
chroma_server.PATIENCE = chroma_server.ANSWER = 2.0
sys.exit(run(sys.argv[1:]))
"""
"""The command line of one that waits for two seconds only."""


@pytest.fixture
def chroma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[servers.Chroma]:
    (tmp_path / "chroma").mkdir()
    with servers.chroma(tmp_path / "chroma") as server:
        monkeypatch.setenv("KERNELWRIGHT_INDEX", server.url)
        monkeypatch.setenv("KERNELWRIGHT_HOME", str(tmp_path / "home"))
        yield server


def optimized(tmp_path: Path) -> list[str]:
    """The command line; every kernel is another one, and the third takes a while to be judged."""
    judged = [f"passed 1.{n}" for n in range(1, ATTEMPTS + 1)]
    judged[2] = f"sleep 2; {judged[2]}"
    script(tmp_path / "home", *(kernel(says, n) for n, says in enumerate(judged)))
    fixed = ["--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--policy", "greedy"]
    return ["optimize", reference(tmp_path), *fixed, "--budget", str(ATTEMPTS)]


def asked(home: Path) -> list[str]:
    path = home / "asked"
    return path.read_text().split() if path.is_file() else []


def steps(home: Path) -> tuple[Step, ...]:
    store = Workspace.at(home, None).open_store()
    try:
        return store.steps(the_run(home).id)
    finally:
        store.close()


def level(home: Path) -> bool:
    """Whether the index has each experience of the store: by the counts of who opens it anew."""
    stats = told(spawn(home, "memory", "stats"))["memory"]
    return bool(stats["indexed"] == stats["experiences"] > 0)


def complete(home: Path) -> bool:
    """All attempts are there and learned, each was asked for once, and the index knows of them."""
    once = max(Counter(asked(home)).values()) == 1
    return once and [step.learned for step in steps(home)] == [True] * ATTEMPTS and level(home)


def killed_at_the_third(home: Path, chroma: servers.Chroma, process: subprocess.Popen[str]) -> None:
    until(lambda: len(asked(home)) == 3, process)
    chroma.stop(signal.SIGKILL)


def frozen(home: Path, chroma: servers.Chroma, process: subprocess.Popen[str]) -> None:
    """Its connections stay, and nobody answers."""
    until(lambda: len(asked(home)) == 3, process)
    os.kill(chroma.pid, signal.SIGSTOP)


@pytest.mark.parametrize("seconds", [3.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_a_server_that_is_down_for_a_while_is_waited_for(tmp_path: Path, chroma: servers.Chroma, seconds: float) -> None:
    home = tmp_path / "home"
    process = spawn(home, *optimized(tmp_path))
    killed_at_the_third(home, chroma, process)
    time.sleep(2 + seconds)  # the third is judged and learned: it is the fourth's recall that finds nobody
    assert process.poll() is None
    assert len(asked(home)) == 3
    chroma.start()
    out, said = process.communicate(timeout=60)
    assert json.loads(out)["tasks"][0]["attempts"] == ATTEMPTS
    assert process.returncode == 0
    assert complete(home)
    assert said.count(f"the Chroma server {chroma.url} does not answer: waiting for it, at most 120 s") == 1
    assert said.count(f"the Chroma server {chroma.url} answers again, after ") == 1


def test_what_a_server_lost_is_put_back_from_the_store(tmp_path: Path, chroma: servers.Chroma) -> None:
    home = tmp_path / "home"
    process = spawn(home, *optimized(tmp_path))
    killed_at_the_third(home, chroma, process)
    for file in (tmp_path / "chroma").rglob("*"):
        if file.is_file() and file.name != "log":
            file.unlink()
    chroma.start()
    told(process)
    assert process.returncode == 0
    assert complete(home)


@pytest.mark.parametrize("how", [killed_at_the_third, pytest.param(frozen, marks=pytest.mark.slow)])
def test_one_that_stays_away_is_one_line_and_resume_goes_on(tmp_path: Path, chroma: servers.Chroma, how: Any) -> None:
    home = tmp_path / "home"
    hasty = [sys.executable, "-c", HASTY, *optimized(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(hasty, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    how(home, chroma, process)
    _, said = process.communicate(timeout=30)
    id_ = the_run(home).id
    assert process.returncode == 2
    assert said.count(f"the Chroma server {chroma.url} failed") == 1
    assert f"kernelwright resume {id_}" in said
    assert "Traceback" not in said
    assert the_run(home).status == "interrupted"
    assert [step.learned for step in steps(home)] == [True] * 3
    chroma.stop(signal.SIGKILL)
    chroma.start()
    resumed = spawn(home, "resume", id_)
    assert told(resumed)["tasks"][0]["attempts"] == ATTEMPTS
    assert complete(home)


@pytest.mark.slow
def test_one_that_goes_when_all_is_done_costs_nothing(tmp_path: Path, chroma: servers.Chroma) -> None:
    """What the server was not told of is put there by who opens the memory next."""
    home = tmp_path / "home"
    command = optimized(tmp_path)
    lines = [kernel("passed 1.2"), kernel("sleep 2; passed 1.5", 1)]
    script(home, *lines)
    process = spawn(home, *command[:-1], str(len(lines)))
    until(lambda: len(asked(home)) == len(lines), process)
    chroma.stop(signal.SIGKILL)
    told(process)
    assert process.returncode == 0
    assert [step.learned for step in steps(home)] == [True] * len(lines)
    chroma.start()
    assert level(home)
