"""The screen's look at native sources: tokens outside comments, looked up in the tables."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from kernelwright.evaluator import screen_rules as rules
from kernelwright.evaluator.build import NativeSource, native_sources
from kernelwright.evaluator.inline.source import INEXACT
from kernelwright.evaluator.prototypes import code_tokens, defined_names
from kernelwright.evaluator.screen_python import Finding
from kernelwright.evaluator.toolchain import BuildError

_INCLUDE = re.compile(
    r"""^[ \t]*#[ \t]*(?:include(?:_next)?|import|embed)[ \t]*(?:[<"]((?:/|\.\./|[^>"]*/\.\./)[^>"]*)[>"]|([A-Za-z_]\w*))""",
    re.MULTILINE,
)
"""Of an absolute path, a parent folder, or what a macro says."""
_FAST_MATH = re.compile(r"fast-math|__attribute__\s*\(\(\s*optimize|#\s*pragma\s+GCC\s+optimize|associative-math")
_PTX = re.compile(r"%(?:clock|globaltimer)|\bnanosleep|\b(?:trap|brkpt|exit)\s*;")
_LANGUAGES = {"cpp": "C++", "cuda": "CUDA", "ascend": "Ascend C"}
_TRAPS = ("syscall", "int $0x80", "svc #", "sysenter")


def screen_native(tree: ast.Module) -> list[Finding]:
    """Findings in the native sources of a kernel; none where building will refuse one."""
    try:
        return [finding for native in native_sources(tree) for finding in _screen(native)]
    except BuildError:
        return []


def _screen(native: NativeSource) -> Iterator[Finding]:
    tokens = list(code_tokens(native.source))
    ours = defined_names([text for _, _, text in tokens])
    cuda = native.language == "cuda"
    for position, (line, kind, text) in enumerate(tokens):
        where = f"{_LANGUAGES[native.language]} line {line}"
        if cuda and (flag := _cuda_rule(kind, text)):
            yield _finding(rules.FLAG, flag, native, f"{where} uses {text[:60]}")
        elif cuda and text in rules.CPP_FLAGS and rules.CPP_FLAGS[text] == "inline_asm":
            continue  # TMA and wgmma are reached by inline PTX: it has no system calls
        elif kind in ("string", "raw"):
            if "/proc/" in text:
                yield _finding(rules.REJECT, "proc", native, f"{where} names {text[:60]}")
            elif any(trap in text for trap in _TRAPS):
                yield _finding(rules.REJECT, "process", native, f"{where} makes a system call in {text[:60]}")
        elif kind == "word":
            rule = _rejected(tokens, position, ours)
            if rule:
                yield _finding(rules.REJECT, rule, native, f"{where} uses {text}")
            elif text in rules.CPP_FLAGS:
                yield _finding(rules.FLAG, rules.CPP_FLAGS[text], native, f"{where} uses {text}")
    yield from _directives(native)


def _directives(native: NativeSource) -> Iterator[Finding]:
    """What the preprocessor and the compiler are told."""
    for include in _INCLUDE.finditer(native.source):
        tier, rule = (rules.REJECT, "proc") if (include[1] or "").startswith("/proc") else (rules.FLAG, "include")
        yield _finding(tier, rule, native, f"includes {include[1] or include[2]}")
    given_up = [flag for flag in native.inline.ignored if INEXACT.fullmatch(flag)] if native.inline is not None else []
    if given_up:  # left out when it is built: what is judged is exact
        yield _finding(rules.RECORD, "fast_math", native, f"asks for {' '.join(given_up)}, which is left out")
    if match := _FAST_MATH.search(native.source):
        yield _finding(rules.FLAG, "fast_math", native, f"says {match[0]}")


def _cuda_rule(kind: str, text: str) -> str:
    """The rule that a token of device code is suspect by: it reads a clock, or ends the context on purpose."""
    if kind == "word":
        return {"clock": "clock", "clock64": "clock", "__nanosleep": "clock", "__trap": "exit", "__brkpt": "exit"}.get(text, "")
    if kind in ("string", "raw") and (found := _PTX.search(text)):
        return "clock" if "clock" in found[0] or "timer" in found[0] or "sleep" in found[0] else "exit"
    return ""


def _rejected(tokens: Sequence[tuple[int, str, str]], position: int, ours: set[str]) -> str:
    """The rule that the word at ``position`` breaks, or nothing; methods and functions of the source's own are free."""
    text = tokens[position][2]
    if text in rules.CPP_WORDS:
        return rules.CPP_WORDS[text]
    if text not in rules.CPP_CALLS:
        return ""
    before = tokens[position - 1][2] if position else ""
    after = tokens[position + 1][2] if position + 1 < len(tokens) else ""
    if before in (".", "->") or (text in ours and before != "::"):
        return ""
    called = after == "(" or before == "::"
    if any(a[2] == text and b[2] == "=" for a, b in zip(tokens, tokens[1:], strict=False)):
        return rules.CPP_CALLS[text] if called else ""  # a variable of that name
    taken = rules.CPP_CALLS[text] == "process" and before in ("=", "&") and after in (";", ",", ")")
    return rules.CPP_CALLS[text] if called or taken else ""


def _finding(tier: str, rule: str, native: NativeSource, what: str) -> Finding:
    return Finding(tier, rule, native.line, f"{what}: {rules.WHY[rule]}")
