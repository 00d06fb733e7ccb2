"""What memory knows before its first attempt: backend knowledge from ``prompts/backends/<name>/``.

``facts.md`` gives API items, ``pitfalls.md`` and ``practices.md`` practices, one a ``##`` section; ``exemplars/*.py``
give traces.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection

from kernelwright.memory import experiences
from kernelwright.memory.lessons import one_line
from kernelwright.memory.records import Experience
from kernelwright.tasks.errors import WorkspaceError
from kernelwright.tasks.records import digest

if TYPE_CHECKING:
    from kernelwright.memory.artifacts import Artifacts

_KINDS = {"facts.md": "api", "pitfalls.md": "practice", "practices.md": "practice"}
_HINT = re.compile(r"<!--\s*for:(.*?)-->\n?", re.DOTALL)
ORIGIN = "seed:"


@dataclass(frozen=True)
class Seed:
    """One experience and the file that it comes from."""

    experience: Experience
    origin: str
    content: str


def folder() -> Path:
    """The knowledge that comes with the package."""
    return Path(str(resources.files("kernelwright"))) / "prompts" / "backends"


def read(root: Path) -> tuple[Seed, ...]:
    """All knowledge under ``root``, in a fixed order; none where the folder is not there.

    Raises:
        WorkspaceError: a file that is there cannot be read.
    """
    if not root.is_dir():
        return ()
    try:
        return tuple(seed for backend in sorted(p for p in root.iterdir() if p.is_dir()) for seed in _backend(backend))
    except (OSError, UnicodeDecodeError) as error:
        raise WorkspaceError(f"cannot read knowledge under {root}: {error}", "install Kernelwright anew") from error


def plant(tx: Connection, seeds: tuple[Seed, ...], artifacts: Artifacts) -> None:
    """Make ``seeds`` the store's knowledge: new ones are added, changed and removed ones retired."""
    there = experiences.ids_of_origin(tx, ORIGIN)
    for seed in seeds:
        if seed.experience.id in there:
            continue
        experiences.insert(tx, [seed.experience], seed.content, seed.origin, artifacts)
    experiences.retire_others(tx, {seed.experience.id for seed in seeds}, ORIGIN)


def sections(text: str) -> Iterator[tuple[str, str]]:
    """(heading, body) of each ``##`` section of a Markdown text; ``##`` inside a fence is text."""
    heading, lines, fenced = "", list[str](), False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if line.startswith("## ") and not fenced:
            if heading:
                yield heading, "\n".join(lines).strip()
            heading, lines = line[3:].strip(), []
        else:
            lines.append(line)
    if heading:
        yield heading, "\n".join(lines).strip()


def _backend(path: Path) -> Iterator[Seed]:
    for name, kind in _KINDS.items():
        file = path / name
        if file.is_file():
            for heading, body in sections(file.read_text(encoding="utf-8")):
                yield _section(path.name, file.stem, kind, heading, body)
    for file in sorted((path / "exemplars").glob("*.py")):
        yield _exemplar(path.name, file.stem, file.read_text(encoding="utf-8"))


def _section(backend: str, source: str, kind: str, heading: str, body: str) -> Seed:
    hints = " ".join(" ".join(_HINT.findall(body)).split())
    lesson = f"{heading}\n{_HINT.sub('', body).strip()}"
    text = one_line(f"{backend} {source} {heading} {hints} {lesson}", 1500)
    return _seed(kind, backend, source, hints.split(" ")[0], text, "", lesson)


def _exemplar(backend: str, stem: str, code: str) -> Seed:
    said = ast.get_docstring(ast.parse(code)) or stem
    text = one_line(f"{stem} {backend} draft {said}", 1500)
    return _seed("trace", backend, f"exemplars/{stem}", stem, text, code, one_line(said, 500))


def _seed(kind: str, backend: str, source: str, family: str, text: str, code: str, lesson: str) -> Seed:
    content = digest(kind, backend, source, text, lesson, code)
    experience = Experience(
        id=f"{kind}-{content}",
        kind=kind,
        stage="",
        backend=backend,
        device="",
        family=family,
        task=f"knowledge/{backend}/{source}",
        text=text,
        code=code,
        lesson=lesson,
        status="",
        bottleneck="",
        speedup=None,
        parents=(),
    )
    return Seed(experience, f"{ORIGIN}{backend}/{source}", content)
