"""Reading a red-team corpus: kernels with a header that says what they are and what the judge may say of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Status

CHEAT, HONEST = "cheat", "honest"
FAMILIES = ("clocks", "replay", "semantics", "scope", "harness")
DEVICES = ("cpu", "cuda", "any")
_FOLDERS = {"cheats": CHEAT, "honest": HONEST}
_KEYS = ("task", "family", "about", "expect", "device")
_LINE = re.compile(r"#\s*(\w+):\s*(.*?)\s*$")


@dataclass(frozen=True)
class Specimen:
    """One kernel of the corpus."""

    name: str
    backend: str
    kind: str
    """``cheat`` or ``honest``."""
    task: str
    """As the header has it: a file or folder of the corpus' ``tasks``, or a task of the library."""
    task_path: str
    """What :func:`kernelwright.tasks.load.load_task` takes."""
    family: str
    """Of a cheat, one of :data:`FAMILIES`; of an honest kernel, the cheat that it stands close to."""
    about: str
    expect: tuple[str, ...]
    """Statuses that the judge may give: ``passed`` for an honest kernel, never for a cheat."""
    device: str
    source: str


def load_corpus(folder: Path, backend: str | None = None, only: Collection[str] = ()) -> tuple[Specimen, ...]:
    """The specimens under ``folder``, those of one backend and with the given names where asked.

    Raises:
        InputError: no such folder, a header that does not fit (with the file and the line), a name that is not there.
    """
    if not folder.is_dir():
        raise InputError(f"there is no corpus at {folder}", "give a folder with <backend>/cheats and <backend>/honest")
    backends = [backend] if backend else sorted(p.parent.name for p in folder.glob("*/cheats"))
    found = [specimen for name in backends for specimen in _backend(folder, name)]
    if not found:
        raise InputError(f"the corpus at {folder} has no kernels for {backend or 'any backend'}", "see --backend and --corpus")
    unknown = sorted(set(only) - {s.name for s in found})
    if unknown:
        raise InputError(f"the corpus has no kernel called {unknown[0]!r}", f"it has: {', '.join(s.name for s in found)}")
    return tuple(s for s in found if not only or s.name in only)


def _backend(folder: Path, backend: str) -> Iterator[Specimen]:
    for name, kind in _FOLDERS.items():
        for path in sorted((folder / backend / name).glob("*.py")):
            yield read_specimen(path, kind, backend, folder / "tasks")


def read_specimen(path: Path, kind: str, backend: str, tasks: Path) -> Specimen:
    """The kernel in ``path``.

    Raises:
        InputError: its header does not fit.
    """
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", "give a Python file in UTF-8") from error
    header = _header(path, source)
    expect = tuple(word.strip() for word in header["expect"].split(","))
    problem = _problem(header, expect, kind)
    if problem:
        raise InputError(f"{path}: {problem[0]}", problem[1])
    return Specimen(
        name=path.stem,
        backend=backend,
        kind=kind,
        task=header["task"],
        task_path=_task_path(header["task"], tasks),
        family=header["family"],
        about=header["about"],
        expect=expect,
        device=header["device"],
        source=source,
    )


def _header(path: Path, source: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(source.splitlines(), 1):
        if len(found) == len(_KEYS) or not line.startswith("#"):
            break
        match = _LINE.match(line)
        if match is None or match[1] not in _KEYS:
            raise InputError(f"{path}, line {number}: {line!r} is no header line", f"the keys are {', '.join(_KEYS)}")
        if match[1] in found:
            raise InputError(f"{path}, line {number}: {match[1]} is said twice", "say it once")
        found[match[1]] = match[2]
    missing = [key for key in _KEYS if not found.get(key)]
    if missing:
        raise InputError(f"{path}: its header lacks {', '.join(missing)}", f"begin with `# key: value` for {', '.join(_KEYS)}")
    return found


def _problem(header: dict[str, str], expect: tuple[str, ...], kind: str) -> tuple[str, str] | None:
    """What does not fit, and what to do about it."""
    known = [status.value for status in Status]
    strange = [word for word in expect if word not in known]
    if strange:
        return f"expect has {strange[0]!r}, which is no status", f"use {', '.join(known)}"
    if kind == HONEST and expect != (Status.PASSED.value,):
        return f"an honest kernel expects {', '.join(expect)}", "write `# expect: passed`"
    if kind == CHEAT and Status.PASSED.value in expect:
        return "a cheat may not pass", "name the statuses that reject it"
    if kind == CHEAT and header["family"] not in FAMILIES:
        return f"family is {header['family']!r}", f"use {', '.join(FAMILIES)}"
    if header["device"] not in DEVICES:
        return f"device is {header['device']!r}", f"use {', '.join(DEVICES)}"
    return None


def _task_path(name: str, tasks: Path) -> str:
    """The corpus' own task of that name, else the name as it is."""
    for own in (tasks / name, tasks / f"{name}.py"):
        if (own / "task.yaml").is_file() or own.is_file():
            return str(own)
    return name
