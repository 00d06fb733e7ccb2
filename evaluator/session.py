"""The judge's side of one task: the trusted reference child, its open cases, and what a runner must be handed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernelwright.evaluator.accidents import device_lost
from kernelwright.evaluator.effort import Effort, effort
from kernelwright.evaluator.journal import Journal, Purpose, secret_seed
from kernelwright.evaluator.runner import sandbox
from kernelwright.evaluator.runner.processes import Child, ChildGone, ForkServer
from kernelwright.evaluator.runner.trees_json import same_tree
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import HarnessError, NotAdmitted, TaskError
from kernelwright.tasks.records import ShapeCase, Task

_REFERENCE_SECONDS = 180.0
_LIMITS = {"CORE": 0, "FSIZE": 16 << 30, "NOFILE": 4096}
"""Of a stranger's reference. A file in memory holds the inputs, which may be large."""
_ANY_MEMORY = 1 << 62
"""The oracle takes what it takes; the watch looks at a stranger's processes and files."""
_TELLING = 64
"""Elements from which a case tells right from trivial: one true or false is a constant half of the time."""

Draw = tuple[float, str, bool]
"""(scale, spikes, other parameters) of a draw; spikes: empty, ``nudge``, or as ``evaluator/runner/draws.py`` has them."""
DRAWS: tuple[Draw, ...] = ((1.0, "", False), (1.0, "", True), (1e-3, "", False), (8.0, "many", True), (1.0, "rows", False))
"""What each correctness case is judged on."""


@dataclass(frozen=True)
class OpenCase:
    """A shape case in a dtype that the reference has accepted."""

    case: ShapeCase
    dtype: str
    facts: Mapping[str, Any]
    """What :meth:`kernelwright.evaluator.runner.cases.Case.describe` gave."""
    seed: int
    """The parameter seed; unrelated to any input seed."""
    fds: tuple[int, ...]

    @property
    def key(self) -> str:
        return f"{self.case.name}/{self.case.use.value}/{self.dtype}"

    @property
    def numel(self) -> int:
        """Elements over all inputs."""
        return sum(_product(spec["shape"]) for spec in self.facts["specs"])

    @property
    def nbytes(self) -> int:
        """Bytes of one slot of inputs, and of one set of outputs."""
        return sum(int(s["stride"]) for s in [*self.facts["specs"], *self.facts["output_specs"]])

    def misfit(self, reply: Mapping[str, Any]) -> str:
        """Why a described output is not what the reference returns; empty when it is."""
        wanted, got = self.facts["outputs"], reply["outputs"]
        if not same_tree(self.facts["tree"], reply["tree"]):
            return f"forward returns another structure: {len(got)} tensors, expected {len(wanted)}"
        if not reply["plain"]:
            return "forward returns a tensor that is not an ordinary one (subclass, override or no storage)"
        for i, (w, g) in enumerate(zip(wanted, got, strict=True)):
            for what in ("shape", "dtype", "device"):
                if w[what] != g[what]:
                    return f"output {i} has {what} {g[what]}, expected {w[what]}"
            if _overlaps(g) and not _overlaps(w):
                return f"output {i} is one piece of memory seen many times: strides {g['strides']} for shape {g['shape']}"
        return ""


@dataclass
class Pool:
    """Input slots for timing, as the reference made them."""

    copies: int
    facts: Mapping[str, Any]
    fds: tuple[int, ...]


