"""How one run of the loop is set up; kept in the run's row, so that ``resume`` needs nothing but the run's id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from kernelwright.agent.given import GivenKernel
from kernelwright.agent.llm.options import Limits, ModelOptions
from kernelwright.agent.targets import split
from kernelwright.evaluator.settings import BASELINES, SANDBOXES, Settings
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import InputError

_Check = tuple[str, object, bool, str]
"""Option, value, whether it holds, what is expected."""
_WRITING = (("code",), ("plan", "code"), ("code", "review"), ("plan", "code", "review"))
STEPS = (*_WRITING, *((*steps, "lesson") for steps in _WRITING))
"""What a model may be asked for one kernel: first a plan, then the code, then a look at it by other eyes; and once it is
judged, what is to be learned from it (memory's own rules say that where nobody is asked)."""


@dataclass(frozen=True)
class RunConfig:
    """Everything a run was started with. Written to the store before anything else happens."""

    argv: tuple[str, ...]
    """The command line, for people."""
    order: tuple[str, ...]
    """Names of the tasks as they were asked for, those that did not load included."""
    backend: str
    """``cpp``, ``triton``, or an import path; several with commas between them."""
    model: str
    """The writer: ``playbook``, ``exchange``, ``replay:RUN``, a litellm model string, or an import path."""
    run: str | None = None
    """The run's id where its starter gives one, as a bench does; None: it is made of the time."""
    device: str | None = None
    """``cpu``, ``cuda``, ``cuda:1``; None: what the engine finds. With the bundle engine also a device's name."""
    policy: str = "evokernel"
    """``evokernel``, ``greedy``, ``beam``, ``mcts``, ``evolve``, or an import path."""
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
    warm_start: bool = False
    """Begin with kernels of earlier runs on the same task or its neighbours, judged anew."""
    given: GivenKernel | None = None
    """A kernel to start from: the first candidate of its own backend, a text to translate for a model in another."""
    engine: str = "local"
    """``local`` judges here, ``ray`` on a cluster, ``bundle`` elsewhere."""
    ray_address: str | None = None
    """With ``ray``: where the cluster was when the run began. A place: a later process may be told another."""
    llm: ModelOptions = ModelOptions()
    """How language models are called."""
    limits: Limits = Limits()
    """Money, tokens and time of the whole run."""
    steps: tuple[str, ...] = ("code",)
    """A model's steps for one kernel, of :data:`STEPS`, in this order."""
    repairs: int = 2
    """Attempts in a row at repairing a kernel that was rejected, each an attempt of the budget; 0: draft anew."""
    weights: tuple[float, ...] | None = None
    """Of an ensemble's members; None: a bandit chooses by what they improved for their cost."""
    prompt_tokens: int = 16_000
    """A prompt's cap (estimated tokens): the least valuable parts are left out first."""
    wait: bool = False
    """With ``exchange``: stay and wait for the answers."""
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
    left_out: Mapping[str, str] = field(default_factory=dict)
    """With ``--portable``: backend that cannot be judged here -> why."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> RunConfig:
        """A run's row as a configuration; one of an earlier version goes on as it was begun."""
        data = dict(row)
        if "llm" not in data:
            data["llm"] = to_json(ModelOptions(api_base=data.pop("api_base", None)))
            data["repairs"] = 0
        return from_json(cls, data)

    @property
    def targets(self) -> tuple[str, ...]:
        """The backends, one or several."""
        return split(self.backend)

    def on(self, target: str) -> RunConfig:
        """The configuration for the part of the run that one target is; itself where the run has but one backend."""
        return self if target in ("", self.backend) else replace(self, backend=target)

    def __post_init__(self) -> None:
        for option, value, holds, expected in (*self._counts(), *self._judged(), *self._written()):
            if not holds:
                raise InputError(f"--{option} is {value}", f"give {expected}")
        if self.rejudge and not self.model.startswith("replay:"):
            raise InputError("--rejudge compares with a recorded run", "give --model replay:RUN")
        if self.warm_start and self.model.startswith("replay:"):
            raise InputError("--warm-start is given, and a replay begins as its recording did", "leave it out")

        self._check_given()

    def _check_given(self) -> None:
        if self.given is None:
            return
        foreign = [target for target in self.targets if not self.given.candidate(target)]
        name = self.given.name
        if self.model.startswith("replay:"):
            raise InputError(f"--from is {name}, and a replay begins as its recording did", "leave it out")
        if len(self.order) != 1:
            raise InputError(f"--from is {name}, a kernel of one task; {len(self.order)} are asked for", "name that task alone")
        if foreign and self.model == "playbook":
            found = f"{self.given.language}, not a ModelNew of backend {' or '.join(foreign)}"
            raise InputError(f"--from is {name} ({found}), and the playbook does not translate", "give a --model")

    def _counts(self) -> Iterator[_Check]:
        for name, value in (("budget", self.budget), ("jobs", self.jobs), ("patience", self.patience)):
            yield name, value, value is None or value >= 1, "a whole number of at least 1"
        yield "repairs", self.repairs, self.repairs >= 0, "a whole number of at least 0"
        yield "target", self.target, self.target is None or self.target > 0, "a speedup above 0, such as 1.5"

    def _judged(self) -> Iterator[_Check]:
        rtol, seconds, timed = self.rtol, self.timing_seconds, self.baselines
        yield "rtol", rtol, rtol is None or 0 < rtol < 1, "a relative tolerance between 0 and 1, such as 1e-3"
        known = timed is None or ("eager" in timed and not set(timed) - set(BASELINES))
        yield "baselines", repr(",".join(timed or ())), known, f"eager and any of {', '.join(BASELINES)}"
        yield "timing-seconds", seconds, seconds is None or seconds > 0, "a number above 0"
        yield "sandbox", repr(self.sandbox), self.sandbox in SANDBOXES, f"one of {', '.join(SANDBOXES)}"

    def _written(self) -> Iterator[_Check]:
        steps, weights = ",".join(self.steps), self.weights
        yield "steps", repr(steps), self.steps in STEPS, f"one of {'; '.join(','.join(s) for s in STEPS)}"
        yield "prompt-tokens", self.prompt_tokens, self.prompt_tokens >= 2_000, "at least 2000"
        outside = self.model == "exchange" or ":" in self.model
        yield "wait", "there for a model", not self.wait or outside, "it with --model exchange, or leave it out"
        members = len(self.model.split(","))
        fitting = weights is None or (len(weights) == members and all(0 < w < inf for w in weights))
        yield "weights", ",".join(map(str, weights or ())), fitting, f"a number above 0 for each of {members} models"

    def judging(self) -> Settings:
        """How the judge works in this run."""
        unprompted = ("playbook", "replay", "submitted")  # only prompts are told what a profile says
        prompted = self.model.partition(":")[0] not in unprompted
        profile = "auto" if prompted else "off"
        chosen = Settings(rtol=self.rtol, baselines=self.baselines, sandbox=self.sandbox, profile=profile)
        if self.timing_seconds is None:
            return chosen
        return replace(chosen, timing_seconds=self.timing_seconds, thorough_seconds=self.timing_seconds)
