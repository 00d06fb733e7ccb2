"""One hearing: a kernel taken through the stages of the cascade, and the verdict written down."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kernelwright.evaluator import absent, accidents, binary, honesty, vendors
from kernelwright.evaluator.ascend_compiler import launch_compiler
from kernelwright.evaluator.backends.backend import Built
from kernelwright.evaluator.backends.triton import BY_IR, TTSEM
from kernelwright.evaluator.ceilings import roofline
from kernelwright.evaluator.contest import time_case
from kernelwright.evaluator.figures import headline, in_words
from kernelwright.evaluator.journal import Journal
from kernelwright.evaluator.profile_metrics import bottleneck
from kernelwright.evaluator.robustness import examine
from kernelwright.evaluator.sanitizers import stage as sanitizing
from kernelwright.evaluator.screen import screen
from kernelwright.evaluator.screen_rules import WHY
from kernelwright.evaluator.session import DRAWS, Draw, OpenCase, Session
from kernelwright.evaluator.stage_clock import EXPLAIN, OPEN, StageClock
from kernelwright.evaluator.trial import Outside, Rejected, Trial
from kernelwright.evaluator.turns import shared
from kernelwright.tasks.errors import HarnessError, TaskError
from kernelwright.tasks.records import (
    Assurance,
    CaseResult,
    CaseTiming,
    Kernel,
    ShapeCase,
    Stage,
    Status,
    Task,
    Timing,
    Use,
    Verdict,
)

if TYPE_CHECKING:
    from kernelwright.evaluator.judge import Judge

SIMULATOR_ELEMENTS = 1 << 18
"""Largest input, in elements, that a simulated backend is asked to run."""
_UNCOMPILED = ("ascend", "ttlang")
"""Simulated backends that compile what is launched as it is launched, or whose language has no compiler."""
_FLOOR = 0.4
"""Of the least time by the device's measured ceilings: what L2 keeps of a kernel's writes makes no more difference."""


class Hearing:
    """One run of the cascade."""

    def __init__(
        self, judge: Judge, kernel: Kernel, task: Task, recorded: Mapping[str, Any] | None = None, not_by_ir: str = ""
    ) -> None:
        self._judge = judge
        narrow = "bfloat16" in kernel.source or any("bfloat16" in case.dtypes for case in task.cases)
        self.by_ir = judge.by_ir and narrow and not not_by_ir
        """Whether Triton's launches are executed by their IR; ``not_by_ir``: why they cannot be, for this kernel."""
        self._not_by_ir = not_by_ir
        self._journal = Journal(judge.settings.record, recorded)
        self._session: Session | None = None
        self._kernel = kernel
        self._task = task
        self._evidence: dict[str, Any] = {}
        self._cases: list[CaseResult] = []
        self._outside: list[str] = []
        self._trial: Trial | None = None
        self._allowed: list[str] = []
        self._share: float | None = None
        self._held_out = "none"
        self._draws: Sequence[Draw] = DRAWS
        self._narrowed: list[str] = []
        self._timed: list[OpenCase] = []
        self._clock = StageClock(Stage.SCREEN.value)

    def run(self) -> Verdict:
        """Screen to held-out; the first failure ends it."""
        timing: Timing | None = None
        stage = Stage.SCREEN
        try:
            self._screen()
            with self._turn() if self._judge.kind == "cpu" else nullcontext():
                built = self._build()
            with self._turn():
                session, cases = self._verify(built)
            if not cases:
                return self._unsupported()
            stage = Stage.ROBUST
            if self._judge.settings.timing and not self._judge.simulated:
                timing = self._time(session)
                stage = Stage.ROBUST if timing is None else Stage.TIME
            with self._turn():
                if self._hold_out(session):
                    stage = Stage.HELD_OUT
            self._explain(session, built)
        except Rejected as failure:
            if accidents.device_lost(failure.reason):  # for the reference too? Then no kernel is to blame, and this raises
                self._judge.session_for(self._task).ask("device", measure=False)
            self._evidence.update(failure.evidence)
            return self._verdict(failure.status, failure.stage, failure.reason)
        return self._verdict(Status.PASSED, stage, self._summary(timing), timing)

    def _verify(self, built: Built) -> tuple[Session, list[OpenCase]]:
        """Everything between build and timing; no cases: none of them can be run here."""
        self._clock.enter(OPEN)
        session = self._session = self._judge.session_for(self._task)
        session.begin(self._journal)
        cases = self._open(session, Use.CORRECTNESS)
        self._admission(session, cases)
        if self._judge.compiles_only:
            modules = self._judge.backend.diagnose(self._kernel, built)["native"]
            self._evidence["compiled"] = {"target": modules[0]["arch"], "launches": modules}
            return session, []
        self._trial = self._start(built, cases)
        if self._judge.simulated and self._judge.backend.name not in _UNCOMPILED:
            entry = {} if self._judge.backend.name == "triton" else self._judge.backend.run_entry(self._judge.kind)
            bench = absent.Absent(self._judge.server(entry), self._judge.device, self._judge.settings, self._allowed)
            self._evidence["compiled"] = bench.compile(self._kernel, self._task, session, built.libraries)
            if self._judge.backend.name == "pallas":
                absent.demand_lowering(self._evidence["compiled"])
        if cases:
            self._smoke(session, cases)
            self._correct(session, cases)
            self._sanitize(session, cases, built)
            self._honest(session, cases)
            self._robust(session, cases)
            self._clock.enter(Stage.BUILD.value)
            vendors.compile_too(self._judge, self._kernel, self._evidence)
        return session, cases

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Work that is not timed, while no other judge times on this device."""
        with shared(self._judge.device) as waited:
            self._evidence["device_wait_seconds"] = round(self._evidence.get("device_wait_seconds", 0.0) + waited, 4)
            yield

    def _enter(self, stage: Stage) -> None:
        """The clock runs for ``stage`` from here on, and what the runner fails at is told of it."""
        self._clock.enter(stage.value)
        self._journal.stage = stage.value
        if self._trial is not None:
            self._trial.stage = stage

    def close(self) -> None:
        if self._session is not None:
            self._session.journal = Journal()
        if self._trial is not None:
            self._trial.close()

    def _screen(self) -> None:
        findings = screen(self._kernel)
        self._evidence["screen"] = [vars(f) if hasattr(f, "__dict__") else str(f) for f in findings if f.tier != "record"]
        for finding in findings:
            if finding.tier == "reject":
                broken = finding.rule in ("syntax", "no_model")
                if not (broken or self._judge.settings.screen):
                    continue
                status = Status.BUILD_FAILED if broken else Status.CHEATING
                where = f"line {finding.line}: " if finding.line else ""
                evidence = {"rule": finding.rule, "line": finding.line}
                raise Rejected(status, Stage.SCREEN, f"{where}{finding.detail}", evidence)

    def _build(self) -> Built:
        self._enter(Stage.BUILD)
        built = self._judge.backend.build(self._kernel, self._judge.cache / "native")
        self._evidence["build"] = dict(built.evidence)
        asks = [finding for path in sorted(set(built.libraries.values())) for finding in binary.inspect(path)]
        self._evidence["binary"] = [finding.detail for finding in asks]
        if not built.ok:
            first = next((line for line in built.log.splitlines() if line.strip()), "the build failed")
            said = {"compiler": built.log[:8000]}
            if built.unsupported:
                raise Rejected(Status.UNSUPPORTED, Stage.BUILD, first, {**said, "rule": "not_modelled"})
            raise Rejected(Status.BUILD_FAILED, Stage.BUILD, first, said)
        for finding in asks:
            if finding.tier == "reject":
                reason = f"{finding.detail}: {WHY[finding.rule]}"
                raise Rejected(Status.CHEATING, Stage.BUILD, reason, {"rule": f"binary:{finding.rule}"})
        return built

    def _runner(self, built: Built, threads: int | None = None, libraries: Mapping[str, str] | None = None) -> Trial:
        """A fresh runner of this kernel, nothing loaded yet. ``libraries``: other builds of its native sources."""
        judge = self._judge
        entry = dict(BY_IR if self.by_ir else judge.backend.run_entry(judge.place))
        environment = {"KERNELWRIGHT_LIBRARIES": json.dumps({**built.libraries, **(libraries or {})})}
        trial = Trial(judge.server(entry), self._kernel, judge.device, judge.settings, environment, threads, self._allowed)
        judge.sandbox = trial.runner.layers
        return trial

    def _admission(self, session: Session, cases: list[OpenCase]) -> None:
        """The task must tell work from no work; what it cannot tell is said."""
        self._draws = session.admit(cases, self._judge.settings.rtol) if cases else DRAWS
        if session.weak:
            self._evidence["admission"] = {"cannot_tell": list(session.weak)}

    def _start(self, built: Built, cases: list[OpenCase]) -> Trial:
        stays = honesty.may_stay(self._task.library, cases[0].facts["ops"]) if cases else frozenset()
        self._allowed = [*stays, *map(honesty.base_name, self._task.library)]
        self._trial = trial = self._runner(built)
        if self.by_ir:
            self._evidence["simulator"] = f"ttsem {TTSEM}"
        if self._judge.backend.name == "ascend" and "triton" in built.evidence:
            trial.compiler = compiler = launch_compiler(self._judge, self._kernel)
            self._evidence["compiled"] = compiler.evidence
        trial.load()
        return trial

    def _open(self, session: Session, use: Use) -> list[OpenCase]:
        """The cases of one use that can be judged here; the others are recorded as skipped."""
        found = []
        for case, dtype in self._judge.pairs(session, use):
            if self._judge.compiles_only:
                self._skip(case, dtype, "CUDA kernels cannot be run without a GPU")
                continue
            if self._judge.interpreted and not self.by_ir and dtype == "bfloat16":
                self._skip(case, dtype, "; ".join(filter(None, ("the interpreter's bfloat16 is wrong", self._not_by_ir))))
                continue
            opened = session.open(case, dtype)
            if opened is None:
                continue
            if self._judge.simulated and opened.numel > SIMULATOR_ELEMENTS:
                self._skip(case, dtype, f"{opened.numel} elements are too many for the interpreter")
            else:
                found.append(opened)
        return found

    def _skip(self, case: ShapeCase, dtype: str, why: str) -> None:
        self._cases.append(CaseResult(case.name, case.use, dtype, "skipped", detail=why))

    def _smoke(self, session: Session, cases: list[OpenCase]) -> None:
        """The smallest case inside the kernel's envelope, one draw."""
        assert self._trial is not None
        self._enter(Stage.SMOKE)
        for smallest in sorted(cases, key=lambda c: c.numel):
            with self._envelope(smallest):
                self._trial.build(smallest)
                self._trial.try_draw(session, smallest)
            if smallest.key not in self._outside:
                return

    def _sanitize(self, session: Session, cases: list[OpenCase], built: Built) -> None:
        """Memory errors and races, by the tool of this backend and device; on a GPU only where settings ask."""
        assert self._trial is not None
        judge = self._judge
        inside = sorted((c for c in cases if c.key not in self._outside), key=lambda c: c.numel)
        if judge.settings.sanitize == "off" or not inside:
            return
        self._enter(Stage.SANITIZE)
        if judge.simulated:
            self._evidence["sanitize"] = sanitizing.simulated(session, self._trial, inside, self.by_ir)
            return
        bench = sanitizing.Bench(
            self._kernel,
            session,
            judge.server({}),
            judge.cache / "native",
            judge.settings.smoke_seconds,
            judge.settings.sandbox,
            functools.partial(self._runner, built),
        )
        if judge.kind == "cpu" and built.libraries:
            self._evidence["sanitize"] = sanitizing.native(bench, inside)
        elif judge.kind == "cuda" and judge.settings.sanitize == "all":
            self._evidence["sanitize"] = sanitizing.on_device(bench, judge.device, inside)

    def _correct(self, session: Session, cases: list[OpenCase]) -> None:
        """Every case and dtype, several secret draws each, parameters changed in place between them."""
        assert self._trial is not None
        self._enter(Stage.CORRECT)
        for opened in cases:
            self._judge_case(session, opened, self._draws)

    def _robust(self, session: Session, cases: list[OpenCase]) -> None:
        """What it keeps between calls, and what it takes for granted about its inputs."""
        assert self._trial is not None
        self._enter(Stage.ROBUST)
        inside = [c for c in cases if c.key not in self._outside]
        found = examine(self._trial, session, inside, self._task.deterministic, self._judge.simulated)
        self._evidence["robust"] = found.evidence
        self._narrowed = found.narrowed

    def _judge_case(self, session: Session, opened: OpenCase, draws: Sequence[Draw]) -> None:
        assert self._trial is not None
        worst_error, worst_ratio = 0.0, 0.0
        result = CaseResult(opened.case.name, opened.case.use, opened.dtype, "passed")
        try:
            with self._envelope(opened):
                self._trial.build(opened)
                for scale, spikes, vary in draws:
                    found = self._trial.try_draw(session, opened, scale, spikes, vary)
                    for output in (found or {"outputs": []})["outputs"]:
                        worst_error = max(worst_error, output["max_error"])
                        worst_ratio = max(worst_ratio, output["ratio"])
            if opened.key in self._outside:
                result = replace(result, status="outside_envelope")
            else:
                result = replace(result, max_error=worst_error, error_ratio=worst_ratio)
        except Rejected as failure:
            result = replace(result, status=failure.status.value, detail=failure.reason)
            raise
        finally:
            self._cases.append(result)

    @contextmanager
    def _envelope(self, opened: OpenCase) -> Iterator[None]:
        """A derived shape may be outside the kernel's envelope; a shape that the task lists may not."""
        try:
            yield
        except Outside as outside:
            assert self._trial is not None
            if not opened.case.derived:
                reason = f"{opened.case.name}: raises OutsideEnvelope on a shape that the task lists: {outside}"
                raise Rejected(Status.INCORRECT, self._trial.stage, reason) from None
            if opened.key not in self._outside:
                self._outside.append(opened.key)
            self._evidence.setdefault("outside", []).append(str(outside)[:200])

    def _honest(self, session: Session, cases: list[OpenCase]) -> None:
        """Whose work it is: operators seen at run time, against what the task lets stay in the library."""
        assert self._trial is not None
        trial = self._trial
        self._enter(Stage.HONEST)
        if trial.tripped:
            raise trial.library_work()
        trial.answer_for_idleness()
        inside = [c for c in cases if c.key not in self._outside]
        if not inside:
            raise Rejected(Status.INCORRECT, Stage.CORRECT, "outside its envelope on every correctness shape")
        chosen = max(inside, key=lambda c: c.numel)
        session.draw(chosen)
        seen = trial.ask("trace", key=chosen.key, device=False, **trial.inputs(chosen))
        library = {op: n for op, n in seen["ops"].items() if honesty.classify(op) != "free"}
        if library or not seen["native_calls"]:  # only then is the device's own profiler worth its three seconds
            seen = trial.ask("trace", key=chosen.key, device=True, **trial.inputs(chosen))
        # A replayed graph launches nothing by hand: its kernels are seen on the device only.
        own = int(seen["native_calls"]) or sum(k.isidentifier() and not k.startswith("Mem") for k in seen["kernels"])
        self._evidence["operators"] = {"library": library, "native_calls": own, "kernels": seen["kernels"]}
        ran = {**seen["ops"], **dict.fromkeys(seen["kernels"], 1)}
        finding = honesty.rule(self._task.library, chosen.facts["ops"], ran, own)
        if finding is not None:
            raise Rejected(Status.CHEATING, Stage.HONEST, finding.detail, {"rule": finding.rule})
        trial.must_launch = int(seen["native_calls"]) > 0
        if trial.must_launch and trial.least_native == 0:
            reason = "a judged call launched nothing of its own, though the observed call did"
            raise Rejected(Status.CHEATING, Stage.HONEST, reason, {"rule": "no_own_work"})
        spent = sum(float(seen["times"].get(op, 0.0)) for op in library)
        total = float(seen["total_us"])
        self._share = round(min(spent / total, 1.0), 4) if total > 0 else 0.0

    def _time(self, session: Session) -> Timing | None:
        assert self._trial is not None
        self._enter(Stage.TIME)
        found: list[CaseTiming] = []
        ceilings = self._judge.ceilings()
        for opened in self._open(session, Use.TIMING):
            self._trial.build(opened)
            timing = time_case(self._trial, session, opened, self._judge.settings, self._evidence)
            bound, least_us = roofline(self._task, opened, ceilings)
            if self._judge.kind == "cuda" and least_us and timing.latency_us.median < _FLOOR * least_us:
                reason = f"{timing.latency_us.median:.1f} µs, where this device needs {least_us:.1f} for the task's own traffic"
                raise Rejected(Status.CHEATING, Stage.TIME, f"faster than the device can be: {reason}", {"rule": "roofline"})
            found.append(replace(timing, roofline_us=least_us, bound=bound))
            self._timed.append(opened)
            result = CaseResult(opened.case.name, Use.TIMING, opened.dtype, "passed")
            self._cases.append(result)
        if not found:
            raise TaskError(f"{self._task.name}: no timing case for {self._judge.kind}", "add one to task.yaml")
        return headline(found)

    def _hold_out(self, session: Session) -> bool:
        """Shapes that no prompt ever showed."""
        assert self._trial is not None
        self._enter(Stage.HELD_OUT)
        cases = self._open(session, Use.HELD_OUT)
        for opened in cases:
            self._judge_case(session, opened, DRAWS[:1])
        outside = [c for c in cases if c.key in self._outside]
        if cases:
            self._held_out = "narrowed" if outside else "passed"
        return bool(cases)

    def _explain(self, session: Session, built: Built) -> None:
        """Of a kernel that has passed, for the prompts: what its compiler and, on a GPU, a profiler say about its speed."""
        judge = self._judge
        self._clock.enter(EXPLAIN)
        self._evidence["build"] |= judge.backend.diagnose(self._kernel, built)
        if judge.kind != "cuda" or judge.settings.profile == "off":
            return
        server, mode = judge.server({}), judge.settings.sandbox
        try:
            found = judge.profiler.profile(self._kernel, session, self._timed, server, judge.device, mode)
        except (TaskError, HarnessError) as error:  # hints are worth no verdict
            found = {"problem": error.message}
        if found:
            self._evidence["profile"] = found
        if label := bottleneck(found):
            self._evidence["bottleneck"] = label

    def _unsupported(self) -> Verdict:
        """No case can be run here: say how far it was verified."""
        compiled = self._evidence.get("compiled", {})
        if "launches" in compiled:
            reason = (
                f"it compiles for {compiled.get('target', 'sm_90')}; numerics need a device here, so they were not verified"
            )
            return self._verdict(Status.UNSUPPORTED, Stage.BUILD, reason, assurance=Assurance.COMPILED)
        reason = f"numerics need a device here, and it does not compile for sm_90: {compiled.get('problem', '')}"
        return self._verdict(Status.UNSUPPORTED, Stage.BUILD, reason, assurance=Assurance.STATIC)

    def _summary(self, timing: Timing | None) -> str:
        passed = sum(c.status == "passed" for c in self._cases)
        if timing is None:
            why = "simulated, so no timing" if self._judge.simulated else "not timed"
            return f"correct on {passed} cases; {why}"
        return f"correct on {passed} cases; {in_words(timing)}"

    def _verdict(
        self,
        status: Status,
        stage: Stage,
        reason: str,
        timing: Timing | None = None,
        assurance: Assurance | None = None,
    ) -> Verdict:
        if assurance is None:
            assurance = Assurance.SIMULATED if self._judge.simulated else Assurance.DEVICE
            if stage in (Stage.SCREEN, Stage.BUILD):
                assurance = Assurance.STATIC
        narrowed = "; ".join(sorted({*self._evidence.get("outside", []), *self._narrowed}))
        return Verdict(
            status=status,
            stage=stage,
            reason=reason,
            kernel_id=self._kernel.kernel_id,
            task=self._task.name,
            assurance=assurance,
            evidence={**self._evidence, "stage_seconds": self._clock.seconds(), **self._convention(), **self._recorded()},
            cases=tuple(self._cases),
            timing=timing,
            held_out=self._held_out,
            envelope=narrowed,
            library_share=self._share,
            environment=self._judge.environment(),
        )

    def _recorded(self) -> dict[str, Any]:
        """Seeds, hashes and raw readings: given out here, when nothing more is drawn."""
        return {"record": self._journal.to_json()} if self._journal.kept else {}

    def _convention(self) -> dict[str, Any]:
        """What right was measured by: an overridden tolerance, each case's oracle, and what the field's convention says."""
        found: dict[str, Any] = {"rtol": self._judge.settings.rtol} if self._judge.settings.rtol is not None else {}
        if self._task.scale is not None:
            found["scale"] = self._task.scale
        if self._trial is not None and self._trial.oracles:
            found |= {"oracle": dict(self._trial.oracles), "convention": dict(self._trial.convention)}
        return found
