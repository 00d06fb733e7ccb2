"""Prices and bounds: given, else from the table on disk, else unknown; and a bound that no answer goes beyond."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from kernelwright.agent.llm import prices, providers
from kernelwright.agent.llm.client import Client
from kernelwright.agent.llm.options import ModelOptions, Price
from kernelwright.agent.llm.prices import known
from kernelwright.agent.llm.tokens import ample, estimate, upper
from kernelwright.agent.llm.transport import Usage

OWN = "http://127.0.0.1:9/v1"
PLAIN = ModelOptions()


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A table of our own."""
    table: dict[str, Any] = {}
    monkeypatch.setattr(prices, "_table", lambda: table)
    return table


def test_the_default_models_have_a_price_in_the_table_on_disk() -> None:
    for provider in providers.PROVIDERS:
        assert known(provider.model, PLAIN).rates, provider.model


def test_a_price_that_was_given_comes_before_any_table() -> None:
    options = ModelOptions(prices={"openai/gpt-4o-mini": Price(1, 2), "*": Price(3, 4)})
    usage = Usage(1_000_000, 1_000_000, tokens_cached=500_000)
    assert known("openai/gpt-4o-mini", options).cost(usage) == pytest.approx(3)
    assert known("openai/gpt-4o", options).cost(usage) == pytest.approx(7)
    assert known("somebody/something", options).cost(usage) == pytest.approx(7)
    assert known("openai/gpt-4o-mini", PLAIN).cost(usage) == pytest.approx(0.5 * 0.15 + 0.5 * 0.075 + 0.6)


def test_a_price_of_nothing_is_a_price() -> None:
    options = ModelOptions(prices={"*": Price(0, 0)})
    assert known("mine", options).cost(Usage(10, 10)) == 0
    assert known("mine", options).rates


def test_unknown_is_none_unless_the_provider_says_what_it_costs() -> None:
    model = known("openrouter/some/unlisted-model", PLAIN)
    assert not model.rates
    assert (model.cost(Usage(10, 10)), model.cost(Usage(10, 10, cost_usd=0.5)), model.most(10, 10)) == (None, 0.5, None)


def test_an_entry_without_a_price_is_unknown_and_not_free(table: dict[str, Any]) -> None:
    table["a/b"] = {"litellm_provider": "a", "max_output_tokens": 99, "output_cost_per_token": 1e-6}
    assert (known("a/b", PLAIN).rates, known("a/b", PLAIN).most_out) == ((), 99)


def test_a_model_of_another_provider_has_another_price(table: dict[str, Any]) -> None:
    table["b"] = {"litellm_provider": "vertex_ai-models", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}
    assert known("vertex_ai/b", PLAIN).rates
    assert not known("groq/b", PLAIN).rates


def test_long_prompts_may_cost_more_a_token(table: dict[str, Any]) -> None:
    table["a/b"] = {
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 10e-6,
        "output_cost_per_reasoning_token": 12e-6,
        "input_cost_per_token_above_200k_tokens": 2e-6,
        "output_cost_per_token_above_200k_tokens": 20e-6,
        "cache_read_input_token_cost": 0.1e-6,
    }
    model = known("a/b", PLAIN)
    assert model.cost(Usage(200_000, 1000, 100_000)) == pytest.approx(0.1 + 0.01 + 0.012)
    assert model.cost(Usage(200_001, 1000)) == pytest.approx(0.400002 + 0.02)
    assert model.most(1000, 1000) == pytest.approx(0.001 + 0.012)
    assert model.most(300_000, 1000) == pytest.approx(0.6 + 0.02)


def test_a_server_of_ones_own_may_call_its_model_what_it_likes() -> None:
    assert not Client("gpt-4o-mini", ModelOptions(api_base=OWN)).priced
    assert Client("openai/gpt-4o-mini", ModelOptions(api_base=OWN)).priced
    assert Client("gpt-4o-mini", ModelOptions(api_base=OWN, prices={"gpt-4o-mini": Price(1, 1)})).priced


def test_no_table_means_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "find_spec", lambda name: None)
    prices._table.cache_clear()
    try:
        assert not known("openai/gpt-4o-mini", PLAIN).rates
    finally:
        monkeypatch.undo()
        prices._table.cache_clear()


def test_the_bound_is_all_that_one_try_can_come_to() -> None:
    options = ModelOptions(api_base=OWN, answer_tokens=1000, prices={"*": Price(1, 10)})
    asked = Client("mine", options)
    prompt = "日本語 \x00 text" * 50
    bound = asked.bound(prompt)
    assert len(prompt.encode()) + 1000 < bound.tokens < len(prompt.encode()) + 1400
    assert bound.usd == pytest.approx((bound.tokens - 1000) / 1e6 + 0.01)
    assert asked.body(prompt)["max_tokens"] == 1000


def test_the_longest_answer_is_the_models_and_leaves_room_for_the_prompt(table: dict[str, Any]) -> None:
    table["openai/a"] = {"max_output_tokens": 5000, "max_input_tokens": 8000}
    asked = Client("openai/a", ModelOptions(api_base=OWN))
    assert asked.body("x")["max_tokens"] == 5000
    assert 3000 < asked.body("x" * 4000)["max_tokens"] < 4000
    assert asked.bound("x" * 4000).tokens <= 8000


@pytest.mark.parametrize("encoding", ["cl100k_base", "o200k_base", "p50k_base"])
def test_no_text_has_more_tokens_than_the_upper_bound(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiktoken, litellm = pytest.importorskip("tiktoken"), importlib.util.find_spec("litellm")
    assert litellm is not None
    assert litellm.origin is not None
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers"))
    encode = tiktoken.get_encoding(encoding).encode
    ours = [
        Path(__file__).read_text(encoding="utf-8"),
        Path(prices.__file__).read_text(encoding="utf-8"),
        json.dumps(list(range(99))),
    ]
    for text in ours:
        assert estimate(text) < len(encode(text)) * 1.5
        assert len(encode(text)) <= ample(text) <= upper(text)
    for text in ("", "\x00\ufffd", "🙂" * 9, "日本語のテキスト", " " * 99, "\t\n" * 50, "żółć", "ꙮ", "a" * 999, "\ud800"):
        assert len(encode(text.encode("utf-8", "replace").decode())) <= upper(text)
