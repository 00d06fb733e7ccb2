"""Scans that Triton-Ascend leaves to the vendor's library, written out for the host: cumulative sums and products.

They stand in the linalg as calls of functions that are declared only, `triton_cumsum_0(tensor, dimension, backwards)`.
"""

from __future__ import annotations

import re

from kernelwright.evaluator.ascend_source import NotModelled

_DECLARED = re.compile(
    r"func\.func private @((triton_cum(?:sum|prod))_\d+|\w+)\((?:tensor<((?:\d+x)+)(\w+)>, i32, i1\) -> tensor<[^>]*>)?.*"
)
SCALARS = frozenset(f"__hmf_{name}f" for name in ("atan", "log1p", "pow", "recip", "relu", "tan", "tanh"))
"""Functions of one float32 that ``ascendtri/host.c`` defines."""
_START = {"sum": ("add", "0"), "prod": ("mul", "1")}


def defined(linalg: str) -> str:
    """The linalg with its scans written out, one element after the other, in the order of the dimension or backwards.

    Raises:
        NotModelled: it calls another function of the vendor's library.
    """
    return _DECLARED.sub(lambda match: match[0] if match[1] in SCALARS else _definition(match, linalg), linalg)


def _definition(match: re.Match[str], linalg: str) -> str:
    name, scan, shape, kind = match.groups()
    dimension = _dimension(name, linalg)
    if not scan or not shape or dimension is None:
        raise NotModelled(f"the vendor compiles it, the host cannot run it: it calls {name} of the vendor's library")
    sizes = shape.strip("x").split("x")
    tensor = f"tensor<{shape}{kind}>"
    operator, start = _START[scan.removeprefix("triton_cum")]
    floating = kind.startswith(("f", "bf"))
    others = [axis for axis in range(len(sizes)) if axis != dimension]
    at = ", ".join("%at" if axis == dimension else f"%i{axis}" for axis in range(len(sizes)))
    lines = [
        f"func.func private @{name}(%given: {tensor}, %axis: i32, %backwards: i1) -> {tensor} {{",
        "%c0 = arith.constant 0 : index",
        "%c1 = arith.constant 1 : index",
        *(f"%n{axis} = arith.constant {size} : index" for axis, size in enumerate(sizes)),
        f"%last = arith.subi %n{dimension}, %c1 : index",
        f"%start = arith.constant {start}{'.0' if floating else ''} : {kind}",
        f"%made = tensor.empty() : {tensor}",
    ]
    held = "%made"
    for axis in others:
        lines.append(f"%o{axis} = scf.for %i{axis} = %c0 to %n{axis} step %c1 iter_args(%h{axis} = {held}) -> ({tensor}) {{")
        held = f"%h{axis}"
    lines += [
        f"%f:2 = scf.for %i = %c0 to %n{dimension} step %c1 iter_args(%sum = %start, %to = {held}) -> ({kind}, {tensor}) {{",
        "%back = arith.subi %last, %i : index",
        "%at = arith.select %backwards, %back, %i : index",
        f"%v = tensor.extract %given[{at}] : {tensor}",
        f"%next = arith.{operator}{'f' if floating else 'i'} %sum, %v : {kind}",
        f"%written = tensor.insert %next into %to[{at}] : {tensor}",
        f"scf.yield %next, %written : {kind}, {tensor}",
        "}",
    ]
    held = "%f#1"
    for axis in reversed(others):
        lines += [f"scf.yield {held} : {tensor}", "}"]
        held = f"%o{axis}"
    return "\n".join([*lines, f"return {held} : {tensor}", "}"])


def _dimension(name: str, linalg: str) -> int | None:
    """What the one call of a scan gives as its dimension, where that is a constant."""
    called = re.findall(rf"call @{name}\(%\w+(?:#\d+)?, (%\w+),", linalg)
    values = re.findall(rf"{re.escape(called[0])} = arith\.constant (\d+) : i32", linalg) if len(set(called)) == 1 else []
    return int(values[0]) if len(values) == 1 else None
