"""The types of host functions, and how values are converted from one to another in the Python that they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kernelwright.evaluator.inline.tokens import Token, missing, split


@dataclass(frozen=True)
class Type:
    """One type. ``of``: what a pointer points to as C++ spells it, or the kind that a list holds."""

    kind: str
    of: str = ""

    def __str__(self) -> str:
        return (
            CXX.get(self.kind)
            or _SHOWN.get(self.kind)
            or (f"{self.of}*" if self.kind == "pointer" else f"{self.kind} {self.of}".strip())
        )


CXX = {
    "bool": "bool",
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned int",
    "int64": "int64_t",
    "uint64": "uint64_t",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
    "float32": "float",
    "float64": "double",
}
"""Kinds of numbers and how C++ spells them: ``int64_t``, which is not the same type for every compiler."""
_SHOWN = {"tensor": "torch::Tensor", "optional": "optional<torch::Tensor>", "text": "std::string"}
BITS = {kind: int(kind.lstrip("uint")) for kind in CXX if kind.lstrip("u").startswith("int")} | {"bool": 1}
FLOATS = ("float16", "bfloat16", "float32", "float64")
_NAMES = {
    "bool": "bool",
    "int8": "int8_t,signed char,char",
    "uint8": "uint8_t,unsigned char",
    "int16": "int16_t,short,short int",
    "uint16": "uint16_t,unsigned short,unsigned short int",
    "int32": "int32_t,int,signed,signed int",
    "uint32": "uint32_t,unsigned,unsigned int,uint",
    "int64": "int64_t,long,long int,long long,long long int,ptrdiff_t,ssize_t,intptr_t",
    "uint64": "uint64_t,unsigned long,unsigned long int,unsigned long long,unsigned long long int,size_t,uintptr_t,std::size_t",
    "float16": "c10::Half,at::Half,torch::Half",
    "bfloat16": "c10::BFloat16,at::BFloat16,torch::BFloat16",
    "float32": "float",
    "float64": "double",
    "tensor": "torch::Tensor,at::Tensor,Tensor",
    "dim3": "dim3",
    "stream": "cudaStream_t,at::cuda::CUDAStream,c10::cuda::CUDAStream,CUstream",
    "dtype": "at::ScalarType,torch::ScalarType,c10::ScalarType,torch::Dtype,caffe2::TypeMeta",
    "options": "torch::TensorOptions,at::TensorOptions,c10::TensorOptions",
    "device": "torch::Device,at::Device,c10::Device",
    "error": "cudaError_t,cudaError",
    "text": "std::string,std::string_view,c10::string_view",
    "guard": "at::cuda::CUDAGuard,c10::cuda::CUDAGuard,at::cuda::OptionalCUDAGuard,c10::cuda::OptionalCUDAGuard",
    "void": "void",
    "auto": "auto",
}
_BY_NAME = {name: kind for kind, names in _NAMES.items() for name in names.split(",")}
_DROPPED_NAMES = """
    const constexpr static inline volatile typename & && __restrict__ struct register
    __host__ __device__ __forceinline__ __inline__
