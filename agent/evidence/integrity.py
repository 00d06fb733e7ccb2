"""Does an evidence file agree with itself? Texts with their hashes, figures with samples, samples with raw readings.

Figures are computed again by the code that computed them. It is no protection against a file that was made up as a whole: that
is what judging again is for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy

from kernelwright.agent.evidence import file
from kernelwright.agent.evidence.findings import FAILS, HOLDS, NOTED, Finding, first_of
from kernelwright.agent.evidence.records import Evidence, Judging, Readings
from kernelwright.evaluator.figures import CANDIDATE, case_timing, headline, pool, samples_key
from kernelwright.evaluator.stopwatch import block_sample, call_us
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import CaseTiming, Interval, Timing, Verdict

_FIGURE = 1e-9
"""Relative: rounding of another machine's arithmetic."""
_SAMPLE_US = 0.0015
"""Samples are kept to a nanosecond."""
_BOUND = 0.5
"""Of an interval's width: how far its ends may lie apart where another numpy draws other random numbers."""
_SAID = (
    "status", "stage", "reason", "assurance", "cases", "held_out", "envelope", "library_share", "evidence", "environment",
    "seconds",
)  # fmt: skip
"""What a verdict says beside its timing."""


def examine(evidence: Evidence, data: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Everything that can be found without judging. ``data``: the file's object."""
    numpy_then = evidence.versions.get("numpy")
    exact = numpy_then == numpy.__version__
    expected = _expected(evidence)
    found = [*_texts(evidence, data), _one_subject(evidence), _quoted(evidence, expected)]
    for number, judging in enumerate(evidence.judgings, 1):
        which = f"judging {number} ({judging.role})"
        found += [_readings(which, judging), _figures(which, judging.verdict, exact)]
    found += [_pooled(evidence, expected, exact), _baselines(evidence, data)]
    return tuple(found)


def _texts(evidence: Evidence, data: Mapping[str, Any]) -> Iterator[Finding]:
    kernel = evidence.kernel
    yield _hash("whole file", data.get("checksum"), file.checksum(data))
    yield _hash("kernel's text", data["kernel"].get("sha256"), file.sha256(kernel.source))
    yield _hash("task's record", data.get("task_sha256"), file.sha256(file.canonical(data["task"])))
    yield _hash("kernel's id", data["kernel"].get("kernel_id"), kernel.kernel_id)


def _hash(check: str, recorded: Any, now: str) -> Finding:
    return Finding(check, HOLDS if recorded == now else FAILS, str(recorded)[:12], now[:12])


def _one_subject(evidence: Evidence) -> Finding:
    """Every verdict is on this kernel and this task, by the tolerance that the settings say."""
    problems = []
    for judging in (*evidence.judgings, Judging("quoted", evidence.verdict)):
        verdict = judging.verdict
        if verdict.kernel_id != evidence.kernel.kernel_id:
            problems.append(f"the {judging.role} verdict is on kernel {verdict.kernel_id[:40]}")
        if verdict.task != evidence.task.name:
            problems.append(f"the {judging.role} verdict is on task {verdict.task[:80]}, not {evidence.task.name[:80]}")
        if verdict.evidence.get("rtol") != evidence.judging.get("rtol"):
            said, asked = verdict.evidence.get("rtol"), evidence.judging.get("rtol")
            problems.append(f"the {judging.role} verdict has rtol {said!r}, the settings {asked!r}")
    return first_of("one kernel, one task", problems, f"in {len(evidence.judgings)} of {len(evidence.judgings)} judgings")


def _expected(evidence: Evidence) -> Verdict | str:
    """The verdict that the judgings make together, or why they make none."""
    verdicts = [judging.verdict for judging in evidence.judgings]
    try:
        return pool(verdicts) if len(verdicts) > 1 else verdicts[0]
    except (ArithmeticError, ValueError, KeyError) as error:
        return f"the judgings make no verdict: {type(error).__name__} {error}"


def _quoted(evidence: Evidence, expected: Verdict | str) -> Finding:
    """The verdict that is quoted says what the judgings say."""
    if isinstance(expected, str):
        return Finding("verdict", FAILS, detail=expected)
    problems = []
    if len(evidence.judgings) > 1:
        verdicts = enumerate((judging.verdict for judging in evidence.judgings), 1)
        problems = [f"judging {n} is {v.status.value}" for n, v in verdicts if not v.passed]
    quoted, made = to_json(evidence.verdict), to_json(expected)
    for name in _SAID:
        if quoted[name] != made[name]:
            problems.append(f"{name} is {_short(quoted[name])}, by the judgings {_short(made[name])}")
    return replace(first_of("verdict", problems, ""), recorded=evidence.verdict.status.value)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


def _readings(which: str, judging: Judging) -> Finding:
    """The samples of a judging, computed again from its raw readings."""
    check = f"samples of {which}"
    timed = file.samples(judging.verdict)
    if judging.record is None:
        return Finding(check, NOTED, detail="raw readings were not kept, the samples stand as they are")
    if not timed:
        return Finding(check, NOTED, detail="nothing was timed")
    problems = []
    for key, sides in timed.items():
        readings = judging.record.timing.get(key)
        computed = _from_readings(readings) if readings else None
        if computed is None:
            problems.append(f"{key}: no raw readings, or not two a block and side")
            continue
        for name, series in sides.items():
            problems += _apart(f"{key} {name}", series, computed.get(name, ()))
    blocks = sum(len(sides.get(CANDIDATE, ())) for sides in timed.values())
    return first_of(check, problems, f"{blocks} blocks from raw readings")


def _apart(which: str, series: Sequence[float], computed: Sequence[float]) -> Iterator[str]:
    if len(series) != len(computed):
        yield f"{which}: {len(series)} samples, {len(computed)} from the readings"
        return
    for number, (sample, again) in enumerate(zip(series, computed, strict=True), 1):
        if abs(sample - again) > _SAMPLE_US:
            yield f"{which}, block {number}: {sample} µs, from the readings {again:.3f}"


def _from_readings(raw: Readings) -> dict[str, list[float]] | None:
    """The samples of each side; None where the readings are not two a block."""
    blocks = {len(side.spacers_us) for side in raw.sides.values()} | {len(s.readings) / 2 for s in raw.sides.values()}
    if len(blocks) != 1 or not raw.sides:
        return None
    found: dict[str, list[float]] = {name: [] for name in raw.sides}
    for block in range(int(blocks.pop())):
        sample = {}
        for name, side in raw.sides.items():
            pair = [call_us(short, long, raw.calls) for short, long, _ in side.readings[2 * block : 2 * block + 2]]
            sample[name] = block_sample(pair, side.spacers_us[: block + 1])
        if round(min(sample.values()), 3) > 0:
            for name, value in sample.items():
                found[name].append(value)
    return found


def _figures(which: str, verdict: Verdict, exact: bool) -> Finding:
    """The figures of one judging, computed again from its samples."""
    check = f"figures of {which}"
    timing = verdict.timing
    if timing is None:
        return Finding(check, NOTED, detail="no timing")
    try:
        samples = file.samples(verdict)
        computed = headline([_computed(case, samples) for case in timing.cases], timing.processes)
    except (ArithmeticError, ValueError, KeyError, InputError) as error:
        return Finding(check, FAILS, detail=f"they cannot be computed from the samples: {type(error).__name__} {error}")
    return first_of(check, list(differences(timing, computed, exact)), "computed again from the samples")


def _computed(case: CaseTiming, samples: Mapping[str, Mapping[str, Sequence[float]]]) -> CaseTiming:
    found = case_timing(case.case, case.dtype, [samples[samples_key(case.case, case.dtype)]])
    return replace(found, roofline_us=case.roofline_us, bound=case.bound, notes=case.notes)


def _pooled(evidence: Evidence, expected: Verdict | str, exact: bool) -> Finding:
    """The figures that are quoted, from all judgings."""
    check, timing = "figures that are quoted", evidence.verdict.timing
    if isinstance(expected, str):
        return Finding(check, FAILS, detail=expected)
    if timing is None or expected.timing is None:
        said, made = ("none" if t is None else "some" for t in (timing, expected.timing))
        return Finding(check, HOLDS if said == made else FAILS, said, made)
    over = "1 process" if timing.processes == 1 else f"{timing.processes} processes"
    found = first_of(check, list(differences(timing, expected.timing, exact)), f"over {over}")
    return replace(found, recorded=interval(timing.speedup.get("best")), now=interval(expected.timing.speedup.get("best")))


def _baselines(evidence: Evidence, data: Mapping[str, Any]) -> Finding:
    agree = data.get("baselines") == to_json(file.baselines(evidence.verdict))
    return Finding("baselines", HOLDS if agree else FAILS, detail="" if agree else "not those of the quoted verdict")


def interval(value: Interval | None) -> str:
    return f"{value.median:.3f} [{value.low:.3f}, {value.high:.3f}]" if value else "-"


def differences(recorded: Timing, computed: Timing, exact: bool) -> Iterator[str]:
    """Figures of ``recorded`` that are not ``computed``'s. ``exact``: the same bootstrap, so that bounds must agree too."""
    yield from _intervals("", recorded, computed, exact)
    for one, other in zip(recorded.cases, computed.cases, strict=False):
        yield from _intervals(f"{one.case} {one.dtype} ", one, other, exact)
        if (one.case, one.dtype, one.blocks) != (other.case, other.dtype, other.blocks):
            yield f"{one.case} {one.dtype}: {one.blocks} blocks, by the samples {other.blocks}"
    if len(recorded.cases) != len(computed.cases):
        yield f"{len(recorded.cases)} timing cases, by the samples {len(computed.cases)}"
    for name in ("best_baseline", "processes"):
        if getattr(recorded, name) != getattr(computed, name):
            yield f"{name} is {_short(getattr(recorded, name))}, by the samples {getattr(computed, name)}"
    one_f, other_f = recorded.roofline_fraction, computed.roofline_fraction
    if (one_f is None) != (other_f is None) or not _close(one_f or 0.0, other_f or 0.0):
        yield f"roofline_fraction is {one_f}, by the samples {other_f}"


def _intervals(where: str, one: Timing | CaseTiming, other: Timing | CaseTiming, exact: bool) -> Iterator[str]:
    pairs: list[tuple[str, Interval | None, Interval | None]] = [("latency_us", one.latency_us, other.latency_us)]
    for kind in ("baselines", "speedup"):
        mine, theirs = getattr(one, kind), getattr(other, kind)
        pairs += [(f"{kind}.{name}", mine.get(name), theirs.get(name)) for name in sorted({*mine, *theirs})]
    for name, said, made in pairs:
        if said is None or made is None or not _alike(said, made, exact):
            yield f"{where}{name[:60]} is {interval(said)}, by the samples {interval(made)}"


def _alike(one: Interval, other: Interval, exact: bool) -> bool:
    if not _close(one.median, other.median):
        return False
    room = 0.0 if exact else _BOUND * (other.high - other.low)
    return all(_close(a, b) or abs(a - b) <= room for a, b in ((one.low, other.low), (one.high, other.high)))


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=_FIGURE, abs_tol=1e-12)
