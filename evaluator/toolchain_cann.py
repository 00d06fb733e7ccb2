"""Ascend C by the vendor's own compiler, where CANN is installed: does it take a kernel for a 910B? No device is needed.

Written from the vendor's documentation and **not run**: no CANN was here. Which command a release understands is not asked
but tried, with :data:`PLAIN`; what refuses that one says nothing of a kernel. Command lines:

- ``asc``, from CANN 8.3: Ascend C operator development guide, "compiling by bisheng's command line", and
  `asc-devkit`, `cmake/asc/asc_modules/CMakeASCInformation.cmake`; 910B is architecture 2201. ``asc with headers``: as
  MultiKernelBench gives them (`backends/ascendc_direct_launch_backend.py`), should a release not find its own.
- ``cce``, earlier ones: `asc-devkit`, `cmake/asc/legacy_modules/bisheng_intf.cmake`, the options of `c220_aiv_intf_pub`.
- ``soc``, CANN 8.0: BiSheng compiler guide, `--cce-soc-version`, `--cce-soc-core-type`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache as once
from pathlib import Path
from typing import Any

from kernelwright.evaluator import cann
from kernelwright.evaluator.toolchain import ERROR_LINES, TIMEOUT_S, BuildError, run_limited

PLAIN = r"""#include "kernel_operator.h"
extern "C" __global__ __aicore__ void plain(GM_ADDR x, GM_ADDR y) {
  AscendC::TPipe pipe;
  AscendC::TQue<AscendC::TPosition::VECIN, 1> in;
  AscendC::TQue<AscendC::TPosition::VECOUT, 1> out;
  AscendC::GlobalTensor<float> from, to;
  from.SetGlobalBuffer((__gm__ float*)x, 64);
  to.SetGlobalBuffer((__gm__ float*)y, 64);
  pipe.InitBuffer(in, 1, 256);
  pipe.InitBuffer(out, 1, 256);
  AscendC::LocalTensor<float> a = in.AllocTensor<float>();
  AscendC::DataCopy(a, from, 64);
  in.EnQue(a);
  a = in.DeQue<float>();
  AscendC::LocalTensor<float> b = out.AllocTensor<float>();
  AscendC::Adds(b, a, 1.0f, 64);
  out.EnQue(b);
  in.FreeTensor(a);
  b = out.DeQue<float>();
  AscendC::DataCopy(to, b, 64);
  out.FreeTensor(b);
}
"""
"""A kernel that every working toolchain compiles."""
_SOURCE, _OBJECT, _LIBRARY = "kernel.cpp", "kernel.o", "kernel.so"
_COMMON = ("-O2", "-std=c++17")
_STACK = tuple(
    word
    for option in ("stack-size=0x8000", "function-stack-size=0x8000", "record-overflow=true", "addr-transform",
                   "dcci-insert-for-scalar=false")
    for word in ("-mllvm", f"-cce-aicore-{option}")
)  # fmt: skip
_HEADERS = (
    "include", "tikcpp", "tikcpp/tikcfw", "tikcpp/tikcfw/interface", "tikcpp/tikcfw/impl", "asc", "asc/include",
    "asc/include/basic_api", "asc/include/adv_api", "asc/include/utils", "asc/impl/basic_api", "asc/impl/adv_api",
    "asc/impl/utils", "ascendc/include/basic_api/interface", "ascendc/include/basic_api/impl", "ascendc/impl/aicore/basic_api",
)  # fmt: skip
"""Folders of headers below the devkit, of all releases; those that are there are given."""
_AT_KERNEL = re.compile(rf"\b{re.escape(_SOURCE)}:\d+:\d+: (?:fatal error|error|note):")
_OF_KERNEL = re.compile(rf"{_AT_KERNEL.pattern}|error in backend:|ld\.lld: error: undefined symbol")
"""What the compiler says of a source: an error in it, or in a header by its doing; what its code generator lacks for it."""
_ERROR = re.compile(r"\berror:")
_NO_HEADER = re.compile(r"error: '[^']*' file not found")
CRASH = re.compile(r"PLEASE submit a bug report|Stack dump:|frontend command failed due to signal|stack smashing detected")
"""What LLVM's programs say when they end by themselves."""


class Trouble(Exception):
    """The toolchain's own: it says nothing of a kernel."""


@dataclass(frozen=True)
class Form:
    """A way in which a release takes Ascend C."""

    name: str
    arch: str
    programs: tuple[str, ...]
    options: tuple[str, ...]
    alone: tuple[str, ...] = ()
    """More of them where only device code is wanted."""
    finds: bool = False
    """It finds the headers and libraries of its toolkit by itself."""


