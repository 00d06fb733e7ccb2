"""A run as one file: what was asked, answered and judged, so that anybody can repeat it at no cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kernelwright.agent.files import write_text
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory.records import Call, RunRecord, Step
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import InputError, UnknownName
from kernelwright.tasks.records import Answer, Idea, Task, Verdict

FORMAT = 2
REPLAY = "replay:"
"""A writer's name that starts so repeats a recording."""
READ = (1, FORMAT)
"""Formats that are read; the first one held no calls."""


@dataclass(frozen=True)
class RecordedStep:
    """One idea that was answered, and judged if a kernel could be read."""

    idea: Idea
    answer: Answer
    verdict: Verdict | None
    calls: tuple[Call, ...] = ()
    """The calls to models that the answer was made of, in order of asking; none where no model was called."""


@dataclass(frozen=True)
class Recording:
    """A recorded run. The steps of a task are in order of their numbers."""

    run: str
    config: Mapping[str, Any]
    device: DeviceInfo | None
    tasks: tuple[Task, ...]
    steps: tuple[RecordedStep, ...]
    audits: Mapping[str, Verdict] = field(default_factory=dict)
    """Job id -> verdict of the winners' further judgings."""
    devices: Mapping[str, DeviceInfo] = field(default_factory=dict)
    """Of a run over several backends: backend -> what judged its kernels; ``device`` is then the first of them."""
    format: int = FORMAT

    def of(self, task: Task) -> tuple[RecordedStep, ...]:
        """The steps of ``task``, found by its name or else by what it computes."""
        names = {t.name for t in self.tasks if t.name == task.name} or {t.name for t in self.tasks if t.task_id == task.task_id}
        return tuple(s for s in self.steps if s.idea.task in names)

    def step(self, task: Task, number: int) -> RecordedStep | None:
        """The ``number``-th recorded step of ``task``, from 1."""
        steps = self.of(task)
        return steps[number - 1] if 0 < number <= len(steps) else None


@dataclass(frozen=True)
class Defaults:
    """What a replayed run takes from its recording where the command line says nothing; all None without one."""

    backend: str | None = None
    policy: str | None = None
    budget: int | None = None
    seed: int | None = None

    @classmethod
    def of(cls, recording: Recording | None) -> Defaults:
        """The defaults that go with ``recording``: its ideas are repeated, as many as there are."""
        if recording is None:
            return cls()
        longest = max((len(recording.of(task)) for task in recording.tasks), default=0)
        return cls(recording.config.get("backend"), "recorded", max(1, longest), recording.config.get("seed"))


def record(run: str, workspace: Workspace) -> Recording:
    """The recording of a run in the store."""
    store = workspace.open_store()
    try:
        row, steps = store.run(run), store.steps(run)
        calls = _repeated(row, steps, workspace) or _by_idea(store.calls(run))
    finally:
        store.close()
    answered = tuple(
        RecordedStep(s.idea, s.answer, s.verdict, calls.get(s.idea.id, ()))
        for s in steps
        if s.answer is not None and (s.verdict is not None or s.answer.kernel is None)
    )
    audits = {p.stem: _verdict(p) for p in sorted((workspace.run(run) / "audit").glob("*.json"))}
    devices = devices_of(run, workspace)
    first, several = next(iter(devices.values()), None), {target: device for target, device in devices.items() if target}
    return Recording(run, row.config, first, row.tasks, _in_order(row.tasks, answered), audits, several)


def _by_idea(calls: Iterable[Call]) -> dict[str, tuple[Call, ...]]:
    found: dict[str, tuple[Call, ...]] = {}
    for call in calls:
        found[call.idea] = (*found.get(call.idea, ()), call)
    return found


def _repeated(row: RunRecord, steps: Iterable[Step], workspace: Workspace) -> dict[str, tuple[Call, ...]]:
    """The calls behind a replay's answers: those of the run that it repeated, at no cost and in no time.

    A replay makes none of its own. Once the repeated recording has gone, what the replay's own file kept of it is taken.
    """
    model = str(row.config.get("model", ""))
    if not model.startswith(REPLAY):
        return {}
    try:
        source = load(model.removeprefix(REPLAY), workspace)
    except InputError:
        own = workspace.run(row.id) / "recording.json"
        return {s.idea.id: s.calls for s in _read(own).steps} if own.is_file() else {}
    tasks = {task.name: task for task in row.tasks}
    found = {}
    for step in steps:
        recorded = source.step(tasks[step.idea.task], step.idea.number)
        found[step.idea.id] = tuple(_renamed(call, step.idea.id) for call in (recorded.calls if recorded else ()))
    return found


def _renamed(call: Call, idea: str) -> Call:
    return replace(call, id=f"{idea}/{call.id.rpartition('/')[2]}", idea=idea, cost_usd=0.0, seconds=0.0)


def save(recording: Recording, path: Path) -> None:
    """Write ``recording`` to ``path``."""
    write_text(path, json.dumps(to_json(recording), indent=1) + "\n")


def note_device(run: str, workspace: Workspace, device: DeviceInfo, target: str = "") -> None:
    """Keep what the run, or its part on ``target``, was judged on, for reports and recordings made later and elsewhere."""
    name = f"device@{target}.json" if target else "device.json"
    write_text(workspace.run(run) / name, json.dumps(to_json(device), indent=1) + "\n")


def device_of(run: str, workspace: Workspace) -> DeviceInfo | None:
    """What a run was judged on, the first of several; None when it never got so far."""
    return next(iter(devices_of(run, workspace).values()), None)


def devices_of(run: str, workspace: Workspace) -> dict[str, DeviceInfo]:
    """Backend -> what judged its kernels; under ``""`` where the run has but one."""
    paths = sorted(workspace.run(run).glob("device*.json"))
    return {p.stem.partition("@")[2]: from_json(DeviceInfo, json.loads(p.read_text(encoding="utf-8"))) for p in paths}


def distinct(devices: Iterable[DeviceInfo]) -> tuple[DeviceInfo, ...]:
    """Each device once: two backends may share one, with versions of their own."""
    return tuple({device.name: device for device in devices}.values())


def load(name: str, workspace: Workspace) -> Recording:
    """A recording by the path of its file or folder, or by the id of a run in the workspace.

    Raises:
        InputError: the file is not a recording of this version; UnknownName: no such file or run.
    """
    path = Path(name)
    if path.is_dir():
        path = path / "recording.json"
    if path.is_file():
        return _read(path)
    try:
        return record(name, workspace)
    except UnknownName as error:
        raise UnknownName(f"no recording {name!r}: {error.message}", error.remedy) from error


def _read(path: Path) -> Recording:
    remedy = "give the id of a run, or a recording.json that `kernelwright optimize` wrote"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not a recording: {error}", remedy) from error
    version = data.get("format") if isinstance(data, dict) else None
    if version not in READ:
        raise InputError(f"{path} has format {version!r}, expected {' or '.join(map(str, READ))}", remedy)
    return from_json(Recording, {**data, "format": FORMAT})


def _verdict(path: Path) -> Verdict:
    return from_json(Verdict, json.loads(path.read_text(encoding="utf-8")))


def _in_order(tasks: tuple[Task, ...], steps: tuple[RecordedStep, ...]) -> tuple[RecordedStep, ...]:
    place = {task.name: n for n, task in enumerate(tasks)}
    return tuple(sorted(steps, key=lambda s: (place.get(s.idea.task, len(place)), s.idea.number)))
