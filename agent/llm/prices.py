"""What tokens cost: the prices that a person gave, else litellm's table as it is on disk. Never the network, never a guess."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kernelwright.agent.llm.options import ModelOptions, Price
from kernelwright.agent.llm.transport import Usage

TABLE = "model_prices_and_context_window_backup.json"
_TIER = re.compile(r"(?:input|output)_cost_per_token_above_(\d+)k_tokens")


@dataclass(frozen=True)
class Rate:
    """US dollars for one token."""

    tokens_in: float
    tokens_out: float
    tokens_cached: float
    above: int = 0
    """Holds for prompts of more tokens than this."""


@dataclass(frozen=True)
class Model:
    """What is known of a model without asking anybody."""

    rates: tuple[Rate, ...] = ()
    """By rising ``above``; empty when the price is unknown."""
    most_out: int | None = None
    """Most tokens of one answer."""
    most_in: int | None = None
    """Most tokens of a prompt, or of prompt and answer together."""
    thinks: bool = False

    def cost(self, usage: Usage) -> float | None:
        """US dollars of an answer; what the provider itself says where no price is known; None where it says nothing."""
        if not self.rates:
            return usage.cost_usd
        rate = [r for r in self.rates if usage.tokens_in > r.above or not r.above][-1]
        cached = min(usage.tokens_cached, usage.tokens_in)
        return (usage.tokens_in - cached) * rate.tokens_in + cached * rate.tokens_cached + usage.tokens_out * rate.tokens_out

    def most(self, tokens_in: int, tokens_out: int) -> float | None:
        """US dollars of at most so many tokens, nothing cached, at the highest rate that may hold; None: unknown."""
        may_hold = [r for r in self.rates if tokens_in > r.above or not r.above]
        costs = [tokens_in * max(r.tokens_in, r.tokens_cached) + tokens_out * r.tokens_out for r in may_hold]
        return max(costs, default=None)


def known(model: str, options: ModelOptions, *, listed: bool = True) -> Model:
    """What is known of ``model``: its price from the options, else from the table if it is ``listed``, the rest from there."""
    entry = _entry(model) if listed else {}
    given = options.prices.get(model) or options.prices.get("*")
    return Model(
        _given(given) if given is not None else _listed(entry),
        _whole(entry.get("max_output_tokens")),
        _whole(entry.get("max_input_tokens")),
        entry.get("supports_reasoning") is True,
    )


def _given(price: Price) -> tuple[Rate, ...]:
    return (Rate(price.tokens_in / 1e6, price.tokens_out / 1e6, price.tokens_in / 1e6),)


def _listed(entry: Mapping[str, Any]) -> tuple[Rate, ...]:
    """Rates of a table's entry. One that names no price for either way is no price, even if litellm takes it for 0."""
    base = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    if not all(isinstance(cost, (int, float)) for cost in base):
        return ()
    tiers = sorted({int(found[1]) for name in entry if (found := _TIER.fullmatch(name))})
    return (_rate(entry, ""), *(_rate(entry, f"_above_{tier}k_tokens", tier * 1000) for tier in tiers))


def _rate(entry: Mapping[str, Any], tier: str, above: int = 0) -> Rate:
    def cost(name: str, default: float) -> float:
        found = entry.get(name + tier, entry.get(name))
        return float(found) if isinstance(found, (int, float)) else default

    tokens_in = cost("input_cost_per_token", 0.0)
    # Where thoughts have a price of their own, the higher one holds for all output: it never counts too little.
    tokens_out = max(cost("output_cost_per_token", 0.0), cost("output_cost_per_reasoning_token", 0.0))
    return Rate(tokens_in, tokens_out, cost("cache_read_input_token_cost", tokens_in), above)


def _entry(model: str) -> Mapping[str, Any]:
    """The table's entry: by the whole name, else by the name without the provider where the entry is that provider's."""
    table = _table()
    if model in table:
        return table[model]
    provider, _, name = model.partition("/")
    entry = table.get(name, {})
    return entry if name and str(entry.get("litellm_provider", "")).startswith(provider) else {}


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    """litellm's table, read without importing litellm; empty where it is not installed."""
    try:
        spec = find_spec("litellm")
    except ValueError:
        return {}
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / TABLE
        if path.is_file():
            table: Mapping[str, Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
            return table
    return {}


def _whole(value: object) -> int | None:
    try:
        return int(value) if isinstance(value, (int, float, str)) and int(value) > 0 else None
    except ValueError:
        return None
