"""What the MCP server does, without the protocol: finds or starts runs, takes answers in, judges, and looks things up.

Every call that judges or searches hands a job to the bench and gives back its future. Between jobs a run is left as
``kernelwright optimize --model exchange`` leaves it: committed, and held by nobody.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from kernelwright.agent.cli import defaults
from kernelwright.agent.exchange.seat import Seat
from kernelwright.agent.mcp.workbench import Workbench
from kernelwright.agent.parts import check_names
from kernelwright.agent.run import Result, resume, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.backends.registry import BACKENDS
from kernelwright.evaluator.device import parse_device
from kernelwright.evaluator.engines.engine import Engine, Job
from kernelwright.memory.records import Recalled
from kernelwright.tasks.errors import InputError, TaskError, UnknownName
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Idea, Kernel, Task, Verdict


@dataclass(frozen=True)
class Options:
    """What the person who starts the server decides; tools cannot change it."""

    roots: tuple[Path, ...]
    """Task files are read under these folders only, links followed."""
    backend: str | None = None
    """Where a tool names none."""
    device: str | None = None
    sandbox: str = "auto"
    baselines: tuple[str, ...] | None = None
    timing_seconds: float | None = None

    def checked(self) -> Options:
        """These options, if a run can be made of them.

        Raises:
            InputError: it cannot.
        """
        where = {"sandbox": self.sandbox, "baselines": self.baselines, "timing_seconds": self.timing_seconds}
        check_names(RunConfig((), (), self.backend or "cpp", "exchange", device=self.device, **where))  # type: ignore[arg-type]
        return self


@dataclass(frozen=True)
class Asked:
    """The options of a run, as ``task_prompt`` takes them; None: any, and for a new run the default."""

    backend: str | None = None
    device: str | None = None
    budget: int | None = None
    jobs: int | None = None


@dataclass
class Look(Silence):
    """Looks on while a job of a run is worked off: where it is, and when it should stop."""

    bench: Workbench
    run: str = ""
    at: str = "waiting for the judge"

    def stopping(self) -> bool:
        return self.bench.stopping()

    def doing(self, idea: Idea | None, what: str) -> None:
        self.at = what if idea is None else f"{what} attempt {idea.number}"
        self.run = idea.run if idea is not None else self.run


@dataclass(frozen=True)
class Going:
    """A job that was brought to the bench: its future, and where it is."""

    future: Future[Result]
    look: Look


class Service:
    """One workspace and one bench. Safe for several threads."""

    def __init__(self, workspace: Workspace, options: Options) -> None:
        self.seat = Seat(workspace)
        self.options = options
        self._workspace = workspace
        self._bench = Workbench(workspace.cache)
        self._lock = threading.Lock()
        self._going: dict[str, Going] = {}
        """Run -> the last job for it: the runs that this server worked on."""
        self._starting: dict[tuple[str, Asked], Going] = {}
        self._checks: dict[tuple[str, str, str, str | None], Future[Verdict]] = {}

    def close(self, seconds: float) -> bool:
        """Stop; see :meth:`Workbench.close`."""
        return self._bench.close(seconds)

    def task(self, name: str) -> Task:
        """The task of this name or file, as the command line takes it, but no file outside the roots.

        Raises:
            TaskError: there is none, it does not load, or it lies elsewhere.
        """
        path = Path(name).expanduser()
        if "\0" in name:
            raise TaskError(f"{name!r} is no task's name", "`list_tasks` lists them")
        if name.endswith(".py") or path.exists():
            inside = [root.resolve() for root in self.options.roots]
            for part in (path, path / "task.yaml", path / "reference.py"):
                if not any(part.resolve().is_relative_to(root) for root in inside):
                    raise TaskError(
                        f"{name!r} is outside of what this server reads: {', '.join(map(str, inside))}",
                        "give a library task, or have the server started with --root for its folder",
                    )
        return load_task(name)

    def prompt(self, task: Task, asked: Asked, *, new: bool) -> Going | str:
        """Go on with the newest unfinished run of the task with these options, or start one.

        The run's id where one of its prompts waits already, or where this server brought it to its end; else the job after
        which a prompt will wait.

        Raises:
            InputError: an option is not to be had.
        """
        asked = self._checked(asked)
        with self._lock:
            going = self._starting.get((task.task_id, asked))
            if going is not None and not going.future.done():
                return going
            wanted = {name: value for name, value in vars(asked).items() if value is not None}
            found = None if new else self.seat.continuing(task, tuple(self._going), **wanted)
            if found is None:
                going = self._start(task, asked)
                self._starting[task.task_id, asked] = going
                return going
        return found.id if found.status == "finished" or self.seat.waiting(found.id) else self.go_on(found.id)

    def go_on(self, run: str) -> Going:
        """Have the run's answers read and judged, and its next ideas asked."""
        with self._lock:
            last = self._going.get(run)
            if last is not None and not last.future.running() and not last.future.done():
                return last  # it has not begun: it will read what was put down until now
            look = Look(self._bench, run)
            future = self._bench.bring(lambda: resume(run, self._workspace, look, self._engine))
            self._going[run] = Going(future, look)
            return self._going[run]

    def check(self, source: str, task: Task, backend: str | None, device: str | None) -> Future[Verdict]:
        """The verdict on a kernel, as ``kernelwright check`` gives it; asked again while it is judged: the same one.

        Raises:
            InputError: the backend or the device is not to be had.
        """
        asked = self._checked(Asked(backend or self.options.backend or defaults.language(source), device))
        config = self._config(task, asked)
        kernel = Kernel(source, config.backend)

        def judge() -> Verdict:
            return self._engine(config, self._workspace).evaluate(Job("check", kernel, task))

        key = (task.task_id, kernel.kernel_id, config.backend, config.device)
        with self._lock:
            self._checks = {k: f for k, f in self._checks.items() if not f.done() or k == key}
            if key not in self._checks:
                self._checks[key] = self._bench.bring(judge)
            return self._checks[key]

    def told(self, check: Future[Verdict]) -> None:
        """A check's verdict was handed over: the next one of the same kernel is a new one."""
        with self._lock:
            self._checks = {k: f for k, f in self._checks.items() if f is not check}

    def search(self, text: str, backend: str | None, n: int) -> Future[tuple[Recalled, ...]]:
        """The experiences nearest to a text."""

        def find() -> tuple[Recalled, ...]:
            memory = self._workspace.open_memory()
            try:
                return memory.search(text, backend, n)
            finally:
                memory.close()

        return self._bench.bring(find)

    def _start(self, task: Task, asked: Asked) -> Going:
        config, look = self._config(task, asked), Look(self._bench)
        return Going(self._bench.bring(lambda: start(config, [task], self._workspace, look, self._engine)), look)

    def _config(self, task: Task, asked: Asked) -> RunConfig:
        """What was asked for, else what the server was started with, else the defaults of the command line."""
        device = asked.device or self.options.device
        return RunConfig(
            argv=("mcp", "task_prompt", task.name),
            order=(task.name,),
            backend=asked.backend or self.options.backend or defaults.backend(device),
            model="exchange",
            device=device,
            budget=asked.budget or RunConfig.budget,
            jobs=asked.jobs or RunConfig.jobs,
            sandbox=self.options.sandbox,
            baselines=self.options.baselines,
            timing_seconds=self.options.timing_seconds,
        )

    def _engine(self, config: RunConfig, workspace: Workspace) -> Engine:
        if config.engine != "local":
            raise InputError(f"the run is judged elsewhere (--engine {config.engine})", "go on with it on the command line")
        return self._bench.lend(config.backend, config.device, config.judging())

    def _checked(self, asked: Asked) -> Asked:
        """Names only, no import paths: what a tool is told must not decide what code the server loads."""
        if asked.backend is not None and asked.backend not in BACKENDS:
            raise UnknownName.among("backend", asked.backend, BACKENDS)
        if asked.device is not None:
            parse_device(asked.device)
        for name in ("budget", "jobs"):
            value = getattr(asked, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}", "give a whole number of at least 1")
        return asked
