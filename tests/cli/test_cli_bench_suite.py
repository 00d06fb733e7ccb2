"""``kernelwright bench --suite``: records, exit codes, samples that know nothing of each other, and going on after a kill."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain
import pytest
from processes import spawn, told, until
from scripted import ENGINE, MODEL, kernel, script
from tiny_suite import SUITE, clone

from kernelwright.agent.cli.app import run
from kernelwright.agent.workspace import Workspace

Call = Callable[..., tuple[int, Any]]
FAKE = ("--engine", ENGINE, "--backend", "cpp")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(path))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def call(home: Path, capfd: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, Any]:
        code = run([*arguments, "--json"])
        out = capfd.readouterr().out
        assert out.count("\n") == 1, out
        return code, json.loads(out)

    return call


@pytest.fixture
def two(tmp_path: Path) -> str:
    return str(clone(tmp_path / "clone", "level1/1_add", "level2/2_plus"))


def bench(path: str, *more: str, attempts: int = 2, samples: int = 2) -> list[str]:
    sized = ("--samples", str(samples), "--attempts", str(attempts))
    return ["bench", "--suite", SUITE, "--path", path, "--model", MODEL, *FAKE, *sized, *more]


def lines(home: Path, bench_id: str) -> list[Any]:
    return [json.loads(line) for line in (home / "runs" / bench_id / "results.jsonl").read_text().splitlines()]


def test_one_record_a_task_and_sample(call: Call, home: Path, two: str) -> None:
    script(home, kernel("build_failed"), kernel("passed 1.5"), kernel("passed 2"))
    code, data = call(*bench(two))
    assert (code, data["status"], data["counts"]) == (0, "finished", {"improved": 4})
    first, *records = lines(home, data["bench"])
    assert records == data["records"]
    assert {key: first[key] for key in ("format", "kind", "suite", "tasks", "samples", "attempts", "model")} == {
        "format": 1,
        "kind": "bench",
        "suite": SUITE,
        "tasks": 2,
        "samples": 2,
        "attempts": 2,
        "model": MODEL,
    }
    assert [(r["task"], r["level"], r["sample"], r["seed"]) for r in records] == [
        ("tiny/level1/1_add", "level1", 1, 0),
        ("tiny/level2/2_plus", "level2", 1, 0),
        ("tiny/level1/1_add", "level1", 2, 1),
        ("tiny/level2/2_plus", "level2", 2, 1),
    ]
    one = records[0]
    assert (one["compiled"], one["correct"], one["first_correct"], one["attempts"]) == (True, True, 2, 2)
    assert one["speedup"]["eager"][0] == pytest.approx(1.5)
    assert one["speedup"]["best"][0] == pytest.approx(1.2)
    assert one["latency_us"][1] <= one["latency_us"][0] <= one["latency_us"][2]
    assert one["cost_usd"] == pytest.approx(0.5)
    figures = data["summary"]["all"]
    assert (figures["tasks"], figures["samples"], figures["solved"]) == (2, 4, 2)
    assert set(data["summary"]["levels"]) == {"level1", "level2"}
    assert call("resume", data["bench"]) == (0, data)


def test_what_failed_and_what_does_not_load(call: Call, home: Path, two: str) -> None:
    (Path(two) / "level2" / "3_broken.py").write_text("def (")
    script(home, kernel("build_failed"))
    code, data = call(*bench(two, samples=1))
    assert code == 1
    by_task = {r["task"]: r for r in data["records"]}
    assert [by_task[t]["status"] for t in sorted(by_task)] == ["unsolved", "unsolved", "refused"]
    failed = by_task["tiny/level1/1_add"]
    assert (failed["compiled"], failed["correct"], failed["speedup"], failed["kernel_id"]) == (False, False, None, None)
    assert "3_broken" in by_task["tiny/level2/3_broken"]["reason"]


def test_levels_and_tasks_choose(call: Call, home: Path, two: str) -> None:
    script(home, kernel("passed 1.5"))
    for chosen in (("--levels", "2"), ("--tasks", "2"), ("--tasks", "none,2_plus", "--levels", "level2")):
        _, data = call(*bench(two, *chosen, attempts=1, samples=1))
        assert [r["task"] for r in data["records"]] == ["tiny/level2/2_plus"]
    _, data = call("bench", "--suite", "quickstart", "--tasks", "rms_norm", "--model", MODEL, *FAKE, "--attempts", "1")
    assert [r["task"] for r in data["records"]] == ["core/normalization/rms_norm"]


def test_a_task_is_solved_where_one_sample_solved_it(call: Call, two: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name, judge in {"1_a": "incorrect", "1_b": "untimed", "2_a": "passed 2"}.items():
        (theirs / f"{name}.py").write_text(f"# judge: {judge}\nclass ModelNew:\n    pass\n")
    code, data = call("bench", "--suite", SUITE, "--path", two, "--solutions", str(theirs), *FAKE)
    assert code == 0
    assert data["counts"] == {"unsolved": 1, "solved": 1, "improved": 1}


def test_for_a_person_there_is_a_table_by_level(home: Path, two: str, capfd: pytest.CaptureFixture[str]) -> None:
    script(home, kernel("passed 1.5"))
    (Path(two) / "level2" / "3_broken.py").write_text("def (")
    assert run(bench(two, attempts=1, samples=2)) == 1
    done = capfd.readouterr()
    rows = {line.split()[0]: line.split()[1:] for line in done.out.splitlines() if line.strip()}
    assert rows["level1"][:7] == ["1", "1", "2", "2", "0", "0", "0"]
    assert rows["level2"][:7] == ["2", "1", "4", "2", "0", "0", "2"]
    assert rows["all"][:7] == ["3", "2", "6", "4", "0", "0", "2"]
    assert rows["against"] == ["fast_0", "fast_1", "fast_1.5", "fast_2", "fast_5", "geometric", "mean"]
    assert rows["compile"] == ["67%", "67%", "0%", "0%", "0%", "1.20x", "over", "2"]
    assert "pass@2 67%" in done.out
    assert "3_broken" in done.out
    assert "results.jsonl" in done.out
    assert "sample 2 of 2" in done.err


def test_no_sample_recalls_what_another_learned(call: Call, home: Path, two: str) -> None:
    script(home, kernel("passed 1.5"), kernel("passed 2", 2), kernel("incorrect", 3))
    _, data = call(*bench(two, attempts=3))
    store = Workspace.at(home, None).open_store()
    for sample in (1, 2):
        run_id = f"{data['bench']}-s{sample}"
        steps = store.steps(run_id)
        assert len(steps) == 6
        for step in steps:
            context = step.context
            assert not [item for item in context.items if item.experience.task.startswith("tiny/")]
            others = (*context.relatives, *context.history, *([context.start] if context.start else []))
            assert {attempt.idea.run for attempt in others} <= {run_id}
    store.close()


def test_a_bench_is_listed_once_and_its_samples_when_asked_for(
    call: Call, home: Path, two: str, capfd: pytest.CaptureFixture[str]
) -> None:
    script(home, kernel("passed 1.5"))
    _, data = call(*bench(two, attempts=1))
    (home / "runs" / "bench-broken").mkdir()
    (home / "runs" / "bench-broken" / "bench.json").write_text("{")
    _, listed = call("runs")
    assert [row["bench"] for row in listed["runs"]] == [data["bench"]] * 2
    first, broken = listed["benches"]
    assert [first[key] for key in ("bench", "status", "tasks", "solved", "samples")] == [data["bench"], "finished", 2, 2, 2]
    assert (broken["bench"], broken["status"]) == ("bench-broken", "unreadable")
    assert run(["runs"]) == 0
    out = capfd.readouterr().out
    assert data["bench"] in out
    assert f"{data['bench']}-s1" not in out
    assert run(["runs", "--samples"]) == 0
    assert f"{data['bench']}-s1" in capfd.readouterr().out


def test_the_budget_is_the_benchs_and_shared_evenly(call: Call, home: Path, two: str) -> None:
    script(home, *(kernel("passed 1.5", n) for n in range(9)))  # 0.25 US dollars each
    code, data = call(*bench(two, "--max-usd", "2", attempts=3))
    assert code == 0
    costs = Counter({1: 0.0, 2: 0.0})
    for record in data["records"]:
        costs[record["sample"]] += record["cost_usd"]
    assert costs == {1: 1.0, 2: 1.0}
    assert [r["attempts"] for r in data["records"]] == [3, 1, 3, 1]
    assert "budget" in data["records"][1]["reason"]


def test_a_task_has_a_budget_of_its_own(call: Call, home: Path, two: str) -> None:
    script(home, *(kernel("passed 1.5", n) for n in range(9)))
    code, data = call(*bench(two, "--task-usd", "0.5", attempts=4, samples=1))
    assert (code, data["counts"]) == (0, {"improved": 2})
    assert [(r["attempts"], r["cost_usd"]) for r in data["records"]] == [(2, 0.5), (2, 0.5)]
    assert all("$0.50 a task spent" in r["reason"] for r in data["records"])


def test_kill_9_loses_nothing_that_was_committed(tmp_path: Path, home: Path, two: str) -> None:
    script(home, kernel("passed 1.2"), f"~60 {kernel('passed 1.5', 2)}")
    asked = home / "asked"
    process = spawn(home, *bench(two, samples=2))
    until(lambda: asked.is_file() and len(asked.read_text().split()) == 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (folder,) = home.glob("runs/bench-*[0-9a-f]/bench.json")
    bench_id = folder.parent.name
    assert [line["kind"] for line in lines(home, bench_id)[:1]] == ["bench"]
    script(home, "never", kernel("passed 1.5", 2))
    then = spawn(home, "resume", bench_id)
    data = told(then)
    assert then.returncode == 0
    assert data["counts"] == {"improved": 4}
    assert len(lines(home, bench_id)) == 5
    counts = Counter(asked.read_text().split())
    assert sum(counts.values()) == 9  # the answer that was being written is asked for again, nothing else is
    assert max(counts.values()) == 2


def test_ctrl_c_leaves_with_130_and_says_how_to_go_on(tmp_path: Path, home: Path, two: str) -> None:
    script(home, kernel("sleep 1.5; passed 1.2"), kernel("passed 1.5", 2))
    asked = home / "asked"
    process = spawn(home, *bench(two, samples=2))
    until(lambda: asked.is_file(), process)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    data = json.loads(out)
    assert (data["status"], data["records"]) == ("interrupted", [])
    assert f"kernelwright resume {data['bench']}" in err
    script(home, kernel("passed 1.2"), kernel("passed 1.5", 2))
    then = spawn(home, "resume", data["bench"])
    assert told(then)["status"] == "finished"
    assert then.returncode == 0


def test_a_sample_that_waits_holds_up_the_next_until_it_is_resumed(call: Call, home: Path, two: str) -> None:
    script(home, "!pending")
    code, data = call(*bench(two, attempts=1))
    assert (code, data["status"], data["records"]) == (1, "waiting", [])
    assert {i.rpartition("-s")[2][0] for i in (home / "asked").read_text().split()} == {"1"}
    script(home, kernel("passed 1.5"))
    code, data = call("resume", data["bench"])
    assert (code, data["status"], data["counts"]) == (0, "finished", {"improved": 4})


def test_an_error_says_how_the_bench_goes_on(call: Call, home: Path, two: str) -> None:
    script(home, "!writer")
    code, data = call(*bench(two, attempts=1))
    assert code == 2
    (folder,) = home.glob("runs/*/bench.json")
    assert f"kernelwright resume {folder.parent.name}" in data["error"]["remedy"].split("; ")[-1]
    script(home, kernel("passed 1.5"))
    assert call("resume", folder.parent.name)[0] == 0


def test_kernels_of_others_are_judged_once_each(call: Call, home: Path, two: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    says = {"level1/1_a.py": "passed 1.5", "level1/1_b.py": "incorrect", "level2/2_x.py": "cheating", "level2/README.md": ""}
    for name, judge in says.items():
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs / name).write_text(f"# judge: {judge}\nclass ModelNew:\n    pass\n")
    code, data = call("bench", "--suite", SUITE, "--path", two, "--solutions", str(theirs), "--author", "Ada", *FAKE)
    assert code == 1
    found = [(r["solution"], r["sample"], r["status"], r["model"], r["attempts"]) for r in data["records"]]
    assert found == [
        ("level1/1_a.py", 1, "improved", "Ada", 1),
        ("level2/2_x.py", 1, "unsolved", "Ada", 1),
        ("level1/1_b.py", 2, "unsolved", "Ada", 1),
    ]
    assert [r["verdicts"] for r in data["records"]] == [{"passed": 1}, {"cheating": 1}, {"incorrect": 1}]
    assert data["config"]["not_judged"] == {"level2/README.md": "no Python file"}
    (theirs / "level1" / "1_a.py").unlink()  # what was handed in is kept
    assert call("resume", data["bench"]) == (code, data)


def test_only_a_bench_has_kernels_handed_in(call: Call, two: str) -> None:
    code, data = call("optimize", f"{two}/level1/1_add.py", "--model", "submitted", *FAKE)
    assert code == 2
    assert "--solutions" in data["error"]["remedy"]


def test_a_kernel_of_others_is_really_judged(call: Call, home: Path, tmp_path: Path) -> None:
    (tmp_path / "clone" / "level1").mkdir(parents=True)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    task = plain.task(tmp_path, "return x * 2.0")
    for name in ("1_double.py", "2_double.py"):
        (tmp_path / "clone" / "level1" / name).write_text(task.source)
    good = plain.kernel("y = torch.empty_like(x)\nlib.doubled(x.contiguous(), y, x.numel())\nreturn y")
    wrong = plain.kernel("y = torch.empty_like(x)\nlib.doubled(x.contiguous(), y, x.numel() - 1)\nreturn y")
    (theirs / "level_1_problem_1_sample_0_kernel.py").write_text(wrong.source)
    (theirs / "level_1_problem_2_sample_0_kernel.py").write_text(good.source)
    fixed = ("--device", "cpu", "--baselines", "eager", "--timing-seconds", "0.5")
    code, data = call("bench", "--suite", SUITE, "--path", str(tmp_path / "clone"), "--solutions", str(theirs), *fixed)
    first, second = data["records"]
    assert (code, first["correct"], first["compiled"], second["correct"]) == (1, False, True, True)
    assert first["reason"]
    low, high = second["speedup"]["eager"][1:]
    assert 0 < low <= high
    assert second["judge_seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench"], "--suite"),
        (["bench", "--suite", "kernelbench"], "own clone"),
        (["bench", "--suite", "none"], "unknown suite"),
        (["bench", "--suite", SUITE, "--path", "clone", "--levels", "9"], "no tasks"),
        (["bench", "--suite", "quickstart", "--samples", "0"], "--samples is 0"),
        (["bench", "--suite", "quickstart", "--author", "x"], "--author"),
        (["bench", "--suite", "quickstart", "--solutions", "nowhere"], "no such folder"),
        (["bench", "--suite", "quickstart", "--solutions", "clone", "--attempts", "3"], "--attempts"),
        (["bench", "--suite", "quickstart", "--policy", "none"], "unknown policy"),
        (["resume", "bench-none"], "unknown run"),
    ],
)
def test_wrong_usage_writes_nothing(call: Call, home: Path, two: str, arguments: list[str], message: str) -> None:
    code, data = call(*arguments)
    assert code == 2
    assert message in data["error"]["message"]
    assert not list(home.glob("runs/*"))
