"""Entries: for each launch of a host function a kernel of ours that calls the user's, typed by what the host passes.

The device compiler then decides as C++ would: it deduces template arguments, converts arguments, and refuses those that do
not fit, at the launch's own line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernelwright.evaluator.inline.kinds import Type
from kernelwright.evaluator.inline.parts import HostFunction, Kernel, Parts
from kernelwright.evaluator.inline.tokens import Token, missing
from kernelwright.evaluator.prototypes import CType, Parameter, Prototype
from kernelwright.evaluator.toolchain import BuildError

_REDUCED = {"float16": "c10::Half", "bfloat16": "c10::BFloat16"}
HALVES = """
#include <cuda_fp16.h>
#include <cuda_bf16.h>
namespace c10 {
#define KW_REDUCED(NAME, RAW, TO, FROM, IMPLICIT) \\
struct alignas(2) NAME { \\
  unsigned short x; \\
  NAME() = default; \\
  __device__ __forceinline__ NAME(float value) { RAW r = FROM(value); x = *reinterpret_cast<unsigned short*>(&r); } \\
  __device__ __forceinline__ NAME(RAW r) { x = *reinterpret_cast<unsigned short*>(&r); } \\
  __device__ __forceinline__ operator float() const { return TO(*reinterpret_cast<const RAW*>(&x)); } \\
  __device__ __forceinline__ IMPLICIT operator RAW() const { return *reinterpret_cast<const RAW*>(&x); } \\
}; \\
KW_OP(NAME, +) KW_OP(NAME, -) KW_OP(NAME, *) KW_OP(NAME, /) \\
__device__ __forceinline__ NAME operator-(const NAME& a) { return NAME(-static_cast<float>(a)); }
#define KW_OP(NAME, SIGN) \\
__device__ __forceinline__ NAME operator SIGN(const NAME& a, const NAME& b) \\
{ return NAME(static_cast<float>(a) SIGN static_cast<float>(b)); } \\
__device__ __forceinline__ NAME& operator SIGN##=(NAME& a, const NAME& b) { a = a SIGN b; return a; } \\
__device__ __forceinline__ float operator SIGN(const NAME& a, float b) { return static_cast<float>(a) SIGN b; } \\
__device__ __forceinline__ float operator SIGN(float a, const NAME& b) { return a SIGN static_cast<float>(b); } \\
__device__ __forceinline__ double operator SIGN(const NAME& a, double b) { return static_cast<float>(a) SIGN b; } \\
__device__ __forceinline__ double operator SIGN(double a, const NAME& b) { return a SIGN static_cast<float>(b); } \\
__device__ __forceinline__ NAME operator SIGN(const NAME& a, int b) { return a SIGN NAME(static_cast<float>(b)); } \\
__device__ __forceinline__ NAME operator SIGN(int a, const NAME& b) { return NAME(static_cast<float>(a)) SIGN b; }
KW_REDUCED(Half, __half, __half2float, __float2half_rn, )
KW_REDUCED(BFloat16, __nv_bfloat16, __bfloat162float, __float2bfloat16_rn, explicit)
}
namespace at { using c10::Half; using c10::BFloat16; }
namespace torch { using c10::Half; using c10::BFloat16; }
"""
"""torch's reduced floats for device code, where it or a dispatch names them: arithmetic in float, rounded to nearest even."""
_AS_TORCH = tuple(
    f"#define __CUDA_NO_{what}__\n"
    for what in ("HALF_OPERATORS", "HALF_CONVERSIONS", "HALF2_OPERATORS", "BFLOAT16_CONVERSIONS")
)
"""What torch's extensions are compiled with: reduced floats of CUDA's own have no operators there."""


@dataclass(frozen=True)
class Argument:
    """What the host passes for a parameter: Python, and its type."""

    python: str
    type: Type


