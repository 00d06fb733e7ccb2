"""A :class:`~.ir.Program` as one Python file of Triton kernels, for a point of its parameter space."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kernelwright.agent.writers.playbook import triton_attention, triton_dense, triton_packed, triton_spectrum, triton_tiles
from kernelwright.agent.writers.playbook.attention import attentions
from kernelwright.agent.writers.playbook.convolution import conv_nest
from kernelwright.agent.writers.playbook.graph import Unsupported
from kernelwright.agent.writers.playbook.index import product
from kernelwright.agent.writers.playbook.ir import (
    Buffer,
    Conv,
    Kernel,
    Matmul,
    Nest,
    Order,
    Program,
    Scatter,
    Spectrum,
)
from kernelwright.agent.writers.playbook.module import given, render
from kernelwright.agent.writers.playbook.products import as_product
from kernelwright.agent.writers.playbook.specialise import specialised, structural
from kernelwright.agent.writers.playbook.triton_attention import TUNING as ATTENTION_TUNING
from kernelwright.agent.writers.playbook.triton_attention import AttentionWriter
from kernelwright.agent.writers.playbook.triton_code import Code, Group, size_text
from kernelwright.agent.writers.playbook.triton_count import TUNING as COUNT_TUNING
from kernelwright.agent.writers.playbook.triton_count import count_pieces, counts
from kernelwright.agent.writers.playbook.triton_dot import TUNING as DOT_TUNING
from kernelwright.agent.writers.playbook.triton_dot import ProductWriter
from kernelwright.agent.writers.playbook.triton_expr import Scope
from kernelwright.agent.writers.playbook.triton_launch import RUNTIME, Piece, Shape, launch
from kernelwright.agent.writers.playbook.triton_launch import TUNING as NEST_TUNING
from kernelwright.agent.writers.playbook.triton_math import HELPERS, helper_source
from kernelwright.agent.writers.playbook.triton_nest import NestWriter
from kernelwright.agent.writers.playbook.triton_order import OrderWriter
from kernelwright.agent.writers.playbook.triton_order import space as order_space
from kernelwright.agent.writers.playbook.triton_packed import TUNING as PACKED_TUNING
from kernelwright.agent.writers.playbook.triton_packed import packed
from kernelwright.agent.writers.playbook.triton_plan import plan, strided
from kernelwright.agent.writers.playbook.walks import matmul_nest

DTYPES = ("float32", "float16", "bfloat16")
ATOMICS = {"sum": "tl.atomic_add", "max": "tl.atomic_max", "min": "tl.atomic_min"}


def emit_nest(nest: Nest, program: Program, point: Mapping[str, Any]) -> tuple[list[Piece], list[str]]:
    """Kernels of a nest and the lines of ``forward`` that run them."""
    return NestWriter(nest, program, point, plan(nest, program, point), nest.name).pieces()


def emit_product(kernel: Matmul | Conv, program: Program, point: Mapping[str, Any]) -> tuple[list[Piece], list[str]]:
    """Kernels of a matrix product or convolution: tensor cores, or a plain nest where it is too thin for them."""
    item = as_product(kernel, program)
    if item is None:
        return emit_nest(matmul_nest(kernel) if isinstance(kernel, Matmul) else conv_nest(kernel), program, point)
    writer = ProductWriter(item, program, point)
    pieces: list[Piece] = []
    lines: list[str] = []
    if writer.tuned("dense") == "on":  # for large sizes, tried first
        pieces, lines = writer.dense()
        if writer.tuned("precision") == "tf32x3":
            more, further = packed(item, program, point)
            pieces, lines = [*pieces, *more], [*lines, *further]
    more, further = writer.pieces()
    pieces, lines = [*pieces, *more], [*lines, *further]
    split = writer.split()
    if split == 1:
        return pieces, lines
    shares = Buffer("SHARES", (product((split, *(a.extent for a in (*item.scalars, *item.m, *item.n)))),), "float32", "temp")
    summed = _with_buffer(program, shares)
    more, launches = emit_nest(writer.epilogue(split), summed, point)
    return [*pieces, *more], [*lines, *launches]


def _with_buffer(program: Program, buffer: Buffer) -> Program:
    return replace(program, buffers=(*program.buffers, buffer))


def emit_scatter(kernel: Scatter, program: Program, point: Mapping[str, Any]) -> tuple[list[Piece], list[str]]:
    """A scatter: one program a block of points, by atomics where positions may coincide and values combine."""
    if kernel.op not in (*ATOMICS, "set"):
        raise Unsupported(f"a scatter by {kernel.op!r} has no atomic operation in Triton")
    code = Code(program)
    scope = Scope(code)
    group = Group(kernel.axes, 1, "c", "BC")
    count = product(a.extent for a in kernel.axes)
    code.add("c = tl.program_id(0).to(IDX) * BC + tl.arange(0, BC)[None, :]")
    code.add(f"c_in = c < {scope.size(count)}")
    scope.masks[1] = "c_in"
    scope.bind(group)
    if kernel.guard is not None:
        scope.guard = scope.expr(kernel.guard)
    value = scope.expr(kernel.value)
    address = scope.pointer(kernel.buffer, kernel.offset)
    element = f"p_{kernel.buffer}.dtype.element_ty"
    shape = "[1, BC]"
    pointer = f"tl.broadcast_to({address.text}, {shape})"
    what = f"tl.broadcast_to(({value.text}) + tl.zeros([], {COMPUTE[kernel.value.kind]}), {shape}).to({element})"
    mask = f"tl.broadcast_to({scope.mask(frozenset({1})).text}, {shape})"
    code.add(f"{ATOMICS.get(kernel.op, 'tl.store')}({pointer}, {what}, mask={mask})")
    layout = Shape((group,), {"BC": group}, "scatter")
    piece = launch(code, kernel.name, layout, [f"BC = min(p2({size_text(count)}), 512)"], point)
    return [piece], piece.launch


def emit_count(kernel: Scatter, program: Program, point: Mapping[str, Any]) -> tuple[list[Piece], list[str]]:
    """Occurrences: each program counts in registers where bins are few, by atomics straight to memory where they are many."""
    counted, lines, fits = count_pieces(kernel, program, point)
    scattered, more = emit_scatter(replace(kernel, name=f"{kernel.name}_far"), program, point)
    return [*counted, *scattered], [f"if {fits}:", *(f"    {x}" for x in lines), "else:", *(f"    {x}" for x in more)]


def emit_kernel(kernel: Kernel, program: Program, point: Mapping[str, Any]) -> tuple[list[Piece], list[str]]:
    """The ``@triton.jit`` functions of one kernel of the program, and the Python that launches them."""
    if isinstance(kernel, Nest):
        return emit_nest(kernel, program, point)
    if isinstance(kernel, Order):
        return OrderWriter(kernel, program, point).pieces()
    if isinstance(kernel, Spectrum):
        return triton_spectrum.pieces(kernel, program, point)
    if isinstance(kernel, Scatter):
        return emit_count(kernel, program, point) if counts(kernel) else emit_scatter(kernel, program, point)
    return emit_product(kernel, program, point)


def launcher(name: str, lines: list[str]) -> tuple[str, str]:
    """Text of function ``launch_<name>`` and of the call of it in ``forward``."""
    made = {line.split(" = ")[0].strip() for line in lines if line.lstrip().startswith("p_")}
    found = [f for f in dict.fromkeys(re.findall(r"\b([pna])_(\w+)", "\n".join(lines))) if "_".join(f) not in made]
    head = ", ".join(["IDX", "device", *(f"{kind}_{word}" for kind, word in found)])
    body = "\n".join(f"    {line}" for line in lines)
    call = ", ".join(["IDX", "device", *(word for _, word in found)])
    return f"def launch_{name}({head}):\n{body}", f"launch_{name}({call})"


def nameless(piece: Piece) -> str:
    """The kernel's text with its own name and those of its parameters numbered: what equal layers of a network share."""
    head = re.search(rf"def {piece.name}\((.*)\):", piece.source)
    names = [piece.name, *re.findall(r"\b([a-zA-Z_]\w*)(?=,|:|$)", head.group(1).replace(": tl.constexpr", ""))] if head else []
    numbers = {name: f"name{i}" for i, name in enumerate(names)}
    return re.sub(r"[a-zA-Z_]\w*", lambda word: numbers.get(word.group(), word.group()), piece.source)


