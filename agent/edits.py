"""SEARCH/REPLACE edits and unified diffs, applied to the start point. A block that does not fit is named, never guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SEARCH = re.compile(r"^\s{0,3}<{5,9}\s*SEARCH\b.*$", re.IGNORECASE)
_MIDDLE = re.compile(r"^\s{0,3}={5,9}\s*$")
_REPLACE = re.compile(r"^\s{0,3}>{5,9}\s*REPLACE\b.*$", re.IGNORECASE)
_HUNK = re.compile(r"^@@")
_FENCE = re.compile(r"^\s{0,3}(`{3,}|~{3,})")


@dataclass(frozen=True)
class Edit:
    """Replace the lines ``search`` by the lines ``replace``."""

    search: tuple[str, ...]
    replace: tuple[str, ...]


def has_markers(text: str) -> bool:
    """Whether ``text`` opens a SEARCH block."""
    return any(_SEARCH.match(line) for line in text.split("\n"))


def apply_text(text: str, start: str | None) -> tuple[str | None, str]:
    """The start point with every SEARCH/REPLACE block of ``text`` applied in order, or None and the problem."""
    found, problem = _read(text)
    return (None, problem) if problem else _apply(found, start)


def apply_diff(text: str, start: str | None) -> tuple[str | None, str]:
    """The start point with every hunk of a unified diff applied by its content, or None and the problem."""
    found: list[Edit] = []
    search: list[str] = []
    replace: list[str] = []
    inside = False
    for line in [*text.split("\n"), "@@"]:
        if _HUNK.match(line):
            if search or replace:
                found.append(Edit(tuple(search), tuple(replace)))
            search, replace, inside = [], [], True
        elif inside and line[:1] == "-" and not line.startswith("--- "):
            search.append(line[1:])
        elif inside and line[:1] == "+" and not line.startswith("+++ "):
            replace.append(line[1:])
        elif inside and (not line or line[0] == " "):
            search.append(line[1:])
            replace.append(line[1:])
    return _apply(found, start)


def _read(text: str) -> tuple[list[Edit], str]:
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


def _apply(found: list[Edit], start: str | None) -> tuple[str | None, str]:
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
            replace = _indented(replace, search[0], lines[at[0]])
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


def _indented(replace: list[str], written: str, actual: str) -> list[str]:
    """``replace`` moved by as much as the SEARCH part was written away from the place it matched."""
    delta = (len(actual) - len(actual.lstrip())) - (len(written) - len(written.lstrip()))
    if delta >= 0:
        return [" " * delta + line if line else line for line in replace]
    return [line[min(-delta, len(line) - len(line.lstrip())) :] for line in replace]
