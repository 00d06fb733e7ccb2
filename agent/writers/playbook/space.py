"""Points of a program's parameter space: the default first, then mutations of the start point that were not tried."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Space = Mapping[str, Sequence[Any]]
Point = dict[str, Any]

_POINT = re.compile(r"\{[^{}]*\}")


def default(space: Space) -> Point:
    """The first choice of everything."""
    return {name: choices[0] for name, choices in space.items()}


def mutate(space: Space, point: Mapping[str, Any], rng: random.Random) -> Point:
    """``point`` with one choice changed, sometimes two; names that the space lacks are dropped."""
    result = {name: point.get(name, choices[0]) for name, choices in space.items()}
    open_names = [name for name, choices in space.items() if len(choices) > 1]
    for name in rng.sample(open_names, min(len(open_names), 1 if rng.random() < 0.7 else 2)):
        result[name] = rng.choice([c for c in space[name] if c != result[name]])
    return result


def key(point: Mapping[str, Any]) -> str:
    """A point as JSON, the same for equal points."""
    return json.dumps(dict(point), sort_keys=True)


def untried(space: Space, start: Mapping[str, Any] | None, tried: Iterable[str], rng: random.Random) -> Point | None:
    """The default where no start is given and it is new, else a mutation that is new; None when the space seems spent."""
    seen = set(tried)
    first = default(space)
    if start is None and key(first) not in seen:
        return first
    for attempt in range(400):
        base = start if start is not None and attempt < 200 else {n: rng.choice(list(c)) for n, c in space.items()}
        candidate = mutate(space, base, rng)
        if key(candidate) not in seen:
            return candidate
    return None


def read(strategy: str) -> Point | None:
    """The point in a strategy line; None where there is none."""
    found = _POINT.search(strategy)
    if found is None:
        return None
    try:
        point = json.loads(found.group())
    except ValueError:
        return None
    return point if isinstance(point, dict) else None
