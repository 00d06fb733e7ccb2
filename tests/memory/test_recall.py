"""Recall: the pool by similarity, the places by value, and what stands beside them."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from kernelwright.memory import experiences
from kernelwright.memory.recall import Candidate, Settings, between, choose, excluded, progress
from kernelwright.memory.records import Context, Experience
from kernelwright.memory.values import Change, update
from kernelwright.tasks.errors import HarnessError
from kernelwright.tasks.records import Stage, Status

POOL = [Candidate(f"c{i}", 1.0 - i / 100, q, "") for i, q in enumerate((0.0, 0.5, -0.5, 0.0, 0.9))]


def ids(chosen):
    return [c.id for c in chosen]


def note(store, id_, text, kind="practice", backend="cpp", task="", origin="test"):
    new = Experience(id_, kind, "", backend, "", "", task, text, "", text, "", "", None, ())
    with store.begin() as tx:
        experiences.insert(tx, [new], id_, origin, store.artifacts)


def test_places_go_by_value_then_by_similarity():
    assert ids(choose(POOL, 4, 0.0, "", random.Random(0))) == ["c4", "c1", "c0", "c3"]


def test_among_equal_values_the_same_bottleneck_comes_first():
    pool = [Candidate("near", 0.9, 0.0, "compute"), Candidate("far", 0.1, 0.0, "memory")]
    assert ids(choose(pool, 1, 0.0, "memory", random.Random(0))) == ["far"]
    assert ids(choose(pool, 1, 0.0, "", random.Random(0))) == ["near"]


def test_a_refinement_holds_examples_for_its_bottleneck_however_little_they_are_worth_yet():
    valued = [Candidate(f"v{i}", 0.9, 0.9 - i / 100, "compute") for i in range(5)]
    pool = [
        *valued,
        Candidate("m1", 0.5, -0.2, "memory"),
        Candidate("m2", 0.4, 0.1, "memory"),
        Candidate("m3", 0.3, 0.0, "memory"),
    ]
    assert ids(choose(pool, 5, 0.0, "memory", random.Random(0), 2)) == ["v0", "v1", "v2", "m2", "m3"]
    assert ids(choose(pool, 5, 0.0, "memory", random.Random(0), 1)) == ["v0", "v1", "v2", "v3", "m2"]
    assert ids(choose(pool, 5, 0.0, "latency", random.Random(0), 2)) == ["v0", "v1", "v2", "v3", "v4"]
    assert ids(choose(pool, 1, 0.0, "memory", random.Random(0), 2)) == ["m2"]
    assert ids(choose(pool[:6], 5, 0.0, "memory", random.Random(0), 3)) == ["v0", "v1", "v2", "v3", "m1"]
    assert ids(choose(pool, 5, 0.0, "", random.Random(0), 2)) == ["v0", "v1", "v2", "v3", "v4"], "a draft has no bottleneck"


def test_epsilon_gives_every_candidate_its_chance_at_its_rate():
    counts: Counter[str] = Counter()
    for seed in range(4000):
        counts.update(ids(choose(POOL, 1, 0.2, "", random.Random(seed))))
    assert counts["c4"] / 4000 == pytest.approx(0.8 + 0.2 / 5, abs=0.02)
    for other in ("c0", "c1", "c2", "c3"):
        assert counts[other] / 4000 == pytest.approx(0.2 / 5, abs=0.015)


def test_a_pool_smaller_than_the_places_is_taken_whole():
    assert len(choose(POOL, 9, 0.5, "", random.Random(1))) == 5
    assert choose([], 5, 0.5, "", random.Random(1)) == []


def test_annealing_goes_from_the_first_idea_to_the_budget():
    settings = Settings(seeds=None)
    assert between(settings.pool, progress(1, 30)) == 2.0
    assert between(settings.pool, progress(30, 30)) == 15.0
    assert between(settings.pool, progress(99, 30)) == 15.0
    assert between(settings.epsilon, progress(1, 30)) == pytest.approx(0.2)
    assert between(settings.epsilon, progress(30, 30)) == pytest.approx(0.05)
    assert between(settings.pool, progress(2, 3)) == pytest.approx(8.5)
    assert progress(1, 1) == 0.0


def test_the_runs_own_budget_sets_the_pace(tmp_path, scenes):
    memory = scenes.open_here(tmp_path / "home", places=1, epsilon=(0.0, 0.0), budget=1000)
    task = scenes.task()
    for i in range(6):
        note(memory.store, f"near{i}", f"softmax over rows in cpp, draft number {i}")
    note(memory.store, "far", "convolution of images with padding")
    with memory.store.begin() as tx:
        update(tx, Change("draft", "cpp", task.family, ("far",), 1.0), 0.3)
    for id_, config in (("none", {}), ("short", {"budget": 4})):
        memory.store.create_run(scenes.run(id_, task, **config))
    fourth = {r: memory.recall(scenes.idea(task, 4, run_id=r, seed=1), task, "cpp") for r in ("none", "short")}
    assert fourth["none"].items[0].experience.id != "far", "the pool is 2 at the start of a long search"
    assert fourth["short"].items[0].experience.id == "far", "and 15 at the end of a short one"
    memory.close()


def test_a_larger_pool_lets_a_valued_item_from_far_away_in(tmp_path, scenes):
    memory = scenes.open_here(tmp_path / "home", places=2, epsilon=(0.0, 0.0), budget=30)
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    for i in range(12):
        note(memory.store, f"near{i}", f"softmax over rows in cpp, draft number {i}")
    note(memory.store, "far", "convolution of images with padding")
    with memory.store.begin() as tx:
        update(tx, Change("draft", "cpp", task.family, ("far",), 1.0), 0.3)
    early = [r.experience.id for r in memory.recall(scenes.idea(task, 1), task, "cpp").items]
    late = memory.recall(scenes.idea(task, 30), task, "cpp").items
    assert "far" not in early
    assert late[0].experience.id == "far"
    assert late[0].q == pytest.approx(0.3)
    memory.close()


def test_values_of_the_other_stage_do_not_count(tmp_path, scenes):
    memory = scenes.open_here(tmp_path / "home", places=1, epsilon=(0.0, 0.0))
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    note(memory.store, "a", "softmax over rows in cpp draft")
    note(memory.store, "b", "softmax over columns")
    with memory.store.begin() as tx:
        update(tx, Change("refine", "cpp", task.family, ("b",), 1.0), 0.3)
    assert memory.recall(scenes.idea(task, 1), task, "cpp").items[0].experience.id == "a"
    memory.close()


def test_a_backend_sees_its_own_and_what_worked_elsewhere(memory, scenes):
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    for kind in ("practice", "failure", "success", "trace"):
        for backend in ("cpp", "triton"):
            note(memory.store, f"{backend}-{kind}", f"softmax {kind} {backend}", kind, backend)
    note(memory.store, "for all", "softmax for any backend", backend="")
    context = memory.recall(scenes.idea(task, 30), task, "cpp")
    pool = {r.experience.id for r in memory.search("softmax", "cpp", 20)}
    assert pool == {"cpp-practice", "cpp-failure", "cpp-success", "cpp-trace", "triton-success", "for all"}
    assert {r.experience.id for r in context.items} <= pool
    assert len(memory.search("softmax", None, 20)) == 9


def test_the_same_idea_recalls_the_same(tmp_path, scenes):
    memory = scenes.open_here(tmp_path / "home", epsilon=(0.5, 0.5))
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    for i in range(40):
        note(memory.store, f"n{i}", f"softmax note {i}")
    seen = {seed: memory.recall(scenes.idea(task, 3, seed=seed), task, "cpp") for seed in range(8)}
    for seed, context in seen.items():
        assert memory.recall(scenes.idea(task, 3, seed=seed), task, "cpp") == context
    assert len({tuple(r.experience.id for r in c.items) for c in seen.values()}) > 1
    memory.close()


def test_history_start_children_and_complements(tmp_path, scenes):
    memory = scenes.open_here(tmp_path / "home")
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))

    def step(number, parent, code, judged, strategy="one pass"):
        what = scenes.idea(task, number, parent)
        return scenes.work(memory, task, what, scenes.answer(code, strategy), judged).attempt

    start = step(1, None, "a", scenes.verdict(task, 1.5))
    slow = step(2, None, "b", scenes.verdict(task, 1.1, bound="compute"), "two passes")
    fast = step(3, None, "c", scenes.verdict(task, 3.0), "vector loads")
    child = step(4, start.id, "d", scenes.verdict(task, status=Status.INCORRECT, stage=Stage.CORRECT, reason="off"))
    unreadable = scenes.work(memory, task, scenes.idea(task, 5), scenes.unreadable(), None).attempt
    memory.store.ask(scenes.idea(task, 6), Context())
    context = memory.recall(scenes.idea(task, 7, start.id), task, "cpp")
    assert context.start == start
    assert context.history == (start, slow, fast, child, unreadable), "what is in flight is not history"
    assert context.relatives == (child, slow, fast), "the child, then another bottleneck before the same one"
    shown = {a.id for a in context.history}
    assert not shown & {r.experience.id.removesuffix("-success") for r in context.items}
    memory.close()


def test_earlier_runs_give_start_points_and_relatives(tmp_path, scenes):
    task = scenes.task()
    memory = scenes.open_here(tmp_path / "home")
    memory.store.create_run(scenes.run("r1", task))
    old = scenes.work(memory, task, scenes.idea(task), scenes.answer("old"), scenes.verdict(task, 4.0)).attempt
    memory.store.create_run(scenes.run("r2", task))
    mine = scenes.idea(task, 1, run_id="r2")
    new = scenes.work(memory, task, mine, scenes.answer("new", "other"), scenes.verdict(task, 1.0)).attempt
    assert [a.id for a in memory.variants(task, "cpp", "r2")] == [old.id, new.id]
    assert memory.variants(task, "triton", "r2") == ()
    assert memory.variants(task, "cpp", "r2", "another device") == ()
    from_old = memory.recall(scenes.idea(task, 2, old.id, "r2"), task, "cpp")
    assert from_old.start == old
    assert from_old.history == (new,)
    memory.store.ask(scenes.idea(task, 2, old.id, "r2"), from_old)
    assert memory.store.steps("r2")[1].context == from_old
    assert memory.recall(scenes.idea(task, 3, new.id, "r2"), task, "cpp").relatives == (old,)
    memory.close()
    apart = scenes.open_here(tmp_path / "home", exclude=("softmax",))
    assert [a.id for a in apart.variants(task, "cpp", "r2")] == [new.id]
    apart.close()


def test_excluded_tasks_are_left_out_however_near_they_are(tmp_path, scenes):
    task = scenes.task()
    memory = scenes.open_here(tmp_path / "home", exclude=("reduce/softmax",), places=3)
    memory.store.create_run(scenes.run("r1", task))
    for i in range(60):
        note(memory.store, f"x{i}", f"{task.summary} softmax cpp draft {i}", task=task.name)
    for i in range(3):
        note(memory.store, f"o{i}", f"convolution of images {i}", task="core/convolution/conv2d")
    items = memory.recall(scenes.idea(task), task, "cpp").items
    assert {r.experience.id for r in items} == {"o0", "o1", "o2"}
    memory.close()


def test_what_is_learned_after_a_look_through_the_rest_is_recalled_too(tmp_path, scenes):
    task, other = scenes.task(), scenes.task("core/reduce/log_softmax")
    memory = scenes.open_here(tmp_path / "home", exclude=("reduce/softmax",), places=3)
    memory.store.create_run(scenes.run("r1", task, other))
    for i in range(60):
        note(memory.store, f"x{i}", f"{task.summary} softmax cpp draft {i}", task=task.name)
    note(memory.store, "far", "convolution of images", task="core/convolution/conv2d")
    assert [r.experience.id for r in memory.recall(scenes.idea(task), task, "cpp").items] == ["far"]
    scenes.work(memory, task, scenes.idea(task, 1), scenes.answer("own"), scenes.verdict(task, 2.0), Context())
    new = scenes.work(
        memory, other, scenes.idea(other, 1), scenes.answer("new", "other"), scenes.verdict(other, 2.0), Context()
    )
    found = memory.recall(scenes.idea(task, 2), task, "cpp").items
    assert [r.experience.id for r in found] == [new.idea.id, "far"]
    assert memory.rebuild() == memory.stats().experiences
    memory.close()


def test_exclusion_is_by_full_name_or_its_end():
    assert excluded("core/norm/rms_norm", ["rms_norm"])
    assert excluded("core/norm/rms_norm", ["core/norm/rms_norm"])
    assert not excluded("core/norm/rms_norm", ["norm"])
    assert not excluded("core/norm/rms_norm", ["s_norm"])


def test_the_same_kernel_again_is_recalled_once(memory, scenes):
    task, other = scenes.task(), scenes.task("core/reduce/log_softmax")
    for id_ in ("r1", "r2"):
        memory.store.create_run(scenes.run(id_, task, other))
        what = scenes.idea(task, 1, run_id=id_)
        scenes.work(memory, task, what, scenes.answer("same"), scenes.verdict(task, 2.0), Context())
    assert memory.stats().kinds == {"success": 1, "trace": 1}
    items = memory.recall(scenes.idea(other, 1, run_id="r2"), other, "cpp").items
    assert [r.experience.kind for r in items] == ["trace"], "the trace carries its lesson"
    assert items[0].experience.code == "same"


def test_a_start_point_that_is_nowhere_is_an_error(memory, scenes):
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    with pytest.raises(HarnessError, match="no-such"):
        memory.recall(scenes.idea(task, 1, "no-such"), task, "cpp")
