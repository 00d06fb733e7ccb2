"""Is a kernel new? What does not change a kernel makes no new one; whatever may change it does."""

from __future__ import annotations

import time

import pytest
from conformance.policies import attempt, failed, unreadable

from kernelwright.agent.answer.novelty import again, duplicate, fingerprint, squeezed
from kernelwright.agent.policies.policy import Search
from kernelwright.tasks.records import Attempt, IdeaStage, Kernel

SOURCE = '''import torch
import torch.nn as nn
from kernelwright.evaluator.native import load

CPP = r"""
#include <cstring>
#define TWICE(v) ((v) + (v))
extern "C" void twice(const float* x, float* y, int64_t n) {
  #pragma omp parallel for simd
  for (int64_t i = 0; i < n; ++i) y[i] = TWICE(x[i]);
}
"""
lib = load(cpp=CPP)


class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.empty_like(x)
        count = x.numel()
        for part in range(2):
            lib.twice(x, out, count)
        return out
'''

TRITON = """import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.autotune(configs=[triton.Config({"BLOCK": 128})], key=["n"])
@triton.jit
def twice(x_ptr, y_ptr, n, m, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.load(x_ptr + at, mask=at < n) * m, mask=at < n)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        twice[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, y, x.numel(), 2)
        return y
"""


def same(one: str, other: str, backend: str = "cpp") -> bool:
    return fingerprint(Kernel(one, backend)) == fingerprint(Kernel(other, backend))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("        out = ", "        # the output\n\n        out = "),
        ("lib.twice(x, out, count)", "lib.twice(\n                x,\n                out, count,\n            )"),
        ("class ModelNew(nn.Module):\n", 'class ModelNew(nn.Module):\n    """Twice its input."""\n\n'),
        ("import torch\n", '"""A kernel."""\nimport torch\n'),
        ("count", "numel"),
        ("part", "_"),
        ("forward(self, x):", "forward(self, x):  # x is in float32"),
        ("  #pragma omp", "  // one pass\n  #pragma   omp"),
        ("++i) y[i]", "++i)\n    /* twice */ y[i]"),
        ("for (int64_t i = 0; i < n; ++i)", "for(int64_t i=0; i<n; ++i)"),
        ("((v) + (v))", "((v) + \\\n (v))"),
    ],
)
def test_what_changes_nothing(old: str, new: str) -> None:
    changed = SOURCE.replace(old, new)
    assert changed != SOURCE
    assert same(SOURCE, changed)


def test_parameters_may_be_renamed_where_nothing_names_them() -> None:
    renamed = SOURCE.replace("forward(self, x)", "forward(self, inp)").replace("empty_like(x)", "empty_like(inp)")
    renamed = renamed.replace("x.numel()", "inp.numel()").replace("twice(x, out", "twice(inp, out")
    assert same(SOURCE, renamed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("range(2)", "range(3)"),
        ("out, count)", "count, out)"),
        ("return out", "return x"),
        ("x[i]);", "x[i]) + 0;"),
        ("++i)", "i++)"),
        ("TWICE(v) (", "TWICE (v) ("),
        ("omp parallel for simd", "omp parallel for"),
        ("(v) + (v)", "(v) - -(v)"),
        ("torch.empty_like", "torch.zeros_like"),
        ("lib.twice", "lib.thrice"),
        ("nn.Module)", "torch.nn.Module)"),
        ("out = torch.empty_like(x)", "count = out = torch.empty_like(x)"),
    ],
)
def test_what_changes_something(old: str, new: str) -> None:
    assert not same(SOURCE, SOURCE.replace(old, new))


def test_swapped_names_are_a_change_of_meaning() -> None:
    swapped = SOURCE.replace("count)", "part)")
    assert not same(SOURCE, swapped)
    module = SOURCE.replace("count = x.numel()", "lib = x.numel()").replace("out, count)", "out, lib)")
    assert not same(SOURCE, module), "a name of the module is no local name"


