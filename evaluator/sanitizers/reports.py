"""AddressSanitizer's and UndefinedBehaviorSanitizer's words as :class:`Finding`, and which of them decide.

A report decides when it is about memory, or about control flow that the optimiser may drop; undefined behaviour that
only yields a value is left to the numerics and reported. In detail:

* AddressSanitizer: every out-of-bounds access, also a vector load that reads past the end of a storage and throws the
  rest away (it may cross into an unmapped page), use after free, bad free, null and wild pointers, traps. It does not
  see masked and gathering intrinsics (safe past the end where the mask is off), nor an access that jumps over the red
  zone into another live allocation, nor one that leaves a view but stays in its storage (legal).
* ``bounds``, ``object-size``, null loads and stores, division by zero, ``vla-bound``, ``unreachable``, a missing
  ``return``: decide. An index beyond an inner dimension (``a[0][i]`` run over a whole ``a[4][4]``) is among them:
  g++ bounds loops by it at -O3.
* ``alignment``: decides for types that need 16 bytes and more (vectors: aligned moves trap). A narrower one, such as
  ``*(const uint32_t*)(bytes + 1)``, is how packed data is read on this hardware, and is reported.
* Signed overflow is reported: ``a[i] + b[i]`` on integers wraps as torch's does. So are shifts, float casts and
  ``bool`` and enum loads out of range: their values are judged by the oracle. Unsigned wrap is no error at all.
* Pointer arithmetic beyond an object is reported: the access itself is seen by AddressSanitizer.

Not looked for: leaks (a kernel's static scratch is legal), uninitialised reads (the poisoned outputs of the memory
stage are for those), errors in calls that the tape does not have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kernelwright.evaluator.sanitizers.finding import Finding, excerpt

_ASAN = re.compile(r"ERROR: AddressSanitizer: (.+)")
_FRAME = re.compile(r"#\d+ 0x[0-9a-f]+ in (.+?) (?:\S*/)?kernel\.cpp:(\d+)")
_ACCESS = re.compile(r"^(READ|WRITE) of size (\d+) at")
_SIGNAL = re.compile(r"signal is caused by a (READ|WRITE) memory access")
_ADDRESS = re.compile(r"on unknown address (0x[0-9a-f]+)")
_UBSAN = re.compile(r"^(?:\S*/)?(kernel\.cpp:\d+):\d+: runtime error: (.+)")
_WIDE = re.compile(r"which requires (\d+) byte alignment")
_PLACED = re.compile(r"is located (\d+ bytes .+)")
_OUTLINED = re.compile(r"\._omp_fn\.\d+|\(.*\)$")

_MEMORY_KINDS = frozenset(
    {
        "heap-buffer-overflow",
        "stack-buffer-overflow",
        "stack-buffer-underflow",
        "dynamic-stack-buffer-overflow",
        "global-buffer-overflow",
        "container-overflow",
        "heap-use-after-free",
        "stack-use-after-return",
        "stack-use-after-scope",
        "use-after-poison",
        "negative-size-param",
        "unknown-crash",
        "SEGV",
        "BUS",
        "FPE",
        "ILL",
    }
)
_FREEING = ("attempting double-free", "attempting free on address")
_FIRST_PAGE = 1 << 16
_WIDE_BYTES = 16

# (first words of UBSan's message, name, whether it decides)
_CHECKS = (
    (("index ",), "index out of bounds", True),
    (("load of null pointer",), "null load", True),
    (("store to null pointer",), "null store", True),
    (("division by zero",), "division by zero", True),
    (("variable length array bound",), "array bound", True),
    (("execution reached",), "unreachable code or missing return", True),
    (("load of address", "store to address"), "access beyond an object", True),
    (("load of misaligned", "store to misaligned"), "misaligned access", False),
    (("signed integer overflow", "negation of"), "signed overflow", False),
    (("shift exponent", "left shift of"), "shift", False),
    (("pointer index", "applying", "addition of", "subtraction of"), "pointer arithmetic", False),
    ("", "undefined behaviour", False),
)


def findings(log: str, mapped: Sequence[tuple[int, int]] = ()) -> tuple[list[Finding], list[Finding], str]:
    """(what decides, what is only reported, why AddressSanitizer's end of the run accuses nobody or '').

    ``mapped``: address ranges of the process that recorded; a fault in them is at an address that a kernel carried in
    a number, which the replay cannot translate.
    """
    lines = log.splitlines()
    deciding, reported = _undefined(lines)
    excuse = ""
    for i, line in enumerate(lines):
        if match := _ASAN.search(line):
            finding, excuse = _address(match[1], lines[i:], mapped)
            if finding is not None:
                deciding.insert(0, finding)
            break
    return deciding, reported, excuse


def _address(what: str, lines: list[str], mapped: Sequence[tuple[int, int]]) -> tuple[Finding | None, str]:
    kind = what.split()[0].rstrip(":")
    if what.startswith(_FREEING):
        kind = "bad free"
    elif kind not in _MEMORY_KINDS:
        return None, f"AddressSanitizer stopped: {what[:160]}"
    access, size, detail = "", "", ""
    for line in lines[:40]:
        if match := _ACCESS.match(line) or _SIGNAL.search(line):
            access, size = match[1].lower(), match[2] if match.re is _ACCESS else ""
            break
    if size:
        detail = f"{size} bytes"
    if placed := next((m for m in map(_PLACED.search, lines[:80]) if m), None):
        detail = f"{detail}, {placed[1].split(' 0x')[0].split(' [')[0]}"
    if kind == "SEGV":
        address = _ADDRESS.search(what)
        value = int(address[1], 16) if address else 0
        if any(low <= value < high for low, high in mapped):
            return None, "it accesses memory by an address that is not among its arguments"
        kind = "null pointer" if value < _FIRST_PAGE and "general protection" not in " ".join(lines[:6]) else "wild pointer"
    function, line_number = _frame(lines)
    where = f"kernel.cpp:{line_number}" if line_number else ""
    return Finding("asan", kind, access, where, function, detail, excerpt(lines)), ""


def _frame(lines: Sequence[str]) -> tuple[str, str]:
    """Function and line of the innermost frame in the kernel's source."""
    for line in lines[:40]:
        if match := _FRAME.search(line):
            return _OUTLINED.sub("", match[1]), match[2]
    return "", ""


def _undefined(lines: Sequence[str]) -> tuple[list[Finding], list[Finding]]:
    deciding: list[Finding] = []
    reported: list[Finding] = []
    for line in lines:
        match = _UBSAN.match(line)
        if match is None:
            continue
        where, message = match[1], match[2]
        name, decides = next((n, d) for starts, n, d in _CHECKS if message.startswith(starts))
        wide = _WIDE.search(message)
        decides = decides or (name == "misaligned access" and wide is not None and int(wide[1]) >= _WIDE_BYTES)
        finding = Finding("ubsan", name, "", where, "", message[:200], excerpt([line]))
        (deciding if decides else reported).append(finding)
    return deciding, reported
