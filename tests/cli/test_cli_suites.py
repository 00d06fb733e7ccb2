"""``tasks`` and ``optimize`` over a user's own clone, and what an audit says of its tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import ENGINE, MODEL, kernel, script

from kernelwright.agent.cli.app import run

Call = Callable[..., tuple[int, Any]]

TASK = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return {expression}

rows = 16
columns = 32

def get_inputs():
    return [torch.rand(rows, columns)]

def get_init_inputs():
    return []
"""
ENTRIES = {
    "level1/1_Exp": "torch.exp(x)",
    "level1/2_Relu": "torch.relu(x)",
    "level1/3_Dead": "torch.relu(x - x.amax(1, keepdim=True) - 1)",
    "level2/1_Fails": "x @ x",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(path))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def clone(tmp_path: Path) -> str:
    for name, expression in ENTRIES.items():
        file = tmp_path / "clone" / "KernelBench" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TASK.format(expression=expression))
    (tmp_path / "clone" / "KernelBench" / "level2" / "2_Torn.py").write_text("class Model(\n")
    return str(tmp_path / "clone")


@pytest.fixture
def call(home: Path, capfd: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, Any]:
        code = run([*arguments, "--json"])
        out = capfd.readouterr().out
        assert out.count("\n") == 1, out
        return code, json.loads(out)

    return call


def test_a_clone_is_listed_with_what_is_left_out(call: Call, clone: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, data = call("tasks", "--suite", "kernelbench", "--path", clone)
    assert code == 0
    assert [row["task"] for row in data["tasks"]] == [f"kernelbench/{name}" for name in ENTRIES]
    assert "does not parse" in data["left_out"]["kernelbench/level2/2_Torn"]
    assert run(["tasks", "--suite", "kernelbench", "--path", clone, "--level", "2"]) == 0
    out = capfd.readouterr().out
    assert "kernelbench/level2/1_Fails" in out
    assert "left out, the reference does not parse" in out
    assert "1_Exp" not in out


def test_one_task_of_a_clone_is_shown(call: Call, clone: str) -> None:
    code, data = call("tasks", "2", "--suite", "kernelbench", "--path", clone, "--level", "1")
    assert code == 0
    assert data["tasks"][0]["record"]["name"] == "kernelbench/level1/2_Relu"
    assert "torch.relu" in data["tasks"][0]["record"]["source"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tasks", "--suite", "kernelbench"), "own clone"),
        (("tasks", "--suite", "kernelbench", "--path", "."), "holds no KernelBench"),
        (("tasks", "--suite", "kernelbench", "--path", "nowhere"), "no folder"),
        (("tasks", "--suite", "other", "--path", "."), "unknown suite"),
        (("tasks", "--level", "1"), "belong to --suite"),
        (("optimize", "--suite", "kernelbench"), "own clone"),
        (("optimize", "--path", "."), "--path needs --suite"),
        (("optimize", "rms_norm", "--level", "1"), "belongs to --suite"),
        (("optimize", "rms_norm", "--scale", "2"), "the scale is 2"),
        (("tasks", "rms_norm", "--scale", "0"), "the scale is 0"),
        (("check", "pyproject.toml", "--task", "rms_norm", "--scale", "2"), "the scale is 2"),
        (("check", "--selftest", "--scale", "0.1"), "own corpus"),
    ],
)
def test_wrong_usage_is_one_clear_line(call: Call, arguments: tuple[str, ...], message: str) -> None:
    code, data = call(*arguments)
    assert code == 2
    assert message in data["error"]["message"]
    assert data["error"]["remedy"]


def test_an_audit_tells_each_task_apart_and_goes_on(
    call: Call, clone: str, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, data = call("tasks", "--suite", "kernelbench", "--path", clone, "--audit", "--device", "cpu")
    found = {row["task"].split("/")[-1]: row for row in data["audit"]}
    assert code == 1
    assert {name: row["status"] for name, row in found.items()} == {
        "1_Exp": "admitted",
        "2_Relu": "hardened",
        "3_Dead": "refused",
        "1_Fails": "broken",
    }
    assert "zeros" in found["3_Dead"]["detail"]
    assert "mat1 and mat2" in found["1_Fails"]["detail"]
    assert data["left_out"].keys() == {"kernelbench/level2/2_Torn"}
    kept = (home / "audit.jsonl").read_text()
    (home / "audit.jsonl").write_text(kept[:-10])  # a kill while the last line was written
    assert run(["tasks", "--suite", "kernelbench", "--path", clone, "--audit", "--device", "cpu"]) == 1
    done = capfd.readouterr()
    assert "[4/4] kernelbench/level2/1_Fails: broken" in done.err
    assert "4 tasks: 1 admitted, 1 hardened, 1 refused, 1 broken, 1 left out" in done.out
    lines = (home / "audit.jsonl").read_text().splitlines()
    assert lines[:3] == kept.splitlines()[:3]
    assert [json.loads(line)["task"].split("/")[-1] for line in lines[4:]] == ["1_Fails"]  # the others were not examined again


def test_optimize_takes_tasks_of_a_clone(call: Call, clone: str, home: Path) -> None:
    script(home, kernel("passed 1.5"))
    parts = ["--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--budget", "1"]
    code, data = call("optimize", "1", "2_Torn", "--suite", "kernelbench", "--path", clone, *parts)
    outcomes = {row["task"]: row["status"] for row in data["tasks"]}
    assert code == 1  # one is refused
    assert outcomes == {
        "kernelbench/level1/1_Exp": "improved",
        "kernelbench/level2/1_Fails": "improved",
        "kernelbench/level2/2_Torn": "refused",
    }
