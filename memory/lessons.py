"""What an attempt teaches: a short lesson for other tasks, and a trace with the code when it worked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kernelwright.memory.records import Experience
from kernelwright.memory.static import static
from kernelwright.tasks.records import Attempt, IdeaStage, Stage, Task, Verdict, digest

_OPS = re.compile(r"\b(?:torch|nn|F|functional|linalg|special|x|self)\.([A-Za-z_]\w+)")
_PLAIN = frozenset(
    (
        *("Module", "Tensor", "nn", "functional", "Parameter", "no_grad", "tensor", "device", "dtype", "shape", "size"),
        *("float32", "float16", "bfloat16", "int64", "int32", "long", "bool", "manual_seed", "randn", "rand"),
        *("randint", "ones", "zeros", "empty", "full", "arange", "view", "reshape", "contiguous", "squeeze"),
    )
)
"""What references call to be set up: it says nothing of the operator."""
LONGEST_SAID = 400
"""Characters of a model's own lesson."""
MARK = " Learned: "
"""In a lesson, what stands before it are the judge's facts, and what follows is what a model made of them."""
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""What :func:`printable` takes out."""
_WORD = re.compile(r"[A-Za-z0-9]+")
_COMPLAINT = re.compile(r"error|fatal|exception|assert|undefined|invalid|illegal|mismatch|race|overflow", re.IGNORECASE)


def describe(task: Task) -> str:
    """A task in the words that memory is searched by: family, category, name, summary and the operators it calls."""
    name = " ".join(_WORD.findall(task.asked.removesuffix(".py").rstrip("/").split("/")[-1]))
    ops = dict.fromkeys(op for op in _OPS.findall(task.source) if op not in _PLAIN)
    parts = [task.family, task.category, task.scenario, name, task.summary, " ".join(list(ops)[:16])]
    return one_line(" ".join(p for p in parts if p), 600)


def bottleneck(verdict: Verdict | None) -> str:
    """What limits a kernel: ``memory``, ``compute``, ``latency``, or empty where that was not measured.

    What the verdict's evidence says; else, by the measured roofline, the ceiling that it reaches 30 % of, or latency
    (after CUDAMaster's filter).
    """
    if verdict is None:
        return ""
    said = verdict.evidence.get("bottleneck")
    if isinstance(said, str) and said:
        return one_line(said, 20)
    if verdict.timing is None or verdict.timing.roofline_fraction is None:
        return ""
    bounds = [case.bound for case in verdict.timing.cases if case.bound]
    if verdict.timing.roofline_fraction < 0.3 or not bounds:
        return "latency"
    return max(sorted(set(bounds)), key=bounds.count)


def content(attempt: Attempt) -> str:
    """What an attempt's experiences are about, this kernel for this task: the same again teaches nothing new."""
    kernel = attempt.answer.kernel
    return digest(attempt.idea.task, kernel.kernel_id if kernel else attempt.id)


def from_attempt(
    attempt: Attempt, start: Attempt | None, task: Task, backend: str, device: str, said: str = ""
) -> tuple[Experience, ...]:
    """The experiences of a finished attempt: a trace and a success lesson, or a failure lesson.

    None when it was unreadable or a duplicate: that was learned from the first such attempt.

    A trace carries its lesson; the lesson apart is for backends that cannot use the code. What a model ``said`` of it stands
    behind the facts, cut to :data:`LONGEST_SAID` characters.
    """
    verdict, kernel = attempt.verdict, attempt.answer.kernel
    if verdict is None or kernel is None or attempt.duplicate_of is not None:
        return ()
    limit = bottleneck(verdict)
    lesson = _success(attempt, start, task, backend, device) if attempt.feasible else _failure(attempt, task, backend)
    lesson += f"{MARK}{one_line(said, LONGEST_SAID)}" if said.strip() else ""
    words = (describe(task), backend, attempt.idea.stage.value, attempt.status, limit and f"{limit} bound", lesson)

    def experience(id_: str, kind: str, code: str) -> Experience:
        return Experience(
            id=id_,
            kind=kind,
            stage=attempt.idea.stage.value,
            backend=backend,
            device=device,
            family=task.family,
            task=task.name,
            text=" ".join(w for w in words if w),
            code=code,
            lesson=lesson,
            status=attempt.status,
            bottleneck=limit,
            speedup=attempt.speedup,
            parents=(attempt.id, attempt.idea.parent) if attempt.idea.parent else (attempt.id,),
        )

    if not attempt.feasible:
        return (experience(f"{attempt.id}-failure", "failure", ""),)
    return (experience(attempt.id, "trace", kernel.source), experience(f"{attempt.id}-success", "success", ""))


def trouble(attempt: Attempt) -> str:
    """What went wrong in one line, to look for lessons about it. Nothing of shapes that no prompt may show."""
    verdict = attempt.verdict
    if verdict is None or verdict.passed:
        return ""
    if verdict.stage is Stage.HELD_OUT:
        return f"{attempt.status} on other shapes"
    return one_line(f"{attempt.status} at {verdict.stage.value}: {verdict.reason}", 240)


def printable(text: str) -> str:
    """``text`` without what no database and no prompt takes: control characters but tab and line feed, halves of pairs."""
    return UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str, limit: int) -> str:
    """``text`` on one line, printable, cut to ``limit`` characters."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def _success(attempt: Attempt, start: Attempt | None, task: Task, backend: str, device: str) -> str:
    what = f"{task.family} in {backend} on {device or 'an unnamed device'}:"
    speed = f"{attempt.speedup:.2f}x eager" if attempt.speedup is not None else "right, not timed"
    if start is not None and not start.feasible:
        outcome = f"a repair of what had been {trouble(start) or start.status} passed every check, {speed}."
    elif attempt.idea.stage is IdeaStage.DRAFT:
        outcome = f"a draft passed every check, {speed}."
    elif attempt.speedup is None or start is None or start.speedup is None:
        outcome = f"a refinement passed every check, {speed}."
    else:
        gain = attempt.speedup / start.speedup
        verb = "helped" if gain >= 1.02 else "changed nothing" if gain > 0.98 else "made it slower"
        outcome = f"a refinement {verb}: {gain:.2f}x its start point, now {speed}."
    limit = bottleneck(attempt.verdict)
    found = (limit and f"Now {limit} bound.", _estimate(attempt, start))
    return one_line(" ".join(part for part in (what, outcome, _strategy(attempt), *found) if part), 500)


def _estimate(attempt: Attempt, start: Attempt | None) -> str:
    """What the compiler says of a kernel that nobody timed, and said of its start point."""
    ours, theirs = static(attempt.verdict), static(start.verdict) if start else None
    if ours is None:
        return ""
    before = f", {theirs.cycles} for its start point" if theirs is not None and theirs.where == ours.where else ""
    return f"The compiler estimates {ours.cycles} cycles ({ours.where}){before}; that is no timing."


def _failure(attempt: Attempt, task: Task, backend: str) -> str:
    verdict = attempt.verdict
    assert verdict is not None, "only judged attempts come here"
    what = f"{task.family} in {backend}: a {attempt.idea.stage.value} was {attempt.status} at {verdict.stage.value}."
    if verdict.stage is Stage.HELD_OUT:
        # Held-out shapes reach no prompt, and a lesson is read in prompts.
        return one_line(f"{what} It held for the shapes it was shown and not for others. {_strategy(attempt)}", 500)
    seen = _evidence(verdict.evidence)
    return one_line(" ".join([what, one_line(verdict.reason, 200), _strategy(attempt), seen and f"Seen: {seen}."]), 600)


def _strategy(attempt: Attempt) -> str:
    return f"Strategy: {one_line(attempt.answer.strategy, 160).rstrip('.')}." if attempt.answer.strategy else ""


def _evidence(evidence: Mapping[str, Any]) -> str:
    """The few facts that matter: short values, and of a long text the first line that complains."""
    facts = []
    for key, value in _leaves(evidence):
        if isinstance(value, float):
            facts.append(f"{key} {value:.3g}")
        elif isinstance(value, str) and ("\n" in value or len(value) > 120):
            lines = [line for line in value.splitlines() if line.strip()]
            telling = next((line for line in lines if _COMPLAINT.search(line)), lines[-1] if lines else "")
            facts.append(f"{key}: {one_line(telling, 160)}")
        else:
            facts.append(f"{key} {value}")
    return "; ".join(facts[:4])


def _leaves(evidence: Mapping[str, Any]) -> Iterator[tuple[str, str | int | float]]:
    for key, value in evidence.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        elif isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != "":
            yield str(key), value
