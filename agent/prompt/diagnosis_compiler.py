"""What compilers said that bears on a kernel's bottleneck: resources of GPU launches, loops and instructions on a host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kernelwright.evaluator.build import native_sources
from kernelwright.evaluator.toolchain import BuildError

_OPCODES = {
    "memory": ("LDG", "LDG.128", "STG", "STG.128", "LDL", "STL", "zmm", "ymm", "gather", "scatter", "spill"),
    "compute": ("HGMMA", "HMMA", "FFMA", "MUFU", "LDL", "STL", "zmm", "ymm", "fma", "scalar float", "divide", "spill"),
    "latency": ("BAR", "SHFL", "MUFU", "LDL", "STL", "ATOMG", "zmm", "ymm", "scalar float", "gather", "divide", "spill"),
    "unknown": ("LDL", "STL", "HGMMA", "LDG.128", "zmm", "ymm", "scalar float"),
}
"""Label -> instructions whose count bears on it: SASS opcodes, and what the host compiler's mix counts."""
_WORDS = {
    "zmm": "with 64-byte vectors",
    "ymm": "with 32-byte vectors",
    "spill": "spills of vectors",
    "divide": "divisions and roots",
}
_LOOPS = 6
_SLOTS = 4
_LINE = 90


def facts(evidence: object, label: str, source: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """(name, value) of what bears on ``label``, wherever it stands in a verdict's evidence. ``source``: the kernel's."""
    if depth > 6:
        return
    if isinstance(evidence, Mapping):
        if "registers" in evidence and "num_warps" in evidence:
            yield _launch(evidence, label)
            return
        if "schedules" in evidence:
            yield from _tpu(evidence["schedules"])
        if "vectorised_loops" in evidence:
            yield from _host(evidence, label, source)
            return
        for name, value in evidence.items():
            if name not in ("profile", "elsewhere"):
                yield from facts(value, label, source, depth + 1)
    elif isinstance(evidence, (list, tuple)):
        for value in evidence:
            yield from facts(value, label, source, depth + 1)


def _launch(launch: Mapping[str, Any], label: str) -> tuple[str, str]:
    found = [f"{launch['registers']} registers a thread"]
    if launch.get("spill_bytes"):
        found.append(f"{launch['spill_bytes']} bytes spilled a thread")
    if label != "memory":
        for key, unit in (("shared_bytes", "bytes of shared memory"), ("num_warps", "warps"), ("num_stages", "stages")):
            if launch.get(key):
                found.append(f"{launch[key]} {unit}")
    return f"kernel {launch.get('name', '')}", ", ".join((*found, *_mix(launch.get("instructions"), label)))


def _tpu(compiled: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What libtpu made of the kernels for each TPU: static, and called so."""
    for target, kernels in compiled.items():
        for kernel in kernels:
            said = [f"{kernel['bundles']} VLIW bundles", f"{kernel['spills']} vector spills, {kernel['fills']} fills"]
            if "cycles" in kernel:
                said.insert(0, f"{kernel['cycles']} cycles by the compiler's estimate (static, not a timing)")
            busy = sorted(kernel["slots"].items(), key=lambda slot: -slot[1])[:_SLOTS]
            said += [f"slots in use: {', '.join(f'{unit} {share:.0%}' for unit, share in busy if share)}"] if busy else []
            yield f"kernel {kernel['name']} compiled for {target}", "; ".join(said)


def _host(report: Mapping[str, Any], label: str, source: str) -> Iterator[tuple[str, str]]:
    vectorised = {int(line): int(width) for line, width in report["vectorised_loops"].items()}
    widest = f", widest {max(vectorised.values())} bytes" if vectorised else ""
    yield "loops that the compiler vectorised", f"{len(vectorised)}{widest}"
    lines = _native_lines(source, report.get("line"))
    scalar = [int(line) for line in report.get("scalar_loops", ()) if int(line) not in vectorised]
    innermost = [line for line in scalar if _innermost(lines, line)]
    if innermost:
        more = f" and {len(innermost) - _LOOPS} more" if len(innermost) > _LOOPS else ""
        yield (
            "innermost loops not vectorised (no loss where they hold vector types already)",
            "; ".join(_quoted(lines, line) for line in innermost[:_LOOPS]) + more,
        )
    mix = _mix(report.get("instructions"), label)
    if mix:
        yield "instructions in the whole library", ", ".join(mix)


def _native_lines(source: str, line: object) -> list[str]:
    """The lines of the native source that is loaded at ``line`` of a kernel; none where it cannot be told."""
    try:
        found = [native for native in native_sources(source) if native.line == line] if source else []
    except (BuildError, SyntaxError):
        return []
    return found[0].source.splitlines() if found else []


def _innermost(lines: Sequence[str], line: int) -> bool:
    """Whether ``line`` (from 1) begins a ``for`` without another loop inside, by braces: without any, its next statement.

    True where the text is not known. The compiler also names lines that merely call what has a loop: they are none.
    """
    if not lines:
        return True
    if line > len(lines) or not re.search(r"\bfor\s*\(", lines[line - 1]):
        return False
    depth, opened = 0, False
    for number, text in enumerate(lines[line - 1 :]):
        code = re.sub(r"//.*", "", text)
        if number and not opened and not code.strip().startswith("{"):
            return not re.match(r"\s*(?:for|while)\b", code)
        if number and re.search(r"\b(?:for|while)\s*\(", code):
            return False
        depth += code.count("{") - code.count("}")
        opened = opened or "{" in code
        if opened and depth <= 0 or (not opened and code.rstrip().endswith(";")):
            return True
    return True


def _quoted(lines: Sequence[str], line: int) -> str:
    text = " ".join(lines[line - 1].split()) if 0 < line <= len(lines) else ""
    text = text if len(text) <= _LINE else f"{text[: _LINE - 1].rstrip()}…"
    return f"`{text}` (line {line})" if text and "`" not in text else f"line {line} of the native source"


def _mix(instructions: object, label: str) -> tuple[str, ...]:
    if not isinstance(instructions, Mapping):
        return ()
    found = [f"{instructions[name]} {_WORDS.get(name, name)}" for name in _OPCODES[label] if instructions.get(name)]
    called = [f"{count} calls of {name.removeprefix('calls ')}" for name, count in instructions.items() if "calls " in name]
    return (*found, *called)
