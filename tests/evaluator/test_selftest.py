"""The red-team corpus: well formed, large enough, and run end to end through the command line."""

from __future__ import annotations

import ast
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from kernelwright.agent.cli.app import run
from kernelwright.evaluator.build import native_sources
from kernelwright.evaluator.screen import screen
from kernelwright.evaluator.selftest import default_corpus
from kernelwright.evaluator.specimens import CHEAT, FAMILIES, HONEST, load_corpus, read_specimen
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Kernel

CORPUS = Path(__file__).parent.parent / "redteam"
HEADER = """\
# task: scale_bias
# family: clocks
# about: a line
# expect: incorrect, cheating
# device: cpu
"""


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("import torch\n", CHEAT, ["lacks", "task"]),
        (HEADER.replace("# about: a line\n", ""), CHEAT, ["lacks about"]),
        (HEADER.replace("family:", "tribe:"), CHEAT, ["line 2", "tribe"]),
        (HEADER.replace("# about: a line", "# task: scale_bias"), CHEAT, ["line 3", "twice"]),
        (HEADER.replace("clocks", "gadgets"), CHEAT, ["gadgets", "clocks"]),
        (HEADER.replace("incorrect,", "wrong,"), CHEAT, ["'wrong'", "no status"]),
        (HEADER.replace("incorrect,", "passed,"), CHEAT, ["may not pass"]),
        (HEADER, HONEST, ["incorrect, cheating", "passed"]),
        (HEADER.replace("device: cpu", "device: tpu"), CHEAT, ["tpu", "cuda"]),
    ],
)
def test_malformed_header_is_refused_with_what_is_wrong(tmp_path: Path, text: str, kind: str, words: list[str]) -> None:
    path = tmp_path / "kernel.py"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_specimen(path, kind, "cpp", CORPUS / "tasks")
    assert "kernel.py" in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_header_is_read() -> None:
    found = {s.name: s for s in load_corpus(CORPUS, "cpp")}
    cheat = found["cache_pointer"]
    assert (cheat.kind, cheat.family, cheat.device, cheat.task) == (CHEAT, "replay", "cpu", "row_softmax")
    assert cheat.expect == ("incorrect", "cheating")
    assert load_task(cheat.task_path).cases
    assert found["cached_plan"].expect == ("passed",)


def test_corpus_has_every_family_and_honest_neighbours() -> None:
    found = load_corpus(CORPUS, "cpp")
    assert CORPUS.resolve() == default_corpus()
    families = Counter(s.family for s in found if s.kind == CHEAT)
    assert sum(families.values()) >= 26
    assert set(families) == set(FAMILIES)
    honest = [s for s in found if s.kind == HONEST]
    assert len(honest) >= 12
    assert {s.family for s in honest} <= {s.name for s in found if s.kind == CHEAT}, "each stands close to a cheat"
    assert len({s.name for s in found}) == len(found)


@pytest.mark.parametrize("specimen", load_corpus(CORPUS), ids=lambda s: f"{s.backend}-{s.name}")
def test_each_kernel_parses_and_names_a_task(specimen) -> None:  # type: ignore[no-untyped-def]
    findings = screen(Kernel(specimen.source, specimen.backend))
    assert not [f for f in findings if f.rule in ("syntax", "no_model")]
    assert load_task(specimen.task_path).cases
    if specimen.backend == "cpp":
        assert native_sources(ast.parse(specimen.source))
    if specimen.kind == HONEST:
        assert not [f for f in findings if f.tier == "reject"]