def functions(program: Program, point: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Module text of every kernel with its launcher, and the lines of ``forward`` that run them in order.

    Where sizes such as strides are read at run time, kernels for their largest trace's values stand beside those for any.
    """
    shared: dict[str, str] = {}
    parts, lines = _kernels(program, point, shared)
    values = structural(program)
    if values:
        special, quick = _kernels(specialised(program, values), point, shared)
        condition = " and ".join(f"{name} == {value}" for name, value in values.items())
        lines = [f"if {condition}:", *_indented(quick), "else:", *_indented(lines)]
        parts = [*special, *parts]
    if any(isinstance(kernel, Spectrum) for kernel in program.kernels):
        parts.insert(0, triton_spectrum.TABLES)
    body = "\n\n\n".join(parts)
    runtime = [RUNTIME]
    large = "dense_ok(" in body or "packed_ok(" in body
    attends = "attention_ok(" in "".join(lines)
    if "tile_for(" in body or large or attends:
        runtime.append(triton_tiles.RUNTIME)
    if large:
        runtime.append(triton_dense.RUNTIME)
    if "packed_ok(" in body:
        runtime.append(triton_packed.RUNTIME)
    if attends:
        runtime.append(triton_attention.RUNTIME)
    own = set(re.findall(r"def (kw_\w+)", triton_dense.RUNTIME + body))
    helpers = helper_source(called(body, own))
    return "\n\n\n".join(filter(None, [*(part.strip() for part in runtime), helpers, body])), lines


def _kernels(program: Program, point: Mapping[str, Any], shared: dict[str, str]) -> tuple[list[str], list[str]]:
    """Texts of the kernels and launchers, and the lines that run them; ``shared``: kernels so far, by their nameless texts."""
    parts, calls, when = _attention_functions(program, point)
    order: list[str] = []
    for kernel in program.kernels:
        pieces, lines = emit_kernel(kernel, program, point)
        for piece in pieces:
            known = shared.setdefault(nameless(piece), piece.name)
            if known == piece.name:
                parts.append(piece.source)
            lines = [re.sub(rf"\b{piece.name}\[", f"{known}[", line) for line in lines]
        source, call = launcher(kernel.name, lines)
        parts.append(source)
        if kernel.name in calls:
            order += [f"if {when[kernel.name]}:", f"    {calls[kernel.name]}"]
        if kernel.name in when:  # another kernel does its work where the condition holds
            order.append(f"if not {when[kernel.name]}:")
        order.append(f"    {call}" if kernel.name in when else call)
    return parts, order


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines] or ["    pass"]


def _attention_functions(program: Program, point: Mapping[str, Any]) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Text of the attentions' kernels and launchers; the call of each by its last kernel's name; by the name of every kernel
    that one replaces, the condition under which it does."""
    parts: list[str] = []
    calls: dict[str, str] = {}
    when: dict[str, str] = {}
    for found in attentions(program) if point.get("attention", "on") == "on" else ():
        pieces, lines, condition = AttentionWriter(found, program, point).pieces()
        source, calls[found.result.name] = launcher(pieces[0].name, lines)
        parts += [*(piece.source for piece in pieces), source]
        when |= dict.fromkeys((*found.replaced, found.result.name), condition)
    return parts, calls, when


def constants(program: Program) -> tuple[list[str], list[str]]:
    """Module text and statements of ``forward`` that put literal data on the device, once a device."""
    parts, lines = [], []
    for buffer in program.buffers:
        if buffer.role == "const":
            data = ", ".join(f'float("{v}")' if isinstance(v, float) and not math.isfinite(v) else repr(v) for v in buffer.data)
            name = f"constant_{buffer.name}"
            made = f"torch.tensor([{data}], dtype=dtype, device=device)"
            parts.append(f"@functools.lru_cache(maxsize=None)\ndef {name}(device, dtype):\n    return {made}")
            lines.append(f"{buffer.name} = {name}(device, {'work' if buffer.dtype == 'work' else f'torch.{buffer.dtype}'})")
    return parts, lines


def at_largest(program: Program) -> Program:
    """``program`` with the sizes of its largest trace as the first hint, by which schedules are chosen: that of a timing shape.

    The order of the traces is the task's, where small shapes for correctness come first.
    """
    count = min((len(values) for values in program.hints.values()), default=0)
    largest = max(range(count), key=lambda i: math.prod(max(v[i], 1) for v in program.hints.values()), default=0)
    return replace(program, hints={name: (values[largest], *values) for name, values in program.hints.items() if values})


def emit(program: Program, point: Mapping[str, Any]) -> str:
    """The kernel file for ``point``: parameter -> value, defaults (of :func:`space`) for what it does not name.

    Raises:
        Unsupported: a kernel that Triton cannot express.
    """
    program = at_largest(program)
    text, calls = functions(program, point)
    parts, lines = constants(program)
    tensors = [b.name for b in program.buffers if b.role != "const"]
    sources = [b.name for b in given(program)]
    sizes = ", ".join(f"{name}.numel()" for name in tensors)
    prelude = [f"device = {f'{sources[0]}.device' if sources else repr('cpu')}", *lines]
    prelude.append(f"IDX = tl.int64 if max(0, {sizes}) >= 2**31 - 2**20 else tl.int32")
    imports = "import functools\n" if parts or "@functools" in text else ""
    imports += "import math\n" if any(isinstance(kernel, Spectrum) for kernel in program.kernels) else ""
    imports += "import triton\nimport triton.language as tl\n"
    imports += f"{triton_dense.IMPORT}\n" if "TensorDescriptor(" in text else ""
    imports += "\nfrom kernelwright.evaluator.native import OutsideEnvelope"
    says = "Triton kernels by the playbook: " + (", ".join(f"{k}={v}" for k, v in sorted(point.items())) or "defaults")
    every = replace(program, dtypes=DTYPES)
    return render(every, imports, "\n\n\n".join([text, *parts]), lambda _: [*prelude, *calls], says)


def called(body: str, known: set[str]) -> set[str]:
    """Helpers that ``body`` calls, with those that they call; ``known`` are there already."""
    names: set[str] = set()
    todo = set(re.findall(r"\bkw_\w+", body)) - known
    while todo:
        names |= todo
        todo = {n for name in todo for n in re.findall(r"\bkw_\w+", HELPERS[name])} - names
    return names


COMPUTE = {"float": "tl.float32", "int": "tl.int64", "bool": "tl.int1"}


def space(program: Program) -> dict[str, list[Any]]:
    """The parameters that matter to ``program``'s kernels -> their values, the default first."""
    found: dict[str, list[Any]] = {}
    program = at_largest(program)
    program = specialised(program, structural(program))
    if attentions(program):
        found.update(ATTENTION_TUNING)
    for kernel in program.kernels:
        if isinstance(kernel, Spectrum):
            found.update(triton_spectrum.TUNING)
        if isinstance(kernel, Order):
            found.update(order_space(kernel, program))
        if isinstance(kernel, Scatter) and counts(kernel):
            found.update(COUNT_TUNING)
        nest = kernel if isinstance(kernel, Nest) else None
        if isinstance(kernel, (Matmul, Conv)):
            if as_product(kernel, program) is not None:
                found.update(DOT_TUNING | PACKED_TUNING)
                continue
            nest = matmul_nest(kernel) if isinstance(kernel, Matmul) else conv_nest(kernel)
        if nest is None:
            continue
        names = nest_parameters(nest, program)
        found.update({name: NEST_TUNING[name] for name in names})
    return found


def nest_parameters(nest: Nest, program: Program) -> list[str]:
    """Names of the parameters that matter to ``nest``."""
    chosen = plan(nest, program, {"outer_tile": "rows"})
    names = ["window_tile"] if chosen.loops else ["map_tile", "lane_elements"]
    names += ["outer_tile"] if any(g.block == "BR" for g in chosen.outer) and not chosen.square and strided(nest) else []
    if any(p.vector for p in chosen.loops.values()):
        names = ["schedule", "row_tile", "lane_elements", "loop_tile", "stages", "online_unroll", "split_programs"]
        names += ["column_block"] if any(g.dim == 1 for g in chosen.outer) else []
    if any(loop.span is not None for loop in nest.phases):
        names = ["span_tile", "lane_elements", "stages"]
        names += ["column_block"] if any(g.dim == 1 for g in chosen.outer) else []
    return names
