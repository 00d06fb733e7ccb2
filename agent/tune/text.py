"""A tuning's report for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    return "\n".join(_lines(report)) + "\n"


def ratio(value: Mapping[str, float]) -> str:
    """``1.20x [1.18, 1.23]``."""
    return f"{value['median']:.2f}x [{value['low']:.2f}, {value['high']:.2f}]"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:  # noqa: C901  one paragraph after the other
    yield f"# {report['model']}: {report['mode']} on {report['device']}"
    yield ""
    yield f"One pass of the original took {report['pass_ms']:.3f} ms before tuning."
    if report["speedup"] is not None:
        yield from ("", "| against | ms | speedup of the patched model |", "| --- | --- | --- |")
        for name, value in report["speedup"].items():
            yield f"| {name} | {report['latency_ms'][name]:.3f} | {ratio(value)} |"
        yield f"| the patched model itself | {report['latency_ms']['tuned']:.3f} | |"
        if report["speedup"].get("compile", {}).get("high", 1.0) < 1:
            yield from ("", "torch.compile of the original, without any of these kernels, is faster than the patched model.")
        if "speedup_compiled" in report:
            yield ""
            yield f"Both under torch.compile, patched against original: {ratio(report['speedup_compiled'])}."
    if report["numerics"] is not None:
        found = report["numerics"]
        word = "passed" if found["passed"] else "failed"
        yield ""
        yield f"Numerics {word}: {found['outputs']} outputs by {found['oracle']}, at most {found['ratio']:.2g} of the bound."
    yield from ("", "## Kernels", "")
    if not report["kernels"]:
        yield "None: the model was left as it was."
    for key, name in report["kernels"].items():
        yield f"- {name} (`{key}`): {report['contribution_ms'].get(key, 0.0):.3f} ms of a pass by leave-one-out"
    for key, why in report["dropped"].items():
        yield f"- taken out again: `{key}`: {why}"
    yield from ("", "## Groups by expected saving", "")
    yield from (
        "| group | times | eager µs | floor µs | share of a pass | expected ms |",
        "| --- | --- | --- | --- | --- | --- |",
    )
    for row in report["groups"]:
        cells = (
            f"{row['count']} | {row['eager_us']:.1f} | {row['floor_us']:.1f} | {row['share']:.1%} | {row['expected_ms']:.3f}"
        )
        yield f"| {row['group']} | {cells} |"
    yield from ("", "## Tasks", "")
    for row in report["tasks"]:
        yield f"- {row['task']}: {row['status']} after {row['attempts']} attempts (run {row['run']}): {row['reason']}"
    yield from ("", "## Operators by own time", "")
    for row in report["profile"][:12]:
        yield f"- {row['op']} {row['shapes']}: {row['own_us']:.0f} µs in {row['calls']} calls"
    if report["notes"]:
        yield from ("", "## Notes", "", *(f"- {note}" for note in report["notes"]))
