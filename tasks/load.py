"""Names to tasks: the library, a task folder, or any Python file in KernelBench's convention. Executes nothing."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from kernelwright.tasks.errors import TaskError, UnknownName
from kernelwright.tasks.records import DTYPES, Task
from kernelwright.tasks.schema import Fields, read_task, read_yaml
from kernelwright.tasks.shapes import derive
from kernelwright.tasks.slots import parse

T = TypeVar("T")

_HERE = Path(__file__).parent
LIBRARY = _HERE / "library"
SUITES = _HERE / "suites"
_REQUIRED = ("Model", "get_inputs")


def load_task(name: str) -> Task:
    """The task called ``name``: ``core/normalization/rms_norm``, a suffix that only one task has (``rms_norm``),
    or the path of a ``.py`` file or of a folder with ``task.yaml`` and ``reference.py``.

    Raises:
        TaskError: there is no such task, or it does not load; the message says what is wrong and where.
    """
    path = Path(name).expanduser()
    try:
        if name.endswith(".py") or path.is_file():
            return _from_file(name, path)
        if path.is_dir() and (path / "task.yaml").is_file():
            return _from_folder(path, _library_name(path) or name)
    except OSError as error:
        raise TaskError(f"task {name!r} cannot be read: {error.strerror or error}", "check the path") from error
    return _from_library(name)


def all_tasks() -> tuple[Task, ...]:
    """Every task of the library, by name.

    Raises:
        TaskError: one of them does not load.
    """
    return tuple(_from_folder(LIBRARY / name.removeprefix("core/"), name) for name in _library_names())


def load_suite(name: str) -> tuple[Task, ...]:
    """The tasks of a suite, in its order: ``core`` is the whole library, others stand in ``suites/<name>.yaml``.

    Raises:
        UnknownName: no such suite.
        TaskError: the suite's file or one of its tasks does not load.
    """
    if name == "core":
        return all_tasks()
    suite = _suite(name)
    dtypes = suite.strings("cuda_dtypes", (), DTYPES)
    return tuple(_in_dtypes(load_task(task), dtypes) for task in suite.strings("tasks", ()))


def suite_budget(name: str) -> int | None:
    """Attempts a task that a suite is meant for; None where it leaves that open.

    Raises:
        UnknownName: no such suite.
    """
    return None if name == "core" else _suite(name).count("budget")


def _suite(name: str) -> Fields:
    suites = {path.stem: path for path in SUITES.glob("*.yaml")}
    if name not in suites:
        raise UnknownName.among("suite", name, ["core", *suites])
    return Fields(read_yaml(suites[name]), str(suites[name]), ("summary", "budget", "cuda_dtypes", "tasks"))


def _in_dtypes(task: Task, dtypes: tuple[str, ...]) -> Task:
    """``task`` with its CUDA cases, to check, to time and held out, each in ``dtypes``; none given: as it is."""
    if not dtypes:
        return task
    cases = tuple(replace(case, dtypes=dtypes) if case.device == "cuda" else case for case in task.cases)
    return replace(task, cases=cases)


def _library_names() -> tuple[str, ...]:
    return tuple(sorted(f"core/{p.parent.relative_to(LIBRARY).as_posix()}" for p in LIBRARY.glob("*/*/task.yaml")))


def _library_name(folder: Path) -> str | None:
    """The name of a folder that is part of the library."""
    resolved, root = folder.resolve(), LIBRARY.resolve()
    return f"core/{resolved.relative_to(root).as_posix()}" if resolved.is_relative_to(root) else None


def _from_library(name: str) -> Task:
    names = _library_names()
    wanted = name.strip("/")
    found = [n for n in names if n == wanted or n.endswith(f"/{wanted}")]
    if len(found) == 1:
        return _from_folder(LIBRARY / found[0].removeprefix("core/"), found[0])
    if found:
        raise TaskError(f"task {name!r} is ambiguous", f"one of: {', '.join(found)}")
    if Path(name).is_absolute() or name.startswith((".", "~")) or Path(name).exists():
        raise TaskError(f"there is no task at {name!r}", "give a .py file, or a folder with task.yaml and reference.py")
    raise TaskError(f"unknown task {name!r}", _near(wanted.split("/")[-1], {n.split("/")[-1]: n for n in names}))


def _near(word: str, named: Mapping[str, str]) -> str:
    """What to do about a name that is not there: near misses, else where to look."""
    close = difflib.get_close_matches(word, named, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(named[c] for c in close)}? " if close else ""
    return f"{hint}`kernelwright tasks` lists them; a path to a .py file works too"


def _from_file(name: str, path: Path) -> Task:
    if not path.is_file():
        siblings = {p.name: str(p) for p in path.parent.glob("*.py")} if path.parent.is_dir() else {}
        close = difflib.get_close_matches(path.name, siblings, n=3)
        remedy = f"did you mean {' or '.join(siblings[c] for c in close)}?" if close else "check the path"
        raise TaskError(f"there is no file {name!r}", remedy)
    source = _read_source(path)
    return Task(name=name, source=source, path=str(path), cases=_located(path, lambda: derive(source)))


def _from_folder(folder: Path, name: str) -> Task:
    reference = folder / "reference.py"
    if not reference.is_file():
        raise TaskError(f"{folder} has a task.yaml and no reference.py", "put the reference beside it")
    task = read_task(name, _read_source(reference), reference, folder / "task.yaml")
    # A run's record travels: where the package is installed on this machine is nobody else's business.
    return replace(task, path=f"{name}/reference.py") if _library_name(folder) else task


def _located(path: Path, read: Callable[[], T]) -> T:
    """What ``read`` gives; its errors say which file they are about."""
    try:
        return read()
    except TaskError as error:
        raise TaskError(f"{path}: {error.message}", error.remedy) from error


def _read_source(path: Path) -> str:
    """The reference's text, known to parse and to define what a reference defines."""
    try:
        source = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}", "save it as UTF-8") from error
    tree = _located(path, lambda: parse(source))
    missing = [required for required in _REQUIRED if required not in set(_defined(tree))]
    if missing:
        raise TaskError(
            f"{path} does not define {' or '.join(missing)}",
            "a task file defines class Model(nn.Module), get_inputs(), and get_init_inputs() if Model takes arguments",
        )
    return source


def _defined(tree: ast.Module) -> Iterator[str]:
    """Names bound at module level, also by imports and inside ``if`` or ``try``."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        else:
            pending += ast.iter_child_nodes(node)
