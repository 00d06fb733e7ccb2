"""The sanitize stage: which sanitizer a kernel meets on its device, and what its findings mean for the verdict.

A memory error (out of bounds, null or wild pointer, use after free, trap) is ``runtime_error``; a race is
``incorrect``. A sanitizer that cannot run decides nothing and says why. A tape that the recorder cannot have written
is ``cheating``: somebody else wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from time import monotonic
from typing import Any

from kernelwright.evaluator.build import native_sources
from kernelwright.evaluator.runner.processes import ForkServer
from kernelwright.evaluator.sanitizers import native_memory, races, replay
from kernelwright.evaluator.sanitizers.device import sanitize_on_device
from kernelwright.evaluator.sanitizers.finding import Finding
from kernelwright.evaluator.sanitizers.tape_reader import BadTape, read
from kernelwright.evaluator.session import OpenCase, Session
from kernelwright.evaluator.toolchain import source_hash
from kernelwright.evaluator.trial import Outside, Rejected, Trial
from kernelwright.tasks.records import Kernel, Stage, Status

_RACES_SHOWN = 5
_COMPARED = {
    "ascend": "every byte that blocks touch in global memory; blocks run forwards and backwards",
    "pallas": "TPU interpret mode, copies done eagerly and when waited for",
    "triton": "accesses of the programs of each launch compared",
    "ttlang": "elements that cores touch in memory; both schedules of the threads, bit by bit",
}
_VECTOR = 16
"""Elements; the widest vector of four-byte floats."""


@dataclass(frozen=True)
class Bench:
    """What the stage works with."""

    kernel: Kernel
    session: Session
    server: ForkServer
    cache: Path
    seconds: float
    """Limit of one replay or run."""
    sandbox: str
    """Mode of the sandbox."""
    start: Callable[[int | None, Mapping[str, str]], Trial]
    """A fresh runner of the kernel, nothing loaded, under a number of threads or the usual one, with other builds of its
    libraries by source hash."""


def native(bench: Bench, cases: Sequence[OpenCase]) -> dict[str, Any]:
    """A native kernel on the CPU: ASan and UBSan on the smallest case and the smallest unaligned one, races on the
    largest. ``cases``: those inside the kernel's envelope, smallest first. Returns evidence.

    Raises:
        Rejected: an error that decides.
    """
    with ThreadPoolExecutor() as compilers:  # at work while calls are recorded and replayed
        ahead = compilers.submit(_sanitized, bench)
        delays = compilers.submit(_noisy, bench)
        return _native(bench, cases, ahead, delays)


def _native(
    bench: Bench, cases: Sequence[OpenCase], ahead: Future[None], delays: Future[dict[str, str]]
) -> dict[str, Any]:
    evidence: dict[str, Any] = {}
    began = monotonic()
    replayed = _replayed(bench, list(dict.fromkeys((cases[0].key, *_unaligned(cases)))), {c.key: c for c in cases}, ahead)
    evidence["asan"] = f"not run: {replayed.not_run}" if replayed.not_run else "clean"
    evidence["calls"] = replayed.calls
    evidence["reported"] = [finding.to_dict() for finding in replayed.reported]
    evidence["seconds"] = {
        "build": replayed.build_seconds,  # beyond what was built meanwhile
        "replay": replayed.seconds,
        "record": round(monotonic() - began - replayed.build_seconds - replayed.seconds, 3),
    }
    for finding in replayed.deciding:
        evidence["asan"] = "found"
        raise _rejected(finding, evidence)
    began = monotonic()
    noisy = delays.result()
    evidence["seconds"]["delays_build"] = round(monotonic() - began, 3)
    began = monotonic()

    def start(threads: int, delayed: bool) -> Trial:
        return _loaded(bench, bench.start(threads, noisy if delayed else {}))

    race = None
    evidence["races"] = "not run: no case is inside the kernel's envelope"
    for opened in reversed(cases):
        with suppress(Outside):
            race, evidence["races"] = races.by_thread_counts(start, bench.session, opened, bool(noisy))
            break
    evidence["archer"] = "installed; not used in this version" if races.archer() else "not installed"
    evidence["seconds"]["races"] = round(monotonic() - began, 3)
    if race is not None:
        raise _rejected(race, evidence)
    return evidence


def simulated(session: Session, trial: Trial, cases: Sequence[OpenCase], by_ir: bool = False) -> dict[str, Any]:
    """A kernel in what simulates its language: races between programs of a launch, or of copies in flight. (Out of bounds is
    checked always.) ``by_ir``: Triton's launches are executed by their IR.

    Raises:
        Rejected: a race.
    """
    began = monotonic()
    seen: dict[str, Any] = {"unchecked": "no case is inside the kernel's envelope"}
    for opened in reversed(cases):  # more programs in a larger one
        with suppress(Outside):
            trial.build(opened)
            _draw(session, opened)
            seen = trial.ask("races", key=opened.key, **trial.inputs(opened))
            break
    found = [str(race)[:300] for race in list(seen.get("races", ()))[:_RACES_SHOWN]]
    unchecked = str(seen.get("unchecked", ""))[:300]
    compared = _COMPARED.get(trial.kernel.backend, _COMPARED["triton"])
    by = "the launch's IR, executed by ttsem" if by_ir else "the interpreter"
    evidence: dict[str, Any] = {
        "bounds": f"every access of {by}, against the storages of its launch",
        "races": f"not run: {unchecked}" if unchecked else compared,
        "launches": int(seen.get("launches", 0)),
        "seconds": {"races": round(monotonic() - began, 3)},
    }
    if found:
        finding = Finding("interpreter", "race", detail=found[0], report=tuple(found), status=Status.INCORRECT)
        raise _rejected(finding, evidence)
    return evidence


def on_device(bench: Bench, device: str, cases: Sequence[OpenCase]) -> dict[str, Any]:
    """A kernel on a GPU, under compute-sanitizer in a process of its own. Returns evidence.

    One case is looked at (a process under the tool takes seconds to start): the smallest unaligned one, where what is not
    masked leaves its tensor, else the smallest. ``cases``: those inside the kernel's envelope, smallest first.

    Raises:
        Rejected: an access out of bounds, or a hazard in shared memory.
    """
    key = next(iter(_unaligned(cases)), cases[0].key)
    opened = next(c for c in cases if c.key == key)
    finding, evidence = sanitize_on_device(bench.kernel, bench.session, opened, bench.server, device, bench.sandbox)
    evidence["case"] = key
    if finding is not None:
        raise _rejected(finding, evidence)
    return evidence


def _unaligned(cases: Sequence[OpenCase]) -> list[str]:
    """The key of the smallest case with an input that is no multiple of a vector: there tails are read past their end."""
    return [c.key for c in cases if any(prod(spec["shape"]) % _VECTOR for spec in c.facts["specs"])][:1]


def _replayed(
    bench: Bench, keys: Sequence[str], cases: Mapping[str, OpenCase], ahead: Future[None]
) -> native_memory.Replayed:
    """Record a call on each of ``keys`` in one runner of their own, from the loading of the module on, and replay them.

    ``ahead``: over when what a replay needs is built.
    """
    sources = [found.source for found in native_sources(bench.kernel.source)]
    functions = {source_hash(text): found for text, found in replay.sources_of(sources).items()}
    trial = bench.start(None, {})
    trial.stage = Stage.SANITIZE
    try:
        trial.record()
        _loaded(bench, trial)
        for opened in (cases[key] for key in keys):
            with suppress(Outside):
                trial.build(opened)
                _draw(bench.session, opened)
                trial.ask("call", key=opened.key, **trial.inputs(opened))
        data, problem = trial.tape()
        if problem:
            return native_memory.Replayed(not_run=problem)
        tape = read(data, functions)
    except BadTape as forged:
        reason = f"the runner's record of its native calls is not the harness's: {forged}"
        raise Rejected(Status.CHEATING, Stage.SANITIZE, reason, {"rule": "forged_tape"}) from None
    finally:
        trial.close()
    began = monotonic()
    ahead.result()
    waited = monotonic() - began
    found = native_memory.sanitize(sources, tape, bench.server, bench.cache, bench.seconds, bench.sandbox)
    return replace(found, build_seconds=round(found.build_seconds + waited, 3))


def _sanitized(bench: Bench) -> None:
    """Build what the replay will look for. What cannot be built it says itself."""
    natives = [found.source for found in native_sources(bench.kernel.source)]
    with suppress(replay.CannotReplay):
        replay.driver(bench.cache)
        for source, functions in replay.sources_of(natives).items():
            replay.library(source, functions, bench.cache)


def _noisy(bench: Bench) -> dict[str, str]:
    """Libraries with delays between memory accesses, by source hash; none when one does not build."""
    sources = [found.source for found in native_sources(bench.kernel.source)]
    try:
        return {source_hash(source): str(replay.noisy(source, bench.cache)) for source in sources}
    except replay.CannotReplay:
        return {}


def _loaded(bench: Bench, trial: Trial) -> Trial:
    trial.stage = Stage.SANITIZE
    trial.load()
    return trial


def _draw(session: Session, opened: OpenCase) -> None:
    session.draw(opened)


def _rejected(finding: Finding, evidence: Mapping[str, Any]) -> Rejected:
    found = {"sanitizer": finding.to_dict(), "sanitize": dict(evidence)}
    return Rejected(finding.status, Stage.SANITIZE, finding.reason, found)
