"""The cap of a prompt: it holds, and what goes first is what the documentation says."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from prompt_scenes import BEST, CPP_KERNEL, H100, KERNEL, REFERENCE, TASK, TRACE, WRONG, assignment, attempt, refine

from kernelwright.agent.llm.tokens import estimate
from kernelwright.agent.prompt import knowledge
from kernelwright.agent.prompt import view as prompt_view
from kernelwright.agent.prompt.build import CAP, Prompt, compose, prompt_sections
from kernelwright.agent.prompt.cuts import cuts
from kernelwright.agent.writers.writer import Assignment
from kernelwright.memory.records import Context, Recalled
from kernelwright.tasks.records import Idea, IdeaStage, Status


def big_context(code: int, items: int) -> Context:
    filler = "x = 1\n" * (code // 6)
    traces = tuple(Recalled(replace(TRACE, id=f"t{i}", code=filler), 0.5, 0.5) for i in range(items))
    tried = tuple(attempt(n, Status.PASSED, speedup=1.1, source=filler + KERNEL, parent=BEST) for n in range(10, 60))
    other = attempt(70, Status.PASSED, speedup=1.2, source=filler + KERNEL)
    return Context(items=traces, start=BEST, relatives=(*tried[:3], other), history=(*tried, WRONG))


def crowded(cap: int, role: str = "code") -> Prompt:
    idea = Idea("r1", TASK.name, 5, IdeaStage.REFINE, BEST.id)
    return compose(Assignment(idea, TASK, "triton", H100, big_context(9_000, 4)), cap, role, code=CPP_KERNEL)


@pytest.mark.parametrize("role", ["code", "plan", "review"])
@pytest.mark.parametrize("cap", [24_000, 16_000, 8_000, 5_000])
def test_the_cap_holds(cap: int, role: str) -> None:
    found = crowded(cap, role)
    assert found.tokens <= cap
    assert estimate(found.text) <= found.tokens, "the sections' sum errs on the safe side"
    assert found.note == ""
    for kept in (
        REFERENCE.strip(),
        "What a kernel is",
        *(("# attempt 2", "Diagnosis of the start") if role != "review" else ()),
    ):
        assert kept in found.text


def test_the_least_valuable_parts_go_first_in_the_documented_order() -> None:
    """Every step of the way down: the order of prompts/README.md and of agent/prompt/cuts.py."""
    view = prompt_view.variables(Assignment(Idea("r1", TASK.name, 5, IdeaStage.REFINE, BEST.id), TASK, "triton", H100,
                                            big_context(9_000, 4)))  # fmt: skip
    kinds = [f"{cut.section}: {re.sub(r'[0-9]+', 'N', cut.what)}" for cut in cuts(view)]
    known = [section for section in knowledge.relevant("triton", TASK)]
    general = [f"knowledge: {re.sub('[0-9]+', 'N', s.title)}" for s in reversed(known[4:]) if not s.tags]
    chosen = [f"knowledge: {re.sub('[0-9]+', 'N', s.title)}" for s in reversed(known[4:]) if s.tags]
    first = [f"knowledge: {re.sub('[0-9]+', 'N', s.title)}" for s in reversed(known[:4])]
    assert kinds == [
        *["variants: code of attempt N"] * 2, *["experience: code of item N"] * 3, "feedback: source of attempt N",
        "history: the first N rows", "variants: code of attempt N", "variants: code of attempt N", "experience: code of item N",
        *general, *["experience: item N"] * 4, *chosen, "history: the first N rows", *first,
    ]  # fmt: skip


def test_what_was_dropped_is_said_by_section() -> None:
    dropped = {s.name: s.dropped for s in crowded(12_000).sections}
    assert dropped["variants"][:3] == ("code of attempt 12", "code of attempt 11", "code of attempt 70")
    assert dropped["experience"][:1] == ("code of item 4",)
    assert dropped["task"] == dropped["contract"] == dropped["start"] == dropped["answer"] == ()
    assert not any(s.dropped for s in prompt_sections(assignment("draft", "cpp")))


def test_code_much_like_the_start_points_becomes_a_difference_before_anything_is_lost() -> None:
    long = KERNEL + "".join(f"# line {n} of a long kernel\n" for n in range(300))
    start = attempt(2, Status.PASSED, speedup=2.0, source=long)
    near = attempt(3, Status.PASSED, speedup=1.9, parent=start, source=long.replace("# line 150 of", "# LINE 150 OF"))
    idea = Idea("r1", TASK.name, 5, IdeaStage.REFINE, start.id)
    about = Assignment(idea, TASK, "triton", H100, Context(start=start, relatives=(near,), history=(start, near)))
    whole = compose(about, 100_000)
    short = compose(about, whole.tokens - 1)
    assert {s.name: s.dropped for s in short.sections if s.dropped} == {
        "variants": ("code of attempt 3: all but its difference from the start point",)
    }
    assert "-# line 150 of a long kernel\n+# LINE 150 OF a long kernel" in short.text
    assert whole.text.count("# line 149 of") == 2
    assert short.text.count("# line 149 of") == 2, "once in the start point, once as the difference's context"
    assert short.text.count("# line 250 of") == 1


def test_code_too_long_to_show_is_shown_as_a_difference_where_it_can_be() -> None:
    long = KERNEL + "".join(f"# line {n} of a long kernel\n" for n in range(900))
    start = attempt(2, Status.PASSED, speedup=2.0, source=long)
    near = attempt(3, Status.PASSED, speedup=1.9, parent=start, source=long.replace("# line 150 of", "# LINE 150 OF"))
    far = attempt(4, Status.PASSED, speedup=1.9, parent=start, source=long.replace("# line", "# other"))
    text = refine(Context(start=start, relatives=(near, far), history=(start, near, far)))
    assert "+# LINE 150 OF a long kernel" in text
    assert "# other 150" not in text


def test_task_contract_and_start_point_are_never_cut() -> None:
    long = attempt(2, Status.PASSED, speedup=2.0, source=KERNEL + "# end of the start point\n" + "y = 2\n" * 12_000)
    idea = Idea("r1", TASK.name, 5, IdeaStage.REFINE, long.id)
    found = compose(Assignment(idea, TASK, "triton", H100, Context(start=long, history=(long,))))
    assert found.tokens > CAP
    assert re.fullmatch(rf"\d+ tokens, above {CAP}: what is left is never cut \(start: \d+\)", found.note)
    for kept in (REFERENCE.strip(), "# end of the start point", "What a kernel is", "The form of the answer"):
        assert kept in found.text
    assert "An exemplar" not in found.text
