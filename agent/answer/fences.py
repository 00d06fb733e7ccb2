"""Code fences in a writer's answer, as Markdown has them and as models break them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kernelwright.agent.answer.sources import MODEL, finished

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})([^`]*)$")
_INFO_WITH_CODE = re.compile(r"^\s*(?:python|py|python3)\s+((?:import|from|class|def)\s.*|@\w.*|#.*)$", re.IGNORECASE)
_GLUED = re.compile(r"^(?=.*[^\s`])([^`\n]*)```[ \t]*$", re.MULTILINE)
_SPANS = 300
"""Spans between two fences that are looked at when no block is whole."""
_READ = 5_000_000
"""Characters that are parsed for that, all spans together."""


@dataclass(frozen=True)
class Block:
    """The text between two fences, moved left by as much as its opening fence is indented."""

    info: str
    """What stands behind the opening fence: a language, a file's name."""
    body: str


def blocks(text: str) -> tuple[list[Block], str]:
    """The closed blocks of ``text``, and the text after a fence that is never closed ("" when all are)."""
    closed: list[Block] = []
    fence = indent = info = ""
    lines: list[str] = []
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if not fence:
            if mark:
                indent, fence, info = mark.groups()
                code = _INFO_WITH_CODE.match(info)
                lines = [indent + code.group(1)] if code else []
        elif mark and _closes(mark, fence, indent):
            closed.append(Block(info.strip(), _dedented(lines, indent)))
            fence = ""
        else:
            lines.append(line)
    return closed, _dedented(lines, indent) if fence else ""


def whole_span(text: str) -> str:
    """The last whole file between any two fences, for fences inside the code and blocks inside blocks; else empty.

    Only a text that parses and holds a finished ``ModelNew`` counts, and of two that end alike the longer.
    """
    text = _GLUED.sub(r"\1\n```", text)
    lines = text.split("\n")
    marks = [-1, *(i for i, line in enumerate(lines) if _FENCE.match(line)), len(lines)]
    left = _READ
    for first, last in _spans(marks):
        body = "\n".join(lines[first + 1 : last])
        left -= len(body)
        if left < 0:
            break
        if MODEL.search(body) and finished(body):
            return body
    return ""


def _spans(marks: list[int]) -> Iterator[tuple[int, int]]:
    """(after which line, up to which line), later ends first and of one end the longest first; bounded."""
    left = _SPANS
    for last in reversed(marks):
        for first in (m for m in marks if m < last):
            if not left:
                return
            left -= 1
            yield first, last


def _closes(mark: re.Match[str], fence: str, indent: str) -> bool:
    same = mark[2][0] == fence[0] and len(mark[2]) >= len(fence) and not mark[3].strip()
    return same and len(mark[1]) <= len(indent) + 3


def _dedented(lines: list[str], indent: str) -> str:
    n = len(indent)
    return "\n".join(line[n:] if n and line[:n].isspace() else line for line in lines)