"""
_DROPPED = frozenset(_DROPPED_NAMES.split())
_LISTS = frozenset({"std::vector", "vector", "std::array", "at::ArrayRef", "c10::ArrayRef", "torch::ArrayRef"})
_SIZES = frozenset({"torch::IntArrayRef", "at::IntArrayRef", "c10::IntArrayRef", "at::IntList", "torch::IntList"})
_OPTIONAL = frozenset({"std::optional", "c10::optional", "at::optional", "torch::optional"})
TENSOR, INT, LONG, BOOL, DOUBLE, FLOAT = map(Type, ("tensor", "int32", "int64", "bool", "float64", "float32"))
VOID, NULL, TEXT, UNSIGNED, SIZE = map(Type, ("void", "null", "text", "uint32", "uint64"))
SIZES = Type("list", "int64")
DIM3, DTYPE, OPTIONS, DEVICE, STREAM, ERROR = map(Type, ("dim3", "dtype", "options", "device", "stream", "error"))

Alias = Callable[[str], "Type | None"]


def is_int(kind: Type) -> bool:
    return kind.kind in BITS


def is_number(kind: Type) -> bool:
    return kind.kind in CXX


def spelled(given: Sequence[Token], alias: Alias) -> Type:
    """The type that tokens spell; ``alias`` knows the source's own names.

    Raises:
        NotModelled: another one, with its name.
    """
    constant = any(token.text == "const" for token in given)
    kept = [token for token in given if token.text not in _DROPPED]
    stars = sum(token.text == "*" for token in kept)
    kept = [token for token in kept if token.text != "*"]
    base = _base(kept, alias)
    if base is not None and stars == 0:
        return base
    if base is not None and stars == 1 and base.kind == "int8" and "char" in {t.text for t in kept}:
        return TEXT
    if stars == 1 and (base is None or base.kind in CXX or base.kind == "void"):
        name = str(base) if base is not None else " ".join(token.text for token in kept)
        if base is not None or len(kept) == 1 or (len(kept) == 3 and kept[1].text == "::"):
            return Type("pointer", f"const {name}" if constant else name)
    line = given[0].line if given else 0
    raise missing(line, " ".join(token.text for token in given), "a type of host code")


def _base(kept: Sequence[Token], alias: Alias) -> Type | None:
    if not kept:
        return None
    texts = [token.text for token in kept]
    if len(texts) > 1 and texts[-1] == "const":
        texts.pop()
    cut = texts.index("<") if "<" in texts else len(texts)
    name = "".join(texts[:cut]) if "::" in texts[:cut] else " ".join(texts[:cut])
    if cut < len(texts):
        return _templated(name, kept[cut + 1 : -1], alias)
    if name in _SIZES:
        return SIZES
    if (kind := _BY_NAME.get(name) or _BY_NAME.get(name.removeprefix("std::"))) is not None:
        return Type(kind)
    return alias(name)


def _templated(name: str, inner: Sequence[Token], alias: Alias) -> Type | None:
    arguments = [spelled(part, alias) for part in split(inner, types=True)] if name != "std::array" else []
    if name in _LISTS and len(arguments) == 1 and arguments[0].kind in (*CXX, "tensor"):
        return Type("list", arguments[0].kind)
    if name in _OPTIONAL and arguments == [TENSOR]:
        return Type("optional")
    if name == "std::tuple" and arguments and all(a.kind == "tensor" for a in arguments):
        return Type("tuple", str(len(arguments)))
    return None


def common(left: Type, right: Type) -> Type:
    """The type of an operation on two numbers, by C++'s usual conversions."""
    for kind in ("float64", "float32"):
        if kind in (left.kind, right.kind):
            return Type(kind)
    if left.kind in FLOATS or right.kind in FLOATS:
        reduced = {k.kind for k in (left, right) if k.kind in FLOATS}
        return Type(reduced.pop()) if len(reduced) == 1 else FLOAT
    left, right = promoted(left), promoted(right)
    if BITS[left.kind] == BITS[right.kind]:
        return left if left.kind.startswith("u") else right
    return left if BITS[left.kind] > BITS[right.kind] else right


def promoted(kind: Type) -> Type:
    """What a small integer becomes in an expression."""
    return INT if is_int(kind) and BITS[kind.kind] < 32 else kind


def convert(code: str, have: Type, want: Type) -> str | None:
    """Python for a value of one type as another; None where C++ has no such conversion, or it is not modelled."""
    if have == want or want.kind == "auto":
        return code
    if is_number(have) and is_number(want):
        return _number(code, have.kind, want.kind)
    if want.kind == "bool" and have.kind in ("pointer", "error", "optional"):
        return f"({code} is not None)" if have.kind != "error" else f"({code} != 0)"
    if have.kind == "null" and want.kind in ("pointer", "stream", "optional", "tensor"):
        return code
    if want.kind == "dim3" and is_int(have):
        wide = convert(code, have, UNSIGNED)
        return f"({wide}, 1, 1)"
    if want.kind == "stream" and have == INT and code == "0":
        return "None"
    if want.kind == "optional" and have.kind == "tensor":
        return code
    return _compound(code, have, want)


def _compound(code: str, have: Type, want: Type) -> str | None:
    if have.kind == want.kind == "pointer":
        same = want.of.removeprefix("const ") in (have.of.removeprefix("const "), "void")
        adds = want.of.startswith("const ") or not have.of.startswith("const ")
        return code if same and adds else None
    if have.kind == want.kind == "list" and {have.of, want.of} <= {"int32", "int64"}:
        return code
    if have.kind == "tensortype" and want == DTYPE:
        return f"{code}.dtype"
    if want == SIZES and is_int(have):
        return f"[{code}]"
    if want.kind == "options" and have.kind in ("dtype", "device"):
        return f"_k.Options({have.kind}={code})"
    return None


def _number(code: str, have: str, want: str) -> str:
    if want == "bool":
        return f"bool({code})"
    if have == "bool":
        return f"int({code})" if want in BITS else f"float({code})"
    if want in BITS:
        if have in FLOATS:
            return f"_k.truncated({code}, {BITS[want]}, {want.startswith('u')})"
        return code if _holds(want, have) else f"_k.wrapped({code}, {BITS[want]}, {want.startswith('u')})"
    if want == "float64":
        return f"float({code})" if have in BITS else code
    if have in FLOATS and FLOATS.index(have) <= FLOATS.index(want) and {have, want} != {"float16", "bfloat16"}:
        return code
    return f"_k.{want}({code})"


def _holds(want: str, have: str) -> bool:
    """Whether every value of one kind of integer is one of another."""
    if want.startswith("u"):
        return have.startswith("u") and BITS[want] >= BITS[have]
    return BITS[want] > BITS[have] if have.startswith("u") else BITS[want] >= BITS[have]
