"""Exemplars are kernels, not illustrations: each is built, run and compared with its reference, and passes the screen."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from kernelwright.agent.prompt.knowledge import PROMPTS
from kernelwright.evaluator.screen import screen
from kernelwright.tasks.records import Kernel

HERE = Path(__file__).parent
LIBRARY = Path(str(resources.files("kernelwright"))) / "tasks" / "library"
CATEGORIES = {path.name for path in LIBRARY.iterdir() if any(path.glob("*/task.yaml"))}
EXEMPLARS = [(b, p.stem) for b in ("cpp", "triton") for p in sorted((PROMPTS / "backends" / b / "exemplars").glob("*.py"))]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@functools.cache
def seen(backend: str, cache: Path) -> list[dict[str, Any]]:
    """What :mod:`compare` saw of all exemplars of a backend, in a process of its own."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "2"}
    if backend == "triton":
        environment["TRITON_INTERPRET"] = "1"
    command = [sys.executable, str(HERE / "compare.py"), backend, str(PROMPTS / "backends" / backend / "exemplars")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


@pytest.mark.parametrize("backend", ["cpp", "triton"])
def test_every_category_has_its_exemplar(backend: str) -> None:
    assert {category for b, category in EXEMPLARS if b == backend} == CATEGORIES
    assert {path.stem for path in (HERE / "references").glob("*.py")} == CATEGORIES
    assert len(CATEGORIES) == 14


@pytest.mark.parametrize(("backend", "category"), EXEMPLARS)
def test_an_exemplar_agrees_with_its_reference(backend: str, category: str, cache: Path) -> None:
    if backend == "cpp" and not shutil.which("g++"):
        pytest.skip("no g++")
    if backend == "triton":
        pytest.importorskip("triton")
    rows = [row for row in seen(backend, cache) if row["category"] == category]
    assert len(rows) >= 4
    assert [row for row in rows if row["problem"]] == []


@pytest.mark.parametrize(("backend", "category"), EXEMPLARS)
def test_an_exemplar_passes_the_screen_and_explains_itself(backend: str, category: str) -> None:
    source = (PROMPTS / "backends" / backend / "exemplars" / f"{category}.py").read_text(encoding="utf-8")
    assert [f for f in screen(Kernel(source, backend)) if f.tier != "record"] == []
    assert source.startswith('"""')
    assert len(source) <= 9_000
    assert max(len(line) for line in source.splitlines()) <= 140
