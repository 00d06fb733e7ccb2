"""What a compiler estimates orders passes that nothing timed, is named in lessons, and is worth nothing by itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from kernelwright.agent.policies.evokernel import EvoKernel
from kernelwright.agent.policies.policy import Search
from kernelwright.memory.records import Context
from kernelwright.memory.static import cycles, ranked
from kernelwright.tasks.records import Idea, IdeaStage, Verdict


@pytest.fixture
def judged(scenes):
    def judged(estimate: int | None, target: str = "v5e", speedup: float | None = None) -> Verdict:
        kernel: dict[str, Any] = {"name": "k", "spills": 0} | ({} if estimate is None else {"cycles": estimate})
        compiled = {"case": "cpu/float32", "schedules": {target: [kernel]}}
        return scenes.verdict(scenes.task(), speedup, evidence={"compiled": compiled})

    return judged


@pytest.fixture
def attempts(scenes, judged):
    def attempts(*estimates: int | None, **how: Any):
        return [
            scenes.attempt(scenes.idea(scenes.task(), n), scenes.answer(f"# {n}"), judged(estimate, **how))
            for n, estimate in enumerate(estimates, 1)
        ]

    return attempts


def test_passes_without_a_timing_are_ranked_by_fewer_cycles(attempts) -> None:
    slow, fast, middle = attempts(2000, 500, 1000)
    assert ranked([slow, fast, middle]) == (fast, middle, slow)


def test_what_was_timed_comes_first_and_stays_as_it_is(attempts) -> None:
    (timed, *_), (slow, fast) = attempts(9, 9, speedup=0.5), attempts(2000, 500)
    assert ranked([slow, timed, fast]) == (timed, fast, slow)


def test_estimates_of_other_targets_or_none_order_nothing(attempts) -> None:
    slow, fast, unknown = attempts(2000, 500, None)
    (elsewhere,) = attempts(1, target="v6e")
    for one in (unknown, elsewhere):
        assert cycles([slow, fast, one]) == {}
        assert ranked([slow, one, fast]) == (slow, one, fast)
    assert cycles([]) == {}


def test_memory_ranks_variants_by_them_and_gives_no_reward_for_them(tmp_path, scenes, judged) -> None:
    task = scenes.task()
    memory = scenes.open_here(tmp_path / "home")
    memory.store.create_run(scenes.run("r1", task))
    first = scenes.work(memory, task, scenes.idea(task, 1), scenes.answer("slow"), judged(2000)).attempt
    better = scenes.idea(task, 2, first.id)
    second = scenes.work(memory, task, better, scenes.answer("fast"), judged(500), Context(start=first)).attempt
    assert [a.id for a in memory.variants(task, "cpp", "r1")] == [second.id, first.id]
    assert memory.values().q("refine", "cpp", task.family, first.id) == 0.0, "an estimate is no latency"
    shown = {entry.experience.id: entry.experience for entry in memory.search("softmax", "cpp", 9)}
    assert shown[second.id].speedup is None
    assert "right, not timed" in shown[second.id].lesson
    said = "The compiler estimates 500 cycles (v5e, cpu/float32), 2000 for its start point; that is no timing."
    assert said in shown[second.id].lesson
    assert "estimates 2000 cycles (v5e, cpu/float32); that is no timing" in shown[first.id].lesson
    memory.close()


def test_a_timed_attempt_s_lesson_is_silent_of_them(tmp_path, scenes, judged) -> None:
    task = scenes.task()
    memory = scenes.open_here(tmp_path / "home")
    memory.store.create_run(scenes.run("r1", task))
    scenes.work(memory, task, scenes.idea(task, 1), scenes.answer("timed"), judged(2000, speedup=2.0))
    assert all("estimates" not in entry.experience.lesson for entry in memory.search("softmax", "cpp", 9))
    memory.close()


class Nothing:
    """No value is known."""

    def q(self, stage: str, backend: str, family: str, item: str) -> float:
        return 0.0


@pytest.mark.parametrize(("estimates", "expected"), [((500, 2000), 1), ((2000, 500), 2), ((500, None), 2)])
def test_a_search_refines_the_one_with_fewer_cycles_among_equals(attempts, estimates, expected) -> None:
    """Where they do not compare, the newer one, as ever."""
    drafts = attempts(*estimates)
    starts: Counter[str | None] = Counter()
    for seed in range(40):
        policy = EvoKernel(Search("r1", drafts[0].idea.task, "softmax", "cpp", seed, 1000), Nothing())
        for draft in drafts:
            policy.tell(draft.idea, draft)
        asked = policy.ask()
        assert isinstance(asked, Idea)
        assert asked.stage is IdeaStage.REFINE
        starts[asked.parent] += 1
    assert starts[drafts[expected - 1].id] >= 30, "but for the share that is drawn at random"
