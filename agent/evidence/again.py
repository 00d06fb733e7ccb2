"""Judging again from an evidence file: with the recorded seeds, with fresh ones; what both say of the recorded verdict.

Kernel and task are a stranger's: both run in confined processes only. A reference says what is right, so one that was made to
lie makes any kernel right: compare the task with one that you trust (``--task``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from kernelwright.agent.bench.plan import commit
from kernelwright.agent.evidence import file
from kernelwright.agent.evidence.findings import APART, FAILS, HOLDS, NOTED, Finding, same
from kernelwright.agent.evidence.integrity import interval
from kernelwright.agent.evidence.records import Drawn, Evidence, Record
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.figures import pool
from kernelwright.evaluator.settings import BASELINES, Settings
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.conform import conforming
from kernelwright.tasks.errors import InputError, TaskError
from kernelwright.tasks.records import Assurance, Interval, Kernel, Stage, Status, Task, Use, Verdict

_SLACK = {"cpu": 0.05, "cuda": 0.02}
"""By which two medians may differ beyond their intervals: what the same kernel shows from judge to judge (the pooled figures of
results/cpu/repeat.json lie 3.5 % apart; on a GPU the design asks for 2 %)."""
_WIDE = 1.5
"""Upper over lower bound of an interval that hardly anything contradicts."""
_MOST_PROCESSES = 3
_TIMED = (Stage.HONEST, Stage.TIME, Stage.HELD_OUT)
"""Stages that decide after, or while, something is timed."""
_NONSENSE = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What comes of a reference's answers that are none: it is believed as to what is right, and its answers are not checked."""


class Bench(Protocol):
    """What judges: :class:`kernelwright.evaluator.judge.Judge`."""

    settings: Settings
    kind: str

    def device_info(self) -> DeviceInfo: ...

    def judge(self, kernel: Kernel, task: Task, recorded: Mapping[str, Any] | None = None) -> Verdict: ...


@dataclass(frozen=True)
class Again:
    """What judging again gave."""

    findings: tuple[Finding, ...]
    device: DeviceInfo
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    """``recorded_seeds`` and ``fresh_seeds``, without their journals."""


def settings_for(evidence: Evidence, sandbox: str) -> Settings:
    """How the kernel is judged again: as it was where that says what is claimed, else as winners are.

    Raises:
        InputError: the tolerance is none.
    """
    rtol, names = evidence.judging.get("rtol"), evidence.judging.get("baselines")
    if rtol is not None and not (isinstance(rtol, float) and 0 < rtol < 1):
        raise InputError("judging.rtol is no tolerance", "give a file that is whole")
    known = tuple(name for name in BASELINES if isinstance(names, list) and name in names)
    return Settings(rtol=rtol, baselines=known if "eager" in known else None, sandbox=sandbox, stranger=True)


def judge_again(evidence: Evidence, bench: Bench, told: Callable[[str], None] = lambda what: None) -> Again:
    """Judge the kernel of ``evidence`` on its task by ``bench``, whose settings are :func:`settings_for` it.

    ``told`` hears what is being done. compute-sanitizer, which audits on a GPU use, is left out: it needs files that a confined
    reference cannot write.

    Raises:
        HarnessError: the harness failed.
    """
    device = bench.device_info()
    sanitize = "off" if bench.settings.sanitize == "off" else "auto"
    bench.settings = replace(bench.settings.thorough(bench.kind), sanitize=sanitize)
    verdicts: dict[str, Verdict] = {}
    findings: list[Finding] = []
    record = next((j.record for j in reversed(evidence.judgings) if j.record is not None), None)
    try:
        if record is None:
            findings.append(Finding("status, recorded seeds", NOTED, detail="no seeds were kept"))
        else:
            told("judging with the recorded seeds")
            verdict, now = _with_recorded(evidence, record, bench)
            verdicts["recorded_seeds"] = verdict
            alike = _alike(evidence, device)
            findings += [_status("recorded seeds", evidence, verdict), *_drawn_again(record, now, alike)]
        verdicts["fresh_seeds"] = fresh = _with_fresh(evidence, bench, told)
        findings += [_status("fresh seeds", evidence, fresh), *_compared(evidence, fresh, device), _isolation(fresh)]
    except TaskError as error:
        findings.append(Finding("task", FAILS, detail=f"it cannot be judged here: {error.message}"))
    except _NONSENSE as error:  # a process boundary: a stranger's reference may answer anything
        findings.append(Finding("task", FAILS, detail=f"its reference makes no sense: {type(error).__name__}: {error}"))
    findings.append(_versions(evidence, device))
    return Again(tuple(findings), device, verdicts)