class Launches:
    """Collects the entries of a source."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._cells = {file: list(cells) for file, cells in parts.device.items()}
        self._lines = {file: _line_starts(text) for file, text in parts.texts.items()}
        self._known: dict[tuple[str, str], str] = {}
        self._halves = False
        self.prototypes: dict[str, Prototype] = {}

    def add(
        self,
        kernel: Kernel,
        template: tuple[str, str],
        arguments: Sequence[Argument],
        function: HostFunction,
        line: int,
    ) -> tuple[str, list[str]]:
        """Name of the entry of one launch, and the Python of what is passed to it.

        ``template``: declarations that its template arguments need, and how it is called.

        Raises:
            BuildError: another number of arguments than parameters. NotModelled: an argument that cannot be passed.
        """
        if len(arguments) > len(kernel.parameters):
            raise BuildError(
                f"line {line}: {kernel.name} takes {len(kernel.parameters)} arguments, the launch gives {len(arguments)}"
            )
        passed: list[tuple[str, CType, str]] = []
        call: list[str] = []
        for argument, declared in zip(arguments, kernel.parameters, strict=False):
            if argument.type.kind == "null":
                call.append("nullptr")
                continue
            name = f"kw{len(passed)}"
            spelled, kind, use = _passed(argument.type, declared, name, line)
            passed.append((spelled, kind, argument.python))
            call.append(use)
        prefix, given = template
        body = f"{{ {prefix}{given}({', '.join(call)}); }}"
        signature = ", ".join(f"{spelled} kw{i}" for i, (spelled, _, _) in enumerate(passed))
        name = self._entry(kernel, f"({signature}) {body}", function, line)
        if name not in self.prototypes:
            parameters = tuple(Parameter(f"argument {i + 1}", kind) for i, (_, kind, _) in enumerate(passed))
            self.prototypes[name] = Prototype(name, CType("void"), parameters)
        return name, [python for _, _, python in passed]

    def _entry(self, kernel: Kernel, rest: str, function: HostFunction, line: int) -> str:
        if function.nameless > 1:
            raise missing(line, kernel.name, "a launch inside a namespace without a name that is not the innermost")
        known = self._known.get((kernel.name, rest))
        if known is not None:
            return known
        name = f"{kernel.name}__{sum(key[0] == kernel.name for key in self._known)}"
        self._known[kernel.name, rest] = name
        self._halves = self._halves or any(spelled in rest for spelled in _REDUCED.values())
        text = f'extern "C" __global__ {kernel.bounds} void {name}{rest} '
        if function.nameless:
            text = f"}} {text} namespace {{ "
        starts = self._lines[function.file]
        place = max(function.start, starts[line - 1] if 0 < line <= len(starts) else 0)
        cells = self._cells[function.file]
        cells[place] = text + cells[place]
        return name

    def source(self, defines: Sequence[tuple[str, str]]) -> str:
        """The device code with its entries, after the macros that the compiler's flags define."""
        text = "".join(cell for cells in self._cells.values() for cell in cells)
        said = [*_AS_TORCH, *(f"#define {name} {value}\n" for name, value in defines)]
        if self._halves or any(word in text for word in ("at::Half", "c10::Half", "BFloat16", "torch::Half")):
            said.append(HALVES)
        return "".join(said) + '#line 1 "kernel.cu"\n' + text


def _line_starts(text: str) -> list[int]:
    starts = [0]
    for i, character in enumerate(text):
        if character == "\n":
            starts.append(i + 1)
    return starts


def _passed(kind: Type, declared: Sequence[Token], name: str, line: int) -> tuple[str, CType, str]:
    """How an entry declares an argument, as what it is bound, and what it hands on."""
    texts = {token.text for token in declared}
    if kind.kind == "pointer":
        constant = "const " if "const" in texts and not kind.of.startswith("const ") else ""
        restrict = " __restrict__" if texts & {"__restrict__", "__restrict", "restrict"} else ""
        return f"{constant}{kind.of}*{restrict}", CType("void", pointer=True), name
    if kind.kind in _REDUCED:
        return "float", CType("float32"), f"static_cast<{_REDUCED[kind.kind]}>({name})"
    if kind.kind in ("bool", "float32", "float64") or kind.kind.lstrip("u").startswith("int"):
        return str(kind), CType(kind.kind), name
    raise missing(line, str(kind), "as an argument of a kernel")
