"""What an assignment says, arranged as the variables of the templates (``prompts/README.md`` lists them).

Held-out shapes never get this far: only correctness and timing cases are passed on, a verdict that fell on a held-out shape
is reduced to its status, and texts about the same task lose the numbers of held-out sizes.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kernelwright.agent.given import LANGUAGES
from kernelwright.agent.prompt import feedback, knowledge
from kernelwright.agent.prompt.diagnosis import diagnose, fraction
from kernelwright.evaluator.device import CHIPS
from kernelwright.tasks.errors import UnknownName
from kernelwright.tasks.hardware import host_cpu
from kernelwright.tasks.records import Attempt, ShapeCase, Task, Use, untargeted

if TYPE_CHECKING:
    from kernelwright.agent.writers.writer import Assignment
    from kernelwright.evaluator.device import DeviceInfo
    from kernelwright.memory.records import Experience
    from kernelwright.tasks.hardware import Hardware

RTOL = {"float64": 1e-10, "float32": 1e-4, "float16": 2e-3, "bfloat16": 1.6e-2}
"""The judge's relative tolerances (evaluator.correctness holds them for torch's dtypes; a test compares)."""
ROLES = ("code", "plan", "review")
"""What may be asked for: the kernel, a plan for it, a look at a finished one."""

_CODE = 12_000
"""Characters of code of a variant or a retrieved item: what is longer is named without its code."""
_PLAN = 8_000
_ROWS = 30
_NOTHING: Mapping[str, Mapping[str, Any]] = {
    "code": {},
    "plan": {"exemplar": None},
    "review": dict.fromkeys(("exemplar", "given", "start", "diagnosis"))
    | {name: [] for name in ("experience", "variants", "history")},
}
"""What a role does not need: a plan holds no code to take the form of; a review is about one kernel, whatever it came from."""


def variables(assignment: Assignment, role: str = "code", plan: str = "", code: str = "") -> dict[str, Any]:
    """Every variable of the templates, for one role.

    Raises:
        UnknownName: a role that is none of :data:`ROLES`.
    """
    if role not in ROLES:
        raise UnknownName(f"unknown role {role!r}", f"one of: {', '.join(ROLES)}")
    task, context, device = assignment.task, assignment.context, assignment.device
    start, works = context.start, context.start is not None and context.start.feasible
    best = max((a for a in context.history if a.speedup is not None), key=lambda a: a.speedup or 0.0, default=None)
    known = knowledge.relevant(assignment.backend, task)
    exemplar = None if works else knowledge.exemplar(assignment.backend, task)
    shown = frozenset({section.title for section in known} | ({exemplar.code} if exemplar else set()))
    failure = _failure(start, context.history)
    everything: dict[str, Any] = {
        "role": role,
        "stage": "draft" if start is None else "refine" if works else "repair",
        "plan": plan if len(plan) <= _PLAN else f"{plan[:_PLAN].rstrip()} …",
        "reviewed": code,
        "backend": assignment.backend,
        "task": _task(task, device.kind, assignment.backend),
        "device": device,
        "machine": device.name if device.kind in CHIPS else _SIMULATED.get(assignment.backend, device.name),
        "hardware": _hardware(device),
        "knowledge": [*known, *_extra(context.knowledge, known)],
        "exemplar": exemplar,
        "given": None if works else _given(assignment),
        "experience": [e for item in context.items if (e := _experience(item.experience, task, shown)) is not None],
        "start": None if start is None else _start(start, task),
        "diagnosis": diagnose(start.verdict, _source(start)) if start is not None and works else None,
        "variants": _variants(context.relatives, best, start),
        "reached": best,
        "history": _history(context.history),
        "failure": failure,
    }
    if role == "review":  # of a repair: whether what was wrong is right now
        everything["failure"] = failure if failure and failure["is_start"] else None
        everything["knowledge"] = [section for section in everything["knowledge"] if section.kind == "pitfalls"]
    return {**everything, **_NOTHING[role]}


_SIMULATED = {"ascend": "an Ascend 910B", "pallas": "a TPU", "ttlang": "a grid of Tensix cores"}
"""Backend -> what its kernels are for, where the machine that judges them only simulates it."""


def _given(assignment: Assignment) -> dict[str, str] | None:
    """A kernel to translate; what can be judged as it stands is a candidate, not a text to show."""
    given = assignment.given
    if given is None or given.candidate(assignment.backend):
        return None
    return {"name": given.name, "language": given.language, "fence": LANGUAGES[given.language], "source": given.source}


def _task(task: Task, kind: str, backend: str) -> dict[str, Any]:
    kinds = {kind, "cuda"} if backend == "triton" or kind in CHIPS else {kind}
    cases = [c for c in task.cases if c.use is not Use.HELD_OUT and (c.device is None or c.device in kinds)]
    dtypes = list(dict.fromkeys(dtype for case in cases for dtype in case.dtypes))
    return {
        "record": task,
        "cases": [{"case": case, "sizes": _sizes(case)} for case in cases],
        "dtypes": dtypes,
        "tolerances": [(dtype, rtol := task.rtol.get(dtype, RTOL.get(dtype, 1e-4)), rtol / 10) for dtype in dtypes],
    }


def _sizes(case: ShapeCase) -> str:
    sizes = ", ".join(f"{name}={value}" for name, value in case.sizes.items())
    leading = "" if case.leading is None else f"leading dimension {case.leading}"
    return "; ".join(part for part in (sizes, leading) if part)


def _hardware(device: DeviceInfo) -> Hardware | None:
    """The device's row of the table; for a CPU that is this machine's, what the system tells about it."""
    if device.hardware is not None or device.kind != "cpu":
        return device.hardware
    host = host_cpu()
    return host if host.name == device.name else None


def _extra(recalled: tuple[Experience, ...], known: tuple[knowledge.Section, ...]) -> list[knowledge.Section]:
    """Recalled API knowledge that the chosen sections do not hold already."""
    titles = {section.title for section in known}
    extra: dict[str, knowledge.Section] = {}
    for item in recalled:
        title, _, body = (item.lesson or item.text).strip().partition("\n")
        if title not in titles and title not in extra:
            extra[title] = knowledge.Section("facts", title, f"{body.strip()}\n\n{item.code}".strip())
    return list(extra.values())


def _experience(item: Experience, task: Task, shown: frozenset[str]) -> dict[str, Any] | None:
    """An item as the template shows it; None for knowledge that the prompt holds already (``shown``: titles, code), and for
    an exemplar that solves the task."""
    title, _, body = (item.lesson or item.text).strip().partition("\n")
    seeded = item.task.startswith("knowledge/")
    if seeded and (item.code in shown if item.code else title in shown):
        return None
    folder, _, stem = item.task.removeprefix("knowledge/").rpartition("/exemplars/") if seeded else ("", "", "")
    if folder and knowledge.solves(folder, stem, task):
        return None
    text = f"{title}\n{body}".strip()
    own = untargeted(item.task) == untargeted(task.name)  # on whatever target: the held-out shapes are the same
    return {
        "item": item,
        "seeded": seeded,
        "own": own,
        "text": feedback.scrub(text, task) if own else text,
        "code": item.code if len(item.code) <= _CODE else "",
    }


def _start(start: Attempt, task: Task) -> dict[str, Any]:
    timing = start.verdict.timing if start.verdict else None
    return {
        "attempt": start,
        "timing": timing,
        "cases": [(case, fraction(case)) for case in timing.cases] if timing else [],
        "envelope": feedback.scrub(start.verdict.envelope, task) if start.verdict else "",
        "code": _source(start),
    }


def _source(attempt: Attempt) -> str:
    return attempt.answer.kernel.source if attempt.answer.kernel else ""


def _variants(relatives: tuple[Attempt, ...], best: Attempt | None, start: Attempt | None) -> list[dict[str, Any]]:
    """The best of the run and the start point's relatives, without the start point; code where it passed."""
    shown = {start.id} if start is not None else set()
    found = []
    for attempt in (*([best] if best else ()), *relatives):
        if attempt.id in shown:
            continue
        shown.add(attempt.id)
        code = _source(attempt) if attempt.feasible else ""
        changed = difference(_source(start), code) if start is not None and len(code) > _CODE else ""
        code = code if len(code) <= _CODE else changed
        child = start is not None and attempt.idea.parent == start.id
        row = {"attempt": attempt, "best": attempt is best, "child": child, "code": code, "difference": bool(changed)}
        found.append(row)
    return found


