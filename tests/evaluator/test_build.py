"""Native sources are found in a kernel's text and compiled ahead, with limits, without executing the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kernelwright.evaluator import toolchain
from kernelwright.evaluator.build import build_native, native_sources
from kernelwright.evaluator.toolchain import BuildError, build_library, source_hash

ADD = 'extern "C" void add(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] += x[i]; }'


def kernel(body: str, imports: str = "from kernelwright.evaluator.native import load") -> str:
    return f"{imports}\n{body}\n"


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from kernelwright.evaluator.native import load", "load"),
        ("from kernelwright.evaluator.native import load as L", "L"),
        ("from kernelwright.evaluator import native", "native.load"),
        ("from kernelwright.evaluator import native as n", "n.load"),
        ("import kernelwright.evaluator.native", "kernelwright.evaluator.native.load"),
        ("import kernelwright.evaluator.native as n", "n.load"),
        ("import kernelwright.evaluator as e", "e.native.load"),
    ],
)
def test_load_is_found_under_any_name(imports: str, call: str) -> None:
    (found,) = native_sources(kernel(f"\nlib = {call}(cpp='int x;')", imports))
    assert (found.source, found.line) == ("int x;", 3)
    assert found.hash == source_hash("int x;")


def test_other_functions_called_load_are_nobodys_business() -> None:
    assert native_sources("import json, torch\ny = json.load(open('x'))\nload = 3\ntorch.load('z')") == ()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("load(cpp='a' 'b')", "ab"),
        ("SRC = 'ab'\nload(cpp=SRC)", "ab"),
        ("SRC: str = 'a' + 'b'\nload(cpp=SRC + '\\n' + SRC)", "ab\nab"),
        ("N = 4\nload(cpp=f'#define N {N * 2}')", "#define N 8"),
        ("N = 4\nload(cpp=f'{N:03d}{N!r}{{}}')", "0044{}"),
        ("load(cpp='#define N %d' % 3)", "#define N 3"),
        ("load(cpp='{a}{0}'.format(1, a='x'))", "x1"),
        ("SRC = 'TYPE f'\nload(cpp=SRC.replace('TYPE', 'float'))", "float f"),
        ("load(cpp='\\n'.join(['a', 'b']))", "a\nb"),
        ("def f():\n    return load(cpp='''  x ''' .strip())", "x"),
    ],
)
def test_constant_expressions_are_folded(body: str, expected: str) -> None:
    assert [n.source for n in native_sources(kernel(body))] == [expected]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os\nload(cpp=os.environ['SRC'])", "line 3: load(…): the source must be a literal string"),
        ("SRC = 'a'\nSRC = 'b'\nload(cpp=SRC)", "assigned once"),
        ("load('int x;')", "takes the source as its one keyword"),
        ("load(cpp='')", "must be a string with C++ in it"),
        ("load(cuda='')", "must be a string with C++ in it"),
        ("load(cpp='x' * 10**9)", "literal"),
        ("load(cpp='%999999999d' % 1)", "literal"),
        ("load(cpp='{:>999999999}'.format(1))", "literal"),
        ("load(cpp=f'{1:>999999999}')", "literal"),
        ("from torch.utils.cpp_extension import load_inline\nload_inline('x', 'y')", "line 3: load_inline(…) has no cuda"),
        ("from torch.utils.cpp_extension import load\nload('x', ['y.cu'])", "line 3: torch.utils.cpp_extension.load is not"),
    ],
)
def test_a_source_that_the_text_does_not_give_is_named_with_its_line(body: str, message: str) -> None:
    started = time.perf_counter()
    with pytest.raises(BuildError) as error:
        native_sources(kernel(body))
    assert message in str(error.value)
    assert time.perf_counter() - started < 0.5


def test_building_executes_nothing_of_the_kernel(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    built = build_native(kernel(f"open({str(marker)!r}, 'w')\nlib = load(cpp={ADD!r})"), tmp_path / "cache")
    assert built.ok
    assert not marker.exists()
    assert Path(built.libraries[source_hash(ADD)]).exists()
    assert built.evidence["native"][0]["vectorised_loops"] == {"1": pytest.approx(32, abs=32)}


def test_a_small_source_builds_fast_and_only_once(tmp_path: Path) -> None:
    first = build_library(ADD, tmp_path)
    started = time.perf_counter()
    again = build_library(ADD, tmp_path)
    assert time.perf_counter() - started < 0.1
    assert (again.path, again.seconds) == (first.path, 0.0)
    assert (again.log, again.vectorised, again.scalar) == (first.log, first.vectorised, first.scalar)
    assert 0 < first.seconds < 5
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".so"], "no drafts are left behind"


def test_compile_errors_come_back_short_and_first(tmp_path: Path) -> None:
    source = 'extern "C" void f(float* x) {\n  x[0] = undeclared;\n}\n' + "".join(f"bad{i} b{i};\n" for i in range(90))
    built = build_native(kernel(f"lib = load(cpp={source!r})"), tmp_path)
    assert not built.ok
    assert "kernel.cpp:2" in built.log.splitlines()[0]
    assert "undeclared" in built.log.splitlines()[0]
    assert "more lines" in built.log
    assert len(built.log.splitlines()) < 60
    assert not list(tmp_path.glob("*.so"))


def test_a_kernel_that_does_not_parse_is_no_exception(tmp_path: Path) -> None:
    built = build_native("def (", tmp_path)
    assert not built.ok
    assert built.log.startswith("line 1")


@pytest.mark.parametrize("header", ["torch/extension.h", "ATen/ATen.h", "Python.h"])
def test_torch_headers_are_refused_at_once(header: str, tmp_path: Path) -> None:
    started = time.perf_counter()
    with pytest.raises(BuildError, match="take pointers and sizes"):
        build_library(f"  # include <{header}>\n{ADD}", tmp_path)
    assert time.perf_counter() - started < 0.2


def test_undefined_symbols_fail_the_build(tmp_path: Path) -> None:
    source = 'extern "C" void sgemm_(float*); extern "C" void f(float* x) { sgemm_(x); }'
    with pytest.raises(BuildError, match="undefined reference to `sgemm_'"):
        build_library(source, tmp_path)


def test_a_runaway_compilation_is_stopped_with_its_children(tmp_path: Path) -> None:
    source = """
