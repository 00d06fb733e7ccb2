"""The vocabulary: frozen records that cross layers. Standard library only; JSON by :mod:`kernelwright.tasks.codec`.

Times are microseconds unless a name says otherwise. A speedup is baseline time over kernel time: above 1 is faster.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

DTYPES = ("float64", "float32", "float16", "bfloat16")
_TARGET = re.compile(r"@[A-Za-z_][\w.:]*$")


class Status(str, Enum):
    """What a verdict says of a kernel (design §3)."""

    PASSED = "passed"
    BUILD_FAILED = "build_failed"
    RUNTIME_ERROR = "runtime_error"
    INCORRECT = "incorrect"
    CHEATING = "cheating"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    UNSUPPORTED = "unsupported"


class Stage(str, Enum):
    """The stages of the cascade, cheap to dear; a verdict names the one that decided."""

    SCREEN = "screen"
    BUILD = "build"
    SANITIZE = "sanitize"
    SMOKE = "smoke"
    CORRECT = "correct"
    ROBUST = "robust"
    HONEST = "honest"
    TIME = "time"
    HELD_OUT = "held_out"


class Assurance(str, Enum):
    """How far a kernel was verified."""

    DEVICE = "device"
    SIMULATED = "simulated"
    COMPILED = "compiled"
    STATIC = "static"


class Use(str, Enum):
    """What a shape case is for. Held-out cases never reach a prompt or a writer."""

    CORRECTNESS = "correctness"
    TIMING = "timing"
    HELD_OUT = "held_out"


def untargeted(task: str) -> str:
    """A task's name without the target that it may have: ``rms_norm`` of ``rms_norm@triton``."""
    return _TARGET.sub("", task)



def digest(*parts: str) -> str:
    """A 20-digit hexadecimal SHA-256 of ``parts``, length-delimited so that no two lists collide."""
    h = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        h.update(f"{len(raw)}:".encode())
        h.update(raw)
    return h.hexdigest()[:20]


@dataclass(frozen=True)
class ShapeCase:
    """One shape of a task: module-level integers of the reference, replaced before it is executed again."""

    name: str
    use: Use
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Module-level integer name -> value; names not listed keep the reference's own value."""
    dtypes: tuple[str, ...] = ("float32",)
    """Working dtypes to judge this case in; floating inputs and parameters are cast to them."""
    device: str | None = None
    """``"cpu"`` or ``"cuda"`` where the case is meant for that device only."""
    derived: bool = False
    """Made by us from a plain file: a kernel may be outside its envelope here."""
    leading: int | None = None
    """Cut the leading dimension of every input tensor that has the common one to this (plain files)."""


