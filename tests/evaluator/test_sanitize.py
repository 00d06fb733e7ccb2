"""The sanitize stage on real kernels: each memory error and race is found, and the honest kernel beside it passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Kernel, Stage, Status, Task

SCALE = """
import torch, torch.nn as nn
N = 1003
class Model(nn.Module):
    def forward(self, x):
        return x * 2.0
def get_inputs():
    return [torch.randn(N)]
def get_init_inputs():
    return []
"""

TOTAL = """
import torch, torch.nn as nn
N = 65539
class Model(nn.Module):
    def forward(self, x):
        return x.sum().reshape(1)
def get_inputs():
    return [torch.rand(N)]
def get_init_inputs():
    return []
"""

FRAME = '''
import torch, torch.nn as nn
from kernelwright.evaluator.native import load
lib = load(cpp=r"""
CODE
""")
class ModelNew(nn.Module):
    def forward(self, x):
        BODY
'''
SIMPLE = "y = torch.empty_like(x)\nlib.f(x, y, x.numel())\nreturn y"
SUM = "y = torch.zeros(1)\nlib.f(x, y, x.numel())\nreturn y"
F = 'extern "C" void f(const float* x, float* y, int64_t n) {'


def kernel(code: str, body: str = SIMPLE) -> Kernel:
    return Kernel(FRAME.replace("CODE", code).replace("BODY", body.replace("\n", "\n        ")), "cpp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sanitize")


@pytest.fixture(scope="module")
def scale(folder: Path) -> Task:
    path = folder / "scale.py"
    path.write_text(SCALE)
    return load_task(str(path))


@pytest.fixture(scope="module")
def total(folder: Path) -> Task:
    path = folder / "total.py"
    path.write_text(TOTAL)
    return load_task(str(path))


@pytest.fixture(scope="module")
def judge(folder: Path) -> Iterator[Judge]:
    settings = Settings(timing=False, smoke_seconds=20.0, call_seconds=20.0, memory_bytes=2 << 30)
    with Judge("cpp", "cpu", folder / "cache", settings) as found:
        yield found


READ_PAST = f"""{F}
  volatile float ahead = 0.0f;
  for (int64_t i = 0; i < n; ++i) {{ y[i] = x[i] * 2.0f; ahead = x[i + 1]; }}
}}"""
WRITE_PAST = f"""{F}
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * 2.0f;
  y[n] = 0.0f;
}}"""
VECTOR_PAST = f"""#include <immintrin.h>
{F}
  for (int64_t i = 0; i < n; i += 8) {{
    __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(2.0f));
    float out[8]; _mm256_storeu_ps(out, v);
    for (int64_t j = 0; j < 8 && i + j < n; ++j) y[i + j] = out[j];
  }}
}}"""
STACK_PAST = f"""{F}
  float part[4] = {{0, 0, 0, 0}};
  for (int64_t i = 0; i < n; ++i) {{ y[i] = x[i] * 2.0f; part[i % 4] += x[i]; }}
  volatile int64_t last = 4;
  volatile float seen = part[last];
}}"""
USE_AFTER_FREE = f"""#include <cstdlib>
{F}
  float* t = (float*)std::malloc(n * sizeof(float));
  for (int64_t i = 0; i < n; ++i) t[i] = x[i] * 2.0f;
  std::free(t);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * 2.0f + (t[i] == 1e30f);
}}"""


@pytest.mark.parametrize(
    ("code", "kind", "access", "line"),
    [
        (READ_PAST, "heap-buffer-overflow", "read", 4),
        (WRITE_PAST, "heap-buffer-overflow", "write", 4),
        (VECTOR_PAST, "heap-buffer-overflow", "read", 5),
        (STACK_PAST, "stack-buffer-overflow", "read", 6),
        (USE_AFTER_FREE, "heap-use-after-free", "read", 7),
    ],
)
def test_memory_error_that_leaves_the_values_right(
    judge: Judge, scale: Task, code: str, kind: str, access: str, line: int
) -> None:
    verdict = judge.judge(kernel(code), scale)
    assert (verdict.status, verdict.stage) == (Status.RUNTIME_ERROR, Stage.SANITIZE), verdict.reason
    found = verdict.evidence["sanitizer"]
    assert (found["tool"], found["kind"], found["access"]) == ("asan", kind, access), found
    assert found["where"] == f"kernel.cpp:{line}", found


def test_null_pointer_read_is_named(judge: Judge, scale: Task) -> None:
    code = 'extern "C" void f(const float* x, const float* bias, float* y, int64_t n) {\n' \
        "  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * 2.0f;\n" \
        "  volatile float keep = bias[0]; (void)keep;\n}"
    verdict = judge.judge(kernel(code, "y = torch.empty_like(x)\nlib.f(x, None, y, x.numel())\nreturn y"), scale)
    assert verdict.status is Status.RUNTIME_ERROR


HONEST = {
    "masked tail": f"""#include <immintrin.h>
{F}
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(2.0f)));
  alignas(32) int32_t on[8];
  for (int j = 0; j < 8; ++j) on[j] = i + j < n ? -1 : 0;
  __m256i mask = _mm256_load_si256((const __m256i*)on);
  _mm256_maskstore_ps(y + i, mask, _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), _mm256_set1_ps(2.0f)));
}}""",
    "scratch by the thread": f"""#include <omp.h>
