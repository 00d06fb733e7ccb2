"""Charts of one task and of the run. Each takes figures of verdicts and gives an SVG, or nothing without figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kernelwright.agent.report.svg import Scale, chart, element, hint, line, log_scale, text
from kernelwright.agent.report.text import duration, duration_interval, percent, ratio_interval
from kernelwright.agent.report.view import Drawn, baselines
from kernelwright.tasks.records import CaseTiming, Interval, Timing

WIDTH, EDGE, ROW, FOOT = 460, 12, 36, 20
"""Narrow enough to be read on a phone: a row is a line of words with its marks below."""
LEFT, RIGHT, TOP, BOTTOM, PLOT = 56, 76, 12, 34, 210


@dataclass(frozen=True)
class Bar:
    """A row of a dot-and-whisker chart."""

    label: str
    interval: Interval
    series: str
    """Class of the mark: ``headline`` or ``series-N``."""
    told: str
    """The figures in words, printed beside the row."""


def whiskers(bars: Sequence[Bar], label: str) -> Markup | None:
    """Speedups with their intervals on a logarithmic axis, and a line at 1× (as fast as the baseline)."""
    if not bars:
        return None
    ends = [v for bar in bars for v in (bar.interval.low, bar.interval.high)]
    scale = log_scale([*ends, 1.0], EDGE, WIDTH - EDGE)
    parts = _columns(scale, len(bars), {tick: f"{tick:g}×" for tick in scale.ticks(6)})
    parts += [_whisker(bar, scale, TOP + ROW * i) for i, bar in enumerate(bars)]
    return chart(WIDTH, TOP + ROW * len(bars) + FOOT, label, *parts)


def speedup_chart(timing: Timing) -> Markup | None:
    """The headline and every timing case against each baseline."""
    names = baselines([timing])
    bars = []
    for series, name in enumerate(names):
        note = " (fastest)" if name == timing.best_baseline else ""
        rows = [(f"{name}{note}", timing.speedup.get(name), "headline")]
        rows += [(f"{c.case} {c.dtype}", c.speedup.get(name), f"series-{series % 4}") for c in timing.cases]
        bars += [Bar(label, i, mark, ratio_interval(i)) for label, i, mark in rows if i is not None]
    return whiskers(bars, "Speedup with 95 % intervals against each baseline, over all cases and for each case")


def overview_chart(rows: Sequence[tuple[str, Timing]]) -> Markup | None:
    """One row a task: the speedup against its fastest baseline."""
    bars = [
        Bar(name, timing.speedup["best"], "headline", ratio_interval(timing.speedup["best"]))
        for name, timing in rows
        if "best" in timing.speedup
    ]
    return whiskers(bars, "Speedup of each task's winning kernel against its fastest baseline")


def latency_chart(attempts: Sequence[Drawn], winner: Timing | None) -> Markup | None:
    """Latency of every timed attempt, the lowest so far as a line, the winner's baselines as levels."""
    timed = [(a, a.latency) for a in attempts if a.latency is not None]
    if not timed:
        return None
    levels = {name: i.median for name, i in winner.baselines.items()} if winner else {}
    values = [v for _, span in timed for v in (span.low, span.high)]
    y = log_scale([*values, *levels.values()], TOP + PLOT, TOP)
    last = max(a.number for a in attempts)
    x = Scale(0.5, max(last, 2) + 0.5, LEFT, WIDTH - RIGHT, log=False)
    parts = _axes(x, y, last)
    for name, at in _spread({name: y(v) for name, v in levels.items()}).items():
        parts.append(line(LEFT, y(levels[name]), WIDTH - RIGHT, y(levels[name]), "level"))
        told = text(WIDTH - RIGHT + 6, at + 4, name, "level-name")
        parts.append(element("g", told, hint(f"{name}: {duration(levels[name])}, as measured with the winner")))
    parts.append(_running_best([(a.number, span.median) for a, span in timed], x, y, last))
    for attempt, span in timed:
        parts.append(_latency_mark(attempt, span, x(attempt.number), y))
    for attempt in attempts:
        if attempt.latency is None:
            cross = text(x(attempt.number), TOP + PLOT - 3, "×", "no-time", "middle")
            parts.append(element("g", cross, hint(f"attempt {attempt.number}: {attempt.status}, no timing")))
    return chart(WIDTH, TOP + PLOT + BOTTOM, "Latency of the timed attempts, and the lowest so far", *parts)


