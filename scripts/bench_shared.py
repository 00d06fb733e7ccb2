"""How many attempts a second several processes commit to one memory, with Q updates, and that none of them is lost.

Starts PostgreSQL and a Chroma server of its own, fills the memory with
synthetic experiences, and lets 1, 2, 4, 8 processes work at once: each step is recall, ask, answer, judge and learn, without a
model and without a judge. One item is in every context, so that all processes write the same rows. Then it starts 1 and 8 whole
command lines (`kernelwright optimize`) at once, each time on a new memory over the same servers. Prints one JSON object.

    scripts/bench_shared --processes 1,2,4,8 --seconds 20 --experiences 2000 --out results/cpu/shared-memory.json

Command lines alone, what FILE holds of the rest being kept, and with the real judge:

    scripts/bench_shared --processes "" --out FILE
    scripts/bench_shared --processes "" --out FILE --optimize "core/activation/gelu_tanh --budget 2 --engine local"
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
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
from kernelwright.memory.records import SEEDED, Context, Recalled, RunRecord, Step
from kernelwright.memory.schema import ANY, experiences, item_values, rewards, steps
from kernelwright.memory.store import Store
from kernelwright.tasks.records import Answer, Attempt, Idea, IdeaStage, Kernel, Task

SHARED = "e000000"
"""An experience that is in every context."""
EACH, TASKS = 30, 20
"""Attempts a task, and tasks a run before it begins anew."""
OPTIMIZE = "--suite quickstart --budget 3 --engine kernelwright.evaluator.engines.fake:FakeEngine"
"""What each command line is asked for: the playbook writes, and an engine that takes no time says that all is well."""
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


def at_once(place: Place, chroma: servers.Chroma, count: int, asked: str) -> dict[str, Any]:
    """So many command lines at once on a new memory; fails where one does, or an attempt or an update is missing afterwards."""
    given = {"KERNELWRIGHT_HOME": place.home, "KERNELWRIGHT_STORE": place.store, "KERNELWRIGHT_INDEX": place.index}
    environment = os.environ | {name: str(value) for name, value in given.items()}
    line = [sys.executable, "-m", "kernelwright", "optimize", "--model", "playbook", "--backend", "cpp", *shlex.split(asked)]
    place.home.mkdir(parents=True)
    load, began, machine = os.getloadavg()[0], time.perf_counter(), busy()
    cpu = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    logs = [(place.home / f"{n}.out", place.home / f"{n}.err") for n in range(count)]
    processes = []
    for out, err in logs:
        with out.open("wb") as to, err.open("wb") as said:
            processes.append(subprocess.Popen([*line, "--json"], env=environment, stdout=to, stderr=said))
    codes = [process.wait() for process in processes]
    took, machine_then = time.perf_counter() - began, busy()
    cpu = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - cpu
    if any(codes):
        raise SystemExit(f"exit codes {codes}: {[err.read_text()[-2000:] for _, err in logs]}")
    reported = sum(task["attempts"] for out, _ in logs for task in json.loads(out.read_text())["tasks"])
    store = Store(str(place.store), place.home / "artifacts")
    found = checked(store, count, reported) | indexed(store, chroma)
    store.close()
    return {
        "processes": count,
        "exit_codes": codes,
        "seconds": round(took, 1),
        "attempts_per_second": round(reported / took, 2),
        "cpu_seconds_of_the_processes": round(cpu, 1),
        "cores_busy": round((machine_then[0] - machine[0]) / (machine_then[1] - machine[1]), 3),
        "load_before": round(load, 2),
        **found,
    }


def checked(store: Store, runs: int, reported: int) -> dict[str, int]:
    """Compare what the store counts with the attempts that it holds, and those with what the processes said.

    Knowledge from files is never merged, so that each of its updates is one visit. What was learned may be merged into what
    repeats it, which then has the visits of both: there fewer than were made would be a loss.
    """
    learned = [step for run in store.runs() for step in store.steps(run.id) if step.learned and step.attempt is not None]
    if (len(store.runs()), len(learned)) != (runs, reported):
        raise SystemExit(f"{runs} processes made {reported} attempts, and the store holds {len(store.runs())}, {len(learned)}")
    moved = [step for step in learned if step.attempt is not None and earns(step.attempt)]
    made = Counter(item for step in moved for item in step.context.valued)
    observed = sum(step.idea.stage is IdeaStage.REFINE and not _duplicate(step) for step in moved)
    v, e = item_values.c, experiences.c
    with store.read() as tx:
        visits = sa.select(v.item, sa.func.sum(v.visits)).where(v.backend == ANY).group_by(v.item)
        held_ = {item: int(count) for item, count in tx.execute(visits)}
        seeds = set(tx.execute(sa.select(e.id).where(e.origin.startswith(SEEDED, autoescape=True))).scalars())
        seen = int(tx.execute(sa.select(sa.func.coalesce(sa.func.sum(rewards.c.seen), 0))).scalar_one())
    wrong = {item: (made[item], held_.get(item, 0)) for item in seeds if made[item] != held_.get(item, 0)}
    short = {item: (count, held_.get(item, 0)) for item, count in made.items() if count > held_.get(item, 0)}
    if wrong or short or seen != observed:
        raise SystemExit(f"updates were lost: {wrong | short}; the normaliser saw {seen} of {observed}")
    return {
        "attempts": reported,
        "value_updates": sum(made.values()),
        "of_knowledge": sum(made[item] for item in seeds),
        "most_of_one_item": max(made.values(), default=0),
        "rewards_normalised": seen,
        "lost_updates": 0,
    }


def indexed(store: Store, chroma: servers.Chroma) -> dict[str, int]:
    """Compare the index as the processes left it with the store; what it has beyond that is no longer recalled."""
    import chromadb

    client = chromadb.HttpClient("127.0.0.1", int(chroma.url.rpartition(":")[2]))
    vectors = {id_ for collection in client.list_collections() for id_ in collection.get(include=[])["ids"]}
    client.close()
    e = experiences.c
    with store.read() as tx:
        current = set(tx.execute(sa.select(e.id).where(sa.not_(e.retired))).scalars())
        retired = set(tx.execute(sa.select(e.id).where(e.retired)).scalars())
    if missing := current - vectors:
        raise SystemExit(f"the index lacks {len(missing)} of {len(current)} experiences: {sorted(missing)[:5]}")
    return {"experiences": len(current), "missing_in_the_index": 0, "stale_in_the_index": len(retired & vectors)}


def earns(attempt: Attempt) -> bool:
    """Whether an attempt moves values: a draft's success that is met again does not (docs/memory.md)."""
    return attempt.duplicate_of is None or not attempt.feasible or attempt.idea.stage is not IdeaStage.DRAFT