FORMS = (
    Form("asc", "dav-2201", ("bisheng",), ("-x", "asc", "--npu-arch=dav-2201"), finds=True),
    Form("asc with headers", "dav-2201", ("bisheng",), ("-x", "asc", "--npu-arch=dav-2201")),
    Form(
        "cce", "dav-c220-vec", ("bisheng", "ccec"),
        ("-x", "cce", "--cce-aicore-arch=dav-c220-vec", "--cce-auto-sync", *_STACK, "-DTILING_KEY_VAR=0"),
        ("--cce-aicore-only",),
    ),
    Form(
        "soc", "Ascend910B1", ("bisheng", "ccec"),
        ("-x", "cce", "--cce-soc-version=Ascend910B1", "--cce-soc-core-type=VecCore"),
    ),
)  # fmt: skip
"""Newest first."""


@dataclass(frozen=True)
class Compiler:
    """One that has compiled :data:`PLAIN`."""

    home: Path
    path: str
    form: Form
    versions: str
    """Of the toolkit and of the compiler."""

    def command(self, shared: bool = False) -> list[str]:
        """That compiles ``kernel.cpp`` to ``kernel.o``, or to a library that a host can open, in the folder where it is run."""
        form, found = self.form, self.form.finds
        headers = [] if found else [f"-I{folder}" for folder in _headers(self.home)]
        libraries = [] if found else [f"-L{self.home / 'lib64'}", "-lruntime", "-lascendcl"]
        if shared:
            return [self.path, *form.options, *headers, *_COMMON, "-shared", "-fPIC", _SOURCE, "-o", _LIBRARY, *libraries]
        return [self.path, *form.options, *form.alone, *headers, *_COMMON, "-c", _SOURCE, "-o", _OBJECT]

    @property
    def identity(self) -> str:
        """What a compiled kernel depends on."""
        return "\0".join([self.versions, *self.command()])


def compiler() -> Compiler | str:
    """The compiler, or why CANN is here and its compiler of no use: one line with the remedy; empty where there is no CANN.

    Tried once in a process and place.
    """
    where = cann.home()
    return _tried(str(where), os.environ.get("PATH", "")) if where else ""


@once
def _tried(where: str, path: str) -> Compiler | str:
    home = Path(where)
    if not home.is_dir():
        name = next(name for name in cann.HOMES if os.environ.get(name))
        return f"{name} is {where}, and no such folder is here; {cann.REMEDY}, or unset it"
    said = []
    for form in FORMS:
        program = cann.program(home, *form.programs)
        if not program:
            continue
        found = Compiler(home, program, form, "")
        with tempfile.TemporaryDirectory() as folder:
            code, log = _run(found, PLAIN, Path(folder), TIMEOUT_S)
            if code == 0 and (Path(folder) / _OBJECT).exists():
                return replace(found, versions=_versions(found, Path(folder)))
        said.append(f"{form.name}: {_ended(code, log)}")
    if not said:
        return f"the CANN at {home} has neither bisheng nor ccec; {cann.REMEDY}"
    return f"the CANN at {home} does not compile a plain kernel ({'; '.join(said)}); {cann.REMEDY}"


def _run(using: Compiler, source: str, folder: Path, timeout: float, shared: bool = False) -> tuple[int | None, str]:
    """Status, and what it said."""
    (folder / _SOURCE).write_text(source + "\n")
    code = run_limited(using.command(shared), folder, timeout, cann.variables(using.home, using.path))
    return code, (folder / "stderr.txt").read_text(errors="replace")[:1_000_000]


def _versions(using: Compiler, folder: Path) -> str:
    toolkit = cann.version(using.home)
    run_limited([using.path, "--version"], folder, 60.0, cann.variables(using.home, using.path))
    first = ((folder / "stderr.txt").read_text(errors="replace").strip().splitlines() or ["unknown compiler"])[0][:120]
    return f"CANN {toolkit or 'of unknown version'}, {first}"


def _headers(home: Path) -> list[Path]:
    roots = [home, *(home / name for name in ("compiler", "tools", cann.MACHINE))]
    return [folder for root in roots for name in _HEADERS if (folder := root / name).is_dir()]


