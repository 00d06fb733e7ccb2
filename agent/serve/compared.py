"""What one kernel changed of another, line by line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

MOST_LINES = 3000
"""Of either source; comparing takes time that grows with the square of it."""
AROUND = 3


@dataclass(frozen=True)
class Line:
    """One line of a comparison."""

    kind: str
    """``same``, ``added``, ``gone``, or ``cut`` where lines that are the same are left out."""
    text: str


@dataclass(frozen=True)
class Comparison:
    """The lines that differ, with a few around them."""

    lines: tuple[Line, ...] = ()
    added: int = 0
    gone: int = 0
    problem: str = ""
    """Why there is none."""


def compare(before: str, after: str) -> Comparison:
    """``after`` against ``before``."""
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > MOST_LINES:
        return Comparison(problem=f"not compared: one of the kernels has more than {MOST_LINES} lines")
    lines = tuple(_lines(old, new))
    return Comparison(lines, sum(x.kind == "added" for x in lines), sum(x.kind == "gone" for x in lines))


def _lines(old: list[str], new: list[str]) -> Iterator[Line]:
    for number, group in enumerate(difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(AROUND)):
        first = group[0]
        if number or first[1]:
            yield Line("cut", f"line {first[3] + 1}")
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (Line("same", text) for text in new[j1:j2])
                continue
            yield from (Line("gone", text) for text in old[i1:i2])
            yield from (Line("added", text) for text in new[j1:j2])
