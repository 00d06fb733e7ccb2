"""Answers on their way: progress, silence, broken connections, interruption; by both libraries, over real HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from llm_clients import KEY, WAYS, client, warm
from llm_server import LlmServer, Say

from kernelwright.agent.llm.client import Reply, Unanswered

__all__ = ["warm"]
both = pytest.mark.parametrize("way", WAYS)
pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with LlmServer(Say()) as server:
        yield server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@both
def test_progress_is_told_while_the_answer_comes_in_the_thread_that_asked(server: LlmServer, way: str) -> None:
    told: list[tuple[float, int, int]] = []
    server.script = [Say("word " * 40, gap=0.02, usage=(10, 55))]
    client(server, way).ask("p", heard=lambda n: told.append((time.monotonic(), n, threading.get_ident())))
    counts = [n for _, n, _ in told]
    assert counts == sorted(counts)
    assert len(set(counts)) > 15
    assert 20 <= counts[-2] <= 60
    assert told[-1][0] - told[0][0] > 0.3
    assert {thread for _, _, thread in told} == {threading.get_ident()}


@both
def test_thoughts_are_heard_but_are_no_part_of_the_answer(server: LlmServer, way: str) -> None:
    told: list[int] = []
    server.script = [Say("x", thoughts="think " * 50, usage=None)]
    reply = client(server, way).ask("p", heard=told.append)
    assert reply.text == "x"
    assert max(told) >= 35
    assert 35 <= reply.tokens_reasoning < reply.tokens_out


@both
def test_progress_is_told_while_nothing_comes(server: LlmServer, way: str) -> None:
    told: list[int] = []
    server.script = [Say(wait=0.7)]
    client(server, way).ask("p", heard=told.append)
    assert told[0] == 0


SILENT = {
    "first byte": Say("x" * 40, wait=5),
    "in mid-stream": Say("x" * 400, stall=20),
    "with keep-alive lines": Say("x" * 400, stall=20, pings=True),
}


@both
@pytest.mark.parametrize("what", SILENT)
def test_silence_is_given_up_and_asked_again(server: LlmServer, way: str, what: str) -> None:
    server.script = [SILENT[what], Say("at last", usage=(1000, 2000))]
    began = time.monotonic()
    reply = client(server, way, stall_seconds=0.4).ask("p")
    assert (reply.text, reply.tries, reply.estimated) == ("at last", 2, True)
    assert 0.4 <= time.monotonic() - began < 2.5
    assert 1000 < reply.tokens_in < 1100
    assert reply.tokens_out - 2000 >= (0 if what == "first byte" else 19)


def test_a_server_that_stays_silent_is_told_with_a_remedy(server: LlmServer) -> None:
    server.script = [Say("x" * 400, stall=5)]
    with pytest.raises(Unanswered, match=r"3 tries: nothing new for 0\.\d+ s after about \d+ tokens") as raised:
        client(server, stall_seconds=0.2).ask("p")
    assert "--stall-seconds" in raised.value.remedy


def test_models_known_to_think_in_silence_have_longer_to_begin(server: LlmServer) -> None:
    server.script = [Say(wait=0.7)]
    assert client(server, model="openai/o3", stall_seconds=0.25).ask("p").tries == 1
    assert len(server.seen) == 1


@both
def test_a_slow_but_steady_answer_is_waited_for(server: LlmServer, way: str) -> None:
    server.script = [Say("x" * 80, gap=0.1)]
    assert client(server, way, stall_seconds=0.6).ask("p").tries == 1


def test_one_answer_may_take_so_long_and_no_longer(server: LlmServer) -> None:
    server.script = [Say("x" * 4000, gap=0.05), Say("short")]
    began = time.monotonic()
    reply = client(server, call_seconds=0.5).ask("p")
    assert (reply.text, reply.tries) == ("short", 2)
    assert time.monotonic() - began < 2


@both
@pytest.mark.parametrize("clean", [True, False])
def test_a_stream_without_its_end_is_no_answer(server: LlmServer, way: str, clean: bool) -> None:
    server.script = [Say("half an answer, " * 10, cut=9, clean=clean), Say("a whole one")]
    reply = client(server, way).ask("p")
    assert (reply.text, reply.tries, reply.estimated) == ("a whole one", 2, True)
    assert reply.tokens_out > 2000 + 8


@both
@pytest.mark.parametrize("done", [True, False])
def test_an_end_is_a_reason_to_end(server: LlmServer, way: str, done: bool) -> None:
    server.script = [Say("whole", done=done)]
    assert (client(server, way).ask("p").text, len(server.seen)) == ("whole", 1)


def test_an_end_is_also_the_word_done(server: LlmServer) -> None:
    server.script = [Say("whole", finish=None)]
    assert (client(server).ask("p").text, len(server.seen)) == ("whole", 1)


def test_a_connection_that_hangs_after_the_end_takes_nothing_away(server: LlmServer) -> None:
    server.script = [Say("whole answer", stall=2, extra=('data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}', ""))]
    reply = client(server, stall_seconds=0.3).ask("p")
    assert (reply.text, reply.tries, reply.problem, reply.estimated) == ("whole an", 1, "", True)


@both
def test_a_server_that_cannot_stream_is_understood(server: LlmServer, way: str) -> None:
    server.script = [Say("hello", streams=False, usage=(10, 20))]
    reply = client(server, way).ask("p")
    assert (reply.text, reply.problem) == ("hello", "")
    if way == "openai":  # litellm takes it for an empty stream, so that it is asked again without one
        assert (reply.tokens_in, reply.tokens_out, reply.estimated, len(server.seen)) == (10, 20, False, 1)


@pytest.mark.parametrize("line", ["data: {nonsense", "data: [1, 2]", 'data: "x"'])
def test_rubbish_in_a_stream_is_a_failed_try(server: LlmServer, line: str) -> None:
    server.script = [Say("abc" * 9, extra=(line, "")), Say("at last")]
    reply = client(server).ask("p")
    assert (reply.text, reply.tries, reply.estimated) == ("at last", 2, True)


@pytest.mark.parametrize("line", [": comment", "event: ping", "id: 7", "retry: 10", 'data: {"choices": []}', "data: {}", ""])
def test_what_a_stream_may_also_hold_changes_nothing(server: LlmServer, line: str) -> None:
    server.script = [Say("abc" * 9, extra=(line, "", ""))]
    reply = client(server).ask("p")
    assert (reply.text, reply.tries, reply.estimated) == ("abc" * 9, 1, False)


@both
def test_an_error_in_mid_stream_is_told_from_an_answer(server: LlmServer, way: str) -> None:
    overloaded = 'data: {"error": {"message": "overloaded", "code": 503}}'
    server.script = [Say("abc" * 9, extra=(overloaded, "")), Say("at last")]
    reply = client(server, way).ask("p")
    assert (reply.text, reply.tries, reply.estimated) == ("at last", 2, True)


class Stopped(Exception):
    """Somebody wants to leave."""


@both
def test_who_listens_can_end_the_call_and_pays_for_what_came(server: LlmServer, way: str) -> None:
    def listen(tokens: int) -> None:
        if tokens > 20:
            raise Stopped

    server.script = [Say("word " * 4000, gap=0.01)]
    with pytest.raises(Stopped) as raised:
        client(server, way).ask("p", heard=listen)
    paid = raised.value.paid  # type: ignore[attr-defined]
    assert isinstance(paid, Reply)
    assert (paid.tries, paid.estimated) == (1, True)
    assert 20 < paid.tokens_out < 100
    until(lambda: server.flying == 0)
    assert server.hung_up == 1, "the provider must stop writing"


def test_a_server_that_only_pings_is_hung_up_on_too(server: LlmServer) -> None:
    began = time.monotonic()

    def listen(tokens: int) -> None:
        if time.monotonic() - began > 0.3:
            raise Stopped

    server.script = [Say("word " * 40, stall=5, pings=True)]
    with pytest.raises(Stopped):
        client(server).ask("p", heard=listen)
    until(lambda: server.hung_up == 1)


def test_who_waits_for_the_first_byte_or_for_a_further_try_can_leave_at_once(server: LlmServer) -> None:
    began = time.monotonic()

    def listen(tokens: int) -> None:
        if time.monotonic() - began > 0.3:
            raise Stopped

    server.script = [Say(wait=10)]
    with pytest.raises(Stopped):
        client(server).ask("p", heard=listen)
    assert time.monotonic() - began < 1.5


@both
def test_calls_side_by_side_do_not_mix(server: LlmServer, way: str) -> None:
    server.script = [lambda seen: Say(f"answer to {seen.prompt} " * 20, gap=0.001)]
    asked = client(server, way)
    texts: dict[int, str] = {}

    def ask(n: int) -> None:
        texts[n] = asked.ask(f"question {n}").text

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {n: f"answer to question {n} " * 20 for n in range(6)}
    assert server.most_flying > 1
