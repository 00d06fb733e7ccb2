"""The client against real HTTP: answers, retries, refusals, rubbish, and a bill that holds all tries; by both libraries."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from llm_clients import KEY, MODEL, WAYS, client
from llm_server import Fault, Hangup, LlmServer, Raw, Say

from kernelwright.agent.llm.client import Client, Reply, Unanswered
from kernelwright.agent.llm.options import ModelOptions
from kernelwright.agent.llm.retry import Retry
from kernelwright.tasks.errors import WriterError

both = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with LlmServer(Say()) as server:
        yield server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@both
def test_an_answer_with_its_tokens_and_its_price(server: LlmServer, way: str) -> None:
    text = "hällo <s> world </s>\n<|im_end|>\r\n\t日本"
    server.script = [Say(text, usage=(1000, 2000, 400, 300), thoughts="let me see")]
    reply = client(server, way).ask("the prompt")
    assert (reply.text, reply.problem, reply.tries, reply.estimated) == (text, "", 1, False)
    assert (reply.tokens_in, reply.tokens_out, reply.tokens_cached, reply.tokens_reasoning) == (1000, 2000, 400, 300)
    assert reply.cost_usd == pytest.approx((600 * 0.15 + 400 * 0.075 + 2000 * 0.6) / 1e6)
    assert server.seen[0].body["messages"] == [{"role": "user", "content": "the prompt"}]
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"


@both
def test_an_unknown_price_is_none_not_zero(server: LlmServer, way: str) -> None:
    asked = client(server, way, "openai/my-own-model")
    assert not asked.priced
    assert asked.bound("p").usd is None
    assert asked.ask("p").cost_usd is None


@both
@pytest.mark.parametrize("line", [Fault(500), Fault(529), Fault(408), Hangup()], ids=str)
def test_passing_failures_are_tried_again_and_no_layer_below_multiplies_them(
    server: LlmServer, way: str, line: Fault | Hangup
) -> None:
    server.script = [line, line, Say("at last")]
    reply = client(server, way).ask("p")
    assert (reply.text, reply.tries) == ("at last", 3)
    assert len(server.seen) == 3
    server.script = [line]
    with pytest.raises(WriterError, match="did not answer in 3 tries") as raised:
        client(server, way).ask("p")
    assert raised.value.remedy
    assert len(server.seen) == 6


def test_too_many_requests_for_all_tries_has_a_remedy(server: LlmServer) -> None:
    server.script = [Fault(429, "slow down")]
    with pytest.raises(WriterError, match="did not answer in 2 tries: slow down") as raised:
        client(server, retry=Retry(tries=2, first=0.01)).ask("p")
    assert "--requests-per-minute" in raised.value.remedy


@both
@pytest.mark.parametrize("form", ["seconds", "milliseconds", "date"])
def test_retry_after_is_waited_for(server: LlmServer, way: str, form: str) -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2), usegmt=True)
    headers = {"seconds": {"Retry-After": "0.3"}, "milliseconds": {"retry-after-ms": "300"}, "date": {"Retry-After": soon}}
    server.script = [Fault(429, headers=headers[form]), Say()]
    client(server, way, retry=Retry(tries=2, first=0.01, longest=0.4)).ask("p")
    assert server.seen[1].at - server.seen[0].at >= 0.29


def test_waits_grow_have_jitter_and_a_ceiling() -> None:
    retry = Retry(first=1.0, longest=8.0)
    for attempt, ceiling in ((1, 1), (2, 2), (3, 4), (4, 8), (9, 8)):
        waits = {retry.wait(attempt) for _ in range(20)}
        assert all(ceiling / 2 <= w <= ceiling for w in waits)
        assert len(waits) > 1
    assert retry.wait(1, asked=3.0) == 3.0
    assert retry.wait(1, asked=3600.0) == 8.0


FATAL = {
    "key": (Fault(401, f"Incorrect API key provided: {KEY}", "invalid_api_key"), "key was refused", "OPENAI_API_KEY"),
    "key in words": (Fault(400, "API key not valid. Pass a valid one."), "key was refused", "OPENAI_API_KEY"),
    "forbidden": (Fault(403, "your country is not supported"), "access was refused", "provider"),
    "model": (Fault(404, "no such thing", "model_not_found"), "no such model", "--api-base"),
    "payment": (Fault(402), "wants to be paid", "credit"),
    "quota": (Fault(429, "You exceeded your current quota.", "insufficient_quota"), "wants to be paid", "credit"),
    "balance": (Fault(400, "Your credit balance is too low to access the API"), "wants to be paid", "credit"),
    "request": (Fault(400, f"messages is wrong, says {KEY}"), "messages is wrong", "options"),
}


@both
@pytest.mark.parametrize("what", FATAL)
def test_what_no_further_try_mends_stops_at_once_with_a_remedy_and_without_the_key(
    server: LlmServer, way: str, what: str
) -> None:
    line, message, remedy = FATAL[what]
    server.script = [line]
    with pytest.raises(WriterError, match=message) as raised:
        client(server, way).ask("p")
    assert remedy in raised.value.remedy
    assert len(server.seen) == 1
    assert KEY not in f"{raised.value} {raised.value!r}"
    assert raised.value.__suppress_context__, "a traceback would show the library's own error"
    assert isinstance(raised.value, Unanswered)
    assert raised.value.paid is None


TURNED_DOWN = {
    "context": (Fault(400, "This model's maximum context length is 9 tokens.", "context_length_exceeded"), "context window"),
    "context in words": (Fault(400, "prompt is too long: 213462 tokens > 199999"), "context window"),
    "too large": (Fault(413, "Request too large"), "context window"),
    "policy": (Fault(400, "The response was filtered by content management policy", "content_filter"), "content policy"),
    "moderation": (Fault(403, "Your input was flagged"), "content policy"),
}


@both
@pytest.mark.parametrize("what", TURNED_DOWN)
def test_one_prompt_that_is_turned_down_costs_an_attempt_not_the_run(server: LlmServer, way: str, what: str) -> None:
    line, problem = TURNED_DOWN[what]
    server.script = [line]
    reply = client(server, way).ask("p")
    assert problem in reply.problem
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.cost_usd) == ("", 0, 0, 0.0)
    assert len(server.seen) == 1


@both
def test_what_a_server_says_only_where_it_promised_no_stream(server: LlmServer, way: str) -> None:
    """llama-cpp-python's server ends an empty stream when the prompt is longer than the context."""
    long = Fault(400, "This model's maximum context length is 512 tokens.", "context_length_exceeded")
    server.script = [lambda seen: Say(cut=0, clean=True) if seen.body.get("stream") else long]
    reply = client(server, way).ask("p")
    assert (reply.text, reply.tries) == ("", 2)
    assert "longer than its context window" in reply.problem


