"""Which provider's key is in the environment, and which of its models is the default. Names only, never a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Provider:
    """A provider of language models."""

    name: str
    key: str
    """Environment variable that holds its key."""
    model: str
    """litellm model string used when none is named."""


PROVIDERS = (
    Provider("openai", "OPENAI_API_KEY", "openai/gpt-5"),
    Provider("anthropic", "ANTHROPIC_API_KEY", "anthropic/claude-sonnet-4-5"),
    Provider("gemini", "GEMINI_API_KEY", "gemini/gemini-2.5-pro"),
    Provider("deepseek", "DEEPSEEK_API_KEY", "deepseek/deepseek-chat"),
    Provider("mistral", "MISTRAL_API_KEY", "mistral/mistral-large-latest"),
    Provider("groq", "GROQ_API_KEY", "groq/openai/gpt-oss-120b"),
)


def present(environment: Mapping[str, str]) -> tuple[Provider, ...]:
    """The providers whose key is set, in the table's order."""
    return tuple(p for p in PROVIDERS if environment.get(p.key, "").strip())
