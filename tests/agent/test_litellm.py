"""The litellm client against a real HTTP server on this machine: retries, refusals, rubbish, and what is never shown."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from scripted import kernel, reference

from kernelwright.agent.llm import providers
from kernelwright.agent.llm.client import Client
from kernelwright.agent.llm.retry import Retry, call, wait
from kernelwright.agent.writers.litellm import Litellm
from kernelwright.agent.writers.writer import Assignment, Setup
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory.records import Context
from kernelwright.tasks.errors import WriterError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Idea, IdeaStage

KEY = "sk-secret-0123456789"
QUICK = Retry(tries=3, first=0.01, longest=0.5)


@dataclass
class Server:
    """Plays one list of (status, body, headers) after the other; the last is repeated."""

    url: str = ""
    script: list[tuple[int, Any, dict[str, str]]] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    authorization: list[str] = field(default_factory=list)


def said(content: str | None, finish: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 2000, "total_tokens": 3000},
    }


REFUSED = {"error": {"message": f"Incorrect API key provided: {KEY}", "type": "x", "code": "invalid_api_key"}}
BROKEN = {"error": {"message": "try later", "type": "x", "code": "y"}}


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802  the base class's name
            state.seen.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            state.authorization.append(self.headers.get("authorization", ""))
            status, body, headers = state.script.pop(0) if len(state.script) > 1 else state.script[0]
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", "content-length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            return None

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{web.server_port}"
    yield state
    web.shutdown()
    web.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def client(server: Server, model: str = "openai/gpt-4o-mini") -> Client:
    return Client(model, server.url, QUICK, timeout=10)


def test_an_answer_with_its_tokens_and_its_price(server: Server) -> None:
    server.script = [(200, said("hello"), {})]
    reply = client(server).ask("the prompt")
    assert (reply.text, reply.problem, reply.tokens_in, reply.tokens_out) == ("hello", "", 1000, 2000)
    assert reply.cost_usd is not None
    assert 0 < reply.cost_usd < 0.1
    assert server.seen[0]["messages"] == [{"role": "user", "content": "the prompt"}]
    assert server.authorization == [f"Bearer {KEY}"]


def test_an_unknown_price_is_none_not_zero(server: Server) -> None:
    server.script = [(200, said("hello"), {})]
    assert client(server, "openai/my-own-model").ask("p").cost_usd is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_are_tried_again_and_no_layer_below_multiplies_them(server: Server, status: int) -> None:
    server.script = [(status, BROKEN, {}), (status, BROKEN, {}), (200, said("at last"), {})]
    assert client(server).ask("p").text == "at last"
    assert len(server.seen) == 3
    server.script = [(status, BROKEN, {})]
    with pytest.raises(WriterError, match="did not answer in 3 tries"):
        client(server).ask("p")
    assert len(server.seen) == 6


def test_retry_after_is_waited_for(server: Server) -> None:
    server.script = [(429, BROKEN, {"Retry-After": "0.3"}), (200, said("ok"), {})]
    began = time.monotonic()
    client(server).ask("p")
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_the_variable_and_never_the_key(server: Server, status: int) -> None:
    server.script = [(status, REFUSED, {})]
    with pytest.raises(WriterError, match="key was refused") as raised:
        client(server).ask("p")
    assert "OPENAI_API_KEY" in raised.value.remedy
    assert KEY not in str(raised.value)
    assert len(server.seen) == 1


def test_other_refusals_show_no_key_either(server: Server) -> None:
    server.script = [(400, REFUSED, {})]
    with pytest.raises(WriterError) as raised:
        client(server).ask("p")
    assert KEY not in str(raised.value)


def test_a_model_that_is_not_there(server: Server) -> None:
    server.script = [(404, BROKEN, {})]
    with pytest.raises(WriterError, match="no such model"):
        client(server).ask("p")


@pytest.mark.parametrize("body", [said(None), said(""), said("  \n"), {**said(""), "choices": []}])
def test_nothing_is_an_empty_answer_that_says_so(server: Server, body: dict[str, Any]) -> None:
    server.script = [(200, body, {})]
    reply = client(server).ask("p")
    assert not reply.text.strip()
    assert "empty answer" in reply.problem


def test_the_writer_sends_the_prompt_and_reads_the_kernel(server: Server, tmp_path: Path) -> None:
    server.script = [(200, said(kernel("passed 1")), {}), (200, said("sorry", "length"), {})]
    task = load_task(reference(tmp_path))
    idea = Idea("run", task.name, 1, IdeaStage.DRAFT)
    assignment = Assignment(idea, task, "cpp", DeviceInfo("cpu", "a cpu"), Context())
    writer = Litellm(Setup("openai/gpt-4o-mini", tmp_path, "", server.url))
    answer = writer.write(assignment)
    assert answer.kernel is not None
    assert answer.prompt == server.seen[0]["messages"][0]["content"]
    assert "return x + 1" in answer.prompt
    assert (answer.model, answer.tokens_in, answer.tokens_out) == ("openai/gpt-4o-mini", 1000, 2000)
    cut = writer.write(assignment)
    assert cut.kernel is None
    assert "token limit" in cut.problem


def test_an_answer_cut_off_says_so(server: Server) -> None:
    server.script = [(200, said("half a ker", "length"), {})]
    assert "token limit" in client(server).ask("p").problem


def test_a_prompt_too_long_costs_one_attempt_not_the_run(server: Server) -> None:
    message = "This model's maximum context length is 9 tokens."
    body = {"error": {"message": message, "code": "context_length_exceeded", "type": "x"}}
    server.script = [(400, body, {})]
    reply = client(server).ask("p")
    assert "context window" in reply.problem


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(WriterError, match="did not answer in 2 tries") as raised:
        Client("openai/gpt-4o-mini", "http://127.0.0.1:9", Retry(tries=2, first=0.01), timeout=5).ask("p")
    assert "--api-base" in raised.value.remedy


def test_html_instead_of_an_answer(server: Server) -> None:
    server.script = [(200, "<html>proxy login</html>", {})]
    with pytest.raises(WriterError, match="did not answer"):
        client(server).ask("p")


def test_an_unknown_model_is_told_before_anything_is_sent() -> None:
    with pytest.raises(WriterError, match="unknown model 'nonsense'") as raised:
        Client("nonsense")
    assert "playbook" in raised.value.remedy


def test_a_missing_key_is_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(WriterError, match="no key for model openai/gpt-4o-mini") as raised:
        Client("openai/gpt-4o-mini")
    assert "OPENAI_API_KEY" in raised.value.remedy


def test_a_server_of_ones_own_needs_no_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.script = [(200, said("hello"), {})]
    assert client(server, "openai/local").ask("p").text == "hello"


def test_the_default_models_are_in_the_offline_price_map() -> None:
    known = Client("openai/gpt-4o-mini")._litellm.model_cost
    for provider in providers.PROVIDERS:
        assert provider.model in known or provider.model.split("/", 1)[1] in known, provider.model


def test_keys_present_by_name_only() -> None:
    found = providers.present({"ANTHROPIC_API_KEY": "x", "OPENAI_API_KEY": " ", "OTHER": "y"})
    assert [p.key for p in found] == ["ANTHROPIC_API_KEY"]


def test_backoff_grows_has_jitter_and_a_ceiling() -> None:
    retry = Retry(first=1.0, longest=8.0)
    for attempt, ceiling in ((1, 1), (2, 2), (3, 4), (4, 8), (9, 8)):
        waits = {wait(OSError(), attempt, retry) for _ in range(20)}
        assert all(ceiling / 2 <= w <= ceiling for w in waits)
        assert len(waits) > 1


def test_what_does_not_pass_is_not_tried_again() -> None:
    calls = []

    def work() -> None:
        calls.append(1)
        raise KeyError("no")

    with pytest.raises(KeyError):
        call(work, lambda error: isinstance(error, OSError), QUICK)
    assert len(calls) == 1
