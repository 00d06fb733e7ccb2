"""``kernelwright bench ensemble`` from the command line: its object, its tables, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import recorded
from scripted import ENGINE, kernel, reference, script

from kernelwright.agent.cli.app import run
from kernelwright.agent.recording import save

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def say(*arguments: str) -> tuple[int, str, str]:
        code = run(["bench", "ensemble", *arguments])
        done = capfd.readouterr()
        return code, done.out, done.err

    return say


def one_object(out: str) -> Any:
    assert out.count("\n") == 1, out
    return json.loads(out)


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """Two members that solve half of the tasks each, and one that solves none."""
    names = [f"t{n}" for n in range(8)]
    own = [2.0, 2.2, 2.1, 2.4]
    outcomes = {
        "x/even": {t: own if n % 2 else [None] * 4 for n, t in enumerate(names)},
        "x/odd": {t: [None] * 4 if n % 2 else own for n, t in enumerate(names)},
        "x/none": {t: [None] * 4 for t in names},
    }
    path = tmp_path / "recording.json"
    save(recorded(outcomes, costs={"x/none": 0.02}), path)
    return str(path)


def test_the_object(say: Say, recording: str) -> None:
    code, out, _ = say(recording, "--json")
    assert code == 0
    data = one_object(out)["ensemble"]
    assert (data["runs"], data["attempts"], data["tasks"], data["unit"]) == (["r"], 96, 8, "dollars")
    members = {m["member"]: m for m in data["members"]}
    assert members["x/even"]["solved"] == 0.5
    assert members["x/none"]["gain"] == 0.0
    assert members["x/odd"]["gain_per_usd"] > 0
    assert members["x/odd"]["diversity"]["k_star"] >= 1.0
    assert sorted(data["proposal"]["keep"]) == ["x/even", "x/odd"]
    assert [s["keep"] for s in data["proposal"]["steps"]] == [True, True, False]
    assert set(data["proposal"]["steps"][0]["added"]) == {"median", "low", "high"}
    assert data["refused"] is None


def test_the_tables(say: Say, recording: str) -> None:
    code, out, _ = say(recording, "--attempts", "4")
    assert code == 0
    for shown in (
        "attempts: 96, tasks: 8, runs: 1",
        "x/none",
        "4/8",
        "$3.2",
        "4 attempts a task",
        "8 tasks",
        "K* of all",
        "keep: x/",
    ):
        assert shown in out
    assert "95 %" in out


def test_weights_and_dollars(say: Say, recording: str) -> None:
    code, out, _ = say(recording, "--usd", "0.08", "--weight", "x/even=3", "--json")
    assert code == 0
    proposal = one_object(out)["ensemble"]["proposal"]
    assert (proposal["budget"], proposal["budget_unit"]) == (0.08, "dollars")


def test_too_little_is_told_with_what_is_needed(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    save(recorded({"x/a": {"t": [2.0, 3.0]}, "x/b": {"t": [1.5]}}), path)
    code, out, _ = say(str(path))
    assert code == 1
    assert "x/a" in out
    assert "no proposal: too little was recorded" in out
    assert "needed: at least 4 attempts of each of two members on the same 6 tasks" in out
    code, out, _ = say(str(path), "--json")
    data = one_object(out)["ensemble"]
    assert (code, data["proposal"]) == (1, None)
    assert data["refused"]["needed"] == "at least 4 attempts of each of two members on the same 6 tasks"
    assert len(data["members"]) == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "RUN"),
        (("nothing-there",), "nothing-there"),
        (("RECORDING", "RECORDING"), "given twice"),
        (("RECORDING", "--attempts", "0"), "--attempts is 0"),
        (("RECORDING", "--attempts", "4", "--usd", "1"), "--attempts and --usd"),
        (("RECORDING", "--usd", "0"), "--usd is 0"),
        (("RECORDING", "--usd", "nan"), "--usd is nan"),
        (("RECORDING", "--usd", "50"), "attempts of"),
        (("RECORDING", "--weight", "x/even"), "--weight is 'x/even'"),
        (("RECORDING", "--weight", "x/even=-1"), "--weight is 'x/even=-1'"),
        (("RECORDING", "--weight", "x/who=1"), "x/who"),
    ],
)
def test_wrong_usage(say: Say, recording: str, arguments: tuple[str, ...], problem: str) -> None:
    given = [recording if a == "RECORDING" else a for a in arguments]
    code, out, err = say(*given)
    assert (code, out) == (2, "")
    assert problem in err
    assert "remedy:" in err


def test_a_run_without_a_model_is_no_ground(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "playbook.json"
    save(recorded({"playbook": {"t": [2.0]}}, prompt=""), path)
    code, _, err = say(str(path))
    assert code == 2
    assert "holds no model's answer: its writer was playbook" in err


def test_a_real_run_by_its_id_and_its_diversity(say: Say, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script(tmp_path / "home", kernel("passed 1.5"), kernel("incorrect", 2), kernel("passed 2", 3))
    model = "scripted:Scripted,scripted:Rival"
    asked = ["optimize", reference(tmp_path), "--model", model, "--engine", ENGINE, "--backend", "cpp", "--budget", "4"]
    assert run([*asked, "--json"]) == 0
    data = one_object(capfd.readouterr().out)
    assert set(data["diversity"]["models"]) == set(model.split(","))
    assert 1.0 <= data["diversity"]["all"]["k_star"] <= data["diversity"]["all"]["answers"] == 4
    assert [t["task"] for t in data["diversity"]["tasks"]] == [data["tasks"][0]["task"]]
    code, out, _ = say(data["run"], "--json")
    assert code == 1
    assert {m["member"] for m in one_object(out)["ensemble"]["members"]} == set(model.split(","))


def test_the_group_has_help(say: Say, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--help"]) == 0
    assert "ensemble" in capfd.readouterr().out
    code, out, _ = say("--help")
    assert code == 0
    assert "kernelwright bench ensemble 2" in out
