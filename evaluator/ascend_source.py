"""What an Ascend C source says: its kernels, what no AI core runs, and what the simulator does not model. Executes nothing.

The simulator is host C++, so whatever a host can do would compile: a source is held to what the vendor's compiler takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from kernelwright.evaluator.prototypes import CType, Prototype, code_tokens, defined_names, kernel_prototypes
from kernelwright.evaluator.toolchain import BuildError

NOT_MODELLED = "not modelled by the simulator"
"""Stands in every message about a thing that the language has and the simulator lacks, in the header's too."""
_HEADER = re.compile(r'[ \t]*#[ \t]*include[ \t]*[<"]kernel_operator\.h[>"][ \t]*')
_SPELLED = "#define GM_ADDR void*\n#define __gm__ \n#define __aicore__ \n#line 1\n"
"""What a reader of prototypes must know of the header."""
_TRAITS = ("is_same", "is_same_v", "conditional", "conditional_t", "enable_if", "enable_if_t", "is_integral_v")
_UNDERSCORED = ("__aicore__", "__global__", "__gm__", "__inline__", "__restrict__", "__restrict", "__forceinline__")
_AFTER_STATIC = ("constexpr", "const", "inline", "__aicore__", "__inline__", "__forceinline__")
_TYPE_NAMES = """
    auto bool char short int long unsigned signed float double void half bfloat16_t int8_t uint8_t int16_t uint16_t
    int32_t uint32_t int64_t uint64_t size_t GlobalTensor LocalTensor const
"""
_TYPES = frozenset(_TYPE_NAMES.split())
_HOST_NAMES = "asm new delete malloc calloc realloc free try catch throw thread_local typeid dynamic_cast goto decltype"
_HOST = frozenset(_HOST_NAMES.split())
_LIBC_NAMES = """
    exp expf exp2 exp2f expm1 expm1f log logf log2 log2f log10 log1p log1pf sqrt sqrtf cbrt pow powf sin sinf cos cosf tan
    tanf tanh tanhf sinh cosh erf erff erfc lgamma tgamma fabs fabsf floor floorf ceil ceilf round roundf rint rintf
    nearbyint trunc truncf fma fmaf fmax fmaxf fmin fminf fmod fmodf lrint hypot memcpy memmove memset memcmp printf
    fprintf snprintf puts abs fabsl acos acosf asin asinf atan atanf atan2 atan2f acosh asinh atanh sinhf coshf ldexp
    ldexpf frexp modf scalbn ilogb logb nextafter remainder remquo fdim copysign exp10 exp10f pow10 sincos sincosf j0 j1
    jn y0 y1 yn gamma lrintf lround llround llrint strlen strcpy strcmp memchr qsort bsearch vsnprintf sprintf sscanf
    scanf atoi atof strtod strtol rand srand div ldiv
"""
_LIBC = frozenset(_LIBC_NAMES.split())
"""Host functions: the scalar unit has no libm."""
_UNMODELLED_NAMES = """
    SoftMax SimpleSoftMax SoftmaxFlash SoftmaxFlashV2 SoftmaxFlashV3 SoftmaxGrad SoftmaxGradFront LogSoftMax
    AdjustSoftMaxRes LayerNorm LayerNormGrad LayerNormGradBeta BatchNorm DeepNorm GroupNorm RmsNorm Normalize
    WelfordUpdate WelfordFinalize Gelu FasterGelu FasterGeluV2 Swish SwiGLU GeGLU ReGlu Power Xor Lgamma Digamma Fmod
    Hypot ClampMax ClampMin Mean Sum CumSum ReduceProd ReduceAll ReduceAny ReduceMean ReduceXOR ReduceXorSum TopK Sort
    Sort32 MrgSort MrgSort4 Concat Extract RpSort16 GetSortLen GetSortOffset ProposalConcat ProposalExtract GatherMask
    Gatherb Scatter Transpose TransDataTo5HD ConfusionTranspose Broadcast BroadCast Pad UnPad Copy Fill Mmad LoadData
    LoadDataWithTranspose LoadDataWithSparse Fixpipe Conv2D Conv3D Gemm Matmul MatmulImpl MatmulType REGIST_MATMUL_OBJ
    TCubeTiling BatchMatmul InitConstValue SetFixPipeConfig BroadCastVecToMM DropOut Quantize AscendQuant AscendDequant
    AscendAntiQuant SelectWithBytesMask SyncAll IBSet IBWait CrossCoreSetFlag CrossCoreWaitFlag WaitPreBlock
    NotifyNextBlock GetSubBlockIdx GetSubBlockNum GetTaskRation GetSysWorkSpacePtr SetSysWorkSpace GetUserWorkspace
    GET_TILING_DATA GET_TILING_DATA_WITH_STRUCT TILING_KEY_IS KERNEL_TASK_TYPE DataCacheCleanAndInvalid DataCachePreload
    ICachePreLoad PRINTF DumpTensor DumpAccChkPoint ASSERT SetVectorMask ResetMask SetMaskNorm SetMaskCount SetAtomicMax
    SetAtomicMin SetAtomicType SetCmpMask GetCmpMask SetPadValue PairReduceSum RepeatReduceSum GetReduceMaxMinCount
    GetReduceRepeatSumSpr AddRelu AddReluCast SubRelu SubReluCast FusedMulAdd FusedMulAddRelu MulCast CastDeq AddDeqRelu
    SetDeqScale Trap ListTensorDesc TensorDesc Hccl InitGlobalMemory InitOutput PopStackBuffer TQueSync TBufPool
    LocalMemAllocator MicroAPI BilinearInterpolation VectorPadding __ubuf__ __cbuf__ __ca__ __cb__ __cc__ pipe_barrier
    set_flag wait_flag copy_gm_to_ubuf copy_ubuf_to_gm
"""
UNMODELLED = frozenset(_UNMODELLED_NAMES.split())
"""Names of the vendor's library that are known and not modelled: a kernel that needs one is `unsupported`."""