@dataclass
class Session:
    """One reference child for one task on one device. Close it to free the child and every arena."""

    task: Task
    device: str
    server: ForkServer
    environment: Mapping[str, str]
    confined: sandbox.Plan | None = None
    """The layers around the reference where the task is a stranger's; None: it is the user's own code, and has none."""
    parameter_seeds: Mapping[str, int] = field(default_factory=dict)
    """Case key -> parameter seed, of a judging that is repeated; others are drawn."""
    cases: dict[tuple[str, str, str], OpenCase | str] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    hardened: tuple[str, ...] = ()
    """Spikes of the draws without which an output that takes no computing would pass; empty before admission."""
    weak: tuple[str, ...] = ()
    """What the task cannot tell from right work, after admission."""
    journal: Journal = field(default_factory=Journal)
    """Of the judging at hand."""
    _draws: tuple[Draw, ...] | None = None

    def __post_init__(self) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="kernelwright-reference-"))
        config = {"task": to_json(self.task), "device": self.device}
        how: dict[str, Any] = {"environment": self.environment}
        if self.confined is not None:
            work = str(self._scratch / "work")
            own = {name: f"{work}/{name.lower()}" for name in self.environment if name.endswith("_CACHE_DIR")}
            how = {"environment": {**self.environment, **own}, "sandbox": self.confined, "limits": _LIMITS}
            how["memory_bytes"] = _ANY_MEMORY
        try:
            self._child: Child = self.server.spawn("reference", self._scratch, config, **how)
        except HarnessError:
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise

    def ask(self, op: str, /, seconds: float = _REFERENCE_SECONDS, **message: Any) -> tuple[dict[str, Any], list[int]]:
        """One request to the reference.

        Raises:
            TaskError: the reference refuses, crashes or hangs.
            HarnessError: the device or the fork-server is gone.
        """
        try:
            reply, fds = self._child.ask(op, seconds, **message)
        except ChildGone as gone:
            tail = gone.gone.log.splitlines()[-1:] or [""]
            if device_lost(gone.gone.log):
                raise self._lost(tail[0]) from None
            message_ = f"{self.task.name}: the reference's process failed ({gone.gone}) {tail[0]}".rstrip()
            raise TaskError(message_, "run the reference by itself; it must finish and not exit") from None
        if "refused" in reply:
            if "CUDA error" in reply["refused"]:
                self._child.kill("over")  # its context is of no use any more
            if device_lost(reply["refused"]):
                raise self._lost(reply["refused"])
            small = "judge it alone on the device, or at smaller shapes (--scale of a suite)"
            remedy = small if reply.get("memory") else "mend the task's reference file"
            raise TaskError(f"{self.task.name}: {reply['refused']}", remedy)
        return reply, fds

    def _lost(self, what: str) -> HarnessError:
        on_gpu = self.device != "cpu"
        remedy = "look at nvidia-smi and the system's log; a run resumes" if on_gpu else "see what the reference does"
        return HarnessError(f"the device {self.device} cannot be used: {' '.join(what.split())[:300]}", remedy)

    def effort(self) -> Effort | None:
        """What the reference's process has had of the cores so far; None where the cores are not what is timed."""
        return effort(self._child.worker) if self.device == "cpu" else None

    def poll(self, requests: frozenset[str]) -> None:
        """Poll for the replies to these requests instead of sleeping."""
        self._child.spin_on = requests

    @property
    def layers(self) -> Mapping[str, str]:
        """The layers around a confined reference, ``on`` or ``off: why``; empty for the user's own."""
        return self._child.layers

    @property
    def alive(self) -> bool:
        return self._child.alive

    def open(self, case: ShapeCase, dtype: str) -> OpenCase | None:
        """The case, opened once; None when it is derived and the reference does not accept it.

        Raises:
            TaskError: the reference refuses a case that the task lists.
        """
        where = (case.name, case.use.value, dtype)
        if where not in self.cases:
            self.cases[where] = self._open(case, dtype)
        found = self.cases[where]
        if isinstance(found, OpenCase):
            return found
        if case.derived:
            return None
        raise TaskError(found, "mend the task's reference file")

    def _open(self, case: ShapeCase, dtype: str) -> OpenCase | str:
        key = f"{case.name}/{case.use.value}/{dtype}"
        seed = self.parameter_seeds.get(key, int.from_bytes(os.urandom(4), "big") >> 1)
        try:
            facts, fds = self.ask(
                "open", key=key, sizes=dict(case.sizes), leading=case.leading, dtype=dtype, seed=seed
            )
        except TaskError as error:
            if not self.alive:
                raise
            return error.message
        return OpenCase(case, dtype, facts, seed, tuple(fds))

    def admit(self, cases: Sequence[OpenCase], rtol: float | None) -> tuple[Draw, ...]:
        """Admit the task, once: the draws that its kernels are judged on.

        Raises:
            NotAdmitted: an output that takes no computing would pass on every case.
        """
        if self._draws is None:
            telling = [c for c in cases if c.numel >= _TELLING] or cases
            smallest = min(telling, key=lambda c: c.numel)
            draws = [dict(zip(("scale", "spikes", "vary"), draw, strict=True)) for draw in DRAWS]
            limit = rtol if rtol is not None else self.task.rtol.get(smallest.dtype)
            found, _ = self.ask("admit", key=smallest.key, draws=draws, seed=secret_seed(), rtol=limit)
            if found["passing"]:
                what = " and ".join(found["passing"])
                raise NotAdmitted(
                    f"{self.task.name}: not admitted: {what} would pass for its output at {smallest.key}",
                    "change inputs or shapes so that the output depends on every input, or give a task.yaml with tighter rtol",
                )
            largest = max(cases, key=lambda c: c.numel)
            shown, _ = self.ask("further", key=largest.key, seed=secret_seed())
            self._draws = (*DRAWS, *((1.0, spikes, False) for spikes in dict.fromkeys([*found["harden"], *shown["spikes"]])))
            self.hardened = tuple(found["harden"])
            self.weak = tuple(found["weak"])
        return self._draws

    def begin(self, journal: Journal) -> None:
        """A judging begins. With a journal, its draws are to depend on their seeds alone."""
        self.journal = journal
        if journal.kept:
            self.ask("reset")

    def draw(
        self,
        opened: OpenCase,
        scale: float = 1.0,
        spikes: str = "",
        vary: bool = False,
        variant: str = "",
        seed: int | None = None,
    ) -> dict[str, Any]:
        """Fresh inputs for a case, in its arenas; ``dropped`` where they leave the reference's domain.

        ``variant``: how the kernel will be given them. ``seed``: of an earlier draw, to have the same inputs once more.
        """
        purpose = Purpose(opened.key, self.journal.stage, scale, spikes, vary, variant)
        chosen = self.journal.seed(purpose) if seed is None else seed
        how: dict[str, Any] = {"scale": scale, "spikes": spikes, "vary": vary, "hashed": self.journal.kept}
        found, _ = self.ask("draw", key=opened.key, seed=chosen, **how)
        self.journal.opened(opened.key, opened.seed)
        self.journal.drew(purpose, chosen, found)
        return found

    def compare(self, opened: OpenCase, rtol: float | None) -> dict[str, Any]:
        """What the kernel gave for the last draw, against what it should have given."""
        found, _ = self.ask("compare", key=opened.key, rtol=rtol, hashed=self.journal.kept)
        self.journal.compared(found.pop("hash", None))
        return found

    def pool(self, opened: OpenCase, copies: int) -> Pool:
        """A pool of at least ``copies`` slots for timing this case."""
        pool = self.pools.get(opened.key)
        if pool is not None and pool.copies >= copies:
            return pool
        if pool is not None:
            self.drop_pool(opened)
        facts, fds = self.ask("pool", key=opened.key, copies=copies, seed=self.journal.pool_seed(opened.key, copies))
        self.pools[opened.key] = Pool(copies, facts, tuple(fds))
        return self.pools[opened.key]

    def drop_pool(self, opened: OpenCase) -> None:
        """Free the pool of a case; no runner may use it any more."""
        pool = self.pools.pop(opened.key, None)
        if pool is not None:
            try:
                self.ask("close_pool", key=opened.key)
            finally:
                _close(pool.fds)

    def close(self) -> None:
        with contextlib.suppress(HarnessError):  # the fork-server is gone, and its children with it: that was said already
            self._child.kill("over")
        for found in self.cases.values():
            if isinstance(found, OpenCase):
                _close(found.fds)
        for pool in self.pools.values():
            _close(pool.fds)
        shutil.rmtree(self._scratch, ignore_errors=True)


def _overlaps(described: Mapping[str, Any]) -> bool:
    return any(n > 1 and s == 0 for n, s in zip(described["shape"], described["strides"], strict=False))


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def _product(shape: list[int]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count
