"""Which library asks which model, with litellm and without; keys that are missing; models that nobody knows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from llm_clients import KEY
from llm_server import LlmServer, Say

from kernelwright.agent.llm import providers
from kernelwright.agent.llm.choice import transport_for
from kernelwright.agent.llm.client import Client
from kernelwright.agent.llm.options import ModelOptions
from kernelwright.agent.llm.via_litellm import ViaLitellm
from kernelwright.agent.llm.via_openai import ViaOpenAI
from kernelwright.tasks.errors import InputError, WriterError

OWN = "http://127.0.0.1:9/v1"


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with LlmServer(Say()) as server:
        yield server


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in providers.PROVIDERS:
        monkeypatch.setenv(provider.key, KEY)


@pytest.fixture
def without_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("model", [*(p.model for p in providers.PROVIDERS), "gpt-4o-mini", "claude-sonnet-4-5"])
def test_providers_are_asked_by_litellm(model: str) -> None:
    found = transport_for(model, None)
    assert isinstance(found, ViaLitellm)
    assert (found.name, found.key) == (model, next((p.key for p in providers.PROVIDERS if p.name == found.endpoint), None))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("mine", "mine"),
        ("openai/mine", "mine"),
        ("openai/a/b", "a/b"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("gpt-4o", "gpt-4o"),
    ],
)
def test_servers_of_ones_own_are_asked_by_openais_client_and_need_no_key(server: LlmServer, model: str, name: str) -> None:
    asked = Client(model, ModelOptions(api_base=server.url))
    assert isinstance(asked._transport, ViaOpenAI)
    assert asked.ask("p").text == "hello"
    assert (server.seen[0].body["model"], server.seen[0].path) == (name, "/v1/chat/completions")


@pytest.mark.parametrize("model", ["hosted_vllm/Qwen/Qwen3-8B", "lm_studio/mine"])
def test_a_provider_of_litellms_at_ones_own_address(server: LlmServer, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Client(model, ModelOptions(api_base=server.url))
    assert isinstance(asked._transport, ViaLitellm)
    assert asked.ask("p").text == "hello"
    monkeypatch.setenv(asked._transport.key, KEY)
    asked.ask("p")
    assert [KEY in seen.headers["authorization"] for seen in server.seen] == [False, True]


def test_a_server_of_ones_own_needs_no_litellm(server: LlmServer) -> None:
    """Not even an import of it: 2 s."""
    code = f"""
import sys
from kernelwright.agent.llm.client import Client
from kernelwright.agent.llm.options import ModelOptions
print(Client("openai/gpt-4o-mini", ModelOptions(api_base={server.url!r})).ask("p").cost_usd > 0, "litellm" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.usefixtures("without_litellm")
def test_without_litellm_openai_and_compatible_servers_are_left(server: LlmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    asked = Client("openai/gpt-4o-mini", ModelOptions(temperature=0.5))
    assert asked.ask("p").text == "hello"
    assert asked.ask("p").tries == 1
    sent = server.seen[0].body
    assert (sent["model"], "max_completion_tokens" in sent, "max_tokens" in sent) == ("gpt-4o-mini", True, False)
    assert Client("mine", ModelOptions(api_base=server.url)).ask("p").text == "hello"
    assert Client("Qwen/Qwen3", ModelOptions(api_base=server.url)).ask("p").text == "hello"


@pytest.mark.usefixtures("without_litellm", "keys")
def test_without_litellm_other_providers_say_what_is_missing() -> None:
    with pytest.raises(WriterError, match="needs litellm") as raised:
        Client("anthropic/claude-sonnet-4-5")
    assert "pip install litellm" in raised.value.remedy


def test_without_openais_client_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(WriterError, match="needs the package openai") as raised:
        Client("mine", ModelOptions(api_base=OWN))
    assert "pip install" in raised.value.remedy


def test_an_unknown_model_is_told_before_anything_is_sent() -> None:
    with pytest.raises(WriterError, match="unknown model 'nonsense'") as raised:
        Client("nonsense")
    assert "playbook" in raised.value.remedy
    assert "--api-base" in raised.value.remedy


@pytest.mark.parametrize("litellm", [True, False])
def test_a_missing_key_is_told_before_anything_is_sent(litellm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not litellm:
        monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(WriterError, match="no key for model openai/gpt-4o-mini") as raised:
        Client("openai/gpt-4o-mini")
    assert "OPENAI_API_KEY" in raised.value.remedy


@pytest.mark.parametrize(
    "address",
    ["http://user:secret@host/v1", "https://host/v1?api_key=abcdefgh", "https://host/v1?x&key=abcdefgh", "host:8000"],
)
def test_an_address_with_a_key_in_it_is_refused_since_it_would_be_kept(address: str) -> None:
    with pytest.raises(InputError) as raised:
        ModelOptions(api_base=address)
    assert "secret" not in str(raised.value)
    assert "abcdefgh" not in str(raised.value)


def test_keys_present_by_name_only() -> None:
    found = providers.present({"ANTHROPIC_API_KEY": "x", "OPENAI_API_KEY": " ", "OTHER": "y"})
    assert [p.key for p in found] == ["ANTHROPIC_API_KEY"]
