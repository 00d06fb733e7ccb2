"""A dry run: what would be sent where and what it costs at most, with nothing sent, judged or kept."""

from __future__ import annotations

import json
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from ledgered import MODEL as LEDGERED
from scripted import ENGINE, kernel, reference, script

from kernelwright.agent.cli.app import run as command
from kernelwright.agent.run import start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.tasks.load import load_task

SERVED = ("--model", "openai/mine", "--api-base", "http://models.test:8000/v1")


def alone(argv: list[str]) -> int:
    """Run a command line while nothing may be sent and nothing judged."""

    def refuse(*_: object) -> None:
        raise AssertionError("a dry run did something")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(FakeEngine, "evaluate", refuse)
        patch.setattr(FakeEngine, "admit", refuse)
        return command(argv)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def dry(home: Path, *arguments: str) -> list[str]:
    return ["optimize", *arguments, "--home", str(home), "--engine", ENGINE, "--backend", "cpp", "--dry-run"]


def told(home: Path, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert alone([*dry(home, *arguments), "--json"]) == code
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def dump(home: Path) -> list[str]:
    with sqlite3.connect(home / "store.db") as db:
        lines = list(db.iterdump())
    db.close()
    return lines


def test_it_shows_prompt_model_place_and_parameters(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = reference(tmp_path)
    more = ("--temperature", "0.5", "--answer-tokens", "1000", "--prompt-tokens", "4000", "--steps", "plan,code")
    data = told(home, capsys, task, *SERVED, *more, "--budget", "5", "--price", "2,10")
    (first,) = data["tasks"]
    assert (first["task"], first["stage"], first["role"]) == (task, "draft", "plan")
    assert "class Model(nn.Module)" in first["prompt"]
    assert 0 < first["tokens"] <= 4000
    assert first["left_out"]
    (model,) = data["models"]
    assert (model["model"], model["endpoint"]) == ("openai/mine", "models.test:8000")
    assert model["parameters"]["temperature"] == 0.5
    assert model["parameters"]["max_tokens"] == 1000
    assert model["parameters"]["seed"] == first["seed"]
    assert "messages" not in model["parameters"]
    assert data["sends"] is True
    assert data["calls_at_most"] == 10
    a_call = 6000 + 1000  # a prompt at its cap, half as much again; and the answer
    assert a_call <= model["tokens_a_call"] <= a_call + 100
    assert model["cost_usd_a_call"] == pytest.approx((6000 * 2 + 1000 * 10) / 1e6, rel=0.02)
    assert data["tokens_at_most"] == 10 * model["tokens_a_call"]
    assert data["cost_usd_at_most"] == pytest.approx(10 * model["cost_usd_a_call"])


def test_the_prompt_is_the_one_that_a_run_then_sends(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = load_task(reference(tmp_path))
    first = told(home, capsys, task.name, *SERVED, "--policy", "greedy", "--seed", "4")["tasks"][0]
    script(home, kernel("passed 1.5"))
    config = RunConfig((), (task.name,), "cpp", LEDGERED, policy="greedy", budget=1, seed=4, engine=ENGINE)
    sent = start(config, [task], Workspace.at(home, None), Silence()).steps[0]
    assert sent.answer is not None
    assert sent.answer.prompt == first["prompt"]
    assert sent.idea.seed == first["seed"]


def test_nothing_is_kept(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = load_task(reference(tmp_path))
    told(home, capsys, task.name, *SERVED)
    assert not (home / "store.db").exists()
    assert not (home / "runs").exists()
    script(home, kernel("passed 1.5"))
    config = RunConfig((), (task.name,), "cpp", LEDGERED, budget=2, engine=ENGINE, repairs=0)
    start(config, [task], Workspace.at(home, None), Silence())
    before, runs = dump(home), list((home / "runs").iterdir())
    data = told(home, capsys, task.name, *SERVED)
    assert data["tasks"][0]["prompt"]
    assert dump(home) == before
    assert list((home / "runs").iterdir()) == runs


def test_an_unknown_price_is_said_and_refused_where_money_is_limited(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = reference(tmp_path)
    data = told(home, capsys, task, *SERVED)
    assert data["models"][0]["cost_usd_a_call"] is None
    assert data["cost_usd_at_most"] is None
    error = told(home, capsys, task, *SERVED, "--max-usd", "1", code=2)["error"]
    assert "price of openai/mine is unknown" in error["message"]
    assert "--price" in error["remedy"]


def test_limits_bound_what_a_run_can_come_to(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ("--max-usd", "0.5", "--max-tokens", "90000")
    data = told(home, capsys, reference(tmp_path), *SERVED, "--price", "2,10", *limits)
    assert (data["cost_usd_at_most"], data["tokens_at_most"]) == (0.5, 90000)


def test_an_ensemble_is_bounded_by_its_dearest_member(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ("--model", "openai/a,openai/b", "--api-base", "http://models.test/v1", "--budget", "3")
    data = told(home, capsys, reference(tmp_path), *models, "--price", "openai/a=1,1", "--price", "openai/b=5,5")
    cheap, dear = data["models"]
    assert dear["cost_usd_a_call"] == pytest.approx(5 * cheap["cost_usd_a_call"])
    assert data["cost_usd_at_most"] == pytest.approx(3 * dear["cost_usd_a_call"])


@pytest.mark.parametrize(
    ("model", "why"), [("playbook", "calls no model"), ("exchange", "somebody else"), ("replay", "are repeated")]
)
def test_writers_that_send_nothing_say_so(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, why: str
) -> None:
    task = load_task(reference(tmp_path))
    if model == "replay":
        script(home, kernel("passed 1.5"))
        config = RunConfig((), (task.name,), "cpp", LEDGERED, budget=1, engine=ENGINE)
        model = f"replay:{start(config, [task], Workspace.at(home, None), Silence()).run.id}"
    data = told(home, capsys, task.name, "--model", model)
    assert data["sends"] is False
    assert why in data["reason"]
    assert (data["calls_at_most"], data["cost_usd_at_most"], data["tasks"]) == (0, 0.0, [])
    assert alone(dry(home, task.name, "--model", model)) == 0
    assert "nothing is sent" in capsys.readouterr().out


def test_on_a_terminal_prompts_are_files(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = load_task(reference(tmp_path))
    assert alone(dry(home, task.name, *SERVED)) == 0
    out = capsys.readouterr().out
    file = home / "dry-run" / f"{task.slug}.md"
    assert str(file) in out.replace("\n", "")
    assert "class Model(nn.Module)" in file.read_text()
    for words in ("openai/mine at models.test:8000", "at most 30 calls", "unknown price: give --price", "nothing was sent"):
        assert words in out
