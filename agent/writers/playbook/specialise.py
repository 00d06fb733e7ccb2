"""A program at given values of its structural sizes: strides, paddings, dilations and windows that ``forward`` reads.

With those as plain numbers, offsets are short, a strided transposed convolution falls apart by phases, and windows unroll. The
general program stays beside it for other values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from kernelwright.agent.writers.playbook.index import Atom, Axis, Poly, Sym, Value, atoms, rewrite
from kernelwright.agent.writers.playbook.ir import Conv, Program


def structural(program: Program) -> dict[str, int]:
    """Structural sizes that the program reads -> their values at its first hint; empty where it has none."""
    names = {size.name for size in program.sizes if ".shape[" not in size.source}
    for kernel in program.kernels:
        if isinstance(kernel, Conv):
            for tap in kernel.taps:
                names |= {atom.name for atom in atoms(tap.extent) if isinstance(atom, Sym)}
    return {name: program.hints[name][0] for name in sorted(names) if program.hints.get(name)}


def specialised(program: Program, values: Mapping[str, int]) -> Program:
    """``program`` with symbols replaced by ``values``, and its kernels renamed: both can stand in one file."""
    fixed = _Fixer(values)
    kernels = tuple(replace(fixed(kernel), name=f"{kernel.name}s") for kernel in program.kernels)
    return replace(program, kernels=kernels, buffers=fixed(program.buffers))


class _Fixer:
    """Rebuilds IR with symbols replaced."""

    def __init__(self, values: Mapping[str, int]) -> None:
        self.values = values
        self.done: dict[Any, Any] = {}

    def __call__(self, node: Any) -> Any:
        if isinstance(node, tuple):
            return tuple(self(item) for item in node)
        if not is_dataclass(node):
            return node
        if node not in self.done:
            self.done[node] = self._rebuilt(node)
        return self.done[node]

    def _rebuilt(self, node: Any) -> Any:
        if isinstance(node, Poly):
            return rewrite(node, self._atom)
        return replace(node, **{f.name: self(getattr(node, f.name)) for f in fields(node) if f.init})

    def _atom(self, atom: Atom) -> Poly | None:
        if isinstance(atom, Sym):
            return Poly.of(self.values[atom.name]) if atom.name in self.values else None
        if isinstance(atom, (Axis, Value)):
            return Poly.of(self(atom))
        return None
