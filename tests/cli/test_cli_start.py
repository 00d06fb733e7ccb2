"""The command line as a process: how fast it starts, what it does not import, and what the outside can break."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from scripted import MODEL, kernel, reference, script

from kernelwright.agent.cli.app import VERBS, run

HEAVY = ("torch", "litellm", "chromadb", "sqlalchemy", "openai", "mmh3", "numpy", "rich")
TESTS = Path(__file__).parent.parent


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    merged = {**os.environ, **environment}
    return subprocess.run(command, env=merged, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("arguments", [[], *([verb] for verb in VERBS), ["bundle", "create"], ["memory", "search"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from kernelwright.agent.cli.app import run; "
        f"code = run([*{arguments!r}, '--help']); "
        f"sys.stderr.write(repr((code, sorted(set({HEAVY!r}) & set(sys.modules)))))"
    )
    assert python("-c", code).stderr == "(0, [])"


@pytest.mark.parametrize("arguments", [["--help"], ["optimize", "--help"]])
def test_help_is_there_within_a_third_of_a_second(arguments: list[str]) -> None:
    """CPU seconds of the child, which other work on the machine does not lengthen as it does the wall clock."""
    best = 10.0
    for _ in range(5):
        before = os.times()
        assert python("-m", "kernelwright", *arguments).returncode == 0
        after = os.times()
        best = min(best, after.children_user + after.children_system - before.children_user - before.children_system)
    assert best < 0.3


def test_stdout_carries_the_object_and_nothing_else(tmp_path: Path) -> None:
    """Libraries and child processes that print on stdout do not get between a program and its object."""
    home = tmp_path / "home"
    script(home, kernel("passed 1.5"))
    noisy = tmp_path / "noisy.py"
    noisy.write_text(
        "import os, subprocess, sys\n"
        "from scripted import Scripted\n"
        "class Noisy(Scripted):\n"
        "    def write(self, assignment):\n"
        "        print('from a library')\n"
        "        sys.__stdout__.write('behind its back'); sys.__stdout__.flush()\n"
        "        subprocess.run(['echo', 'from a child'])\n"
        "        os.write(1, b'raw')\n"
        "        return super().write(assignment)\n"
    )
    engine = "kernelwright.evaluator.engines.fake:FakeEngine"
    done = python(
        "-m", "kernelwright", "optimize", reference(tmp_path), "--model", "noisy:Noisy", "--engine", engine,
        "--backend", "cpp", "--budget", "1", "--home", str(home), "--json",
        PYTHONPATH=f"{TESTS}{os.pathsep}{tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tasks"][0]["status"] == "improved"
    assert done.stdout.count("\n") == 1
    assert "from a library" in done.stderr
    assert "from a child" in done.stderr


def test_no_compiler_is_one_clear_line(tmp_path: Path) -> None:
    candidate = tmp_path / "kernel.py"
    candidate.write_text("import torch.nn as nn\nclass ModelNew(nn.Module):\n    pass\n")
    empty = tmp_path / "bin"
    empty.mkdir()
    done = python(
        "-m", "kernelwright", "check", str(candidate), "--task", reference(tmp_path), "--backend", "cpp", "--json",
        PATH=str(empty), KERNELWRIGHT_HOME=str(tmp_path / "home"),
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    error = json.loads(done.stdout)["error"]
    assert "compiler" in error["message"] + error["remedy"]


@pytest.fixture
def refusing() -> Iterator[str]:
    """A provider that refuses every key."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802  the base class's name
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps({"error": {"message": "Incorrect API key provided: sk-hidden", "code": "invalid_api_key"}})
            self.send_response(401)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_refused_key_keeps_what_was_measured(
    refusing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(home))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden")
    engine = "kernelwright.evaluator.engines.fake:FakeEngine"
    line = ["optimize", reference(tmp_path), "--engine", engine, "--backend", "cpp", "--budget", "2", "--json"]
    assert run([*line, "--model", "openai/gpt-4o-mini", "--api-base", refusing]) == 2
    out, err = capfd.readouterr()
    error = json.loads(out)["error"]
    assert "key was refused" in error["message"]
    assert "OPENAI_API_KEY" in error["remedy"]
    assert "sk-hidden" not in out + err
    assert run(["runs", "--json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)["runs"]
    assert row["status"] == "interrupted"


def test_a_reference_that_fails_is_refused_by_the_real_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(home))
    script(home, kernel("never judged"))
    task = Path(reference(tmp_path, "fails"))
    task.write_text(task.read_text().replace("return x + 1", "return x @ torch.zeros(3, 3)"))
    began = time.monotonic()
    code = run(["optimize", str(task), "--model", MODEL, "--backend", "cpp", "--device", "cpu", "--budget", "1", "--json"])
    (row,) = json.loads(capfd.readouterr().out)["tasks"]
    assert code == 1, time.monotonic() - began
    assert row["status"] == "refused"
    assert "fails.py" in row["reason"]
    assert row["attempts"] == 0
