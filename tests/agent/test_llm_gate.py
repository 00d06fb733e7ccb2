"""The gate before a provider: calls in flight, requests a minute, and the pause for all when it says "too many"."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from llm_clients import KEY, client
from llm_server import Fault, LlmServer, Say

from kernelwright.agent.llm.client import Client
from kernelwright.agent.llm.gate import Gate


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with LlmServer(Say()) as server:
        yield server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def side_by_side(*work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def asking(*clients: Client) -> list[Callable[[], object]]:
    return [lambda c=c, n=n: c.ask(f"p{n}") for n, c in enumerate(clients)]  # type: ignore[misc]


def test_no_more_calls_in_flight_than_allowed_over_all_clients_of_an_endpoint(server: LlmServer) -> None:
    server.script = [Say("x" * 80, gap=0.01)]
    side_by_side(*asking(*(client(server, model=f"m{n % 3}", concurrency=2) for n in range(8))))
    assert len(server.seen) == 8
    assert server.most_flying == 2


def test_starts_are_spaced_over_all_clients_of_an_endpoint(server: LlmServer) -> None:
    side_by_side(*asking(*(client(server, model=f"m{n}", requests_per_minute=600) for n in range(5))))
    starts = sorted(seen.at for seen in server.seen)
    assert starts[-1] - starts[0] >= 0.4 - 0.05


def test_another_endpoint_has_a_gate_of_its_own(server: LlmServer) -> None:
    with LlmServer(Say()) as other:
        slow, quick = client(server, requests_per_minute=6), client(other, requests_per_minute=6)
        began = time.monotonic()
        slow.ask("p")
        quick.ask("p")
        assert time.monotonic() - began < 5


def test_too_many_requests_hold_up_everybody_who_asks_this_provider(server: LlmServer) -> None:
    server.script = [Fault(429, headers={"Retry-After": "0.5"}), Say()]
    first = threading.Thread(target=client(server).ask, args=("p",))
    first.start()
    while not server.seen:
        time.sleep(0.005)
    time.sleep(0.1)
    client(server, model="another").ask("q")
    first.join()
    refused, *later = (seen.at for seen in server.seen)
    assert len(later) == 2
    assert min(later) - refused >= 0.45
    assert abs(later[1] - later[0]) >= 0.2, "and then they come more slowly"


def test_who_waits_for_a_turn_can_leave(server: LlmServer) -> None:
    class Stopped(Exception):
        pass

    def listen(tokens: int) -> None:
        raise Stopped

    asked = client(server, requests_per_minute=1)
    asked.ask("p")
    began = time.monotonic()
    with pytest.raises(Stopped) as raised:
        asked.ask("p", heard=listen)
    assert time.monotonic() - began < 2
    assert raised.value.paid is None  # type: ignore[attr-defined]
    assert len(server.seen) == 1


def test_slowness_doubles_with_each_refusal_has_an_end_and_fades_with_answers() -> None:
    gate = Gate()
    gate.limit(9, 120)
    spacings = []
    for _ in range(12):
        spacings.append(gate.spacing)
        gate.slow(0)
    assert spacings[:5] == [0.5, 0.5, 0.5, 1, 2]
    assert gate.spacing == 30
    for _ in range(60):
        gate.answered()
    assert gate.spacing == 0.5, "never closer than the limit that was given"
    gate.limit(9, None)
    assert gate.spacing == 0
