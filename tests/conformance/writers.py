"""What every writer must do. A new writer passes by overriding the ``writer`` fixture, and ``pending`` if it waits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scripted import reference

from kernelwright.agent.writers.writer import Assignment, Writer
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory.records import Context
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import Pending
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Answer, Attempt, Idea, IdeaStage


class WriterConformance:
    """Subclass and override ``writer``; ``answered`` gives its answer where somebody else must answer first."""

    readable = True
    """Whether the fixture's writer gives a kernel for the plain task of these tests."""

    @pytest.fixture
    def writer(self, tmp_path: Path) -> Writer:
        raise NotImplementedError

    @pytest.fixture
    def assignment(self, tmp_path: Path) -> Assignment:
        task = load_task(reference(tmp_path))
        idea = Idea("run", task.name, 1, IdeaStage.DRAFT, seed=7)
        return Assignment(idea, task, "cpp", DeviceInfo("cpu", "a cpu", cores=2), Context())

    def answered(self, writer: Writer, assignment: Assignment) -> Answer:
        return writer.write(assignment)

    def test_it_has_a_name(self, writer: Writer) -> None:
        assert writer.name

    def test_an_answer_is_whole(self, writer: Writer, assignment: Assignment) -> None:
        answer = self.answered(writer, assignment)
        assert (answer.kernel is not None) is self.readable
        assert bool(answer.problem) is not self.readable
        if answer.kernel is not None:
            assert answer.kernel.backend == "cpp"
            assert "class ModelNew" in answer.kernel.source
            assert answer.text
        assert answer.seconds >= 0
        assert answer.cost_usd is None or answer.cost_usd >= 0
        assert from_json(Answer, to_json(answer)) == answer  # the store keeps it byte for byte

    def test_another_backend_is_written_for_or_told(self, writer: Writer, assignment: Assignment) -> None:
        answer = self.answered(writer, replace(assignment, backend="triton"))
        assert answer.kernel is None or answer.kernel.backend == "triton"

    def test_it_may_be_told_of_any_attempt(self, writer: Writer, assignment: Assignment) -> None:
        idea = replace(assignment.idea, task="another task", number=3)
        writer.told(Attempt(idea, Answer("", None, problem="nothing in it", model="somebody else"), None))
        answer = self.answered(writer, assignment)
        writer.told(Attempt(assignment.idea, answer, None))

    def test_closing_may_be_repeated(self, writer: Writer, assignment: Assignment) -> None:
        writer.close()
        writer.close()


class PendingWriterConformance(WriterConformance):
    """For writers that wait for somebody else: override ``reply`` too, which puts the answer where they read it."""

    def reply(self, writer: Writer, assignment: Assignment) -> None:
        raise NotImplementedError

    def answered(self, writer: Writer, assignment: Assignment) -> Answer:
        with pytest.raises(Pending):
            writer.write(assignment)
        self.reply(writer, assignment)
        return writer.write(assignment)

    def test_it_waits_until_somebody_answers(self, writer: Writer, assignment: Assignment) -> None:
        for _ in range(2):
            with pytest.raises(Pending) as raised:
                writer.write(assignment)
        assert assignment.idea.id in raised.value.message
        assert raised.value.remedy
        self.reply(writer, assignment)
        assert writer.write(assignment) == writer.write(assignment)
