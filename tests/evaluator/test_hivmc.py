"""Triton-Ascend's last step where CANN has it: the vendor's real `bishengir-compile` calls a stand-in of its closed `hivmc`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from triton_ascend import FOUND, PLACE, REDTEAM, SOFTMAX

from kernelwright.agent.cli.doctor import _ascend
from kernelwright.evaluator import cann
from kernelwright.evaluator import toolchain_hivm as hivm
from kernelwright.evaluator.ascend_environment import Toolchain, toolchain
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.toolchain import BuildError
from kernelwright.evaluator.toolchain_cann import Trouble
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, Kernel, Status, Verdict

FAILED = """\
[ERROR] Executing: /cann/bin/hivmc /tmp/hivm/module.hivm.opt.mlir --enable-debug-info=false -o /tmp/kernel.o
loc("/tmp/kernel.mlir":1:1): error: External hivmc run fails, returning module before running external compiler
[ERROR] Failed to run BiShengIR pipeline
"""
"""What the real `bishengir-compile` 1.2.0 says when `hivmc` ends with another status than 0."""
REFUSAL = "module.hivm.opt.mlir:7:11: error: 'hivm.hir.vexp' op operand type not supported by this release"
STAND_IN = """#!/bin/sh
if [ "$1" = --version ]; then echo "hivmc 0.1.0 (e4e2ba9841d1 2026-01-16)"; exit 0; fi
echo "$*" >> {folder}/calls
env > {folder}/environment
grep -q "func.func @plain" "$1" && kind=plain || kind=kernel
if [ -e {folder}/$kind ]; then cat {folder}/$kind >&2; exit 1; fi
for last; do :; done
printf 'ELF' > "$last"
"""


class Hivmc:
    """A toolkit with a `hivmc` alone."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "tools" / "bishengir" / "bin"
        self.folder.mkdir(parents=True)
        (self.folder / "hivmc").write_text(STAND_IN.format(folder=self.folder))
        (self.folder / "hivmc").chmod(0o755)

    def says(self, text: str, kind: str = "kernel") -> None:
        """From now on it ends so on every kernel, or on the plain one."""
        (self.folder / kind).write_text(text + "\n")


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*cann.HOMES, "BISHENG_INSTALL_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(PLACE, str(FOUND))
    hivm._tried.cache_clear()
    yield
    hivm._tried.cache_clear()


@pytest.fixture
def hivmc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hivmc:
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path / "cann"))
    return Hivmc(tmp_path / "cann")


def real() -> Toolchain:
    found = toolchain()
    assert isinstance(found, Toolchain), found
    return found


def test_what_the_last_step_says_is_told_from_how_it_ended(tmp_path: Path) -> None:
    made = tmp_path / "kernel.o"
    with pytest.raises(BuildError, match=r"refuses it: module.hivm.opt.mlir:7:11: error: 'hivm.hir.vexp' op operand type"):
        hivm._binary(1, f"{REFUSAL}\n{FAILED}", made)
    with pytest.raises(Trouble, match="hivmc made no binary, and named no error of the kernel"):
        hivm._binary(1, FAILED, made)
    with pytest.raises(Trouble, match="hivmc crashed: error: nothing matches"):
        hivm._binary(1, f"x: error: nothing matches\nStack dump:\n{FAILED}".replace("x: ", "error: ", 1), made)
    with pytest.raises(Trouble, match="named no error"):
        hivm._binary(0, "", made)
    made.write_bytes(b"ELF")
    assert hivm._binary(0, "[ERROR] Failed to run `hivmc --version`.\n", made) == 3


@pytest.mark.requires_triton_ascend
def test_a_whole_toolkit_makes_a_binary(hivmc: Hivmc, tmp_path: Path) -> None:
    last = hivm.last_step(real())
    assert isinstance(last, hivm.LastStep), last
    assert last.versions == "CANN of unknown version, hivmc 0.1.0 (e4e2ba9841d1 2026-01-16)"
    seen = (hivmc.folder / "environment").read_text().splitlines()
    assert f"ASCEND_HOME_PATH={hivmc.home}" in seen
    made = hivm.compile_hivm(hivm.PLAIN, real(), tmp_path, True, 60.0, last)
    assert made.binary == {"bytes": 3}
    assert "hivm.hir" in made.text


@pytest.mark.requires_triton_ascend
def test_without_it_nothing_is_said_of_it(tmp_path: Path) -> None:
    assert hivm.last_step(real()) == ""
    assert hivm.compile_hivm(hivm.PLAIN, real(), tmp_path, True, 60.0, None).binary == {}


@pytest.mark.requires_triton_ascend
def test_one_that_makes_nothing_of_a_plain_kernel_is_told_and_not_called(
    hivmc: Hivmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hivmc.says("error: no licence", "plain")
    said = hivm.last_step(real())
    assert isinstance(said, str)
    assert said.startswith(f"{hivmc.folder / 'hivmc'} makes no binary of a plain kernel (")
    assert "no licence" in said
    rows = {row["what"]: row for row in _ascend()}
    assert rows["hivmc"]["problem"] == f"{said} (kernels are judged without it)"
    (hivmc.folder / "calls").unlink()
    monkeypatch.setenv("PATH", f"{hivmc.folder}:/usr/bin:/bin")
    assert hivm.compile_hivm(hivm.PLAIN, real(), tmp_path, True, 60.0, None).binary == {}
    assert not (hivmc.folder / "calls").exists()


@pytest.mark.requires_triton_ascend
def test_what_breaks_later_accuses_no_kernel(hivmc: Hivmc, tmp_path: Path) -> None:
    last = hivm.last_step(real())
    assert isinstance(last, hivm.LastStep)
    hivmc.says(REFUSAL, "plain")
    made = hivm.compile_hivm(hivm.PLAIN, real(), tmp_path, True, 60.0, last)
    assert made.binary["problem"].startswith("it refuses the plain kernel too, which it took before: ")


def judged(cache: Path) -> Verdict:
    with Judge("ascend", "cpu", cache, Settings()) as judge:
        return judge.judge(Kernel(SOFTMAX, "ascend"), load_task(str(REDTEAM / "tasks" / "row_softmax")))


@pytest.mark.requires_triton_ascend
def test_its_refusal_is_build_failed_and_its_silence_is_evidence(hivmc: Hivmc, tmp_path: Path) -> None:
    verdict = judged(tmp_path / "takes")
    assert (verdict.status, verdict.assurance) == (Status.PASSED, Assurance.SIMULATED)
    compiled = verdict.evidence["compiled"]
    assert compiled["cann"] == {"version": "CANN of unknown version, hivmc 0.1.0 (e4e2ba9841d1 2026-01-16)"}
    assert all(launch["binary"] == {"bytes": 3} for launch in compiled["launches"])
    hivmc.says(REFUSAL)
    verdict = judged(tmp_path / "refuses")
    assert verdict.status is Status.BUILD_FAILED
    assert "op operand type not supported by this release" in verdict.reason
    hivmc.says("")
    verdict = judged(tmp_path / "silent")
    assert verdict.status is Status.PASSED
    silent = {"problem": "hivmc made no binary, and named no error of the kernel"}
    assert all(launch["binary"] == silent for launch in verdict.evidence["compiled"]["launches"])
