"""Rewards, their normaliser and the update: the equations as they are written."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelwright.memory.schema import ANY
from kernelwright.memory.values import Change, Running, StoredValues, lookup, normalised, reward, update
from kernelwright.tasks.records import IdeaStage

DRAFT, REFINE = IdeaStage.DRAFT, IdeaStage.REFINE


@pytest.mark.parametrize(
    ("stage", "feasible", "speedup", "best", "expected"),
    [
        (DRAFT, True, 3.0, None, 1.0),
        (DRAFT, True, None, 2.0, 1.0),
        (DRAFT, False, None, None, -1.0),
        (REFINE, False, None, 2.0, -1.0),
        (REFINE, True, None, 2.0, 0.0),
        (REFINE, True, 2.0, None, 0.0),
        (REFINE, True, 2.0, 2.0, 0.0),
        (REFINE, True, 4.0, 2.0, math.tanh(math.log(2))),
        (REFINE, True, 1.0, 2.0, -math.tanh(math.log(2))),
    ],
)
def test_raw_reward(stage, feasible, speedup, best, expected):
    assert reward(stage, feasible, speedup, best) == pytest.approx(expected)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=50))
def test_running_statistics_are_those_of_the_whole_list(rewards):
    running = Running()
    for x in rewards:
        running = running.add(x)
    assert running.mean == pytest.approx(statistics.fmean(rewards), abs=1e-9)
    assert running.deviation == pytest.approx(max(0.1, statistics.pstdev(rewards)), abs=1e-6)
    assert -3 <= running.normalise(rewards[-1]) <= 3


def test_normalising_has_a_floor_a_clip_and_leaves_the_first_as_it_is():
    assert Running().add(0.6).normalise(0.6) == 0.6
    level = Running(100, 0.0, 0.0)
    assert level.normalise(0.05) == pytest.approx(0.5)
    assert level.normalise(1.0) == 3.0
    assert level.normalise(-1.0) == -3.0


def test_each_backend_has_its_own_statistics(store):
    with store.begin() as tx:
        for raw in (0.0, 1.0):
            normalised(tx, "cpp", raw)
        assert normalised(tx, "triton", 0.4) == 0.4
        # cpp has seen 0, 1 and now 0.5: mean 0.5
        assert normalised(tx, "cpp", 0.5) == pytest.approx(0.0)


def change(*items: str, reward: float = 1.0, stage: str = "draft", backend: str = "cpp", family: str = "norm") -> Change:
    return Change(stage, backend, family, items, reward)


def test_update_moves_by_alpha_towards_the_reward(store):
    q = StoredValues(store).q
    assert q("draft", "cpp", "norm", "a") == 0.0
    expected = 0.0
    for r in (1.0, 1.0, -1.0, 0.25):
        with store.begin() as tx:
            update(tx, change("a", reward=r), 0.3)
        expected += 0.3 * (r - expected)
        assert q("draft", "cpp", "norm", "a") == pytest.approx(expected)


def test_stages_are_apart(store):
    with store.begin() as tx:
        update(tx, change("a", stage="draft"), 0.3)
    assert StoredValues(store).q("refine", "cpp", "norm", "a") == 0.0


def test_an_item_unused_here_is_worth_what_it_is_anywhere_and_goes_on_from_there(store):
    q = StoredValues(store).q
    with store.begin() as tx:
        update(tx, change("a", reward=1.0), 0.3)
    assert q("draft", "triton", "softmax", "a") == pytest.approx(0.3)
    with store.begin() as tx:
        update(tx, change("a", reward=-1.0, backend="triton", family="softmax"), 0.3)
    assert q("draft", "triton", "softmax", "a") == pytest.approx(0.3 + 0.3 * (-1 - 0.3))
    assert q("draft", "cpp", "norm", "a") == pytest.approx(0.3), "what happened elsewhere does not change it here"
    assert q("draft", "cpp", "matmul", "a") == pytest.approx(0.3 + 0.3 * (-1 - 0.3)), "both uses pooled"


def test_visits_count_updates(store):
    from kernelwright.memory.schema import item_values as v

    for items in (("a", "b"), ("b",)):
        with store.begin() as tx:
            update(tx, change(*items), 0.3)
    with store.read() as tx:
        visits = {(r.item, r.backend): r.visits for r in tx.execute(v.select())}
    assert visits == {("a", "cpp"): 1, ("b", "cpp"): 2, ("a", ANY): 1, ("b", ANY): 2}


def test_lookup_of_many_leaves_out_the_unknown(store):
    with store.begin() as tx:
        update(tx, change("a", "b"), 0.5)
    with store.read() as tx:
        assert lookup(tx, "draft", "cpp", "norm", ["a", "b", "c"]) == {"a": 0.5, "b": 0.5}
