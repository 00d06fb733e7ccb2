"""``kernelwright bench compare`` and ``bench export`` on files of results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_files import record, write
from scripted import ENGINE, MODEL, kernel, script
from tiny_suite import SUITE, clone

from kernelwright.agent.cli.app import run

Call = Callable[..., tuple[int, Any]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, Any]:
        code = run([*arguments, "--json"])
        return code, json.loads(capfd.readouterr().out)

    return call


def test_tasks_are_paired_and_won_beyond_both_intervals(call: Call) -> None:
    a = [("win", (3.0, 2.9, 3.1)), ("tie", (1.5, 1.3, 1.7)), ("loss", (1.0, 0.9, 1.1)), ("alone", 2.0), ("neither", None)]
    b = [("win", (2.0, 1.9, 2.1)), ("tie", (1.6, 1.4, 1.8)), ("loss", (2.0, 1.9, 2.1)), ("alone", None), ("neither", None)]
    write(Path("a.jsonl"), *(record(f"t/l1/{n}", s) for n, s in a), record("t/l1/extra", 9.0))
    write(Path("b.jsonl"), *(record(f"t/l1/{n}", s) for n, s in b), record("t/l2/more", 9.0), name="bench-b")
    code, data = call("bench", "compare", "a.jsonl", "b.jsonl")
    found = data["compare"]
    assert (code, found["a"], found["b"]) == (0, "bench-a", "bench-b")
    outcomes = {"win": "win", "tie": "tie", "loss": "loss", "alone": "win", "neither": "neither"}
    assert {p["task"].split("/")[-1]: p["outcome"] for p in found["pairs"]} == outcomes
    assert found["ratio"]["median"] == pytest.approx((3 / 2 * 1.5 / 1.6 * 1 / 2) ** (1 / 3))
    assert (found["timed"], found["only_a_solved"], found["only_b_solved"], found["p_value"]) == (3, 1, 0, 1.0)
    assert (found["only_in_a"], found["only_in_b"]) == (["t/l1/extra"], ["t/l2/more"])
    assert found["summary_a"]["all"]["solved"] == 5


def test_comparing_the_other_way_round_mirrors_it(call: Call) -> None:
    write(Path("a.jsonl"), record("t/l1/x", 3.0), record("t/l1/y", 2.0))
    write(Path("b.jsonl"), record("t/l1/x", 2.0), record("t/l1/y", None))
    there, back = (call("bench", "compare", *names)[1]["compare"] for names in (("a.jsonl", "b.jsonl"), ("b.jsonl", "a.jsonl")))
    assert (there["counts"], back["counts"]) == ({"win": 2}, {"loss": 2})
    assert there["ratio"] is back["ratio"] is None  # one task is no interval


def test_more_samples_are_no_advantage(call: Call) -> None:
    write(Path("a.jsonl"), record("t/l1/x", 2.0, 1), record("t/l1/x", 9.0, 2))
    write(Path("b.jsonl"), record("t/l1/x", 3.0, 1))
    assert call("bench", "compare", "a.jsonl", "b.jsonl")[1]["compare"]["counts"] == {"loss": 1}


def test_other_devices_are_refused_unless_asked_for(call: Call) -> None:
    write(Path("a.jsonl"), record("t/l1/x", 2.0))
    write(Path("b.jsonl"), record("t/l1/x", 1.0, device="other"), name="bench-b")
    code, data = call("bench", "compare", "a.jsonl", "b.jsonl")
    assert code == 2
    assert data["error"]["message"] == "different devices: bench-a ran on card and bench-b ran on other"
    assert "--across-devices" in data["error"]["remedy"]
    code, data = call("bench", "compare", "a.jsonl", "b.jsonl", "--across-devices")
    assert (code, data["compare"]["devices"], data["compare"]["counts"]) == (0, ["card", "other"], {"win": 1})


def test_text_has_the_verdict_and_its_uncertainty(call: Call, capfd: pytest.CaptureFixture[str]) -> None:
    for name, speedups in (("a", (3.0, 2.0)), ("b", (2.0, 1.0))):
        write(Path(f"{name}.jsonl"), record("t/l1/x", speedups[0]), record("t/l1/y", speedups[1]))
    assert run(["bench", "compare", "a.jsonl", "b.jsonl"]) == 0
    out = capfd.readouterr().out
    assert "A against B: 2 win, 0 tie, 0 loss, 0 neither, 0 untimed" in out
    assert "A's speedup over B's: 1.73x [1.50, 2.00] (2 tasks that both solved)" in out
    assert "A: solved 2 of 2 tasks, pass@1 100% [100%, 100%]" in out
    assert "A: geometric mean 2.45x [2.00, 3.00] over 2 tasks; apart from it: 0 failed" in out
    assert "A: a solved task: $0.5, 100 tokens, 2 s of judging" in out


def test_a_bench_is_known_by_its_id(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "runs" / "bench-a"
    folder.mkdir(parents=True)
    write(folder / "results.jsonl", record("t/l1/1_x", 2.0))
    assert call("bench", "compare", "bench-a", "bench-a")[1]["compare"]["counts"] == {"tie": 1}
    assert call("bench", "compare", "bench-a", "bench-z")[0] == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 3 is no JSON"),
        ("[]", "line 3 is no JSON object"),
        (json.dumps({"task": "t"}), "line 3 has no 'status'"),
        (json.dumps(record("t/l1/x", 2.0)), "line 3: t/l1/x, sample 1 is there twice"),
        (json.dumps(record("t/l1/y", 2.0, status="unsolved")), "line 3: status 'unsolved' with correct True"),
        (json.dumps(record("t/l1/y", (2.0, 2.5, 3.0))), "is not ordered"),
        (json.dumps(record("t/l1/y", (2.0, 0.0, 3.0))), "is not above 0 and finite"),
    ],
)
def test_a_line_that_is_no_record_is_named(call: Call, line: str, told: str) -> None:
    path = write(Path("a.jsonl"), record("t/l1/x", 2.0))
    path.write_text(path.read_text() + line + "\n")
    code, data = call("bench", "compare", "a.jsonl", "a.jsonl")
    assert code == 2
    assert told in data["error"]["message"]


def test_another_format_is_refused(call: Call) -> None:
    Path("a.jsonl").write_text('{"format": 2, "kind": "bench"}\n')
    assert "format 2; expected kind 'bench', format 1" in call("bench", "compare", "a.jsonl", "a.jsonl")[1]["error"]["message"]


def test_export_has_kernelbenchs_layout(call: Call) -> None:
    solved, failed = record("kernelbench/level1/19_ReLU", 2.0, 2), record("kernelbench/level1/19_ReLU", None, 1)
    write(Path("a.jsonl"), solved, failed, record("kernelbench/level1/1_Square", None, 1, compiled=True))
    code, data = call("bench", "export", "a.jsonl", "--format", "kernelbench", "--out", "runs/mine/eval_results.json")
    found = json.loads(Path("runs/mine/eval_results.json").read_text())
    assert (code, data["export"]["out"]) == (0, "runs/mine/eval_results.json")
    assert list(found) == ["1", "19"]
    keys = ["sample_id", "compiled", "correctness", "runtime"]
    assert [[entry[key] for key in keys] for entry in found["19"]] == [[0, False, False, -1.0], [1, True, True, 0.01]]
    assert found["1"][0]["compiled"] is True
    assert set(found["19"][0]) == {*keys, "metadata", "runtime_stats"}
    assert found["19"][1]["metadata"]["hardware"] == "card"


def test_export_wants_one_level_and_numbered_problems(call: Call) -> None:
    write(Path("a.jsonl"), record("k/level1/1_x", 2.0), record("k/level2/1_y", 2.0), record("k/level3/plain", 2.0))
    export = ("bench", "export", "a.jsonl", "--format", "kernelbench")
    assert "levels level1, level2, level3" in call(*export)[1]["error"]["message"]
    assert list(call(*export, "--level", "level2")[1]["export"]["results"]) == ["1"]
    assert "no problem number" in call(*export, "--level", "level3")[1]["error"]["message"]
    assert "no record of level 'level9'" in call(*export, "--level", "level9")[1]["error"]["message"]
    assert "available: kernelbench" in call("bench", "export", "a.jsonl", "--format", "csv")[1]["error"]["remedy"]


def test_what_a_bench_writes_is_what_is_read(call: Call, tmp_path: Path) -> None:
    script(tmp_path / "home", kernel("build_failed"), kernel("passed 1.5"))
    path = str(clone(tmp_path / "clone", "level1/1_add", "level1/2_plus"))
    sized = ("--engine", ENGINE, "--backend", "cpp", "--attempts", "2", "--samples", "2")
    _, data = call("bench", "--suite", SUITE, "--path", path, "--model", MODEL, *sized)
    code, compared = call("bench", "compare", data["bench"], data["bench"])
    found = compared["compare"]
    assert (code, found["a"], found["counts"], found["ratio"]["median"]) == (0, data["bench"], {"tie": 2}, pytest.approx(1.0))
    figures = found["summary_a"]["levels"]["level1"]
    assert (figures["tasks"], figures["samples"], figures["solved"]) == (2, 4, 2)
    assert figures["against"]["eager"]["geomean"]["median"] == pytest.approx(1.5)
    exported = call("bench", "export", data["bench"], "--format", "kernelbench")[1]["export"]["results"]
    assert {number: [e["correctness"] for e in entries] for number, entries in exported.items()} == {
        "1": [True, True],
        "2": [True, True],
    }
