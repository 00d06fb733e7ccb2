"""What a leaderboard is built from is written by strangers: named, left out, doubted, and never more than text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from leaderboard_files import KERNEL, altered, bench, evidence, put, result, signed
from leaderboard_pages import Build, Page, builder, index, task_page, two_devices

from kernelwright.agent.cli.app import run
from kernelwright.tasks.records import Kernel

EVIL = "<script>window.hacked=1</script><img src=x onerror=hacked=1>\"' onclick='hacked=1'&</pre></style></title>{{ 7*7 }}"


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Build:
    return builder(tmp_path, monkeypatch, capfd)


@pytest.mark.parametrize("where", ["record", "header", "evidence"])
def test_no_text_becomes_markup(build: Build, where: str) -> None:
    keys = ("model", "policy", "backend", "device", "commit", "reason", "category", "level")
    words = dict.fromkeys(keys, EVIL) if where == "record" else {}
    task = f"tiny/{EVIL}/1_x" if where == "record" else "tiny/l1/1_x"
    own = {"verdicts": {EVIL: 1}, "versions": {EVIL: EVIL}} if where == "record" else {}
    header = dict.fromkeys(("created", "scale", "model", "attempts", "seed", "suite"), EVIL) if where == "header" else {}
    more = {"notes": [EVIL]} if where == "header" else {}
    name = EVIL if where != "evidence" else "bench-a"
    of = result(task, 2.0, **words, **own)
    text = f"class ModelNew:  # {EVIL}\n    '''{EVIL}'''"
    of["kernel_id"] = Kernel(text, of["backend"]).kernel_id
    kept = evidence(of, name, text, judgings=[{"role": EVIL}], judging={EVIL: EVIL})
    kept["device"][EVIL] = EVIL
    kept["verdict"] |= {"reason": EVIL, "envelope": EVIL, "held_out": EVIL}
    kept["verdict"]["cases"][0] |= dict.fromkeys(("case", "dtype", "status", "detail"), EVIL)
    kept["verdict"]["timing"]["cases"][0] |= dict.fromkeys(("case", "dtype", "bound"), EVIL)
    kept["verdict"]["timing"]["cases"][0]["speedup"][EVIL] = {"median": 1.0, "low": 1.0, "high": 1.0}
    kept["task"]["source"] = EVIL
    put(Path("in/evidence/x.json"), signed(kept))
    bench(Path("in"), name, [{**of, "evidence": "evidence/x.json"}], **header, **more)
    put(Path(f"in/{EVIL.replace('/', '')}.jsonl"), [])  # a name in the list of what was left out
    assert build("in")[0] == 1
    for path in Path("site").rglob("*.html"):
        page = Page(path)
        assert len(page.all("script")) == (path.name == "index.html")
        assert page.all("img") == []
        names = {name for _, attributes in page.elements for name in attributes}
        assert not [name for name in names if name.startswith("on") or name == "style"]
        assert "window.hacked=1" in page.text  # it is there, as text
        assert "49" not in re.sub(r"sha256-[\w+/=]+", "", page.text)  # hashes may hold any digits
        for a in page.all("a"):
            assert re.match(r"#|\.\./|[a-z]+/|index", str(a["href"]))


def test_what_is_not_seen_is_written_out(build: Build) -> None:
    text = KERNEL.format(factor=2, note="\u202e\u2066 reversed \ud800 \x00")
    of = result("tiny/l1/1_\u202ex", 2.0, model="good\u200b\u202emodel")
    put(Path("in/evidence/x.json"), evidence(of, "bench-a", text.replace("\ud800", "")))
    put(Path("in/evidence/y.json"), {**evidence(of, "bench-a", "x"), "kernel": {"source": text, "backend": "cpp"}})
    other = result("tiny/l1/2_y\ud800", 2.0, evidence="evidence/y.json")  # not taken: half a character is no text
    bench(Path("in"), "bench-a", [{**of, "evidence": "evidence/x.json"}, other])
    build("in")
    for path in Path("site").rglob("*.html"):
        assert not set(path.read_text(encoding="utf-8")) & set("\u202e\u2066\u200b\x00")
    assert "good⟦U+200B⟧⟦U+202E⟧model" in index().text
    assert "⟦U+2066⟧ reversed" in task_page("1-x").text.replace("⟦U+202E⟧", "")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "line 1 is no JSON"),
        ('{"format": 2, "kind": "bench"}\n', "expected kind 'bench', format 1"),
        ('{"kind": "evidence", "format": 1}\n', "expected kind 'bench', format 1"),
        ("[" * 100_000, "line 1 is no JSON"),
        ('{"format": 1, "kind": "bench", "n": ' + "9" * 5000 + "}", "line 1 is no JSON"),
        ('{"format": 1, "kind": "bench"}\n', "holds no record yet"),
        ('{"format": 1, "kind": "bench"}\n{"task": "t"}\n', "line 2 has no 'status'"),
        ('{"format": 1, "kind": "bench"}\n' + json.dumps(result("tiny/l1/x", 2.0, tokens=1e400)), "line 2: inf"),
        ('{"format": 1, "kind": "bench"}\n' + json.dumps(result("tiny/l1/x", 2.0, judge_seconds=1e308)), "line 2: 1e+308"),
        ('{"format": 1, "kind": "bench"}\n' + json.dumps(result("tiny/l1/x", 2.0, cost_usd=10**400)), "line 2: int too large"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_bad_file_is_named_and_the_rest_goes_on(build: Build, content: str | bytes, told: str) -> None:
    bench(Path("in/good"), "bench-a", [result("tiny/l1/1_x", 2.0)])
    bad = Path("in/bad.jsonl")
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, data = build("in")
    (left_out,) = data["leaderboard"]["left_out"]
    assert (code, left_out["name"]) == (1, "in/bad.jsonl")
    assert told in left_out["reason"]
    assert left_out["remedy"]
    assert "bad.jsonl" in index().text
    assert len(index().table("Results by task")) == 1


def test_numbers_beyond_reason_in_a_header_are_no_counts(build: Build) -> None:
    bench(Path("in"), "bench-a", [result("tiny/l1/1_x", 2.0)], tasks=10**4000, samples=10**4000, attempts=10**4000)
    assert build("in")[0] == 0
    assert "unfinished" not in index().text


def test_without_any_results_there_is_no_site(build: Build) -> None:
    Path("empty").mkdir()
    code, data = build("empty", "bench-unknown", "no/such/file.jsonl")
    assert code == 2
    assert "empty: no .jsonl file" in data["error"]["message"]
    assert "bench-unknown: there is no such bench" in data["error"]["message"]
    assert not Path("site").exists()


def test_folders_of_the_machine_are_not_told(build: Build, tmp_path: Path) -> None:
    two_devices()
    Path("in/bad.jsonl").write_text("{")
    build(tmp_path / "in", tmp_path / "in" / "nowhere.jsonl")
    for path in Path("site").rglob("*"):
        assert path.is_dir() or str(tmp_path) not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("evidence/gone.json", "is not there"),
        ("../secret.json", "is none of a .json file beside"),
        ("/etc/passwd", "is none of a .json file beside"),
        ("evidence/../../secret.json", "is none of a .json file beside"),
        ("evidence/.hidden.json", "is none of a .json file beside"),
        ("evidence/page.html", "is none of a .json file beside"),
        ("evidence/link.json", "a link leads out"),
        ("evidence/folder.json", "is no file"),
        ("evidence/array.json", "has kind none"),
        ("evidence/later.json", "has kind evidence, format 2"),
        ("evidence/deep.json", "is no JSON"),
        ("evidence/nan.json", "is no JSON"),
        (["evidence/x.json"], "is none of a .json file beside"),
    ],
)
def test_evidence_that_is_none_is_named_and_not_copied(build: Build, path: Any, told: str) -> None:
    put(Path("secret.json"), {"format": 1, "kind": "evidence", "kernel": {"source": "classified"}})
    put(Path("in/evidence/array.json"), [])
    put(Path("in/evidence/later.json"), {"format": 2, "kind": "evidence"})
    Path("in/evidence/deep.json").write_text("[" * 100_000)
    Path("in/evidence/nan.json").write_text('{"format": 1, "kind": "evidence", "kernel": {"source": ""}, "x": NaN}')
    Path("in/evidence/page.html").write_text("<script>")
    Path("in/evidence/folder.json").mkdir()
    Path("in/evidence/link.json").symlink_to("../../secret.json")
    bench(Path("in"), "bench-a", [result("tiny/l1/1_x", 2.0, evidence=path)])
    code, data = build("in")
    (left_out,) = data["leaderboard"]["left_out"]
    assert (code, data["leaderboard"]["evidence"]) == (1, 0)
    assert told in left_out["reason"]
    assert index().table("Results by task")[0]["evidence"] == "missing"
    assert index().table("Standings over all")[0]["solved"] == "1 of 1"  # the record stands; it has no evidence
    assert not [p for p in Path("site").rglob("*") if p.is_file() and "classified" in p.read_text()]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kernel": {"source": "other", "backend": "triton", "options": {}, "sha256": "0"}}, "the hash of its source"),
        ({"kernel": {"source": "other", "backend": "triton", "options": {}}}, "kernel: "),
        ({"task": {"name": "tiny/l1/2_y"}}, "task: tiny/l1/1_x in the record, tiny/l1/2_y"),
        ({"checksum": "0"}, "the hash of its file"),
        ({"sample": 2}, "sample: 1 in the record, 2"),
        ({"bench": "bench-z"}, "bench: bench-a in the record"),
        ({"device": {"name": "Card B"}}, "device: Card A in the record, Card B"),
        ({"verdict": {"status": "incorrect"}}, "verdict: passed in the record, incorrect"),
        ({"verdict": {"status": "passed", "timing": {"speedup": {"best": [9.0, 8.0, 10.0]}}}}, "the figures differ"),
    ],
)
def test_a_record_that_its_evidence_contradicts_counts_as_a_failure(build: Build, change: dict[str, Any], told: str) -> None:
    bench(Path("in"), "bench-a", [result("tiny/l1/1_x", 2.0), result("tiny/l1/2_y", 2.0)])
    altered(Path("in/evidence/tiny-l1-1_x-s1.json"), **change)
    code, data = build("in")
    assert code == 1
    assert told in data["leaderboard"]["left_out"][0]["reason"]
    (row,) = index().table("Standings over all")
    assert (row["solved"], row["fast_1"][:4]) == ("1 of 2", "50 %")
    shown = index().table("Results by task")[0]
    assert (shown["status"], shown["over best"], shown["evidence"]) == ("contradicted", "–", "contradicts")
    assert "Contradicted." in task_page("1-x").text


def test_a_folder_of_somebody_else_is_left_alone(build: Build) -> None:
    two_devices()
    Path("site").mkdir()
    Path("site/index.html").write_text("mine")
    code, data = build("in")
    assert (code, data["error"]["remedy"]) == (2, "give --out a new folder")
    assert Path("site/index.html").read_text() == "mine"
    put(Path("site/leaderboard.json"), {"format": 1, "kind": "leaderboard", "files": ["../in/a/results.jsonl", "/etc/x"]})
    assert build("in")[0] == 0
    assert Path("in/a/results.jsonl").is_file()


def test_nothing_that_was_read_steers_the_terminal(build: Build, capfd: pytest.CaptureFixture[str]) -> None:
    twice = [result("tiny/l1/\x1b[2Jx", 2.0)] * 2
    bench(Path("in/b"), "bench-b", twice, proven=False)
    Path("in/b/results.jsonl").rename("in/b/\x1b]0;title\x07\udcff.jsonl")
    bench(Path("in/a"), "\x1b[31mbench", [result("tiny/l1/1_x", 2.0, device="\x1b[31mCard", evidence="\x1b[31m")])
    assert run(["leaderboard", "in", "--out", "site"]) == 1
    out = capfd.readouterr().out
    assert "⟦U+001B⟧[2Jx, sample 1 is there twice" in out
    assert not set(out) & set("\x1b\x07\udcff")