def _duplicate(step: Step) -> bool:
    return step.attempt is not None and step.attempt.duplicate_of is not None


def of_commands(
    folder: Path, database: servers.Postgres, chroma: servers.Chroma, counts: Sequence[int], asked: str
) -> dict[str, Any]:
    """The figures of whole command lines, each count of them on a database of its own."""
    runs, now = [], _measured_now()
    for count in counts:
        name = f"commands_{count}"
        engine = sa.create_engine(database.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as admin:
            admin.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        store = database.url.rpartition("/")[0] + f"/{name}"
        runs.append(at_once(Place(folder / name, store, chroma.url), chroma, count, asked))
    return {
        "what": "whole command lines, started at once on a new memory over PostgreSQL and a Chroma server, all on one machine",
        "each": f"kernelwright optimize --model playbook --backend cpp {asked}",
        **now,
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="1,2,4,8", help="of steps without a judge; '' leaves what --out holds of them")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--experiences", type=int, default=2000)
    parser.add_argument("--commands", default="1,8", help="whole command lines at once; '' for none")
    parser.add_argument("--optimize", default=OPTIMIZE, help="what each of them is asked for")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    counts, commands = ([int(word) for word in text.split(",") if word] for text in (given.processes, given.commands))
    found: dict[str, Any] = json.loads(given.out.read_text("utf-8")) if given.out and given.out.is_file() else {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-shared-")))
        folder.chmod(0o755)  # another user owns the database where we are root
        for name in ("postgres", "chroma"):
            (folder / name).mkdir()
        database = stack.enter_context(servers.postgres(folder / "postgres"))
        chroma = stack.enter_context(servers.chroma(folder / "chroma"))
        if counts:
            pids = {"postgresql": database.pid, "chroma": chroma.pid}
            place = Place(folder / "home", database.url, chroma.url)
            found |= of_steps(place, counts, given.seconds, given.experiences, pids)
        if commands:
            lines = of_commands(folder, database, chroma, commands, given.optimize)
            others = [one for one in found.get("command_lines", []) if one["each"] != lines["each"]]
            found["command_lines"] = [*others, lines]
    text = json.dumps(found, indent=1) + "\n"
    sys.stdout.write(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


def of_steps(place: Place, counts: Sequence[int], seconds: float, there: int, servers_: Mapping[str, int]) -> dict[str, Any]:
    """The figures of steps without a model and a judge, on a memory of so many experiences."""
    memory = place.open()
    memory.store.create_run(RunRecord("bench", {"budget": EACH}, "running", "", (bench_memory.task(0),)))
    bench_memory.fill(memory, there, random.Random(1))
    memory.search("softmax")  # the index holds what the store does
    memory.close()
    return {
        "what": "steps of the loop (recall, ask, answer, judge, learn) on one memory over PostgreSQL and a Chroma server, "
        "by several processes at once; no model and no judge; one item in every context; all on one machine",
        **_measured_now(),
        "experiences_at_first": there,
        "runs": [measured(place, count, seconds, servers_) for count in counts],
    }


def _measured_now() -> dict[str, Any]:
    return {
        "command": f"scripts/bench_shared {shlex.join(sys.argv[1:])}",
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    said = subprocess.run(["postgres", "--version"], capture_output=True, text=True, check=True).stdout
    packages = {name: version(name) for name in ("chromadb", "psycopg", "SQLAlchemy")}
    return {"python": platform.python_version(), "postgresql": said.split()[2], **packages}


if __name__ == "__main__":
    main()
