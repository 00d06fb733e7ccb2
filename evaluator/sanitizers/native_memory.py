"""ASan and UBSan for native kernels: a tape from the runner, replayed by a driver without Python or torch."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kernelwright.evaluator.runner import sandbox
from kernelwright.evaluator.runner.processes import ChildGone, ForkServer
from kernelwright.evaluator.sanitizers import replay
from kernelwright.evaluator.sanitizers.finding import Finding
from kernelwright.evaluator.sanitizers.replay import CannotReplay
from kernelwright.evaluator.sanitizers.reports import findings
from kernelwright.evaluator.sanitizers.tape_reader import Tape
from kernelwright.evaluator.toolchain import source_hash

_LIMITS = {"CORE": 0, "FSIZE": 16 << 20, "NOFILE": 256, "CPU": 120}
"""No limit on address space: the shadow memory alone maps 16 TiB. Resident memory is bounded by ``hard_rss_limit_mb``."""
_MEMORY_BYTES = 8 << 30
_LOG_BYTES = 1 << 20
_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:alloc_dealloc_mismatch=0:detect_stack_use_after_return=0:abort_on_error=0:exitcode=99"
    ":allocator_may_return_null=1:hard_rss_limit_mb=6144:handle_sigfpe=1:handle_sigill=1:color=never",
    "UBSAN_OPTIONS": "print_stacktrace=0:color=never",
    "OMP_NUM_THREADS": "2",
    "PATH": "/usr/bin:/bin",
}


@dataclass(frozen=True)
class Replayed:
    """What the sanitizers said of a tape."""

    deciding: tuple[Finding, ...] = ()
    reported: tuple[Finding, ...] = ()
    not_run: str = ""
    """Why nothing or not all of it was looked at; never an accusation."""
    calls: int = 0
    build_seconds: float = 0.0
    seconds: float = 0.0
    """Wall time of the replay itself."""


def sanitize(
    natives: Sequence[str], tape: Tape, server: ForkServer, cache: Path, seconds: float, mode: str = "auto"
) -> Replayed:
    """Build ``natives`` under the sanitizers, replay ``tape`` in a child sandboxed by ``mode``, read its report.

    Raises nothing that a kernel can provoke: a sanitizer that cannot run says so in ``not_run``.
    """
    if not tape.calls:
        return Replayed(not_run="no native call was made")
    began = time.monotonic()
    try:
        program = replay.driver(cache)
        wanted = [source for source in natives if any(c.source == source_hash(source) for c in tape.calls)]
        libraries = [replay.library(source, functions, cache) for source, functions in replay.sources_of(wanted).items()]
    except CannotReplay as problem:
        return Replayed(not_run=str(problem), build_seconds=round(time.monotonic() - began, 3))
    built = time.monotonic()
    orders = replay.script(tape, [source_hash(source) for source in wanted])
    log, how = _run([program, *libraries], orders, server, seconds, mode)
    result = _judged(log, how, tape)
    return Replayed(
        result.deciding,
        result.reported,
        result.not_run,
        len(tape.calls),
        round(built - began, 3),
        round(time.monotonic() - built, 3),
    )


def _run(parts: Sequence[Path], script: bytes, server: ForkServer, seconds: float, mode: str) -> tuple[str, str]:
    """The driver's output, and how it ended: ``exit 0``, ``signal 11``, ``timeout 0``."""
    scratch = Path(tempfile.mkdtemp(prefix="kernelwright-sanitizer-"))
    try:
        # Copies: the sandbox shows this child its own folder and nothing of the cache.
        seen = scratch / "libraries"
        seen.mkdir()
        mine = [Path(shutil.copy(path, seen / path.name)) for path in parts]
        (seen / "script").write_bytes(script)
        command = [str(mine[0]), str(seen / "script"), *map(str, mine[1:])]
        config = {"command": command, "variables": _OPTIONS | {"TMPDIR": str(scratch)}}
        plan = sandbox.plan(mode, server.layers, gpu=False, processes=True)
        child = server.spawn("program", scratch, config, limits=_LIMITS, sandbox=plan, memory_bytes=_MEMORY_BYTES)
        try:
            child.ask("wait", seconds)
            gone = child.kill()  # it wrote into its channel: no program of ours does
        except ChildGone as ended:
            gone = ended.gone
        return _head(scratch / "program.log"), f"{gone.how} {gone.number}"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _head(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_LOG_BYTES).decode(errors="replace")


def _judged(log: str, how: str, tape: Tape) -> Replayed:
    deciding, reported, excuse = findings(log, tape.mapped)
    started = "replay start" in log
    if not started:
        first = next((line for line in log.splitlines() if line.strip()), how)
        return Replayed(not_run=f"the driver did not start: {first.strip()[:200]}")
    if deciding or excuse or "replay end" in log:
        return Replayed(tuple(deciding), tuple(reported), excuse)
    if how.startswith("timeout"):
        return Replayed((), tuple(reported), "the replay ran past its time")
    return Replayed((), tuple(reported), f"the replay ended early without a report ({how})")
