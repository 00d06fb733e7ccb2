"""The prompt that asks for a lesson (``prompts/lesson.j2``), and what is kept of the answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernelwright.agent.prompt import feedback
from kernelwright.agent.prompt.build import render
from kernelwright.tasks.records import Attempt

if TYPE_CHECKING:
    from kernelwright.agent.writers.writer import Assignment

_CODE = 12_000
"""Characters of the kernel that are shown."""
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_NOTHING = re.compile(r"\W*NOTHING\W*")


def lesson_prompt(assignment: Assignment, attempt: Attempt) -> str:
    """What to ask about a judged attempt. Held-out shapes are not in it: a lesson is read in prompts."""
    verdict, kernel = attempt.verdict, attempt.answer.kernel
    hidden = verdict is not None and feedback.hidden(verdict)
    source = kernel.source if kernel is not None else ""
    view = {
        "backend": assignment.backend,
        "task": assignment.task,
        "device": assignment.device,
        "attempt": attempt,
        "start": assignment.context.start,
        "hidden": hidden,
        "evidence": feedback.evidence(verdict) if verdict is not None and not attempt.feasible and not hidden else "",
        "source": source if len(source) <= _CODE else f"{source[:_CODE]}\n# …",
    }
    return render("lesson.j2", view)


def lesson_text(said: str) -> str:
    """A model's lesson without code; empty where it has none."""
    text = " ".join(_FENCE.sub(" ", said).split())
    return "" if _NOTHING.fullmatch(text) else text
