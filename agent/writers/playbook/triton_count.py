"""A :class:`~.ir.Scatter` that counts, as a Triton kernel: a histogram in registers a program, added to memory at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernelwright.agent.writers.playbook.expr import Const
from kernelwright.agent.writers.playbook.index import Poly, Value, product
from kernelwright.agent.writers.playbook.ir import Program, Scatter
from kernelwright.agent.writers.playbook.triton_code import Code, Group
from kernelwright.agent.writers.playbook.triton_code import size_text as text
from kernelwright.agent.writers.playbook.triton_expr import Scope
from kernelwright.agent.writers.playbook.triton_launch import Piece

TUNING: dict[str, list[Any]] = {
    "count_block": [2048, 4096, 1024, 8192],
    "count_programs": [1056, 528, 2112],
    "count_warps": [4, 8, 2],
}
"""Parameter of a count -> its values, the default first: elements a step, programs, warps of one."""
BINS = 4096
"""Most bins that a program holds."""


def counts(kernel: Scatter) -> bool:
    """Whether each point adds one to a bin that data names."""
    one = isinstance(kernel.value, Const) and kernel.value.kind == "int" and kernel.value.value == 1
    return kernel.op == "sum" and one and _bin(kernel.offset) is not None and bool(kernel.axes)


def _bin(offset: Poly) -> Value | None:
    """The loaded position that ``offset`` is, if it is nothing more."""
    if len(offset.terms) != 1 or offset.terms[0][1] != 1 or len(offset.terms[0][0]) != 1:
        return None
    atom = offset.terms[0][0][0]
    return atom if isinstance(atom, Value) else None


def count_pieces(kernel: Scatter, program: Program, point: Mapping[str, Any]) -> tuple[list[Piece], list[str], str]:
    """The kernel, the lines of ``forward`` that run it, and the Python condition under which it may."""
    block, programs, warps = (int(point.get(name, values[0])) for name, values in TUNING.items())
    code = Code(program)
    scope = Scope(code)
    count, bins = product(a.extent for a in kernel.axes), product(program.buffer(kernel.buffer).shape)
    target = code.buffer(kernel.buffer)
    size, length = scope.size(bins), scope.size(count)
    code.add("found = tl.zeros([BINS], tl.int32)")
    code.add(f"for t in tl.range(tl.program_id(0), tl.cdiv({length}, BC), tl.num_programs(0), num_stages=STAGES):")
    code.depth += 1
    inside = scope.child()
    group = Group(kernel.axes, 1, "c", "BC")
    code.add("c = (t + tl.zeros([], tl.int32)).to(IDX) * BC + tl.arange(0, BC)[None, :]")
    code.add(f"c_in = c < {length}")
    inside.masks[1] = "c_in"
    inside.bind(group)
    place = _bin(kernel.offset)
    assert place is not None
    at = inside.let(f"tl.reshape(({inside.expr(place.expr).text}).to(tl.int32), [BC])")
    kept = f"(tl.reshape(c_in, [BC])) & ({at} >= 0) & ({at} < {size})"
    code.add(f"found += tl.histogram({at}, BINS, mask={kept})")
    code.depth -= 1
    code.add("bin = tl.arange(0, BINS)")
    code.add(f"some = (bin < {size}) & (found > 0)")
    code.add(f'tl.atomic_add({target} + bin, found.to({target}.dtype.element_ty), mask=some, sem="relaxed")')
    head = ", ".join([*code.declared, *(f"{o}: tl.constexpr" for o in ("BINS", "BC", "STAGES", "IDX"))])
    source = "\n".join([f"@triton.jit\ndef {kernel.name}({head}):", *code.lines])
    options = f"BINS=max(p2({text(bins)}), 2), BC={block}, STAGES=2, IDX=IDX, num_warps={warps}"
    grid = f"(min({programs}, -(-({text(count)}) // {block})),)"
    launch = f"{kernel.name}[{grid}]({', '.join(code.passed)}, {options})"
    return [Piece(kernel.name, source)], [launch], f"{text(bins)} <= {BINS}"
