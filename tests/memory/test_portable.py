"""A memory as a file: it goes over whole, twice is once, and nothing hostile gets in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kernelwright.memory.catalog import Filter
from kernelwright.memory.schema import ANY, experiences, item_values
from kernelwright.memory.values import Change, update
from kernelwright.tasks.errors import InputError, WorkspaceError

Lines = list[dict[str, Any]]


def state(memory) -> list[tuple[object, ...]]:
    """All that memory holds, but for when it came."""
    columns = [c for c in experiences.c if c.name not in ("created", "origin")]
    with memory.store.read() as tx:
        held = tx.execute(sa.select(*columns).order_by(experiences.c.id)).all()
        return [tuple(row) for row in (*held, *tx.execute(sa.select(item_values).order_by(*item_values.primary_key)))]


@pytest.fixture
def taught(memory, scenes):
    """A memory with a trace, a success lesson and a failure, one of them with values."""
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    first = scenes.work(memory, task, scenes.idea(task, 1), scenes.answer("a = 1"), scenes.verdict(task, 2.0))
    scenes.work(memory, task, scenes.idea(task, 2, first.idea.id), scenes.answer("b"), scenes.verdict(task, 3.0))
    wrong = scenes.verdict(task, status=scenes.Status.INCORRECT, stage=scenes.Stage.CORRECT, reason="off by one")
    scenes.work(memory, task, scenes.idea(task, 3), scenes.answer("c"), wrong)
    return memory


@pytest.fixture
def file(taught, tmp_path) -> Path:
    path = tmp_path / "memory.jsonl"
    taught.export(path, Filter())
    return path


@pytest.fixture
def other(tmp_path, scenes):
    opened = scenes.open_here(tmp_path / "elsewhere")
    yield opened
    opened.close()


def write(path: Path, lines: Lines) -> Path:
    """The lines as a file whose end agrees with them, so that only what a test changed is wrong."""
    body = "".join(json.dumps(line) + "\n" for line in lines if "end" not in line)
    count = {f"{kind}s": sum(kind in line for line in lines[1:]) for kind in ("experience", "value")}
    end = {"end": {**count, "sha256": hashlib.sha256(body.encode()).hexdigest()}}
    path.write_text(body + json.dumps(end) + "\n")
    return path


def lines(path: Path) -> Lines:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_was_learned_goes_over_and_is_recalled_there(taught, file, other, scenes):
    moved = other.take_in(file)
    assert (moved.experiences, moved.added, moved.skipped) == (5, 5, 0)
    assert moved.updated == moved.values > 0
    assert state(other) == state(taught)
    task = scenes.task("core/reduce/log_softmax")
    other.store.create_run(scenes.run("r9", task))
    found = {r.experience.code: r for r in other.recall(scenes.idea(task, 1, run_id="r9"), task, "cpp").items}
    assert {"a = 1", "b"} <= set(found)
    assert other.stats().indexed == 5
    assert other.entry(found["b"].experience.id).origin == f"import:{taught.store.identity}"


def test_a_second_import_changes_nothing_and_neither_does_the_way_back(taught, file, other, tmp_path):
    other.take_in(file)
    before = state(other)
    again = other.take_in(file)
    assert (again.added, again.updated) == (0, 0)
    assert state(other) == before
    other.export(tmp_path / "back.jsonl", Filter())
    home = state(taught)
    taught.take_in(tmp_path / "back.jsonl")
    assert state(taught) == home


def test_of_two_values_the_better_tried_one_stays(taught, file, other, tmp_path):
    other.take_in(file)
    item = next(line["value"] for line in lines(file) if "value" in line)["item"]

    def known(memory):
        v = item_values.c
        query = sa.select(v.q, v.visits).where(v.item == item, v.stage == "refine", v.backend == ANY)
        with memory.store.read() as tx:
            return tuple(tx.execute(query).one())

    with other.store.begin() as tx:
        update(tx, Change("refine", "cpp", "softmax", (item,), 1.0), 0.5)
    more = known(other)
    other.take_in(file)
    assert known(other) == more, "the one here was tried once more"
    other.export(tmp_path / "more.jsonl", Filter())
    taught.take_in(tmp_path / "more.jsonl")
    assert known(taught) == more


def test_a_near_duplicate_from_elsewhere_merges(file, other, scenes):
    task = scenes.task()
    other.store.create_run(scenes.run("r2", task))
    scenes.work(other, task, scenes.idea(task, 1, run_id="r2"), scenes.answer("a = 64"), scenes.verdict(task, 1.5))
    moved = other.take_in(file)
    assert moved.merged >= 1
    best = [r for r in other.search("softmax", n=20) if r.experience.kind == "trace" and "a =" in r.experience.code]
    assert [(r.experience.code, r.experience.seen) for r in best] == [("a = 1", 2)], "the faster one stands for both"
    before = state(other)
    other.take_in(file)
    assert state(other) == before


def test_an_id_that_is_something_else_here_is_given_another(file, other, scenes, taught):
    task = scenes.task("core/norm/rms_norm", "norm")
    other.store.create_run(scenes.run("r1", task))
    id_ = next(line["experience"]["id"] for line in lines(file) if "experience" in line)
    with other.store.begin() as tx:
        from kernelwright.memory import experiences as table
        from kernelwright.memory.records import Experience

        mine = Experience(id_, "trace", "draft", "cpp", "", "norm", task.name, "t", "mine", "", "passed", "", None, ())
        table.insert(tx, [mine], "c0ffee00", "run:r1", other.store.artifacts)
    other.take_in(file)
    other.take_in(file)
    assert other.entry(id_).experience.code == "mine"
    assert other.stats().experiences == 6


def test_a_filter_keeps_its_part_and_the_archive_goes_on_demand(taught, other, tmp_path):
    path = tmp_path / "part.jsonl"
    assert taught.export(path, Filter(kind="failure")).experiences == 1
    assert taught.export(path, Filter(backend="triton")).experiences == 0
    assert taught.export(path, Filter(task="softmax", family="softmax", stage="refine", device="test device")).experiences == 2
    from kernelwright.memory import archive

    with taught.store.begin() as tx:
        archive.evict(tx, 2)
    assert taught.export(path, Filter(archived=True)).experiences == 3
    moved = other.take_in(path)
    assert moved.added == 3
    assert other.stats().experiences == 0
    assert other.stats().archived == {"evicted": 3}
    before = state(other)
    other.take_in(path)
    assert state(other) == before


def test_no_path_of_this_machine_leaves_it_and_odd_characters_do_not_stop_it(memory, scenes, tmp_path, other):
    task = scenes.task(str(tmp_path / "secret" / "mine.py"))
    memory.store.create_run(scenes.run("r1", task))
    given = scenes.answer("x = '\x00'", "half a pair \udc80 and \x00")
    scenes.work(memory, task, scenes.idea(task), given, scenes.verdict(task, 2.0))
    memory.export(tmp_path / "m.jsonl", Filter())
    assert tmp_path.name not in (tmp_path / "m.jsonl").read_text()
    other.take_in(tmp_path / "m.jsonl")
    assert {e.experience.task for e in other.listing(Filter())[0]} == {"file/mine.py"}


def test_an_export_that_cannot_be_written_leaves_what_was_there(taught, tmp_path):
    with pytest.raises(WorkspaceError, match="cannot write"):
        taught.export(tmp_path / "nowhere" / "m.jsonl", Filter())
    (tmp_path / "folder").mkdir()
    with pytest.raises(WorkspaceError, match="cannot write"):
        taught.export(tmp_path / "folder", Filter())
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def change(field: str, value: object, kind: str = "experience") -> Callable[[Lines], None]:
    def apply(held: Lines) -> None:
        next(line for line in held if kind in line)[kind][field] = value

    return apply


def trace_first(held: Lines) -> None:
    held.sort(key=lambda line: ("kind" not in line, line.get("experience", {}).get("kind") != "trace"))


def drop(field: str, kind: str = "experience") -> Callable[[Lines], None]:
    def apply(held: Lines) -> None:
        del next(line for line in held if kind in line)[kind][field]

    return apply


def head(**fields: object) -> Callable[[Lines], None]:
    return lambda held: held[0].update(fields)


def twice(held: Lines) -> None:
    held.insert(2, next(line for line in held if "experience" in line))


HOSTILE: dict[str, tuple[Callable[[Lines], None], str]] = {
    "a future format": (head(format=99), "format 99.*upgrade"),
    "another kind of file": (head(kind="recipes"), "kind is 'recipes'"),
    "a format that is no number": (head(format=True), "format True"),
    "an unknown field in the head": (head(hook="import os"), "unknown field 'hook'"),
    "an unknown field": (change("exec", "os.system('true')"), "unknown field 'exec'"),
    "a missing field": (drop("lesson"), "no 'lesson'"),
    "a missing field of a value": (drop("q", "value"), "no 'q'"),
    "a path for an id": (change("id", "../../etc/passwd"), "id is '../../etc/passwd'"),
    "an absolute path for a task": (change("task", "/etc/passwd"), "not a path"),
    "a task that climbs": (change("task", "core/../../x"), "not a path"),
    "a path for a parent": (change("parents", ["../x"]), "parents is '../x'"),
    "a path for a hash": (change("content", "../../../store.db"), "content is"),
    "a trace without code": (change("code", ""), "has no code"),
    "an id twice": (twice, "stands there twice"),
    "a huge value": (change("q", 1e300, "value"), "q is 1e[+]300"),
    "a value beyond the clip": (change("q", 3.5, "value"), "from -3 to 3"),
    "a value that is a flag": (change("q", True, "value"), "q is True"),
    "a value that is a text": (change("q", "inf", "value"), "q is 'inf'"),
    "visits below one": (change("visits", 0, "value"), "visits is 0"),
    "visits to pin it for good": (change("visits", 10**12, "value"), "visits is"),
    "a speedup below zero": (change("speedup", -2.0), "speedup is -2.0"),
    "a kind that people write": (change("kind", "practice"), "kind is 'practice'"),
    "a kind that is a list": (change("kind", ["trace"]), "kind is"),
    "a status that is none": (change("status", "great"), "status is 'great'"),
    "a text that is a number": (change("lesson", 7), "lesson is 7"),
    "a long lesson": (change("lesson", "x" * 9000), "lesson has 9,000"),
    "a long device": (change("device", "x" * 300), "device has 300"),
    "a zero byte": (change("text", "a\x00b"), r"U\+0000"),
    "an escape for the terminal": (change("lesson", "\x1b[2J"), r"U\+001B"),
    "half a pair": (change("code", "\ud800"), r"U\+D800"),
    "parents without end": (change("parents", ["a"] * 1000), "at most 8"),
    "archived that is no flag": (change("archived", "merged"), "archived is 'merged'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_fields_are_refused_and_the_store_untouched(file, other, tmp_path, name):
    spoil, said = HOSTILE[name]
    held = lines(file)
    trace_first(held)
    spoil(held)
    refused(other, write(tmp_path / "bad.jsonl", held), said)


RAW: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda raw: b"", "no end"),
    "cut off": (lambda raw: raw[: raw.rindex(b"\n", 0, -1) + 1], "cut off after line"),
    "cut in a line": (lambda raw: raw[:-40], "no JSON"),
    "no UTF-8": (lambda raw: raw.replace(b"softmax", b"soft\xffmax", 1), "not UTF-8"),
    "NaN": (lambda raw: raw.replace(b'"speedup": 3.0', b'"speedup": NaN', 1), "NaN is no number"),
    "infinity": (lambda raw: raw.replace(b'"speedup": 3.0', b'"speedup": -Infinity', 1), "Infinity is no number"),
    "a huge line": (lambda raw: raw.replace(b"{", b"{" + b" " * (5 * 2**20), 1), "longer than"),
    "a long number": (lambda raw: raw.replace(b'"visits": ', b'"visits": ' + b"9" * 10_000, 1), "no JSON"),
    "deep nesting": (lambda raw: b"[" * 100_000 + b"\n" + raw, "nested too deep"),
    "a key twice": (lambda raw: raw.replace(b'"kind"', b'"format": 1, "kind"', 1), "twice"),
    "no object": (lambda raw: b"[1]\n" + raw, "no object"),
    "changed afterwards": (lambda raw: raw.replace(b"one pass", b"two pass", 1), "changed or damaged"),
    "a line taken out": (lambda raw: raw.replace(raw.splitlines(keepends=True)[1], b"", 1), "the end counts"),
    "more after the end": (lambda raw: raw + b'{"value": {}}\n', "after the end"),
    "a pickle": (lambda raw: b"\x80\x04\x95" + raw, "not UTF-8"),
}


@pytest.mark.parametrize("name", RAW)
def test_hostile_bytes_are_refused_and_the_store_untouched(file, other, tmp_path, name):
    spoil, said = RAW[name]
    bad = tmp_path / "bad.jsonl"
    raw = spoil(file.read_bytes())
    assert raw != file.read_bytes(), "the test spoils something"
    bad.write_bytes(raw)
    refused(other, bad, said)


def test_a_file_that_is_none_is_refused(other, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere", Path("/dev/zero")):
        refused(other, path, "is no file|cannot read")


def test_what_fails_at_the_last_line_leaves_nothing_of_the_first(file, other, tmp_path, monkeypatch):
    """Though everything was checked beforehand: the file may change between the two looks."""
    from kernelwright.memory import portable

    real, calls = portable.read, []

    def changing(path):
        calls.append(path)
        yield from real(path if len(calls) == 1 else write(tmp_path / "worse.jsonl", [*lines(file)[:-2], {"x": {}}]))

    monkeypatch.setattr(portable, "read", changing)
    refused(other, file, "expected one of experience")
    assert len(calls) == 2


def refused(memory, path: Path, said: str) -> None:
    before, artifacts = state(memory), sorted(memory.store.artifacts.root.rglob("*"))
    with pytest.raises(InputError, match=said) as caught:
        memory.take_in(path)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
    assert state(memory) == before == []
    assert [p for p in memory.store.artifacts.root.rglob("*") if p.is_file()] == artifacts or said.startswith("expected one")
    assert memory.stats().indexed == 0
