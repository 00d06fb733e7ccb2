"""What every backend must do. A subclass overrides the fixtures and inherits the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kernelwright.evaluator.backends import registry
from kernelwright.evaluator.backends.backend import Backend
from kernelwright.tasks.records import Kernel

PARSE_LIMIT_S = 0.5
RUN = """
import contextlib, json, os, sys, torch
if {triton}:
    from kernelwright.evaluator.backends.triton_launches import install
    made = install(contextlib.nullcontext)
    launches = lambda: made.count
elif {pallas}:
    from kernelwright.evaluator import pallas
    from kernelwright.evaluator.backends.pallas_launch import Launches
    made = Launches()
    pallas.use(made.launch)
    launches = lambda: made.count
elif {ttlang}:
    from kernelwright.evaluator import ttlang
    from kernelwright.evaluator.backends.ttlang_launch import Launches
    made = Launches()
    sys.modules.update(made.modules())
    ttlang.use(made.launch)
    launches = lambda: made.count
else:
    from kernelwright.evaluator import native
    launches = native.calls
import importlib.util
spec = importlib.util.spec_from_file_location("kernel", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
x = torch.arange(1000, dtype=torch.float32)
y = module.ModelNew()(x)
print(json.dumps([bool(torch.equal(y, 2 * x)), launches()]))
"""


class BackendConformance:
    """The contract of :class:`~kernelwright.evaluator.backends.backend.Backend`, on real builds."""

    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError

    @pytest.fixture
    def good(self) -> str:
        """Source of a kernel whose ``ModelNew()`` doubles a float32 vector."""
        raise NotImplementedError

    @pytest.fixture
    def broken(self) -> tuple[str, str]:
        """Source of a kernel that parses as Python and does not build, and what its log must say; empty where none can."""
        raise NotImplementedError

    @pytest.fixture
    def device(self) -> str:
        """A device that this machine has and the backend can use or simulate."""
        return "cpu"

    def test_it_is_found_by_its_name(self, backend: Backend) -> None:
        assert type(registry.backend(backend.name)) is type(backend)
        path = f"{type(backend).__module__}:{type(backend).__qualname__}"
        assert type(registry.backend(path)) is type(backend)

    def test_available_is_empty_or_one_line(self, backend: Backend, device: str) -> None:
        assert backend.available(device) == ""
        for other in ("cpu", "cuda", "toaster"):
            reason = backend.available(other)
            assert "\n" not in reason
        assert backend.available("toaster"), "a device that does not exist is not available"

    def test_a_good_kernel_builds_once(self, backend: Backend, good: str, tmp_path: Path) -> None:
        kernel = Kernel(good, backend.name)
        first = backend.build(kernel, tmp_path)
        second = backend.build(kernel, tmp_path)
        assert first.ok, first.log
        assert second.ok
        assert dict(first.libraries) == dict(second.libraries)
        assert all(Path(path).is_file() for path in first.libraries.values())
        assert second.seconds <= max(first.seconds, 0.2)
        assert json.loads(json.dumps(dict(first.evidence)))

    def test_what_does_not_build_is_told_and_raises_nothing(
        self, backend: Backend, broken: tuple[str, str], tmp_path: Path
    ) -> None:
        source, message = broken
        if not source:
            pytest.skip(f"{backend.name} compiles at the first launch")
        built = backend.build(Kernel(source, backend.name), tmp_path)
        assert not built.ok
        assert message in built.log
        assert built.log.splitlines()[0].strip()

    def test_what_does_not_parse_is_rejected_at_once(self, backend: Backend, tmp_path: Path) -> None:
        started = time.perf_counter()
        built = backend.build(Kernel("class ModelNew(:\n", backend.name), tmp_path)
        assert time.perf_counter() - started < PARSE_LIMIT_S
        assert not built.ok
        assert "line 1" in built.log

    def test_building_executes_nothing(self, backend: Backend, good: str, tmp_path: Path) -> None:
        marker = tmp_path / "executed"
        source = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n{good}"
        assert backend.build(Kernel(source, backend.name), tmp_path / "cache").ok
        assert not marker.exists()

    def test_what_was_built_runs_with_the_entry_and_its_work_is_counted(
        self, backend: Backend, good: str, device: str, tmp_path: Path
    ) -> None:
        built = backend.build(Kernel(good, backend.name), tmp_path)
        path = tmp_path / "kernel.py"
        path.write_text(good)
        environment = os.environ | dict(backend.run_entry(device))
        environment |= {"KERNELWRIGHT_LIBRARIES": json.dumps(dict(built.libraries)), "TRITON_CACHE_DIR": str(tmp_path)}
        code = RUN.format(**{name: backend.name == name for name in ("triton", "pallas", "ttlang")})
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        right, launches = json.loads(done.stdout.splitlines()[-1])
        assert right
        assert launches >= 1

    def test_the_entry_is_an_environment(self, backend: Backend, device: str) -> None:
        entry = backend.run_entry(device)
        assert all(isinstance(k, str) and isinstance(v, str) for k, v in entry.items())

    def test_diagnosis_is_data(self, backend: Backend, good: str, tmp_path: Path) -> None:
        kernel = Kernel(good, backend.name)
        found = backend.diagnose(kernel, backend.build(kernel, tmp_path))
        assert found
        assert json.loads(json.dumps(dict(found)))
