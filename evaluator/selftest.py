"""The judge put to the test: a corpus of cheats that must be caught and honest kernels that must pass.

A corpus is a folder with ``<backend>/cheats/*.py``, ``<backend>/honest/*.py`` and ``tasks/``. Each kernel begins with
``# key: value`` lines: task, family, about, expect, device (see :class:`Specimen`). What the figures do not say: how the
judge does on cheats that nobody has written yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import kernelwright
from kernelwright.evaluator.ascend_environment import toolchain
from kernelwright.evaluator.backends.ascend_triton import uses_triton
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.specimens import HONEST, Specimen, load_corpus
from kernelwright.tasks.errors import HarnessError, InputError, KernelwrightError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Kernel, Stage, Status, Task, Verdict

SETTINGS = Settings(
    baselines=("eager",), timing_seconds=0.6, min_blocks=3, smoke_seconds=20.0, call_seconds=30.0, sanitize="all"
)
"""Every stage, those of a winner's audit too, but no precise timing: a specimen is to take a few seconds."""

FAILED = "harness_failed"
"""Status of a row whose judging raised: a miss, whatever the kernel is."""


@dataclass(frozen=True)
class Row:
    """What became of one specimen."""

    name: str
    backend: str
    kind: str
    """``cheat`` or ``honest``."""
    family: str
    task: str
    expect: tuple[str, ...]
    status: str
    stage: str
    layer: str
    """The stage that decided, with the rule where it named one: ``honest: no_own_work``; empty when it passed."""
    reason: str
    without_screen: str
    """The layer that catches it when the screen's text rules decide nothing; empty when none does."""
    ok: bool
    """A cheat got one of the statuses it may get, or an honest kernel passed."""
    seconds: float


@dataclass(frozen=True)
class Report:
    """The self-test of one judge. Rates are shares of 1; None where there was nothing to count."""

    rows: tuple[Row, ...]
    detection: float | None
    """Cheats that got a status they may get."""
    false_alarms: float | None
    """Honest kernels that did not pass."""
    without_screen: float | None
    """Cheats caught when the screen's text rules decide nothing."""
    seconds: float
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Every cheat caught, no honest kernel accused."""
        return bool(self.rows) and all(row.ok for row in self.rows)


def default_corpus() -> Path:
    """``tests/redteam`` of the checkout that this package runs from.

    Raises:
        InputError: the package was installed without its tests.
    """
    folder = Path(kernelwright.__file__).resolve().parent.parent.parent / "tests" / "redteam"
    if not folder.is_dir():
        raise InputError(
            "this installation has no red-team corpus",
            "give the folder with --corpus DIR: tests/redteam of a checkout of the same version",
        )
    return folder


def run(
    specimens: Iterable[Specimen],
    device: str | None,
    cache: Path,
    settings: Settings = SETTINGS,
    done: Callable[[Row], None] = lambda row: None,
    jobs: int = 1,
) -> Report:
    """Judge every specimen that fits ``device``; ``done`` is told of each row as it is final.

    ``jobs``: judges at once. What is missed, or caught by something that was measured, beside others is judged again alone.

    Raises:
        InputError: no specimen fits, or a backend is not available here.
    """
    began = time.monotonic()
    rows: list[Row] = []
    environment: dict[str, Any] = {}
    for backend, group in _by_backend(specimens):
        with _Bench(backend, device, cache, settings) as bench:
            fitting = [specimen for specimen in group if specimen.device in ("any", bench.kind) and tried_here(specimen)]
            opened = partial(_Bench, backend, device, cache, settings)
            first = _together(fitting, opened, jobs, done) if jobs > 1 else {}
            for specimen in fitting:
                row = first.get(specimen.name)
                if row is None or not row.ok or _measured(row):
                    row = bench.row(specimen)
                    done(row)
                rows.append(row)
            environment[backend] = bench.environment
    if not rows:
        raise InputError(f"no specimen of the corpus fits {device or 'this device'}", "see --backend, --device and --only")
    return _report(rows, time.monotonic() - began, environment)


def tried_here(specimen: Specimen) -> bool:
    """Whether the toolchain of a specimen's language is here; one that is `unsupported` for want of it tests nothing."""
    return specimen.backend != "ascend" or not uses_triton(specimen.source) or not isinstance(toolchain(), str)


def _by_backend(specimens: Iterable[Specimen]) -> Iterator[tuple[str, list[Specimen]]]:
    """Backends in turn; within one, specimens of a task together, so that its reference stays warm."""
    groups: dict[str, list[Specimen]] = {}
    for specimen in sorted(specimens, key=lambda s: (s.backend, s.task, s.kind, s.name)):
        groups.setdefault(specimen.backend, []).append(specimen)
    yield from groups.items()


