"""Native sources of a kernel, found in its text and compiled ahead. Nothing of the kernel is executed."""

from __future__ import annotations

import ast
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelwright.evaluator.ascend_source import NotModelled
from kernelwright.evaluator.ascend_source import kernels as ascend_kernels
from kernelwright.evaluator.backends.backend import Built
from kernelwright.evaluator.inline.program import inline_evidence, program
from kernelwright.evaluator.inline.reading import local_constants, read_call
from kernelwright.evaluator.inline.source import InlineSource
from kernelwright.evaluator.prototypes import kernel_prototypes, prototypes
from kernelwright.evaluator.syntax import NotConstant, constants, dotted, fold, import_aliases, parse
from kernelwright.evaluator.toolchain import TIMEOUT_S, BuildError, Library, build_library, source_hash
from kernelwright.evaluator.toolchain_ascend import build_simulated
from kernelwright.evaluator.toolchain_cuda import Cubin, build_cubin

_LOAD = "kernelwright.evaluator.native.load"
_INLINE = "torch.utils.cpp_extension.load_inline"
_REFUSED = ("torch.utils.cpp_extension.load",)


@dataclass(frozen=True)
class NativeSource:
    """One ``load(cpp=…)``, ``load(cuda=…)``, ``load(ascend=…)`` or ``load_inline(…)`` of a kernel."""

    line: int
    """Line of the call in the kernel's source."""
    source: str
    language: str = "cpp"
    """``cpp``, ``cuda`` or ``ascend``."""
    inline: InlineSource | None = None
    """What a ``load_inline`` is given; ``source`` is then all its text."""

    @property
    def hash(self) -> str:
        """The key of ``KERNELWRIGHT_LIBRARIES``."""
        return self.inline.hash if self.inline is not None else source_hash(self.source)


def native_sources(source: str | ast.Module) -> tuple[NativeSource, ...]:
    """Every native source that a kernel's text (or its tree) loads, in order, without running it.

    Raises:
        BuildError: a call whose source the text does not give, or an unknown language; names line and remedy.
        SyntaxError: ``source`` does not parse.
    """
    tree = parse(source) if isinstance(source, str) else source
    nodes = list(ast.walk(tree))
    names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(import_aliases(node))
    calls = [(dotted(node.func, names), node) for node in nodes if isinstance(node, ast.Call)]
    calls = [(path, call) for path, call in calls if path in (_LOAD, _INLINE, *_REFUSED)]
    values = constants(tree, nodes) if calls else {}
    found = []
    for path, call in sorted(calls, key=lambda c: (c[1].lineno, c[1].col_offset)):
        if path == _LOAD:
            found.append(NativeSource(call.lineno, *_literal(call, values)))
        elif path == _INLINE:
            inline = read_call(call, values | local_constants(tree, call, values))
            found.append(NativeSource(call.lineno, inline.text, "cuda", inline))
        else:
            raise BuildError(f"line {call.lineno}: {path} is not supported; use native.load(cpp=…) with plain pointers")
    return tuple(found)


def _literal(call: ast.Call, values: dict[str, object]) -> tuple[str, str]:
    """Source and language of a ``load``."""
    where = f"line {call.lineno}: load(…)"
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if call.args or set(keywords) not in ({"cpp"}, {"cuda"}, {"ascend"}):
        raise BuildError(f"{where} takes the source as its one keyword: load(cpp=r'''…'''), load(cuda=…) or load(ascend=…)")
    (language,) = map(str, keywords)
    try:
        text = fold(keywords[language], values)
    except NotConstant as problem:
        raise BuildError(
            f"{where}: the source must be a literal string (or a module-level constant, assigned once) "
            f"so that it can be built ahead; cannot tell `{problem}`"
        ) from None
    if not isinstance(text, str) or not text.strip():
        raise BuildError(f"{where}: the source must be a string with C++ in it, got {text!r:.40}")
    return text, language


def build_native(source: str, cache: Path, timeout: float = TIMEOUT_S) -> Built:
    """Compile every native source of a kernel into ``cache``."""
    started = time.perf_counter()
    libraries: dict[str, str] = {}
    reports: list[dict[str, Any]] = []
    warnings: list[str] = []
    try:
        for native in native_sources(source):
            if native.inline is not None:
                made = program(native.inline)
                cubin = build_cubin(made.device, cache, timeout=timeout, relaxed=True)
                libraries[native.hash] = cubin.path
                reports.append(_module(native, cubin) | inline_evidence(native.inline, made))
                warnings.extend([cubin.log] if cubin.log else [])
                continue
            if native.language == "cuda":
                cubin = build_cubin(native.source, cache, timeout=timeout)
                functions = kernel_prototypes(native.source)
                libraries[native.hash] = cubin.path
                reports.append(_module(native, cubin) | {"functions": [str(f) for f in functions.values()]})
                warnings.extend([cubin.log] if cubin.log else [])
                continue
            simulated = native.language == "ascend"
            functions = (ascend_kernels if simulated else prototypes)(native.source)
            library = (build_simulated if simulated else build_library)(native.source, cache, timeout)
            libraries[native.hash] = library.path
            known = {"language": "ascend"} if simulated else {}
            reports.append(_report(native, library) | {"functions": [str(f) for f in functions.values()]} | known)
            warnings.extend([library.log] if library.log else [])
    except SyntaxError as error:
        return Built(ok=False, log=f"line {error.lineno}: {error.msg}", seconds=time.perf_counter() - started)
    except BuildError as error:
        log, missing = f"{error}\n{error.log}".strip(), isinstance(error, NotModelled)
        seconds = time.perf_counter() - started
        return Built(ok=False, log=log, evidence={"native": reports}, seconds=seconds, unsupported=missing)
    return Built(
        ok=True,
        libraries=libraries,
        log="\n".join(warnings),
        evidence={"native": reports},
        seconds=time.perf_counter() - started,
    )


def _report(native: NativeSource, library: Library) -> dict[str, Any]:
    return {
        "line": native.line,
        "path": library.path,
        "compiler": library.compiler,
        "vectorised_loops": dict(library.vectorised),
        "scalar_loops": list(library.scalar),
        "seconds": round(library.seconds, 3),
    }


def _module(native: NativeSource, cubin: Cubin) -> dict[str, Any]:
    return {
        "line": native.line,
        "path": cubin.path,
        "compiler": cubin.compiler,
        "arch": cubin.arch,
        "kernels": {name: dict(figures) for name, figures in cubin.kernels.items()},
        "seconds": round(cubin.seconds, 3),
    }
