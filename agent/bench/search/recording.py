"""Every configuration of the playbook's space for some tasks, judged once on one device: the file of it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernelwright.agent.files import write_text
from kernelwright.agent.writers.playbook.space import Point, Space, default, key
from kernelwright.tasks.errors import InputError

FORMAT, KIND = 1, "search-recording"
_COUNTED = 16
"""Points for each kernel wanted, up to which it is counted how many do different work."""


@dataclass(frozen=True)
class Judged:
    """A kernel's verdict, as much of it as a search looks at."""

    kernel: str
    """Its id."""
    status: str
    stage: str
    reason: str
    latency_us: tuple[float, float, float] | None = None
    """Median, low and high; None where it was not timed."""
    speedup: tuple[float, float, float] | None = None
    """Against eager, likewise."""


@dataclass
class Recorded:
    """One task: its space, the kernel of each point, and the verdicts so far."""

    family: str
    backend: str
    task_id: str
    space: dict[str, list[Any]]
    kernels: list[str]
    """Kernel id of each point, in the order of :func:`points`. Several points may give one kernel."""
    judged: dict[str, Judged] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Kernels without a verdict, in order of their first points."""
        return [k for k in dict.fromkeys(self.kernels) if k not in self.judged]

    def of(self, point: Mapping[str, Any]) -> Judged:
        """The verdict on a point's kernel."""
        number = 0
        for name, choices in self.space.items():
            number = number * len(choices) + choices.index(point[name])
        return self.judged[self.kernels[number]]


@dataclass
class Recording:
    """The file."""

    command: str
    created: str
    environment: dict[str, Any]
    settings: dict[str, Any]
    """How it was judged, of :class:`~kernelwright.evaluator.settings.Settings`."""
    tasks: dict[str, Recorded] = field(default_factory=dict)
    loads: list[float] = field(default_factory=list)
    """The machine's load average of a minute when each session of recording began and ended."""

    def save(self, path: Path) -> None:
        """Write it; an old file is replaced in one step."""
        tasks = {name: _task_json(task) for name, task in self.tasks.items()}
        head = {k: getattr(self, k) for k in ("command", "created", "environment", "settings", "loads")}
        head = {"format": FORMAT, "kind": KIND, **head}
        # One line a kernel, so that a difference of two recordings can be read.
        parts = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in head.items()]
        parts.append('"tasks": {\n' + ",\n".join(f"{json.dumps(n)}: {text}" for n, text in tasks.items()) + "\n}")
        write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read it.

        Raises:
            InputError: it is not there, or no such recording.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["kind"] != KIND or data["format"] != FORMAT:
                raise InputError(f"{path} is a {data['kind']} of format {data['format']}", f"give a {KIND} of format {FORMAT}")
            tasks = {name: _task(fields) for name, fields in data["tasks"].items()}
            return cls(data["command"], data["created"], data["environment"], data["settings"], tasks, data["loads"])
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}", "give a file that `bench_search record` wrote") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is no recording: {error!r}", "give a file that `bench_search record` wrote") from error


def points(space: Space) -> Iterator[Point]:
    """Every point of a space, the last parameter fastest."""
    for values in itertools.product(*space.values()):
        yield dict(zip(space, values, strict=True))


def acting(space: Space, same: Callable[[Point], str]) -> dict[str, list[Any]]:
    """The space without choices that do the default choice's work, at the default and where one more choice differs."""
    first = default(space)
    bases = {same(first): first}
    for name, choices in space.items():
        for choice in choices[1:]:
            point = {**first, name: choice}
            bases.setdefault(same(point), point)

    def acts(name: str, choice: Any) -> bool:
        return any(same({**base, name: choice}) != same({**base, name: space[name][0]}) for base in bases.values())

    return {name: [choices[0], *(c for c in choices[1:] if acts(name, c))] for name, choices in space.items()}


def narrowed(space: Space, most: int, same: Callable[[Point], str] = key) -> dict[str, list[Any]]:
    """The space with at most ``most`` points that do not do the same work: of the longest lists the last choices are dropped,
    never a default; of lists as long as each other those of later parameters first."""
    found = {name: list(choices) for name, choices in space.items()}

    def size() -> int:
        total = math.prod(len(choices) for choices in found.values())
        return total if total > _COUNTED * most else len({same(point) for point in points(found)})

    while size() > max(1, most):
        longest = max(reversed(found), key=lambda name: len(found[name]))
        found[longest].pop()
    return found


def _task_json(task: Recorded) -> str:
    numbers = {kernel: i for i, kernel in enumerate(dict.fromkeys(task.kernels))}
    head = {
        "family": task.family,
        "backend": task.backend,
        "task_id": task.task_id,
        "space": task.space,
        "kernels": list(numbers),
        "points": [numbers[k] for k in task.kernels],
    }
    rows = [json.dumps([j.kernel, j.status, j.stage, j.reason, j.latency_us, j.speedup]) for j in task.judged.values()]
    body = ",\n".join(rows)
    return json.dumps(head)[:-1] + ', "judged": [\n' + body + "\n]}"


def _task(fields: Mapping[str, Any]) -> Recorded:
    kernels = [fields["kernels"][i] for i in fields["points"]]
    judged = [Judged(k, status, stage, why, _three(us), _three(x)) for k, status, stage, why, us, x in fields["judged"]]
    by_kernel = {j.kernel: j for j in judged}
    return Recorded(fields["family"], fields["backend"], fields["task_id"], fields["space"], kernels, by_kernel)


def _three(values: Sequence[float] | None) -> tuple[float, float, float] | None:
    return None if values is None else (values[0], values[1], values[2])
