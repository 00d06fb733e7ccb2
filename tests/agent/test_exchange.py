"""The exchange: prompts out, answers in, and what is refused on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from scripted import ENGINE, kernel, reference

from kernelwright.agent.exchange.seat import Seat
from kernelwright.agent.exchange.sheets import MOST_BYTES, put_down, sheets
from kernelwright.agent.workspace import Workspace
from kernelwright.agent.writers.exchange import POLL_SECONDS, Exchange
from kernelwright.agent.writers.writer import Assignment, Setup
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory.records import Context
from kernelwright.tasks.errors import BudgetSpent, InputError, KernelwrightError, Pending, UnknownName
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Answer, Idea, IdeaStage

TESTS = Path(__file__).parent.parent


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    task = load_task(reference(tmp_path))
    idea = Idea("run", task.name, 1, IdeaStage.DRAFT)
    return Assignment(idea, task, "cpp", DeviceInfo("cpu", "a cpu"), Context())


def exchange(home: Path) -> Exchange:
    return Exchange(Setup("exchange", home, f"sqlite:///{home}/store.db"))


def test_the_prompt_goes_out_once_and_waits(tmp_path: Path, assignment: Assignment) -> None:
    with pytest.raises(Pending):
        exchange(tmp_path).write(assignment)
    folder = tmp_path / "exchange" / assignment.idea.id
    prompt = (folder / "prompt.md").read_text()
    assert "return x + 1" in prompt
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["id"] == assignment.idea.id
    assert meta["task"] == assignment.task.name
    (folder / "prompt.md").write_text(prompt + "a person's note")
    with pytest.raises(Pending):
        exchange(tmp_path).write(assignment)
    assert (folder / "prompt.md").read_text().endswith("a person's note")


def test_an_answer_is_read_byte_for_byte(tmp_path: Path, assignment: Assignment) -> None:
    with pytest.raises(Pending):
        exchange(tmp_path).write(assignment)
    text = "Model: somebody\r\nStrategy: fuse it\r\n" + kernel("passed 2").replace("\n", "\r\n")
    put_down(tmp_path / "exchange", assignment.idea.id, text.encode())
    answer = exchange(tmp_path).write(assignment)
    assert answer.text == text
    assert answer.kernel is not None
    assert "class ModelNew" in answer.kernel.source
    assert answer.model == "exchange: somebody"
    assert answer.prompt == (tmp_path / "exchange" / assignment.idea.id / "prompt.md").read_text()
    assert answer.cost_usd == 0.0


def test_rubbish_is_an_unreadable_answer_not_an_error(tmp_path: Path, assignment: Assignment) -> None:
    with pytest.raises(Pending):
        exchange(tmp_path).write(assignment)
    (tmp_path / "exchange" / assignment.idea.id / "answer.md").write_text("I would rather not.")
    answer = exchange(tmp_path).write(assignment)
    assert answer.kernel is None
    assert answer.problem


def test_an_empty_answer_file_is_still_being_written(tmp_path: Path, assignment: Assignment) -> None:
    with pytest.raises(Pending):
        exchange(tmp_path).write(assignment)
    (tmp_path / "exchange" / assignment.idea.id / "answer.md").write_text("\n")
    with pytest.raises(Pending):
        exchange(tmp_path).write(assignment)


def test_submit_refuses_what_cannot_be_an_answer(tmp_path: Path, assignment: Assignment) -> None:
    with pytest.raises(Pending):
        exchange(tmp_path).write(assignment)
    root, idea = tmp_path / "exchange", assignment.idea.id
    for name in ("nobody", f"../exchange/{idea}", ""):
        with pytest.raises(UnknownName, match=f"unknown idea '{name}'") as unknown:
            put_down(root, name, b"text")
        assert idea in unknown.value.remedy
    with pytest.raises(InputError, match="the answer is empty"):
        put_down(root, idea, b" \n")
    with pytest.raises(InputError, match="a.md is not UTF-8"):
        put_down(root, idea, b"\xff\xfe\x00", source="a.md")
    with pytest.raises(InputError, match="bytes, more than"):
        put_down(root, idea, b"x" * (MOST_BYTES + 1))
    assert not sheets(root)[0].answered
    put_down(root, idea, b"text")
    with pytest.raises(InputError, match="answered already"):
        put_down(root, idea, b"other")
    assert sheets(root)[0].answer.read_text() == "text"
    put_down(root, idea, b"other", replace=True)
    assert sheets(root)[0].answer.read_text() == "other"


def test_an_empty_answer_file_is_nobodys_answer(tmp_path: Path, assignment: Assignment) -> None:
    with pytest.raises(Pending):
        exchange(tmp_path).write(assignment)
    sheets(tmp_path / "exchange")[0].answer.write_text("")
    assert put_down(tmp_path / "exchange", assignment.idea.id, b"text").answered


def test_of_two_answers_at_once_one_is_taken(tmp_path: Path, assignment: Assignment) -> None:
    with pytest.raises(Pending):
        exchange(tmp_path).write(assignment)
    root, start = tmp_path / "exchange", threading.Barrier(8)

    def submit(number: int) -> bool:
        start.wait()
        try:
            put_down(root, assignment.idea.id, b"answer %d" % number)
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(submit, range(8)))
    assert taken.count(True) == 1
    assert sheets(root)[0].answer.read_text() == f"answer {taken.index(True)}"
    assert {path.name for path in sheets(root)[0].folder.iterdir()} == {"prompt.md", "meta.json", "answer.md"}


def test_sheets_are_listed_oldest_first(tmp_path: Path, assignment: Assignment) -> None:
    with pytest.raises(Pending):
        exchange(tmp_path).write(assignment)
    later = Assignment(
        Idea("a", assignment.task.name, 2, IdeaStage.DRAFT), assignment.task, "cpp", assignment.device, Context()
    )
    with pytest.raises(Pending):
        exchange(tmp_path).write(later)
    assert [s.id for s in sheets(tmp_path / "exchange")] == [assignment.idea.id, later.idea.id]
    assert not any(s.answered for s in sheets(tmp_path / "exchange"))
    assert sheets(tmp_path / "nowhere") == ()
    assert [s.id for s in sheets(tmp_path / "exchange", run="a")] == [later.idea.id]


def waiting(home: Path, stopping: threading.Event, **more: Any) -> Exchange:
    return Exchange(Setup("exchange", home, "", wait=True, stopping=stopping.is_set, **more))


def begun(writer: Exchange, assignment: Assignment) -> Future[Answer]:
    """The answer that a thread of its own waits for."""
    future: Future[Answer] = Future()

    def write() -> None:
        try:
            future.set_result(writer.write(assignment))
        except KernelwrightError as error:
            future.set_exception(error)

    threading.Thread(target=write, daemon=True).start()
    return future


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "the condition never came"
        time.sleep(0.01)


def test_a_waiting_writer_takes_the_answer_when_it_comes(tmp_path: Path, assignment: Assignment) -> None:
    answer = begun(waiting(tmp_path, threading.Event()), assignment)
    root = tmp_path / "exchange"
    until(lambda: bool(sheets(root)))
    time.sleep(2 * POLL_SECONDS)
    assert not answer.done()
    put_down(root, assignment.idea.id, kernel("passed 2").encode())
    assert answer.result(timeout=30).text == kernel("passed 2")


def test_a_waiting_writer_does_not_take_half_an_answer(tmp_path: Path, assignment: Assignment) -> None:
    answer = begun(waiting(tmp_path, threading.Event()), assignment)
    until(lambda: bool(sheets(tmp_path / "exchange")))
    with sheets(tmp_path / "exchange")[0].answer.open("w") as file:
        for line in kernel("passed 2").splitlines(keepends=True):  # written for longer than the writer looks twice
            file.write(line)
            file.flush()
            time.sleep(POLL_SECONDS / 4)
    assert answer.result(timeout=30).text == kernel("passed 2")


def test_a_waiting_writer_leaves_when_the_run_does(tmp_path: Path, assignment: Assignment) -> None:
    stopping = threading.Event()
    answer = begun(waiting(tmp_path, stopping), assignment)
    until(lambda: bool(sheets(tmp_path / "exchange")))
    stopping.set()
    assert isinstance(answer.exception(timeout=5), Pending)
    assert not sheets(tmp_path / "exchange")[0].answered


class Over:
    """A ledger of a run whose time is over."""

    def left(self) -> str:
        return "the run's time is over"


def test_nobody_is_to_answer_when_the_runs_time_is_over(tmp_path: Path, assignment: Assignment) -> None:
    with pytest.raises(BudgetSpent, match="time is over"):
        waiting(tmp_path, threading.Event(), ledger=Over()).write(assignment)
    assert sheets(tmp_path / "exchange") == ()


def test_jobs_prompts_are_all_out_at_once_and_ctrl_c_leaves_a_run_to_resume(tmp_path: Path) -> None:
    home, task = tmp_path / "home", reference(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "KERNELWRIGHT_HOME": str(home)}
    line = ["optimize", task, "--model", "exchange", "--engine", ENGINE, "--backend", "cpp", "--jobs", "3", "--budget", "3"]
    command = [sys.executable, "-m", "kernelwright", *line, "--wait", "--json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seat = Seat(Workspace.at(home, None))
    until(lambda: len(seat.waiting()) == 3 or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    first, second, _ = sorted(seat.waiting(), key=lambda sheet: sheet.id)  # judged in the order in which they were asked
    seat.submit(first.id, kernel("passed 1.5").encode())
    until(lambda: seat.seen(first.id).state == "judged")
    seat.submit(second.id, b"no kernel in here")
    until(lambda: seat.seen(second.id).state == "unreadable")
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    data = json.loads(out)
    assert f"prompts come to {home / 'exchange'}" in err
    assert (process.returncode, data.get("status"), data["tasks"][0]["attempts"]) == (130, "interrupted", 2), data
    (left,) = seat.waiting()
    seat.submit(left.id, kernel("passed 1.2", 3).encode())
    subprocess.run([*command[:3], "resume", data["run"]], env=environment, capture_output=True, check=True, timeout=60)
    assert [seat.seen(idea.id).state for idea in (first, second, left)] == ["judged", "unreadable", "judged"]
