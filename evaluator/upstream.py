"""What a suite's own rule says of a kernel: a figure beside our verdict, which decides nothing.

The rule is applied in a runner of its own with the reference beside the kernel, as suites do it; what it says is therefore a
claim of the kernel's process. Not for kernels whose verdict is wanted: see :mod:`kernelwright.evaluator.judge`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from kernelwright.evaluator import accidents
from kernelwright.evaluator.device import CHIPS
from kernelwright.evaluator.trial import Outside, Rejected, Trial
from kernelwright.evaluator.turns import exclusive, shared
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.records import Kernel, Status, Task
from kernelwright.tasks.suites.upstream import Rule

if TYPE_CHECKING:
    from kernelwright.evaluator.judge import Judge

SECONDS = 300.0
"""Of one kernel: upstream's own limits lie between 180 and 300."""
TIMING_SECONDS = 20.0
"""Of one side's timed calls: where upstream's many repeats take longer, fewer are made."""

_OURS = {
    **dict.fromkeys(("InductorError", "BackendCompilerFailed"), "torch.compile cannot compile in the sandbox of a runner"),
    **dict.fromkeys(("MemoryError", "can't allocate memory"), "a runner's memory is bounded, and the reference is in it too"),
}
"""What a kernel raises through no fault of its own: text of the error -> what it is."""


@dataclass(frozen=True)
class Upstream:
    """What came of it."""

    correct: bool | None
    """None: the rule cannot be computed here."""
    speedup: float | None
    """Over the reference, by the rule's own clock; None where it has none, or nothing was timed."""
    detail: str
    """Why it is wrong or cannot be computed."""
    trials: int = 0


def judge_by(rule: Rule, judge: Judge, kernel: Kernel, task: Task, seconds: float = TIMING_SECONDS) -> Upstream:
    """``kernel`` by the suite's own ``rule``, on the judge's device and in its sandbox.

    ``seconds``: at most for each side's timed calls. Interpreted kernels are not timed.

    Raises:
        HarnessError: the harness failed, as in :meth:`Judge.judge`.
    """
    with accidents.on_sound_ground(judge.cache):
        built = judge.backend.build(kernel, judge.cache / "native")
        environment = {"KERNELWRIGHT_LIBRARIES": json.dumps(dict(built.libraries))}
        server = judge.server(dict(judge.backend.run_entry(judge.place)))
        timing = judge.settings.timing and not judge.simulated and judge.kind not in CHIPS
        trial = Trial(server, kernel, judge.device, judge.settings, environment)
        try:
            given = {"rule": to_json(rule), "task": to_json(task), "source": kernel.source, "cap": seconds, "timing": timing}
            with exclusive(judge.device) if timing and rule.clock else shared(judge.device):
                reply = trial.ask("upstream", SECONDS, **given)
        except Rejected as failure:
            return Upstream(_ended(failure.status, judge.kind), None, failure.reason)
        except Outside as outside:
            return Upstream(False, None, f"outside its envelope: {outside}")
        finally:
            trial.close()
    why_here = next((why for sign, why in _OURS.items() if sign in reply["detail"]), "")
    if judge.simulated:
        why_here = why_here or "Triton's interpreter, without a GPU"
    if reply["raised"] and why_here:
        return Upstream(None, None, f"{why_here}: {reply['detail']}")
    times = reply["times"]
    sound = len(times) == 2 and all(isfinite(t) and t > 0 for t in times)
    speedup = times[1] / times[0] if reply["correct"] and sound else None
    return Upstream(reply["correct"], speedup, reply["detail"], reply["trials"])


def _ended(status: Status, kind: str) -> bool | None:
    """What the end of the runner means: wrong, or None where it may be ours. Upstream no kernel runs on a CPU."""
    ours = status is Status.OUT_OF_MEMORY or (status is Status.TIMEOUT and kind == "cpu")
    return None if ours else False
