"""A key is sent to its provider and is nowhere else: not in what is kept, printed, logged or raised.

That no key reaches a candidate's runner is in tests/evaluator/test_sandbox.py.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from llm_clients import KEY, WAYS, client
from llm_server import Fault, LlmServer, Say
from scripted import ENGINE, kernel, reference

from kernelwright.agent.llm.client import Client
from kernelwright.agent.llm.options import ModelOptions
from kernelwright.agent.llm.scrub import one_line, scrub

TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a key-of-mine-123 b", "a $MY_API_KEY b"),
        ("a tok-456 b sec-789 c", "a $HF_TOKEN b $AWS_SECRET c"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer …"),
        ("POST https://host/v1?x=1&key=abcdefgh&y=2", "POST https://host/v1?x=1&key=…&y=2"),
        ("https://host/v1?api_key=abcdefgh", "https://host/v1?api_key=…"),
        ("http://me:word@host/v1", "http://…@host/v1"),
        ("Incorrect API key provided: sk-proj-abc****xyz.", "Incorrect API key provided: sk-…."),
        ("the keyword ask-me is no key", "the keyword ask-me is no key"),
        ("task-0123456789 stays", "task-0123456789 stays"),
    ],
)
def test_words_are_shown_without_keys(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"MY_API_KEY": "key-of-mine-123", "HF_TOKEN": " tok-456\n", "AWS_SECRET": "sec-789", "NO_KEY": "a"}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    assert scrub(text) == shown


def test_of_two_keys_that_begin_alike_no_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "0123456789")
    monkeypatch.setenv("B_KEY", "0123456789-and-more")
    assert scrub("x 0123456789-and-more y") == "x $B_KEY y"


def test_errors_are_one_line() -> None:
    assert one_line("\n\n first \nsecond") == "first"
    assert len(one_line("x" * 999)) == 301


@pytest.mark.parametrize("way", WAYS)
def test_no_traceback_and_no_log_holds_it(way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with LlmServer(Fault(401, f"no such key: {KEY}")) as server:
        asked = client(server, way)
        assert KEY not in str(asked.body("p", 1))
        try:
            asked.ask("p", 1)
        except Exception:  # noqa: BLE001  whatever it is, it would be printed like this
            shown = traceback.format_exc()
        assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert "key was refused" in shown
    assert KEY not in shown
    assert KEY not in caplog.text
    assert KEY not in repr(vars(asked))


def test_no_file_and_no_output_of_a_run_holds_it(tmp_path: Path) -> None:
    """A run with a failed try in it, and a refused key as its end; the server says the key back each time."""
    home, said = tmp_path / "home", f"you sent {KEY}"
    command = [sys.executable, "-m", "kernelwright", "optimize", reference(tmp_path), "--model", "openai/gpt-4o-mini"]
    command += ["--engine", ENGINE, "--backend", "cpp", "--budget", "2", "--steps", "plan,code"]
    # Without --api-base it is litellm that asks, here with all the logging that a person may have switched on.
    chosen = {"OPENAI_API_KEY": KEY, "LITELLM_LOG": "DEBUG", "OPENAI_LOG": "debug", "KERNELWRIGHT_HOME": str(home)}
    with LlmServer(Fault(500, said), Say("1. block it"), Say(kernel("passed 2")), Fault(401, said)) as server:
        environment = {**os.environ, **chosen, "OPENAI_BASE_URL": server.url, "PYTHONPATH": str(TESTS)}
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=100)
        assert {seen.headers["authorization"] for seen in server.seen} == {f"Bearer {KEY}"}
        assert len(server.seen) == 4, done.stderr.decode()
    assert done.returncode == 2
    assert b"you sent $OPENAI_API_KEY" in done.stderr
    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(b"block it" in path.read_bytes() for path in files), "the answers are kept, so the search sees what is kept"
    holding = [str(path) for path in files if KEY.encode() in path.read_bytes()]
    assert not holding
    assert KEY.encode() not in done.stdout + done.stderr


def test_a_client_that_is_shown_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    asked = Client("openai/gpt-4o-mini", ModelOptions())
    assert KEY not in repr(asked) + repr(vars(asked)) + repr(vars(asked._transport))
