"""Build native sources under AddressSanitizer and UndefinedBehaviorSanitizer, and the script that replays a tape.

The kernel's library and the driver are compiled apart: the driver once a compiler, a library once a source, both kept
in the build cache. Functions are reached by trampolines that unpack 64-bit words by the parsed prototype.
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from kernelwright.evaluator.prototypes import CType, Prototype, prototypes
from kernelwright.evaluator.sanitizers.tape_reader import Tape
from kernelwright.evaluator.toolchain import (
    PRELUDE,
    TIMEOUT_S,
    compiler_version,
    find_compiler,
    machine,
    prelude,
    run_limited,
)

FLAGS = (
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-omit-frame-pointer",
    "-fopenmp",
    "-march=native",
    "-std=c++17",
    "-w",
)
"""UBSan goes on after a report: which of them decide is :mod:`reports`' business, and the worst may come second."""
_SHARED = ("-fPIC", "-shared", "-Wl,-Bsymbolic")
_PLAIN = ("-g", "-fopenmp", "-march=native", "-std=c++17", "-fPIC", "-w")
_SPELLED = {
    "bool": "bool",
    "float32": "float",
    "float64": "double",
    "void": "void",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


class CannotReplay(Exception):
    """The sanitizer cannot run here or on this kernel; says why and accuses nobody."""


def driver(cache: Path) -> Path:
    """The program that replays scripts, from the cache or compiled now.

    Raises:
        CannotReplay: no compiler, or one without the sanitizers' libraries.
    """
    return _build({"driver.cpp": Path(__file__).with_name("driver.cpp").read_text()}, (*FLAGS, "-ldl"), "driver", cache)


def library(source: str, functions: Mapping[str, Prototype], cache: Path) -> Path:
    """A native source with its trampolines as a sanitized shared library, from the cache or compiled now."""
    return _build({"kernel.cpp": source + "\n", "replay.cpp": trampolines(functions)}, (*FLAGS, *_SHARED), "library", cache)


def noisy(source: str, cache: Path) -> Path:
    """A native source with delays between its memory accesses, to be loaded in place of the library as it is.

    Raises:
        CannotReplay: it does not build so; then races have less chance to show.
    """
    calls = _build({"noise.cpp": Path(__file__).with_name("noise.cpp").read_text()}, ("-c", *_PLAIN, "-O2"), "calls.o", cache)
    kernel = _build({"kernel.cpp": source + "\n"}, ("-c", *_PLAIN, "-O1", "-fsanitize=thread"), "kernel.o", cache)
    return _build({}, (*_PLAIN, str(kernel), str(calls), *_SHARED), "noisy.so", cache)


def trampolines(functions: Mapping[str, Prototype]) -> str:
    """C++ that makes each function callable with an array of 64-bit words; pointers are untyped there."""
    rows = []
    for name, prototype in functions.items():
        types = [_spelled(p.type) for p in prototype.parameters]
        rows.append(f'extern "C" {_spelled(prototype.result)} {name}({", ".join(types)});')
        rows.append(f'extern "C" void kernelwright_replay_{name}(const uint64_t* words) {{')
        for i, kind in enumerate(types):
            rows.append(f"  {kind} a{i}; __builtin_memcpy(&a{i}, words + {i}, sizeof a{i});")
        rows.append(f"  {name}({', '.join(f'a{i}' for i in range(len(types)))});")
        rows.append("}")
    return "\n".join(rows) + "\n"


def _spelled(kind: CType) -> str:
    return "void*" if kind.pointer else _SPELLED[kind.kind]


def script(tape: Tape, sources: Sequence[str]) -> bytes:
    """The driver's orders: ``sources`` are source hashes in the order of the driver's libraries."""
    functions = sorted({(call.source, call.name) for call in tape.calls})
    out = [_words(len(functions))]
    for source, name in functions:
        symbol = f"kernelwright_replay_{name}".encode()
        out += [_words(sources.index(source), len(symbol)), _padded(symbol)]
    out.append(_words(len(tape.storages), *(n for storage in tape.storages for n in storage)))
    out.append(_words(len(tape.calls)))
    held: dict[int, int] = {}
    for call in tape.calls:
        out.append(_words(functions.index((call.source, call.name)), len(call.contents)))
        for storage, blob in call.contents:
            out += [_words(storage), _padded(tape.blobs[blob])]
            held[storage] = blob
        out.append(_words(len(call.arguments)))
        for argument in call.arguments:
            if argument.null:
                out.append(_words(1, 0, 0))
            elif argument.storage is not None:
                out.append(_words(2, argument.storage, argument.offset))
            else:
                out.append(_words(0, argument.bits, 0))
    return b"".join(out)


def sources_of(natives: Sequence[str]) -> dict[str, dict[str, Prototype]]:
    """Prototypes by name of each native source."""
    return {source: prototypes(source) for source in natives}


def _words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def _build(files: Mapping[str, str], how: Sequence[str], name: str, cache: Path) -> Path:
    compiler = find_compiler()
    if not compiler:
        raise CannotReplay("no C++ compiler")
    parts = (name, PRELUDE, *files.values(), *how, compiler, compiler_version(compiler), machine())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    cache = cache.absolute()
    product = cache / f"{key}-{name}"
    if product.exists():
        return product
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=cache) as folder:
        for file, text in files.items():
            Path(folder, file).write_text(text)
        before = ("-include", prelude(compiler, how, Path(folder))) if "kernel.cpp" in files else ()
        code = run_limited([compiler, *before, *files, *how, "-o", "product"], Path(folder), TIMEOUT_S)
        if code != 0:
            log = Path(folder, "stderr.txt").read_text(errors="replace").splitlines()
            first = next((row for row in log if "error" in row or "cannot find" in row), "")
            raise CannotReplay(f"the sanitized build failed: {first.strip() or f'status {code}'}"[:300])
        Path(folder, "product").replace(product)
    return product
