"""What a bench was asked for: written once, before anything else happens, and all that going on with it needs."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from kernelwright.agent.files import write_text
from kernelwright.agent.llm.options import Limits
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import Spent
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import InputError, UnknownName
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.upstream import Rule

FORMAT = 1
BENCH_FILE = "bench.json"
_HERE = Path(__file__).resolve()


@dataclass(frozen=True)
class Submission:
    """A kernel that somebody else wrote, as it was when the bench began."""

    task: str
    sample: int
    """Counts from 1 within the task."""
    path: str
    """Below the folder of solutions."""
    backend: str
    source: str


@dataclass(frozen=True)
class Part:
    """One run of the loop: a sample of the tasks that have it."""

    run: str
    sample: int
    backend: str
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Plan:
    """A bench: tasks, samples and how each sample is run."""

    id: str
    created: str
    """ISO 8601, with the time zone."""
    suite: str
    config: RunConfig
    """Of every sample, but for its seed, its share of the limits and what its memory leaves out."""
    tasks: tuple[Task, ...]
    samples: int = 1
    path: str | None = None
    """Where the suite's clone is; None for the suites of the library."""
    levels: tuple[str, ...] = ()
    scale: float | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Entry of the suite that makes no task -> why."""
    notes: tuple[str, ...] = ()
    """What the suite says of figures on it."""
    author: str = ""
    """Whose kernels are judged; empty where the bench has them written by ``config.model``."""
    submissions: tuple[Submission, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    """File of the folder of solutions that was not judged -> why."""
    rules: Mapping[str, Rule] = field(default_factory=dict)
    """Task -> the suite's own rule, by which its kernels are judged too; empty without ``--judge upstream``."""
    no_rule: Mapping[str, str] = field(default_factory=dict)
    """With it: task -> why upstream's rule cannot be computed."""
    commit: str | None = None
    """Of the checkout that Kernelwright ran from; None where it is installed otherwise."""
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"--samples is {self.samples}", "give a whole number of at least 1")

    @property
    def model(self) -> str:
        """Who wrote the kernels."""
        return self.author or self.config.model

    def parts(self) -> tuple[Part, ...]:
        """The runs of the bench, sample by sample; kernels of others are judged in one run a sample and backend."""
        if not self.submissions:
            samples = range(1, self.samples + 1)
            return tuple(Part(f"{self.id}-s{n}", n, self.config.backend, self.tasks) for n in samples)
        backends = sorted({s.backend for s in self.submissions})
        found = []
        for sample in range(1, self.samples + 1):
            for backend in backends:
                names = {s.task for s in self.submissions if (s.sample, s.backend) == (sample, backend)}
                run = f"{self.id}-s{sample}" + (f"-{backend}" if len(backends) > 1 else "")
                if names:
                    found.append(Part(run, sample, backend, tuple(t for t in self.tasks if t.name in names)))
        return tuple(found)

    def configured(self, part: Part, limits: Limits) -> RunConfig:
        """How the run of ``part`` is set up.

        Nothing that is learned on a task of the bench is recalled in any of its runs, so that no attempt at one of them
        has seen another sample's kernels.
        """
        refused = {} if self.submissions else dict(self.left_out)
        names = tuple(task.name for task in self.tasks)
        return replace(
            self.config,
            run=part.run,
            backend=part.backend,
            order=(*(task.name for task in part.tasks), *refused),
            refused=refused,
            seed=self.config.seed + part.sample - 1,
            memory_exclude=(*self.config.memory_exclude, *names),
            limits=limits,
        )


def shared(limits: Limits, spent: Spent, seconds: float, parts_left: int) -> Limits:
    """The next run's limits: an even share of what the bench has left, so that no sample eats another's.

    ``spent`` and ``seconds`` are those of the runs before. What is a task's limit stays as it is. An unknown price counts
    as nothing: the ledger refuses to work on one where money is limited. Nothing left is the smallest limit there is: the
    run ends its tasks with that reason.
    """
    usd = None if limits.usd is None else max(1e-9, (limits.usd - (spent.cost_usd or 0.0)) / parts_left)
    used = spent.tokens_in + spent.tokens_out
    tokens = None if limits.tokens is None else max(1, (limits.tokens - used) // parts_left)
    time = None if limits.seconds is None else max(1e-9, (limits.seconds - seconds) / parts_left)
    return replace(limits, usd=usd, tokens=tokens, seconds=time)


def new_id() -> tuple[str, str]:
    """A bench's id and when it was created."""
    created = datetime.now(timezone.utc)
    return f"bench-{created:%y%m%d-%H%M%S}-{secrets.token_hex(2)}", created.isoformat(timespec="microseconds")


def save(plan: Plan, workspace: Workspace) -> None:
    """Write the plan into the bench's folder."""
    write_text(workspace.run(plan.id) / BENCH_FILE, json.dumps(to_json(plan)) + "\n")


def is_bench(bench: str, workspace: Workspace) -> bool:
    """Whether the workspace holds a bench with this id."""
    return (workspace.run(bench) / BENCH_FILE).is_file()


def load(bench: str, workspace: Workspace) -> Plan:
    """The plan of a bench.

    Raises:
        UnknownName: there is no such bench here; InputError: it was written by another version.
    """
    if not is_bench(bench, workspace):
        known = sorted((p.parent.name for p in workspace.home.glob(f"runs/*/{BENCH_FILE}")), reverse=True)
        raise UnknownName(f"unknown bench {bench!r}", f"newest benches: {', '.join(known[:10]) or 'none'}")
    path = workspace.run(bench) / BENCH_FILE
    data = json.loads(path.read_text(encoding="utf-8"))
    if data.get("format") != FORMAT:
        raise InputError(f"{path} has format {data.get('format')!r}, expected {FORMAT}", "start the bench anew")
    return from_json(Plan, data)


def commit() -> str | None:
    """The commit of the checkout that this file lies in; None outside one."""
    root = _HERE.parents[2]
    if not (root / ".git").exists():
        return None
    try:
        asked = ["git", "-C", str(root), "rev-parse", "HEAD"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
