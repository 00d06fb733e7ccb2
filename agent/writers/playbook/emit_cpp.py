"""A program as a kernel file in C++: one native function a working dtype, which runs all kernels in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernelwright.agent.writers.playbook import cpp_gemm, cpp_gemm_core
from kernelwright.agent.writers.playbook.convolution import conv_nest
from kernelwright.agent.writers.playbook.cpp_expr import TYPES, Printer, Scope, constant
from kernelwright.agent.writers.playbook.cpp_loops import poly
from kernelwright.agent.writers.playbook.cpp_math import PREAMBLE
from kernelwright.agent.writers.playbook.cpp_nest import FORMS, form
from kernelwright.agent.writers.playbook.graph import Unsupported
from kernelwright.agent.writers.playbook.index import Poly, evaluate
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
from kernelwright.agent.writers.playbook.module import SUFFIX, given, made, render
from kernelwright.agent.writers.playbook.simplify import collapse, rename

_POINTERS = {
    "float32": "float", "float64": "double", "int64": "int64_t", "int32": "int32_t", "int16": "int16_t", "int8": "int8_t",
    "uint8": "uint8_t",
    "bool": "bool",
}  # fmt: skip
_WORK = {"float32": ("float", "float"), "bfloat16": ("bf16", "uint16_t"), "float16": ("f16", "uint16_t")}
"""Working dtype -> (C++ type in kernels, C type in the prototype)."""


def kinds_of(program: Program) -> dict[str, str]:
    """Buffer -> kind of its elements."""
    kinds = {}
    for b in program.buffers:
        floating = b.dtype == "work" or b.dtype.startswith("float")
        kinds[b.name] = "float" if floating else "bool" if b.dtype == "bool" else "int"
    return kinds


class _Emitter:
    def __init__(self, program: Program, point: Mapping[str, Any]) -> None:
        self.program = program
        self.point = point
        self.kinds = kinds_of(program)
        self.buffers = {b.name: b for b in program.buffers}
        self.values = {name: max(values) for name, values in program.hints.items()}

    def hint(self, size: Poly) -> int:
        """A size at the largest traced shape."""
        return evaluate(size, self.values)

    def parameters(self) -> list[str]:
        """Parameters that every kernel takes, as types and names; tensors first."""
        written = {b.name for b in made(self.program)}
        found = []
        for b in [*given(self.program), *made(self.program)]:
            kind = "T" if b.dtype == "work" else _POINTERS[b.dtype]
            const = "" if b.name in written else "const "
            found.append(f"{const}{kind}* RESTRICT {b.name}")
        found += [f"const i64 {s.name}" for s in self.program.sizes]
        return found + [f"const {TYPES[n.kind]} {n.name}" for n in self.program.numbers]

    def kernel(self, kernel: Kernel) -> str:
        """One kernel as a template function."""
        lines = self.body(kernel)
        head = f"template <typename T> static void {kernel.name}({', '.join(self.parameters())}) {{"
        return "\n".join([head, *lines, "}"])

    def body(self, kernel: Kernel) -> list[str]:
        if isinstance(kernel, Conv) and not cpp_gemm.suits(kernel, self.hint):
            kernel = rename(collapse(conv_nest(kernel)))
        if isinstance(kernel, Nest):
            writer = FORMS[form(kernel, self.hint)]
            return writer(kernel, self.buffers, self.point, self.kinds, self.hint).body()
        if isinstance(kernel, Matmul):
            return cpp_gemm.matmul(kernel, self.kinds, self.point)
        if isinstance(kernel, Conv):
            return cpp_gemm.conv(kernel, self.kinds, self.point)
        if isinstance(kernel, (Order, Spectrum)):
            raise Unsupported(f"a kernel of kind {type(kernel).__name__.lower()} has no C++ template")
        return self._scatter(kernel)

    def _scatter(self, kernel: Scatter) -> list[str]:
        """One thread, in order: offsets may coincide."""
        scope = Scope(frozenset(kernel.axes))
        printer = Printer(self.kinds, [scope])
        offset, value, kind = printer.poly(kernel.offset), printer.value(kernel.value), self.kinds[kernel.buffer]
        load, store = {"float": ("ld", "st"), "int": ("li", "si"), "bool": ("lb", "sb")}[kind]
        old = f"{load}({kernel.buffer}, at_)"
        maximum, minimum = ("kmax", "kmin") if kind == "float" else ("imax", "imin")
        new = {
            "set": value, "sum": f"{old} + {value}", "prod": f"{old} * {value}",
            "max": f"{maximum}({old}, {value})", "min": f"{minimum}({old}, {value})",
        }[kernel.op]  # fmt: skip
        loops = [f"for (i64 {a.name} = 0; {a.name} < {poly(a.extent)}; ++{a.name})" for a in kernel.axes]
        kept = [] if kernel.guard is None else [f"if (!({printer.value(kernel.guard)})) continue;"]
        return [*loops, "{", *scope.lines, *kept, f"const i64 at_ = {offset};", f"{store}({kernel.buffer}, at_, {new});", "}"]

    def entry(self, dtype: str) -> str:
        """The exported function of one working dtype."""
        inside, outside = _WORK[dtype]
        parameters, arguments = [], []
        written = {b.name for b in made(self.program)}
        for b in [*given(self.program), *made(self.program)]:
            const = "" if b.name in written else "const "
            parameters.append(f"{const}{outside if b.dtype == 'work' else _POINTERS[b.dtype]}* {b.name}")
            arguments.append(f"({const}{inside}*){b.name}" if b.dtype == "work" else b.name)
        for s in self.program.sizes:
            parameters.append(f"int64_t {s.name}")
            arguments.append(s.name)
        for n in self.program.numbers:
            parameters.append(f"{ {'float': 'float', 'int': 'int64_t', 'bool': 'bool'}[n.kind] } {n.name}")
            arguments.append(n.name)
        calls = "\n".join(f"  {k.name}<{inside}>({', '.join(arguments)});" for k in self.program.kernels)
        return f'extern "C" void forward_{SUFFIX[dtype]}({", ".join(parameters)}) {{\n{calls}\n}}'

    def constants(self) -> str:
        lines = []
        for b in self.program.buffers:
            if b.role == "const":
                kind = self.kinds[b.name]
                data = ", ".join(constant(v, kind) for v in b.data)
                lines.append(f"static const {_POINTERS[_fixed(b)]} {b.name}[] = {{{data}}};")
        return "\n".join(lines)

    def source(self) -> str:
        """The whole C++ text."""
        gemm = any(
            isinstance(k, Matmul) or (isinstance(k, Conv) and cpp_gemm.suits(k, self.hint)) for k in self.program.kernels
        )
        wide = '#pragma GCC target("prefer-vector-width=512")\n' if self.point.get("width", 256) == 512 else ""
        parts = [wide + PREAMBLE, cpp_gemm_core.core(self.point) if gemm else "", self.constants()]
        parts += [self.kernel(k) for k in self.program.kernels]
        parts += [self.entry(d) for d in self.program.dtypes if d in _WORK]
        return "\n".join(p for p in parts if p)

    def launch(self, program: Program) -> list[str]:
        names = [b.name for b in [*given(program), *made(program)]]
        names += [s.name for s in program.sizes] + [n.name for n in program.numbers]
        return [f"_FORWARD[work]({', '.join(names)})"]


def _fixed(b: Buffer) -> str:
    return "float32" if b.dtype == "work" else b.dtype


def emit(program: Program, point: Mapping[str, Any], says: str = "Written by the playbook.") -> str:
    """The kernel file of a program at a point of its space."""
    emitter = _Emitter(program, point)
    dtypes = [d for d in program.dtypes if d in _WORK]
    table = ", ".join(f"torch.{d}: _LIB.forward_{SUFFIX[d]}" for d in dtypes)
    native = f"_LIB = load(cpp=r'''{emitter.source()}''')\n_FORWARD = {{{table}}}"
    imports = "from kernelwright.evaluator.native import OutsideEnvelope, load"
    return render(program, imports, native, emitter.launch if program.kernels else lambda p: [], says)


def space(program: Program) -> dict[str, list[Any]]:
    """What may be chosen for a program, defaults first."""
    emitter = _Emitter(program, {})
    choices: dict[str, list[Any]] = {"width": [256, 512]}
    forms = {form(k, emitter.hint) for k in program.kernels if isinstance(k, Nest)}
    if "flat" in forms:
        choices["block"] = [8192, 2048, 32768, 131072]
    if "column" in forms:
        choices["tile"] = [128, 64, 256, 512, 32]
    if forms & {"row", "single"}:
        choices["streams"] = [4, 2, 8, 1]
        choices["streams_dear"] = [1, 2, 4]
        choices["cache"] = [True, False]
        choices["chunk"] = [4096, 1024, 16384]
    if any(isinstance(k, (Matmul, Conv)) for k in program.kernels):
        choices |= {"mr": [12, 8, 6, 14], "kc": [256, 128, 384, 512], "mc": [8, 4, 16], "ng": [8, 4, 16], "thin": [4, 8, 1]}
    return choices
