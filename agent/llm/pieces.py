"""Chat completions as they come, whole or in chunks, read with tolerance: servers differ in what they leave out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernelwright.agent.llm.transport import Piece, Usage


def piece_of(chunk: Mapping[str, Any]) -> Piece:
    """A chunk of a stream or a whole completion, as plain dictionaries. What is not of the expected form is left out."""
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
    said = choice.get("delta") or choice.get("message") or {}
    if not isinstance(said, Mapping):
        said = {}
    text, thoughts = _parts(said.get("content"))
    for name in ("reasoning_content", "reasoning"):
        if isinstance(said.get(name), str):
            thoughts += said[name]
            break
    refusal = said.get("refusal")
    return Piece(
        text,
        thoughts,
        refusal if isinstance(refusal, str) else "",
        str(choice.get("finish_reason") or ""),
        usage_of(chunk.get("usage")),
    )


def usage_of(usage: object) -> Usage | None:
    """The provider's own count; None where there is none. Thoughts count as output even where they are listed apart."""
    if not isinstance(usage, Mapping):
        return None
    tokens_in, tokens_out, total = (_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    if not tokens_in and not tokens_out:
        return None
    before, after = (_mapping(usage.get(name)) for name in ("prompt_tokens_details", "completion_tokens_details"))
    cost = usage.get("cost")
    return Usage(
        tokens_in,
        max(tokens_out, total - tokens_in),
        _count(before.get("cached_tokens")) or _count(usage.get("prompt_cache_hit_tokens")),
        _count(after.get("reasoning_tokens")),
        float(cost) if isinstance(cost, (int, float)) and not isinstance(cost, bool) else None,
    )


def _parts(content: object) -> tuple[str, str]:
    """Text and thoughts of a message's content: a text, or a list of typed parts."""
    if isinstance(content, str):
        return content, ""
    text, thoughts = "", ""
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            text += part
        elif isinstance(part, Mapping):
            if isinstance(part.get("text"), str) and part.get("type", "text") in ("text", "output_text"):
                text += part["text"]
            elif part.get("type") in ("thinking", "reasoning"):
                within = part.get("thinking") or part.get("text") or ""
                thoughts += within if isinstance(within, str) else _parts(within)[0]
    return text, thoughts


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
