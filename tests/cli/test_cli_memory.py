"""``kernelwright memory``: what it lists and shows, the file it writes and reads, and one line for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent.cli.app import run
from kernelwright.agent.workspace import Workspace

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(path))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def call(home: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``memory …`` with ``--json``: exit code and the one object on stdout."""

    def call(*arguments: str) -> tuple[int, Any]:
        code = run([*arguments, "--json"])
        out = capfd.readouterr().out
        assert out.count("\n") == 1, out
        return code, json.loads(out)

    return call


@pytest.fixture
def taught(call: Run, home: Path, tmp_path: Path) -> Run:
    """After a run with a failure and a success."""
    script(home, kernel("incorrect"), kernel("passed 1.5"))
    args = ["--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--budget", "2"]
    assert call("optimize", reference(tmp_path), *args)[0] == 0
    return call


def test_list_and_show_by_filter(taught: Run) -> None:
    code, listed = taught("memory", "list", "--kind", "trace", "--stage", "draft")
    assert code == 0
    (row,) = [r for r in listed["memory"] if r["status"] == "passed"]
    assert listed["total"] == 1
    code, held = taught("memory", "show", row["id"])
    assert code == 0
    assert "ModelNew" in held["memory"]["code"]
    assert held["memory"]["origin"].startswith("run:")
    for option, value in (("--backend", "triton"), ("--device", "another"), ("--op-family", "none"), ("--task", "none")):
        assert taught("memory", "list", "--status-free", value)[0] == 2
        code, none = taught("memory", "list", "--kind", "trace", "--stage", "draft", option, value)
        assert (code, none["memory"], none["total"]) == (0, [], 0)
    code, some = taught("memory", "list", "--kind", "failure", "--backend", "cpp", "-n", "1")
    assert [r["kind"] for r in some["memory"]] == ["failure"]
    code, found = taught("memory", "search", "add one", "--kind", "failure")
    assert [r["kind"] for r in found["memory"]] == ["failure"]


def test_export_and_import_between_two_homes(taught: Run, tmp_path: Path) -> None:
    code, written = taught("memory", "export", "lessons.jsonl")
    assert code == 0
    assert written["memory"]["experiences"] == 3
    there = ("--home", str(tmp_path / "there"))
    code, taken = taught("memory", "import", "lessons.jsonl", *there)
    assert (code, taken["memory"]["added"]) == (0, 3)
    code, again = taught("memory", "import", "lessons.jsonl", *there)
    assert (again["memory"]["added"], again["memory"]["updated"]) == (0, 0)
    code, listed = taught("memory", "list", "--kind", "success", *there)
    assert listed["total"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "nope"], "no experience 'nope'"),
        (["show", "../../etc/passwd"], "no experience '../../etc/passwd'"),
        (["show", "api-"], "several experiences begin with 'api-'"),
        (["list", "--kind", "recipe"], "--kind is 'recipe'"),
        (["list", "--stage", "third"], "--stage is 'third'"),
        (["list", "-n", "0"], "-n is 0"),
        (["restore", "nope"], "no experience 'nope'"),
        (["import", "nowhere.jsonl"], "cannot read nowhere.jsonl"),
        (["export", "nowhere/x.jsonl"], "cannot write nowhere/x.jsonl"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(call: Run, home: Path, arguments: list[str], said: str) -> None:
    code, data = call("memory", *arguments)
    assert code == 2
    assert said in data["error"]["message"]
    assert "\n" not in data["error"]["message"]
    assert data["error"]["remedy"]


def test_while_another_process_learns_a_look_is_free_and_a_run_is_refused(
    taught: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernelwright.memory.chroma_folder.PATIENCE", 0.1)
    other = Workspace.at(home, None).open_memory()
    other.hold()
    try:
        for verb in (["stats"], ["list"], ["search", "add one"], ["export", "x.jsonl"]):
            assert taught("memory", *verb)[0] == 0
        code, runs = taught("runs")
        args = ["--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--budget", "2"]
        for refused in (["optimize", reference(tmp_path), *args], ["memory", "rebuild"], ["memory", "import", "x.jsonl"]):
            code, data = taught(*refused)
            assert code == 2
            assert "is writing the memory at" in data["error"]["message"]
            assert "Chroma server" in data["error"]["remedy"]
        assert taught("runs")[1] == runs, "no run was begun"
    finally:
        other.close()


@pytest.mark.parametrize("value", ["many", "0", "1e6"])
def test_a_capacity_that_is_none_is_refused(call: Run, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("KERNELWRIGHT_MEMORY_CAPACITY", value)
    code, data = call("memory", "stats")
    assert (code, f"KERNELWRIGHT_MEMORY_CAPACITY is {value!r}" in data["error"]["message"]) == (2, True)


def test_an_index_url_that_is_none_is_refused(call: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELWRIGHT_INDEX", "localhost:8000")
    code, data = call("memory", "stats")
    assert (code, "no URL of a Chroma server" in data["error"]["message"]) == (2, True)
