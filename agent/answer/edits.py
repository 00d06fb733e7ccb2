"""SEARCH/REPLACE edits and unified diffs, applied to the start point. A block that does not fit is named, never guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SEARCH = re.compile(r"^\s{0,3}(?:<{5,9}|-{5,9})\s*(?:SEARCH|ORIGINAL|HEAD|OLD)\b.*$", re.IGNORECASE)
_MIDDLE = re.compile(r"^\s{0,3}={5,9}\s*$")
_REPLACE = re.compile(r"^\s{0,3}(?:>{5,9}\s*(?:(?:REPLACE|UPDATED|NEW)\b.*)?|\+{5,9}\s*REPLACE\b.*)$", re.IGNORECASE)
_HUNK = re.compile(r"^@@")
_NOISE = re.compile(r"^(?:--- |\+\+\+ |diff --git |index [0-9a-f]+\.\.|\\ No newline|new file mode |similarity index )")
_FENCE = re.compile(r"^\s{0,3}(`{3,}|~{3,})")


@dataclass(frozen=True)
class Edit:
    """Replace the lines ``search`` by the lines ``replace``."""

    search: tuple[str, ...]
    replace: tuple[str, ...]


def has_markers(text: str) -> bool:
    """Whether ``text`` opens a SEARCH block."""
    return any(_SEARCH.match(line) for line in text.split("\n"))


def is_diff(text: str, said: bool) -> bool:
    """Whether ``text`` is a unified diff; ``said``: its fence says so, then it needs no ``@@`` line."""
    changes = re.search(r"^[-+](?![-+]{2})", text, re.MULTILINE) is not None
    return changes and (said or re.search(r"^@@.*@@|^@@$", text, re.MULTILINE) is not None)


def read_diff(text: str) -> tuple[list[Edit], str]:
    """The hunks of a unified diff, to be applied by their content: writers count lines badly.

    A context line that lost its leading space is one still; lines before the first hunk and after an empty line that
    nothing of the diff follows are prose.
    """
    found: list[Edit] = []
    search: list[str] = []
    replace: list[str] = []
    lines = text.split("\n")
    inside = not any(_HUNK.match(line) for line in lines)
    end = max((i for i, line in enumerate(lines) if line[:1] in ("-", "+") or line[:1] == " "), default=-1)
    for line in [*lines[: end + 1], "@@"]:
        if _HUNK.match(line):
            if search or replace:
                found.append(Edit(tuple(search), tuple(replace)))
            search, replace, inside = [], [], True
        elif not inside or _NOISE.match(line):
            continue
        elif line[:1] == "-":
            search.append(line[1:])
        elif line[:1] == "+":
            replace.append(line[1:])
        else:
            search.append(line.removeprefix(" "))
            replace.append(line.removeprefix(" "))
    return found, ""


def read_text(text: str) -> tuple[list[Edit], str]:
    """The SEARCH/REPLACE blocks of a text, or what is wrong with their form."""
    found: list[Edit] = []
    part = ""
    search: list[str] = []
    replace: list[str] = []
    for line in text.split("\n"):
        number = len(found) + 1
        if _SEARCH.match(line):
            if part:
                return [], f"edit block {number} is not closed before the next SEARCH"
            part, search, replace = "search", [], []
        elif part == "search" and _MIDDLE.match(line):
            part = "replace"
        elif part and _REPLACE.match(line):
            if part == "search":
                return [], f"edit block {number} has no ======= line"
            found.append(Edit(_unfence(search), _unfence(replace)))
            part = ""
        elif part == "search":
            search.append(line)
        elif part == "replace":
            replace.append(line)
    if part:
        return [], f"truncated: edit block {len(found) + 1} is not closed by >>>>>>> REPLACE"
    return found, ""


def _unfence(lines: list[str]) -> tuple[str, ...]:
    """Some writers fence the halves of a block; the fence is not part of the file."""
    if len(lines) >= 2 and _FENCE.match(lines[0]) and _FENCE.match(lines[-1]):
        return tuple(lines[1:-1])
    return tuple(lines)


def apply(found: list[Edit], start: str | None) -> tuple[str | None, str]:
    """The start point with every edit applied in order, or None and the problem."""
    if len(found) == 1 and not "".join(found[0].search).strip():
        whole = "\n".join(found[0].replace)
        if re.search(r"^\s*class\s+ModelNew\b", whole, re.MULTILINE):
            return whole, ""
    if start is None:
        return None, "edits, but this idea has no start point to edit; expected the whole file in one code block"
    lines = start.replace("\r\n", "\n").rstrip("\n").split("\n")
    for number, edit in enumerate(found, 1):
        changed, problem = _replace(lines, edit)
        if changed is None:
            return None, f"edit block {number} {problem}"
        lines = changed
    result = "\n".join(lines)
    if "class ModelNew" not in result:
        return None, "the edits remove class ModelNew"
    if result.strip() == start.replace("\r\n", "\n").strip():
        return None, "the edits leave the start point unchanged"
    return result, ""


def _replace(lines: list[str], edit: Edit) -> tuple[list[str] | None, str]:
    search = _trimmed(edit.search)
    if not search:
        return None, "has an empty SEARCH part; copy the lines to replace from the start point"
    replace = _trimmed(edit.replace)
    at = _places(lines, search)
    if not at:
        at = _places([_loose(line) for line in lines], [_loose(line) for line in search])
        if len(at) == 1:
            replace = _fitted(replace, search, lines[at[0] : at[0] + len(search)])
    if not at:
        return None, f"does not match the start point; its SEARCH begins with {search[0].strip()[:80]!r}"
    if len(at) > 1:
        return None, f"matches {len(at)} places of the start point; give more lines around {search[0].strip()[:80]!r}"
    return [*lines[: at[0]], *replace, *lines[at[0] + len(search) :]], ""


def _trimmed(lines: tuple[str, ...]) -> list[str]:
    rows = [line.rstrip() for line in lines]
    while rows and not rows[0]:
        rows.pop(0)
    while rows and not rows[-1]:
        rows.pop()
    return rows


def _places(lines: list[str], search: list[str]) -> list[int]:
    rows = [line.rstrip() for line in lines]
    n = len(search)
    return [i for i in range(len(rows) - n + 1) if rows[i] == search[0] and rows[i : i + n] == search]


def _loose(line: str) -> str:
    return " ".join(line.split())


def _fitted(replace: list[str], search: list[str], actual: list[str]) -> list[str]:
    """``replace`` for a place that differs in white space: kept lines as they are there, new ones moved like the removed.

    Where nothing is removed, new lines move as the first line of the place does.
    """
    there = {_loose(line): line for line in reversed(actual) if line.strip()}
    kept = {_loose(line) for line in replace} & set(there)
    moved = next(((s, a) for s, a in zip(search, actual, strict=True) if s.strip() and _loose(s) not in kept), None)
    written, at = moved or (search[0], actual[0])
    delta = (len(at) - len(at.lstrip())) - (len(written) - len(written.lstrip()))
    return [there[_loose(line)] if _loose(line) in kept else _shifted(line, delta) for line in replace]


def _shifted(line: str, delta: int) -> str:
    if delta >= 0:
        return " " * delta + line if line else line
    return line[min(-delta, len(line) - len(line.lstrip())) :]
