"""The toolchain of Triton-Ascend: absent, half installed, another version, crashing; each one line with the remedy."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from triton_ascend import SOFTMAX

from kernelwright.agent.cli.app import run
from kernelwright.evaluator import ascend_environment as environment
from kernelwright.evaluator.backends.ascend import AscendBackend
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Kernel, Status

GOOD = {"triton-ascend": "3.2.0", "ascendnpu-ir": "1.2.0"}


def stand_in(folder: Path, python: str, vendor: str = "#!/bin/sh\necho bishengir-compile 1.2.0\n") -> Path:
    """An environment whose python is the shell script ``python``."""
    (folder / "bin").mkdir()
    for name, text in (("python", python), ("bishengir-compile", vendor)):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    return folder


def says(folder: Path, **versions: str) -> str:
    said = {**GOOD, **versions, "vendor": str(folder / "bin" / "bishengir-compile")}
    return f"#!/bin/sh\necho noise\necho '{json.dumps(said)}'\n"


def problem(monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    monkeypatch.setenv(environment.PLACE, str(folder))
    found = environment.toolchain()
    assert isinstance(found, str)
    assert "\n" not in found
    return found


def test_absent_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert problem(monkeypatch, tmp_path / "none").endswith("; kernelwright doctor --install ascend")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'ascendnpuir'\" >&2\nexit 1\n", "No module named 'ascend"),
        ("#!/bin/sh\nkill -SEGV $$\n", "its python ended with -11"),
        ("#!/bin/sh\necho hello\n", "does not say its version, but 'hello'"),
        ("#!/no/such/interpreter\n", "not found"),
    ],
)
def test_half_installed_is_told_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, words: str
) -> None:
    found = problem(monkeypatch, stand_in(tmp_path, script))
    assert words in found
    assert found.endswith(environment.REMEDY)


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = says(tmp_path, **{"triton-ascend": "3.4.0"})
    found = problem(monkeypatch, stand_in(tmp_path, text))
    assert "it has triton-ascend 3.4.0, and this judge was tried with triton-ascend 3.2.0, ascendnpu-ir 1.2.0" in found


def test_a_vendor_compiler_that_crashes_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "_tool", lambda name: f"/usr/bin/{name}-19")
    stand_in(tmp_path, says(tmp_path), vendor="#!/bin/sh\necho cannot load libx >&2\nexit 3\n")
    assert "bishengir-compile --version ended with 3 cannot load libx" in problem(monkeypatch, tmp_path)
    (tmp_path / "bin" / "bishengir-compile").unlink()
    environment._tried.cache_clear()
    assert "has no bishengir-compile" in problem(monkeypatch, tmp_path)


def test_without_llvm_the_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "_tool", lambda name: "" if name == "mlir-opt" else f"/usr/bin/{name}-19")
    found = problem(monkeypatch, stand_in(tmp_path, says(tmp_path)))
    assert found.startswith("mlir-opt-19 not found")
    assert found.endswith("apt-get install mlir-19-tools llvm-19 clang-19")


def test_a_whole_one_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "_tool", lambda name: f"/usr/bin/{name}-19")
    monkeypatch.setenv(environment.PLACE, str(stand_in(tmp_path, says(tmp_path))))
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    found = environment.toolchain()
    assert isinstance(found, environment.Toolchain)
    assert (found.place, found.versions) == (tmp_path, "triton-ascend 3.2.0, ascendnpu-ir 1.2.0")
    assert found.seen() == (str(tmp_path), "/usr")
    assert found.tool("clang") == "/usr/bin/clang-19"


def test_without_it_a_triton_kernel_is_unsupported_and_ascend_c_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(environment.PLACE, str(tmp_path / "none"))
    built = AscendBackend().build(Kernel(SOFTMAX, "ascend"), tmp_path)
    assert (built.ok, built.unsupported) == (False, True)
    assert built.log.startswith("a Triton-Ascend kernel, and Triton-Ascend is not installed")
    assert AscendBackend().available("cpu") == ""
    with Judge("ascend", "cpu", tmp_path / "cache", Settings()) as judge:
        verdict = judge.judge(Kernel(SOFTMAX, "ascend"), load_task("activation/softmax"))
    assert verdict.status is Status.UNSUPPORTED
    assert verdict.reason.endswith(environment.REMEDY)


def test_the_steps_are_printed_and_not_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(environment.PLACE, str(tmp_path / "place"))
    monkeypatch.setattr(environment, "steps_problem", lambda: "")
    assert run(["doctor", "--install", "ascend", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["done"], said["place"]) == (False, str(tmp_path / "place"))
    apt, venv, pip = said["steps"]
    assert apt.endswith("apt-get install -y mlir-19-tools llvm-19 clang-19")
    assert venv == f"{sys.executable} -m venv --clear {tmp_path / 'place'}"
    assert pip.startswith(f"{tmp_path / 'place'}/bin/python -m pip install --no-deps triton-ascend==3.2.0 ascendnpu-ir==1.2.0")
    assert not (tmp_path / "place").exists()


def test_with_yes_a_step_that_fails_is_told_with_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    steps: list[list[str]] = [["touch", str(made)], ["false", "because"], ["touch", str(tmp_path / "never")]]
    monkeypatch.setattr(environment, "steps", lambda: steps)
    monkeypatch.setattr(environment, "steps_problem", lambda: "")
    assert run(["doctor", "--install", "ascend", "--yes"]) == 3
    assert "`false because` ended with 1" in capsys.readouterr().err
    assert made.exists()
    assert not (tmp_path / "never").exists()


def test_what_cannot_be_installed_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--install", "cuda"]) == 2
    assert "there is nothing to install for 'cuda'" in capsys.readouterr().err
    (tmp_path / "letters.txt").write_text("dear")
    monkeypatch.setenv(environment.PLACE, str(tmp_path))
    assert run(["doctor", "--install", "ascend", "--yes"]) == 2
    assert "is something else; move it" in capsys.readouterr().err
    assert (tmp_path / "letters.txt").exists()
