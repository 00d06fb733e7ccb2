"""What the compiler makes of a kernel for a GPU that is not here: evidence, never a speedup."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kernelwright.evaluator.backends.pallas_aot import TARGETS, counting, taken
from kernelwright.evaluator.backends.pallas_probe import COUNTS
from kernelwright.evaluator.runner.processes import ForkServer
from kernelwright.evaluator.session import OpenCase, Session
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.trial import Outside, Rejected, Trial
from kernelwright.tasks.records import Kernel, ShapeCase, Stage, Status, Task, Use

_SAID = 600
"""Characters of what a compiler says of another GPU."""
_REFUSED = re.compile(r"vmem|smem|RESOURCE_EXHAUSTED|Mosaic|INVALID_ARGUMENT|UNIMPLEMENTED", re.IGNORECASE)
"""libtpu's words for what is the kernel's fault, not the toolchain's."""
ESTIMATE_SECONDS = 10.0
"""What the estimate of a kernel's cycles may take: a verdict does not wait for more."""


@dataclass(frozen=True)
class Absent:
    """Where kernels are compiled for it: a runner of its own each."""

    server: ForkServer
    device: str
    settings: Settings
    library: Sequence[str]
    """What may stay library work."""

    def compile(self, kernel: Kernel, task: Task, session: Session, libraries: Mapping[str, str]) -> dict[str, Any]:
        """The launches of one call, compiled: ``target``, ``case`` and ``launches``, or a ``problem``."""
        uses = (Use.TIMING, Use.CORRECTNESS)
        if kernel.backend == "pallas":  # the shapes that its writer was shown
            case, dtype = next((c, d) for use in uses for c in task.cases_for("cpu", use) for d in c.dtypes)
            return self._compiled(kernel, session, libraries, case, dtype)
        case, dtype = next((c, d) for use in uses for c in task.cases_for("cuda", use) for d in c.dtypes)
        small = (c for kind in ("cpu", "cuda") for c in task.cases_for(kind, Use.CORRECTNESS))
        case = next((c for c in small if dtype in c.dtypes), case)  # the reference runs here, slowly; writers are told of it
        return self._compiled(kernel, session, libraries, case, dtype)

    def _compiled(
        self, kernel: Kernel, session: Session, libraries: Mapping[str, str], case: ShapeCase, dtype: str
    ) -> dict[str, Any]:
        opened = session.open(case, dtype)
        if opened is None:
            return {}
        counted = self.server.environment.get("KERNELWRIGHT_LIBTPU") == COUNTS
        try:
            with self._trial(kernel, opened, libraries, counting() if counted else {}) as trial:
                if kernel.backend != "pallas":
                    return self._for_gpus(trial, opened)
                found = {"target": "tpu", "case": opened.key, **self._for_tpu(trial, opened)}
        except Outside as outside:
            return {"problem": f"outside its envelope: {outside}"}
        except Rejected as failure:
            return {"problem": failure.reason}
        if "schedules" in found:
            found["schedules"] = {**found["schedules"], **self._estimated(kernel, opened, libraries)}
        return found

    @contextmanager
    def _trial(
        self, kernel: Kernel, opened: OpenCase, libraries: Mapping[str, str], environment: Mapping[str, str]
    ) -> Iterator[Trial]:
        """A runner of its own with the kernel made for the case."""
        given = {"KERNELWRIGHT_LIBRARIES": json.dumps(dict(libraries)), **environment}
        trial = Trial(self.server, kernel, self.device, self.settings, given, library=self.library)
        try:
            trial.load()
            trial.build(opened)
            yield trial
        finally:
            trial.close()

    def _estimated(self, kernel: Kernel, opened: OpenCase, libraries: Mapping[str, str]) -> dict[str, Any]:
        """The first target's schedule with the compiler's estimate of its cycles; nothing where that takes too long."""
        target = next(iter(TARGETS))
        try:
            with self._trial(kernel, opened, libraries, counting(cycles=True)) as trial:
                given = {"key": opened.key, "targets": (target,), **trial.inputs(opened)}
                trial.ask("compile", ESTIMATE_SECONDS, **given)
                schedule = taken(trial.work)
        except (Outside, Rejected):
            return {}
        return {target: schedule} if schedule else {}

    def _for_gpus(self, trial: Trial, opened: OpenCase) -> dict[str, Any]:
        """The launches by Triton's compiler for the first GPU; for the others, what came of it there."""

        def launches(target: str) -> dict[str, Any]:
            return {"launches": trial.ask("compile", key=opened.key, targets=(target,), **trial.inputs(opened))["launches"]}

        first, *others = self.settings.compile_for
        found: dict[str, Any] = {"target": first, "case": opened.key, **launches(first)}
        for other in others:
            try:
                made = launches(other)
            except (Outside, Rejected) as failure:
                made = {"problem": getattr(failure, "reason", str(failure))[:_SAID]}
            found.setdefault("elsewhere", {})[other] = made
        return found

    def _for_tpu(self, trial: Trial, opened: OpenCase) -> dict[str, Any]:
        """The launches lowered and, where libtpu works, compiled. That it dies of a kernel is evidence, and nobody's fault."""

        def lowered(*targets: str) -> list[dict[str, Any]]:
            answer = trial.ask("compile", key=opened.key, targets=targets, **trial.inputs(opened))
            launches: list[dict[str, Any]] = answer["launches"]
            return launches

        launches, schedules = lowered(), {}
        mode = self.server.environment.get("KERNELWRIGHT_LIBTPU")
        try:
            for target in TARGETS if mode else ():
                again = lowered(target)
                if len(again) != len(launches):  # a kernel that remembers its last call: later stages have their word on it
                    return {"launches": launches, "libtpu": f"{len(again)} launches to compile in another call"}
                for launch, compiled in zip(launches, again, strict=True):
                    launch.setdefault("aot", {}).update(compiled["aot"])
                if mode == COUNTS:
                    schedules[target] = taken(trial.work)
        except Rejected as failure:
            return {"launches": launches, "libtpu": f"it did not come to an end on this kernel: {failure.reason}"}
        return {"launches": launches, **({"schedules": schedules} if any(schedules.values()) else {})}


def demand_lowering(compiled: Mapping[str, Any]) -> None:
    """What the TPU's compiler refuses is no Pallas kernel, whatever the simulator makes of it.

    Raises:
        Rejected: it does not lower, or every launch is refused.
    """
    problem = compiled.get("problem", "")
    for launch in compiled.get("launches", ()):
        told = {target: aot["problem"] for target, aot in launch.get("aot", {}).items() if "problem" in aot}
        ours = {target: text for target, text in told.items() if _REFUSED.search(text)}
        if ours and len(ours) == len(launch["aot"]):
            problem = "; ".join(f"{target}: {text}" for target, text in ours.items())
    if problem and not problem.startswith("outside its envelope"):
        first = problem.splitlines()[0][:400]
        raise Rejected(Status.BUILD_FAILED, Stage.BUILD, f"it does not compile for TPU: {first}", {"compiler": problem[:4000]})
