"""Suites of plain files: a folder a level, a Python file an entry, as KernelBench has them. Executes nothing."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.shapes import derive, shrunk, with_sizes
from kernelwright.tasks.suites.suite import Loaded
from kernelwright.tasks.suites.text import all_imports, defined, missing_imports

Entry = tuple[str, Callable[[], Task]]
"""A name, and how to make the task; a :class:`TaskError` leaves it out."""
_RIGID = frozenset(
    {
        "convtranspose3dsumlayernormavgpoolgelu",  # a LayerNorm over a width that is the number of channels by chance
        "convtranspose3dlayernormgeluscaling",
        "mobilenetv1",  # pools over what five strides leave of its height
        "swinmlp",  # their Model has the image's size, too
        "swintransformerv2",
        "convolutionalvisiontransformer",  # a Linear over the square of patches
    }
)
"""Entries (without number and underscores) of whose sizes only the batch can shrink: how they hang together is no literal."""
_HUB = re.compile(r"\.from_pretrained\s*\(")


def collect(entries: Iterable[Entry], notes: Iterable[str] = ()) -> Loaded:
    """Every task that can be made, and for each of the others why not."""
    tasks: list[Task] = []
    left_out: dict[str, str] = {}
    for name, make in entries:
        try:
            tasks.append(make())
        except TaskError as error:
            left_out[name] = str(error)
        except OSError as error:
            left_out[name] = f"cannot be read: {error.strerror or error}"
    return Loaded(tuple(tasks), left_out, tuple(notes))


def plain_task(name: str, path: Path, category: str, scale: float | None) -> Task:
    """The task of one file in KernelBench's convention, its sizes scaled down if so wished.

    Raises:
        TaskError: it does not parse, lacks a part, or needs what is not here.
        OSError: it cannot be read.
    """
    source = read(path)
    check(source, ("Model", "get_inputs", "get_init_inputs"))
    return derived_task(name, path, category, source, scale)


def derived_task(name: str, path: Path, category: str, source: str, scale: float | None) -> Task:
    """The task of a text with one shape, cut down to ``scale`` times its work, and further shapes derived from it."""
    if scale is not None:
        entry = re.sub(r"^\d+_|_", "", name.split("/")[-1].lower())
        source = with_sizes(source, shrunk(source, scale, only_batch=entry in _RIGID))
    return Task(name=name, source=source, path=str(path), cases=derive(source), category=category)


def read(path: Path) -> str:
    """The text of a file.

    Raises:
        TaskError: it is missing or is not UTF-8.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise TaskError(f"it has no {path.name}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(f"{path.name} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def check(source: str, required: Iterable[str]) -> None:
    """See that a text can be a reference here: its parts, its packages, no weights from a hub.

    Raises:
        TaskError: it cannot; the message says why.
    """
    missing = [part for part in required if part not in defined(source)]
    if missing:
        raise TaskError(f"it does not define {' or '.join(missing)}")
    if _HUB.search(source) or "transformers" in all_imports(source):
        raise TaskError("it takes its weights from a hub (transformers), which a judge without a network cannot reach")
    absent = [module for module in missing_imports(source) if importlib.util.find_spec(module) is None]
    if absent:
        raise TaskError(f"it needs {', '.join(absent)}, not installed here")


def folders(root: Path, inside: str, pattern: str, what: str) -> Mapping[str, Path]:
    """The folders that match ``pattern`` under ``root / inside`` or ``root`` itself, by name in natural order.

    Raises:
        TaskError: there are none; ``what`` says whose root to give.
    """
    if not root.is_dir():
        raise TaskError(f"there is no folder {str(root)!r}", f"give the root of a clone of {what} with --path")
    for base in (root / inside, root):
        found = [folder for folder in base.glob(pattern) if folder.is_dir()]
        if found:
            return {folder.name: folder for folder in sorted(found, key=lambda f: natural(f.name))}
    raise TaskError(f"{root} holds no {inside}/{pattern}", f"give the root of a clone of {what} with --path")


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts numbers in names by value."""
    return tuple((int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name))
