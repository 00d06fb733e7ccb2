"""Clients of a scripted server, by both ways that a request can take."""

from __future__ import annotations

from typing import Any, Protocol

import pytest
from llm_server import LlmServer, Say

from kernelwright.agent.llm.client import Client
from kernelwright.agent.llm.options import ModelOptions
from kernelwright.agent.llm.retry import Retry
from kernelwright.agent.llm.transport import Transport
from kernelwright.agent.llm.via_litellm import ViaLitellm
from kernelwright.agent.llm.via_openai import ViaOpenAI

KEY = "own-secret-0123456789"
MODEL = "openai/gpt-4o-mini"
QUICK = Retry(tries=3, first=0.01, longest=0.5)
WAYS = ("openai", "litellm")


class Served(Protocol):
    """Something with an address."""

    @property
    def url(self) -> str: ...


def client(server: Served, way: str = "openai", model: str = MODEL, retry: Retry = QUICK, **options: Any) -> Client:
    """A client of ``server``; litellm would leave a model of this name at this address to OpenAI's own client."""
    given = ModelOptions(**{"api_base": server.url, **options})
    return Client(model, given, transport=transport(way, model, given.api_base), retry=retry)


def transport(way: str, model: str, api_base: str | None) -> Transport:
    if way == "litellm":
        return ViaLitellm(model, api_base)
    return ViaOpenAI(model.removeprefix("openai/"), api_base)


@pytest.fixture(scope="session")
def warm() -> None:
    """The first call of each library takes a second; tests of timing do not want to wait for it."""
    with pytest.MonkeyPatch.context() as patch, LlmServer(Say()) as server:
        patch.setenv("OPENAI_API_KEY", KEY)
        for way in WAYS:
            client(server, way).ask("p")
