"""What built libraries ask of the system, on libraries that a compiler really made."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kernelwright.evaluator import binary
from kernelwright.evaluator.screen_rules import WHY

pytestmark = pytest.mark.skipif(not (shutil.which("g++") and shutil.which("nm")), reason="no g++ or binutils")

C = {
    "arithmetic": ("#include <math.h>\n#include <string.h>\n#include <stdlib.h>\n"
                   "void f(float* x, long n) { float* s = malloc(n * 4);"
                   "memcpy(s, x, n * 4);\n#pragma omp parallel for\n"
                   "for (long i = 0; i < n; ++i) x[i] = expf(s[i]); free(s); }", set()),
    "assertion": ("#include <assert.h>\n#include <stdio.h>\n"
                  "void f(float* x) { assert(x); printf(\"%f\", *x); }", set()),
    "dlsym by a macro": ("#define A dl\n#define B(a, b) a##b\n#define C(a, b) B(a, b)\nvoid* C(A, sym)(void*, const char*);"
                         "void* f() { return C(A, sym)(0, \"x\"); }", {("reject", "raw_memory")}),
    "a system call": ("long syscall(long, ...); long f() { return syscall(39); }", {("reject", "process")}),
    "a system call by assembly": ("long f() { long r;"
                                  "__asm__ volatile(\"syscall\" : \"=a\"(r) : \"a\"(39L) : \"rcx\", \"r11\");"
                                  "return r; }", {("reject", "process")}),
    "fork": ("int fork(void); int f() { return fork(); }", {("reject", "process")}),
    "a file": ("#include <stdio.h>\nvoid f() { fclose(fopen(\"x\", \"w\")); }", {("reject", "files")}),
    "a socket": ("int socket(int, int, int); int f() { return socket(1, 1, 0); }", {("reject", "network")}),
    "exit": ("void _exit(int); void f() { _exit(0); }", {("reject", "exit")}),
    "the environment": ("int setenv(const char*, const char*, int); "
                        "void f() { setenv(\"a\", \"b\", 1); }", {("reject", "environment")}),
    "executable memory": ("int mprotect(void*, unsigned long, int); int f(void* p) { return mprotect(p, 4096, 7); }",
                          {("reject", "raw_memory")}),
    "another library": ("void cblas_sgemm(void); void f() { cblas_sgemm(); }", {("reject", "library")}),
    "Fortran's BLAS": ("void sgemm_(void); void f() { sgemm_(); }", {("reject", "library")}),
    "a thread of its own": ("#include <pthread.h>\nvoid f(void* (*g)(void*)) { pthread_t t; pthread_create(&t, 0, g, 0); }",
                            {("flag", "threads")}),
    "the clock": ("#include <time.h>\n"
                  "double f() { struct timespec t; clock_gettime(1, &t); return t.tv_sec; }", {("flag", "clock")}),
    "mapped memory": ("#include <sys/mman.h>\nvoid* f() { return mmap(0, 4096, 3, 34, -1, 0); }", {("flag", "raw_memory")}),
    "rounding": ("#include <fenv.h>\nvoid f() { fesetround(0x400); }", {("flag", "fp_mode")}),
}  # fmt: skip
CPP = {
    "std::vector": ("#include <vector>\n#include <algorithm>\nvoid f(float* x, long n) { std::vector<float> v(x, x + n);"
                    "std::sort(v.begin(), v.end()); x[0] = v[0]; }", set()),
    "std::thread": ("#include <thread>\nvoid f() { std::thread([] {}).join(); }", {("flag", "threads")}),
    "std::ofstream": ("#include <fstream>\nvoid f() { std::ofstream(\"x\") << 1; }", {("reject", "files")}),
    "std::chrono": ("#include <chrono>\nlong f() { return std::chrono::steady_clock::now().time_since_epoch().count(); }",
                    {("flag", "clock")}),
    "ATen": ("namespace at { struct Tensor; Tensor* mm(Tensor*); } at::Tensor* f(at::Tensor* t) { return at::mm(t); }",
             {("reject", "library")}),
}  # fmt: skip


def findings(folder: Path, text: str, language: str) -> set[tuple[str, str]]:
    source, library = folder / f"k.{language}", folder / "k.so"
    source.write_text(text)
    flags = ["-O1", "-fopenmp", "-shared", "-fPIC", "-w", "-x", language]
    subprocess.run(["g++" if language == "c++" else "gcc", *flags, str(source), "-o", str(library), "-lm"], check=True)
    found = binary.inspect(str(library))
    assert all(f.rule in WHY for f in found), "a rule that the verdict can explain"
    return {(f.tier, f.rule) for f in found}


@pytest.mark.parametrize("name", C)
def test_what_a_library_calls_is_read_from_it(tmp_path: Path, name: str) -> None:
    text, wanted = C[name]
    assert findings(tmp_path, text, "c") == wanted


@pytest.mark.parametrize("name", CPP)
def test_what_a_cpp_library_calls_is_read_from_it(tmp_path: Path, name: str) -> None:
    text, wanted = CPP[name]
    found = findings(tmp_path, text, "c++")
    assert wanted <= found
    assert not {f for f in found - wanted if f[0] == "reject"}