@both
def test_too_many_tokens_a_minute_are_no_long_prompt(server: LlmServer, way: str) -> None:
    server.script = [Fault(429, "too many tokens per min (TPM) for this context length"), Say()]
    assert client(server, way).ask("p").text == "hello"


@both
@pytest.mark.parametrize("text", [None, "", "  \n"])
@pytest.mark.parametrize("streams", [True, False])
def test_nothing_is_an_empty_answer_that_says_so(server: LlmServer, way: str, text: str | None, streams: bool) -> None:
    server.script = [Say(text, streams=streams)]
    reply = client(server, way).ask("p")
    assert not reply.text.strip()
    assert "empty answer" in reply.problem


def test_no_choices_are_an_empty_answer(server: LlmServer) -> None:
    server.script = [Raw('{"choices": []}', "application/json")]
    assert "empty answer" in client(server).ask("p").problem


@both
def test_an_answer_cut_off_says_so_and_keeps_what_there_is(server: LlmServer, way: str) -> None:
    server.script = [Say("half a ker", finish="length"), Say("", thoughts="hmm", finish="length")]
    reply = client(server, way).ask("p")
    assert (reply.text, "token limit" in reply.problem) == ("half a ker", True)
    assert "before it said anything but thoughts" in client(server, way).ask("p").problem


def test_a_refusal_says_so(server: LlmServer) -> None:
    server.script = [Say("", refusal="I would rather not."), Say("some", finish="content_filter")]
    assert "refused: I would rather not." in client(server).ask("p").problem
    assert "content policy" in client(server).ask("p").problem


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}], "one two"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "two"}], "two"),
        (["one", {"type": "image_url"}, 7, None], "one"),
    ],
)
@pytest.mark.parametrize("streams", [True, False])
def test_content_in_parts(server: LlmServer, content: list[object], text: str, streams: bool) -> None:
    server.script = [Say(content, streams=streams)]
    assert client(server).ask("p").text == text


@both
@pytest.mark.parametrize("kind", ["text/html", "application/json"])
def test_rubbish_is_tried_again_and_then_told(server: LlmServer, way: str, kind: str) -> None:
    server.script = [Raw("<html>proxy login</html>", kind), Say("at last")]
    assert client(server, way).ask("p").text == "at last"
    server.script = [Raw("<html>proxy login</html>", kind)]
    with pytest.raises(WriterError, match="did not answer") as raised:
        client(server, way).ask("p")
    assert raised.value.remedy


