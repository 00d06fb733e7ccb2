"""The vendor's compiler where CANN is installed: how it is found and called, and whom what it says accuses. No CANN is here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cann_stand_in import StandIn

from kernelwright.agent.cli.doctor import _cann
from kernelwright.agent.prompt.knowledge import PROMPTS
from kernelwright.evaluator import cann, native
from kernelwright.evaluator import toolchain_cann as toolchain
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.toolchain import BuildError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, Kernel, Stage, Status, Verdict

KERNEL = toolchain.PLAIN.replace("void plain(", "void mine(")
UNDECLARED = """\
kernel.cpp:15:3: error: use of undeclared identifier 'Frobnicate'
  Frobnicate(b, a, 64);
  ^
1 error generated when compiling for host."""
IN_A_HEADER = """\
In file included from kernel.cpp:1:
/home/cann/kernel_operator_vec_unary_intf.h:90:5: error: static assertion failed: "unsupported type"
kernel.cpp:15:12: note: in instantiation of function template specialization 'AscendC::Exp<int>' requested here
1 error generated."""
BACKEND = """\
fatal error: error in backend: not support bf16 type cast
PLEASE submit a bug report to the vendor and include the crash backtrace, preprocessed source, and associated run script.
bisheng: error: clang frontend command failed with exit code 70 (use -v to see invocation)"""
CRASHED = """\
*** stack smashing detected ***: terminated
PLEASE submit a bug report to the vendor and include the crash backtrace, preprocessed source, and associated run script.
Stack dump:
bisheng: error: clang frontend command failed due to signal (use -v to see invocation)"""
NO_HEADER = """\
In file included from kernel.cpp:1:
/home/cann/kernel_operator.h:24:10: fatal error: 'kernel_tpipe_impl.h' file not found
kernel.cpp:3:12: error: unknown type name 'TPipe'
2 errors generated."""
BROKEN_HEADER = """\
In file included from kernel.cpp:1:
/home/cann/kernel_tpipe.h:24:10: error: expected ';' after class
1 error generated."""
NO_ROOM = "bisheng: error: unable to make temporary file: No space left on device"


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*cann.HOMES, "BISHENG_INSTALL_PATH"):
        monkeypatch.delenv(name, raising=False)
    toolchain._tried.cache_clear()
    yield
    toolchain._tried.cache_clear()


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path / "cann"))
    return StandIn(tmp_path / "cann")


def found() -> toolchain.Compiler:
    made = toolchain.compiler()
    assert isinstance(made, toolchain.Compiler), made
    return made


def unusable() -> str:
    said = toolchain.compiler()
    assert isinstance(said, str)
    assert "\n" not in said
    return said


def test_the_plain_kernel_is_one_in_our_own_model_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERNELWRIGHT_LIBRARIES", raising=False)
    x, y = torch.arange(64.0), torch.zeros(64)
    native.load(ascend=toolchain.PLAIN).plain[1](x, y)
    assert torch.equal(y, x + 1)


def test_without_cann_there_is_nothing_to_say() -> None:
    assert toolchain.compiler() == ""
    assert toolchain.evidence([KERNEL], Path("never-made")) == {}
    assert list(_cann()) == []


def test_a_new_release_is_given_ascend_c_by_name(toolkit: StandIn) -> None:
    made = found()
    assert (made.form.name, made.form.arch) == ("asc", "dav-2201")
    assert made.versions == "CANN 8.5.0, clang version 15.0.5 (clang-5c68a1cb1231 flang-5c68a1cb1231)"
    assert toolkit.calls() == ["-x asc --npu-arch=dav-2201 -O2 -std=c++17 -c kernel.cpp -o kernel.o"]


def test_an_older_one_is_given_the_options_and_the_headers_that_it_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path / "cann"))
    toolkit = StandIn(tmp_path / "cann", forms="cce", below="compiler/ccec_compiler/bin")
    assert found().form.arch == "dav-c220-vec"
    asc, again, cce = toolkit.calls()
    assert ("--npu-arch" in asc, "-I" in asc) == (True, False)
    assert ("--npu-arch" in again, "-I" in again) == (True, True)
    assert cce.startswith("-x cce --cce-aicore-arch=dav-c220-vec --cce-auto-sync -mllvm -cce-aicore-stack-size=0x8000 -mllvm ")
    assert " -DTILING_KEY_VAR=0 --cce-aicore-only -I" in cce
    assert f"-I{tmp_path}/cann/compiler/tikcpp/tikcfw " in cce
    assert "-Itikcpp" not in cce
    assert cce.endswith(" -O2 -std=c++17 -c kernel.cpp -o kernel.o")


@pytest.mark.parametrize(
    ("forms", "program", "arch"),
    [("asc-headers", "bisheng", "dav-2201"), ("soc", "bisheng", "Ascend910B1"), ("cce soc", "ccec", "dav-c220-vec")],
)
def test_others_and_the_compiler_of_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forms: str, program: str, arch: str
) -> None:
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path / "cann"))
    StandIn(tmp_path / "cann", forms, program)
    made = found()
    assert (made.form.arch, Path(made.path).name) == (arch, program)


@pytest.mark.parametrize("below", ["bin", "compiler/ccec_compiler/bin", "tools/bisheng_compiler/bin", f"{cann.MACHINE}/bin"])
def test_a_compiler_on_path_tells_where_its_toolkit_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    toolkit = StandIn(tmp_path / "cann", below=below)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "bisheng").symlink_to(toolkit.folder / "bisheng")
    monkeypatch.setenv("PATH", f"{tmp_path / 'links'}:/usr/bin:/bin")
    assert cann.home() == tmp_path / "cann"
    assert found().versions.startswith("CANN 8.5.0, ")


def test_the_compiler_sees_its_toolkit_and_nothing_else_of_the_environment(
    toolkit: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_USER", "1")
    monkeypatch.setenv("CPLUS_INCLUDE_PATH", "/elsewhere")
    found()
    seen = toolkit.environment()
    assert seen["ASCEND_HOME_PATH"] == str(toolkit.home)
    assert seen["LD_LIBRARY_PATH"] == str(toolkit.home / "lib64")
    assert seen["PATH"].split(":")[0] == str(toolkit.folder)
    assert not {"SECRET_OF_THE_USER", "CPLUS_INCLUDE_PATH", "HOME"} & set(seen)


def test_a_variable_that_names_no_folder_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path / "gone"))
    assert unusable() == (f"ASCEND_HOME_PATH is {tmp_path / 'gone'}, and no such folder is here; {cann.REMEDY}, or unset it")
    (tmp_path / "gone").mkdir()
    toolchain._tried.cache_clear()
    assert unusable() == f"the CANN at {tmp_path / 'gone'} has neither bisheng nor ccec; {cann.REMEDY}"


def test_half_an_installation_is_told_by_each_form_that_was_tried(toolkit: StandIn) -> None:
    (toolkit.folder / "forms").write_text("cce")
    (toolkit.home / "compiler" / "tikcpp" / "tikcfw" / "kernel_operator.h").unlink()
    said = unusable()
    assert said.startswith(
        f"the CANN at {toolkit.home} does not compile a plain kernel (asc: bisheng: error: unsupported option '--n"
    )
    assert "cce: kernel.cpp:1:10: fatal error: 'kernel_operator.h' file not found; soc: bisheng: error: unsupported" in said
    assert toolchain.evidence([KERNEL], toolkit.home) == {"problem": said}


def test_what_it_takes_is_evidence_and_is_kept(toolkit: StandIn, tmp_path: Path) -> None:
    said = toolchain.evidence([KERNEL, KERNEL + "// another"], tmp_path / "cache")
    assert (said["arch"], said["form"]) == ("dav-2201", "asc")
    assert said["version"].startswith("CANN 8.5.0, clang version 15.0.5")
    assert said["seconds"] > 0
    assert said["bytes"] == 2 * (len(KERNEL) + 5) + len("// another")
    assert said["warnings"] == ["kernel.cpp:2:3: warning: unused variable 'a' [-Wunused-variable]"] * 2
    calls = len(toolkit.calls())
    assert toolchain.evidence([KERNEL], tmp_path / "cache")["seconds"] == 0
    assert len(toolkit.calls()) == calls


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (UNDECLARED, "kernel.cpp:15:3: error: use of undeclared identifier 'Frobnicate'"),
        (IN_A_HEADER, 'kernel_operator_vec_unary_intf.h:90:5: error: static assertion failed: "unsupported type"'),
        (BACKEND, "fatal error: error in backend: not support bf16 type cast"),
        ("ld.lld: error: undefined symbol: helper(int)", "ld.lld: error: undefined symbol: helper(int)"),
    ],
)
def test_what_it_refuses_is_told_in_its_own_words(toolkit: StandIn, tmp_path: Path, log: str, words: str) -> None:
    toolkit.says(log)
    with pytest.raises(BuildError) as caught:
        toolchain.compile_ascendc(KERNEL, found(), tmp_path)
    assert str(caught.value).startswith("the vendor's compiler refuses it: ")
    assert str(caught.value).endswith(words)
    assert caught.value.log == log


@pytest.mark.parametrize(
    ("log", "code", "words"),
    [
        (CRASHED, 1, "it crashed: bisheng: error: clang frontend command failed due to signal"),
        (
            NO_HEADER,
            1,
            "its installation lacks a header: /home/cann/kernel_operator.h:24:10: fatal error: 'kernel_tpipe_impl.h'",
        ),
        (BROKEN_HEADER, 1, "/home/cann/kernel_tpipe.h:24:10: error: expected ';' after class"),
        (NO_ROOM, 1, NO_ROOM),
        ("", 3, "it ended with status 3 and no error"),
        ("kernel.cpp:2:3: warning: unused variable 'a'", 3, "it ended with status 3 and no error"),
        ("", 0, "it made no object"),
        ("", "hang", "it ran too long and was stopped"),
    ],
)
def test_its_own_trouble_accuses_no_kernel(toolkit: StandIn, tmp_path: Path, log: str, code: int | str, words: str) -> None:
    using = found()
    toolkit.says(log, code)
    with pytest.raises(toolchain.Trouble) as caught:
        toolchain.compile_ascendc(KERNEL, using, tmp_path, 1.0 if code == "hang" else 60.0)
    assert str(caught.value).startswith(words)


def test_a_toolchain_that_breaks_later_accuses_no_kernel(toolkit: StandIn, tmp_path: Path) -> None:
    found()
    toolkit.says(UNDECLARED)
    toolkit.says("kernel.cpp:2:1: error: unknown type name 'GM_ADDR'", of_plain=True)
    said = toolchain.evidence([KERNEL], tmp_path / "cache")
    assert said["problem"] == (
        "it refuses the plain kernel too, which it took before: kernel.cpp:2:1: error: unknown type name 'GM_ADDR'"
    )


def judged(cache: Path) -> Verdict:
    text = (PROMPTS / "backends" / "ascend" / "exemplars" / "activation.py").read_text()
    with Judge("ascend", "cpu", cache, Settings()) as judge:
        return judge.judge(Kernel(text, "ascend"), load_task("activation/softmax"))


def test_a_kernel_that_passed_is_compiled_too(toolkit: StandIn, tmp_path: Path) -> None:
    verdict = judged(tmp_path / "cache")
    assert (verdict.status, verdict.assurance) == (Status.PASSED, Assurance.SIMULATED)
    said = verdict.evidence["compiled"]["cann"]
    assert (said["arch"], said["form"]) == ("dav-2201", "asc")
    assert said["seconds"] > 0
    toolkit.says(CRASHED)
    again = judged(tmp_path / "another")
    assert again.status is Status.PASSED
    assert again.evidence["compiled"]["cann"]["problem"].startswith("it crashed: ")


def test_one_that_passed_and_does_not_compile_is_build_failed(toolkit: StandIn, tmp_path: Path) -> None:
    toolkit.says(UNDECLARED)
    verdict = judged(tmp_path / "cache")
    assert (verdict.status, verdict.stage) == (Status.BUILD_FAILED, Stage.BUILD)
    assert verdict.reason.endswith("kernel.cpp:15:3: error: use of undeclared identifier 'Frobnicate'")
    assert verdict.evidence["compiler"] == UNDECLARED
    assert verdict.assurance is Assurance.STATIC
    assert any(case.status == "passed" for case in verdict.cases)


def test_doctor_has_tried_it(toolkit: StandIn) -> None:
    (row,) = _cann()
    assert row["ok"]
    assert row["found"].startswith("CANN 8.5.0, clang version 15.0.5")
    assert row["found"].endswith(": compiles Ascend C for dav-2201 (asc)")
    assert toolkit.calls()
    toolkit.says("kernel.cpp:1:1: error: no licence", of_plain=True)
    toolchain._tried.cache_clear()
    (row,) = _cann()
    assert not row["ok"]
    assert "(asc: kernel.cpp:1:1: error: no licence; asc with headers: " in row["problem"]
    assert row["problem"].endswith("(kernels are judged without it)")
