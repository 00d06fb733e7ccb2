"""The few SVG pieces the charts share: escaped elements, a logarithmic and a linear scale, tick marks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """``<name …>children</name>``; text is escaped, ``class_`` is ``class``, other ``_`` become ``-``."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(escape(child) for child in children)
    return Markup(f"<{name}{written}>{inside}</{name}>")  # names are this package's own, all else is escaped


def chart(width: float, height: float, label: str, *children: str, role: str = "img") -> Markup:
    """A drawing ``width`` by ``height`` units that scales with the page; ``label`` is what a screen reader says.

    Its size is an attribute and no style, which a strict policy of a page would leave out.
    """
    size = f"0 0 {_number(width)} {_number(height)}"
    natural = width if role == "group" else width * 1.15
    return element("svg", *children, viewBox=size, width=natural, role=role, aria_label=label)


def text(x: float, y: float, content: str, class_: str = "", anchor: str = "start") -> Markup:
    """A line of text; ``anchor`` is start, middle or end."""
    return element("text", content, x=x, y=y, class_=class_ or None, text_anchor=None if anchor == "start" else anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def hint(content: str) -> Markup:
    """What a pointer resting on the parent shows."""
    return element("title", content)


@dataclass(frozen=True)
class Scale:
    """A value in ``low``…``high`` to a coordinate in ``start``…``end``, logarithmic or linear; clamped to the ends."""

    low: float
    high: float
    start: float
    end: float
    log: bool = True

    def __call__(self, value: float) -> float:
        low, high, at = (self._warp(v) for v in (self.low, self.high, value))
        share = min(1.0, max(0.0, (at - low) / (high - low)))
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 7) -> list[float]:
        """Round values within the scale, at most about ``most`` of them."""
        if not self.log:
            return _linear_ticks(self.low, self.high, most)
        low, high = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = [
            [m * 10.0**e for e in range(low, high + 1) for m in steps]
            for steps in ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
        ]
        inside = [[v for v in values if self.low <= v * 1.0001 and v <= self.high * 1.0001] for values in every]
        if len(inside[0]) < 2:  # too narrow for round steps of a decade
            return _linear_ticks(self.low, self.high, most)
        fitting = next((values for values in inside if len(values) <= most), inside[-1])
        return fitting[:: -(-len(fitting) // most)]

    def _warp(self, value: float) -> float:
        return math.log(max(value, 1e-12)) if self.log else value


def log_scale(values: Iterable[float], start: float, end: float, pad: float = 1.08) -> Scale:
    """A logarithmic scale over all ``values``, with some room at both ends."""
    positive = [v for v in values if v > 0 and math.isfinite(v)] or [1.0]
    return Scale(min(positive) / pad, max(positive) * pad, start, end)


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
