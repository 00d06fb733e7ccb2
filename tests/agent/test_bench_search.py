"""The bench of the search: its worlds hold what they promise, and a recording is replayed as it was judged."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from kernelwright.agent.bench.search import replay
from kernelwright.agent.bench.search.__main__ import main
from kernelwright.agent.bench.search.actors import Assessor, Author, Draft
from kernelwright.agent.bench.search.record import Order, Prepared, record
from kernelwright.agent.bench.search.recording import Judged, Recorded, Recording, narrowed, points
from kernelwright.agent.bench.search.synthetic import COLD, NONE, NULL_PAIRS, PAIRS, SIMILAR, VALUE, compare
from kernelwright.agent.bench.search.trial import Arm, run
from kernelwright.agent.bench.search.world import Landscape, World
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Kernel, Task

SMALL = World(families=2, obstacles=(1, 3), budget=8)
"""Four tasks."""


def test_with_nothing_to_learn_every_memory_solves_what_none_does_at_the_same_attempt() -> None:
    land = Landscape(SMALL.nothing(), 3)
    firsts = [[(r.task, r.first) for r in run(arm, land)] for arm in (NONE, SIMILAR, VALUE)]
    assert firsts[0] == firsts[1] == firsts[2]
    assert any(first for _, first in firsts[0])


def test_a_context_changes_what_the_model_can_do_and_the_null_world_takes_that_away() -> None:
    world = replace(SMALL, known=0.0, unaided=0.0, warned=0.0, documented=1.0, explained=1.0, lookalikes=0)
    places = Arm("many", replace(VALUE.settings, places=20, pool=(5.0, 5.0)))
    assert not any(r.first for r in run(NONE, Landscape(world, 1)))
    assert all(r.first == 1 for r in run(places, Landscape(world, 1)))
    assert not any(r.first for r in run(places, Landscape(world.nothing(), 1)))


def test_chroma_and_the_exact_index_lead_a_trial_the_same_way() -> None:
    land = Landscape(replace(SMALL, unaided=0.4, budget=6), 5)
    assert run(VALUE, land) == run(VALUE, land, chroma=True)


def test_an_arm_without_easy_tasks_never_sees_them() -> None:
    land = Landscape(SMALL, 2)
    assert [r.task for r in run(COLD, land)] == [t.task.name for t in land.truths if len(t.obstacles) == 3]


def test_a_kernel_says_what_it_is_and_the_judge_believes_nothing_else() -> None:
    land = Landscape(SMALL, 1)
    truth = land.truths[0]
    draft = Draft(frozenset(truth.obstacles), frozenset(list(truth.techniques)[:1]))
    assert Draft.read(draft.source(7)) == draft
    assert Draft.read("class ModelNew: ...") == Draft()
    assert Author(land).name == "synthetic"
    assert Assessor(land).device().kind == "cpu"


def test_the_comparison_has_an_interval_for_every_arm_and_pair() -> None:
    found = compare(replace(SMALL, budget=2), 2, 1, lambda line: None)
    assert [(d["arm"], d["against"]) for d in found["differences"]] == [(a.name, b.name) for a, b, _ in PAIRS]
    assert len(found["null"]["differences"]) == len(NULL_PAIRS)
    for part in (found, found["null"]):
        for arm in part["arms"].values():
            for figures in arm.values():
                assert figures["solved"]["low"] <= figures["solved"]["mean"] <= figures["solved"]["high"]
    assert json.dumps(found)


def landscape(seed: int) -> Recorded:
    """144 kernels: each choice adds to ln speed, each pair of choices a little. The last parameter changes nothing."""
    draw = random.Random(seed)
    space: dict[str, list[int]] = {"a": [0, 1, 2, 3], "b": [0, 1, 2], "c": [0, 1, 2, 3], "d": [0, 1, 2], "idle": [0, 1]}
    main = {(name, c): draw.gauss(0, 0.2) for name, choices in space.items() for c in choices if name != "idle"}
    pairs = {pair: draw.gauss(0, 0.05) for pair in itertools.combinations(main, 2)}
    judged, ids = dict[str, Judged](), list[str]()
    for point in points(space):
        chosen = [(name, c) for name, c in point.items() if name != "idle"]
        x = math.exp(sum(main[c] for c in chosen) + sum(pairs[p] for p in itertools.combinations(chosen, 2)))
        ids.append("".join(str(c) for _, c in chosen))
        judged[ids[-1]] = Judged(ids[-1], "passed", "time", "", (1 / x,) * 3, (x, x, x))
    return Recorded("softmax", "cpp", "id", space, ids, judged)


def test_the_default_policy_needs_a_third_of_random_searchs_kernels_where_there_is_a_slope() -> None:
    counts = {"evokernel": 0, "random": 0}
    for seed in range(8):
        recorded = landscape(seed)
        for side in counts:
            order = replay.order_of(side, f"t{seed}", recorded, seed)
            assert len(order) == len(set(order))
            counts[side] += replay.needed(order, recorded.judged, 0.95)
    assert counts["evokernel"] <= counts["random"] / 3


def test_what_was_never_found_counts_as_one_more_than_there_is() -> None:
    judged = landscape(1).judged
    slowest, fastest = sorted(judged, key=lambda k: judged[k].speedup or ())[:: len(judged) - 1]
    assert replay.needed([slowest], judged, 0.95) == len(judged) + 1
    assert replay.needed([slowest, fastest], judged, 0.99) == 2


def test_a_recording_comes_back_as_it_was_written(tmp_path: Path) -> None:
    recording = Recording("command", "2026-01-01", {"device": "d"}, {}, {"t": landscape(1)}, [0.1])
    recording.save(tmp_path / "r.json")
    assert Recording.load(tmp_path / "r.json") == recording
    assert recording.tasks["t"].of({"a": 3, "b": 2, "c": 1, "d": 0, "idle": 1}).kernel == "3210"


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "search-recording", "format": 2}', '{"kind": "x", "format": 1}'])
def test_what_is_no_recording_is_one_clear_error(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.json").write_text(text)
    assert main(["replay", str(tmp_path / "r.json")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_narrowing_keeps_defaults_and_drops_last_choices_of_the_longest() -> None:
    assert narrowed({"a": [1, 2, 3], "b": [4, 5]}, 4) == {"a": [1, 2], "b": [4, 5]}
    assert narrowed({"a": [1, 2, 3], "b": [4, 5]}, 1) == {"a": [1], "b": [4]}


def four(task: Task, order: Order) -> Prepared:
    """Four kernels, by the fake judge's comments."""
    kernels = [Kernel(f"# judge: passed {1 + i}\nx = {i}\n", order.backend) for i in range(4)]
    ids = [kernel.kernel_id for kernel in kernels]
    space = narrowed({"x": [0, 1, 2, 3]}, order.most)
    return Recorded("f", order.backend, task.task_id, space, ids, {}), dict(zip(ids, kernels, strict=True))


def test_recording_stops_in_time_goes_on_and_never_judges_twice(tmp_path: Path) -> None:
    path, task, engines, said = tmp_path / "r.json", Task("t", "", "", ()), list[FakeEngine](), list[str]()

    def engine() -> FakeEngine:
        engines.append(FakeEngine())
        return engines[-1]

    order = Order("cpp", "cpu", most=4, command="c")
    part = record(path, [task], replace(order, seconds=0.0), engine, said.append, four)
    assert len(part.tasks["t"].missing) == 4
    whole = record(path, [task], order, engine, said.append, four).tasks
    assert not whole["t"].missing
    assert whole["t"].of({"x": 2}).speedup == pytest.approx((3.0, 2.98, 3.02), rel=0.01)
    assert record(path, [task], order, engine, said.append, four).tasks == whole == Recording.load(path).tasks
    assert [len(e.judged) for e in engines] == [0, 4, 0]
    assert all(e.closed for e in engines)
    with pytest.raises(InputError, match="another space"):
        record(path, [task], replace(order, most=2), engine, said.append, four)
