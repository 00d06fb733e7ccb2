"""What a call of ``load_inline`` is given: read by the judge from the kernel's text, and again where the call is made.

Both go through :func:`inline_source`, so that what was built ahead is found by what is asked for, and by nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kernelwright.evaluator.ascend_source import NotModelled
from kernelwright.evaluator.toolchain import BuildError, source_hash

PARAMETERS = (
    "name",
    "cpp_sources",
    "cuda_sources",
    "sycl_sources",
    "functions",
    "extra_cflags",
    "extra_cuda_cflags",
    "extra_sycl_cflags",
    "extra_ldflags",
    "extra_include_paths",
    "build_directory",
    "verbose",
    "with_cuda",
    "with_sycl",
    "is_python_module",
    "with_pytorch_error_handling",
    "keep_intermediates",
    "use_pch",
    "no_implicit_headers",
)
"""In torch's order (2.13); before ``sycl_sources`` came, ``functions`` was the fourth."""
READ = ("cpp_sources", "cuda_sources", "sycl_sources", "functions", "extra_cflags", "extra_cuda_cflags") + (
    "extra_ldflags",
    "extra_include_paths",
    "is_python_module",
)
"""Those that say what is built; the others are about where and how loudly."""
_DEFINE = re.compile(r"-D([A-Za-z_]\w*)(?:=([^\n\\]*))?")
_IGNORED = re.compile(
    r"-O\w*|-g|-G|-w|-lineinfo|-src-in-ptx|-W[\w=-]*|-m(?:arch|tune|avx|fma)[\w=-]*|-f(?:PIC|pic|openmp|fast-math|no-[\w-]+)"
    r"|-{1,2}(?:use_fast_math|ftz=\w+|prec-div=\w+|prec-sqrt=\w+|fmad=\w+|extra-device-vectorization|restrict)"
    r"|-{1,2}(?:std=[\w+]+|expt-[\w-]+|extended-lambda|maxrregcount=\d+|threads=\d+|ptxas-options=[\w,=-]+|resource-usage)"
    r"|-Xptxas=[\w,=-]+|-Xcompiler=[\w,=-]+|-{1,2}(?:arch|code|gencode|generate-code|gpu-architecture|gpu-code)=[\w=,\"\[\]]+"
    r"|--diag[-_]suppress[=\w,]*|-U\w+|-allow-unsupported-compiler"
)
_WITH_VALUE = frozenset(
    [
        "-gencode",
        "--generate-code",
        "-arch",
        "--gpu-architecture",
        "-Xptxas",
        "-Xcompiler",
        "--ptxas-options",
        "--compiler-options",
        "-std",
        "--threads",
        "-t",
        "-maxrregcount",
        "--maxrregcount",
        "-Xcudafe",
        "--diag-suppress",
    ]
)
_LINKED = frozenset({"-lcudart", "-lcuda", "-lc10", "-ltorch", "-ltorch_python", "-ltorch_cpu", "-lstdc++", "-lm"})
INEXACT = re.compile(r"-{1,2}use_fast_math|-{1,2}ftz=true|-{1,2}prec-(?:div|sqrt)=false|-ffast-math")
"""Flags that give up exactness: they are left out, whoever asks for them."""


@dataclass(frozen=True)
class InlineSource:
    """What is built."""

    cpp: str
    cuda: str
    functions: tuple[str, ...] | None
    """Names that the module has; None: what ``PYBIND11_MODULE`` says."""
    defines: tuple[tuple[str, str], ...] = ()
    """Macros by the compiler's flags."""
    ignored: tuple[str, ...] = ()
    """Flags that change neither what is computed nor what is judged: optimisation, architecture, fast arithmetic."""

    @property
    def hash(self) -> str:
        """The key of ``KERNELWRIGHT_LIBRARIES``."""
        return source_hash(json.dumps([self.cpp, self.cuda, self.functions, self.defines]))

    @property
    def text(self) -> str:
        """All of it, to be looked at."""
        return f"{self.cuda}\n{self.cpp}"


def inline_source(given: Mapping[str, object]) -> InlineSource:
    """What the arguments of a call say, by name.

    Raises:
        BuildError: what torch would not take. NotModelled: what is not modelled, with its name.
    """
    if given.get("sycl_sources"):
        raise _missing("sycl_sources", "another language")
    if given.get("is_python_module") is False:
        raise _missing("is_python_module=False", "an extension that is no module")
    if paths := _strings(given.get("extra_include_paths"), "extra_include_paths"):
        raise _missing(f"extra_include_paths={paths[0]!r}", "headers of others")
    for flag in _strings(given.get("extra_ldflags"), "extra_ldflags"):
        if flag not in _LINKED:
            raise _missing(flag, "a library that is linked")
    cuda = _strings(given.get("cuda_sources"), "cuda_sources")
    if not any(map(str.strip, cuda)):
        raise BuildError("load_inline(…) has no cuda_sources; a cuda kernel needs one with a `__global__` function")
    defines: dict[str, str] = {}
    ignored: list[str] = []
    for name in ("extra_cuda_cflags", "extra_cflags"):
        for flag in _flags(_strings(given.get(name), name)):
            if define := _DEFINE.fullmatch(flag):
                defines[define[1]] = define[2] if define[2] is not None else "1"
            else:
                ignored.append(flag)
    cpp = _strings(given.get("cpp_sources"), "cpp_sources")
    functions = given.get("functions")
    return InlineSource(
        "\n".join(cpp),
        "\n".join(cuda),
        None if functions is None else tuple(_strings(functions, "functions")),
        tuple(sorted(defines.items())),
        tuple(dict.fromkeys(ignored)),
    )


def _strings(value: object, name: str) -> tuple[str, ...]:
    """One string or several; of a dictionary its keys; those that are empty are none."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, (Sequence, Mapping)) or not all(isinstance(part, str) for part in value):
        raise BuildError(f"load_inline({name}=…) takes a string or a list of strings, not {value!r:.60}")
    return tuple(str(part) for part in value if part)


def _flags(given: Sequence[str]) -> Iterator[str]:
    """Flags one by one, those with their value in a word of its own as one."""
    words = iter([word for flag in given for word in flag.split()])
    for word in words:
        if word in _WITH_VALUE:
            yield f"{word} {next(words, '')}"
        elif word.startswith("-D") and _DEFINE.fullmatch(word) or _IGNORED.fullmatch(word):
            yield word
        else:
            raise _missing(word, "a flag of the compiler")


def _missing(name: str, what: str) -> NotModelled:
    return NotModelled(f"load_inline: `{name}` ({what}) is not modelled; write the kernel with load(cuda=…)")
