"""When two experiences say the same: near-duplicates are kept once, however often they are met.

Near is the same but for numbers, comments and white space: the same code with another block size, the same complaint of
the compiler at another line. Lessons in a model's own words are near when they share most of their words. What this does
not see: the same idea in other words or other code; retrieval then shows both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kernelwright.memory.lessons import MARK
from kernelwright.memory.records import LEARNED, Experience
from kernelwright.memory.schema import experiences
from kernelwright.tasks.records import digest

SHARED = 0.75
"""Share of their words, of all words of both, that two model-written lessons must have in common."""

_COMMENT = re.compile(r"#(?!\s*(?:pragma|include|define|undef|if|else|elif|endif)\b)[^\n]*|//[^\n]*|/\*.*?\*/", re.DOTALL)
_NUMBER = re.compile(r"\b(?:\d[\d.']*(?:[eE][+-]?\d+)?\w*|[0-9a-f]{8,}\b)")
_WORDS = re.compile(r"[a-z]{3,}")
_CANDIDATES = 100
"""Lessons of one task that a new one is compared with word by word: the latest."""


@dataclass(frozen=True)
class Standing:
    """A current experience that a new one may be merged with."""

    id: str
    scope: str
    speedup: float | None
    seen: int


def gist(e: Experience) -> str:
    """What near-duplicates have in common; empty for knowledge, which is edited by people and never merged."""
    if not learned(e):
        return ""
    said = _skeleton(_COMMENT.sub("", e.code)) if e.kind == "trace" else _skeleton(e.lesson)
    parts = (e.kind, e.backend, e.device, e.family, e.task, e.status, said)
    return digest(*(part.encode(errors="replace").decode() for part in parts))  # halves of pairs are no UTF-8


def learned(e: Experience) -> bool:
    """Whether it comes from an attempt; exemplars are traces that come from a file."""
    return e.kind in LEARNED and bool(e.status)


def find(tx: Connection, e: Experience) -> Standing | None:
    """The current experience that ``e`` repeats, if there is one; locked until the transaction ends."""
    mine = gist(e)
    if not mine:
        return None
    c = experiences.c
    current = sa.select(c.id, c.scope, c.speedup, c.seen, c.lesson).where(sa.not_(c.retired)).with_for_update()
    row = tx.execute(current.where(c.gist == mine).order_by(c.id).limit(1)).one_or_none()
    words = _own_words(e.lesson) if e.kind != "trace" else frozenset()
    if row is None and words:
        same = (c.task == e.task) & (c.kind == e.kind) & (c.backend == e.backend) & (c.device == e.device)
        near = current.where(same, c.status == e.status).order_by(c.created.desc(), c.id).limit(_CANDIDATES)
        row = next((r for r in tx.execute(near) if _share(words, _own_words(r.lesson)) >= SHARED), None)
    return None if row is None else Standing(row.id, row.scope, row.speedup, row.seen)


def better(e: Experience, standing: Standing) -> bool:
    """Whether ``e`` is the one to keep: of what worked the faster; of failures the first is as good as any."""
    return e.kind != "failure" and (e.speedup or 0.0) > (standing.speedup or 0.0)


def _skeleton(text: str) -> str:
    return " ".join(_NUMBER.sub("0", text).split())


def _own_words(lesson: str) -> frozenset[str]:
    return frozenset(_WORDS.findall(lesson.partition(MARK)[2].lower()))


def _share(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a and b else 0.0
