"""The whole of ``optimize`` against real model servers: streams, usage, several calls at once, a killed server, refusals.

Opt-in, ``pytest -m requires_server``: the first run builds the servers, each later one takes some minutes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from real_server import MODEL, Gauge, RealServer, install, serving, until
from scripted import reference

from kernelwright.agent.llm.client import Client
from kernelwright.agent.llm.options import ModelOptions
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import Call, RunRecord, Step

pytestmark = pytest.mark.requires_server

KEY = "sk-of-this-machine-0123456789"
ANSWER_TOKENS = 150
ENDINGS = {"unreadable", "build_failed", "runtime_error", "incorrect", "cheating", "timeout", "unsupported"}
"""How a kernel of a model with 135 million parameters may end. One that passes would be a finding."""


@pytest.fixture(scope="session", params=["llama", "python"])
def kind(request: pytest.FixtureRequest) -> str:
    install(request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def llama() -> None:
    install("llama")


@pytest.fixture
def keyed(llama: None, tmp_path: Path) -> Iterator[RealServer]:
    with serving(RealServer("llama", tmp_path, KEY)) as server:
        yield server


def spawn(home: Path, *arguments: str, key: str = KEY) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kernelwright", *arguments, "--json"]
    environment = {**os.environ, "KERNELWRIGHT_HOME": str(home), "OPENAI_API_KEY": key}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def optimize(home: Path, server: RealServer, tasks: Sequence[str], *more: str, key: str = KEY) -> subprocess.Popen[str]:
    model = ("--model", MODEL, "--api-base", server.url, "--price", "1,2", "--answer-tokens", str(ANSWER_TOKENS))
    quick = ("--backend", "cpp", "--policy", "greedy", "--prompt-tokens", "2000", "--baselines", "eager")
    return spawn(home, "optimize", *tasks, *model, *quick, *more, key=key)


def ended(process: subprocess.Popen[str], code: int) -> dict[str, Any]:
    """What the command printed; it must have ended with this exit code."""
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == code, (out, err)
    assert KEY not in out + err
    data: dict[str, Any] = json.loads(out)
    return data


def kept(home: Path) -> tuple[RunRecord, tuple[Step, ...], tuple[Call, ...]]:
    """The only run of the workspace as its store has it."""
    store = Workspace.at(home, None).open_store()
    try:
        (run,) = store.runs()
        return run, store.steps(run.id), store.calls(run.id)
    finally:
        store.close()


def calls_of(home: Path) -> int:
    """How many calls the store holds; 0 before there is a run."""
    if not (home / "store.db").is_file():
        return 0
    store = Workspace.at(home, None).open_store()
    try:
        return sum(len(store.calls(run.id)) for run in store.runs())
    finally:
        store.close()


@pytest.mark.parametrize("model", [MODEL, "hosted_vllm/smollm2"], ids=["openai's client", "litellm"])
def test_an_answer_is_heard_while_it_is_written(kind: str, model: str, tmp_path: Path) -> None:
    heard: list[tuple[float, int]] = []
    prompt = "Explain in two sentences what a GPU does."
    with serving(RealServer(kind, tmp_path)) as server:
        client = Client(model, ModelOptions(api_base=server.url, answer_tokens=80))
        client.ask(prompt, 1)  # later ones read the prompt from the server's cache, which moves the last bits
        began = time.monotonic()
        reply = client.ask(prompt, 1, lambda tokens: heard.append((time.monotonic(), tokens)))
        ending = time.monotonic()
        again = client.ask(prompt, 1)
        truth = None if kind == "llama" else (server.tokens_of(prompt), server.tokens_of(reply.text))
    assert reply.text.strip()
    assert len(heard) > 10
    counts = [tokens for _, tokens in heard[:-1]]  # the last is told when the usage has come, which may be less
    assert counts == sorted(counts)
    assert counts[-1] > 10
    assert heard[0][0] - began < (ending - began) / 2
    assert again.text == reply.text, "the seed did not reach the server"
    assert reply.estimated is (truth is not None)
    if truth is not None:  # no usage from this server: what we reckon must not be less than what it was
        assert truth[0] <= reply.tokens_in < 4 * truth[0] + 100
        assert truth[1] <= reply.tokens_out < 4 * truth[1] + 100
    else:
        assert 0 < reply.tokens_out <= 80


def test_a_run_with_calls_at_once_adds_up_to_the_servers_own_count(keyed: RealServer, tmp_path: Path) -> None:
    home, tasks = tmp_path / "home", [reference(tmp_path, "add"), reference(tmp_path, "more", 2)]
    with Gauge(keyed) as gauge:
        result = ended(optimize(home, keyed, tasks, "--jobs", "2", "--budget", "2"), 1)
    assert gauge.most == 2
    assert [(task["status"], task["attempts"]) for task in result["tasks"]] == [("unsolved", 2)] * 2
    run, steps, calls = kept(home)
    assert run.status == "finished"
    assert {step.attempt.status for step in steps if step.attempt} <= ENDINGS
    assert len(calls) == len(steps) == 4
    assert not any(call.estimated for call in calls)
    assert sum(call.tokens_out for call in calls) == keyed.counter("tokens_predicted_total")
    assert sum(call.tokens_in - call.tokens_cached for call in calls) == keyed.counter("prompt_tokens_total")
    assert max(call.tokens_out for call in calls) <= ANSWER_TOKENS
    dollars = sum(call.tokens_in + 2 * call.tokens_out for call in calls) / 1e6
    assert sum(task["cost_usd"] for task in result["tasks"]) == pytest.approx(dollars)
    keyed.kill()
    again = ended(spawn(home, "optimize", "--model", f"replay:{run.id}"), 1)
    assert [task["reason"] for task in again["tasks"]] == [task["reason"] for task in result["tasks"]]


def test_tokens_are_a_hard_limit_by_the_servers_own_count(keyed: RealServer, tmp_path: Path) -> None:
    home, limit = tmp_path / "home", 11_000
    (task,) = ended(optimize(home, keyed, [reference(tmp_path)], "--budget", "9", "--max-tokens", str(limit)), 1)["tasks"]
    assert 0 < task["attempts"] < 9
    assert f"budget of {limit:,} tokens spent" in task["reason"]
    read = keyed.counter("prompt_tokens_total") + keyed.counter("prompt_tokens_cached_total")
    assert 0 < read + keyed.counter("tokens_predicted_total") <= limit


def test_the_key_is_written_nowhere(keyed: RealServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    ended(optimize(home, keyed, [reference(tmp_path)], "--budget", "1"), 1)
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_killed_server_stops_the_run_and_resume_spends_nothing_twice(keyed: RealServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = optimize(home, keyed, [reference(tmp_path)], "--budget", "4")
    until(lambda: calls_of(home) >= 2, process)
    until(lambda: keyed.counter("requests_processing") == 1, process)
    keyed.kill()
    error = ended(process, 2)["error"]
    assert "tries" in error["message"]
    assert "kernelwright resume" in error["remedy"]
    run, _, before = kept(home)
    whole = [call for call in before if call.text]
    assert 2 <= len(whole) < 4
    keyed.start()
    result = ended(spawn(home, "resume", run.id), 1)
    assert [(task["status"], task["attempts"]) for task in result["tasks"]] == [("unsolved", 4)]
    run, steps, calls = kept(home)
    assert run.status == "finished"
    assert [call for call in calls if call in before] == list(before)
    answered = [call.idea for call in calls if call.text]
    assert sorted(answered) == sorted(step.idea.id for step in steps), "an idea was paid for twice, or never"
    assert sum(c.tokens_out for c in calls if c not in before) == keyed.counter("tokens_predicted_total")


def test_a_prompt_over_the_context_is_an_unreadable_attempt(kind: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    small = {"llama": ("--ctx-size", "512", "--parallel", "1"), "python": ("--n_ctx", "512")}[kind]
    with serving(RealServer(kind, tmp_path, options=small)) as server:
        result = ended(optimize(home, server, [reference(tmp_path)], "--budget", "2"), 1)
    assert [(task["status"], task["attempts"]) for task in result["tasks"]] == [("unsolved", 2)]
    _, steps, calls = kept(home)
    assert [step.attempt.status for step in steps if step.attempt] == ["unreadable"] * 2
    assert all(call.problem for call in calls)


def test_a_wrong_key_ends_the_run_before_anything_is_spent(kind: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serving(RealServer(kind, tmp_path, KEY)) as server:
        error = ended(optimize(home, server, [reference(tmp_path)], "--budget", "2", key="sk-another"), 2)["error"]
    assert "key" in error["message"]
    assert "OPENAI_API_KEY" in error["remedy"]
    assert "sk-another" not in json.dumps(error)
    assert not [call for call in kept(home)[2] if call.text]


def test_ctrl_c_in_an_answer_keeps_it(keyed: RealServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = optimize(home, keyed, [reference(tmp_path)], "--budget", "4")
    until(lambda: keyed.counter("requests_processing") == 1, process)
    os.killpg(process.pid, signal.SIGINT)
    ended(process, 130)
    _, steps, calls = kept(home)
    assert len(calls) == 1
    assert calls[0].text
    assert [step.idea.id for step in steps if step.answer] == [calls[0].idea]
