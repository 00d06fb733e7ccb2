"""How one run of the loop is set up; kept in the run's row, so that ``resume`` needs nothing but the run's id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kernelwright.evaluator.settings import BASELINES, SANDBOXES, Settings
from kernelwright.tasks.errors import InputError


@dataclass(frozen=True)
class RunConfig:
    """Everything a run was started with. Written to the store before anything else happens."""

    argv: tuple[str, ...]
    """The command line, for people."""
    order: tuple[str, ...]
    """Names of the tasks as they were asked for, those that did not load included."""
    backend: str
    """``cpp``, ``triton``, or an import path."""
    model: str
    """The writer: ``playbook``, ``exchange``, ``replay:RUN``, a litellm model string, or an import path."""
    device: str | None = None
    """``cpu``, ``cuda``, ``cuda:1``; None: what the engine finds. With the bundle engine also a device's name."""
    policy: str = "evokernel"
    """``evokernel``, ``greedy``, or an import path."""
    budget: int = 30
    """Attempts a task."""
    seed: int = 0
    """All random choices of the search come from it."""
    jobs: int = 1
    """Ideas in flight a task."""
    patience: int | None = None
    """Stop a task after this many attempts in a row that did not replace the incumbent."""
    target: float | None = None
    """Stop a task at this median speedup against the best baseline."""
    memory_exclude: tuple[str, ...] = ()
    """Tasks whose experiences stay out of memory's answers, for transfer tests."""
    engine: str = "local"
    """``local`` judges here, ``bundle`` elsewhere."""
    api_base: str | None = None
    """Where a litellm model is served, if not at its provider."""
    rtol: float | None = None
    """Relative tolerance in place of the judge's own."""
    baselines: tuple[str, ...] | None = None
    """Which of ``eager``, ``compile``, ``max-autotune`` to time beside each kernel; None: all that suit the device."""
    timing_seconds: float | None = None
    """Cap on the timing of one case; None: the judge's own."""
    sandbox: str = "auto"
    """``auto``, ``strict`` or ``off``: what to do where a layer around the runners is missing."""
    rejudge: bool = False
    """With ``replay``: judge again and compare, instead of taking the recorded verdicts."""

    refused: Mapping[str, str] = field(default_factory=dict)
    """Task that did not load -> why."""

    def __post_init__(self) -> None:
        for name, value in (("budget", self.budget), ("jobs", self.jobs), ("patience", self.patience)):
            if value is not None and value < 1:
                raise InputError(f"--{name} is {value}", "give a whole number of at least 1")
        if self.target is not None and not self.target > 0:
            raise InputError(f"--target is {self.target}", "give a speedup above 0, such as 1.5")
        if self.rtol is not None and not 0 < self.rtol < 1:
            raise InputError(f"--rtol is {self.rtol}", "give a relative tolerance between 0 and 1, such as 1e-3")
        if self.baselines is not None and ("eager" not in self.baselines or set(self.baselines) - set(BASELINES)):
            raise InputError(f"--baselines is {','.join(self.baselines)!r}", f"give eager and any of {', '.join(BASELINES)}")
        if self.timing_seconds is not None and not self.timing_seconds > 0:
            raise InputError(f"--timing-seconds is {self.timing_seconds}", "give a number above 0")
        if self.sandbox not in SANDBOXES:
            raise InputError(f"--sandbox is {self.sandbox!r}", f"give one of {', '.join(SANDBOXES)}")
        if self.rejudge and not self.model.startswith("replay:"):
            raise InputError("--rejudge compares with a recorded run", "give --model replay:RUN")

    def judging(self) -> Settings:
        """How the judge works in this run."""
        chosen = Settings(rtol=self.rtol, baselines=self.baselines, sandbox=self.sandbox)
        if self.timing_seconds is None:
            return chosen
        return replace(chosen, timing_seconds=self.timing_seconds, thorough_seconds=self.timing_seconds)