class NotModelled(BuildError):
    """A source that may be right, and uses something that the simulator does not model."""


def kernels(source: str) -> dict[str, Prototype]:
    """The ``extern "C" __global__ __aicore__`` kernels that a source defines, by name, in order.

    Raises:
        NotModelled: it uses what the simulator lacks, by name.
        BuildError: it has no kernel, or says what no AI core runs.
    """
    _check(source)
    found = kernel_prototypes(_SPELLED + source)
    for name, prototype in found.items():
        for parameter in prototype.parameters:
            if parameter.type.pointer and parameter.type.kind not in ("void", "uint8"):
                raise BuildError(f"{name}: parameter {parameter.name!r} is a {parameter.type}; tensors are passed as GM_ADDR")
        if prototype.result.kind != "void":
            raise BuildError(f"{name} returns {prototype.result}; a kernel returns void")
    return found


_POINTER = re.compile(r"(?:\bconst\s+)?\b__gm__\s+(?:const\s+)?([\w:]+(?:\s*<[\w\s:,]*>)?)\s*(?:\bconst\s*)?\*")
_GLOBAL = re.compile(r"\breinterpret_cast(\s*<\s*kwsim::Gm\b)")


def complete(source: str, functions: Mapping[str, Prototype]) -> str:
    """The source as it is compiled: without its include, with an entry for each kernel behind it, and with the model's own
    type for pointers to global memory, so that a kernel has no pointer of the host.

    Raises:
        BuildError: a use of ``__gm__`` that is no pointer to global memory.
    """
    text = _GLOBAL.sub(r"static_cast\1", _POINTER.sub(r"kwsim::Gm<\1>", source))
    body = "\n".join("" if _HEADER.fullmatch(line) else line for line in text.split("\n"))
    for line, kind, word in code_tokens(body):
        if kind == "word" and word == "__gm__":
            raise BuildError(f"Ascend C line {line}: of __gm__ there are pointers, written `__gm__ T*`")
    return "\n".join([body, "", *map(_entry, functions.values()), ""])


def _entry(prototype: Prototype) -> str:
    typed = [f"{_spelling(p.type)} a{i}" for i, p in enumerate(prototype.parameters)]
    given = ", ".join(f"kwsim::Gm<uint8_t>(a{i})" if p.type.pointer else f"a{i}" for i, p in enumerate(prototype.parameters))
    parameters = ", ".join(["const kwsim::Launch* launch", *typed])
    return (
        f'extern "C" int kwsim_run_{prototype.name}({parameters}) '
        f"{{ return kwsim::run(*launch, [&] {{ {prototype.name}({given}); }}); }}"
    )


LAUNCHER = "kw_launch_"
"""Begins the name of a kernel's host function."""


def launched(source: str, functions: Mapping[str, Prototype]) -> str:
    """The source with a host function behind it for each kernel: it takes blocks, a stream and the kernel's arguments, and
    launches it, as the vendor's samples of kernel launches do (`add_custom_do`). For the vendor's compiler alone.
    """
    return "\n".join([source, "", *map(_launcher, functions.values()), ""])


def _launcher(prototype: Prototype) -> str:
    kinds = ["uint8_t*" if p.type.pointer else _spelling(p.type) for p in prototype.parameters]
    typed = "".join(f", {kind} a{i}" for i, kind in enumerate(kinds))
    given = ", ".join(f"a{i}" for i in range(len(kinds)))
    head = f'extern "C" void {LAUNCHER}{prototype.name}(uint32_t blocks, void* stream{typed})'
    return f"{head} {{ {prototype.name}<<<blocks, nullptr, stream>>>({given}); }}"