@dataclass(frozen=True)
class Task:
    """What is to be made fast: a reference in KernelBench's convention, and how to judge kernels for it."""

    name: str
    """``suite/category/name``, or the path of a plain file as it was given."""
    source: str
    """The reference's text: ``class Model``, ``get_inputs()``, ``get_init_inputs()``."""
    path: str
    """The file it was read from; only for messages."""
    cases: tuple[ShapeCase, ...]
    category: str = "custom"
    family: str = "custom"
    """Op family, the key under which memory shares values: softmax, reduction, matmul, …"""
    scenario: str = ""
    summary: str = ""
    bytes: str = ""
    """Least bytes moved through device memory, an expression over sizes and ``itemsize``; empty: from the tensors."""
    flops: str = ""
    """Operations of one forward, likewise; empty: counted on the reference."""
    library: tuple[str, ...] = ()
    """ATen operators (``mm``, ``convolution``, …) that may stay library calls besides the general rule."""
    rtol: Mapping[str, float] = field(default_factory=dict)
    """dtype -> relative tolerance where the default does not fit."""
    deterministic: bool = False
    """Three equal calls must agree bitwise."""
    static_parameters: bool = False
    """Parameters never change between calls: a kernel may repack them once."""
    training: bool = False
    """The reference runs in training mode."""
    shrinks: tuple[str, ...] = ()
    """Sizes that a scale shrinks; none named: all that inputs and constructor read."""
    scale: float | None = None
    """Work over that of the task as shipped, where smaller timing shapes were asked for."""
    target: str = ""
    """In a run over several backends the one that this is for: ``rms_norm@cpp`` beside ``rms_norm@triton``, of one task_id."""

    @property
    def task_id(self) -> str:
        """Hash of all that changes what a kernel must compute."""
        cases = [f"{c.name} {c.use.value} {sorted(c.sizes.items())} {c.dtypes} {c.leading}" for c in self.cases]
        flags = f"{self.deterministic} {self.static_parameters} {self.training} {sorted(self.rtol.items())}"
        return digest(self.source, flags, *cases)

    def on(self, target: str) -> Task:
        """The task as one of several backends has it: under a name of its own, with attempts and an outcome of its own."""
        return replace(self, name=f"{self.name}@{target}", target=target)

    @property
    def asked(self) -> str:
        """The name without the target."""
        return untargeted(self.name) if self.target else self.name

    @property
    def slug(self) -> str:
        """A file-name-safe short form of the name, unique by the name's hash."""
        stem = self.name.removesuffix(".py").rstrip("/").split("/")[-1]
        safe = "".join(ch if ch.isalnum() or ch in "-_" else "_" for ch in stem)[:48]
        return f"{safe}-{digest(self.name)[:6]}"

    def cases_for(self, device: str, *uses: Use) -> tuple[ShapeCase, ...]:
        """The cases of ``uses`` meant for a device kind (``"cpu"``, ``"cuda"``, ``"tpu"``, ``"npu"``), in the task's order.

        A TPU and an NPU take a GPU's: their sizes are an accelerator's.
        """
        kinds = (None, device, "cuda") if device in ("tpu", "npu") else (None, device)
        return tuple(c for c in self.cases if c.use in uses and c.device in kinds)


@dataclass(frozen=True)
class Kernel:
    """One Python source that defines ``ModelNew``, for one backend."""

    source: str
    backend: str
    options: Mapping[str, str] = field(default_factory=dict)
    """Build options that change the binary."""

    @property
    def kernel_id(self) -> str:
        """Hash of source, backend and build options."""
        return digest(self.source, self.backend, *[f"{k}={v}" for k, v in sorted(self.options.items())])


@dataclass(frozen=True)
class Interval:
    """A median with its 95 % bootstrap interval."""

    median: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.median <= self.high:
            raise ValueError(f"interval {self.low} … {self.median} … {self.high} is not ordered")


