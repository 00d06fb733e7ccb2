"""How a language model is called and what a run may spend; part of a run's configuration, so kept in its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kernelwright.agent.llm.scrub import scrub
from kernelwright.tasks.errors import InputError

EFFORTS = ("minimal", "low", "medium", "high")


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    tokens_in: float
    tokens_out: float


@dataclass(frozen=True)
class ModelOptions:
    """What is asked of a provider; what a model does not take is left out of its requests."""

    api_base: str | None = None
    """Where the model is served, if not at its provider."""
    reasoning_effort: str | None = None
    """``minimal``, ``low``, ``medium``, ``high``; None: the model's own."""
    temperature: float | None = None
    """None: the model's own."""
    answer_tokens: int | None = None
    """Most tokens of one answer, thoughts included; None: the most that the model is known to give."""
    stall_seconds: float = 120.0
    """An answer of which nothing new came for so long is given up and asked for again; models that are known to think in
    silence have five times as long to begin."""
    call_seconds: float = 1800.0
    """A single answer may take so long at most."""
    tries: int = 5
    """Of one call, the first included."""
    requests_per_minute: float | None = None
    """A provider's limit, all models of the run together; None: as fast as answers are wanted."""
    concurrency: int = 8
    """Calls in flight a provider."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """Model string -> price, before any table's; ``*`` for every model that is not named."""

    def __post_init__(self) -> None:
        if self.reasoning_effort is not None and self.reasoning_effort not in EFFORTS:
            raise InputError(f"--reasoning-effort is {self.reasoning_effort!r}", f"give one of {', '.join(EFFORTS)}")
        if self.api_base is not None:
            _check_address(self.api_base)
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise InputError(f"--temperature is {self.temperature}", "give a number from 0 to 2")
        above = {
            "answer-tokens": self.answer_tokens,
            "stall-seconds": self.stall_seconds,
            "requests-per-minute": self.requests_per_minute,
            "concurrency": self.concurrency,
        }
        for name, value in above.items():
            if value is not None and not value > 0:
                raise InputError(f"--{name} is {value}", "give a number above 0")


def _check_address(address: str) -> None:
    """Addresses are kept with the run and shown: no key may be in one."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"--api-base is {scrub(address)!r}", "give a whole address, such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query:
        remedy = "give the key in OPENAI_API_KEY, and the address without it"
        raise InputError("--api-base holds a user, a password or a query, and would be kept and shown", remedy)


@dataclass(frozen=True)
class Limits:
    """What a whole run may spend beside its attempts, calls in flight counted in. None: no limit."""

    usd: float | None = None
    tokens: int | None = None
    """In and out together, over all calls."""
    seconds: float | None = None
    """Wall time of the run, over all the processes that worked on it."""
    task_usd: float | None = None
    """US dollars a task: once they are spent, no further attempt at it is begun. Those in flight may go beyond."""

    def __post_init__(self) -> None:
        given = {"max-usd": self.usd, "max-tokens": self.tokens, "max-seconds": self.seconds, "task-usd": self.task_usd}
        for name, value in given.items():
            if value is not None and not value > 0:
                raise InputError(f"--{name} is {value}", "give a number above 0")


def parse_prices(given: Sequence[str]) -> dict[str, Price]:
    """``--price [MODEL=]IN,OUT`` as a mapping; without a model the price is that of every model not named.

    Raises:
        InputError: a text of another form, or a price below 0.
    """
    prices: dict[str, Price] = {}
    for text in given:
        model, _, figures = text.rpartition("=")
        parts = figures.split(",")
        try:
            price = Price(float(parts[0]), float(parts[1]))
        except (ValueError, IndexError):
            price = None
        if price is None or len(parts) != 2 or min(price.tokens_in, price.tokens_out) < 0:
            raise InputError(f"--price is {text!r}", "give US dollars for a million tokens, such as provider/model=1.25,10")
        prices[model or "*"] = price
    return prices
