"""The shape cases that a suite lists, as integers at the end of a synthesised reference.

A suite's case is a mapping of parameters. Integers become module-level names, which the judge rewrites case by case (see
:mod:`kernelwright.tasks.shapes`): sizes of held-out cases therefore do not stand in the text that writers see. All else
(strings, booleans, fractions) is one row of a literal ``VARIANTS``, picked by the integer ``variant``. Such rows do stand in
the text, those of held-out cases too.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kernelwright.tasks.records import ShapeCase, Use
from kernelwright.tasks.slots import parse

MOST = {Use.CORRECTNESS: 4, Use.TIMING: 3, Use.HELD_OUT: 2}
"""Cases of each use: the judge executes the reference, in the working dtype and in float64, for every one."""
_LONGEST_NAME = 60
_OURS = frozenset({"Model", "get_inputs", "get_init_inputs", "torch", "variant", "VARIANTS", "DEVICE"})


@dataclass(frozen=True)
class Entry:
    """One case as the suite lists it."""

    use: Use
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Cases and the statements that go with them."""

    text: str
    """Module-level statements, to stand behind the suite's own text."""
    cases: tuple[ShapeCase, ...]
    names: Mapping[str, str]
    """Integer parameter -> the module-level name that holds it."""
    variants: bool
    """There are parameters that are no integers, in ``VARIANTS[variant]``."""

    def keywords(self) -> str:
        """The current case as arguments of a call: ``m=m, n=n, **VARIANTS[variant]``."""
        parts = [f"{key}={name}" for key, name in self.names.items()]
        return ", ".join([*parts, "**VARIANTS[variant]"] if self.variants else parts)

    def mapping(self) -> str:
        """The current case as a dict expression."""
        parts = [f"{key!r}: {name}" for key, name in self.names.items()]
        return "{" + ", ".join([*parts, "**VARIANTS[variant]"] if self.variants else parts) + "}"


def tabulate(entries: Sequence[Entry], source: str) -> Table:
    """The table of ``entries`` (at least one), with names that ``source`` does not use at module level.

    Raises:
        TaskError: ``source`` does not parse.
    """
    taken = module_names(source) | _OURS
    first = entries[0].values
    whole = [key for key in first if all(type(e.values.get(key)) is int for e in entries)]
    names = {key: free_name(key, taken) for key in whole}
    rows: list[dict[str, Any]] = []
    places = []
    for entry in entries:
        row = {key: value for key, value in entry.values.items() if key not in names}
        if row not in rows:
            rows.append(row)
        places.append(rows.index(row))
    variants = rows != [{}]
    lines = [f"{name} = {first[key]}" for key, name in names.items()]
    if variants:
        lines += ["variant = 0", "VARIANTS = [", *(f"    {literal(row)}," for row in rows), "]"]
    cases: list[ShapeCase] = []
    for entry, place in zip(entries, places, strict=True):
        sizes = {name: int(entry.values[key]) for key, name in names.items()}
        name = _label(entry, [(c.name, c.use) for c in cases])
        cases.append(ShapeCase(name, entry.use, {**sizes, "variant": place} if variants else sizes))
    return Table("\n".join(lines), tuple(cases), names, variants)


def spread(rows: Sequence[Mapping[str, Any]], work: Callable[[Mapping[str, Any]], float]) -> list[Entry]:
    """Uses for rows that a suite lists for one purpose: large ones to time, held-out ones between, the rest to check.

    At most 4 are for correctness, 3 for timing and 2 held out, evenly spread over the sorted work. A sole row is both.
    """
    ordered = sorted(rows, key=work)
    if len(ordered) == 1:
        return [Entry(Use.CORRECTNESS, ordered[0]), Entry(Use.TIMING, ordered[0])]
    upper = ordered[len(ordered) // 2 :]
    timing = evenly(upper, MOST[Use.TIMING]) if len(upper) > 1 else upper
    rest = [row for row in ordered if not any(row is t for t in timing)]
    hidden = evenly(rest[1:], min(MOST[Use.HELD_OUT], (len(rest) - 1) // 3))
    seen = [row for row in rest if not any(row is h for h in hidden)]
    checked = evenly(seen, MOST[Use.CORRECTNESS])
    uses = ((Use.CORRECTNESS, checked), (Use.TIMING, timing), (Use.HELD_OUT, hidden))
    return [Entry(use, row) for use, chosen in uses for row in chosen]


def scaled(
    rows: Sequence[Mapping[str, Any]], work: Callable[[Mapping[str, Any]], float], scale: float | None
) -> list[Mapping[str, Any]]:
    """The rows whose work is at most ``scale`` times that of the largest, and always the smallest; all for None."""
    if scale is None or not rows:
        return list(rows)
    limit = max(scale * max(map(work, rows)), min(map(work, rows)))
    return [row for row in rows if work(row) <= limit]


def product(row: Mapping[str, Any]) -> float:
    """The product of a row's positive integers but its seed: a measure of work where the shapes are not known."""
    return float(math.prod(v for k, v in row.items() if type(v) is int and v > 0 and "seed" not in k))


def literal(value: Any) -> str:
    """Python text for plain data; NaN and infinities, which have no literal, as calls of ``float``."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {literal(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return repr(value)


def evenly(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """At most ``most`` of ``rows``, evenly spaced from the first to the last; the last alone for one."""
    if most <= 0 or not rows:
        return []
    if most == 1 or len(rows) <= most:
        return list(rows[-most:])
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def _label(entry: Entry, used: Iterable[tuple[str, Use]]) -> str:
    """A name that says the parameters where they are few, else a number; one that no case of this use has."""
    known = [name for name, use in used if use is entry.use]
    plain = [(k, v) for k, v in entry.values.items() if isinstance(v, (int, float, str)) and "seed" not in k]
    name = ",".join(f"{k}={v}" for k, v in plain)
    if not name or len(name) > _LONGEST_NAME or name in known:
        return f"{entry.use.value}-{len(known) + 1}"
    return name


def free_name(key: str, taken: Iterable[str]) -> str:
    """``key`` where it is free to be a module-level name, else with ``case_`` before it."""
    usable = key.isidentifier() and not keyword.iskeyword(key) and not hasattr(builtins, key) and key not in taken
    return key if usable else "case_" + "".join(c if c.isalnum() else "_" for c in key)


def module_names(source: str) -> frozenset[str]:
    """Every name that the code of ``source`` outside functions and classes binds or reads, and the names of those."""
    names: set[str] = set()
    pending: list[ast.AST] = list(parse(source).body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
            continue
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        pending += ast.iter_child_nodes(node)
    return frozenset(names)
