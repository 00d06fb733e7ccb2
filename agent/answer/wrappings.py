"""What stands around a writer's answer proper: thoughts spoken aloud, JSON, tool calls, tags."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator

from kernelwright.agent.answer.fences import blocks
from kernelwright.agent.answer.sources import MODEL, finished

_THOUGHT = re.compile(r"<(/?)(think|thinking|reasoning)>", re.IGNORECASE)
_FINAL = "<|channel|>final<|message|>"
_TAGS = (
    r"(?:antml:)?(?:parameter|content|file|file_content|code|answer|kernel|invoke|function_calls?|tool_call|artifact|"
    r"arguments|source|response|solution|output|python)"
)
_TAG = re.compile(rf"^[ \t]*(?:<{_TAGS}\b[^<>\n]*>|<!\[CDATA\[)+|(?:</{_TAGS}>|\]\]>)+[ \t]*$", re.MULTILINE | re.IGNORECASE)
_OBJECTS = 40
"""Places in a text at which a JSON object is looked for."""


def spoken(text: str) -> str:
    """Unix newlines, plain spaces, no surrogates, and no thoughts that were spoken aloud before the answer."""
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    text = text.replace("\0", "").replace("\u00a0", " ")
    text = re.sub("[\u200b\u2060\ufeff]", "", text)
    return _without_thoughts(text.rpartition(_FINAL)[2])


def _without_thoughts(text: str) -> str:
    """Without ``<think>…</think>``, and without what stands before a ``</think>`` that was opened by the prompt.

    Thoughts that never end are kept: what came before the answer was cut off is all there is.
    """
    parts: list[str] = []
    kept, opened, end = 0, None, len(text.rstrip())
    for tag in _THOUGHT.finditer(text):
        name = tag[2].lower()
        if not tag[1] and opened is None:
            opened = (name, tag.start())
        elif tag[1] and opened is not None and name == opened[0]:
            parts.append(text[kept : opened[1]])
            kept, opened = tag.end(), None
        elif tag[1] and opened is None and tag.end() < end:
            parts, kept = [], tag.end()
    return "".join([*parts, text[kept:]])


def from_json(text: str) -> str | None:
    """The kernel's text inside an answer that is nothing but JSON; "" when it holds none, None when it is not JSON."""
    body = text.strip()
    closed, rest = blocks(body)
    if not body.startswith(("{", "[")):
        if len(closed) != 1 or rest.strip() or not closed[0].body.lstrip().startswith(("{", "[")):
            return None
        body = closed[0].body.strip()
    data = _read(body)
    return None if data is None else _best(data)


def from_tool_call(text: str) -> str:
    """The kernel's text in JSON somewhere inside ``text``; empty when there is none."""
    decoder = json.JSONDecoder(strict=False)
    end, left, best = 0, _OBJECTS, ""
    while left and (at := text.find("{", end)) >= 0:
        left -= 1
        try:
            data, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
            continue
        best = _best(data) or best
    return best


def untagged(text: str) -> str:
    """``text`` without tags at the ends of lines that wrap a file or a tool call's argument."""
    return _TAG.sub("\n", text)


def _read(body: str) -> object:
    """JSON, real newlines inside its strings allowed, or a Python literal; None for anything else."""
    try:
        return json.loads(body, strict=False)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None


def _best(data: object) -> str:
    """The last string with a finished file, else the longest with a model or edits; empty without any."""
    found = [text for text in _strings(data, 0) if MODEL.search(text) or "<<<<<" in text]
    whole = [text for text in found if finished(text) or any(finished(b.body) for b in blocks(text)[0])]
    return spoken(whole[-1] if whole else max(found, key=len, default=""))


def _strings(data: object, depth: int) -> Iterator[str]:
    if depth > 8:
        return
    if isinstance(data, str):
        inner = data.lstrip()
        if inner.startswith(("{", "[")) and not MODEL.search(data) and "ModelNew" in data:
            yield from _strings(_read(inner), depth + 1)
        yield data
    elif isinstance(data, (dict, list, tuple)):
        for value in data.values() if isinstance(data, dict) else data:
            yield from _strings(value, depth + 1)
