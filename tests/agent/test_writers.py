"""The writers that need no network, by the conformance class of the seam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conformance.writers import PendingWriterConformance, WriterConformance
from scripted import kernel

from kernelwright.agent.recording import RecordedStep, Recording, save
from kernelwright.agent.writers.exchange import Exchange
from kernelwright.agent.writers.fake import FakeWriter
from kernelwright.agent.writers.playbook import Playbook
from kernelwright.agent.writers.replay import Replay
from kernelwright.agent.writers.writer import Assignment, Setup, Writer
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Answer, Idea, IdeaStage, Kernel


def setup(name: str, home: Path) -> Setup:
    return Setup(name, home, f"sqlite:///{home / 'store.db'}")


class TestFake(WriterConformance):
    @pytest.fixture
    def writer(self, tmp_path: Path) -> Writer:
        return FakeWriter([kernel("passed 1")])


class TestFakeRubbish(WriterConformance):
    readable = False

    @pytest.fixture
    def writer(self, tmp_path: Path) -> Writer:
        return FakeWriter([""])


class TestPlaybook(WriterConformance):
    @pytest.fixture
    def writer(self, tmp_path: Path) -> Iterator[Writer]:
        writer = Playbook(setup("playbook", tmp_path))
        yield writer
        writer.close()


class TestExchange(PendingWriterConformance):
    @pytest.fixture
    def writer(self, tmp_path: Path) -> Writer:
        self.home = tmp_path
        return Exchange(setup("exchange", tmp_path))

    def reply(self, writer: Writer, assignment: Assignment) -> None:
        (self.home / "exchange" / assignment.idea.id / "answer.md").write_text(kernel("passed 1"))


class TestReplay(WriterConformance):
    @pytest.fixture
    def writer(self, tmp_path: Path, assignment: Assignment) -> Writer:
        task = load_task(assignment.task.name)
        idea = Idea("old", task.name, 1, IdeaStage.DRAFT)
        source = "class ModelNew: ..."
        step = RecordedStep(idea, Answer(source, Kernel(source, "cpp"), cost_usd=3.0), None)
        save(Recording("old", {}, None, (task,), (step,)), tmp_path / "recording.json")
        return Replay(setup(f"replay:{tmp_path}", tmp_path))

    def test_another_backend_is_written_for_or_told(self, writer: Writer, assignment: Assignment) -> None:
        with pytest.raises(InputError, match="recorded for backend cpp, not for triton"):
            writer.write(replace(assignment, backend="triton"))
