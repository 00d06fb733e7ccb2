"""A hearing on a chip that one process at a time can hold: the runner has it, the judge's oracle stays on the host.

From first to last the judge has the chip to itself. The kernel is simulated first, on its smallest case: a race or an access
out of bounds may pass on a chip by luck and be seen by the interpreter alone, and what waits for ever should not do so there.
Each stage is then as on other devices, in a runner that has opened the chip before it knows the kernel; its values are compared
by the same rules, the reference's own error being that of torch on the host.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kernelwright.evaluator import vendors
from kernelwright.evaluator.backends.backend import Built
from kernelwright.evaluator.chip_contest import ChipContest, NotTimed, Turns, patiently
from kernelwright.evaluator.figures import headline
from kernelwright.evaluator.hearing import SIMULATOR_ELEMENTS, Hearing
from kernelwright.evaluator.runner import sandbox
from kernelwright.evaluator.runner.processes import ForkServer
from kernelwright.evaluator.sanitizers import stage as sanitizing
from kernelwright.evaluator.session import OpenCase, Session
from kernelwright.evaluator.trial import Outside, Rejected, Trial
from kernelwright.evaluator.turns import exclusive
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import CaseResult, CaseTiming, Stage, Status, Timing, Use, Verdict

_NOT_MODELLED = "NotImplementedError"
"""What a simulator raises for a part of the language that it does not know."""
_NOT_COMPILED = "NotCompiled: "
"""How a runner's report begins where the chip's compiler refused a launch."""


class ChipHearing(Hearing):
    """One run of the cascade on a chip."""

    _built: Built | None = None
    _rehearsed = False
    _launchers: Mapping[str, str] | None = None

    def run(self) -> Verdict:
        with exclusive(self._judge.device) as waited:
            self._evidence["device_wait_seconds"] = round(waited, 4)
            self._judge.ceilings()  # what the verdict says of where it was reached
            return super().run()

    def _build(self) -> Built:
        built = super()._build()
        if self._judge.kind == "npu" and "triton" in built.evidence:
            reason = "a Triton-Ascend kernel is judged in the simulation alone, not on an NPU; use --device cpu"
            raise Rejected(Status.UNSUPPORTED, Stage.BUILD, reason, {"rule": "not_modelled"})
        return built

    def _start(self, built: Built, cases: list[OpenCase]) -> Trial:
        trial = patiently(lambda: super(ChipHearing, self)._start(built, cases))
        self._evidence["chip"] = dict(trial.opened)
        return trial

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The chip is this judge's already."""
        yield

    def _runner(self, built: Built, threads: int | None = None, libraries: Mapping[str, str] | None = None) -> Trial:
        self._built = built
        if not self._rehearsed and self._judge.settings.sanitize != "off":
            self._rehearsed = True
            self._evidence["sanitize"] = self._rehearse(built)
        if self._launchers is None:
            self._launchers = vendors.launchers(self._judge, self._kernel, self._evidence)
        return super()._runner(built, threads, {**self._launchers, **(libraries or {})})

    def _rehearse(self, built: Built) -> dict[str, Any]:
        """The smallest case by the simulator, no chip open.

        Raises:
            Rejected: a race, an access out of bounds, a semaphore that is not at 0, a wait for what never comes.
        """
        assert self._session is not None
        session, judge = self._session, self._judge
        found = [session.open(case, dtype) for case, dtype in judge.pairs(session, Use.CORRECTNESS)]
        small = [opened for opened in found if opened is not None and opened.numel <= SIMULATOR_ELEMENTS]
        if not small:
            return {"races": f"not run: every case has more than {SIMULATOR_ELEMENTS} elements"}
        server = judge.server(dict(judge.backend.run_entry("cpu")))
        environment = {"KERNELWRIGHT_LIBRARIES": json.dumps(dict(built.libraries))}
        trial = Trial(server, self._kernel, judge.host, judge.settings, environment, library=self._allowed)
        self._enter(Stage.SANITIZE)
        trial.stage = Stage.SANITIZE
        try:
            trial.load()
            return sanitizing.simulated(session, trial, [min(small, key=lambda c: c.numel)])
        except Rejected as failure:
            if failure.status is Status.RUNTIME_ERROR and _NOT_MODELLED in failure.reason:
                return {"races": f"not run: the interpreter does not model it: {failure.reason}"}
            raise
        finally:
            trial.close()

    def _smoke(self, session: Session, cases: list[OpenCase]) -> None:
        """A launch is compiled when it is first made: what the compiler refuses does not build."""
        try:
            super()._smoke(session, cases)
        except Rejected as failure:
            if failure.status is not Status.RUNTIME_ERROR or not failure.reason.startswith(_NOT_COMPILED):
                raise
            chip = self._judge.on_chip.chip.title
            reason = f"it does not compile for this {chip}: {failure.reason.removeprefix(_NOT_COMPILED)}"
            raise Rejected(Status.BUILD_FAILED, Stage.BUILD, reason, failure.evidence) from None

    def _again(self) -> Trial:
        """A fresh runner with the kernel loaded, in the place of the last one."""
        assert self._trial is not None
        assert self._built is not None
        was = self._trial
        was.close()
        trial = super()._runner(self._built)
        trial.stage, trial.must_launch = was.stage, was.must_launch
        trial.oracles, trial.convention = was.oracles, was.convention
        self._trial = trial
        trial.load()
        return trial

    def _reference_server(self) -> ForkServer:
        entry = self._judge.backend.run_entry(self._judge.place)
        return self._judge.server({**entry, "KERNELWRIGHT_IMPORT": self._judge.on_chip.chip.imports})

    def _confined(self, server: ForkServer) -> sandbox.Plan | None:
        settings = self._judge.settings
        if not settings.stranger:
            return None
        return sandbox.plan(settings.sandbox, server.layers, False, processes=True, chip=self._judge.kind)

    def _time(self, session: Session) -> Timing | None:
        assert self._trial is not None
        self._enter(Stage.TIME)
        found: list[CaseTiming] = []
        for opened in self._open(session, Use.TIMING):
            try:
                found.append(self._timing(session, opened))
            except NotTimed as why:
                self._evidence["not_timed"] = str(why)
                return None
            except Outside as outside:
                raise Rejected(Status.INCORRECT, Stage.TIME, f"raises OutsideEnvelope on a timing shape: {outside}") from None
            self._timed.append(opened)
            self._cases.append(CaseResult(opened.case.name, Use.TIMING, opened.dtype, "passed"))
        if not found:
            raise TaskError(f"{self._task.name}: no timing case for {self._judge.kind}", "add one to task.yaml")
        return headline(found)

    def _timing(self, session: Session, opened: OpenCase) -> CaseTiming:
        assert self._trial is not None
        self._trial.build(opened)
        turns = Turns(self._judge.on_chip.chip, self._again, self._reference_server, self._confined)
        contest: ChipContest | None = None
        try:
            contest = ChipContest(self._trial, turns, session, opened, self._judge.settings)
            found = contest.run(self._evidence)
        finally:
            held = contest is not None and contest.over()
            session.drop_pool(opened)  # what a kernel wrote there must not meet the next one
        if not held:
            self._again()
        return found

    def _summary(self, timing: Timing | None) -> str:
        why = self._evidence.get("not_timed")
        passed = sum(c.status == "passed" for c in self._cases)
        return f"correct on {passed} cases; not timed: {why}" if timing is None and why else super()._summary(timing)