def difference(old: str, new: str) -> str:
    """What ``new`` changes in ``old``, as a unified difference; empty where that is not less than half of ``new``."""
    if not old:
        return ""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1)
    text = "\n".join(list(lines)[2:])
    return text if 2 * len(text) < len(new) and len(text) <= _CODE else ""


def _history(history: tuple[Attempt, ...]) -> list[dict[str, Any]]:
    known = {attempt.id: attempt for attempt in history}
    rows = []
    for attempt in history[-_ROWS:]:
        start = known.get(attempt.idea.parent or "")
        number = _number(attempt.idea.parent)
        stage = "repair" if start is not None and not start.feasible else attempt.idea.stage.value
        rows.append({"attempt": attempt, "stage": stage, "parent": number, "same": _number(attempt.duplicate_of)})
    return rows


def _number(attempt: str | None) -> str:
    """An attempt's number by its id; empty for none."""
    return attempt.rsplit("-", 1)[-1].lstrip("0") if attempt else ""


def _failure(start: Attempt | None, history: tuple[Attempt, ...]) -> dict[str, Any] | None:
    """What to learn from: the start point when it failed, else the last attempt when that failed."""
    last = history[-1] if history else None
    failed = next((a for a in (start, last) if a is not None and not a.feasible), None)
    if failed is None:
        return None
    verdict, is_start = failed.verdict, start is not None and failed.id == start.id
    hidden = verdict is not None and feedback.hidden(verdict)
    return {
        "attempt": failed,
        "is_start": is_start,
        "hidden": hidden,
        "reason": verdict.reason if verdict is not None else failed.answer.problem,
        "evidence": feedback.evidence(verdict) if verdict is not None and not hidden else "",
        "code": "" if is_start else _source(failed),
    }