def test_names_that_the_program_looks_at_count() -> None:
    assert not same(TRITON, TRITON.replace("n, m, BLOCK", "m, n, BLOCK").replace("at < n) * m", "at < m) * n"), "triton")
    assert not same(TRITON, TRITON.replace("BLOCK", "WIDTH", 1), "triton")
    assert same(TRITON, TRITON.replace("x_ptr", "source").replace("at ", "where ").replace("+ at,", "+ where,"), "triton")
    spying = SOURCE.replace("return out", "return locals()['out']")
    assert not same(spying, spying.replace("count", "numel"))


def test_the_backend_and_the_options_count() -> None:
    assert fingerprint(Kernel(SOURCE, "cpp")) != fingerprint(Kernel(SOURCE, "triton"))
    assert fingerprint(Kernel(SOURCE, "cpp")) != fingerprint(Kernel(SOURCE, "cpp", {"std": "20"}))


@pytest.mark.parametrize("source", ["class ModelNew(:", "(" * 5000, "", "x = '\\d'"])
def test_any_text_has_a_fingerprint(source: str) -> None:
    assert fingerprint(Kernel(source, "cpp")) == fingerprint(Kernel(source, "cpp"))
    assert fingerprint(Kernel(source, "cpp")) != fingerprint(Kernel(source + "\ny = 1", "cpp"))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("a + +b", "a ++b", False),
        ("a+b", "a  +\n b", True),
        ('f("a  // b")', 'f("a // b")', False),
        ("'\"' /* x */ + 1", "'\"'+1 // y", True),
        ("x = 1e-3f;", "x = 1e - 3f;", False),
        ("x = 1'000;", "x = 1'000 ;", True),
        ("#define A(x) x\nint a;", "#define A (x) x\nint a;", False),
        ("#if 1\nint a;\n#endif", "#if 1 int a;\n#endif", False),
        ('R"(a  b)"', 'R"(a b)"', False),
        ("#define S(x) #x\nS(a+b)", "#define S(x) #x\nS(a + b)", False),
        ("int line = __LINE__;", "\nint line = __LINE__;", False),
        ("int a; // b \\\n int c;", "int a;", True),
    ],
)
def test_native_code_by_its_tokens(one: str, other: str, equal: bool) -> None:
    assert (squeezed(one) == squeezed(other)) is equal


def tried(number: int, source: str, speedup: float | None) -> Attempt:
    idea = Search(run="r", task="t", family="f", backend="cpp").idea(number, IdeaStage.DRAFT)
    made = failed(idea) if speedup is None else attempt(idea, speedup)
    kernel = Kernel(source, "cpp")
    answer = type(made.answer)("text", kernel)
    return Attempt(idea, answer, made.verdict)


def test_the_first_with_the_same_kernel_is_the_original() -> None:
    known = (unreadable(tried(1, "", None).idea), tried(2, "x = 1", None), tried(3, SOURCE, 1.5), tried(4, SOURCE, 1.5))
    found = duplicate(Kernel(SOURCE.replace("count", "n"), "cpp"), known)
    assert found is known[2]
    assert duplicate(Kernel(SOURCE.replace("range(2)", "range(1)"), "cpp"), known) is None


def test_the_verdict_says_whose_it_is() -> None:
    original = tried(3, SOURCE, 1.5)
    kernel = Kernel(SOURCE + "# again\n", "cpp")
    verdict = again(kernel, original)
    assert (verdict.status, verdict.speedup, verdict.kernel_id) == (original.verdict.status, 1.5, kernel.kernel_id)  # type: ignore[union-attr]
    assert verdict.duplicate_of == original.id == verdict.evidence["duplicate_of"]
    assert "the kernel of attempt 3" in verdict.reason
    assert verdict.seconds == 0


@pytest.mark.parametrize("piece", ["/*", "//", '"', '\\"', "'", "# x", "\n", "a\n", "#define A #\n", "\\\n"])
def test_long_rubbish_takes_no_time(piece: str) -> None:
    began = time.process_time()
    squeezed(piece * (200_000 // len(piece)))
    assert time.process_time() - began < 10