constexpr long slow() { long s = 0; for (long i = 0; i < 2000000000; ++i) s += i; return s; }
extern "C" long f() { return slow(); }
""" + "".join(f"int v{i} = __builtin_constant_p({i});\n" for i in range(200_000))
    started = time.perf_counter()
    with pytest.raises(BuildError, match=r"ran past 0\.3 s"):
        build_library(source, tmp_path, timeout=0.3)
    assert time.perf_counter() - started < 3
    assert not list(tmp_path.iterdir())


def test_the_process_group_dies_with_the_timeout(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = ["/bin/sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"]
    assert toolchain.run_limited(command, tmp_path, 0.5) is None
    pid = int(pid_file.read_text())
    for _ in range(50):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.02)
    os.kill(pid, 9)
    pytest.fail("a grandchild survived")


def test_many_builders_of_one_source_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = {library.path for library in pool.map(lambda _: build_library(ADD, tmp_path), range(4))}
    (path,) = paths
    assert Path(path).read_bytes()[:4] == b"\x7fELF"


def test_no_compiler_is_one_line_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BuildError, match="apt install g"):
        build_library(ADD, tmp_path)


def test_another_machine_or_compiler_gets_its_own_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = build_library(ADD, tmp_path).path
    monkeypatch.setattr(toolchain, "machine", lambda: "another CPU")
    assert build_library(ADD, tmp_path).path != here


def test_finding_and_building_need_no_torch() -> None:
    evaluator = "build screen honesty judge backends.cpp backends.triton"
    modules = [*(f"kernelwright.evaluator.{name}" for name in evaluator.split()), "kernelwright.agent.mcp.server"]
    code = f"import sys, {', '.join(modules)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_prelude_is_parsed_once_and_read_where_it_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toolchain._parsed_prelude.cache_clear()
    source = ADD + '\nextern "C" double root(double x) { return std::max(std::sqrt(x), 0.5); }\nint 0bad;'
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    said = []
    for place in ("kept", "again"):
        assert build_library(source.replace("int 0bad;", ""), tmp_path / place).path
        with pytest.raises(BuildError, match=r"kernel\.cpp:3:5: error") as refused:
            build_library(source, tmp_path / place)
        said.append(str(refused.value))
    if "clang" not in Path(toolchain.find_compiler()).name:
        assert len(list((tmp_path / "cache").rglob("prelude.hpp.gch"))) == 1
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert build_library(source.replace("int 0bad;", ""), tmp_path / "nowhere").path
    with pytest.raises(BuildError) as refused:
        build_library(source, tmp_path / "nowhere")
    assert {str(refused.value), *said} == {said[0]}
