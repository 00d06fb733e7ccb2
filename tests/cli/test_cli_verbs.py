"""Verbs from the command line, in process: objects, tables, exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent.cli.app import VERBS, run

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(path))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def call(home: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command line with ``--json``: exit code and the one object on stdout."""

    def call(*arguments: str) -> tuple[int, Any]:
        code = run([*arguments, "--json"])
        out = capfd.readouterr().out
        assert out.count("\n") == 1, out
        return code, json.loads(out)

    return call


@pytest.fixture
def say(home: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line for a person: exit code, stdout, stderr."""

    def say(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        done = capfd.readouterr()
        return code, done.out, done.err

    return say


def optimize(*tasks: str, budget: int = 3) -> list[str]:
    return ["optimize", *tasks, "--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--budget", str(budget)]


def test_optimize_prints_the_contract(call: Run, home: Path, tmp_path: Path) -> None:
    script(home, kernel("incorrect"), kernel("passed 1.5"), kernel("passed 1.2", 2))
    code, data = call(*optimize(reference(tmp_path)))
    assert code == 0
    assert set(data) >= {"run", "tasks"}
    (task,) = data["tasks"]
    assert set(task) == {"task", "status", "attempts", "best", "cost_usd", "reason"}
    assert (task["status"], task["attempts"], task["cost_usd"]) == ("improved", 3, 0.75)
    best = task["best"]
    assert set(best) == {"kernel_id", "path", "latency_us", "speedup", "roofline_fraction", "library_share"}
    assert set(best["speedup"]) == {"eager", "compile", "best"}
    eager = best["speedup"]["eager"]
    assert set(eager) == {"median", "low", "high"}
    assert 1.48 < eager["low"] <= eager["median"] == 1.5 <= eager["high"] < 1.52
    assert best["latency_us"] == pytest.approx(66.67, rel=1e-3)
    assert "ModelNew" in Path(best["path"]).read_text()
    assert call("resume", data["run"]) == (0, data)


def test_optimize_for_a_person_ends_with_a_table_and_the_paths(say: Any, home: Path, tmp_path: Path) -> None:
    script(home, kernel("incorrect"), kernel("passed 1.5"))
    code, out, err = say(*optimize(reference(tmp_path), budget=2))
    assert code == 0
    for shown in ("improved", "66.7 us", "[66.", "1.50x", "[1.", "1.20x", "kernel.py", "report.html"):
        assert shown in out
    assert "1/2: incorrect" in err
    assert "2/2: passed, 1.50x eager" in err


def test_a_simulated_pass_is_solved_without_figures(call: Run, home: Path, tmp_path: Path) -> None:
    script(home, kernel("untimed"))
    code, data = call(*optimize(reference(tmp_path), budget=1))
    assert code == 0
    best = data["tasks"][0]["best"]
    assert data["tasks"][0]["status"] == "solved"
    assert best["latency_us"] is None
    assert best["speedup"] == {"eager": None, "compile": None, "best": None}


@pytest.mark.parametrize("answers", [[""], ["I cannot help with that."], [kernel("incorrect")]])
def test_rubbish_nothing_or_wrong_is_unsolved(call: Run, home: Path, tmp_path: Path, answers: list[str]) -> None:
    script(home, *answers)
    code, data = call(*optimize(reference(tmp_path), budget=2))
    assert code == 1
    assert (data["tasks"][0]["status"], data["tasks"][0]["attempts"]) == ("unsolved", 2)
    assert data["tasks"][0]["best"] is None
    assert data["tasks"][0]["reason"]


def test_a_task_that_does_not_load_stops_no_other(call: Run, home: Path, tmp_path: Path) -> None:
    script(home, kernel("passed 2"))
    broken, lacking = tmp_path / "broken.py", tmp_path / "lacking.py"
    broken.write_text("def (:\n")
    lacking.write_text("import torch\nclass Model(torch.nn.Module):\n    pass\n")
    code, data = call(*optimize(str(broken), reference(tmp_path), str(lacking), "no/such/task", budget=1))
    assert code == 1
    rows = {Path(task["task"]).stem: task for task in data["tasks"]}
    assert {name: row["status"] for name, row in rows.items()} == {
        "broken": "refused", "add": "improved", "lacking": "refused", "task": "refused",
    }  # fmt: skip
    assert "get_inputs" in rows["lacking"]["reason"]


@pytest.mark.parametrize("text", ["def (:\n", "import torch\n", "\0", ""])
def test_a_file_that_is_no_task_alone_is_a_run_with_a_refusal(call: Run, tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    code, data = call(*optimize(str(path)))
    assert code == 1
    assert data["tasks"][0]["status"] == "refused"
    assert data["tasks"][0]["reason"]
    assert data["tasks"][0]["attempts"] == 0


@pytest.mark.parametrize(
    ("arguments", "message", "remedy"),
    [
        (["optimize"], "no task is named", "--suite quickstart"),
        (["optimize", "nonsense_task"], "unknown task 'nonsense_task'", "kernelwright tasks"),
        (["optimize", "missing.py"], "missing.py", "path"),
        (["optimize", "--suite", "moon"], "unknown suite 'moon'", "quickstart"),
        (["optimize", "add.py", "--backend", "fortran"], "unknown backend 'fortran'", "cpp, cuda, pallas, triton, ttlang"),
        (["optimize", "add.py", "--policy", "random"], "unknown policy 'random'", "beam, evokernel, evolve, greedy, mcts"),
        (["optimize", "add.py", "--engine", "moon"], "unknown engine 'moon'", "bundle, local"),
        (["optimize", "add.py", "--device", "toaster"], "unknown device 'toaster'", "cpu"),
        (["optimize", "add.py", "--model", "nonsense"], "unknown model 'nonsense'", "playbook"),
        (["optimize", "add.py", "--model", "openai/gpt-5"], "no key for model openai/gpt-5", "OPENAI_API_KEY"),
        (["optimize", "add.py", "--model", "replay:nothing"], "no recording 'nothing'", "none"),
        (["optimize", "add.py", "--budget", "0"], "--budget is 0", "at least 1"),
        (["optimize", "add.py", "--budget", "many"], "many", "--help"),
        (["optimize", "add.py", "--jobs", "-2"], "--jobs is -2", "at least 1"),
        (["optimize", "add.py", "--target", "-1"], "--target is -1.0", "1.5"),
        (["optimize", "add.py", "--model", "playbook", "--wait"], "--wait is there for a model", "--model exchange"),
        (["optimize", "add.py", "--rejudge"], "--rejudge", "replay:RUN"),
        (["optimize", "add.py", "--colour"], "--colour", "--help"),
        (["resume", "nothing"], "unknown run 'nothing'", "none"),
        (["resume"], "RUN", "--help"),
        (["report", "nothing"], "unknown run 'nothing'", "none"),
        (["bundle", "create", "nothing", "--out", "x"], "unknown run 'nothing'", "none"),
        (["bundle", "merge", "nothing"], "manifest.json cannot be read", "bundle create"),
        (["exchange", "submit", "nobody", "add.py"], "unknown idea 'nobody'", "none"),
        (["exchange", "show", "nobody"], "unknown idea 'nobody'", "none"),
        (["exchange", "eat"], "eat", "--help"),
        (["memory", "search", "x", "-n", "0"], "-n is 0", "at least 1"),
        (["tasks", "nonsense_task"], "unknown task 'nonsense_task'", "tasks"),
        (["check", "missing.py", "--task", "add.py"], "missing.py cannot be read", "file"),
        (["check", "add.py", "--task", "nonsense_task"], "unknown task 'nonsense_task'", "tasks"),
        (["check", "add.py"], "--task", "--help"),
        (["check", "add.py", "--task", "add.py", "--rtol", "7"], "--rtol is 7", "1e-3"),
        (["check", "add.py", "--task", "add.py", "--sandbox", "no"], "--sandbox is 'no'", "auto, strict, off"),
        (["optimize", "add.py", "--sandbox", "no"], "--sandbox is 'no'", "auto, strict, off"),
        (["check", "add.py", "--task", "add.py", "--backend", "fortran"], "unknown backend 'fortran'", "cpp"),
        (["dance"], "unknown verb 'dance'", "optimize"),
    ],
)
def test_wrong_usage(call: Run, say: Any, home: Path, tmp_path: Path, arguments: list[str], message: str, remedy: str) -> None:
    """Exit code 2; one line with the value and the expectation, one with the remedy; the same as JSON."""
    reference(tmp_path)
    script(home, kernel("passed 2"))
    code, data = call(*arguments)
    assert code == 2
    assert set(data) == {"error"}
    assert message in data["error"]["message"]
    assert remedy in data["error"]["remedy"], data
    code, out, err = say(*arguments)
    assert code == 2
    assert out == ""
    lines = err.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "remedy"]
    assert "Traceback" not in err


def test_a_workspace_that_cannot_be_written(call: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for verb in (["runs"], optimize(reference(tmp_path)), ["memory", "stats"], ["exchange", "list"]):
        code, data = call(*verb, "--home", str(tmp_path / "file" / "home"))
        assert code == 2
        assert "cannot be written" in data["error"]["message"]
        assert "--home" in data["error"]["remedy"]


def test_a_workspace_of_a_newer_schema(call: Run, home: Path, tmp_path: Path) -> None:
    import sqlite3

    assert call("runs") == (0, {"runs": [], "benches": []})
    with sqlite3.connect(home / "store.db") as db:
        db.execute("update kernelwright set value = '999' where key = 'schema'")
    db.close()
    for verb in (["runs"], optimize(reference(tmp_path)), ["resume", "x"], ["memory", "stats"]):
        code, data = call(*verb)
        assert code == 2
        assert "schema 999" in data["error"]["message"]
        assert "upgrade" in data["error"]["remedy"]


def test_a_harness_failure_is_3_and_the_run_can_be_resumed(call: Run, home: Path, tmp_path: Path) -> None:
    script(home, kernel("passed 1.5"), kernel("broken"))
    code, data = call(*optimize(reference(tmp_path)))
    assert code == 3
    assert "broken" in data["error"]["message"]
    _, listed = call("runs")
    (row,) = listed["runs"]
    assert row["status"] == "interrupted"


def test_the_unforeseen_is_3_without_a_traceback(say: Any, home: Path, tmp_path: Path) -> None:
    code, _, err = say("optimize", reference(tmp_path), "--model", "pathlib:Path")
    assert code == 3
    assert err.startswith("error: the harness failed")
    assert "KERNELWRIGHT_DEBUG" in err
    assert "Traceback" not in err


def test_runs_newest_first(call: Run, home: Path, tmp_path: Path) -> None:
    script(home, kernel("passed 1.5"))
    ids = [call(*optimize(reference(tmp_path), budget=1))[1]["run"] for _ in range(2)]
    code, data = call("runs")
    assert code == 0
    assert [row["run"] for row in data["runs"]] == ids[::-1]
    assert {row["status"] for row in data["runs"]} == {"finished"}


def test_report_writes_the_page_again(call: Run, home: Path, tmp_path: Path) -> None:
    script(home, kernel("passed 1.5"))
    _, data = call(*optimize(reference(tmp_path), budget=1))
    page = Path(data["report"])
    before = page.read_text()
    page.unlink()
    assert call("report", data["run"]) == (0, {"run": data["run"], "report": str(page)})
    assert page.read_text() == before


def test_exchange_from_prompt_to_winner(call: Run, say: Any, home: Path, tmp_path: Path) -> None:
    task = reference(tmp_path)
    line = ["optimize", task, "--model", "exchange", "--engine", ENGINE, "--backend", "cpp", "--budget", "2"]
    code, data = call(*line)
    assert code == 1
    assert (data["status"], data["tasks"][0]["status"]) == ("waiting", "waiting")
    for judge in ("incorrect", "passed 1.5"):
        _, waiting = call("exchange", "next")
        row = waiting["exchange"]
        assert row["run"] == data["run"]
        assert "class Model" in Path(row["prompt"]).read_text()
        answer = tmp_path / "answer.md"
        answer.write_text(kernel(judge))
        code, out, _ = say("exchange", "submit", row["id"], str(answer))
        assert code == 0
        assert f"kernelwright resume {data['run']}" in out
        code, data = call("resume", data["run"])
    assert code == 0
    assert (data["tasks"][0]["status"], data["tasks"][0]["attempts"]) == ("improved", 2)
    assert call("exchange", "next") == (0, {"exchange": None})
    _, listed = call("exchange", "list")
    assert [row["answered"] for row in listed["exchange"]] == [True, True]
    assert [row["id"] for row in listed["exchange"]] == sorted(row["id"] for row in listed["exchange"])


def test_replay_from_the_command_line(call: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(home, kernel("incorrect"), kernel("passed 1.5"))
    _, first = call(*optimize(reference(tmp_path), budget=2))
    (home / "script.json").unlink()
    code, again = call("optimize", "--model", f"replay:{first['run']}")
    assert code == 0
    del first["tasks"][0]["best"]["path"], again["tasks"][0]["best"]["path"]
    assert again["tasks"][0]["cost_usd"] == 0.0
    assert again["tasks"] == [{**first["tasks"][0], "cost_usd": 0.0}]
    code, judged = call("optimize", "--model", f"replay:{first['run']}", "--rejudge", "--engine", ENGINE)
    assert code == 0
    assert judged["rejudged"] == {"compared": 2, "differences": []}


def test_memory_verbs(call: Run, home: Path, tmp_path: Path) -> None:
    script(home, kernel("incorrect"), kernel("passed 1.5"))
    call(*optimize(reference(tmp_path), budget=2))
    code, held = call("memory", "stats")
    assert code == 0
    assert held["memory"]["attempts"] == 2
    assert held["memory"]["experiences"] > 2
    code, rebuilt = call("memory", "rebuild")
    assert code == 0
    assert rebuilt["memory"]["indexed"] == held["memory"]["indexed"]
    code, found = call("memory", "search", "add one", "--backend", "cpp", "-n", "3")
    assert code == 0
    assert len(found["memory"]) == 3
    assert {"id", "kind", "lesson", "similarity", "q"} <= set(found["memory"][0])


def test_tasks_lists_and_shows(call: Run, say: Any, tmp_path: Path) -> None:
    code, data = call("tasks")
    assert code == 0
    assert len(data["tasks"]) >= 16
    assert len({row["category"] for row in data["tasks"]}) >= 8
    name = data["tasks"][0]["task"]
    _, one = call("tasks", name)
    assert one["tasks"][0]["record"]["source"]
    _, suite = call("tasks", "--suite", "quickstart")
    assert 4 <= len(suite["tasks"]) <= 6
    code, out, _ = say("tasks", name)
    assert code == 0
    assert "class Model" in out


def test_doctor_says_what_there_is_and_what_is_missing(call: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-hidden-value")
    code, data = call("doctor")
    rows = {row["what"]: row for row in data["doctor"]}
    assert code == 0
    assert {"python", "torch", "C++ compiler", "triton", "chromadb", "litellm", "model keys", "workspace"} <= set(rows)
    assert {"sandbox namespaces", "sandbox landlock", "sandbox seccomp"} <= set(rows)
    assert rows["model keys"]["found"] == "ANTHROPIC_API_KEY"
    assert "sk-hidden-value" not in json.dumps(data)
    assert data["defaults"]["model"].startswith("anthropic/")
    for row in data["doctor"]:
        assert bool(row["found"]) or bool(row["problem"])
    code, broken = call("doctor", "--home", "/proc/nowhere")
    assert code == 1
    assert not broken["ok"]


def test_the_default_model_is_the_playbook_without_a_key(call: Run) -> None:
    _, data = call("doctor")
    assert data["defaults"]["model"] == "playbook"


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help_with_an_example_and_json(say: Any, verb: str) -> None:
    code, out, _ = say(verb, "--help")
    assert code == 0
    assert re.search(rf"Examples:\s+kernelwright {verb}", out)
    assert "--json" in out or "Commands:" in out


def test_overview_lists_every_verb(say: Any) -> None:
    code, out, _ = say("--help")
    assert code == 0
    for verb in VERBS:
        assert f"\n  {verb} " in out
    assert say("--version")[1].startswith("kernelwright ")
    assert say()[0] == 2
