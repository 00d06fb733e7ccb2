"""What a server's refusals teach: which parameters it does not take, what it calls them, how long an answer may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kernelwright.agent.llm.failures import Failure

LIMITS = ("max_tokens", "max_completion_tokens")
"""The two names of the most tokens of an answer."""
OPTIONAL = ("stream_options", "seed", "reasoning_effort", "temperature", "stream")
"""What an answer can do without."""
LEAST_ANSWER = 64
"""Tokens; a server with less room than this has no room."""

_TOO_LARGE = re.compile(r"(?i)too (large|long|high|big|many)|maximum|at most|exceed|less than|no more than|> \d")
_MOST = re.compile(r"(?i)(?:at most|less than or equal to|no more than|<=|> ?)\s*(\d+)(?! tokens? \()")
_CONTEXT = re.compile(r"(?i)context (?:length|window|size)\D{0,20}(\d+)")
_PROMPT = re.compile(
    r"(?i)(\d+)\s+(?:input tokens|tokens? (?:from|in) the (?:input|messages|prompt)|in (?:the|your) (?:messages|prompt|input))"
)


@dataclass(frozen=True)
class Taught:
    """Changes to a request's body; empty at first."""

    left_out: frozenset[str] = frozenset()
    limit: str = ""
    """The name that the server has for the most tokens of an answer."""
    most: int | None = None
    """Tokens of an answer that it gives at most."""
    room: int | None = None
    """Tokens that its context leaves for an answer to this one prompt."""

    def applied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body with what was learned."""
        changed = {name: value for name, value in body.items() if name not in self.left_out}
        for name in LIMITS:
            if name in changed:
                tokens = changed.pop(name)
                changed[self.limit or name] = min(t for t in (tokens, self.most, self.room) if t is not None)
                break
        return changed

    def after(self, failure: Failure, sent: Mapping[str, Any]) -> Taught | None:
        """What is to be changed after a refusal of ``sent``; None where it was about something else."""
        if failure.status not in (400, 422):
            return None
        limit = next((name for name in LIMITS if name in sent), "")
        if limit:
            changed = self._limited(failure, limit, sent[limit])
            if changed is not None:
                return changed
        named = self._named(failure, sent)
        if named == "stream":
            return replace(self, left_out=self.left_out | {"stream", "stream_options"})
        return replace(self, left_out=self.left_out | {named}) if named else None

    def kept(self) -> Taught:
        """What holds for other prompts, too."""
        return replace(self, room=None)

    def _limited(self, failure: Failure, limit: str, asked: int) -> Taught | None:
        words = failure.message
        about = failure.parameter == limit or bool(re.search(rf"\b{limit}\b", words))
        context, prompt = _CONTEXT.search(words), _PROMPT.search(words)
        if context and prompt:
            room = int(context[1]) - int(prompt[1])
            return replace(self, room=room) if LEAST_ANSWER <= room < asked else None
        if not about:
            return None
        if _TOO_LARGE.search(words):
            fitting = [int(n) for n in _MOST.findall(words) if LEAST_ANSWER <= int(n) < asked]
            most = min(fitting, default=asked // 2)
            return replace(self, most=most) if most >= LEAST_ANSWER else None
        other = LIMITS[1 - LIMITS.index(limit)]
        return None if self.limit else replace(self, limit=other)

    def _named(self, failure: Failure, sent: Mapping[str, Any]) -> str:
        """The optional parameter that the refusal names first."""
        present = [name for name in OPTIONAL if name in sent]
        if failure.parameter in present:
            return failure.parameter
        words = failure.message
        at = {name: found.start() for name in present if (found := re.search(_name(name), words))}
        return min(at, key=lambda name: at[name], default="")


def _name(parameter: str) -> str:
    """A parameter where it is meant: ``stream`` alone is also a word."""
    return r"(?i)['\"`]stream['\"`]|streaming is not|not support streaming" if parameter == "stream" else rf"\b{parameter}\b"
