"""``kernelwright bench --judge upstream``: the suite's own rule beside our verdicts, and what of its passes does not hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import ENGINE, MODEL, script
from tiny_suite import RULED, SUITE, clone

from kernelwright.agent.cli.app import run

Call = Callable[..., tuple[int, Any]]
FAKE = ("--engine", ENGINE, "--backend", "cpp", "--device", "cpu")
ADDS = """\
# judge: {judge}
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return x + {plus}
"""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, Any]:
        code = run([*arguments, "--json"])
        return code, json.loads(capfd.readouterr().out)

    return call


def theirs(folder: Path, **judged: str) -> str:
    """Kernels for the tasks by number: what the fake engine says of each, and what it adds."""
    folder.mkdir()
    for name, (judge, plus) in ((name, said.split("+")) for name, said in judged.items()):
        (folder / f"{name.removeprefix('k')}.py").write_text(ADDS.format(judge=judge, plus=plus))
    return str(folder)


def test_what_passes_upstream_and_not_here(call: Call, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(clone(tmp_path / "clone", "level1/1_add", "level1/2_plus", "level1/3_odd"))
    given = theirs(tmp_path / "theirs", k1_a="cheating+1", k1_b="passed 2+1", k2_a="passed 2+5", k3_a="incorrect+1")
    command = ["bench", "--suite", RULED, "--path", path, "--solutions", given, "--judge", "upstream", *FAKE]
    code, data = call(*command)
    assert code == 1
    said = {r["solution"]: (r["correct"], (r["upstream"] or {}).get("correct")) for r in data["records"]}
    assert said == {"1_a.py": (False, True), "1_b.py": (True, True), "2_a.py": (True, False), "3_a.py": (False, None)}
    assert [(r["solution"], r["verdicts"]) for r in data["upstream_not_held"]] == [("1_a.py", {"cheating": 1})]
    figures = data["summary"]["all"]["upstream"]
    assert [figures[key] for key in ("judged", "passes", "not_held", "only_here")] == [3, 2, 1, 1]
    assert data["config"]["upstream"]["without_rule"] == {"tiny/level1/3_odd": "upstream compares by code of its own"}
    assert call("resume", data["bench"]) == (code, data)
    assert run(["resume", data["bench"]]) == code
    out = " ".join(capfd.readouterr().out.split())
    assert "2 of 3 samples pass; 1 of these do not hold here" in out
    assert "passes upstream only: tiny/level1/1_add, 1_a.py" in out
    assert "no upstream figure: tiny/level1/3_odd: upstream compares by code of its own" in out
    assert "not computed: speed" in out
    code, exported = call("bench", "export", data["bench"], "--format", "upstream")
    table = exported["export"]["results"]
    assert (code, table["passes"], table["not_held"]) == (0, 2, 1)
    assert [(k["solution"], k["upstream"], k["here"]) for k in table["kernels"]][0] == ("1_a.py", True, "cheating")


def test_without_a_winner_any_attempt_that_upstream_takes_counts(call: Call, tmp_path: Path) -> None:
    path = str(clone(tmp_path / "clone", "level1/1_add"))
    answers = [f"```python\n{ADDS.format(judge='incorrect', plus=plus)}```\n" for plus in (7, 1, 8)]
    script(tmp_path / "home", *answers)
    command = ["bench", "--suite", RULED, "--path", path, "--model", MODEL, *FAKE, "--judge", "upstream", "--attempts", "3"]
    _, data = call(*command, "--repairs", "0")
    (record,) = data["records"]
    assert (record["correct"], record["upstream"]["correct"], record["upstream"]["ours"]) == (False, True, "incorrect")


def test_a_killed_bench_asks_upstream_for_the_rest(call: Call, tmp_path: Path) -> None:
    path = str(clone(tmp_path / "clone", "level1/1_add", "level1/2_plus"))
    given = theirs(tmp_path / "theirs", k1_a="passed 2+1", k2_a="passed 2+2")
    command = ["bench", "--suite", RULED, "--path", path, "--solutions", given, "--judge", "upstream", *FAKE]
    _, data = call(*command)
    kept = sorted((tmp_path / "home" / "runs" / data["bench"] / "upstream").iterdir())
    assert len(kept) == 2
    kept[1].unlink()
    kept[0].write_text(json.dumps({"correct": None, "speedup": None, "detail": "as it was"}))
    _, listed = call("runs")
    assert [bench["status"] for bench in listed["benches"]] == ["interrupted"]
    code, again = call("resume", data["bench"])
    said = [r["upstream"]["correct"] for r in again["records"]]
    assert (code, again["status"], said) == (0, "finished", [None, True])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", SUITE, "--path", "clone", "--judge", "upstream"], "no rule of its own"),
        (["--suite", "quickstart", "--judge", "upstream"], "no rule of its own"),
        (["--suite", "quickstart", "--judge", "theirs"], "--judge is 'theirs'"),
        (["--suite", RULED, "--path", "clone", "--judge", "upstream", "--engine", "bundle"], "--engine bundle"),
    ],
)
def test_where_there_is_no_rule_it_is_said(call: Call, tmp_path: Path, arguments: list[str], message: str) -> None:
    clone(tmp_path / "clone", "level1/1_add")
    fake = [] if "--engine" in arguments else FAKE
    code, data = call("bench", *arguments, "--model", MODEL, *fake)
    assert code == 2
    assert message in data["error"]["message"]
