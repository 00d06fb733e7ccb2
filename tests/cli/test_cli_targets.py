"""One run over several backends: each task once a target, memory between them, one clear line for what cannot be."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import spawn, the_run, told, until
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent import targets
from kernelwright.agent.cli.app import run
from kernelwright.agent.run import resume
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.backends import registry
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.evaluator.worker import judge_all
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.load import load_task

Call = Callable[..., tuple[int, Any]]
FAKES = ["--model", MODEL, "--engine", ENGINE, "--policy", "greedy"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(path))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def call(home: Path, capfd: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, Any]:
        capfd.readouterr()
        code = run([*arguments, "--json"])
        return code, json.loads(capfd.readouterr().out)

    return call


def test_each_task_is_searched_once_a_target(call: Call, home: Path, tmp_path: Path) -> None:
    script(home, kernel("incorrect"), kernel("passed 1.5"))
    names = [reference(tmp_path), reference(tmp_path, "mul", 2)]
    code, data = call("optimize", *names, *FAKES, "--backend", "cpp,triton", "--budget", "2")
    assert code == 0
    assert data["backends"] == ["cpp", "triton"]
    assert [(row["task"], row["backend"]) for row in data["tasks"]] == [
        (name, backend) for name in names for backend in ("cpp", "triton")
    ]
    assert {(row["status"], row["attempts"]) for row in data["tasks"]} == {("improved", 2)}
    assert len({row["best"]["path"] for row in data["tasks"]}) == 4
    assert {row["best"]["assurance"] for row in data["tasks"]} == {"device"}
    store = Workspace.at(home, None).open_store()
    steps = store.steps(data["run"])
    store.close()
    assert Counter(s.answer.kernel.backend for s in steps if s.answer and s.answer.kernel) == {"cpp": 4, "triton": 4}
    rows = [(row["attempt"], row["task"], row["backend"], row["number"]) for row in data["attempts"]]
    assert rows == [(s.idea.id, *s.idea.task.rsplit("@", 1), s.idea.number) for s in steps]
    verdicts = [s.attempt.verdict for s in steps if s.attempt]
    assert [(row["status"], row["assurance"]) for row in data["attempts"]] == [(v.status, v.assurance) for v in verdicts if v]
    assert call("resume", data["run"]) == (code, data)
    (row,) = call("runs")[1]["runs"]
    assert (row["backend"], row["solved"], len(row["tasks"])) == ("cpp,triton", 4, 4)


def test_what_one_target_taught_is_recalled_on_the_next(call: Call, home: Path, tmp_path: Path) -> None:
    script(home, kernel("passed 1.5"), kernel("incorrect", 2))
    _, data = call("optimize", reference(tmp_path), *FAKES, "--backend", "cpp,triton", "--budget", "2")
    store = Workspace.at(home, None).open_store()
    steps = store.steps(data["run"])
    store.close()
    first = next(s for s in steps if s.idea.task.endswith("@triton"))
    lessons = [item.experience for item in first.context.items if item.experience.task.endswith("@cpp")]
    assert [e.kind for e in lessons] == ["success"]
    assert "1.5" in lessons[0].lesson
    assert not first.context.history


def test_the_report_tells_targets_apart_and_means_over_none(call: Call, home: Path, tmp_path: Path) -> None:
    script(home, kernel("passed 1.5"))
    _, data = call("optimize", reference(tmp_path), *FAKES, "--backend", "cpp,triton", "--budget", "1")
    page = Path(data["report"]).read_text()
    assert "add.py@cpp" in page
    assert "add.py@triton" in page
    assert page.count("<td>cpp</td><td>device</td>") == 1
    assert page.count("<td>triton</td><td>device</td>") == 1
    assert "geometric mean against the best baseline" not in page


def test_simulated_alone_claims_no_speedup(call: Call, home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script(home, kernel("untimed"))
    code, data = call("optimize", reference(tmp_path), *FAKES, "--backend", "cpp,pallas", "--budget", "1")
    assert code == 0
    assert {(row["status"], row["best"]["assurance"], row["best"]["latency_us"]) for row in data["tasks"]} == {
        ("solved", "simulated", None)
    }
    assert all(not any(row["best"]["speedup"].values()) for row in data["tasks"])
    run(["resume", data["run"]])
    shown = capfd.readouterr().out
    assert len(re.findall(r"solved +simulated", shown)) == 2
    assert "x [" not in shown


def test_a_target_that_cannot_take_a_task_stops_no_other(call: Call, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "refused.py"
    path.write_text(Path(reference(tmp_path)).read_text() + "\n# admit: not on this one\n")
    script(home, kernel("passed 1.5"))
    code, data = call("optimize", str(path), str(tmp_path / "add.py"), *FAKES, "--backend", "cpp,triton", "--budget", "1")
    assert code == 1
    assert [row["status"] for row in data["tasks"]] == ["refused", "refused", "improved", "improved"]
    assert "not on this one" in data["tasks"][1]["reason"]


def test_kill_9_between_targets_loses_nothing(home: Path, tmp_path: Path) -> None:
    script(home, kernel("passed 1.2"), kernel("passed 1.5", 2))
    task = reference(tmp_path)
    process = spawn(home, "optimize", task, *FAKES, "--backend", "cpp,triton,cuda", "--budget", "2")
    until(lambda: len((home / "asked").read_text().split() if (home / "asked").is_file() else []) >= 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    result = resume(the_run(home).id, Workspace.at(home, None), Silence())
    assert [(o.task.rpartition("@")[2], o.status, o.attempts) for o in result.outcomes] == [
        ("cpp", "improved", 2),
        ("triton", "improved", 2),
        ("cuda", "improved", 2),
    ]
    assert sum(max(0, n - 1) for n in Counter((home / "asked").read_text().split()).values()) <= 1


def test_a_bundle_carries_kernels_of_every_target(call: Call, home: Path, tmp_path: Path) -> None:
    script(home, kernel("passed 1.5"))
    where = ("--engine", "bundle", "--device", "cpu", "--model", MODEL, "--budget", "1")
    code, data = call("optimize", reference(tmp_path), *where, "--backend", "cpp,triton")
    assert (code, {row["status"] for row in data["tasks"]}) == (1, {"waiting"})
    call("bundle", "create", data["run"], "--out", str(tmp_path / "job"))
    made: list[str] = []

    def engine(backend: str, *rest: Any) -> FakeEngine:
        made.append(backend)
        return FakeEngine(backend, *rest)

    assert judge_all(tmp_path / "job", None, engine) == 0
    assert sorted(made) == ["cpp", "triton"]
    assert call("bundle", "merge", str(tmp_path / "job"))[1]["bundle"]["merged"] == 2
    call("resume", data["run"])
    assert sorted(p.name for p in (home / "runs" / data["run"]).glob("device*")) == ["device@cpp.json", "device@triton.json"]


def test_a_replay_repeats_every_target_or_those_that_are_named(call: Call, home: Path, tmp_path: Path) -> None:
    script(home, kernel("passed 1.5"), kernel("incorrect", 2))
    name = reference(tmp_path)
    _, data = call("optimize", name, *FAKES, "--backend", "cpp,triton", "--budget", "2")
    recorded = ["optimize", "--model", f"replay:{data['run']}"]
    _, again = call(*recorded)
    assert [(r["task"], r["backend"], r["attempts"]) for r in again["tasks"]] == [(name, "cpp", 2), (name, "triton", 2)]
    _, one = call(*recorded, "--backend", "triton")
    assert [(r["task"], r["backend"]) for r in one["tasks"]] == [(name, "triton")]
    _, named = call(*recorded[:1], name, *recorded[1:], "--backend", "cpp")
    assert [(r["task"], r["backend"]) for r in named["tasks"]] == [(name, "cpp")]
    code, wrong = call(*recorded, "--backend", "cpp,pallas")
    assert code == 2
    assert "recorded on cpp, triton, and pallas is asked for" in wrong["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "message", "remedy"),
    [
        (["--backend", "cpp,fortran"], "unknown backend 'fortran'", "ascend, cpp, cuda, pallas, triton, ttlang"),
        (["--backend", "cpp,cpp"], "--backend is 'cpp,cpp'", "each once"),
        (["--backend", "cpp,"], "--backend is 'cpp,'", "each once"),
        (["--backend", "cpp", "--portable"], "--portable is given with --backend cpp", "leave one"),
        (["--portable", "--engine", "bundle"], "--engine bundle judges elsewhere", "--backend cpp,triton"),
    ],
)
def test_wrong_usage(call: Call, home: Path, tmp_path: Path, arguments: list[str], message: str, remedy: str) -> None:
    code, data = call("optimize", reference(tmp_path), *arguments)
    assert code == 2
    assert message in data["error"]["message"]
    assert remedy in data["error"]["remedy"]
    assert not call("runs")[1]["runs"]


def test_a_backend_that_is_not_here_is_named_before_the_others_begin(
    call: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "judged_here", lambda name, device, **_: "not installed; install it" * (name == "pallas"))
    code, data = call("optimize", reference(tmp_path), "--backend", "cpp,pallas", "--budget", "1")
    assert code == 2
    assert "backend 'pallas' cannot be judged here: not installed" in data["error"]["message"]
    assert "--backend cpp" in data["error"]["remedy"]
    assert not call("runs")[1]["runs"]


def test_a_bench_takes_one_backend(call: Call, home: Path, tmp_path: Path) -> None:
    code, data = call("bench", "--suite", "quickstart", "--backend", "cpp,triton", "--model", MODEL)
    assert code == 2
    assert "only optimize takes several" in data["error"]["message"]


def test_portable_is_what_passes_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "default_device", lambda: "cpu")
    found, left_out = targets.portable(None, "exchange")
    assert set(found) | set(left_out) == set(registry.BACKENDS)
    assert "cpp" in found
    assert "cuda" in left_out  # nothing passes by compiling alone
    found, left_out = targets.portable(None, "playbook")
    assert "no templates" in left_out["pallas"] or "JAX" in left_out["pallas"]
    with pytest.raises(InputError, match="no CUDA device"):
        targets.portable("cuda", "playbook")


def test_a_task_on_a_target_is_the_same_task(tmp_path: Path) -> None:
    task = load_task(reference(tmp_path))
    there = task.on("triton")
    assert (there.name, there.asked, there.task_id) == (f"{task.name}@triton", task.name, task.task_id)
    assert there.slug != task.slug


@pytest.mark.slow
def test_a_real_run_on_two_backends(home: Path, tmp_path: Path) -> None:
    """The playbook writes both; the CPU times one and simulates the other."""
    process = spawn(home, "optimize", "softmax", "--backend", "cpp,triton", "--budget", "1", "--baselines", "eager")
    data = told(process)
    timed, simulated = data["tasks"]
    assert timed["best"]["assurance"] == "device"
    assert timed["best"]["latency_us"] > 0
    assert simulated["best"]["assurance"] == "simulated"
    assert simulated["best"]["latency_us"] is None
