"""What a model said, and what it costs at most."""

from __future__ import annotations

from dataclasses import dataclass

from kernelwright.agent.llm.listen import Heard
from kernelwright.agent.llm.prices import Model
from kernelwright.agent.llm.tokens import ample
from kernelwright.agent.llm.transport import Usage


@dataclass(frozen=True)
class Reply:
    """What a model said. ``problem`` says why ``text`` is empty or not whole. Tokens and cost are those of all tries."""

    text: str
    problem: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    """Thoughts included, as providers bill them."""
    tokens_cached: int = 0
    """Of ``tokens_in``, those read from the provider's cache."""
    tokens_reasoning: int = 0
    """Of ``tokens_out``, those of thoughts."""
    estimated: bool = False
    """Some of the tokens are our own ample estimate: a try broke off, or the provider reported no usage."""
    cost_usd: float | None = None
    """None when the price is unknown."""
    seconds: float = 0.0
    """Waits and further tries included."""
    tries: int = 1


@dataclass(frozen=True)
class Bound:
    """The most that one try of a call can come to."""

    tokens: int
    usd: float | None
    """None when the price is unknown."""


class Bill:
    """What the tries of one call were or may have been billed."""

    def __init__(self, model: Model, prompt: str) -> None:
        self._model, self._prompt = model, prompt
        self._usages: list[Usage] = []
        self._estimated = False

    def add(self, heard: Heard) -> None:
        """A try that the provider took, ended or not. What it reported counts, else an ample estimate of what was heard."""
        usage = heard.usage
        if usage is None:
            self._estimated = True
            thoughts = ample(heard.thoughts)
            tokens_out = max(heard.pieces, thoughts + ample(heard.text) + ample(heard.refusal))
            usage = Usage(ample(self._prompt) + MARKS, tokens_out, tokens_reasoning=thoughts)
        self._usages.append(usage)

    def reply(self, text: str, problem: str, seconds: float, tries: int) -> Reply:
        """The answer with what all tries came to."""
        costs = [self._model.cost(usage) for usage in self._usages]
        known = [cost for cost in costs if cost is not None]
        # Tries that came to nothing cost nothing, whatever the price is.
        cost = sum(known, 0.0) if len(known) == len(costs) and (known or self._model.rates) else None
        return Reply(
            text,
            problem,
            sum(u.tokens_in for u in self._usages),
            sum(u.tokens_out for u in self._usages),
            sum(u.tokens_cached for u in self._usages),
            sum(u.tokens_reasoning for u in self._usages),
            self._estimated,
            cost,
            seconds,
            tries,
        )

    @property
    def empty(self) -> bool:
        """Nothing is to be paid so far."""
        return not self._usages


MARKS = 64
"""Tokens that a provider may put around a message."""
