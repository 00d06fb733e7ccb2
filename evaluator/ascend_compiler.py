"""Compiles the Triton-Ascend launches that a runner waits for: what they are is the runner's claim, and is checked here.

The kernel's source is read by the vendor's Triton in a process of its own, under the same sandbox as a runner; the linalg that
it says is then compiled by the vendor's compiler and by LLVM, under the limits of every compiler here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelwright.evaluator.ascend_environment import ARCH, Toolchain, key_of, toolchain
from kernelwright.evaluator.ascend_source import NotModelled
from kernelwright.evaluator.runner import sandbox
from kernelwright.evaluator.runner.processes import ChildGone, ForkServer
from kernelwright.evaluator.toolchain import BuildError
from kernelwright.evaluator.toolchain_hivm import LastStep, last_step
from kernelwright.evaluator.toolchain_triasc import Compiled, compile_linalg, summary
from kernelwright.tasks.errors import HarnessError
from kernelwright.tasks.records import Kernel

if TYPE_CHECKING:
    from kernelwright.evaluator.judge import Judge

_WORKER = Path(__file__).parent / "ascendtri" / "worker.py"
_SECONDS = 60.0
_LIMITS = {"CORE": 0, "FSIZE": 64 << 20, "NOFILE": 1024}
_LOG = 4 << 20
_MOST = 64
"""Specialisations of one kernel."""
_NAME = re.compile(r"[A-Za-z_]\w{0,127}")
_TYPE = re.compile(r"\*(fp32|fp16|bf16|i1|i8|i16|i32|i64|u8)|i1|i32|i64|u64|fp32")


class BadLaunch(Exception):
    """What a runner says of a launch is not what the harness's own code says."""


class LaunchCompiler:
    """Compiles for one kernel. ``evidence`` fills as it does."""

    def __init__(self, toolchain: Toolchain, server: ForkServer, mode: str, cache: Path, source: str) -> None:
        self._toolchain = toolchain
        self._server = server
        self._mode = mode
        self._cache = cache
        self._source = source
        self._made: dict[str, Compiled] = {}
        self.evidence: dict[str, Any] = {"target": ARCH, "compiler": toolchain.versions, "launches": []}
        found = last_step(toolchain)
        self._last = found if isinstance(found, LastStep) else None
        if found:
            self.evidence["cann"] = {"version": found.versions} if isinstance(found, LastStep) else {"problem": found}

    def __call__(self, wanted: Sequence[Any]) -> list[tuple[str, str, bool]]:
        """(key, library, whether programs are compared) of each launch.

        Raises:
            BadLaunch: it is no launch; NotModelled, BuildError: as the compilers say.
        """
        return [(key, made.path, not made.atomic) for key, made in map(self._one, wanted)]

    def _one(self, said: Any) -> tuple[str, Compiled]:
        spec = checked(said)
        key = key_of(spec)
        if key not in self._made:
            if len(self._made) == _MOST:
                raise NotModelled(f"it has more than {_MOST} specialisations of its kernels on this task's shapes")
            linalg = self._linalg(spec)
            multibuffer = bool(spec["options"].get("multibuffer", True))
            types = list(spec["signature"].values())
            compiled = compile_linalg(linalg, types, self._toolchain, self._cache, multibuffer, last=self._last)
            self._made[key] = compiled
            self.evidence["launches"].append(summary(compiled, spec))
        return key, self._made[key]

    def _linalg(self, spec: Mapping[str, Any]) -> str:
        said = self._worker(spec)
        if "linalg" in said:
            return str(said["linalg"])
        text = str(said.get("problem", ""))
        lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
        telling = next((line for line in lines if "error: " in line), lines[-1] if "CompilationError" in lines[0] else lines[0])
        where = f"{spec['function']}: "
        if said.get("known"):
            raise BuildError(f"{where}Triton-Ascend refuses it: {telling[:300]}", text)
        raise NotModelled(f"{where}Triton-Ascend fails on it: {telling[:300]}", text)

    def _worker(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        scratch = Path(tempfile.mkdtemp(prefix="kernelwright-ascend-"))
        try:
            seen = scratch / "libraries"
            seen.mkdir()
            shutil.copy(_WORKER, seen / "worker.py")
            (seen / "kernel.py").write_text(self._source)
            (seen / "job.json").write_text(json.dumps({**spec, "options": {}, "path": str(seen / "kernel.py"), "arch": ARCH}))
            return self._run(scratch, [str(self._toolchain.python), "-I", str(seen / "worker.py"), str(seen / "job.json")])
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run(self, scratch: Path, command: Sequence[str]) -> dict[str, Any]:
        work = str(scratch / "work")
        variables = {"PATH": os.defpath, "HOME": work, "TMPDIR": work, "TRITON_CACHE_DIR": f"{work}/triton", "LC_ALL": "C"}
        plan = sandbox.plan(self._mode, self._server.layers, gpu=False, processes=True)
        plan = replace(plan, seen=self._toolchain.seen())
        child = self._server.spawn(
            "program", scratch, {"command": command, "variables": variables}, limits=_LIMITS, sandbox=plan
        )
        try:
            child.ask("wait", _SECONDS)
            gone = child.kill()
        except ChildGone as ended:
            gone = ended.gone
        with (scratch / "program.log").open("rb") as file:
            log = file.read(_LOG).decode(errors="replace")
        lines = log.strip().splitlines() or [""]
        try:
            found = json.loads(lines[-1])
        except ValueError:
            found = None
        if isinstance(found, dict) and ("linalg" in found or "problem" in found):
            return found
        return {"problem": f"it ended ({gone}): {lines[-1][:200]}"}


def launch_compiler(judge: Judge, kernel: Kernel) -> LaunchCompiler:
    """Of a kernel that the backend has built; the toolchain was there then."""
    found = toolchain()
    if isinstance(found, str):
        raise HarnessError(found, "run the command again")
    return LaunchCompiler(found, judge.server({}), judge.settings.sandbox, judge.cache / "native", kernel.source)


def checked(said: Any) -> dict[str, Any]:
    """A launch as the runner says it, field by field.

    Raises:
        BadLaunch: a field is not what it must be.
    """
    if not isinstance(said, dict) or set(said) != {"function", "signature", "constants", "options"}:
        raise BadLaunch("not a launch")
    function, signature, constants, options = (said[name] for name in ("function", "signature", "constants", "options"))
    if not (isinstance(function, str) and _NAME.fullmatch(function)):
        raise BadLaunch("a function without a name")
    if not all(isinstance(part, dict) and all(map(_NAME.fullmatch, part)) for part in (signature, constants, options)):
        raise BadLaunch("arguments without names")
    if not all(isinstance(kind, str) and _TYPE.fullmatch(kind) for kind in signature.values()):
        raise BadLaunch("an argument of an unknown type")
    if not all(map(_is_constant, constants.values())) or set(options) - {"multibuffer"} or set(signature) & set(constants):
        raise BadLaunch("a constant that cannot be passed")
    return {"function": function, "signature": dict(signature), "constants": dict(constants), "options": dict(options)}


def _is_constant(value: Any) -> bool:
    if isinstance(value, dict):
        ((kind, text),) = value.items() if len(value) == 1 else (("", ""),)
        return isinstance(text, str) and (
            text in ("inf", "-inf", "nan") if kind == "float" else kind == "dtype" and bool(_NAME.fullmatch(text))
        )
    return value is None or isinstance(value, (bool, int, float, str))
