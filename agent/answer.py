"""A writer's answer, read: the whole file in a code block, or edits against the start point. Never raises on any text.

Models fence badly, explain at length, run into their token limit and answer in forms that were not asked for. What can be
understood without guessing becomes a kernel; everything else becomes one line that says what was wrong, which the next
prompt shows. A complete file that does not parse is still a kernel: the judge's ``build_failed`` says where.
"""

from __future__ import annotations

import ast
import json
import re
import warnings

from kernelwright.agent import edits
from kernelwright.tasks.records import Kernel

LONGEST = 1_000_000
"""Characters of an answer that are looked at; a longer one is not a kernel."""

_FENCE = re.compile(r"^\s{0,3}(`{3,}|~{3,})([^`]*)$")
_STRAY = re.compile(r"^\s{0,3}(`{3,}|~{3,}|'{3,}|\"{4,})\s*$")
_STRATEGY = re.compile(r"^[\s>#*_`-]*strategy[*_`]*\s*:[*_`]*\s*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_MODEL = re.compile(r"^\s*class\s+ModelNew\b", re.MULTILINE)
_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_OPENING = re.compile(r"^(import |from |class |def |@|#|\"\"\"|'''|r?\"\"\"|[A-Za-z_]\w* *=)")
_CUTS = 24
"""Places tried when the end of an unfenced file is searched for."""


def read_answer(text: str, backend: str, start: str | None) -> tuple[Kernel | None, str, str]:
    """The kernel in ``text``, else None with the problem; and the strategy line the writer gave ("" without one).

    Args:
        text: the raw answer.
        backend: what the kernel is written for.
        start: source that SEARCH/REPLACE edits (or a unified diff) apply to; None when only a whole file makes sense.
    """
    text = _plain(text)
    strategy = _strategy(text)
    if not text.strip():
        return None, "empty answer", strategy
    if len(text) > LONGEST:
        return None, f"an answer of {len(text)} characters, at most {LONGEST} are read", strategy
    source, problem = _source(text, start)
    if source is None:
        return None, problem, strategy
    return Kernel(source=source.strip("\n") + "\n", backend=backend), "", strategy


def _plain(text: str) -> str:
    """Unix newlines, no byte-order mark, no surrogates, and no thoughts that were spoken aloud before the answer."""
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    text = text.lstrip("\ufeff").replace("\0", "")
    return _THINKING.sub("", text)


def _strategy(text: str) -> str:
    found = _STRATEGY.search(text)
    return found.group(1).strip().strip("*_`").strip()[:300] if found else ""


def _source(text: str, start: str | None) -> tuple[str | None, str]:
    """The file's text or the problem."""
    inner = _from_json(text)
    if inner is not None:
        text = inner
        if not text.strip():
            return None, "JSON without a kernel in it; expected one python code block with the whole file"
    has_edits = edits.has_markers(text)
    closed, rest = _blocks(text)
    whole = [block for block in closed if _MODEL.search(block) and not edits.has_markers(block) and not _is_diff(block)]
    if whole:
        return next((block for block in reversed(whole) if _parsed(block)), whole[-1]), ""
    if has_edits:
        return edits.apply_text(text, start)
    diff = next((block for block in (*reversed(closed), rest, text) if _is_diff(block)), "")
    if diff:
        return edits.apply_diff(diff, start)
    return _unfenced(rest or text)


def _from_json(text: str) -> str | None:
    """The longest string inside an answer that is nothing but JSON; None when it is not JSON."""
    body = text.strip()
    closed, rest = _blocks(body)
    if not body.startswith(("{", "[")):
        if len(closed) != 1 or rest.strip() or not closed[0].lstrip().startswith(("{", "[")):
            return None
        body = closed[0].strip()
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    strings = [value for value in _strings(data, 0) if _MODEL.search(value) or edits.has_markers(value)]
    return _plain(max(strings, key=len)) if strings else ""


def _strings(data: object, depth: int) -> list[str]:
    if isinstance(data, str):
        return [data]
    if depth > 8 or not isinstance(data, (dict, list)):
        return []
    values = data.values() if isinstance(data, dict) else data
    return [text for value in values for text in _strings(value, depth + 1)]


def _blocks(text: str) -> tuple[list[str], str]:
    """Contents of the closed fences, and the text after a fence that is never closed ("" when all are)."""
    closed: list[str] = []
    open_fence = ""
    lines: list[str] = []
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if not open_fence:
            if mark:
                open_fence, lines = mark.group(1), []
        elif mark and not mark.group(2).strip() and line.strip()[0] == open_fence[0] and len(mark[1]) >= len(open_fence):
            closed.append("\n".join(lines))
            open_fence = ""
        else:
            lines.append(line)
    return closed, "\n".join(lines) if open_fence else ""


def _is_diff(text: str) -> bool:
    return re.search(r"^@@.*@@|^@@$", text, re.MULTILINE) is not None and re.search(r"^[-+]", text, re.M) is not None


def _unfenced(text: str) -> tuple[str | None, str]:
    """A file that no fence, or no matching one, encloses: cut prose off both ends, but never inside ``ModelNew``."""
    model = _MODEL.search(text)
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
            if _finished(body):
                return body, ""
    return None, "truncated: the code has no closing fence and is not complete; answer with the whole file, shorter"


def _parsed(source: str) -> ast.Module | None:
    """The syntax tree, None for what is not Python; warnings about escapes in native code are nobody's business here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _finished(source: str) -> bool:
    """Whether ``source`` parses and its ``ModelNew`` has a ``forward`` that returns: half a file can parse by luck."""
    tree = _parsed(source)
    if tree is None:
        return False
    models = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "ModelNew"]
    methods = [node for model in models for node in model.body if isinstance(node, ast.FunctionDef)]
    return any(isinstance(n, ast.Return) for m in methods if m.name == "forward" for n in ast.walk(m))
