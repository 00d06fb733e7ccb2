"""The page shows each prompt to the byte, and what several share only once."""

from __future__ import annotations

import html
import re

import pytest

from kernelwright.agent.llm.tokens import estimate
from kernelwright.agent.report import prompts as page
from kernelwright.agent.report import render_report
from kernelwright.agent.report.prompts import pieces_of, prompts
from kernelwright.memory.records import Context, RunRecord, Step, TaskOutcome
from kernelwright.tasks.records import Answer, Idea, IdeaStage, Kernel, ShapeCase, Task, Use

EVIL = "<script>alert(1)</script></pre></details>\"'&amp;"
FIRST = f"""# Write a kernel

Do it. {EVIL}

## The task

```python
# a comment of the reference, no heading
## neither is this
```

````text
```
## nor this
````
"""
SECOND = FIRST + "\n## The start point\n\n`attempt 1`\n"


def test_the_pieces_of_a_prompt_are_the_prompt() -> None:
    for text in (FIRST, SECOND, "no heading at all", "", "intro\n# one\n## two", "```\n## never closed\n"):
        assert "".join(piece for _, piece in pieces_of(text)) == text
    assert [title for title, _ in pieces_of(SECOND)] == ["Write a kernel", "The task", "The start point"]


def test_what_prompts_share_stands_once() -> None:
    found = prompts([(1, "r-1", FIRST, False), (2, "r-2", SECOND, True), (3, "r-3", "", False)])
    assert [row.attempt for row in found.rows] == [1, 2], "no prompt, no row"
    texts = {part.number: part.text for part in found.parts}
    for row, text in zip(found.rows, (FIRST, SECOND), strict=True):
        assert "".join(texts[n] for n in row.parts) == text
    assert found.parts[0].attempts == (1, 2)
    assert len(found.parts) == 4, "the task's piece ends in another empty line before another heading"
    assert found.rows[0].tokens == sum(estimate(piece) for _, piece in pieces_of(FIRST))


def test_a_page_stays_small_and_the_winners_prompt_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST", 1_000)
    found = prompts([(1, "r-1", "# A\n" + "x" * 900, False), (2, "r-2", "# B\n" + "y" * 900, True)])
    assert [part.shown for part in found.parts] == [False, True]
    assert not found.complete
    assert all(row.tokens > 100 for row in found.rows), "tokens are told all the same"


def report_of(*prompts_sent: str) -> tuple[str, list[str]]:
    """The page of a run whose attempts were asked for by these prompts, and the ideas' ids."""
    task = Task("core/demo/one", "class Model: ...", "reference.py", (ShapeCase("only", Use.TIMING),))
    steps = []
    for number, prompt in enumerate(prompts_sent, start=1):
        idea = Idea("r1", task.name, number, IdeaStage.DRAFT)
        steps.append(Step(idea, Context(), Answer("…", Kernel("x = 1", "cpp"), model="m", prompt=prompt), None, False))
    run = RunRecord("r1", {"argv": ["optimize"]}, "finished", "2025-01-02T03:04:05Z", (task,))
    outcomes = {task.name: TaskOutcome(task.name, "unsolved", len(steps), None, None, 0.0, "")}
    return render_report(run, steps, outcomes), [step.idea.id for step in steps]


def test_the_report_holds_the_exact_prompt_of_every_attempt() -> None:
    text, ideas = report_of(FIRST, SECOND)
    blocks = dict(re.findall(r'<details id="[^"]+-prompt-(\d+)">.*?<pre[^>]*>(.*?)</pre>', text, re.DOTALL))
    rows = re.findall(r'<td class="nowrap"><code>([^<]+)</code></td>.*?<td>(.*?)</td></tr>', text, re.DOTALL)
    shown = {idea: "".join(html.unescape(blocks[n]) for n in re.findall(r"-prompt-(\d+)", cells)) for idea, cells in rows}
    assert shown == dict(zip(ideas, (FIRST, SECOND), strict=True))
    assert "<script>" not in text
    assert "kernelwright exchange show" in text


def test_without_prompts_nothing_is_said_of_them() -> None:
    assert "tokens of each section" not in report_of("", "")[0]
