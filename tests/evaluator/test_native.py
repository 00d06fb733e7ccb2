"""Binding native functions: prototypes, argument checks, calls; compiled for real."""

from __future__ import annotations

import json
import time

import pytest
import torch

from kernelwright.evaluator import native
from kernelwright.evaluator.native import BuildError, load
from kernelwright.evaluator.prototypes import prototypes
from kernelwright.evaluator.toolchain import build_library, source_hash

SOURCE = r"""
// extern "C" void commented(foo x) {}
#define API extern "C" __attribute__((visibility("default")))
#define RESTRICT __restrict__ /* not
  in every compiler: don't forget */
const char* kept = "// no comment \" 'x' /*"; const int big = 1'000'000;
using real = float;
typedef const double* doubles;
template <typename T> static inline T twice(T x) { return x + x; }

API void scale(
    const real* RESTRICT x,   /* the input, (not) the output */
    real *__restrict y,
    std::int64_t n,
    float a = 1.0f)
{
  #pragma omp parallel for simd
  for (int64_t i = 0; i < n; ++i) y[i] = a * x[i];
}

extern "C" {
  int helper(int);
  static inline int hidden(int** x) { return **x; }
  struct pair { int a, b; };
  double mixed(double a, int b, bool c, unsigned long long d, int8_t e) { return a + b + (c ? 10 : 0) + d + e; }
  [[gnu::noinline]] int64_t total(doubles x, size_t n) noexcept {
    double s = 0;
    for (size_t i = 0; i < n; ++i) s += x[i];
    return (int64_t)s;
  }
  void raw(const uint16_t *h, _Float16 half[], const void* any, bool *flags, int64_t* count) {
    *count = (h != nullptr) + 10 * (half != nullptr) + 100 * (any != nullptr) + 1000 * (flags != nullptr);
  }
}
extern "C" float negate(float x) { return -twice(x) / 2; }
"""


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> native.Library:
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        library = load(cpp=SOURCE)
    assert list((cache / "kernelwright" / "native").glob("*.so")), "the library lies in the user's cache"
    return library


def test_prototypes_are_read_through_macros_aliases_and_linkage_blocks() -> None:
    found = {name: str(p) for name, p in prototypes(SOURCE).items()}
    assert found == {
        "scale": "void scale(float32* x, float32* y, int64 n, float32 a)",
        "mixed": "float64 mixed(float64 a, int32 b, bool c, uint64 d, int8 e)",
        "total": "int64 total(float64* x, uint64 n)",
        "raw": "void raw(uint16* h, float16* half, void* any, bool* flags, int64* count)",
        "negate": "float32 negate(float32 x)",
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('extern "C" void f(std::vector<float>& x) {}', "parameter 1 has type `std :: vector < float > & x`"),
        ('extern "C" void f(float** x) {}', "cannot be bound"),
        ('extern "C" void f(void (*g)(int)) {}', "cannot be bound"),
        ('extern "C" float* f(float* x) { return x; }', "returns float32*"),
        ('extern "C" mytype f(float* x) { }', "its result has type `mytype`"),
        ("void f(float* x) {}", 'no extern "C" function'),
        ('extern "C" void f(int x) {}\n#ifdef A\nextern "C" void f(float x) {}\n#endif', "defined twice"),
    ],
)
def test_what_cannot_be_bound_is_named(source: str, message: str) -> None:
    with pytest.raises(BuildError) as error:
        prototypes(source)
    assert message in str(error.value)


def test_calls_compute(lib: native.Library) -> None:
    x, y = torch.randn(1000), torch.empty(1000)
    assert lib.scale(x, y, 1000, 3.0) is None
    torch.testing.assert_close(y, 3 * x)
    assert lib.mixed(1.5, -2, True, 2**63, -1) == pytest.approx(1.5 - 2 + 10 + 2.0**63 - 1)
    assert lib.total(torch.arange(10, dtype=torch.float64), 10) == 45
    assert lib.negate(2) == -2.0


def test_pointers_take_the_dtypes_that_fit_and_none_is_null(lib: native.Library) -> None:
    count = torch.zeros(1, dtype=torch.int64)
    half, brain = torch.zeros(2, dtype=torch.float16), torch.zeros(2, dtype=torch.bfloat16)
    lib.raw(brain, half, torch.zeros(1, dtype=torch.complex64), torch.zeros(1, dtype=torch.bool), count)
    assert count.item() == 1111
    lib.raw(half, None, None, None, count)
    assert count.item() == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (lambda x: (x.double(), x, 1, 1.0), TypeError, "'x' is float32* and takes a tensor of torch.float32"),
        (lambda x: (x, x[::2], 1, 1.0), TypeError, "'y' must be contiguous"),
        (lambda x: (x.to("meta"), x, 1, 1.0), TypeError, "'x' must be on the CPU, not on meta"),
        (lambda x: (x, 3, 1, 1.0), TypeError, "'y' is float32* and takes a tensor or None, not int"),
        (lambda x: (x, x, 2**63, 1.0), OverflowError, "'n' is int64"),
        (lambda x: (x, x, 1.0, 1.0), TypeError, "'n' is int64 and takes an integer, not float"),
        (lambda x: (x, x, torch.tensor(3), 1.0), TypeError, "call .item()"),
        (lambda x: (x, x, 1, 1e300), OverflowError, "'a' is float32"),
        (lambda x: (x, x, 1, "2"), TypeError, "'a' is float32 and takes a number, not str"),
        (lambda x: (x, x, 1), TypeError, "takes 4 arguments (3 given)"),
    ],
)
def test_wrong_arguments_are_refused_by_name(lib: native.Library, arguments, error, message) -> None:
    before = native.calls()
    with pytest.raises(error) as caught:
        lib.scale(*arguments(torch.ones(16)))
    assert message in str(caught.value)
    assert native.calls() == before, "a refused call is no call"


def test_unknown_function_lists_those_there_are(lib: native.Library) -> None:
    with pytest.raises(AttributeError, match=r"'scales'.*scale, mixed, total, raw, negate"):
        _ = lib.scales


def test_calls_are_counted_and_cheap(lib: native.Library) -> None:
    native.reset_calls()
    started = time.perf_counter()
    for _ in range(2000):
        lib.negate(1.0)
    each = (time.perf_counter() - started) / 2000
    assert native.calls() == 2000
    assert each < 50e-6


def test_a_runner_takes_only_what_was_built_ahead(tmp_path, monkeypatch) -> None:
    ahead, late = 'extern "C" int one() { return 1; }', 'extern "C" int two() { return 2; }'
    built = {source_hash(ahead): build_library(ahead, tmp_path).path}
    monkeypatch.setenv("KERNELWRIGHT_LIBRARIES", json.dumps(built))
    assert load(cpp=ahead).one() == 1
    with pytest.raises(BuildError, match="must be a literal string so that the harness can build it ahead"):
        load(cpp=late)


def test_a_cuda_source_without_an_exported_kernel_is_refused_clearly() -> None:
    with pytest.raises(BuildError, match='no `extern "C" __global__'):
        load(cuda="__global__ void f() {}")


def test_half_types_compute(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lib = load(cpp='extern "C" void twice(_Float16* x, int n) { for (int i = 0; i < n; ++i) x[i] += x[i]; }')
    x = torch.arange(5, dtype=torch.float16)
    lib.twice(x, 5)
    assert x.tolist() == [0, 2, 4, 6, 8]
    with pytest.raises(TypeError, match=r"torch\.float16, not torch\.bfloat16"):
        lib.twice(x.bfloat16(), 5)
