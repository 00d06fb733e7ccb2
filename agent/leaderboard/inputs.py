"""What a leaderboard is built from: files of results, found and read. A bad one is named, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernelwright.agent.bench.records import Recorded, read
from kernelwright.agent.leaderboard import untrusted
from kernelwright.tasks.errors import InputError

LARGEST = 512 << 20
"""Bytes of a file of results; a larger one is left out."""


@dataclass(frozen=True)
class LeftOut:
    """A file, or a part of one, that is not on the site."""

    name: str
    """As the site names it: without the folders of the machine that it was built on."""
    reason: str
    remedy: str


@dataclass(frozen=True)
class Input:
    """A file of results."""

    name: str
    """As the site names it."""
    recorded: Recorded

    @property
    def bench(self) -> str:
        """The bench's id; the file's name where it gives none."""
        return untrusted.name(self.recorded.header.get("bench"), self.name)

    @property
    def folder(self) -> Path:
        """What its paths of evidence are relative to."""
        return self.recorded.path.parent


def collect(names: Sequence[str], run: Callable[[str], Path]) -> tuple[list[Input], list[LeftOut]]:
    """Read all that ``names`` stand for: files, folders (every ``*.jsonl`` at or below them), and ids of benches.

    A bench that is there twice is taken once where both files say the same, and otherwise as the first file has it.
    ``run`` gives the folder of a bench by its id.
    """
    inputs: dict[str, Input] = {}
    left_out: list[LeftOut] = []
    seen: set[Path] = set()
    for given in names:
        paths = _paths(given, run)
        if not paths:
            left_out.append(LeftOut(Path(given).name, "no .jsonl file in this folder", "give a folder with files of results"))
        for name, path in paths:
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            found: Input | LeftOut | None = _read(name, path)
            if isinstance(found, Input):
                found = _new(found, inputs)
            if isinstance(found, LeftOut):
                left_out.append(found)
            elif found is not None:
                inputs[found.bench] = found
    return list(inputs.values()), [_plain(one) for one in left_out]


def _plain(found: LeftOut) -> LeftOut:
    """Names of files, and messages that quote them, as a terminal may print them."""
    return LeftOut(untrusted.line(found.name), untrusted.line(found.reason, 500), found.remedy)


def _paths(given: str, run: Callable[[str], Path]) -> list[tuple[str, Path]]:
    """Name on the site and path of every file that ``given`` stands for."""
    path = Path(given)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*.jsonl") if p.is_file())
        return [(f"{path.resolve().name}/{p.relative_to(path).as_posix()}", p) for p in files]
    if path.exists() or path.suffix == ".jsonl" or len(path.parts) != 1:
        return [(path.name, path)]
    return [(given, run(given) / "results.jsonl")]


def _read(name: str, path: Path) -> Input | LeftOut:
    remedy = "give a bench's id, its results.jsonl, or a folder with such files"
    if not path.is_file():
        return LeftOut(name, "there is no such bench, file or folder", remedy)
    if path.stat().st_size > LARGEST:
        return LeftOut(name, f"has {path.stat().st_size} bytes; at most {LARGEST} are read", remedy)
    try:
        recorded = read(path)
    except InputError as error:
        told = error.message.replace(str(path), "the file", 1)
        return LeftOut(name, told, error.remedy)
    if not recorded.samples:
        return LeftOut(name, "holds no record yet", "wait until a first task has ended")
    return Input(name, recorded)


def _new(found: Input, known: dict[str, Input]) -> Input | LeftOut | None:
    other = known.get(found.bench)
    if other is None:
        return found
    if (other.recorded.header, other.recorded.records) == (found.recorded.header, found.recorded.records):
        return None
    reason = f"bench {found.bench} is already here from {other.name}, with other records"
    return LeftOut(found.name, reason, "give one of the two files")
