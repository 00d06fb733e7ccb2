"""The recorder: every configuration of the playbook for given tasks, each kernel judged once; it goes on where it stopped."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue

from kernelwright.agent.bench.search.recording import Judged, Recorded, Recording, acting, narrowed, points
from kernelwright.agent.writers.playbook.graph import Unsupported
from kernelwright.agent.writers.playbook.plans import Plans
from kernelwright.agent.writers.playbook.space import Point, key
from kernelwright.agent.writers.playbook.writer import EMITTERS, PLANNED, trace_task
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.engine import Engine, Job
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Interval, Kernel, Task, Verdict

JUDGING = Settings(baselines=("eager",), timing_seconds=1.0, min_blocks=6, sanitize="off")
"""Correct in every case, then timed against eager alone: one figure a kernel is enough to compare searches by."""
_AHEAD = 4
"""Processes that prepare tasks."""


@dataclass(frozen=True)
class Order:
    """What is to be recorded."""

    backend: str
    kind: str
    """Of device: ``cpu`` or ``cuda``."""
    most: int
    """Kernels of a task at most."""
    seconds: float | None = None
    """Begin no further judging after this."""
    jobs: int = 1
    """Kernels judged at once; on a CPU one."""
    command: str = ""
    """What was asked for, for the file."""


Prepared = tuple[Recorded, dict[str, Kernel]]
"""A task with no verdicts yet, and its kernels by id."""


def record(
    path: Path,
    tasks: Iterable[Task],
    order: Order,
    engines: Callable[[], Engine],
    say: Callable[[str], None],
    prepare: Callable[[Task, Order], Prepared | str] | None = None,
) -> Recording:
    """Judge what ``path`` lacks, saved after every verdict; ``order.jobs`` kernels at once, each by an engine of its own.

    ``prepare`` gives a task's kernels, or says why there are none: :func:`prepared`, unless another is given.

    Raises:
        InputError: the file holds something else, or another space of one of the tasks.
    """
    ends = None if order.seconds is None else time.monotonic() + order.seconds
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    found = Recording.load(path) if path.exists() else Recording(order.command, created, {}, asdict(JUDGING))
    found.loads.append(round(os.getloadavg()[0], 2))
    with ExitStack() as stack:
        free: SimpleQueue[Engine] = SimpleQueue()
        for _ in range(order.jobs):
            engine = engines()
            stack.callback(engine.close)
            free.put(engine)
        for task, made in ((task, prepare(task, order)) for task in tasks) if prepare else ahead(tasks, order):
            if isinstance(made, str):
                say(f"{task.name}: left out: {made}")
                continue
            new, kernels = made
            known = found.tasks.setdefault(task.name, new)
            if (known.kernels, known.space, known.task_id) != (new.kernels, new.space, new.task_id):
                why = "was recorded from other kernels, another space or another task"
                raise InputError(f"{task.name} in {path} {why}", "give a new file, or the same --most and checkout")
            work = [Job(f"record-{id_}", kernels[id_], task) for id_ in known.missing]
            say(f"{task.name}: {len(work)} of {len(kernels)} kernels to judge, {len(known.kernels)} points")
            with closing(_verdicts(work, free, order.jobs, ends)) as verdicts:
                for verdict in verdicts:
                    found.environment = found.environment or dict(verdict.environment)
                    known.judged[verdict.kernel_id] = reduced(verdict)
                    found.save(path)
            if known.missing:
                say(f"{task.name}: {len(known.missing)} kernels are left: run the same command again")
    found.loads.append(round(os.getloadavg()[0], 2))
    found.save(path)
    return found


def prepared(task: Task, order: Order) -> Prepared | str:
    """The playbook's points and kernels for a task, or why there are none.

    Of the space are left the choices that change what is launched somewhere, then at most ``order.most`` kernels that differ in
    that on an H100; points that do the same work share the first one's kernel.
    """
    if order.backend not in EMITTERS:
        return f"the playbook has no templates for {order.backend}"
    program = trace_task(task, order.kind)
    if isinstance(program, str):
        return program
    emitter = importlib.import_module(f"kernelwright.agent.writers.playbook.{EMITTERS[order.backend]}")
    plans = Plans(task, DeviceInfo(order.kind, "")) if order.backend in PLANNED else None

    def same(point: Point) -> str:
        return plans.of(point, lambda: emitter.emit(program, point)) if plans else key(point)

    try:
        space = narrowed(acting(emitter.space(program), same), order.most, same)
        first: dict[str, Kernel] = {}
        kernels = []
        for point in points(space):
            if (work := same(point)) not in first:
                first[work] = Kernel(emitter.emit(program, point), order.backend)
            kernels.append(first[work])
    except Unsupported as reason:
        return f"playbook: {reason}"
    finally:
        if plans:
            plans.close()
    ids = [kernel.kernel_id for kernel in kernels]
    return Recorded(task.family, order.backend, task.task_id, space, ids), dict(zip(ids, kernels, strict=True))


def ahead(tasks: Iterable[Task], order: Order) -> Iterator[tuple[Task, Prepared | str]]:
    """Tasks with what :func:`prepared` gives, in order; others are prepared in processes of their own while one is judged."""
    with ProcessPoolExecutor(_AHEAD, get_context("spawn")) as pool:
        for task, made in [(task, pool.submit(prepared, task, order)) for task in tasks]:
            yield task, made.result()


def _verdicts(work: Sequence[Job], free: SimpleQueue[Engine], jobs: int, ends: float | None) -> Generator[Verdict, None, None]:
    """The verdicts, in order, until ``ends`` (monotonic clock)."""

    def judged(job: Job) -> Verdict | None:
        if ends is not None and time.monotonic() > ends:
            return None
        engine = free.get()
        try:
            return engine.evaluate(job)
        finally:
            free.put(engine)

    pool = ThreadPoolExecutor(jobs)
    try:
        yield from (verdict for verdict in pool.map(judged, work) if verdict is not None)
    finally:
        pool.shutdown(cancel_futures=True)  # whoever interrupts waits for what is being judged, and for nothing else


def reduced(verdict: Verdict) -> Judged:
    """What of a verdict is kept."""
    timing = verdict.timing
    latency, speedup = None, None
    if timing is not None:
        latency, over = _three(timing.latency_us), timing.speedup.get("eager")
        speedup = None if over is None else _three(over)
    return Judged(verdict.kernel_id, verdict.status.value, verdict.stage.value, verdict.reason[:120], latency, speedup)


def _three(interval: Interval) -> tuple[float, float, float]:
    low, middle, high = (float(f"{x:.5g}") for x in (interval.low, interval.median, interval.high))
    return middle, min(low, middle), max(high, middle)
