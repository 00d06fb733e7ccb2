"""What is asked of a model beside the prompt: given where it takes it, left out where not, and learned from refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from llm_clients import KEY, WAYS, client
from llm_server import Fault, LlmServer, Say

from kernelwright.agent.llm.client import Client
from kernelwright.agent.llm.options import ModelOptions
from kernelwright.tasks.errors import WriterError

both = pytest.mark.parametrize("way", WAYS)
ALL: dict[str, Any] = {"temperature": 0.3, "reasoning_effort": "low", "answer_tokens": 700}


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with LlmServer(Say()) as server:
        yield server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, KEY)


def test_all_of_it_is_sent_to_a_server_of_ones_own(server: LlmServer) -> None:
    asked = client(server, model="mine", **ALL)
    asked.ask("p", 7)
    sent = server.seen[0].body
    assert sent == asked.body("p", 7)
    assert json.loads(json.dumps(sent)) == {
        "model": "mine",
        "messages": [{"role": "user", "content": "p"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 700,
        "temperature": 0.3,
        "reasoning_effort": "low",
        "seed": 7,
    }


@both
def test_nothing_is_sent_that_nobody_asked_for_but_a_limit(server: LlmServer, way: str) -> None:
    client(server, way, "openai/mine").ask("p")
    assert set(server.seen[0].body) == {"model", "messages", "stream", "stream_options", "max_tokens"}
    assert server.seen[0].body["max_tokens"] == 16_384


@pytest.mark.parametrize(
    ("model", "given", "left_out"),
    [
        ("anthropic/claude-sonnet-4-5", {"temperature", "reasoning_effort"}, {"seed"}),
        ("openai/gpt-4o", {"temperature", "seed"}, {"reasoning_effort"}),
        ("openai/gpt-5", {"reasoning_effort", "seed"}, {"temperature"}),
        ("openai/o3", {"reasoning_effort", "seed"}, {"temperature"}),
        ("gemini/gemini-2.5-pro", {"temperature", "reasoning_effort", "seed"}, set()),
    ],
)
def test_what_a_providers_model_does_not_take_is_left_out(model: str, given: set[str], left_out: set[str]) -> None:
    body = Client(model, ModelOptions(**ALL)).body("p", 7)
    assert given <= set(body)
    assert not left_out & set(body)
    assert 700 in (body.get("max_tokens"), body.get("max_completion_tokens"))


OBJECTIONS = {
    "seed": Fault(400, "Unrecognized request argument supplied: seed"),
    "temperature": Fault(400, "Unsupported value: 'temperature' does not support 0.3 with this model.", None, "temperature"),
    "stream_options": Fault(422, "body.stream_options: Extra inputs are not permitted"),
    "reasoning_effort": Fault(400, "[{'type': 'extra_forbidden', 'loc': ('body', 'reasoning_effort'), 'input': 'low'}]"),
}


@pytest.mark.parametrize("name", OBJECTIONS)
def test_what_a_server_refuses_is_left_out_for_good_and_is_no_try(server: LlmServer, name: str) -> None:
    server.script = [OBJECTIONS[name], Say("one"), Say("two")]
    asked = client(server, model="mine", **ALL)
    before = asked.body("p", 7)
    reply = asked.ask("p", 7)
    assert (reply.text, reply.tries) == ("one", 1)
    assert asked.ask("q", 8).text == "two"
    first, second, third = (set(seen.body) for seen in server.seen)
    assert first - second == {name}
    assert second == third
    assert asked.body("p", 7) == before, "the same request has the same body, whatever was learned since: it is known by it"


def test_several_objections_one_after_the_other(server: LlmServer) -> None:
    server.script = [*OBJECTIONS.values(), Say("one")]
    reply = client(server, model="mine", **ALL).ask("p", 7)
    assert (reply.text, reply.tries, reply.estimated) == ("one", 1, True)
    assert set(server.seen[-1].body) == {"model", "messages", "stream", "max_tokens"}


def test_a_refusal_about_something_else_teaches_nothing(server: LlmServer) -> None:
    server.script = [Fault(400, "messages are wrong"), Say()]
    asked = client(server, model="mine", **ALL)
    with pytest.raises(WriterError, match="messages are wrong"):
        asked.ask("p", 7)
    asked.ask("p", 7)
    assert server.seen[0].body == server.seen[1].body


def test_what_did_not_help_is_not_learned(server: LlmServer) -> None:
    server.script = [Fault(400, "seed and everything else is wrong"), Fault(400, "everything is wrong"), Say()]
    asked = client(server, model="mine")
    with pytest.raises(WriterError):
        asked.ask("p", 7)
    asked.ask("p", 7)
    assert server.seen[-1].body["seed"] == 7


def test_a_server_that_objects_for_ever_ends(server: LlmServer) -> None:
    server.script = [lambda seen: Fault(400, f"max_tokens {seen.body['max_tokens']} is too large")]
    with pytest.raises(WriterError, match="too large|objects"):
        client(server, model="mine").ask("p")
    assert len(server.seen) <= 9


@both
def test_the_other_name_of_the_limit(server: LlmServer, way: str) -> None:
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    server.script = [Fault(400, words, "unsupported_parameter", "max_tokens"), Say("one")]
    asked = client(server, way, "openai/mine", answer_tokens=700)
    assert [asked.ask("p").tries, asked.ask("p").tries] == [1, 1]
    assert [(s.body.get("max_tokens"), s.body.get("max_completion_tokens")) for s in server.seen] == [
        (700, None),
        (None, 700),
        (None, 700),
    ]


TOO_LONG = {
    "openai": ("max_tokens is too large: 16384. This model supports at most 4096 completion tokens.", 4096, True),
    "anthropic": ("max_tokens: 16384 > 8192, which is the maximum allowed number of output tokens", 8192, True),
    "no figure": ("max_tokens is too large", 8192, True),
    "vllm": (
        "'max_tokens' or 'max_completion_tokens' is too large: 16384. This model's maximum context length is 8192 tokens "
        "and your request has 500 input tokens (16384 > 8192 - 500).",
        7692,
        False,
    ),
    "older vllm": (
        "This model's maximum context length is 8192 tokens. However, you requested 16884 tokens "
        "(500 in the messages, 16384 in the completion).",
        7692,
        False,
    ),
}


@pytest.mark.parametrize("who", TOO_LONG)
def test_an_answer_longer_than_the_model_can_give_is_asked_for_shorter(server: LlmServer, who: str) -> None:
    words, fitting, for_good = TOO_LONG[who]
    server.script = [Fault(400, words), Say("one"), Say("two")]
    asked = client(server, model="mine")
    assert asked.ask("p").tries == 1
    asked.ask("a shorter prompt has more room")
    assert [s.body["max_tokens"] for s in server.seen] == [16_384, fitting, fitting if for_good else 16_384]


def test_a_limit_too_low_to_think_in_is_told_and_not_lowered(server: LlmServer) -> None:
    server.script = [Fault(400, "`max_tokens` must be greater than `thinking.budget_tokens`")]
    with pytest.raises(WriterError, match="must be greater"):
        client(server, model="mine", answer_tokens=700).ask("p")
    assert {s.body.get("max_tokens") or s.body["max_completion_tokens"] for s in server.seen} == {700}


def test_a_prompt_that_leaves_no_room_for_an_answer_is_too_long(server: LlmServer) -> None:
    words = "This model's maximum context length is 512 tokens, your request has 500 input tokens"
    server.script = [Fault(400, words)]
    assert "context window" in client(server, model="mine").ask("p").problem
    assert len(server.seen) == 1


def test_a_model_that_cannot_stream_is_asked_for_all_at_once(server: LlmServer) -> None:
    server.script = [
        Fault(400, "Unsupported value: 'stream' does not support true with this model.", None, "stream"),
        Say("one"),
    ]
    asked = client(server, model="mine")
    assert asked.ask("p").text == "one"
    assert set(server.seen[1].body) == {"model", "messages", "max_tokens"}
    assert asked.ask("p").text == "one"
    assert len(server.seen) == 3