#include <vector>
{F}
  static std::vector<std::vector<float>> scratch(omp_get_max_threads(), std::vector<float>(64));
  #pragma omp parallel for
  for (int64_t b = 0; b < (n + 63) / 64; ++b) {{
    float* t = scratch[omp_get_thread_num()].data();
    int64_t m = std::min<int64_t>(64, n - b * 64);
    for (int64_t j = 0; j < m; ++j) t[j] = x[b * 64 + j] * 2.0f;
    for (int64_t j = 0; j < m; ++j) y[b * 64 + j] = t[j];
  }}
}}""",
    "wrapping hash and packed words": f"""#include <cstring>
{F}
  int32_t h = 2147483647;
  const unsigned char bytes[8] = {{0, 0, 0, 0, 0, 0, 0, 0}};
  volatile int32_t one = 1;
  h += one;
  volatile int32_t hash = h;
  uint32_t packed = *(const uint32_t*)(bytes + one);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * 2.0f + (float)packed;
}}""",
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_kernel_near_an_error_passes(judge: Judge, scale: Task, name: str) -> None:
    verdict = judge.judge(kernel("#include <algorithm>\n" + HONEST[name]), scale)
    assert verdict.passed, verdict.reason
    assert verdict.evidence["sanitize"]["asan"] == "clean"


def test_undefined_values_are_reported_and_left_to_the_numerics(judge: Judge, scale: Task) -> None:
    verdict = judge.judge(kernel("#include <algorithm>\n" + HONEST["wrapping hash and packed words"]), scale)
    kinds = {entry["kind"] for entry in verdict.evidence["sanitize"]["reported"]}
    assert {"signed overflow", "misaligned access"} <= kinds


SHARED = """
static float* kept = nullptr;
extern "C" void keep(float* scratch) { kept = scratch; }
extern "C" void half(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) kept[i] = x[i]; }
extern "C" void rest(float* scratch, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = scratch[i] * 2.0f; }
"""


def test_several_functions_share_storages_views_and_static_state(judge: Judge, scale: Task) -> None:
    body = """
if not hasattr(self, "scratch") or self.scratch.numel() < x.numel() + 8:
    self.scratch = torch.empty(x.numel() + 8)
part = self.scratch[8:]
lib.keep(part)
y = torch.empty_like(x)
lib.half(x, y, x.numel())
lib.rest(part, y, x.numel())
return y"""
    verdict = judge.judge(kernel(SHARED, body), scale)
    assert verdict.passed, verdict.reason
    assert (verdict.evidence["sanitize"]["asan"], verdict.evidence["sanitize"]["calls"]) == ("clean", 6)
    # One element past the scratch, into the allocator's padding: nothing else notices.
    verdict = judge.judge(kernel(SHARED, body.replace("self.scratch[8:]", "self.scratch[9:]")), scale)
    assert (verdict.status, verdict.stage) == (Status.RUNTIME_ERROR, Stage.SANITIZE), verdict.reason
    assert verdict.evidence["sanitizer"]["access"] == "write"


def test_state_made_while_the_module_loads_is_on_the_tape(judge: Judge, scale: Task) -> None:
    code = """