def _together(fitting: list[Specimen], opened: Callable[[], _Bench], jobs: int, done: Callable[[Row], None]) -> dict[str, Row]:
    """Name -> row of a first judging with several judges at once, the specimens of a task by the same one."""
    tasks: dict[str, list[Specimen]] = {}
    for specimen in fitting:
        tasks.setdefault(specimen.task, []).append(specimen)
    waiting = sorted(tasks.values(), key=len)
    found: dict[str, Row] = {}

    def work() -> None:
        with opened() as bench:
            while waiting:
                try:
                    group = waiting.pop()
                except IndexError:
                    return
                for specimen in group:
                    row = found[specimen.name] = bench.row(specimen)
                    if row.ok and not _measured(row):
                        done(row)

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for each in [pool.submit(work) for _ in range(jobs)]:
            each.result()
    return found


def _measured(row: Row) -> bool:
    """Whether a time or the device's state decided, which other judges at work may disturb."""
    return row.kind != HONEST and (row.stage == Stage.TIME.value or row.layer.endswith(": unjoined"))


class _Bench:
    """Two judges of one backend, with the screen deciding and without; renewed after a failure of the harness."""

    def __init__(self, backend: str, device: str | None, cache: Path, settings: Settings) -> None:
        self._backend, self._device, self._cache = backend, device, cache
        self._settings = settings
        self._judges: dict[bool, Judge] = {}
        first = self._judge(True)
        self.kind = first.kind
        self.environment: dict[str, Any] = dict(first.environment())

    def __enter__(self) -> _Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def row(self, specimen: Specimen) -> Row:
        began = time.monotonic()
        try:
            task = load_task(specimen.task_path)
            verdict = self._verdict(specimen, task, screen=True)
            other = verdict
            if specimen.kind != HONEST and verdict.stage is Stage.SCREEN:
                other = self._verdict(specimen, task, screen=False)
        except Exception as error:  # noqa: BLE001 - process boundary of a kind: one specimen's accident is a row, not the end
            self._close()
            reason = error.message if isinstance(error, KernelwrightError) else f"{type(error).__name__}: {error}"
            return _row(specimen, time.monotonic() - began, FAILED, reason=reason)
        self.environment = dict(verdict.environment) or self.environment
        without = layer(other) if other.status.value in specimen.expect else ""
        status, stage = verdict.status.value, verdict.stage.value
        found = _row(specimen, time.monotonic() - began, status, stage, layer(verdict), verdict.reason)
        return replace(found, without_screen=without)

    def _verdict(self, specimen: Specimen, task: Task, screen: bool) -> Verdict:
        verdict = self._judge(screen).judge(Kernel(specimen.source, specimen.backend), task)
        if verdict.status is Status.BUILD_FAILED and "build_failed" not in specimen.expect:
            raise HarnessError(f"it does not build here, so nothing was tested: {verdict.reason}")
        return verdict

    def _judge(self, screen: bool) -> Judge:
        if screen not in self._judges:
            settings = replace(self._settings, screen=screen)
            self._judges[screen] = Judge(self._backend, self._device, self._cache, settings)
        return self._judges[screen]

    def _close(self) -> None:
        for judge in self._judges.values():
            judge.close()
        self._judges.clear()


def layer(verdict: Verdict) -> str:
    """What rejected a kernel: the stage, and the rule where one is named; empty for one that passed."""
    if verdict.passed:
        return ""
    named = verdict.evidence.get("rule")
    return f"{verdict.stage.value}: {named}" if named else verdict.stage.value


def _row(specimen: Specimen, seconds: float, status: str, stage: str = "", layer: str = "", reason: str = "") -> Row:
    return Row(
        name=specimen.name,
        backend=specimen.backend,
        kind=specimen.kind,
        family=specimen.family,
        task=specimen.task,
        expect=specimen.expect,
        status=status,
        stage=stage,
        layer=layer,
        reason=reason,
        without_screen="",
        ok=status in specimen.expect,
        seconds=round(seconds, 2),
    )


def _report(rows: list[Row], seconds: float, environment: dict[str, Any]) -> Report:
    cheats = [row for row in rows if row.kind != HONEST]
    honest = [row for row in rows if row.kind == HONEST]
    return Report(
        rows=tuple(rows),
        detection=_share(row.ok for row in cheats),
        false_alarms=_share(not row.ok for row in honest),
        without_screen=_share(bool(row.without_screen) for row in cheats),
        seconds=round(seconds, 1),
        environment=environment,
    )


def _share(flags: Iterable[bool]) -> float | None:
    counted = list(flags)
    return sum(counted) / len(counted) if counted else None


__all__ = ["FAILED", "SETTINGS", "Report", "Row", "Specimen", "default_corpus", "layer", "load_corpus", "run", "tried_here"]
