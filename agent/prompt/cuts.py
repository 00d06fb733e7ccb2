"""What a prompt that is too long loses, least valuable first.

The order, and why. What can be had elsewhere in the prompt goes before what cannot:

1. code of variants that is much like the start point's: its difference from that says the same;
2. code of the start point's earlier refinements, the last first: strategy and figure stay, and say what was tried;
3. code of retrieved items, the least valued first, all but the first: the lesson stays;
4. the source of a failed attempt that is not the start point: what the verifier said of it stays;
5. the exemplar, where there is a start point to take the form from;
6. rows of the history before the last 10;
7. code of the remaining variants, the best of the run last, then of the first retrieved item. Generated kernels are long (some
   2,000 to 9,000 tokens): one of them weighs as much as all knowledge;
8. knowledge about everything but the first four sections, from the end (what memory added comes last and goes first);
9. retrieved items, the least valued first;
10. knowledge chosen for this task, from the end; then the exemplar of a draft, the history, the first four sections.

Never: task, contract, judging, hardware, a kernel to translate, start point and its diagnosis, verifier's feedback, plan,
kernel under review, form of the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kernelwright.agent.prompt.view import difference

_KEPT_ROWS = 10
_KEPT_SECTIONS = 4


@dataclass(frozen=True)
class Cut:
    """One thing that was left out."""

    section: str
    """The section that it was in: it is to be rendered again."""
    what: str


def cuts(view: dict[str, Any]) -> Iterator[Cut]:
    """Leave one thing out of the variables ``view`` a step, least valuable first; ends when nothing else may go."""
    variants = [(v, f"code of attempt {v['attempt'].idea.number}") for v in reversed(view["variants"])]
    items = [(e, f"code of item {n}") for n, e in reversed(list(enumerate(view["experience"], 1)))]
    yield from _differences(view["start"], variants)
    yield from _codes("variants", [(v, what) for v, what in variants if v["child"] and not v["best"]])
    yield from _codes("experience", items[:-1])
    if view["failure"] is not None and view["failure"]["code"]:
        view["failure"]["code"] = ""
        yield Cut("feedback", f"source of attempt {view['failure']['attempt'].idea.number}")
    if view["start"] is not None:
        yield from _exemplar(view)
    yield from _rows(view, _KEPT_ROWS)
    yield from _codes("variants", variants)
    yield from _codes("experience", items)
    yield from _knowledge(view, _KEPT_SECTIONS, chosen=False)
    for number in range(len(view["experience"]), 0, -1):
        view["experience"] = view["experience"][: number - 1]
        yield Cut("experience", f"item {number}")
    yield from _knowledge(view, _KEPT_SECTIONS, chosen=True)
    yield from _exemplar(view)
    yield from _rows(view, 0)
    for chosen in (False, True):
        yield from _knowledge(view, 0, chosen)


def _differences(start: dict[str, Any] | None, variants: list[tuple[dict[str, Any], str]]) -> Iterator[Cut]:
    old = start["code"] if start is not None else ""
    for item, what in variants:
        changed = "" if item["difference"] else difference(old, item["code"])
        if changed:
            item["code"], item["difference"] = changed, True
            yield Cut("variants", f"{what}: all but its difference from the start point")


def _codes(section: str, items: list[tuple[dict[str, Any], str]]) -> Iterator[Cut]:
    for item, what in items:
        if item["code"]:
            item["code"] = ""
            yield Cut(section, what)


def _exemplar(view: dict[str, Any]) -> Iterator[Cut]:
    if view["exemplar"] is not None:
        category, view["exemplar"] = view["exemplar"].category, None
        yield Cut("exemplar", f"the exemplar ({category})")


def _rows(view: dict[str, Any], keep: int) -> Iterator[Cut]:
    gone = len(view["history"]) - keep
    if gone > 0:
        view["history"] = view["history"][gone:]
        yield Cut("history", f"the first {gone} rows")


def _knowledge(view: dict[str, Any], keep: int, chosen: bool) -> Iterator[Cut]:
    """From the end, all but ``keep`` sections: those about everything, or those ``chosen`` for what the task does."""
    for section in reversed(view["knowledge"][keep:]):
        if bool(section.tags) is chosen:
            view["knowledge"] = [other for other in view["knowledge"] if other is not section]
            yield Cut("knowledge", section.title)
