"""Near-duplicates are kept once, the best of them; what is evicted is archived and can be restored."""

from __future__ import annotations

import dataclasses

import pytest

from kernelwright.memory.alike import gist
from kernelwright.memory.catalog import Filter
from kernelwright.memory.lessons import MARK
from kernelwright.memory.records import Context, Experience
from kernelwright.memory.values import Change, update
from kernelwright.tasks.errors import InputError, UnknownName
from kernelwright.tasks.records import Stage, Status


def trace(code: str, **changes: object) -> Experience:
    base = Experience("e", "trace", "draft", "cpp", "d", "softmax", "t", "text", code, "lesson", "passed", "", 2.0, ())
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("BLOCK = 64  # rows", "BLOCK = 128\n# columns\n", True),
        ("x = a[i] + 1.5e-3;  // sum", "x = a[i] + 2;", True),
        ("float4 v;", "float8 v;", False),
        ("for i in a: pass", "for j in a: pass", False),
        ("#pragma omp simd\nf();", "f();", False),
        ('#include <cmath>\n"""x"""', '"""x"""', False),
    ],
)
def test_code_is_near_when_only_numbers_comments_and_space_differ(a, b, same):
    assert (gist(trace(a)) == gist(trace(b))) is same


def test_near_is_within_a_task_a_backend_and_a_device():
    mine = gist(trace("a"))
    for field, value in (("task", "u"), ("backend", "triton"), ("device", "e"), ("family", "norm"), ("kind", "success")):
        assert gist(trace("a", **{field: value})) != mine
    assert gist(trace("a", kind="practice", status="")) == gist(trace("a", status="")) == "", "knowledge never merges"


def kinds(memory, kind="trace"):
    return memory.listing(Filter(kind=kind))[0]


@pytest.mark.parametrize(
    ("speeds", "best"), [((2.0, 3.0, 1.0), "B = 2"), ((2.0, 1.0, 1.5), "B = 1"), ((None, 1.0, 0.5), "B = 2")]
)
def test_of_near_duplicates_the_fastest_code_stays_and_they_are_counted(memory, scenes, speeds, best):
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    for number, speed in enumerate(speeds, start=1):
        scenes.work(memory, task, scenes.idea(task, number), scenes.answer(f"B = {number}"), scenes.verdict(task, speed))
    (kept,) = kinds(memory)
    assert (kept.experience.code, kept.experience.seen) == (best, 3)
    archived, total = memory.listing(Filter(kind="trace", archived=True))
    assert total == 2
    assert {(e.archived, e.successor) for e in archived} == {("merged", kept.experience.id)}
    assert memory.stats().indexed == memory.stats().experiences
    assert len(memory.variants(task, "cpp", "r1")) == 3, "start points are attempts: none is lost"


def test_the_better_one_inherits_what_the_other_was_worth_and_start_points_keep_theirs(memory, scenes):
    task, other = scenes.task(), scenes.task("core/reduce/log_softmax")
    memory.store.create_run(scenes.run("r1", task, other))
    first = scenes.work(memory, task, scenes.idea(task, 1), scenes.answer("B = 1"), scenes.verdict(task, 1.0))
    scenes.work(memory, other, scenes.idea(other, 1), scenes.answer("x"), scenes.verdict(other, 1.0))
    q = memory.values().q
    assert q("draft", "cpp", "softmax", first.idea.id) == pytest.approx(0.3)
    better = scenes.work(memory, task, scenes.idea(task, 2), scenes.answer("B = 2"), scenes.verdict(task, 2.0))
    assert q("draft", "cpp", "softmax", better.idea.id) == q("draft", "cpp", "softmax", first.idea.id) != 0.0


def test_what_an_attempt_in_flight_says_of_the_merged_it_says_of_its_successor(memory, scenes):
    task, other = scenes.task(), scenes.task("core/reduce/log_softmax")
    memory.store.create_run(scenes.run("r1", task, other))
    first = scenes.work(memory, task, scenes.idea(task, 1), scenes.answer("B = 1"), scenes.verdict(task, 1.0))
    flying = memory.recall(scenes.idea(other, 1), other, "cpp")
    assert [r.experience.id for r in flying.items] == [first.idea.id]
    better = scenes.work(memory, task, scenes.idea(task, 2), scenes.answer("B = 2"), scenes.verdict(task, 2.0), Context())
    q = memory.values().q
    before = q("draft", "cpp", "softmax", better.idea.id)
    scenes.work(memory, other, scenes.idea(other, 1), scenes.answer("x"), scenes.verdict(other, 1.0), flying)
    assert q("draft", "cpp", "softmax", better.idea.id) == pytest.approx(before + 0.3 * (1 - before))


def test_failures_with_the_same_complaint_are_one_lesson(memory, scenes):
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    for number, complaint in (
        (1, "k.cpp:3:5: error: 'foo' was not declared"),
        (2, "k.cpp:12:9: error: 'foo' was not declared"),
    ):
        judged = scenes.verdict(task, status=Status.BUILD_FAILED, stage=Stage.BUILD, reason=complaint)
        scenes.work(memory, task, scenes.idea(task, number), scenes.answer(f"code {chr(96 + number)}"), judged)
    (kept,) = kinds(memory, "failure")
    assert kept.experience.seen == 2
    judged = scenes.verdict(task, status=Status.BUILD_FAILED, stage=Stage.BUILD, reason="'bar' was not declared")
    scenes.work(memory, task, scenes.idea(task, 3), scenes.answer("code z"), judged)
    assert len(kinds(memory, "failure")) == 2