@dataclass(frozen=True)
class CaseTiming:
    """Times of one shape case in one dtype; ratios come from interleaved blocks."""

    case: str
    dtype: str
    latency_us: Interval
    baselines: Mapping[str, Interval]
    """Baseline name (``eager``, ``compile``, …) -> latency in µs; empty on a TPU where nothing runs the reference there."""
    speedup: Mapping[str, Interval]
    """Baseline name, and ``best`` for the fastest of them -> speedup; empty without a baseline."""
    roofline_us: float | None = None
    """Least time this device could take, from its measured ceilings."""
    bound: str = ""
    """``memory`` or ``compute``: which ceiling gives ``roofline_us``."""
    blocks: int = 0
    """Interleaved blocks measured."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timing:
    """Headline figures (geometric means over timing cases) and the cases they come from."""

    latency_us: Interval
    baselines: Mapping[str, Interval]
    speedup: Mapping[str, Interval]
    best_baseline: str
    """Empty without a baseline."""
    roofline_fraction: float | None
    cases: tuple[CaseTiming, ...]
    processes: int = 1
    """Fresh candidate processes the figures are pooled over."""


@dataclass(frozen=True)
class CaseResult:
    """What one shape case in one dtype gave."""

    case: str
    use: Use
    dtype: str
    status: str
    """``passed``, ``skipped``, ``outside_envelope`` or a failing :class:`Status` value."""
    max_error: float | None = None
    """Largest absolute difference to the float64 oracle."""
    error_ratio: float | None = None
    """Largest difference over its bound: at most 1 passes."""
    detail: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the judge says of one kernel on one task. Timing exists only when the kernel passed on a device."""

    status: Status
    stage: Stage
    reason: str
    kernel_id: str
    task: str
    assurance: Assurance
    evidence: Mapping[str, Any] = field(default_factory=dict)
    cases: tuple[CaseResult, ...] = ()
    timing: Timing | None = None
    held_out: str = "none"
    """``passed``, ``narrowed`` (outside the kernel's envelope on some), ``none``."""
    envelope: str = ""
    library_share: float | None = None
    """Share of the forward's time spent in library calls that the task allows."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    """What the judging took."""

    def __post_init__(self) -> None:
        if self.timing is not None and not (self.passed and self.assurance is Assurance.DEVICE):
            raise ValueError("a timing exists only for a kernel that passed on a device")

    @property
    def passed(self) -> bool:
        return self.status is Status.PASSED

    @property
    def speedup(self) -> float | None:
        """Median speedup against eager: the common yardstick of attempts on one task; None where neither was timed."""
        if self.timing is None or "eager" not in self.timing.speedup:
            return None
        return self.timing.speedup["eager"].median

    @property
    def duplicate_of(self) -> str | None:
        """The attempt whose verdict this is: the kernel was the same as that one's and was not judged again."""
        found = self.evidence.get("duplicate_of")
        return found if isinstance(found, str) else None


class IdeaStage(str, Enum):
    """The two stages of value-driven search (EvoKernel, arXiv 2603.10846)."""

    DRAFT = "draft"
    REFINE = "refine"


@dataclass(frozen=True)
class Idea:
    """What a policy asks for next: a first draft, or a refinement of an earlier attempt."""

    run: str
    task: str
    number: int
    """Counts from 1 within (run, task)."""
    stage: IdeaStage
    parent: str | None = None
    """Attempt id of the start point; None for a draft."""
    seed: int = 0
    """Every random choice made for this idea comes from it, so that a resumed run goes the same way."""

    @property
    def id(self) -> str:
        """``<run>-<6 digits of the task>-<number>``: also the attempt's id and the exchange folder's name."""
        return f"{self.run}-{digest(self.task)[:6]}-{self.number:03d}"


@dataclass(frozen=True)
class Answer:
    """What a writer gave for an idea."""

    text: str
    """The raw answer, byte for byte."""
    kernel: Kernel | None
    """The kernel read from it; None when unreadable."""
    problem: str = ""
    """Why no kernel could be read."""
    strategy: str = ""
    """One line: what the writer says it did."""
    model: str = ""
    prompt: str = ""
    """The exact prompt; empty for writers that take none."""
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = 0.0
    """None when the price is unknown."""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    """What the writer's own steps came to beside the kernel: what a review said, a step that was left out."""


@dataclass(frozen=True)
class Attempt:
    """An idea, what was written for it and what the judge said. No verdict: the answer was unreadable."""

    idea: Idea
    answer: Answer
    verdict: Verdict | None

    @property
    def id(self) -> str:
        return self.idea.id

    @property
    def status(self) -> str:
        return self.verdict.status.value if self.verdict else "unreadable"

    @property
    def feasible(self) -> bool:
        """All gates passed."""
        return self.verdict is not None and self.verdict.passed

    @property
    def speedup(self) -> float | None:
        return self.verdict.speedup if self.verdict else None

    @property
    def duplicate_of(self) -> str | None:
        """The earlier attempt with the same kernel, where this one was not judged because of it."""
        return self.verdict.duplicate_of if self.verdict else None
