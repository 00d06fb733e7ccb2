"""The universal prompt (``prompts/universal.j2``): what an assignment says, arranged for the templates.

No prompt text lives here. Held-out shapes never reach a prompt: only correctness and timing cases are passed on, a verdict
that fell on a held-out shape is reduced to its status, and texts about the same task lose the numbers of held-out sizes.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kernelwright.agent import knowledge
from kernelwright.agent.diagnosis import diagnose, fraction
from kernelwright.tasks.hardware import host_cpu
from kernelwright.tasks.records import Attempt, IdeaStage, Interval, ShapeCase, Stage, Task, Use, Verdict
from kernelwright.tasks.shapes import integers

if TYPE_CHECKING:
    import jinja2

    from kernelwright.agent.writers.writer import Assignment
    from kernelwright.evaluator.device import DeviceInfo
    from kernelwright.memory.records import Experience
    from kernelwright.tasks.hardware import Hardware

LIMIT = 60_000
"""Characters of a prompt; the least valuable parts are left out until it fits. Task, contract and start point never are."""
RTOL = {"float64": 1e-10, "float32": 1e-4, "float16": 2e-3, "bfloat16": 1.6e-2}
"""The judge's relative tolerances (evaluator.correctness holds them for torch's dtypes; a test compares)."""

_EVIDENCE = 2_500
_CODE = 12_000
_ROWS = 30
_NOISE = frozenset({"screen", "build", "operators", "convention", "compiled", "environment"})
"""Evidence of stages that went well: of no use in the feedback on a failure."""


def build_prompt(assignment: Assignment) -> str:
    """The prompt for an assignment, at most :data:`LIMIT` characters unless what cannot be left out is longer."""
    view = _view(assignment)
    template = _environment().get_template("universal.j2")
    text = _tidy(template.render(view))
    for _ in _shrink(view):
        if len(text) <= LIMIT:
            break
        text = _tidy(template.render(view))
    return text


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(knowledge.PROMPTS),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"code": _code, "us": _us, "speedup": _speedup, "cell": _cell}
    return environment


def _view(assignment: Assignment) -> dict[str, Any]:
    """Every variable of the templates (prompts/README.md lists them)."""
    idea, task, context, device = assignment.idea, assignment.task, assignment.context, assignment.device
    start = context.start
    best = max((a for a in context.history if a.speedup is not None), key=lambda a: a.speedup or 0.0, default=None)
    draft = idea.stage is IdeaStage.DRAFT or start is None
    known = knowledge.relevant(assignment.backend, task)
    exemplar = None if start is not None and start.feasible else knowledge.exemplar(assignment.backend, task)
    shown = frozenset({section.title for section in known} | ({exemplar.code} if exemplar else set()))
    return {
        "stage": "draft" if draft else "refine",
        "backend": assignment.backend,
        "task": _task(task, device.kind, assignment.backend),
        "device": device,
        "hardware": _hardware(device),
        "knowledge": [*known, *_extra(context.knowledge, known)],
        "exemplar": exemplar,
        "experience": [e for item in context.items if (e := _experience(item.experience, task, shown)) is not None],
        "start": None if start is None else _start(start, task),
        "diagnosis": diagnose(start.verdict) if start is not None and start.feasible else None,
        "variants": _variants(context.relatives, best, start),
        "reached": best,
        "history": [_row(attempt) for attempt in context.history[-_ROWS:]],
        "failure": _failure(start, context.history),
    }


def _task(task: Task, kind: str, backend: str) -> dict[str, Any]:
    kinds = {kind, "cuda"} if backend == "triton" else {kind}
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
    """An item as the template shows it; None for knowledge that the prompt holds already (``shown``: titles, code)."""
    title, _, body = (item.lesson or item.text).strip().partition("\n")
    seeded = item.task.startswith("knowledge/")
    if seeded and (item.code in shown if item.code else title in shown):
        return None
    text = f"{title}\n{body}".strip()
    own = item.task == task.name
    return {
        "item": item,
        "seeded": seeded,
        "own": own,
        "text": _scrub(text, task) if own else text,
        "code": item.code if len(item.code) <= _CODE else "",
    }


def _start(start: Attempt, task: Task) -> dict[str, Any]:
    timing = start.verdict.timing if start.verdict else None
    return {
        "attempt": start,
        "timing": timing,
        "cases": [(case, fraction(case)) for case in timing.cases] if timing else [],
        "envelope": _scrub(start.verdict.envelope, task) if start.verdict else "",
        "code": start.answer.kernel.source if start.answer.kernel else "",
    }


def _variants(relatives: tuple[Attempt, ...], best: Attempt | None, start: Attempt | None) -> list[dict[str, Any]]:
    """The best of the run and the start point's relatives, without the start point; code where it passed."""
    shown = {start.id} if start is not None else set()
    found = []
    for attempt in (*([best] if best else ()), *relatives):
        if attempt.id in shown:
            continue
        shown.add(attempt.id)
        source = attempt.answer.kernel.source if attempt.answer.kernel and attempt.feasible else ""
        child = start is not None and attempt.idea.parent == start.id
        code = source if len(source) <= _CODE else ""
        found.append({"attempt": attempt, "best": attempt is best, "child": child, "code": code})
    return found


