"""``kernelwright check --evidence``, the evidence that benches leave, and one real judging and judging again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import plain
import pytest
from evidence_files import TASK, evidence, saved, tampered
from scripted import ENGINE, MODEL, kernel, script
from tiny_suite import SUITE, clone

from kernelwright.agent.bench.evidence import name_of
from kernelwright.agent.cli.app import run
from kernelwright.agent.evidence import file, integrity
from kernelwright.agent.evidence.again import judge_again, settings_for
from kernelwright.agent.evidence.make import of_check
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.errors import TaskError

Call = Callable[..., tuple[int, Any]]


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


def test_a_bench_leaves_evidence_of_what_it_solved_and_it_agrees_with_itself(call: Call, home: Path, tmp_path: Path) -> None:
    two = str(clone(tmp_path / "clone", "level1/1_add", "level2/2_plus"))
    script(home, kernel("passed 1.5"), kernel("build_failed", 2))
    asked = ("--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--samples", "2", "--attempts", "1")
    _, data = call("bench", "--suite", SUITE, "--path", two, *asked)
    names = [record["evidence"] for record in data["records"]]
    plus, add = "evidence/tiny-level2-2_plus", "evidence/tiny-level1-1_add"
    assert names == [f"{add}-s1.json", f"{plus}-s1.json", f"{add}-s2.json", f"{plus}-s2.json"]
    folder = home / "runs" / data["bench"]
    for record in data["records"]:
        found, raw = file.read(folder / record["evidence"])
        assert (found.task.name, found.origin.sample, found.origin.run) == (record["task"], record["sample"], record["run"])
        assert found.kernel.kernel_id == record["kernel_id"]
        assert raw["verdict"]["timing"]["speedup"]["best"]["median"] == record["speedup"]["best"][0]
        assert [judging.role for judging in found.judgings] == ["search", "audit", "audit"]
        code, told = call("check", "--evidence", str(folder / record["evidence"]), "--no-judging")
        assert (code, told["holds"], told["fails"]) == (0, True, [])
    before = (folder / names[0]).read_bytes()
    assert call("resume", data["bench"])[1]["records"] == data["records"]
    assert (folder / names[0]).read_bytes() == before


def test_what_was_not_solved_has_no_evidence(call: Call, home: Path, tmp_path: Path) -> None:
    script(home, kernel("incorrect"))
    path = str(clone(tmp_path / "clone", "level1/1_add"))
    asked = ("--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--attempts", "1")
    _, data = call("bench", "--suite", SUITE, "--path", path, *asked)
    assert [record["evidence"] for record in data["records"]] == [None]
    assert not list(home.glob("runs/*/evidence/*"))


def test_no_two_tasks_share_a_file() -> None:
    assert name_of("a/b/c", 1, {"a/b/c", "a/b"}) == "evidence/a-b-c-s1.json"
    alike = ("a/b-c", "a-b/c", "a b/c", "a_b/c")
    assert len({name_of(task, 1, alike) for task in alike}) == 4
    assert name_of("/../x y", 2, {"/../x y"}) == "evidence/x_y-s2.json"
    assert len(name_of("x" * 4000, 1, ())) < 200


def test_a_file_that_holds_and_one_that_does_not(call: Call, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "e.json")
    code, data = call("check", "--evidence", str(path), "--no-judging")
    assert (code, data["holds"], data["judged_again"]) == (0, True, "not asked for (--no-judging)")
    assert data["recorded"]["status"] == "passed"
    assert {"check", "result", "recorded", "now", "detail"} == set(data["checks"][0])

    def faster(data: Any) -> None:
        data["verdict"]["timing"]["speedup"]["best"] |= {"median": 9.0, "high": 9.0}

    code, data = call("check", "--evidence", str(tampered(path, faster)))
    assert (code, data["holds"], data["fails"]) == (1, False, ["figures that are quoted"])
    assert "not done" in data["judged_again"]
    assert run(["check", "--evidence", str(path)]) == 1
    shown = " ".join(capfd.readouterr().out.split())
    assert "fails: figures that are quoted" in shown
    assert "9.000" in shown


def test_another_task_than_the_one_at_hand_fails(call: Call, tmp_path: Path) -> None:
    path = saved(tmp_path / "e.json")
    (tmp_path / "mine.py").write_text("class Model: pass\ndef get_inputs(): return []\nN = 4\n")
    code, data = call("check", "--evidence", str(path), "--no-judging", "--task", "mine.py")
    assert (code, data["fails"]) == (1, ["task as it is here"])
    named = saved(path, replace(evidence(), task=replace(TASK, name="core/normalization/rms_norm")))
    code, data = call("check", "--evidence", str(named), "--no-judging")
    assert "task as it is here" in data["fails"]
    assert "library" in data["checks"][-1]["detail"]


def test_a_file_steers_no_terminal(home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tampered(saved(tmp_path / "e.json"), lambda data: data.update(created="\x1b]0;owned\x07[red]now[/red]"))
    assert run(["check", "--evidence", str(path), "--no-judging"]) == 0
    shown = capfd.readouterr().out
    assert "\x1b" not in shown
    assert "[red]now[/red]" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--evidence", "none.json"], "none.json cannot be read"),
        (["--evidence", "bad.json"], "bad.json is no JSON text"),
        (["--evidence", "later.json"], "format '2'"),
        (["--evidence", "odd.json"], "backend 'os:system'"),
        (["kernel.py", "--evidence", "e.json"], "--evidence judges the kernel in its file"),
        (["--evidence", "e.json", "--save-evidence", "f.json"], "--evidence"),
        (["--evidence", "e.json", "--sandbox", "no"], "--sandbox"),
        (["--no-judging"], "--no-judging belongs to --evidence"),
        (["--selftest", "--save-evidence", "f.json"], "--selftest"),
    ],
)
def test_wrong_usage_and_unreadable_files(call: Call, tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "bad.json").write_text("{")
    tampered(saved(tmp_path / "later.json"), lambda data: data.update(format=2))
    odd = replace(evidence().kernel, backend="os:system")
    verdicts = [replace(j.verdict, kernel_id=odd.kernel_id) for j in evidence().judgings]
    saved(tmp_path / "odd.json", replace(evidence(*verdicts), kernel=odd))
    code, data = call("check", *arguments)
    assert code == 2
    assert says in data["error"]["message"]
    assert data["error"]["remedy"]


FAST = Settings(baselines=("eager",), timing_seconds=0.5, thorough_seconds=0.5, sanitize="off", record=True)
STRANGER = """
import os
from pathlib import Path
def tried(what):
    try:
        what()
        return "done"
    except OSError:
        return "refused"
