"""A writer's answer, read: the whole file in a code block, or edits against the start point. Never raises on any text.

Models fence badly, explain at length, run into their token limit and answer in forms that were not asked for. What can be
understood without guessing becomes a kernel; everything else becomes one line that says what was wrong, which the next
prompt shows. A complete file that does not parse is still a kernel: the judge's ``build_failed`` says where.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kernelwright.agent.answer import edits
from kernelwright.agent.answer.fences import blocks, whole_span
from kernelwright.agent.answer.sources import MODEL, elided, finished, joined, parsed
from kernelwright.agent.answer.wrappings import from_json, from_tool_call, spoken, untagged
from kernelwright.tasks.records import Kernel

if TYPE_CHECKING:
    from kernelwright.agent.writers.writer import Assignment

__all__ = ["read_answer", "read_for", "spoken"]

LONGEST = 1_000_000
"""Characters of an answer that are looked at; a longer one is not a kernel."""

_STRAY = re.compile(r"^\s{0,3}(`{3,}|~{3,}|'{3,}|\"{4,})\s*$")
_STRATEGY = re.compile(r"^[ \t>#*_`-]*strategy[*_`]*[ \t]*:[*_`]*[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_OPENING = re.compile(r"^(import |from |class |def |@|#|\"\"\"|'''|r?\"\"\"|[A-Za-z_]\w* *=)")
_CUTS = 24
"""Places tried when the end of an unfenced file is searched for."""

Found = tuple[Kernel | None, str, str]
"""The kernel or None, the problem or "", the strategy line or ""."""


def read_for(assignment: Assignment, text: str) -> Found:
    """The kernel in the answer to ``assignment``.

    Edits are meant for the start point; those that fit it nowhere and fit an earlier version that the prompt showed, wholly,
    are meant for that.
    """
    context = assignment.context
    sources = [a.answer.kernel.source for a in (*context.relatives, *reversed(context.history)) if a.answer.kernel]
    start = context.start.answer.kernel if context.start is not None else None
    return read_answer(text, assignment.backend, start.source if start else None, tuple(dict.fromkeys(sources)))


def read_answer(text: str, backend: str, start: str | None, older: Sequence[str] = ()) -> Found:
    """The kernel in ``text``, else None with the problem; and the strategy line the writer gave ("" without one).

    Args:
        text: the raw answer.
        backend: what the kernel is written for.
        start: source that SEARCH/REPLACE edits (or a unified diff) apply to; None when only a whole file makes sense.
        older: other sources that the writer saw, likeliest first: tried where the edits do not fit ``start``.
    """
    if len(text) > LONGEST:
        return None, f"an answer of {len(text)} characters, at most {LONGEST} are read", ""
    text = spoken(text)
    strategy = _strategy(text)
    if not text.strip():
        return None, "empty answer", strategy
    source, problem = _source(text, (start, *(older if start is not None else ())))
    if source is None:
        return None, problem, strategy
    left_out = elided(source)
    if left_out:
        return None, f"the file leaves parts out ({left_out[:80]!r}); answer with the whole file, or with edits", strategy
    return Kernel(source=source.strip("\n") + "\n", backend=backend), "", strategy


def _strategy(text: str) -> str:
    found = _STRATEGY.search(text)
    return found.group(1).strip().strip("*_`").strip()[:300] if found else ""


def _source(text: str, starts: Sequence[str | None]) -> tuple[str | None, str]:
    """The file's text or the problem."""
    inner = from_json(text)
    if inner is not None:
        if not inner.strip():
            return None, "JSON without a kernel in it; expected one python code block with the whole file"
        text = inner
    elif "ModelNew" in text and not MODEL.search(text) and not edits.has_markers(text):
        text = from_tool_call(text) or text
    closed, rest = blocks(text)
    source = _whole_file(text, [block.body for block in closed])
    if source is not None:
        return source, ""
    if edits.has_markers(text):
        return _first_fit(edits.read_text(text), starts)
    fenced = [(block.body, block.info.lower().startswith(("diff", "patch"))) for block in reversed(closed)]
    diff = next((body for body, said in (*fenced, (rest, False), (text, False)) if edits.is_diff(body, said)), "")
    if diff:
        return _first_fit(edits.read_diff(diff), starts)
    text = untagged(text)
    return _unfenced(rest if MODEL.search(rest) else text)


def _whole_file(text: str, closed: Sequence[str]) -> str | None:
    """The last complete file of the answer, put together from its blocks where it was cut into several; None without any.

    A file that is not complete counts when there is no better: the judge says what is wrong with it.
    """
    plain = [block for block in closed if not edits.has_markers(block) and not edits.is_diff(block, False)]
    whole = [block for block in plain if MODEL.search(block)]
    others = [block for block in plain if not MODEL.search(block)]
    complete = next((block for block in reversed(whole) if finished(block)), None)
    if complete is not None:
        return joined(complete, others)
    spanned = whole_span(text) if ("```" in text or "~~~" in text) and not edits.has_markers(text) else ""
    if spanned:
        return spanned
    return next((block for block in reversed(whole) if parsed(block)), whole[-1] if whole else None)


def _first_fit(read: tuple[list[edits.Edit], str], starts: Sequence[str | None]) -> tuple[str | None, str]:
    """The edits applied to the first source that all of them fit; the problem with the first source when none does."""
    found, problem = read
    if problem:
        return None, problem
    first = ""
    for start in starts:
        source, problem = edits.apply(found, start)
        if source is not None:
            return source, ""
        first = first or problem
    return None, first


def _unfenced(text: str) -> tuple[str | None, str]:
    """A file that no fence, or no matching one, encloses: cut prose off both ends, but never inside ``ModelNew``."""
    model = MODEL.search(text)
    if model is None:
        if "ModelNew" in text:
            return None, "truncated or incomplete: ModelNew is mentioned but no class ModelNew is defined"
        return None, "no code block with class ModelNew; expected one python code block with the whole file"
    lines = text.split("\n")
    row = text[: model.start()].count("\n") + model.group(0).count("\n")
    starts = [i for i in range(row + 1) if _OPENING.match(lines[i])][:8]
    ends = [i for i in range(row + 1, len(lines)) if lines[i][:1].strip()]
    fences = [i for i in range(row + 1, len(lines)) if _STRAY.match(lines[i])]
    for first in starts:
        for last in (*fences[:1], len(lines), *reversed(ends[:_CUTS])):
            body = "\n".join(lines[first:last])
            if finished(body):
                return body, ""
    return None, "truncated: the code has no closing fence and is not complete; answer with the whole file, shorter"