def _row(attempt: Attempt) -> dict[str, Any]:
    parent = attempt.idea.parent
    return {"attempt": attempt, "parent": parent.rsplit("-", 1)[-1].lstrip("0") if parent else ""}


def _failure(start: Attempt | None, history: tuple[Attempt, ...]) -> dict[str, Any] | None:
    """What to learn from: the start point when it failed, else the last attempt when that failed."""
    last = history[-1] if history else None
    failed = next((a for a in (start, last) if a is not None and not a.feasible), None)
    if failed is None:
        return None
    verdict, is_start = failed.verdict, start is not None and failed.id == start.id
    hidden = verdict is not None and verdict.stage is Stage.HELD_OUT
    return {
        "attempt": failed,
        "is_start": is_start,
        "hidden": hidden,
        "reason": verdict.reason if verdict is not None else failed.answer.problem,
        "evidence": _evidence(verdict) if verdict is not None and not hidden else "",
        "code": failed.answer.kernel.source if failed.answer.kernel and not is_start else "",
    }


def _evidence(verdict: Verdict) -> str:
    """The failed cases and what was seen, trimmed; of a long text the end, where compilers and tracebacks say why."""
    lines = [
        f"case {c.case} {c.dtype}: {c.status}" + (f", {c.detail}" if c.detail else "")
        for c in verdict.cases
        if c.use is not Use.HELD_OUT and c.status not in ("passed", "skipped")
    ]
    for key, value in verdict.evidence.items():
        if key not in _NOISE and value not in ("", None, [], {}, ()):
            lines.append(_fact(key, value))
    text = "\n".join(dict.fromkeys(lines))
    return text if len(text) <= _EVIDENCE else text[: _EVIDENCE - 1] + "…"


def _fact(key: str, value: object) -> str:
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        value = "\n".join(v.rstrip("\n") for v in value)
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    if len(text) > 1_600:
        text = "…" + text[-1_600:]
    return f"{key}:\n{text}" if "\n" in text else f"{key}: {text}"


def _scrub(text: str, task: Task) -> str:
    """``text`` without numbers that are sizes of held-out cases only."""
    shown = {v for c in task.cases if c.use is not Use.HELD_OUT for v in (*c.sizes.values(), c.leading)}
    shown |= set(integers(task.source).values())
    hidden = {v for c in task.cases if c.use is Use.HELD_OUT for v in (*c.sizes.values(), c.leading)}
    numbers = sorted(str(v) for v in hidden - shown if v is not None and v > 16)
    return re.sub(rf"(?<![\d.])(?:{'|'.join(numbers)})(?![\d])", "…", text) if numbers else text


def _shrink(view: dict[str, Any]) -> Iterator[None]:
    """Leave out one part a step, least valuable first."""
    for item in reversed([v for v in view["variants"] if not v["best"]]):
        item["code"] = ""
        yield
    for item in reversed(view["experience"]):
        if item["code"]:
            item["code"] = ""
            yield
    if view["exemplar"] is not None and view["start"] is not None:
        view["exemplar"] = None
        yield
    while len(view["history"]) > 10:
        view["history"] = view["history"][1:]
        yield
    while len(view["knowledge"]) > 4:
        view["knowledge"] = view["knowledge"][:-1]
        yield
    while view["experience"]:
        view["experience"] = view["experience"][:-1]
        yield
    for item in view["variants"]:
        item["code"] = ""
        yield
    view["exemplar"] = None
    yield
    if view["failure"] is not None:
        view["failure"]["code"] = ""
        yield
    view["history"] = []
    yield


def _code(text: str, language: str) -> str:
    """``text`` in a fence that is longer than any inside it."""
    ticks = max((len(run) for run in re.findall(r"`{3,}", text)), default=2) + 1
    fence = "`" * ticks
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


def _us(value: Interval | float | None) -> str:
    if value is None:
        return ""
    number = value.median if isinstance(value, Interval) else value
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}"


def _speedup(value: Mapping[str, Interval] | Interval | float | None, name: str = "") -> str:
    """``1.32x (1.30 to 1.34)``; of a mapping the entry ``name``; empty without one."""
    found = value.get(name) if isinstance(value, Mapping) else value
    if isinstance(found, Interval):
        return f"{found.median:.2f}x ({found.low:.2f} to {found.high:.2f})"
    return "" if found is None else f"{found:.2f}x"


def _cell(text: str, limit: int = 160) -> str:
    """One cell of a table: one line, no bars."""
    flat = " ".join(text.split()).replace("|", "\\|")
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _tidy(text: str) -> str:
    """At most one empty line in a row outside code, one newline at the end."""
    parts = re.split(r"(^(`{3,}).*?^\2$)", text, flags=re.MULTILINE | re.DOTALL)
    prose = [re.sub(r"\n{3,}", "\n\n", part) for part in parts[0::3]]
    pieces = [prose[0]]
    for code, rest in zip(parts[1::3], prose[1:], strict=True):
        pieces += [code, rest]
    return "".join(pieces).strip("\n") + "\n"
