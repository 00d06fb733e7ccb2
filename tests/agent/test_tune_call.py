"""Tune as it is called: from Python and by the command line, with the ordinary loop and real kernels, on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import script
from torch import nn
from tuned import FAST, LOOP, SLOW, WRONG, Chain, Normed, chain, one_thread, request

import kernelwright
from kernelwright.agent.cli.app import run
from kernelwright.agent.cli.output import Output, show
from kernelwright.agent.tune.request import Request, carry_out
from kernelwright.agent.tune.target import target
from kernelwright.agent.tune.text import markdown
from kernelwright.agent.tune.tune import Tuned
from kernelwright.agent.watch import Silence
from kernelwright.tasks.errors import InputError


def tuned(folder: Path, model: nn.Module, inputs: Any, answer: str, **options: Any) -> Tuned:
    script(folder / "home", answer)
    wanted = request(folder, **options)
    with one_thread():
        return carry_out(wanted, (), lambda where: target("chain", model, inputs, where), Silence(), LOOP)


def test_the_package_stays_light_and_tune_is_there() -> None:
    code = (
        "import sys, kernelwright\n"
        "assert not {'torch', 'numpy', 'sqlalchemy', 'typer'} & set(sys.modules)\n"
        "assert not hasattr(kernelwright, 'tuna')\n"
        "assert kernelwright.tune.__module__ == 'kernelwright.agent.tune.request'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_kernel_that_pays_stays_in_and_can_be_taken_out(tmp_path: Path) -> None:
    model, x = chain()
    before = model.eval()(x)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    result = tuned(tmp_path, model.train(), x, FAST)
    report = result.report
    assert result.model is model
    assert len(report["kernels"]) == 1
    assert report["numerics"]["passed"]
    assert report["numerics"]["oracle"] == "float64"
    assert report["speedup"]["eager"]["low"] > 1
    assert not model.training  # kernels for inference are used in that state only
    with torch.no_grad():
        torch.testing.assert_close(model(x), before)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    result.undo()
    assert type(model) is Chain
    assert torch.equal(model(x), before)


def test_names_between_colons_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show(Output({}, lambda console: console.print("# model.py:llama: inference", markup=False)), as_json=False)
    assert capsys.readouterr().out == "# model.py:llama: inference\n"


@pytest.mark.parametrize(("high", "says"), [(0.9, True), (1.1, False)])
def test_the_report_says_where_the_compiler_alone_is_faster(high: float, says: bool) -> None:
    times = {"eager": 3.0, "compile": 1.0, "tuned": 2.0}
    speedup = {"eager": {"median": 1.5, "low": 1.4, "high": 1.6}, "compile": {"median": 0.5, "low": 0.4, "high": high}}
    report = {"model": "m", "mode": "inference", "device": "cpu", "pass_ms": 3.0, "latency_ms": times, "speedup": speedup}
    report |= {"numerics": None, "kernels": {}, "dropped": {}, "groups": [], "tasks": [], "profile": [], "notes": []}
    text = markdown(report)
    assert ("is faster than the patched model" in text) is says
    assert "1.50x [1.40, 1.60]" in text


def test_a_result_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    tuned(tmp_path, *chain(), FAST)
    first = (tmp_path / "out" / "manifest.json").read_text()
    again, x = chain()
    tuned(tmp_path, again, x, WRONG)
    second = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert json.loads(first)["kernels"]
    assert second["kernels"] == {}
    assert not list((tmp_path / "out" / "kernels").glob("[!_]*.py"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "out"]


@pytest.mark.parametrize(("answer", "why"), [(WRONG, "wrong on the captured inputs"), (SLOW, "does not pay end to end")])
def test_what_the_judge_let_pass_is_still_not_put_in(tmp_path: Path, answer: str, why: str) -> None:
    model, x = chain()
    result = tuned(tmp_path, model, x, answer)
    assert result.report["kernels"] == {}
    assert why in json.dumps([result.report["tasks"], result.report["dropped"]])
    assert type(model) is Chain
    assert model.training  # as it came
    assert "left as it was" in (tmp_path / "out" / "report.md").read_text()


def test_an_interrupt_leaves_model_and_inputs_as_they_were(tmp_path: Path) -> None:
    model, x = Normed(), torch.randn(512, 8)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    given = x.clone()

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(request(tmp_path, mode="training"), (), lambda where: target("c", model, x, where), Silence(), interrupted)
    assert type(model) is Normed
    assert all(module.training for module in model.modules())
    assert torch.equal(x, given)
    for name, value in model.state_dict().items():  # the forwards in training moved the batch norm's statistics
        assert torch.equal(value, state[name]), name
    assert not (tmp_path / "out").exists()


def test_the_python_call_leaves_a_model_alone_where_nothing_may_be_saved(tmp_path: Path) -> None:
    """The way from the call to the folder, and no kernel: an activation is next to nothing beside two large products."""
    model = nn.Sequential(nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1024))
    x = torch.randn(64, 1024)
    before = model(x)
    with one_thread():
        result = kernelwright.tune(
            model, x, out=tmp_path / "out", home=str(tmp_path / "home"), writer="playbook", threshold=0.9, compiled=False
        )
    assert result.report["kernels"] == {}
    assert result.report["tasks"] == []
    assert [row["count"] for row in result.report["groups"]] == [1]
    assert result.report["model"] == "Sequential"
    assert model.training
    assert torch.equal(model(x), before)
    code = "import out, torch; m = torch.nn.ReLU(); assert out.apply(m) is m and type(m) is torch.nn.ReLU"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "fast"}, "mode is 'fast'"),
        ({"budget": 0}, "budget is 0"),
        ({"turn": 0}, "turn is 0"),
        ({"rounds": -1}, "rounds is -1"),
        ({"threshold": 1.0}, "threshold is 1.0"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Request(**options)


@pytest.mark.parametrize("where", ["home", "home/tuned", "home/a/b", "file", "full", "foreign"])
def test_a_folder_that_cannot_take_the_result_is_refused_before_anything_is_spent(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    for folder, name, text in (("full", "notes.txt", ""), ("foreign", "manifest.json", '{"name": "an extension"}')):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    model, x = chain()
    with pytest.raises(InputError, match="--out is") as caught:
        tuned(tmp_path, model, x, FAST, out=tmp_path / where)
    assert str(tmp_path / where) in caught.value.message
    assert "expected" in caught.value.message
    assert caught.value.remedy
    assert not (tmp_path / "home" / "asked").exists()  # the writer was never asked
    assert not (tmp_path / "home" / "store.db").exists()
    assert model.training


def test_the_command_line_refuses_it_with_one_line_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = str(tmp_path / "home")
    example = Path(__file__).parents[2] / "examples" / "gelu_mlp.py"
    command = ["tune", f"{example}:build", "--device", "cpu", "--model", "playbook", "--home", home, "--out", f"{home}/tuned"]
    assert run(command) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in said] == ["error", "remedy"]
    assert "inside the workspace" in said[0]


def test_attempts_go_to_other_groups_once_one_has_had_its_turn(tmp_path: Path) -> None:
    """Two groups of like weight and turns of one attempt: neither takes all of them."""

    class Two(Chain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wide = self.up(super().forward(x))
            return self.down((wide * 2 + 1).clamp(0, 3) * wide + wide * wide - 1)

    result = tuned(tmp_path, Two(), torch.randn(512, 8), FAST, budget=3)
    tasks = [row["task"] for row in result.report["tasks"]]
    assert len(tasks) == 3
    assert len(set(tasks)) == 2
