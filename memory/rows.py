"""Between records and rows: texts are kept by hash, contexts by the ids of what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import RowMapping

from kernelwright.memory.artifacts import Artifacts
from kernelwright.memory.records import Context, Experience, Recalled, Step
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.records import Answer, Attempt, Idea, Verdict

Parts = tuple[Idea, Answer | None, Verdict | None]


def answer_json(answer: Answer, artifacts: Artifacts) -> dict[str, Any]:
    """An answer as JSON, its three texts put away by hash."""
    data: dict[str, Any] = to_json(answer)
    data["text"] = artifacts.put(answer.text)
    data["prompt"] = artifacts.put(answer.prompt)
    if answer.kernel is not None:
        data["kernel"]["source"] = artifacts.put(answer.kernel.source)
    return data


def parts(row: RowMapping, artifacts: Artifacts) -> Parts:
    """Idea, answer and verdict of a row of steps."""
    return (
        from_json(Idea, row["idea"]),
        None if row["answer"] is None else _answer(row["answer"], artifacts),
        None if row["verdict"] is None else from_json(Verdict, row["verdict"]),
    )


def attempt(row: RowMapping, artifacts: Artifacts) -> Attempt | None:
    """The finished attempt in a row of steps; None while it is in flight."""
    return Step(*_with_context(parts(row, artifacts)), learned=False).attempt


def finished(of: Parts) -> Attempt | None:
    """The attempt that these parts make up; None while it is in flight."""
    return Step(*_with_context(of), learned=False).attempt


def present(row: RowMapping, artifacts: Artifacts) -> bool:
    """Whether the row's texts are in these artifacts: a shared store may point at another machine's."""
    if row["answer"] is None:
        return True
    hashes = [row["answer"]["text"], row["answer"]["prompt"]]
    if row["answer"]["kernel"] is not None:
        hashes.append(row["answer"]["kernel"]["source"])
    return all(artifacts.path(sha).is_file() for sha in hashes)


def context_json(context: Context) -> dict[str, Any]:
    """A context by ids: its records are in the store already."""
    return {
        "items": [[r.experience.id, r.similarity, r.q] for r in context.items],
        "knowledge": [e.id for e in context.knowledge],
        "start": context.start.id if context.start else None,
        "relatives": [a.id for a in context.relatives],
        "history": [a.id for a in context.history],
    }


def linked_experiences(data: Mapping[str, Any]) -> set[str]:
    """Ids of the experiences in a stored context."""
    return {*(item[0] for item in data["items"]), *data["knowledge"]}


def linked_attempts(data: Mapping[str, Any]) -> set[str]:
    """Ids of the attempts in a stored context."""
    return {*([data["start"]] if data["start"] else []), *data["relatives"], *data["history"]}


def context(data: Mapping[str, Any], known: Mapping[str, Experience], attempts: Mapping[str, Attempt]) -> Context:
    """A stored context with its records; what another machine alone holds is left out."""
    return Context(
        items=tuple(Recalled(known[i], similarity, q) for i, similarity, q in data["items"] if i in known),
        knowledge=tuple(known[i] for i in data["knowledge"] if i in known),
        start=attempts.get(data["start"]) if data["start"] else None,
        relatives=tuple(attempts[i] for i in data["relatives"] if i in attempts),
        history=tuple(attempts[i] for i in data["history"] if i in attempts),
    )


def _answer(data: Mapping[str, Any], artifacts: Artifacts) -> Answer:
    full = {**data, "text": artifacts.text(data["text"]), "prompt": artifacts.text(data["prompt"])}
    if data["kernel"] is not None:
        full["kernel"] = {**data["kernel"], "source": artifacts.text(data["kernel"]["source"])}
    return from_json(Answer, full)


def _with_context(of: Parts) -> tuple[Idea, Context, Answer | None, Verdict | None]:
    return of[0], Context(), of[1], of[2]