def roofline_chart(cases: Sequence[CaseTiming]) -> Markup | None:
    """For each timing case, what share of the device's ceiling the kernel reaches."""
    known = [(c, c.roofline_us) for c in cases if c.roofline_us]
    if not known:
        return None
    shares = [Interval(r / c.latency_us.median, r / c.latency_us.high, r / c.latency_us.low) for c, r in known]
    scale = Scale(0.0, max(1.0, *(s.high for s in shares)), EDGE, WIDTH - EDGE, log=False)
    parts = _columns(scale, len(known), {tick: percent(tick) for tick in scale.ticks(6)})
    for i, ((case, least), share) in enumerate(zip(known, shares, strict=True)):
        top = TOP + ROW * i
        told = f"{percent(share.median)}, {case.bound}-bound" if case.bound else percent(share.median)
        length = scale(share.median) - EDGE
        bar = element("rect", x=EDGE, y=top + 17, width=length, height=12, rx=2, class_=f"roof {case.bound}")
        span = line(scale(share.low), top + 23, scale(share.high), top + 23, "whisker")
        tip = hint(f"least possible {duration(least)}, measured {duration_interval(case.latency_us)}")
        parts.append(element("g", tip, bar, span, *_words(f"{case.case} {case.dtype}", told, top)))
    label = "Share of the roofline that each timing case reaches"
    return chart(WIDTH, TOP + ROW * len(known) + FOOT, label, *parts)


def _columns(scale: Scale, rows: int, ticks: dict[float, str]) -> list[Markup]:
    """Grid lines behind the marks only, so that no line runs through the words above them."""
    parts = []
    spans = [(TOP + ROW * i + 15, TOP + ROW * i + 31) for i in range(rows)]
    for tick, name in ticks.items():
        anchor = "start" if scale(tick) < 2 * EDGE else "end" if scale(tick) > WIDTH - 2 * EDGE else "middle"
        parts += [line(scale(tick), y1, scale(tick), y2, "grid") for y1, y2 in spans]
        parts.append(text(scale(tick), TOP + ROW * rows + 12, name, "tick", anchor))
    return parts + [line(scale(1.0), y1, scale(1.0), y2, "one") for y1, y2 in spans]


def _whisker(bar: Bar, scale: Scale, top: float) -> Markup:
    low, middle, high = (scale(v) for v in (bar.interval.low, bar.interval.median, bar.interval.high))
    y = top + 23
    marks = [line(low, y, high, y, f"whisker {bar.series}")]
    marks += [line(end, y - 4, end, y + 4, f"whisker {bar.series}") for end in (low, high)]
    dot = element("circle", cx=middle, cy=y, r=5.0 if bar.series == "headline" else 3.5, class_=f"dot {bar.series}")
    return element("g", hint(f"{bar.label}: {bar.told}"), *marks, dot, *_words(bar.label, bar.told, top, bar.series))


def _words(label: str, told: str, top: float, class_: str = "") -> list[Markup]:
    short = label if len(label) <= 38 else "…" + label[-37:]
    return [
        text(EDGE, top + 11, short, f"row {class_}".strip()),
        text(WIDTH - EDGE, top + 11, told, f"told {class_}".strip(), "end"),
    ]


def _axes(x: Scale, y: Scale, last: int) -> list[Markup]:
    parts: list[Markup] = []
    for tick in y.ticks(6):
        parts.append(line(LEFT, y(tick), WIDTH - RIGHT, y(tick), "grid"))
        parts.append(text(LEFT - 8, y(tick) + 4, _tick(tick), "tick", "end"))
    stride = max(1, -(-last // min(16, 32 // len(str(last)))))  # as many numbers as fit beside each other
    for number in range(1, last + 1, stride):
        parts.append(text(x(number), TOP + PLOT + 16, str(number), "tick", "middle"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, TOP + PLOT + 31, "attempt", "tick", "middle"))
    return parts


def _tick(us: float) -> str:
    number, unit = duration(us).split()
    return f"{float(number.replace(',', '')):g} {unit}"


def _running_best(points: Sequence[tuple[int, float]], x: Scale, y: Scale, last: int) -> Markup:
    best = points[0][1]
    path = f"M{x(points[0][0]):.1f} {y(best):.1f}"
    for number, latency in points[1:]:
        path += f"H{x(number):.1f}"
        if latency < best:
            best = latency
            path += f"V{y(best):.1f}"
    return element("path", d=f"{path}H{x(last + 0.5):.1f}", class_="running")


def _latency_mark(attempt: Drawn, span: Interval, at: float, y: Scale) -> Markup:
    told = f"attempt {attempt.number}: {duration_interval(span)}"
    ring = [element("circle", cx=at, cy=y(span.median), r=8, class_="ring")] if attempt.won else []
    whisker = line(at, y(span.low), at, y(span.high), "whisker")
    dot = element("circle", cx=at, cy=y(span.median), r=4, class_="dot headline")
    return element("g", hint(told), *ring, whisker, dot)


def _spread(at: dict[str, float], apart: float = 13.0) -> dict[str, float]:
    """Label positions that don't overlap: each at its level, or as far below the one above as is needed."""
    placed: dict[str, float] = {}
    above = float("-inf")
    for name, y in sorted(at.items(), key=lambda item: item[1]):
        above = placed[name] = max(y, above + apart)
    return placed