def _with_recorded(evidence: Evidence, record: Record, bench: Bench) -> tuple[Verdict, Record | None]:
    """The verdict with the seeds of ``record``. A kernel that passed is not timed so: timed contents are secret anew."""
    timed = not evidence.verdict.passed and evidence.verdict.stage in _TIMED
    usual, bench.settings = bench.settings, replace(bench.settings, timing=timed)
    try:
        verdict, now = file.split(bench.judge(evidence.kernel, evidence.task, to_json(record)))
    finally:
        bench.settings = usual
    return verdict, None if now is None else conforming(Record, to_json(now), "the record of a judging")


def _with_fresh(evidence: Evidence, bench: Bench, told: Callable[[str], None]) -> Verdict:
    """The verdict with fresh seeds, its figures from as many processes as the recorded ones."""
    timing = evidence.verdict.timing
    processes = max(1, min(timing.processes if timing else 1, _MOST_PROCESSES))
    verdicts: list[Verdict] = []
    for number in range(1, processes + 1):
        told(f"judging with fresh seeds, {number} of {processes}")
        verdicts.append(file.split(bench.judge(evidence.kernel, evidence.task))[0])
        if not verdicts[-1].passed:
            return verdicts[-1]
    return pool(verdicts) if len(verdicts) > 1 else verdicts[0]


def _status(seeds: str, evidence: Evidence, now: Verdict) -> Finding:
    was = evidence.verdict
    found = same(f"status, {seeds}", was.status.value, now.status.value)
    if now.status is Status.UNSUPPORTED and was.status is not now.status:
        return replace(found, detail=f"it cannot be judged here: {now.reason}")
    if found.result == FAILS:
        return replace(found, detail=f"at {now.stage.value}: {now.reason}")
    weaker = was.assurance is Assurance.DEVICE and now.assurance is not Assurance.DEVICE
    return replace(found, detail=f"verified {now.assurance.value} here, on a device then") if weaker else found


def _drawn_again(record: Record, now: Record | None, alike: bool) -> Iterator[Finding]:
    """Whether equal seeds gave equal inputs; what the oracle expects and the kernel gives may differ in the last bits."""
    again = {_key(draw): draw for draw in (now.draws if now else ())}
    pairs = [(draw, again[_key(draw)]) for draw in record.draws if _key(draw) in again and not draw.dropped]
    total = sum(not draw.dropped for draw in record.draws)
    for what, check in (("inputs", "inputs, recorded seeds"), ("expected", "expected values"), ("outputs", "kernel's outputs")):
        known = [(getattr(a, what), getattr(b, what)) for a, b in pairs if getattr(a, what) and getattr(b, what)]
        equal = sum(a == b for a, b in known)
        detail = f"{equal} of {len(known)} with the same hash"
        if what != "inputs":
            yield Finding(check, NOTED, detail=detail)
            continue
        detail += f"; {len(pairs)} of {total} draws were made again" if len(pairs) < total else ""
        wrong = FAILS if alike else NOTED
        yield Finding(check, HOLDS if equal == len(known) and known else wrong, detail=detail)


def _key(draw: Drawn) -> tuple[Any, ...]:
    return draw.case, draw.stage, draw.scale, draw.spikes, draw.vary, draw.variant, draw.seed


def _alike(evidence: Evidence, device: DeviceInfo) -> bool:
    """Whether equal seeds must give equal inputs: the same torch on the same kind of device."""
    return _same_device(evidence, device) and evidence.versions.get("torch") == device.versions.get("torch")


def _same_device(evidence: Evidence, device: DeviceInfo) -> bool:
    was = evidence.device
    if was is None or (was.kind, was.name) != (device.kind, device.name):
        return False
    return device.kind != "cpu" or was.cores == device.cores


def _compared(evidence: Evidence, now: Verdict, device: DeviceInfo) -> Iterator[Finding]:
    was = evidence.verdict
    if was.passed and now.passed:
        yield _cases(was, now)
        yield _held_out(was, now)
        yield Finding("envelope", HOLDS if was.envelope == now.envelope else NOTED, was.envelope or "-", now.envelope or "-")
        yield _share(was, now)
    if was.timing is None:
        return
    if not _same_device(evidence, device):
        here = f"recorded on {_described(evidence.device)}, this is {_described(device)}"
        yield Finding("timing", APART, detail=f"timing not comparable: {here}")
    elif now.timing is None:
        yield Finding("timing", NOTED, detail="no timing here, since it did not pass")
    else:
        for name in sorted({*was.timing.speedup, *now.timing.speedup}):
            yield _speedup(name, was.timing.speedup.get(name), now.timing.speedup.get(name), device.kind)
        then, latency = was.timing.latency_us, now.timing.latency_us
        overlap = _overlap(then, latency, device.kind)
        detail = "" if overlap else "load and clocks may differ"
        yield Finding("latency, µs", HOLDS if overlap else NOTED, interval(then), interval(latency), detail)


