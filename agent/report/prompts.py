"""The exact prompts of a task's attempts, cut at their headings: what several prompts share stands on the page once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kernelwright.agent.llm.tokens import estimate

MOST = 300_000
"""Characters of prompts on the page for one task. The winner's come first, then the others' in order; of the rest only the
tokens are told: ``kernelwright exchange show ID`` prints them."""

_FENCE = re.compile(r"^(`{3,})")


@dataclass(frozen=True)
class Part:
    """A piece of a prompt from one heading to the next; the pieces, put together, are the prompt."""

    title: str
    text: str
    tokens: int
    """Estimated."""
    number: int
    """Of the piece among those of the task."""
    attempts: tuple[int, ...]
    """In whose prompts it stands."""
    shown: bool


@dataclass(frozen=True)
class Row:
    """One attempt's prompt."""

    attempt: int
    idea: str
    parts: tuple[int, ...]
    """Numbers of its pieces, in order."""
    tokens: int


@dataclass(frozen=True)
class Prompts:
    """All prompts of a task."""

    rows: tuple[Row, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def complete(self) -> bool:
        return all(part.shown for part in self.parts)


def prompts(given: Iterable[tuple[int, str, str, bool]]) -> Prompts:
    """The prompts of attempts, each given as (number, idea's id, prompt, whether it won); without a prompt it is left out."""
    known: dict[str, int] = {}
    rows: list[Row] = []
    winners: set[int] = set()
    users: dict[int, list[int]] = {}
    titles: list[str] = []
    for number, idea, prompt, won in given:
        if not prompt:
            continue
        pieces = pieces_of(prompt)
        titles += [title for title, text in dict.fromkeys(pieces) if text not in known]
        numbers = tuple(known.setdefault(text, len(known)) for _, text in pieces)
        for part in dict.fromkeys(numbers):
            users.setdefault(part, []).append(number)
        winners |= set(numbers) if won else set()
        rows.append(Row(number, idea, numbers, 0))
    texts = list(known)
    shown = _shown(texts, winners)
    tokens = [estimate(text) for text in texts]
    return Prompts(
        tuple(Row(row.attempt, row.idea, row.parts, sum(tokens[n] for n in row.parts)) for row in rows),
        tuple(Part(titles[n], text, tokens[n], n, tuple(users[n]), n in shown) for n, text in enumerate(texts)),
    )


def pieces_of(prompt: str) -> list[tuple[str, str]]:
    """(heading, text with its heading) from each heading of the first two ranks to the next; fenced lines are no headings."""
    pieces: list[tuple[str, str]] = []
    fence, title, start, at = "", "", 0, 0
    for line in prompt.splitlines(keepends=True):
        if found := _FENCE.match(line):
            if not fence:
                fence = found.group(1)
            elif line.strip() == fence:
                fence = ""
        elif not fence and line.startswith(("# ", "## ")):
            if at > start:
                pieces.append((title, prompt[start:at]))
            title, start = line.lstrip("# ").strip(), at
        at += len(line)
    if at > start:
        pieces.append((title, prompt[start:]))
    return pieces


def _shown(texts: Sequence[str], first: set[int]) -> set[int]:
    """Numbers of the texts that fit on the page, those of ``first`` before others."""
    left, shown = MOST, set()
    for number in sorted(range(len(texts)), key=lambda n: (n not in first, n)):
        if len(texts[number]) <= left:
            left -= len(texts[number])
            shown.add(number)
    return shown
