"""The leaderboard's site: what it shows is in its input, nobody is ranked across devices, everybody can read it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from leaderboard_files import altered, bench, result
from leaderboard_pages import Build, Page, builder, index, task_page, two_devices

from kernelwright.agent.cli.app import run


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Build:
    return builder(tmp_path, monkeypatch, capfd)


def test_devices_are_never_in_one_table(build: Build) -> None:
    two_devices()
    code, data = build("in")
    assert (code, data["leaderboard"]["sections"]) == (0, ["tiny on Card A", "tiny on Card B"])
    page = index()
    models = [row["model"] for row in page.table("Standings over all")]
    assert models == ["writer evokernel · bench-a", "other evokernel · bench-b"]
    assert [row["model"] for row in page.table("Standings over all", "Card B")] == ["writer evokernel · bench-c"]
    assert {row["over best"] for row in page.table("Results by task", "Card B")} == {"9.00× 8.64–9.36"}
    for caption, rows in page.tables.items():
        assert not ("9.00×" in str(rows) and "3.00×" in str(rows)), caption


def test_a_failure_counts_as_one(build: Build) -> None:
    two_devices()
    build("in/a", "in/b")
    first, second = index().table("Standings over all")
    assert (first["solved"], first["correct"][:4], first["fast_1"][:4]) == ("3 of 4", "75 %", "50 %")
    assert (second["solved"], second["fast_1"][:4], second["sure"]) == ("1 of 4", "25 %", "1 of 4")
    assert first["geometric mean"].startswith("1.53×")  # of 3, 1.5 and 0.8; the failure is not in it as 1×
    assert first["geometric mean"].endswith("3 tasks")
    failed = [row for row in index().table("Results by task") if row["status"] == "unsolved"]
    assert len(failed) == 4
    assert {row[key] for row in failed for key in ("over best", "over eager", "over compile", "latency")} == {"–"}


def test_what_is_sure_is_less_than_what_is_likely(build: Build) -> None:
    bench(Path("in"), "bench-a", [result("tiny/l1/1_x", 1.02), result("tiny/l1/2_y", 1.5)])
    build("in")
    (row,) = index().table("Standings over all")
    assert (row["fast_1"].split(" %")[0], row["sure"]) == ("100", "1 of 2")
    over_eager = next(row for row in index().table("fast_p") if row["over"] == "eager")
    assert over_eager["fast_1"] == "100 % sure 2"


def test_where_nothing_ran_it_failed_on_every_device_of_the_bench(build: Build) -> None:
    ran = [result("tiny/l1/1_x", 2.0), result("tiny/l1/2_y", 2.0, device="Card B")]
    bench(Path("in"), "bench-a", [*ran, result("tiny/l1/3_z", None, device=None, status="refused")])
    build("in")
    for device in ("Card A", "Card B"):
        (row,) = index().table("Standings over all", device)
        assert row["solved"].startswith("1 of 2")
        assert "refused" in row["solved"]


def test_entries_compare_over_the_same_tasks_baselines_and_tolerance_only(build: Build) -> None:
    tasks = [f"tiny/l1/{n}_t" for n in range(1, 6)]
    bench(Path("in/a"), "bench-a", [result(t, 1.1) for t in tasks])
    bench(Path("in/b"), "bench-b", [result(t, 1.2) for t in tasks])
    bench(Path("in/c"), "bench-c", [result(t, 9.0) for t in tasks[:2]])
    eager = {"eager": [5.0, 4.0, 6.0], "compile": None, "best": [5.0, 4.0, 6.0]}
    bench(Path("in/d"), "bench-d", [result(t, 5.0, speedup=eager) for t in tasks], proven=False)
    bench(Path("in/e"), "bench-e", [result(t, None) for t in tasks])
    lenient = [result(t, 7.0) for t in tasks]
    bench(Path("in/f"), "bench-f", lenient)
    for path in Path("in/f/evidence").iterdir():
        altered(path, judging={"rtol": 0.5})
    assert build("in")[0] == 0
    page = index()
    assert page.groups("Standings over all") == [
        "the same 5 tasks; timed against eager and compile",
        "the same 5 tasks; timed against eager and compile; judged with an rtol of 0.5 in place of the judge's own",
        "the same 5 tasks; timed against eager",
        "tiny/l1/1_t, tiny/l1/2_t; timed against eager and compile",
    ]
    rows = [row["model"].split()[-1] for row in page.table("Standings over all")]
    assert rows == ["bench-b", "bench-a", "bench-e", "bench-f", "bench-d", "bench-c"]


def test_other_sizes_are_another_section(build: Build) -> None:
    bench(Path("in/a"), "bench-a", [result("tiny/l1/1_x", 2.0)])
    bench(Path("in/b"), "bench-b", [result("tiny/l1/1_x", 9.0)], scale=0.01)
    sections = build("in")[1]["leaderboard"]["sections"]
    assert sections == ["tiny on Card A", "tiny at 0.01 of its sizes on Card A"]


def test_of_several_samples_the_fastest_is_shown_and_said_to_be(build: Build) -> None:
    samples = [result("tiny/l1/1_x", 1.5, 1), result("tiny/l1/1_x", None, 2), result("tiny/l1/1_x", 2.5, 3)]
    bench(Path("in"), "bench-a", [*samples, result("tiny/l1/2_y", None, 1)])
    build("in")
    row = index().table("Results by task")[0]
    assert (row["over best"], row["solved"], row["cost"]) == ("2.50× 2.40–2.60", "2 of 3", "$1.50")
    (standing,) = index().table("Standings over all")
    assert (standing["samples"], standing["correct"][:4]) == ("1–3", "33 %")
    shown = task_page("1-x").table("Every sample")
    assert [(row["sample"], row["over best"][:5]) for row in shown] == [("3", "2.50×"), ("1", "1.50×"), ("2", "–")]


def test_entries_say_what_they_ran_with(build: Build) -> None:
    bench(Path("in"), "bench-a", [result("tiny/l1/1_x", 2.0, cost_usd=None)], tasks=3, without_solution=["a", "b"])
    build("in")
    (caption,) = (c for c in index().tables if c.startswith("What each entry ran with"))
    head, row = index().tables[caption]
    told = dict(zip(head, row, strict=True))
    assert told["versions"] == "kernelwright 0.1.0, torch 2.13.0"
    assert (told["commit"], told["device"], told["records"]) == ("a" * 12, "Card A", "1 of 3, unfinished")
    assert told["not covered"] == "2 tasks without a kernel"
    assert index().table("Standings over all")[0]["cost"] == "unknown"


def test_a_task_has_its_kernels_with_their_evidence(build: Build) -> None:
    two_devices()
    build("in")
    page = task_page("1-relu")
    assert page.text.count('<pre class="source"') == 2 + 1  # of benches a and c, and the task's own
    assert "bench-a tiny/l1/1_relu" in page.text
    assert "2 * x  # &lt;b&gt;" in re.sub(r"</?span[^>]*>", "", page.text)
    assert page.table("Every sample", "Card A")[0]["first correct"] == "–"
    links = [a["href"] for a in page.all("a") if str(a["href"]).endswith(".json")]
    assert len(links) == 4  # in the table, and beside the kernel
    for link in links:
        assert (Path("site/tasks") / unquote(str(link))).is_file()
    (copied,) = Path("site/benches").glob("bench-a-*/evidence/tiny-l1-1_relu-s1.json")
    assert copied.read_bytes() == Path("in/a/evidence/tiny-l1-1_relu-s1.json").read_bytes()


def test_a_site_is_input_for_another(build: Build) -> None:
    two_devices()
    build("in")
    before = Path("site/index.html").read_bytes()
    code, data = build("site/benches")
    assert (code, Path("site/index.html").read_bytes()) == (0, before)
    assert data["leaderboard"]["evidence"] == 8


def test_a_bench_is_known_by_its_id_and_counts_once(build: Build) -> None:
    bench(Path("home/runs/bench-a"), "bench-a", [result("tiny/l1/1_x", 2.0)])
    bench(Path("copy"), "bench-a", [result("tiny/l1/1_x", 2.0)])
    code, data = build("bench-a", "home/runs/bench-a/results.jsonl", "copy")
    assert (code, data["leaderboard"]["entries"], data["leaderboard"]["left_out"]) == (0, 1, [])
    bench(Path("copy"), "bench-a", [result("tiny/l1/1_x", 9.0)])
    code, data = build("bench-a", "copy")
    assert (code, data["leaderboard"]["entries"]) == (1, 1)
    assert "bench-a is already here" in data["leaderboard"]["left_out"][0]["reason"]
    assert "9.00×" not in index().text


def test_the_same_input_gives_the_same_site_and_old_files_go(build: Build) -> None:
    two_devices()
    build("in")
    before = {p: p.read_bytes() for p in Path("site").rglob("*") if p.is_file()}
    build("in")
    assert {p: p.read_bytes() for p in Path("site").rglob("*") if p.is_file()} == before
    Path("site/mine.txt").write_text("kept")
    build("in/b")
    left = {p.relative_to("site").as_posix() for p in Path("site").rglob("*") if p.is_file()}
    assert not [name for name in left if "bench-a" in name or "bench-c" in name]
    assert "mine.txt" in left
    assert len([name for name in left if name.startswith("tasks/")]) == 4


def test_tables_are_for_screen_readers_too(build: Build) -> None:
    two_devices()
    build("in")
    for path in Path("site").rglob("*.html"):
        page = Page(path)
        ids = [str(a["id"]) for _, a in page.elements if "id" in a]
        assert len(ids) == len(set(ids))
        assert len(page.all("caption")) == len(page.all("table")) > 0
        assert all(a.get("scope") in ("col", "row", "rowgroup") for a in page.all("th"))
        regions = [a for a in page.all("div") if a.get("role") == "region"]
        assert len(regions) == len(page.all("table"))  # each scrolls by itself, and can be focused to do so
        assert all(a.get("tabindex") == "0" and a["aria-labelledby"] in ids for a in regions)
        assert all(a["aria-labelledby"] in ids for a in page.all("section"))
        assert page.all("html")[0]["lang"] == "en"
        assert page.all("a")[0] == {"class": "skip", "href": "#main"}
        for a in page.all("a"):
            target, _, anchor = str(a["href"]).partition("#")
            there = (path.parent / unquote(target)) if target else path
            assert there.is_file()
            assert not anchor or f'id="{anchor}"' in there.read_text()


def test_pages_fetch_nothing(build: Build) -> None:
    two_devices()
    build("in")
    for path in Path("site").rglob("*.html"):
        page = Page(path)
        assert not re.search(r"https?:|//[a-z]|@import|url\(", page.text.replace("// ", ""))
        assert not {"src", "srcset", "data", "action", "poster"} & {name for _, a in page.elements for name in a}
        (policy,) = (str(a["content"]) for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy


def test_text_of_the_command(build: Build, capfd: pytest.CaptureFixture[str]) -> None:
    two_devices()
    Path("in/bad.jsonl").write_text("{")
    assert run(["leaderboard", "in", "--out", "site"]) == 1
    out = capfd.readouterr().out
    assert "left out: in/bad.jsonl: the file, line 1 is no JSON" in out
    assert "3 entries, 4 tasks, 8 files of evidence" in out
    assert "site: site/index.html" in out