def _spelling(kind: CType) -> str:
    if kind.pointer:
        return "uint64_t"
    return {"float32": "float", "float64": "double", "bool": "bool"}.get(kind.kind, f"{kind.kind}_t")


def _check(source: str) -> None:
    tokens = list(code_tokens(source.replace("\\\n", "")))  # as the preprocessor reads it: words go on behind a backslash
    words = [text for _, _, text in tokens]
    ours = defined_names(words)
    pairs = list(zip(words, words[1:], strict=False))
    pipes = {name for word, name in pairs if word == "TPipe"}
    types = _TYPES | {name for word, name in pairs if word in ("class", "struct", "union", "typename", "using")}
    for position, (line, kind, text) in enumerate(tokens):
        where = f"Ascend C line {line}"
        if kind in ("string", "raw", "char") and text not in ('"C"', '"kernel_operator.h"'):
            raise BuildError(f"{where}: the literal {text[:40]}: device code has no strings")
        if text == "#" or (text, _at(words, position + 1)) == ("%", ":"):
            _directive(words, position, where)
        if text in ("*", "&") and (what := _host_pointer(words, position, types, pipes)):
            raise BuildError(f"{where}: {what}: a kernel has pointers to global memory (`__gm__ T*`) and to its TPipe alone")
        if kind == "word":
            for missing, why in _problems(words, position, ours):
                raise (NotModelled if missing else BuildError)(f"{where}: {why}")


def _directive(words: Sequence[str], position: int, where: str) -> None:
    """Of what a ``#`` begins there are few; pasting and quoting in macros begins with one too.

    Raises:
        BuildError: it is another.
    """
    found = words[position + 1 : position + 3]
    header = "".join(words[position + 2 : position + 7]).startswith(('"kernel_operator.h"', "<kernel_operator.h>"))
    known = found[:1] in (["define"], ["undef"]) or found in (["pragma", "once"], ["pragma", "unroll"])
    if words[position] == "#" and (known or (found[:1] == ["include"] and header)):
        return
    raise BuildError(
        f"{where}: `{words[position]}{' '.join(found)}`: of directives there are #include of kernel_operator.h, #define, "
        "#undef and #pragma unroll (a kernel is the same here and on the device, so none compiles a part of it)"
    )


def _problems(words: Sequence[str], position: int, ours: set[str]) -> Iterator[tuple[bool, str]]:
    """Why the word at ``position`` may not stand there; true with it where the language has it and the simulator lacks it."""
    text, after, third = words[position], _at(words, position + 1), _at(words, position + 2)
    before = _at(words, position - 1)
    foreign = before == "::" or (text not in ours and before not in (".", "->"))
    if text in UNMODELLED and foreign:
        yield True, f"{text} is {NOT_MODELLED}"
    if text in _LIBC and after == "(" and foreign:
        yield True, f"{text}() of libc or libm as a scalar function is {NOT_MODELLED}"
    if text == "std" and not (after == "::" and third in _TRAITS):
        yield False, f"std::{third} is the host's library; an AI core has type traits at most"
    if text == "static" and after not in _AFTER_STATIC:
        yield False, "a static variable: nothing on an AI core outlives a launch; use const or constexpr"
    if text == "reinterpret_cast" and third != "__gm__":
        yield False, "reinterpret_cast of host pointers; LocalTensor has ReinterpretCast<T>()"
    if text in _HOST:
        yield False, f"no AI core has `{text}`"
    if text.lower().startswith("kwsim"):
        yield False, f"{text} is the simulator's own"
    if text.startswith("__") and text not in _UNDERSCORED and text not in UNMODELLED:
        yield False, f"{text} belongs to the host's compiler"


def _host_pointer(words: Sequence[str], position: int, types: frozenset[str], pipes: set[str]) -> str:
    """What makes a pointer of the host at a ``*`` or ``&``; nothing where it multiplies, refers, or is of global memory."""
    before, after = _at(words, position - 1), _at(words, position + 1)
    if words[position] == "&":
        unary = before in ("=", "(", ",", "return", "{", "[", "+", "-", ";", "?", ":")
        return f"the address &{after}" if unary and after not in ("]", ",", "=") and after not in pipes else ""
    if before != "*" and ("__gm__" in words[max(position - 4, 0) : position] or before == "TPipe"):
        return ""
    return f"the pointer {before}*" if before in types or before in (">", "*") else ""


def _at(words: Sequence[str], position: int) -> str:
    return words[position] if 0 <= position < len(words) else ""