def compile_ascendc(source: str, using: Compiler, cache: Path, timeout: float = TIMEOUT_S) -> Mapping[str, Any]:
    """Compile one Ascend C source for a 910B, or find it in ``cache``: ``seconds``, ``bytes`` of the object, ``warnings``.

    Raises:
        BuildError: the compiler refuses the source; its own words.
        Trouble: it does not do its work, or no longer compiles :data:`PLAIN` either.
    """
    key = hashlib.sha256("\0".join((source, using.identity)).encode()).hexdigest()[:24]
    facts = cache / f"{key}.cann.json"
    if facts.exists():
        return {**json.loads(facts.read_text()), "seconds": 0.0}
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=cache) as name:
        folder = Path(name)
        began = time.perf_counter()
        code, log = _run(using, source, folder, timeout)
        made = folder / _OBJECT
        if code != 0 or not made.exists():
            _blame(using, code, log, timeout)
        seconds = round(time.perf_counter() - began, 3)
        warnings = [line[:300] for line in log.splitlines() if "warning:" in line]
        found = {"seconds": seconds, "bytes": made.stat().st_size, "warnings": warnings[:ERROR_LINES]}
        (folder / "facts.json").write_text(json.dumps(found))
        (folder / "facts.json").replace(facts)
    return found


def build_launchers(source: str, cache: Path, timeout: float = TIMEOUT_S) -> str:
    """Path of a library of an Ascend C source that holds host functions too, as :func:`.ascend_source.launched` writes them.

    Raises:
        BuildError: no CANN, or its compiler makes none.
    """
    using = compiler()
    if isinstance(using, str):
        raise BuildError(using or f"no CANN is here, whose compiler makes what runs on an NPU; {cann.REMEDY}")
    key = hashlib.sha256("\0".join((source, using.identity, *using.command(shared=True))).encode()).hexdigest()[:24]
    library = cache / f"{key}.so"
    if library.exists():
        return str(library)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=cache) as name:
        code, log = _run(using, source, Path(name), timeout, shared=True)
        made = Path(name) / _LIBRARY
        if code != 0 or not made.exists():
            raise BuildError(f"{Path(using.path).name}: {_ended(code, log)}", log[:8000])
        made.replace(library)
    return str(library)


def _blame(using: Compiler, code: int | None, log: str, timeout: float) -> None:
    """Raise what a compilation that made nothing tells of."""
    if why := trouble(code, log):
        raise Trouble(why)
    with tempfile.TemporaryDirectory() as folder:  # a toolchain that broke since it was tried accuses every kernel
        again, said = _run(using, PLAIN, Path(folder), timeout)
    if again != 0:
        raise Trouble(f"it refuses the plain kernel too, which it took before: {_ended(again, said)}")
    lines = [line[:400] for line in log.splitlines()]
    told = next((line for line in lines if _ERROR.search(line) and _OF_KERNEL.search(line)), _ended(code, log))
    more = [f"… {len(lines) - ERROR_LINES} more lines"] if len(lines) > ERROR_LINES else []
    raise BuildError(f"the vendor's compiler refuses it: {told.strip()}", "\n".join(lines[:ERROR_LINES] + more))


def trouble(code: int | None, log: str) -> str:
    """What of a failed compilation is the toolchain's own, in one line; empty where the compiler speaks of the source."""
    if code is None or code == 0:
        return _ended(code, log)
    lines = log.splitlines()
    backend = any("error in backend:" in line for line in lines)  # LLVM ends by itself there too, and says what it lacks
    if any(map(CRASH.search, lines)) and not backend:
        return f"it crashed: {_ended(code, log)}"
    if missing := next(filter(_NO_HEADER.search, lines), ""):  # a kernel includes nothing but the vendor's header
        return f"its installation lacks a header: {missing.strip()[:300]}"
    if any(map(_ERROR.search, lines)) and any(map(_OF_KERNEL.search, lines)):
        return ""
    return _ended(code, log)


def _ended(code: int | None, log: str) -> str:
    if code is None:
        return "it ran too long and was stopped"
    first = next((line for line in log.splitlines() if _ERROR.search(line)), "").strip()[:300]
    return first or ("it made no object" if code == 0 else f"it ended with status {code} and no error")


def evidence(sources: Sequence[str], cache: Path) -> dict[str, Any]:
    """What CANN's compiler says of these Ascend C sources, for the verdict; empty where there is no CANN.

    ``version``, ``arch``, ``form`` of the command and ``seconds``, ``bytes`` and ``warnings`` of all; ``problem`` where the
    toolchain failed.

    Raises:
        BuildError: the compiler refuses one of them.
    """
    using = compiler()
    if isinstance(using, str):
        return {"problem": using} if using else {}
    found = {"version": using.versions, "arch": using.form.arch, "form": using.form.name}
    try:
        made = [compile_ascendc(source, using, cache) for source in sources]
    except Trouble as own:
        return {**found, "problem": str(own)}
    warnings = [line for each in made for line in each["warnings"]]
    return {
        **found,
        "seconds": round(sum(each["seconds"] for each in made), 3),
        "bytes": sum(each["bytes"] for each in made),
        "warnings": warnings,
    }
