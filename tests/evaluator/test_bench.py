"""The benchmark of the judge: its figures are there, and add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kernelwright.evaluator import bench
from kernelwright.evaluator.toolchain import missing_compiler
from kernelwright.tasks.records import Stage

pytestmark = pytest.mark.skipif(bool(missing_compiler()), reason=f"builds a kernel: {missing_compiler()}")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bench")
    out = folder / "out.json"
    parts = [word for name in ("starts", "rejections", "cascade") for word in ("--only", name)]
    options = ["--device", "cpu", "--quick", "--kernels", "1", "--starts", "2", "--cache", str(folder), "--json", str(out)]
    assert bench.main([*options, *parts]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_where_the_figures_come_from_is_said(measured: dict[str, Any]) -> None:
    assert measured["command"].startswith("scripts/bench_evaluator --device cpu --quick")
    assert measured["quick"]
    assert measured["environment"]["kind"] == "cpu"
    assert measured["environment"]["date"]
    assert "torch" in measured["environment"]["versions"]


def test_starts_and_rejections(measured: dict[str, Any]) -> None:
    start = measured["starts"]
    assert start["start_ms"]["n"] == 2
    assert 0 < start["start_ms"]["median"] < start["loaded_ms"]["median"]
    ratio = start["fresh_interpreter_ms"]["median"] / start["start_ms"]["median"]
    assert start["fresh_over_start"] == pytest.approx(ratio, rel=0.05)
    for name in ("unparsable", "uncompilable"):
        found = measured["rejections"][name]
        assert found["status"] == ["build_failed"]
        assert 0 < found["seconds"]["median"] <= found["seconds"]["p90"]
    assert measured["rejections"]["unparsable"]["stage"] == ["screen"]


def test_the_stages_of_a_cascade_add_up(measured: dict[str, Any]) -> None:
    cascade = measured["cascade"]
    stages = cascade["stages"]
    assert {*(stage.value for stage in Stage), "open", "explain", "rest"} == set(stages)
    assert sum(stages.values()) == pytest.approx(cascade["seconds"]["median"], abs=0.02)  # of one kernel
    assert min(spent for name, spent in stages.items() if name != "rest") >= 0
    assert 0 <= stages["rest"] < 0.5  # what no stage has is little
    assert 0 < cascade["busy"]["calls"] <= cascade["busy"]["calls_and_flushes"] <= 1


def test_the_table_has_every_figure(measured: dict[str, Any]) -> None:
    text = "\n".join(bench.table(measured))
    for what in ("isolated start", "reject an unparsable kernel (build_failed)", "every stage", "device busy while timing"):
        assert what in text
    assert all(f"  {stage} " in text for stage in measured["cascade"]["stages"])


def test_what_it_has_no_kernels_for_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--device", "cpu", "--backend", "nosuch"]) == 2
    assert "nosuch" in capsys.readouterr().err


def test_a_simulated_device_has_nothing_to_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("triton")
    assert bench.main(["--device", "cpu", "--backend", "triton", "--cache", str(tmp_path)]) == 2
    assert "simulated" in capsys.readouterr().err
