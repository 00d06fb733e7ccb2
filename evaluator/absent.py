"""What the compiler makes of a kernel for a GPU that is not here: evidence, never a speedup."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kernelwright.evaluator.runner.processes import ForkServer
from kernelwright.evaluator.session import Session
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.trial import Outside, Rejected, Trial
from kernelwright.tasks.records import Kernel, ShapeCase, Task, Use

TARGET = "sm_90"


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
        case = next((c for c in task.cases_for("cpu", Use.CORRECTNESS) if dtype in c.dtypes), case)
        return self._compiled(kernel, session, libraries, case, dtype)

    def _compiled(
        self, kernel: Kernel, session: Session, libraries: Mapping[str, str], case: ShapeCase, dtype: str
    ) -> dict[str, Any]:
        environment = {"KERNELWRIGHT_LIBRARIES": json.dumps(dict(libraries))}
        trial = Trial(self.server, kernel, self.device, self.settings, environment)
        try:
            trial.load(self.library)
            opened = session.open(case, dtype)
            if opened is None:
                return {}
            trial.build(opened)
            launches = trial.ask("compile", key=opened.key, **trial.inputs(opened))["launches"]
            target = "tpu" if kernel.backend == "pallas" else TARGET
            return {"target": target, "case": opened.key, "launches": launches}
        except Outside as outside:
            return {"problem": f"outside its envelope: {outside}"}
        except Rejected as failure:
            return {"problem": failure.reason}
        finally:
            trial.close()