static float factor[1];
static float* at = nullptr;
extern "C" void setup(float a) { factor[0] = a; at = factor; }
extern "C" void f(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = x[i] * *at; }
"""
    source = kernel(code).source.replace("class ModelNew", "lib.setup(2.0)\nclass ModelNew")
    verdict = judge.judge(Kernel(source, "cpp"), scale)
    assert verdict.passed, verdict.reason
    assert verdict.evidence["sanitize"]["calls"] == 3, "setup, and a call on two cases"


def test_address_passed_as_a_number_accuses_nobody(judge: Judge, scale: Task) -> None:
    code = 'extern "C" void f(int64_t x, int64_t y, int64_t n) {\n' \
        "  for (int64_t i = 0; i < n; ++i) ((float*)y)[i] = ((const float*)x)[i] * 2.0f;\n}"
    body = "y = torch.empty_like(x)\nlib.f(x.data_ptr(), y.data_ptr(), x.numel())\nreturn y"
    verdict = judge.judge(kernel(code, body), scale)
    assert verdict.stage is not Stage.SANITIZE, verdict.reason
    assert "not run" in verdict.evidence["sanitize"]["asan"]


RACY = f"""{F}
  #pragma omp parallel for if (n > 1000)
  for (int64_t i = 0; i < n; ++i) y[0] += x[i];
}}"""
REDUCED = f"""{F}
  double s = 0;
  #pragma omp parallel for reduction(+ : s)
  for (int64_t i = 0; i < n; ++i) s += x[i];
  y[0] = (float)s;
}}"""
ATOMIC = f"""{F}
  static double s; s = 0;
  #pragma omp parallel
  {{
    double mine = 0;
    #pragma omp for
    for (int64_t i = 0; i < n; ++i) mine += x[i];
    #pragma omp atomic
    s += mine;
  }}
  y[0] = (float)s;
}}"""


def test_racy_accumulation_is_rejected(judge: Judge, total: Task) -> None:
    verdict = judge.judge(kernel(RACY, SUM), total)
    assert verdict.status is Status.INCORRECT, verdict.reason


@pytest.mark.parametrize("code", [REDUCED, ATOMIC], ids=["reduction", "atomic"])
def test_correct_reductions_pass_under_every_thread_count(judge: Judge, total: Task, code: str) -> None:
    verdict = judge.judge(kernel(code, SUM), total)
    assert verdict.passed, verdict.reason
    assert verdict.evidence["sanitize"]["races"].startswith("compared thread counts 1, ")


FORGING = """
import os
from kernelwright.evaluator import tape
tape.Recorder.write = lambda self, fd: os.write(fd, WRITTEN)
class ModelNew"""


@pytest.mark.parametrize(
    "written", ["b'junk' * 64", "b'KWTAPE1\\n' + b'\\xff' * 64", "b''"], ids=["junk", "huge header", "nothing"]
)
def test_tape_that_the_recorder_did_not_write_is_cheating(folder: Path, scale: Task, written: str) -> None:
    source = kernel(REDUCED.replace("y[0] = (float)s", "for (int64_t i = 0; i < n; ++i) y[i] = 2 * x[i]")).source
    forged = Kernel(source.replace("class ModelNew", FORGING.replace("WRITTEN", written)), "cpp")
    with Judge("cpp", "cpu", folder / "cache", Settings(timing=False, screen=False)) as judge:
        verdict = judge.judge(forged, scale)
    assert verdict.status is Status.CHEATING, verdict.reason


def test_sanitizers_can_be_switched_off(folder: Path, scale: Task) -> None:
    with Judge("cpp", "cpu", folder / "cache", Settings(timing=False, sanitize="off")) as judge:
        verdict = judge.judge(kernel(WRITE_PAST), scale)
    assert "sanitize" not in verdict.evidence
