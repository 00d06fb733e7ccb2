"""The search graph: attempts from left to right as they were made, each chain of refinements on a lane of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from kernelwright.agent.report.svg import chart, element, hint, text
from kernelwright.agent.report.text import ratio, shorten
from kernelwright.agent.report.view import Drawn

LANE, RADIUS, MARGIN = 42, 13, 26
STEPS = (31, 42)
"""Least and most room between attempts; thirty of them fit the page without scrolling."""
PAGE = 1000


def lanes(parents: Sequence[int | None]) -> list[int]:
    """Lane of each attempt, given the index of each one's parent (None for a draft).

    An attempt continues its parent's lane when it is the parent's last child, so that a chain of improvements runs
    straight. Another one takes the lowest lane that is free from its parent on until the end of its own chain.
    """
    heir = {parent: i for i, parent in enumerate(parents) if parent is not None}
    taken: list[list[tuple[int, int]]] = []
    lane = [-1] * len(parents)
    for i, parent in enumerate(parents):
        if parent is not None and heir[parent] == i:
            lane[i] = lane[parent]
            continue
        end = i
        while end in heir:
            end = heir[end]
        start = i if parent is None else parent + 1
        lane[i] = _free(taken, start, end)
        taken[lane[i]].append((start, end))
    return lane


def search_graph(attempts: Sequence[Drawn], link: Callable[[int], str]) -> Markup:
    """Nodes coloured and shaped by status, edges from start point to refinement, the winner ringed.

    ``link`` says where an attempt's number leads to.
    """
    index = {a.number: i for i, a in enumerate(attempts)}
    parents = [index.get(a.parent) if a.parent is not None else None for a in attempts]
    lane = lanes(parents)
    gaps = max(len(attempts) - 1, 0)
    step = max(STEPS[0], min(STEPS[1], PAGE // max(gaps, 1)))
    width = 2 * MARGIN + step * gaps
    height = 2 * MARGIN + LANE * max(lane, default=0)
    at = [(MARGIN + step * i, MARGIN + LANE * lane[i]) for i in range(len(attempts))]
    edges = [_edge(at[p], at[i], step) for i, p in enumerate(parents) if p is not None]
    nodes = [_node(a, *at[i], link(a.number)) for i, a in enumerate(attempts)]
    passed = sum(a.status == "passed" for a in attempts)
    label = f"Search graph of {len(attempts)} attempts, {passed} of them passed"
    return chart(width, height, label, *edges, *nodes, role="group")


def _free(taken: list[list[tuple[int, int]]], start: int, end: int) -> int:
    for number, spans in enumerate(taken):
        if all(last < start or end < first for first, last in spans):
            return number
    taken.append([])
    return len(taken) - 1


def _edge(start: tuple[int, int], end: tuple[int, int], step: int) -> Markup:
    (x1, y1), (x2, y2) = start, end
    if y1 == y2:
        path = f"M{x1 + RADIUS} {y1}H{x2 - RADIUS}"
    else:
        # Down within the first step, then along the child's own lane: edges don't run through other nodes.
        bend = min(x1 + step, x2 - RADIUS)
        path = f"M{x1} {y1}C{x1} {y2} {x1 + step / 3:.0f} {y2} {bend} {y2}H{x2 - RADIUS}"
    return element("path", d=path, class_="edge")


def _node(attempt: Drawn, x: int, y: int, href: str) -> Markup:
    speedup = attempt.speedup
    told = [f"attempt {attempt.number}, {attempt.stage}: {attempt.status}"]
    told += [f"{ratio(speedup)} against eager"] if speedup is not None else []
    told += [shorten(t, 300) for t in (attempt.strategy, attempt.reason) if t]
    parts = [hint("\n".join(told))]
    if attempt.won:
        parts.append(element("circle", cx=x, cy=y, r=RADIUS + 5, class_="ring"))
    class_ = f"node s-{attempt.status}"
    if attempt.status == "passed":
        parts.append(element("circle", cx=x, cy=y, r=RADIUS, class_=class_))
    else:
        side = RADIUS - 1.5
        parts.append(element("rect", x=x - side, y=y - side, width=2 * side, height=2 * side, rx=3, class_=class_))
    parts.append(text(x, y + 4, str(attempt.number), "node-number", "middle"))
    return element("a", *parts, href=href, aria_label=told[0])
