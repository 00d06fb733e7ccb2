"""Figures and untrusted text as people read them. Everything here returns plain text; the template escapes it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from kernelwright.evaluator.device import DeviceInfo
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.records import Interval

MISSING = "–"
LONGEST_TEXT = 6000
_SECRET = re.compile(r"(key|token|secret|password)$", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+:[^/@\s]+(?=@)")


def duration(us: float | None) -> str:
    """``us`` microseconds with three digits: ``84.2 µs``, ``1.35 ms``, ``2.10 s``."""
    if us is None:
        return MISSING
    for unit, scale in (("µs", 1.0), ("ms", 1e3)):
        # The bound is on what would be printed: 999.7 must not become "1000 µs".
        if us / scale < 999.5:
            return f"{_three_digits(us / scale)} {unit}"
    return f"{_three_digits(us / 1e6)} s"


def ratio(value: float | None) -> str:
    """A speedup: ``1.42×``."""
    return MISSING if value is None else f"{_ratio_digits(value)}×"


def ratio_interval(interval: Interval | None) -> str:
    """``1.42× (1.38–1.46)``."""
    if interval is None:
        return MISSING
    return f"{ratio(interval.median)} ({_ratio_digits(interval.low)}–{_ratio_digits(interval.high)})"


def duration_interval(interval: Interval | None) -> str:
    """``84.2 µs (83.9–84.6 µs)``; the ends keep the unit that suits them."""
    if interval is None:
        return MISSING
    low, high = duration(interval.low), duration(interval.high)
    if low.split()[-1] == high.split()[-1]:
        low = low.split()[0]
    return f"{duration(interval.median)} ({low}–{high})"


def percent(fraction: float | None) -> str:
    """``0.873`` as ``87 %``."""
    return MISSING if fraction is None else f"{fraction * 100:.0f} %"


def small(value: float | None) -> str:
    """An error or an error ratio: ``2.4e-07``, ``0.031``."""
    return MISSING if value is None else f"{value:.2g}"


def dollars(value: float | None) -> str:
    """``$0.0132``; None says that the price is not known."""
    if value is None:
        return "price unknown"
    return f"${value:.4f}" if 0 < value < 1 else f"${value:.2f}"


def seconds(value: float) -> str:
    """``0.42 s``, ``12 s``, ``3 min 20 s``."""
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
    return f"{int(value) // 60} min {int(value) % 60} s"


def shorten(text: str, longest: int = LONGEST_TEXT) -> str:
    """``text``, its middle left out where it is longer than ``longest`` characters, and said so."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def shown(value: Any) -> str:
    """Any recorded value as text: strings as they are, mappings as an indented outline, lists of values on one line."""
    return shorten("\n".join(_outline(to_json(value))))


def _outline(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        rows: list[str] = []
        for key, inner in value.items():
            below = _outline(inner)
            if len(below) == 1 and not (isinstance(inner, Mapping) and inner):
                rows.append(f"{key}: {below[0]}")
            else:
                rows += [f"{key}:", *(f"  {row}" for row in below)]
        return rows or ["none"]
    if isinstance(value, list):
        if any(isinstance(v, (Mapping, list)) or "\n" in str(v) for v in value):
            return [f"{'  ' if i else '- '}{row}" for v in value for i, row in enumerate(_outline(v))]
        return [", ".join(_outline(v)[0] for v in value) or "none"]
    return [f"{value:.6g}"] if isinstance(value, float) else str(value).splitlines() or [""]


def pairs(mapping: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A mapping as rows of name and text; empty values and what may be a secret are left out."""
    return [
        (str(name), without_passwords(shown(value)))
        for name, value in mapping.items()
        if value not in (None, "", (), [], {}) and not _SECRET.search(str(name))
    ]


def facts(device: DeviceInfo) -> list[tuple[str, str]]:
    """What is known of the device: its name, what was measured on it, versions."""
    measured = {f"measured {dtype} matrix product": f"{rate:.3g} TFLOP/s" for dtype, rate in device.tflops.items()}
    if device.memory_gbps:
        measured["measured copy bandwidth"] = f"{device.memory_gbps:.0f} GB/s"
    told = {"device": device.name, "kind": device.kind, "cores": device.cores or ""}
    return pairs({**told, **measured, **device.versions})


def command_line(argv: Sequence[str]) -> str:
    """The command as it can be pasted into a shell, without passwords."""
    return without_passwords(shlex.join(argv))


def without_passwords(text: str) -> str:
    """``text`` with the user and password of any URL left out."""
    return _USERINFO.sub("…", text)


def _ratio_digits(value: float) -> str:
    # Two decimals near 1, where speedups are compared; never so few that a slow kernel reads 0.00.
    return f"{value:.2f}" if 0.05 <= value < 10 else _three_digits(value)


def _three_digits(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")  # 0.9997 counts its digits as 1.00
    digits = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{value:,.{min(digits, 4)}f}"
