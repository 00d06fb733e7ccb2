"""``python -m kernelwright.agent.bench.search``: does the search learn?

``synthetic`` compares memory arms in a world whose truth is known, and in a null world; ``record`` judges every configuration
of the playbook for given tasks on the device at hand; ``replay`` compares the policies on such a recording.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kernelwright.agent.bench.search import replay, synthetic
from kernelwright.agent.bench.search.record import JUDGING, Order, record
from kernelwright.agent.bench.search.recording import Recording
from kernelwright.agent.bench.search.world import World
from kernelwright.evaluator.device import default_device, parse_device
from kernelwright.evaluator.engines.local import LocalEngine
from kernelwright.tasks.errors import InputError, KernelwrightError
from kernelwright.tasks.load import load_task

_PROGRAM = "scripts/bench_search"


def main(argv: Sequence[str]) -> int:
    """Exit code 0: done; 1: recorded in part, to be gone on with; 2: wrong input; 3: the harness failed; 130: interrupted."""
    options = _parser().parse_args(argv)
    options.command = shlex.join([_PROGRAM, *argv])
    try:
        work: Callable[[argparse.Namespace], int] = options.work
        return work(options)
    except KernelwrightError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"remedy: {error.remedy}\n" if error.remedy else ""))
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def _synthetic(options: argparse.Namespace) -> int:
    began = time.monotonic()
    found = synthetic.compare(World(), options.seeds, options.jobs, _say)
    _finish(found, synthetic.table(found), began, options)
    return 0


def _replay(options: argparse.Namespace) -> int:
    began = time.monotonic()
    found = replay.compare(Recording.load(options.recording), options.seeds, options.jobs, _say)
    _finish(found, replay.table(found), began, options)
    return 0


def _record(options: argparse.Namespace) -> int:
    device = parse_device(options.device or default_device())
    kind = device.partition(":")[0]
    backend = options.backend or ("cpp" if kind == "cpu" else "triton")
    if kind == "cpu" and options.jobs > 1:
        raise InputError(f"--jobs is {options.jobs}", "on a CPU the cores are the device: one kernel at a time")
    tasks = [load_task(name) for name in options.tasks]
    order = Order(backend, kind, options.most, options.seconds, options.jobs, options.command)
    with tempfile.TemporaryDirectory(prefix="kernelwright-record-") as folder:
        cache = options.cache or Path(folder)
        found = record(options.out, tasks, order, lambda: LocalEngine(backend, device, cache, JUDGING), _say)
    whole = not any(task.missing for task in found.tasks.values())
    _say(f"{options.out}: {'whole' if whole else 'in part'}")
    return 0 if whole else 1


def _finish(found: dict[str, Any], lines: Sequence[str], began: float, options: argparse.Namespace) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json:
        packages = ("kernelwright", "numpy", "mmh3", "sqlalchemy")
        versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
        head = {
            "command": options.command,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": versions,
            "seconds": round(time.monotonic() - began, 1),
        }
        options.json.write_text(json.dumps({**head, **found}, indent=1) + "\n", encoding="utf-8")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=__doc__)
    verbs = parser.add_subparsers(required=True)
    synthetic_ = verbs.add_parser("synthetic", help="memory arms in a synthetic world and in a null world")
    record_ = verbs.add_parser("record", help="judge every configuration of the playbook for tasks, resumable")
    replay_ = verbs.add_parser("replay", help="policies on a recording, against random and exhaustive search")
    for verb in (synthetic_, replay_):
        verb.add_argument("--seeds", type=_count, default=20, metavar="N", help="landscapes, or searches a task (default 20)")
        verb.add_argument("--jobs", type=_count, default=2, metavar="N", help="processes (default 2)")
        verb.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    replay_.add_argument("recording", type=Path, help="what `record` wrote")
    record_.add_argument("tasks", nargs="+", metavar="TASK", help="tasks, as `kernelwright optimize` takes them")
    out = "the recording; one that is there is gone on with"
    record_.add_argument("--out", type=Path, required=True, metavar="FILE", help=out)
    record_.add_argument("--device", help="cpu, cuda or cuda:N; default: what is there")
    record_.add_argument("--backend", help="cpp or triton; default: the device's own")
    most = "kernels of a task at most: the longest lists of choices lose their last ones (default 128)"
    record_.add_argument("--most", type=_count, default=128, metavar="N", help=most)
    jobs = "kernels judged at once on a GPU, where timing takes turns (default 1)"
    record_.add_argument("--jobs", type=_count, default=1, metavar="N", help=jobs)
    seconds = "begin no further judging after this; the same command goes on"
    record_.add_argument("--seconds", type=float, metavar="S", help=seconds)
    record_.add_argument("--cache", type=Path, help="folder for builds and oracles; default: a new one")
    synthetic_.set_defaults(work=_synthetic)
    replay_.set_defaults(work=_replay)
    record_.set_defaults(work=_record)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no count: at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
