"""The exchange: prompts out, answers in, and what is refused on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted import kernel, reference

from kernelwright.agent.writers.exchange import Exchange, sheets, submit
from kernelwright.agent.writers.writer import Assignment, Setup
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory.records import Context
from kernelwright.tasks.errors import InputError, Pending, UnknownName
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Idea, IdeaStage


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
    answer_file = tmp_path / "answer.txt"
    answer_file.write_bytes(text.encode())
    submit(tmp_path / "exchange", assignment.idea.id, answer_file)
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
    good, empty, binary = tmp_path / "good.md", tmp_path / "empty.md", tmp_path / "binary"
    good.write_text("text")
    empty.write_text(" \n")
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnknownName, match="unknown idea 'nobody'") as unknown:
        submit(root, "nobody", good)
    assert idea in unknown.value.remedy
    with pytest.raises(InputError, match="cannot be read"):
        submit(root, idea, tmp_path / "missing.md")
    with pytest.raises(InputError, match="is empty"):
        submit(root, idea, empty)
    with pytest.raises(InputError, match="not UTF-8"):
        submit(root, idea, binary)
    submit(root, idea, good)
    with pytest.raises(InputError, match="answered already"):
        submit(root, idea, good)
    submit(root, idea, good, replace=True)


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