def test_most_cheats_say_nothing_that_the_screen_rejects() -> None:
    """The corpus is for the other layers: a text rule alone must not be what catches it."""
    cheats = [s for s in load_corpus(CORPUS, "cpp") if s.kind == CHEAT]
    silent = [s for s in cheats if not any(f.tier == "reject" for f in screen(Kernel(s.source, s.backend)))]
    assert len(silent) >= len(cheats) * 2 / 3


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cheats and two honest kernels on small tasks."""
    folder = tmp_path / "corpus"
    for name in ("cheats/smaller_output", "cheats/read_reference", "honest/tuple_of_kinds", "honest/own_scratch"):
        target = folder / "cpp" / f"{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CORPUS / "cpp" / f"{name}.py", target)
    for task in ("above_first", "rms_rows"):
        shutil.copytree(CORPUS / "tasks" / task, folder / "tasks" / task)
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(tmp_path / "home"))
    return folder


def selftest(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:  # type: ignore[type-arg]
    code = run(["check", "--selftest", *arguments, "--json"])
    return code, json.loads(capfd.readouterr().out)


def test_clean_corpus_exits_zero_and_names_the_layers(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, data = selftest(capfd, "--backend", "cpp", "--corpus", str(small))
    rows = {row["name"]: row for row in data["rows"]}
    assert code == 0, rows
    assert (data["clean"], data["detection"], data["false_alarms"]) == (True, 1.0, 0.0)
    assert rows["smaller_output"]["status"] == "incorrect"
    assert rows["smaller_output"]["without_screen"] == rows["smaller_output"]["layer"]
    assert rows["read_reference"]["layer"] == "screen: harness"
    assert not rows["read_reference"]["without_screen"].startswith("screen")
    assert rows["own_scratch"]["status"] == rows["tuple_of_kinds"]["status"] == "passed"
    assert data["environment"]["cpp"]["backend"] == "cpp"


@pytest.mark.slow
def test_several_judges_find_the_same_and_a_miss_is_judged_again_alone(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    planted = (small / "cpp/honest/own_scratch.py").read_text()
    planted = planted.replace("family: output_ring", "family: replay").replace("expect: passed", "expect: incorrect")
    (small / "cpp/cheats/planted.py").write_text(planted)
    code = run(["check", "--selftest", "--backend", "cpp", "--corpus", str(small), "--jobs", "2", "--json"])
    printed = capfd.readouterr()
    rows = json.loads(printed.out)["rows"]
    assert code == 1
    assert {row["name"] for row in rows if row["ok"]} == {"smaller_output", "read_reference", "tuple_of_kinds", "own_scratch"}
    assert [row["name"] for row in rows if not row["ok"]] == ["planted"]
    assert sorted(line.split()[3].rstrip(":") for line in printed.err.splitlines()) == sorted(row["name"] for row in rows)


def test_cheat_that_passes_and_accident_of_the_harness_are_misses(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    planted = (small / "cpp/honest/own_scratch.py").read_text()
    planted = planted.replace("family: output_ring", "family: replay").replace("expect: passed", "expect: incorrect")
    (small / "cpp/cheats/planted.py").write_text(planted)
    lost = planted.replace("task: rms_rows", "task: nowhere/to/be/found")
    (small / "cpp/cheats/lost.py").write_text(lost)
    (small / "cpp/cheats/broken.py").write_text(planted.replace("double sum = 0.0;", "double sum = nothing;"))
    arguments = ("--backend", "cpp", "--corpus", str(small), "--only", "planted,lost,broken,smaller_output")
    code, data = selftest(capfd, *arguments)
    rows = {row["name"]: row for row in data["rows"]}
    assert code == 1
    assert (rows["planted"]["status"], rows["planted"]["ok"]) == ("passed", False)
    assert (rows["lost"]["status"], rows["lost"]["ok"]) == ("harness_failed", False)
    assert rows["broken"]["status"] == "harness_failed", "what does not compile was not caught: it was not tested"
    assert rows["smaller_output"]["ok"]
    assert data["detection"] == pytest.approx(1 / 4)
    assert data["false_alarms"] is None


def test_table_for_people_names_the_rates(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--selftest", "--backend", "cpp", "--corpus", str(small), "--only", "smaller_output"]) == 0
    done = capfd.readouterr()
    assert "cpp/smaller_output" in done.out
    assert "cheats caught: 100.0% of 1" in done.out
    assert "smaller_output: incorrect" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["KERNEL and --task", "--selftest"]),
        (["kernel.py"], ["--task"]),
        (["--task", "rms_norm"], ["KERNEL"]),
        (["kernel.py", "--task", "rms_norm", "--only", "a"], ["--selftest"]),
        (["--selftest", "--task", "rms_norm"], ["corpus"]),
        (["--selftest", "--corpus", "not/there"], ["not/there", "cheats"]),
        (["--selftest", "--backend", "cpp", "--only", "no_such_kernel"], ["no_such_kernel", "cache_pointer"]),
        (["--selftest", "--only", ","], ["--only"]),
        (["--selftest", "--sandbox", "loose"], ["loose", "strict"]),
    ],
)
def test_wrong_usage_is_one_clear_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["check", *arguments, "--json"]) == 2
    error = json.loads(capfd.readouterr().out)["error"]
    for word in words:
        assert word in f"{error['message']} {error['remedy']}"


def test_installation_without_a_corpus_says_how_to_give_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import kernelwright

    monkeypatch.setattr(kernelwright, "__file__", str(tmp_path / "site-packages" / "kernelwright" / "__init__.py"))
    with pytest.raises(InputError, match="--corpus DIR"):
        default_corpus()


@pytest.mark.slow
def test_whole_corpus_is_judged_right(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Several minutes: the figures that ``docs/evaluation.md`` quotes."""
    code, data = selftest(capfd, "--backend", "cpp", "--home", str(tmp_path))
    assert code == 0, [row for row in data["rows"] if not row["ok"]]
    assert data["without_screen"] >= 2 / 3
