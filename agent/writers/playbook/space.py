"""Points of a program's parameter space: the default first, then of new ones near the start point the most promising."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Space = Mapping[str, Sequence[Any]]
Point = dict[str, Any]
Observed = Sequence[tuple[Point, float | None]]
"""Points that were judged, and their speeds; None for one that failed."""

_POINT = re.compile(r"\{[^{}]*\}")
_POOL, _TRIES = 16, 200
"""New points that one is chosen from; draws for them near the start point, and as many anywhere."""
_PRIOR, _NOISE = 0.2, 0.05
"""Standard deviations, in ln speed, of what a choice changes, and of what the sum of all choices leaves open."""
_FAILED = math.log(0.5)
"""ln speed of a failure, against the slowest that did not fail."""


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


def untried(
    space: Space,
    start: Mapping[str, Any] | None,
    observed: Observed,
    rng: random.Random,
    same: Callable[[Point], str] = key,
) -> Point | None:
    """The next point to judge: the default where no start is given and it is new, else of some mutations the most promising.

    ``same`` is equal for points that do the same work where it counts: no such point is new, except when all others are spent
    and it failed, which may lie elsewhere. What a choice promises is drawn from what it brought so far (:func:`promise`). None
    when the space seems spent.
    """
    judged = {key(point) for point, _ in observed}
    known = {same(point): bool(speed) for point, speed in sorted(observed, key=lambda one: bool(one[1]))}
    first = default(space)
    if start is None and same(first) not in known:
        return first
    found: dict[str, Point] = {}
    failed: dict[str, Point] = {}
    for attempt in range(2 * _TRIES):
        near = start is not None and attempt < _TRIES
        if len(found) == _POOL or (attempt == _TRIES and found):
            break
        base = start if near and start is not None else {n: rng.choice(list(c)) for n, c in space.items()}
        candidate = mutate(space, base, rng)
        if (identity := same(candidate)) not in known:
            found.setdefault(identity, candidate)
        elif not known[identity] and (own := key(candidate)) not in judged:
            failed.setdefault(own, candidate)
    options = list((found or failed).values())
    return max(options, key=promise(space, observed, rng)) if options else None


def promise(space: Space, observed: Observed, rng: random.Random) -> Callable[[Mapping[str, Any]], float]:
    """ln speed of points, by one draw of what each choice adds, given what was observed (Thompson sampling, linear-Gaussian).

    A choice that nobody tried may add as much as it may cost; one whose trials were slow is seldom drawn to be fast.
    """
    import numpy as np

    places = {(name, key({"": c})): i for i, (name, c) in enumerate((n, c) for n, cs in space.items() for c in cs)}

    def features(point: Mapping[str, Any]) -> list[int]:
        found = (places.get((name, key({"": point[name]}))) for name in space if name in point)
        return [place for place in found if place is not None]

    speeds = [math.log(speed) for _, speed in observed if speed]
    worst = min(speeds, default=0.0) + _FAILED
    centre = sum(speeds) / len(speeds) if speeds else worst
    rows = np.zeros((len(observed), len(places)))
    for row, (point, _) in zip(rows, observed, strict=True):
        row[features(point)] = 1.0
    values = np.array([(math.log(speed) if speed else worst) - centre for _, speed in observed])
    precision = np.eye(len(places)) / _PRIOR**2 + rows.T @ rows / _NOISE**2
    lower = np.linalg.cholesky(precision)
    mean = np.linalg.solve(precision, rows.T @ values / _NOISE**2)
    noise = np.linalg.solve(lower.T, np.array([rng.gauss(0.0, 1.0) for _ in places]))
    effects = mean + noise
    return lambda point: float(sum(effects[place] for place in features(point)))


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
