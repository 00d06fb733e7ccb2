"""The host C++ compiler: one source in, one cached shared library out. Standard library only.

Shared by :mod:`~kernelwright.evaluator.build` (ahead of a runner, off the device) and
:mod:`~kernelwright.evaluator.native` (when a person imports a winning kernel outside the harness).

Limits: wall clock with the whole process group killed, CPU time, address space, file size. They stop runaway templates;
they are no sandbox: ``#include`` reads any file that the user may read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

_UNOBSERVED = ("-fno-trapping-math", "-fno-math-errno")
"""Nobody reads floating-point traps or ``errno`` here, and no value changes. GCC 12 needs the first to vectorise a loop that
selects between floats where the machine has no masks: a tanh-GELU took 7 times as long on AVX2 without it."""
FLAGS = ("-O3", "-march=native", "-fopenmp", "-std=c++17", *_UNOBSERVED, "-fPIC", "-shared")
"""The flags of design §3, and those. Never ``-ffast-math``: it would change what the kernel computes."""
PRELUDE = "#include <cstdint>\n#include <cmath>\n"
"""What every source sees before its first line."""


@dataclass(frozen=True)
class Dialect:
    """What is compiled before a source's first line, and how."""

    prelude: str
    flags: tuple[str, ...]


CPP = Dialect(PRELUDE, FLAGS)
_LINK = ("-fno-semantic-interposition", "-Wl,-Bsymbolic", "-Wl,-z,defs")
"""Helpers that are not ``static`` are inlined all the same, calls stay inside the library, and an undefined symbol fails
here, with its name: no kernel binds to whatever the runner happens to have loaded."""
_DIAGNOSTICS = ("-Wall", "-Wno-unused", "-Wno-unknown-pragmas", "-fdiagnostics-color=never", "-fmax-errors=20")
_LIMITS = 'ulimit -v 6291456; ulimit -f 1048576; ulimit -t "$1"; shift; exec "$@"'
TIMEOUT_S = 120.0
ERROR_LINES = 40
_TORCH_HEADER = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]((?:torch|ATen|c10|pybind11)/[^>"]*|Python\.h)[>"]', re.M)
_VECTORISED = re.compile(r"^kernel\.cpp:(\d+):\d+: optimized: +loop vectorized using (\d+) byte vectors", re.M)
_NOT_VECTORISED = re.compile(r"^kernel\.cpp:(\d+):\d+: missed: +couldn't vectorize loop", re.M)


class BuildError(ValueError):
    """A native source that cannot be built or bound; ``log`` is what the compiler said."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


@dataclass(frozen=True)
class Library:
    """A shared library in the cache."""

    path: str
    log: str
    """Warnings."""
    vectorised: Mapping[str, int] = field(default_factory=dict)
    """Source line of a loop -> widest vector in bytes (g++ only)."""
    scalar: tuple[int, ...] = ()
    """Source lines of loops that stayed scalar (g++ only)."""
    compiler: str = ""
    seconds: float = 0.0
    """What compiling took; 0 when it came from the cache."""


def source_hash(source: str) -> str:
    """The name of a native source wherever one is built ahead: 20 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(source.encode()).hexdigest()[:20]


def npu_key(source: str) -> str:
    """As :func:`source_hash`, of the library that launches an Ascend C source on an NPU."""
    return f"npu-{source_hash(source)}"


def find_compiler() -> str:
    """Path of the C++ compiler: ``CXX`` when set, else g++, else clang++; empty when there is none."""
    for name in (os.environ.get("CXX", ""), "g++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    return ""


def missing_compiler() -> str:
    """Why nothing can be compiled here, in one line with the remedy; empty when it can."""
    if find_compiler():
        return ""
    return "no C++ compiler found (g++ or clang++); install one, e.g. `apt install g++` or `dnf install gcc-c++`"


@functools.lru_cache(maxsize=8)
def compiler_version(path: str) -> str:
    """First line of ``path --version``."""
    version = [path, "--version"]
    done = subprocess.run(version, check=False, capture_output=True, text=True, timeout=20, env=_environment())
    return done.stdout.split("\n", 1)[0].strip()


@functools.lru_cache(maxsize=1)
def machine() -> str:
    """What ``-march=native`` stands for here: libraries built for another one must not be loaded."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    names = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "Features", "CPU part")
    rows = (line.partition(":") for line in first.splitlines())
    return " ".join(f"{key.strip()}={value.strip()}" for key, _, value in rows if key.strip() in names)


def build_library(source: str, cache: Path, timeout: float = TIMEOUT_S, dialect: Dialect = CPP) -> Library:
    """Compile ``source`` into ``cache``, or find it there. Safe to call from many processes at once.

    Raises:
        BuildError: no compiler, a refused header, a compiler error or a timeout; ``log`` holds the first errors.
    """
    cache = cache.absolute()
    if header := _TORCH_HEADER.search(source):
        raise BuildError(
            f"#include <{header[1]}>: kernels get no torch or Python headers (they would cost 38 s a build); "
            'export plain functions with extern "C" and take pointers and sizes'
        )
    if reason := missing_compiler():
        raise BuildError(reason)
    compiler = find_compiler()
    version = compiler_version(compiler)
    parts = (source, dialect.prelude, *dialect.flags, *_LINK, compiler, version, machine())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    library, facts = cache / f"{key}.so", cache / f"{key}.json"
    if (known := _read_facts(library, facts)) is not None:
        return known
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=cache) as folder:
        result = replace(_compile(source, dialect, compiler, Path(folder), timeout), path=str(library), compiler=version)
        # The library goes last: whoever finds it finds its facts too.
        _publish(Path(folder) / "facts.json", facts, json.dumps(asdict(result)))
        Path(folder, "kernel.so").replace(library)
    return result


def _read_facts(library: Path, facts: Path) -> Library | None:
    if not library.exists():
        return None
    try:
        known = json.loads(facts.read_text())
        return Library(**(known | {"path": str(library), "seconds": 0.0, "scalar": tuple(known["scalar"])}))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _publish(draft: Path, target: Path, text: str) -> None:
    draft.write_text(text)
    draft.replace(target)


def _environment() -> dict[str, str]:
    """The compiler's environment: nothing of ours, so that no variable changes what is built."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _compile(source: str, dialect: Dialect, compiler: str, folder: Path, timeout: float) -> Library:
    (folder / "kernel.cpp").write_text(source + "\n")
    notes = ("-fopt-info-vec-optimized-missed=vec.txt",) if "clang" not in Path(compiler).name else ()
    before = ("-include", prelude(compiler, dialect.flags, folder, dialect.prelude))
    command = [compiler, *dialect.flags, *_LINK, *_DIAGNOSTICS, *notes, *before, "kernel.cpp", "-o", "kernel.so"]
    started = time.perf_counter()
    code = run_limited(command, folder, timeout)
    seconds = time.perf_counter() - started
    log = _head(folder / "stderr.txt")
    if code is None:
        raise BuildError(f"the compiler ran past {timeout:g} s and was stopped; make the source smaller", log)
    if code != 0:
        raise BuildError(_headline(log, code), _with_hints(log))
    report = _text(folder / "vec.txt")
    widths: dict[str, int] = {}
    for line, width in _VECTORISED.findall(report):
        widths[line] = max(widths.get(line, 0), int(width))
    scalar = sorted({int(line) for line in _NOT_VECTORISED.findall(report)} - {int(line) for line in widths})
    return Library("", log, widths, tuple(scalar), seconds=seconds)


def prelude(compiler: str, flags: Sequence[str], folder: Path, text: str = PRELUDE) -> str:
    """The header that is ``text``, for ``-include`` in a build in ``folder`` under ``flags``.

    Parsing it is most of what a small source takes, so g++ is given it parsed, once a user and flags. The compiler reads the
    header's text where that form does not fit it, or cannot be had.
    """
    kept = tuple(flag for flag in flags if flag not in ("-shared", "-c", "-ldl") and not flag.startswith("-Wl,"))
    if "clang" not in Path(compiler).name:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kernelwright" / "prelude"
        found = _parsed_prelude(base, compiler, kept, text)
        if found is not None and found.exists():
            return str(found)
    (folder / "prelude.hpp").write_text(text)
    return "prelude.hpp"


@functools.lru_cache(maxsize=8)
def _parsed_prelude(base: Path, compiler: str, flags: tuple[str, ...], text: str) -> Path | None:
    """The header with its parsed form beside it, as it was or made now; None where it cannot be made."""
    parts = (text, *flags, compiler, compiler_version(compiler), machine())
    kept = base / hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    if not kept.exists():
        try:
            base.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="tmp-", dir=base) as scratch:
                folder = Path(scratch)
                (folder / "prelude.hpp").write_text(text)
                command = [compiler, *flags, "-x", "c++-header", "prelude.hpp", "-o", "prelude.hpp.gch"]
                if run_limited(command, folder, TIMEOUT_S) != 0:
                    return None
                folder.replace(kept)
                folder.mkdir()  # for the context to remove
        except OSError:  # no room, no right to write there, or another process was first
            return kept / "prelude.hpp" if kept.exists() else None
    return kept / "prelude.hpp"


def run_limited(
    command: Sequence[str], folder: Path, timeout: float, variables: Mapping[str, str] | None = None
) -> int | None:
    """Exit status of ``command`` run in ``folder`` under the limits, its stderr in ``stderr.txt``; None on timeout.

    The command leads its own process group, and the group is dead when this returns. ``variables``: of its environment
    besides the compilers' common one.
    """
    # The limits are set by a shell rather than preexec_fn: that is not safe in a process with threads.
    shell = ["/bin/sh", "-c", _LIMITS, "sh", str(int(timeout) + 1), *command]
    environment = _environment() | dict(variables or {}) | {"TMPDIR": str(folder)}
    with (folder / "stderr.txt").open("wb") as stderr:
        process = subprocess.Popen(
            shell,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _text(path: Path, limit: int = 1_000_000) -> str:
    try:
        with path.open("rb") as file:
            return file.read(limit).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _head(path: Path) -> str:
    """The first lines of a compiler's output: the first error is the one worth reading."""
    lines = _text(path).splitlines()
    kept = [line[:400] for line in lines[:ERROR_LINES]]
    if len(lines) > ERROR_LINES:
        kept.append(f"… {len(lines) - ERROR_LINES} more lines")
    return "\n".join(kept)


def _headline(log: str, code: int) -> str:
    for line in log.splitlines():
        if " error: " in line or "undefined reference" in line:
            return line.strip()
    return f"the compiler ended with status {code}"


def _with_hints(log: str) -> str:
    if "__bf16" in log:
        log += "\nhint: this compiler has no __bf16: take uint16_t* and widen by shifting left 16 bits"
    return log