def test_lessons_in_a_models_words_merge_by_the_words_they_share(memory, scenes):
    from kernelwright.memory import experiences

    said = "split the row over threads and keep the running maximum in registers"
    for number, words in enumerate((said, f"{said}, please", "vectorise the loads of the weights"), start=1):
        lesson = f"softmax in cpp: a draft was incorrect at correct. Reason {'abc'[number - 1]}.{MARK}{words}"
        new = trace("", id=f"e{number}", kind="failure", status="incorrect", lesson=lesson, speedup=None)
        with memory.store.begin() as tx:
            experiences.insert(tx, [new], f"c{number}", "run:r1", memory.store.artifacts)
    assert sorted((e.experience.id, e.experience.seen) for e in kinds(memory, "failure")) == [("e1", 2), ("e3", 1)]


def test_the_same_kernel_in_another_run_is_counted(memory, scenes):
    task = scenes.task()
    for run in ("r1", "r2"):
        memory.store.create_run(scenes.run(run, task))
        scenes.work(memory, task, scenes.idea(task, 1, run_id=run), scenes.answer("same"), scenes.verdict(task, 2.0), Context())
    assert [e.experience.seen for e in kinds(memory)] == [2]


@pytest.fixture
def small(tmp_path, scenes):
    opened = scenes.open_here(tmp_path / "small", capacity=20)
    yield opened
    opened.close()


def fill(memory, scenes, upto, begin=1):
    task = scenes.task()
    for number in range(begin, upto + 1):
        name = chr(96 + number // 26 + 1) + chr(97 + number % 26)
        given = scenes.answer(f"kernel {name}", f"way {name}")
        scenes.work(memory, task, scenes.idea(task, number), given, scenes.verdict(task, 1.0), Context())


def test_beyond_its_capacity_what_is_worth_least_is_archived_not_lost(small, scenes):
    task = scenes.task()
    small.store.create_run(scenes.run("r1", task))
    fill(small, scenes, 10)
    ids = [e.experience.id for e in small.listing(Filter())[0]]
    assert len(ids) == 20
    precious, poor = ids[-1], small.listing(Filter(kind="trace"))[0][1].experience.id
    with small.store.begin() as tx:
        update(tx, Change("draft", "cpp", "softmax", (precious,), 1.0), 0.5)
        update(tx, Change("draft", "cpp", "softmax", (poor,), -1.0), 0.5)
    small.search("softmax")
    fill(small, scenes, 11, begin=11)
    left = {e.experience.id for e in small.listing(Filter())[0]}
    archived = small.listing(Filter(archived=True))[0]
    assert len(left) == 19, "room for a twentieth more"
    assert {e.archived for e in archived} == {"evicted"}
    assert len(left) + len(archived) == 22
    assert precious in left
    assert poor not in left
    assert small.stats().indexed == 19
    assert poor not in {r.experience.id for r in small.search("softmax", n=40)}
    small.restore([poor])
    assert poor in {r.experience.id for r in small.search("softmax", n=40)}
    assert small.entry(poor).anywhere("draft").q == pytest.approx(-0.5), "its values were kept"


def test_an_evicted_kernel_that_comes_again_is_recalled_again(small, scenes):
    task = scenes.task()
    small.store.create_run(scenes.run("r1", task))
    fill(small, scenes, 11)
    old = next(e for e in small.listing(Filter(kind="trace", archived=True))[0])
    small.store.create_run(scenes.run("r2", task))
    what = scenes.idea(task, 1, run_id="r2")
    scenes.work(small, task, what, scenes.answer(old.experience.code, "again"), scenes.verdict(task, 1.0), Context())
    assert small.entry(old.experience.id).archived == ""
    assert old.experience.id in {r.experience.id for r in small.search("softmax", n=40)}


def test_knowledge_is_never_evicted_nor_restored_against_its_file(tmp_path, scenes):
    folder = tmp_path / "backends" / "toy"
    folder.mkdir(parents=True)
    (folder / "seeds.yaml").write_text("version: 1\nsources: {facts: measured here}\n")
    (folder / "facts.md").write_text("## Loads\n\n`toy.load(p)` loads.\n")
    memory = scenes.open_here(tmp_path / "home", tmp_path / "backends", capacity=20)
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    fill(memory, scenes, 11)
    (old,) = memory.listing(Filter(kind="api"))[0]
    memory.close()
    (folder / "facts.md").write_text("## Loads\n\n`toy.load(p, n)` loads n.\n")
    memory = scenes.open_here(tmp_path / "home", tmp_path / "backends")
    (new,) = memory.listing(Filter(kind="api"))[0]
    assert new.experience.id != old.experience.id
    with pytest.raises(InputError, match="a seed that its file has replaced"):
        memory.restore([old.experience.id])
    memory.close()


def test_restoring_what_is_not_archived_or_not_there_changes_nothing(small, scenes):
    task = scenes.task()
    small.store.create_run(scenes.run("r1", task))
    fill(small, scenes, 11)
    archived = [e.experience.id for e in small.listing(Filter(archived=True))[0]]
    with pytest.raises(UnknownName, match="no experience 'nope'"):
        small.restore([archived[0], "nope"])
    with pytest.raises(InputError, match="not archived"):
        small.restore([archived[0], small.listing(Filter())[0][0].experience.id])
    assert [e.experience.id for e in small.listing(Filter(archived=True))[0]] == archived
