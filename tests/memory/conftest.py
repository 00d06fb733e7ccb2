"""The scenes as a fixture, and a workspace that is closed at the end."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from kernelwright.memory.memory import Memory
from kernelwright.memory.store import Store


def _load() -> ModuleType:
    name = "memory_scenes"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("scenes.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def scenes() -> ModuleType:
    return _load()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second writer is refused at once; a test of its own is about the wait."""
    monkeypatch.setattr("kernelwright.memory.chroma_folder.PATIENCE", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'home' / 'store.db'}")
    yield opened
    opened.close()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    opened = _load().open_here(tmp_path / "home")
    yield opened
    opened.close()