def _isolation(now: Verdict) -> Finding:
    """The layers that were missing around the kernel or its task's reference."""
    missing = []
    for whose, key in (("kernel", "sandbox"), ("reference", "reference_sandbox")):
        missing += [f"{whose}: {name} {state}" for name, state in now.environment.get(key, {}).items() if state != "on"]
    return Finding("isolation here", NOTED if missing else HOLDS, detail="; ".join(missing) or "every layer is on")


def _described(device: DeviceInfo | None) -> str:
    if device is None:
        return "an unknown device"
    return f"{device.name} ({device.cores} cores)" if device.kind == "cpu" else device.name


def _cases(was: Verdict, now: Verdict) -> Finding:
    """Each shape case in each dtype; those that were not run on one side are none's fault."""
    mine, theirs = ({(c.case, c.use, c.dtype): c.status for c in v.cases if c.status != "skipped"} for v in (was, now))
    both = [key for key in mine if key in theirs and key[1] is not Use.TIMING]
    other = [f"{case} {dtype}: {mine[case, use, dtype]}, now {theirs[case, use, dtype]}"
             for case, use, dtype in both if mine[case, use, dtype] != theirs[case, use, dtype]]  # fmt: skip
    detail = other[0] if other else f"{len(both)} compared"
    return Finding("cases", FAILS if other else HOLDS, str(len(mine)), str(len(theirs)), detail)


def _held_out(was: Verdict, now: Verdict) -> Finding:
    return same("held-out shapes", was.held_out, now.held_out)


def _share(was: Verdict, now: Verdict) -> Finding:
    shown = ["-" if v.library_share is None else f"{v.library_share:.0%}" for v in (was, now)]
    return Finding("time in library calls", NOTED, *shown)


def _speedup(name: str, was: Interval | None, now: Interval | None, kind: str) -> Finding:
    check = f"speedup over {name[:40]}"
    if was is None or now is None:
        return Finding(check, NOTED, interval(was), interval(now), "not timed on one side")
    overlap = _overlap(was, now, kind)
    if overlap and now.high > _WIDE * now.low:
        return Finding(check, HOLDS, interval(was), interval(now), "too wide here to say much: the machine is not quiet")
    side = "" if overlap else "above what it is now" if was.low > now.high else "below what it is now"
    return Finding(check, HOLDS if overlap else FAILS, interval(was), interval(now), side)


def _overlap(one: Interval, other: Interval, kind: str) -> bool:
    room = 1.0 + _SLACK[kind]
    return one.low <= other.high * room and other.low <= one.high * room


def _versions(evidence: Evidence, device: DeviceInfo) -> Finding:
    then = {**evidence.versions, "commit": (evidence.commit or "none")[:12]}
    now = {**file.versions(device), "commit": (commit() or "none")[:12]}
    names = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    other = [f"{name} {then.get(name, 'none')[:40]}, here {now.get(name, 'none')}" for name in names]
    return Finding("versions", NOTED if other else HOLDS, detail="; ".join(other) or "the same")


def same_task(evidence: Evidence, trusted: Task | None, whose: str) -> Finding:
    """Whether the recorded task is ``trusted``, a task that is here; ``whose`` says where that comes from."""
    if trusted is None:
        detail = "not compared with a task of yours; give it with --task, for its reference says what is right"
        return Finding("task as it is here", NOTED, detail=detail)
    mine, theirs = (to_json(replace(task, name="", path="")) for task in (evidence.task, trusted))
    other = [name for name in theirs if mine[name] != theirs[name]]
    detail = f"{', '.join(other)} differ from {whose}" if other else whose
    return Finding("task as it is here", FAILS if other else HOLDS, detail=detail)


def recorded_summary(evidence: Evidence) -> dict[str, Any]:
    """What the file claims, for the head of a report."""
    timing = evidence.verdict.timing
    best = timing.speedup.get("best") if timing else None
    return {
        "status": evidence.verdict.status.value,
        "device": evidence.device_name,
        "created": evidence.created,
        "commit": evidence.commit,
        "speedup_best": [best.median, best.low, best.high] if best else None,
    }
