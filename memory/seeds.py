"""What memory knows before its first attempt: backend knowledge from ``prompts/backends/<name>/``.

``facts.md`` gives API items, ``pitfalls.md`` and ``practices.md`` practices, one a ``##`` section; ``exemplars/*.py``
give traces. ``seeds.yaml`` says which version of them this is and where each comes from. A new backend needs no more than
such a folder.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from sqlalchemy.engine import Connection

from kernelwright.memory import experiences
from kernelwright.memory.lessons import one_line
from kernelwright.memory.records import SEEDED, Experience
from kernelwright.tasks.errors import WorkspaceError
from kernelwright.tasks.records import digest

if TYPE_CHECKING:
    from kernelwright.memory.artifacts import Artifacts

_KINDS = {"facts.md": "api", "pitfalls.md": "practice", "practices.md": "practice"}
_HINT = re.compile(r"<!--\s*for:(.*?)-->\n?", re.DOTALL)
ORIGIN = SEEDED


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
        WorkspaceError: a file that is there cannot be read, or lacks a field; file and field are named.
    """
    if not root.is_dir():
        return ()
    try:
        return tuple(seed for backend in sorted(p for p in root.iterdir() if p.is_dir()) for seed in _backend(backend))
    except (OSError, UnicodeDecodeError) as error:
        raise WorkspaceError(f"cannot read knowledge under {root}: {error}", "install Kernelwright anew") from error


def plant(tx: Connection, seeds: tuple[Seed, ...], artifacts: Artifacts) -> bool:
    """Make ``seeds`` the store's knowledge: new ones are added, changed and removed ones retired. Whether any was."""
    there = experiences.origins(tx, ORIGIN)
    new = [seed for seed in seeds if seed.experience.id not in there]
    held = experiences.held(tx, [seed.content for seed in new])
    experiences.add(tx, [(s.experience, s.content, s.origin) for s in new if s.content not in held], artifacts)
    for seed in (s for s in new if s.content in held):  # as somebody's experience, imported from another memory
        experiences.insert(tx, [seed.experience], seed.content, seed.origin, artifacts)
    for seed in seeds:
        if there.get(seed.experience.id, seed.origin) != seed.origin:  # the same text of a later version, or a better source
            experiences.set_origin(tx, seed.experience.id, seed.origin)
    return experiences.retire_others(tx, {seed.experience.id for seed in seeds}, ORIGIN) or bool(new)


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
    files = [path / name for name in _KINDS if (path / name).is_file()]
    exemplars = sorted((path / "exemplars").glob("*.py"))
    if not files and not exemplars:
        return
    origins = _origins(path, [file.stem for file in files], [file.stem for file in exemplars])
    for file in files:
        text = file.read_text(encoding="utf-8")
        for heading, body in sections(text):
            if not body:
                raise WorkspaceError(f"{file}: section {heading!r} has no text", "write one, or take the heading away")
            yield _section(path.name, file.stem, _KINDS[file.name], origins[file.stem], heading, body)
    for file in exemplars:
        yield _exemplar(path.name, file, origins["exemplars"])


def _origins(path: Path, files: list[str], exemplars: list[str]) -> dict[str, str]:
    """Stem -> where its seeds come from, with the version, as ``seeds.yaml`` says; it names what each exemplar solves."""
    file = path / "seeds.yaml"
    stems = [*files, *(["exemplars"] if exemplars else [])]
    remedy = "give it `version: 1` and, under `sources:`, a line for each of " + ", ".join(stems)
    try:
        data = _manifest(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WorkspaceError(f"{path} has knowledge and no seeds.yaml", remedy) from error
    except yaml.YAMLError as error:
        raise WorkspaceError(f"{file} is no YAML: {one_line(str(error), 120)}", remedy) from error
    fields = data if isinstance(data, dict) else {}
    version, sources = fields.get("version"), fields.get("sources")
    if not isinstance(version, int) or isinstance(version, bool):
        raise WorkspaceError(f"{file} has no field 'version', a whole number", remedy)
    if not isinstance(sources, dict):
        raise WorkspaceError(f"{file} has no field 'sources'", remedy)
    for stem in stems:
        if not isinstance(sources.get(stem), str) or not sources[stem].strip():
            raise WorkspaceError(f"{file} has no field 'sources: {stem}'", remedy)
    solved = fields.get("solves")
    for stem in exemplars:
        names = solved.get(stem) if isinstance(solved, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise WorkspaceError(
                f"{file} has no field 'solves: {stem}'",
                "list there the names of the tasks that this exemplar solves, whose prompts must not show it; [] for none",
            )
    return {stem: one_line(f"{ORIGIN}{path.name}/{stem} v{version}: {sources[stem]}", 300) for stem in stems}


def _section(backend: str, source: str, kind: str, origin: str, heading: str, body: str) -> Seed:
    hints = " ".join(" ".join(_HINT.findall(body)).split())
    lesson = f"{heading}\n{_HINT.sub('', body).strip()}"
    text = one_line(f"{backend} {source} {heading} {hints} {lesson}", 1500)
    return _seed(origin, kind, backend, source, hints.split(" ")[0], text, "", lesson)


def _exemplar(backend: str, file: Path, origin: str) -> Seed:
    code, stem = file.read_text(encoding="utf-8"), file.stem
    try:
        said = _docstring(code)
    except (SyntaxError, ValueError) as error:
        raise WorkspaceError(f"{file} is no Python: {one_line(str(error), 120)}", "mend it, or take it away") from error
    if not said:
        raise WorkspaceError(f"{file} has no docstring", "begin it with one that says what the kernel computes and how")
    text = one_line(f"{stem} {backend} draft {said}", 1500)
    return _seed(origin, "trace", backend, f"exemplars/{stem}", stem, text, code, one_line(said, 500))


@lru_cache(maxsize=256)
def _manifest(text: str) -> Any:
    """A YAML text, by the parser in C where PyYAML has it: every memory that is opened reads all of them."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@lru_cache(maxsize=1024)
def _docstring(code: str) -> str | None:
    return ast.get_docstring(ast.parse(code))


def _seed(origin: str, kind: str, backend: str, source: str, family: str, text: str, code: str, lesson: str) -> Seed:
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
    return Seed(experience, origin, content)
