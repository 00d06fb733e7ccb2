"""The text of one Triton kernel while it grows, and pieces of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kernelwright.agent.writers.playbook.index import Atom, Axis, FloorDiv, Mod, Poly, Sym, product
from kernelwright.agent.writers.playbook.index import text as poly_text
from kernelwright.agent.writers.playbook.ir import Program

_OUTSIDE = re.compile(r"\s*\w+_in = |.*\bpid\b")
"""Lines that say which points a tile has, and not what is done with them."""


_ARITHMETIC = re.compile(r" [*%] | // |cdiv\(")


Dims = frozenset[int]


NO_DIMS: Dims = frozenset()


@dataclass(frozen=True)
class Val:
    """A piece of Triton text and the tile dimensions along which it varies."""

    text: str
    dims: Dims = NO_DIMS


def size_text(poly: Poly) -> str:
    """A size as Python over the launcher's parameters (``n_`` and the symbol's name)."""

    def name(atom: Atom) -> str:
        if not isinstance(atom, Sym):
            raise TypeError(f"{atom!r} is no size")
        return f"n_{atom.name}"

    return poly_text(poly, name)


class Code:
    """The text of one kernel while it grows: lines, fresh names, the arguments that it turned out to need."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.lines: list[str] = []
        self.depth = 1
        self.count = 0
        self.buffers: list[str] = []
        self.symbols: list[str] = []
        self.numbers: list[str] = []
        self.quotients: dict[str, str] = {}

    def add(self, line: str) -> None:
        """Append ``line`` at the present indentation."""
        self.lines.append("    " * self.depth + line)

    def fresh(self, stem: str = "v") -> str:
        """A name that no other value of this kernel has."""
        self.count += 1
        return f"{stem}{self.count}"

    def buffer(self, name: str) -> str:
        """Note that buffer ``name`` is accessed, and return the kernel's name of its pointer."""
        return self._use(self.buffers, name, "p_")

    def symbol(self, name: str) -> str:
        """Note that size ``name`` is read, and return the kernel's name of it."""
        return self._use(self.symbols, name, "n_")

    def number(self, name: str) -> str:
        """Note that run-time number ``name`` is read, and return the kernel's name of it."""
        return self._use(self.numbers, name, "a_")

    @staticmethod
    def _use(kind: list[str], name: str, prefix: str) -> str:
        if name not in kind:
            kind.append(name)
        return prefix + name

    def quotient(self, atom: FloorDiv | Mod) -> str:
        """Note a division of sizes, which the launcher does: Triton then sees whether the result is a multiple of 16."""
        return self.quotients.setdefault(size_text(Poly.of(atom)), f"d_{len(self.quotients)}")

    @property
    def parameters(self) -> list[str]:
        """Names of the kernel's parameters: prefixed, so that they meet no local name."""
        return [*self._own, *self.quotients.values()]

    @property
    def declared(self) -> list[str]:
        """:attr:`parameters` as the kernel declares them.

        A size that enters addresses or quotients is a constant: the compiler then divides by multiplying. One that only bounds
        an axis, as the number of rows, stays an argument, and another value of it compiles nothing anew.
        """
        inner = "\n".join(line for line in self.lines if _ARITHMETIC.search(line) and not _OUTSIDE.match(line))
        used = {name for name in self.parameters if name[0] in "nd" and re.search(rf"\b{name}\b", inner)}
        return [f"{name}: tl.constexpr" if name in used else name for name in self.parameters]

    @property
    def passed(self) -> list[str]:
        """What the launcher passes for :attr:`parameters`, as Python over the sizes."""
        return [*self._own, *self.quotients]

    @property
    def _own(self) -> list[str]:
        return [p + n for p, names in (("p_", self.buffers), ("n_", self.symbols), ("a_", self.numbers)) for n in names]


@dataclass(frozen=True)
class Group:
    """Axes run through together along one tile dimension: ``index`` counts their points, first axis slowest."""

    axes: tuple[Axis, ...]
    dim: int | None
    """Tile dimension; None: a scalar of the program."""
    index: str
    """Name of the variable that holds the linear index."""
    block: str
    """Name of the block's constexpr; empty for a scalar."""

    @property
    def extent(self) -> Poly:
        return product(a.extent for a in self.axes)

    @property
    def dims(self) -> Dims:
        return NO_DIMS if self.dim is None else frozenset({self.dim})
