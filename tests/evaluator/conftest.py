"""A judge without timing, sanitizers, screen and sandbox, shared by the tests of what the other layers catch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings


@pytest.fixture(scope="package")
def bare_judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    settings = Settings(
        timing=False, sanitize="off", screen=False, sandbox="off", smoke_seconds=10.0, call_seconds=20.0, memory_bytes=2 << 30
    )
    with Judge("cpp", "cpu", tmp_path_factory.mktemp("bare"), settings) as judge:
        yield judge