def test_rubbish_is_shown_and_costs_nothing(server: LlmServer) -> None:
    server.script = [Raw("<html>proxy login</html>")]
    with pytest.raises(Unanswered, match=r"text/html.*proxy login") as raised:
        client(server).ask("p")
    assert "--api-base" in raised.value.remedy
    assert raised.value.paid is None


@pytest.mark.parametrize("body", ["[]", '"hello"', '{"text": "hello"}', "{"])
def test_json_that_is_no_completion_is_rubbish(server: LlmServer, body: str) -> None:
    server.script = [Raw(body, "application/json"), Say("at last")]
    assert client(server).ask("p").text == "at last"


class Nowhere:
    url = "http://127.0.0.1:9/v1"


@both
def test_a_server_that_is_not_there_costs_nothing(way: str) -> None:
    with pytest.raises(Unanswered, match="did not answer in 2 tries") as raised:
        client(Nowhere(), way, retry=Retry(tries=2, first=0.01)).ask("p")
    assert "--api-base" in raised.value.remedy
    assert raised.value.paid is None


@both
def test_all_tries_are_on_the_bill(server: LlmServer, way: str) -> None:
    """What broke off may have to be paid: amply estimated, and said so."""
    server.script = [Say("word " * 400, cut=202), Fault(500), Say("done", usage=(1000, 2000))]
    prompt = "write it " * 100
    reply = client(server, way).ask(prompt)
    assert (reply.text, reply.tries, reply.estimated) == ("done", 3, True)
    assert 1000 + 200 < reply.tokens_in < 1000 + 900
    assert 2000 + 250 < reply.tokens_out < 2000 + 1000
    assert reply.cost_usd == pytest.approx((reply.tokens_in * 0.15 + reply.tokens_out * 0.6) / 1e6)


@both
def test_no_answer_at_all_has_a_bill_too(server: LlmServer, way: str) -> None:
    server.script = [Say("word " * 100, cut=10)]
    with pytest.raises(Unanswered, match="did not answer in 3 tries") as raised:
        client(server, way).ask("p")
    paid = raised.value.paid
    assert paid is not None
    assert (paid.text, paid.tries, paid.estimated) == ("", 3, True)
    assert paid.tokens_in >= 3
    assert paid.tokens_out >= 3 * 9
    assert paid.cost_usd


@both
def test_a_usage_that_nobody_reported_is_an_estimate(server: LlmServer, way: str) -> None:
    server.script = [Say("def kernel(x):\n    return x * 2.0\n" * 20, usage=None)]
    reply = client(server, way).ask("p")
    assert reply.estimated
    assert 240 <= reply.tokens_out <= 500


def test_a_usage_reported_before_the_break_is_exact(server: LlmServer) -> None:
    usage = '{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}'
    server.script = [Say("abc" * 9, cut=2, extra=(f"data: {usage}", "")), Say(usage=(5, 6))]
    reply = client(server).ask("p")
    assert (reply.tokens_in, reply.tokens_out, reply.estimated) == (7 + 5, 3 + 6, False)


def test_thoughts_that_are_counted_apart_are_output(server: LlmServer) -> None:
    usage = '{"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 60}'
    body = f'{{"choices": [{{"message": {{"content": "x"}}, "finish_reason": "stop"}}], "usage": {usage}}}'
    server.script = [Raw(body, "application/json")]
    assert client(server).ask("p").tokens_out == 53


@both
def test_a_further_try_that_nobody_can_pay_for_is_left_out(server: LlmServer, way: str) -> None:
    asked: list[Reply] = []

    def again(paid: Reply) -> bool:
        asked.append(paid)
        return False

    server.script = [Fault(500), Say("abc" * 9, cut=3)]
    reply = client(server, way).ask("p", again=again)
    assert "budget" in reply.problem
    assert len(server.seen) == 2, "a try that cost nothing needs no leave for the next"
    assert [paid.estimated for paid in asked] == [True]
    assert reply.tokens_in > 0


def test_tries_are_the_options_tries(server: LlmServer) -> None:
    server.script = [Fault(500)]
    with pytest.raises(WriterError, match="in 1 try:"):
        Client(MODEL, ModelOptions(api_base=server.url, tries=1)).ask("p")
    assert len(server.seen) == 1


def test_seconds_are_those_of_all_tries(server: LlmServer) -> None:
    server.script = [Fault(429, headers={"Retry-After": "0.2"}), Say()]
    began = time.monotonic()
    reply = client(server).ask("p")
    assert 0.2 <= reply.seconds <= time.monotonic() - began
