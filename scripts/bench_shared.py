"""How many attempts a second several processes commit to one memory, with Q updates, and that none of them is lost.

Starts PostgreSQL and a Chroma server of its own, fills the memory with
synthetic experiences, and lets 1, 2, 4, 8 processes work at once: each step is recall, ask, answer, judge and learn, without a
model and without a judge. One item is in every context, so that all processes write the same rows. Prints one JSON object.

    scripts/bench_shared --processes 1,2,4,8 --seconds 20 --experiences 2000 --out results/cpu/shared-memory.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import bench_memory
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import servers
from synthetic import passed

from kernelwright.memory.memory import Memory, Settings, open_memory
from kernelwright.memory.records import Context, Recalled, RunRecord, Step
from kernelwright.memory.schema import ANY, experiences, item_values, steps
from kernelwright.tasks.records import Answer, Idea, IdeaStage, Kernel, Task

SHARED = "e000000"
"""An experience that is in every context."""
EACH, TASKS = 30, 20
"""Attempts a task, and tasks a run before it begins anew."""
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Place:
    """Where the memory is."""

    home: Path
    store: str | None
    index: str | None

    def open(self) -> Memory:
        return open_memory(self.home, self.store, Settings(seeds=None, capacity=10_000_000), (), self.index)


def work(place: Place, run: str, number: int, seconds: float, said: Connection) -> None:
    """One process: steps of its own run for so long, then what it did: steps, updates of values, CPU seconds, times."""
    memory, draw = place.open(), random.Random(run)
    memory.hold()
    tasks = [bench_memory.task(number * TASKS + n) for n in range(TASKS)]
    memory.store.create_run(RunRecord(run, {"backend": "cpp", "budget": EACH}, "running", "", tuple(tasks)))
    shared = Recalled(memory.entry(SHARED).experience, 1.0, 0.0)
    memory.recall(Idea(run, tasks[0].name, 1, IdeaStage.DRAFT, None, 0), tasks[0], "cpp")  # warm
    said.send("ready")
    said.recv()
    began, cpu = time.perf_counter(), time.process_time()
    took: dict[str, list[float]] = {"recall": [], "commit": [], "learn": []}
    updates = count = 0
    while time.perf_counter() - began < seconds:
        task = tasks[count // EACH % TASKS]
        idea = Idea(run, task.name, count + 1, IdeaStage.DRAFT, None, draw.randrange(1 << 30))
        started = time.perf_counter()
        context = memory.recall(idea, task, "cpp")
        if SHARED not in context.valued:
            context = replace(context, items=(*context.items, shared))
        recalled = time.perf_counter()
        step = commit(memory, idea, task, context, draw)
        written = time.perf_counter()
        memory.learn(step, task, "cpp", "d")
        done = time.perf_counter()
        count, updates = count + 1, updates + len(context.valued)
        for name, one in (("recall", recalled - started), ("commit", written - recalled), ("learn", done - written)):
            took[name].append(one)
    said.send((count, updates, time.perf_counter() - began, time.process_time() - cpu, took))
    memory.close()


def commit(memory: Memory, idea: Idea, task: Task, context: Context, draw: random.Random) -> Step:
    """Ask, answer and judge, each committed, as the loop does; every kernel is in words of its own, so that none are merged."""
    words = draw.sample(bench_memory.WORDS, 12)
    code = f"class ModelNew:\n    {'_'.join(words)} = 1\n"
    kernel = Kernel(code, "cpp")
    answer = Answer(code, kernel, strategy=" ".join(words), model="m", prompt="p" * 2000, tokens_in=10, tokens_out=5)
    verdict = passed(task, kernel, 1 + draw.random())
    memory.store.ask(idea, context)
    memory.store.answer(idea.id, answer)
    memory.store.judge(idea.id, verdict)
    return Step(idea, context, answer, verdict, False)


def held(memory: Memory) -> dict[str, int]:
    """What the store says of all that was learned so far."""
    v = item_values.c
    with memory.store.read() as tx:
        of_shared = sa.select(sa.func.coalesce(sa.func.sum(v.visits), 0)).where(v.item == SHARED, v.backend == ANY)
        everywhere = sa.select(sa.func.coalesce(sa.func.sum(v.visits), 0)).where(v.backend == ANY)
        learned = sa.select(sa.func.count()).select_from(steps).where(steps.c.learned)
        gone = sa.select(sa.func.count()).select_from(experiences).where(experiences.c.archived != "")
        asked = {"shared": of_shared, "updates": everywhere, "learned": learned, "archived": gone}
        return {name: int(tx.execute(query).scalar_one()) for name, query in asked.items()}


def cpu_of(root: int) -> float:
    """CPU seconds that a process and its children have taken, ended ones that were waited for included."""
    total, todo = 0.0, [root]
    parents: dict[int, list[int]] = {}
    fields: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()
    for pid, found in fields.items():
        parents.setdefault(int(found[1]), []).append(pid)
    while todo:
        pid = todo.pop()
        todo += parents.get(pid, [])
        if pid in fields:
            total += sum(map(int, fields[pid][11:15])) / TICK
    return total


def busy() -> tuple[float, float]:
    """Seconds that the machine's cores were busy, and all that they had, since it started."""
    ticks = [int(word) / TICK for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def measured(place: Place, processes: int, seconds: float, servers_: Mapping[str, int]) -> dict[str, Any]:
    """So many processes at once; fails where an update is missing afterwards."""
    first = place.open()
    before = held(first)
    first.close()
    context = multiprocessing.get_context("spawn")
    pipes, children = [], []
    for number in range(processes):
        ours, theirs = context.Pipe()
        args = (place, f"p{processes}-{number}-{time.time_ns()}", number, seconds, theirs)
        children.append(context.Process(target=work, args=args))
        children[-1].start()
        theirs.close()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()
    started, machine = {name: cpu_of(pid) for name, pid in servers_.items()}, busy()
    for pipe in pipes:
        pipe.send("go")
    done = [pipe.recv() for pipe in pipes]
    ended, machine_then = {name: cpu_of(pid) for name, pid in servers_.items()}, busy()
    for child in children:
        child.join(60)
        if child.exitcode:
            raise SystemExit(f"a process ended with {child.exitcode}")
    again = place.open()
    after = held(again)
    again.close()
    attempts, updates = sum(d[0] for d in done), sum(d[1] for d in done)
    grown = {name: after[name] - before[name] for name in after}
    expected = {"shared": attempts, "updates": updates, "learned": attempts}
    if {name: grown[name] for name in expected} != expected:
        raise SystemExit(f"updates were lost: the store grew by {grown}, and the processes made {expected}")
    cpu = {name: (ended[name] - started[name]) / attempts for name in servers_}
    cpu["process"] = sum(d[3] for d in done) / attempts
    times = {name: bench_memory.figures([one for d in done for one in d[4][name]]) for name in ("recall", "commit", "learn")}
    return {
        "processes": processes,
        "attempts": attempts,
        "attempts_per_second": round(sum(d[0] / d[2] for d in done), 1),
        "value_updates": updates,
        "lost_updates": 0,
        "ms": times,
        "cpu_ms_an_attempt": {name: round(1e3 * value, 2) for name, value in cpu.items()},
        "cores_busy": round((machine_then[0] - machine[0]) / (machine_then[1] - machine[1]), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="1,2,4,8")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--experiences", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-shared-")))
        folder.chmod(0o755)  # another user owns the database where we are root
        for name in ("postgres", "chroma"):
            (folder / name).mkdir()
        database = stack.enter_context(servers.postgres(folder / "postgres"))
        chroma = stack.enter_context(servers.chroma(folder / "chroma"))
        place = Place(folder / "home", database.url, chroma.url)
        memory = place.open()
        memory.store.create_run(RunRecord("bench", {"budget": EACH}, "running", "", (bench_memory.task(0),)))
        bench_memory.fill(memory, given.experiences, random.Random(1))
        memory.search("softmax")  # the index holds what the store does
        memory.close()
        counts = [int(word) for word in given.processes.split(",")]
        pids = {"postgresql": database.pid, "chroma": chroma.pid}
        found = {
            "what": "steps of the loop (recall, ask, answer, judge, learn) on one memory over PostgreSQL and a Chroma server, "
            "by several processes at once; no model and no judge; one item in every context; all on one machine",
            "command": f"scripts/bench_shared {' '.join(sys.argv[1:])}",
            "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
            "cores": os.cpu_count(),
            "load_before": round(os.getloadavg()[0], 2),
            "versions": _versions(),
            "experiences_at_first": given.experiences,
            "runs": [measured(place, count, given.seconds, pids) for count in counts],
        }
    text = json.dumps(found, indent=1) + "\n"
    sys.stdout.write(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


def _versions() -> dict[str, str]:
    said = subprocess.run(["postgres", "--version"], capture_output=True, text=True, check=True).stdout
    packages = {name: version(name) for name in ("chromadb", "psycopg", "SQLAlchemy")}
    return {"python": platform.python_version(), "postgresql": said.split()[2], **packages}


if __name__ == "__main__":
    main()