FOUND = [tried(lambda: Path({written!r}).write_text("x")), tried(lambda: Path({secret!r}).read_text())]
raise RuntimeError(f"{{FOUND}} {{sorted(set(os.environ) & {{'KEY_OF_MINE'}})}}")
"""


def test_a_kernel_is_really_judged_and_judged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With parameters, on a reference that has judged another kernel before: seeds alone decide what is drawn."""
    monkeypatch.setenv("KEY_OF_MINE", "1")
    task = plain.task(tmp_path, "return x * self.weight", "self.weight = nn.Parameter(torch.ones(8))", "torch.randn(ROWS, 8)")
    product = (
        'extern "C" void product(const float* x, const float* w, float* y, int64_t n) {'
        " for (int64_t i = 0; i < n; ++i) y[i] = x[i] * w[i % 8]; }"
    )
    body = "y = torch.empty_like(x)\nlib.product(x.contiguous(), self.weight, y, x.numel())\nreturn y"
    tried = plain.kernel(body, product, "self.weight = nn.Parameter(torch.ones(8))")
    with Judge("cpp", "cpu", tmp_path / "cache", FAST) as judge:
        judge.settings = replace(FAST, timing=False, record=False)
        assert judge.judge(tried, task).passed
        judge.settings = FAST
        verdict = judge.judge(tried, task)
        path = saved(tmp_path / "e.json", of_check(tried, task, verdict, FAST, judge.device_info()))
        written, data = file.read(path)
        assert "record" not in written.verdict.evidence
        assert str(tmp_path) not in json.dumps({**data, "task": "", "verdict": {**data["verdict"], "task": ""}, "judgings": []})
        looked_at = {finding.check: finding.result for finding in integrity.examine(written, data)}
        assert set(looked_at.values()) == {"holds"}, looked_at
        record = written.judgings[0].record
        assert record is not None
        assert len({draw.seed for draw in record.draws}) > 20
        assert all(draw.inputs and draw.expected for draw in record.draws if not draw.dropped)
        judge.settings = replace(FAST, stranger=settings_for(written, "auto").stranger)
        done = judge_again(written, judge)
        found = {finding.check: finding for finding in done.findings}
        decided = {check: finding for check, finding in found.items() if not check.startswith("speedup")}
        assert not [finding for finding in decided.values() if finding.result == "fails"], decided
        drawn = found["inputs, recorded seeds"].detail.split()
        assert drawn[0] == drawn[2] != "0", found["inputs, recorded seeds"]
        assert "made again" not in drawn
        assert {check for check in found if check.startswith("speedup")} == {"speedup over best", "speedup over eager"}
        layers = done.verdicts["fresh_seeds"].environment["reference_sandbox"]
        assert layers["environment"] == "on"
        secret = tmp_path / "secret"
        secret.write_text("mine")
        source = STRANGER.format(written=str(tmp_path / "written"), secret=str(secret))
        with pytest.raises(TaskError) as error:
            judge.admit(replace(task, source=source))
        confined = layers.get("landlock") == "on" or layers.get("mounts") == "on"
        assert ("['refused', 'refused'] []" in error.value.message) == confined, (error.value.message, layers)
        assert (tmp_path / "written").exists() != confined
