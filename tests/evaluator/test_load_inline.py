"""``load_inline``: what is read of it, what its host functions become, and what they launch, with kernels run on the CPU."""

from __future__ import annotations

import math
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cuda_on_cpu import OnCpu

from kernelwright.evaluator.ascend_source import NotModelled
from kernelwright.evaluator.build import native_sources
from kernelwright.evaluator.inline.program import Program, program
from kernelwright.evaluator.inline.source import inline_source
from kernelwright.evaluator.native_inline import InlineModule, functions_of
from kernelwright.evaluator.specimens import load_corpus
from kernelwright.evaluator.toolchain import BuildError
from kernelwright.evaluator.toolchain_cuda import missing_cuda_compiler

nvcc = pytest.mark.skipif(bool(missing_cuda_compiler()), reason="neither nvcc nor NVRTC is installed")
CORPUS = {s.name: s for s in load_corpus(Path(__file__).parent.parent / "redteam", "cuda") if s.name.startswith("inline_")}
STORE = "__global__ void store(double* y, double v, int at) { if (threadIdx.x == 0) y[at] = v; }\n"


def made(host: str, device: str = STORE, result: str = "torch::Tensor", given: str = "torch::Tensor x", **more: Any) -> Program:
    """A program of one function, ``f``."""
    text = f"#include <torch/extension.h>\n{device}\n{result} f({given}) {{\n{host}\n}}\n"
    declared = f"{result} f({given});"
    return program(inline_source({"cpp_sources": declared, "cuda_sources": text, "functions": ["f"], **more}))


class Seen:
    """Launched like a library; keeps what it was launched with."""

    def __init__(self) -> None:
        self.launches: list[tuple[str, Any, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        seen = self.launches

        class Kernel_:
            def __getitem__(self, key: Any) -> Callable[..., None]:
                return lambda *arguments: seen.append((name, key, arguments))

        return Kernel_()


def value(expression: str, before: str = "", given: str = "torch::Tensor x", arguments: tuple[Any, ...] = ()) -> float:
    """What an expression of C++ is as a ``double``, by way of a kernel that is passed it."""
    host = f"{before}\nstore<<<1, 1>>>(x.data_ptr<double>(), (double)({expression}), 0);\nreturn x;"
    seen = Seen()
    functions_of(made(host, given=given), seen)["f"](torch.zeros(2, dtype=torch.float64), *arguments)
    return float(seen.launches[0][2][1])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("7u - 8", 4294967295),
        ("1 << 20", 1 << 20),
        ("~3 & 0xFF", 0xFC),
        ("(int)3.9 + (int)-3.9", 0),
        ("1.0f / 3.0f", 0.3333333432674408),
        ("1.0 / 3", 1 / 3),
        ("(float)0.1", 0.10000000149011612),
        ("std::min<int64_t>(3, x.size(0)) + max(1, 5)", 7),
        ("ceil((float)x.numel() / 1.5f)", 2),
        ("x.dim() == 1 && !(x.size(0) > 2) ? 10 : 20", 10),
        ("sizeof(float) * 3 + sizeof(float4)", 28),
        ("static_cast<unsigned char>(300)", 44),
        ("std::numeric_limits<int>::max()", 2147483647),
        ("x.sizes()[0] + x.size(-1) * 10LL", 22),
        ("(x.size(0) >> 1) | 4", 5),
        ("INFINITY > 1e30f ? 1 : 0", 1),
        ("x.scalar_type() == torch::kFloat64 ? 8 : 4", 8),
        ("x.options().dtype(torch::kInt).dtype() == at::ScalarType::Int ? 1 : 0", 1),
        ("010 + 0x10 + 1'000", 1024),
        ("true + true", 2),
        ("sqrtf(2.0f)", 1.4142135381698608),
        ("pow(2, 10)", 1024),
    ],
)
def test_numbers_are_those_of_cpp(expression: str, expected: float) -> None:
    assert value(expression) == expected


VARIABLES = """
int a = 7, b = -3; long c = 5000000000L; unsigned d = 4000000000u; unsigned long e = 12; short f = -5;
float g = 0.1f; double h = -2.75; bool i = true; unsigned char j = 200;
"""


def _expression(draw: random.Random, depth: int) -> str:
    if not depth or draw.random() < 0.15:
        return draw.choice([*"abcdefghij", "3", "-2", "17u", "6L", "0.5f", "1e3", "255", "true"])
    left, right = _expression(draw, depth - 1), _expression(draw, depth - 1)
    kind = draw.choice(["int", "long", "unsigned", "float", "double", "short", "unsigned char", "bool", "size_t"])
    forms = [f"({left} {draw.choice('+-*/')} {right})"] * 6 + [
        f"({left} {draw.choice(['<', '>=', '==', '!=', '&&', '||'])} {right})"
    ]
    forms += [f"({kind})({left})", f"static_cast<{kind}>({left})", f"({left} > {right} ? {left} : {right})", f"(-{left})"]
    forms += [f"((long)({left}) {draw.choice('%&|^')} (long)({right}))", f"((int)({left}) {draw.choice(['<<', '>>'])} (e / 4))"]
    return draw.choice(forms)


def test_numbers_are_those_of_the_compiler(tmp_path: Path) -> None:
    draw = random.Random(7)
    wanted: list[tuple[str, float]] = []
    while len(wanted) < 300:
        expression = _expression(draw, 3)
        try:
            wanted.append((expression, value(expression, VARIABLES)))
        except (RuntimeError, BuildError):
            continue  # what C++ leaves open
    lines = "".join(f'std::printf("%.17g\\n", (double)({expression}));\n' for expression, _ in wanted)
    (tmp_path / "all.cpp").write_text(f"#include <cstdio>\n#include <cstddef>\nint main() {{ {VARIABLES} {lines} }}\n")
    done = subprocess.run(
        ["g++", "-w", "-O0", "-o", str(tmp_path / "all"), str(tmp_path / "all.cpp")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:2000]
    said = subprocess.run([str(tmp_path / "all")], capture_output=True, text=True, check=True).stdout.split()
    wrong = [(e, v, s) for (e, v), s in zip(wanted, said, strict=True) if v != float(s) and not math.isnan(v)]
    assert wrong == []


@pytest.mark.parametrize(
    ("before", "expression", "expected"),
    [
        ("int n = 0; for (int i = 0; i < 10; ++i) { if (i % 2) continue; if (i > 6) break; n += i; }", "n", 12),
        ("int n = 5; while (n > 2) n--;", "n", 2),
        ("int n = 0; switch (x.size(0)) { case 1: n = 1; break; case 2: case 3: n = 2; break; default: n = 9; }", "n", 2),
        ("int n = 1; { int n = 7; n += 1; }", "n", 1),
        ("std::vector<int64_t> s = x.sizes().vec(); s.push_back(4); s[0] = 3;", "s.size() * 100 + s.back() * 10 + s[0]", 243),
        ("std::vector<int64_t> s(3, 2); auto t = s; t[0] = 9;", "s[0]", 2),
        ("auto s = x.sizes().vec(); s.insert(s.begin(), 5); s.erase(s.begin() + 1);", "s[0] * 10 + s.size()", 51),
        ("int n = 1; do { cudaError_t e = cudaGetLastError(); if (e != cudaSuccess) exit(1); n = 4; } while (0);", "n", 4),
        ("auto p = x.data_ptr<double>();", "(reinterpret_cast<uintptr_t>(p + 1) - (size_t)p) * 10 + (uintptr_t)p % 4", 80),
        ("dim3 g((x.numel() + 31) / 32, 4);", "g.x + g.y * 10 + g.z * 100", 141),
        ("constexpr int A = 6; const auto b = A * 7L;", "b", 42),
        ("auto y = torch::full({2, 3}, 1.5, x.options()).transpose(0, 1);", "y.size(0) * 10 + y.is_contiguous()", 30),
        ("float a = 0.1; a *= 3;", "a", 0.30000001192092896),
        ("const double* p = NULL; if (x.defined()) p = x.data_ptr<double>();", "p == nullptr ? 0 : 1", 1),
    ],
)
def test_statements_do_as_cpp_does(before: str, expression: str, expected: float) -> None:
    assert value(expression, before) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("(int)x.numel() * 2000000000", "int overflow: 4000000000"),
        ("1 / (int)(x.numel() - 2)", "integer division by zero"),
        ("(int)(1e10 * x.numel())", "as an integer of 32 bits"),
        ("x.sizes()[5]", "element 5 of 1"),
    ],
)
def test_what_cpp_leaves_open_is_an_error(expression: str, message: str) -> None:
    with pytest.raises((RuntimeError, IndexError), match=message):
        value(expression)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("cublasSgemm(handle, 1);", "cublasSgemm"),
        ("auto y = torch::special::gammaln(x);", "torch::special::gammaln"),
        ("auto y = at::native::softmax(x);", "at::native::softmax"),
        ("auto y = x.cpu();", "cpu"),
        ("static torch::Tensor kept;", "static kept"),
        ("thrust::sort(x, x);", "thrust::sort"),
        ("x.data_ptr<double>()[0] = 1;", "[]"),
        ("*x.data_ptr<double>();", "*"),
        ("auto p = new float[3];", "new"),
        ("float h[3];", "h[]"),
        ("cudaMemcpyToSymbol(c, p, 4);", "cudaMemcpyToSymbol"),
        ("auto f = [](int a) { return a; };", "a lambda with parameters"),
        ("std::thread t;", "std :: thread"),
        ("cudaStreamCreate(&s);", "cudaStreamCreate"),
        ("goto end;", "goto"),
        ("int n = 3; do { n--; } while (n);", "do"),
        ("auto y = x; auto& z = y;", "& z"),
        ('system("true");', "system"),
        ('AT_DISPATCH_V2(x.scalar_type(), "f", [&] {});', "AT_DISPATCH_V2"),
        ("store<<<1, 1>>>(x, 1, 1);", "torch::Tensor"),
    ],
)
def test_what_is_not_modelled_is_unsupported_and_named(host: str, name: str) -> None:
    with pytest.raises(NotModelled, match=re.escape(f"`{name}")) as caught:
        made(f"{host}\nstore<<<1, 1>>>(x.data_ptr<double>(), 1, 1); return x;")
    assert "load(cuda=…)" in str(caught.value)
    assert "line 5" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("int n = x;", "line 5: torch::Tensor where int is expected"),
        ("int n = nosuch + 1;", 'line 5: identifier "nosuch" is undefined'),
        ("int n = (3;", "without its"),
        ("int n = 3\nreturn x;", "expected `;`, found `return`"),
        ("store<<<1>>>(x.data_ptr<double>(), 1, 1);", "takes a grid and a block"),
        ("store<<<1, 1>>>(x.data_ptr<double>(), 1, 1, 1);", "takes 3 arguments, the launch gives 4"),
        ("return std::min(1, 2L);", "C++ wants one type"),
        ("double* p = x.data_ptr<float>();", "float* where double* is expected"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(host: str, message: str) -> None:
    with pytest.raises(BuildError, match=re.escape(message)) as caught:
        made(f"{host}\nstore<<<1, 1>>>(x.data_ptr<double>(), 1, 1); return x;")
    assert not isinstance(caught.value, NotModelled)


@pytest.mark.parametrize(
    ("given", "message", "unsupported"),
    [
        ({"cuda_sources": ""}, "no cuda_sources", False),
        ({"functions": ["g"]}, "g of functions=[…] is not declared in cpp_sources", False),
        ({"functions": None}, "neither functions=[…] nor PYBIND11_MODULE", False),
        ({"functions": 3}, "takes a string or a list of strings", False),
        ({"extra_ldflags": ["-lcublas"]}, "-lcublas", True),
        ({"extra_cuda_cflags": ["-include", "x.h"]}, "-include", True),
        ({"extra_include_paths": ["/opt/cutlass"]}, "/opt/cutlass", True),
        ({"is_python_module": False}, "is_python_module=False", True),
        ({"cuda_sources": "#include <cublas_v2.h>\n" + STORE}, "cublas_v2.h", True),
        ({"cuda_sources": "__global__ void k(torch::PackedTensorAccessor32<float, 1> x) {}"}, "PackedTensorAccessor32", True),
        ({"cuda_sources": "torch::Tensor f(torch::Tensor x) { return x; }"}, "no `__global__` function", False),
        ({"cuda_sources": STORE + "torch::Tensor f(torch::Tensor x) { return x; }"}, "launches no kernel", False),
        ({"cuda_sources": STORE + "torch::Tensor f(torch::Tensor x) {"}, "without its", False),
    ],
)
def test_arguments_that_torch_or_the_judge_would_not_take(given: dict[str, Any], message: str, unsupported: bool) -> None:
    right = {
        "cpp_sources": "torch::Tensor f(torch::Tensor x);",
        "cuda_sources": STORE + "torch::Tensor f(torch::Tensor x) { store<<<1, 1>>>(x.data_ptr<double>(), 1, 0); return x; }",
        "functions": ["f"],
    }
    program(inline_source(right))
    with pytest.raises(BuildError, match=re.escape(message)) as caught:
        program(inline_source(right | given))
    assert isinstance(caught.value, NotModelled) is unsupported


def test_flags_about_speed_are_left_out_and_macros_are_defined() -> None:
    flags = ["-O3", "--use_fast_math -DTHREADS=64", "-gencode", "arch=compute_90,code=sm_90", "-Xptxas", "-v", "-DFLAG"]
    source = inline_source({"cpp_sources": "", "cuda_sources": STORE, "functions": None, "extra_cuda_cflags": flags})
    assert source.defines == (("FLAG", "1"), ("THREADS", "64"))
    assert "--use_fast_math" in source.ignored
    host = "store<<<1, THREADS>>>(x.data_ptr<double>(), THREADS, FLAG); return x;"
    device = made(host, extra_cuda_cflags=flags).device
    assert device.index("#define THREADS 64") < device.index('#line 1 "kernel.cu"')
    seen = Seen()
    functions_of(made(host, extra_cuda_cflags=flags), seen)["f"](torch.zeros(2, dtype=torch.float64))
    assert seen.launches[0][1] == ((1, 1, 1), (64, 1, 1), 0)


def test_pointers_stay_in_their_tensors() -> None:
    host = "store<<<1, 1>>>(x.data_ptr<double>() + OFFSET, 1, 1); return x;"
    x = torch.arange(12, dtype=torch.float64).view(3, 4)
    seen = Seen()
    functions_of(made(host.replace("OFFSET", "5")), seen)["f"](x)
    functions_of(made(host.replace("OFFSET", "1")), seen)["f"](x.t()[1:])
    inside = [launch[2][0] for launch in seen.launches]
    assert [(t.data_ptr() - x.data_ptr()) // 8 for t in inside] == [5, 2]
    assert all(t.is_contiguous() for t in inside)
    for outside in ("13", "-1"):
        with pytest.raises(RuntimeError, match="bytes from the first element"):
            functions_of(made(host.replace("OFFSET", outside)), seen)["f"](x)
    with pytest.raises(RuntimeError, match="expected scalar type"):
        functions_of(made(host.replace("OFFSET", "0")), seen)["f"](x.float())


def test_functions_take_what_pybind_would_give_them() -> None:
    given = (
        "torch::Tensor x, int64_t n, double a, bool b, std::vector<int64_t> s, c10::optional<torch::Tensor> o, float c = 0.1"
    )
    host = (
        "store<<<n, 1>>>(x.data_ptr<double>(), a + b + s[1] + c, o.has_value() ? 1 : 0);"
        "if (o.has_value()) store<<<1, 1>>>(o.value().data_ptr<double>(), 1, 1); return x;"
    )
    seen = Seen()
    f = functions_of(made(host, given=given), seen)["f"]
    x = torch.zeros(2, dtype=torch.float64)
    assert f(x, 3, 1, True, (5, 6), None) is x
    assert seen.launches == [("store__0", ((3, 1, 1), (1, 1, 1), 0), (x, 8.1000000014901161, 0))]
    f(x, 3, 1.5, False, [5, 6], x, 2.0)
    assert len(seen.launches) == 3
    wrong = [(None, 3, 1.0, True, [1, 2], None), (x, 3.0, 1.0, True, [1, 2], None), (x, 3, 1.0, 1, [1, 2], None)]
    wrong += [(x, 3, 1.0, True, [1, 2]), (x, 1 << 70, 1.0, True, [1, 2], None), (x, 3, x, True, 4, None)]
    for arguments in wrong:
        with pytest.raises(TypeError):
            f(*arguments)
    module = InlineModule({"f": f})
    with pytest.raises(AttributeError, match="it has: f"):
        _ = module.g


def test_templates_dispatches_and_helpers_make_the_entries_that_are_launched() -> None:
    device = """
    template <typename T, int N> __global__ void __launch_bounds__(N) fill(T* y, T v) { y[threadIdx.x] = v + N; }
    constexpr int WIDE = 128;
    """
    text = (
        device
        + 'template <int N> void go(torch::Tensor& y) { AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "go", [&] {'
        + " fill<scalar_t, N><<<1, N>>>(y.data_ptr<scalar_t>(), static_cast<scalar_t>(0.5)); }); }\n"
        + "torch::Tensor f(torch::Tensor x) { if (x.size(0) == WIDE) go<WIDE>(x); else go<32>(x); return x; }"
    )
    found = program(inline_source({"cpp_sources": "torch::Tensor f(torch::Tensor x);", "cuda_sources": text, "functions": "f"}))
    assert sorted(found.entries) == ["fill__0", "fill__1", "fill__2", "fill__3"]
    assert found.device.count("__launch_bounds__ ( (128) )") == 2
    assert "constexpr int N = 32;" in found.device


def test_what_host_and_device_share_serves_both_and_macros_stand_for_types() -> None:
    device = (
        "#define REAL double\n#define STORE(v) store<<<ceil_div(v, 32), WARP>>>(x.data_ptr<REAL>(), v, 0)\n"
        "constexpr int WARP = 32;\n"
        "__host__ __device__ __forceinline__ int ceil_div(int a, int b) { return (a + b - 1) / b; }\n"
        "__global__ void store(REAL* y, REAL v, int at);\n"
        "__global__ void store(REAL* y, REAL v, int at) { y[at] = v + ceil_div(at, WARP); }\n"
    )
    found = made("STORE(a); return x;", device, given="const torch::Tensor& x, REAL a = 65")
    seen = Seen()
    functions_of(found, seen)["f"](torch.zeros(2, dtype=torch.float64))
    assert [launch[:2] for launch in seen.launches] == [("store__0", ((3, 1, 1), (32, 1, 1), 0))]
    assert found.device.count("int ceil_div(") == 1
    with pytest.raises(NotModelled, match="specialisation"):
        made("return x;", "template <typename T> __global__ void k(T* x) {}\ntemplate <> __global__ void k<int>(int* x) {}")


def on_cpu(source: str, folder: Path) -> tuple[dict[str, Callable[..., Any]], OnCpu]:
    """The host functions of a kernel's ``load_inline``, with its kernels on the CPU."""
    (native,) = native_sources(source)
    assert native.inline is not None
    found = program(native.inline)
    library = OnCpu(found.device, found.entries, folder)
    return functions_of(found, library), library


def _softmax(source: Callable[..., Any], columns: int, dtype: torch.dtype = torch.float32) -> float:
    x = torch.randn(3, columns, dtype=dtype)
    return float((source(x) - torch.softmax(x, -1)).abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_honest_softmax_is_right_in_each_type(tmp_path: Path, dtype: torch.dtype) -> None:
    functions, library = on_cpu(CORPUS["inline_row_softmax"].source, tmp_path)
    assert _softmax(functions["softmax_cuda"], 77, dtype) < (1e-6 if dtype is torch.float32 else 1e-14)
    assert [key for _, key in library.launched] == [((3, 1, 1), (256, 1, 1), 0)]
    with pytest.raises(RuntimeError, match="x has two dimensions"):
        functions["softmax_cuda"](torch.zeros(3))
    with pytest.raises(RuntimeError, match="not implemented for"):
        functions["softmax_cuda"](torch.zeros(3, 3, dtype=torch.float16))


def test_an_honest_scale_and_bias_takes_both_of_its_ways(tmp_path: Path) -> None:
    source = CORPUS["inline_scale_bias"].source
    float4 = (
        "struct float4 { float x, y, z, w; };"
        " __device__ float4 make_float4(float a, float b, float c, float d) { return {a, b, c, d}; }"
    )
    functions, library = on_cpu(source.replace("#define THREADS 256", f"#define THREADS 64\n{float4}"), tmp_path)
    for columns in (8, 9):
        x, weight, bias = torch.randn(5, columns), torch.randn(columns), torch.randn(columns)
        assert torch.allclose(functions["scale_bias_cuda"](x, weight, bias), x * weight + bias)
    assert [name for name, _ in library.launched] == ["scale_bias_by_four__0", "scale_bias__0"]


@pytest.mark.parametrize(("name", "right"), [("inline_gelu_add", True), ("inline_tail_dropped", False)])
def test_a_dropped_tail_is_dropped_here_too(tmp_path: Path, name: str, right: bool) -> None:
    functions, _ = on_cpu(CORPUS[name].source.replace("x.is_cuda()", "x.is_cpu()"), tmp_path)
    x, residual = torch.randn(3, 111), torch.randn(3, 111)
    want = torch.nn.functional.gelu(x) + residual
    assert torch.allclose(functions["gelu_add_cuda"](x, residual), want, atol=1e-5) is right


def test_what_a_host_function_leaves_to_torch_goes_through_its_dispatcher(tmp_path: Path) -> None:
    functions, library = on_cpu(CORPUS["inline_library_matmul_own_epilogue"].source, tmp_path)
    x, weight, bias = torch.randn(4, 6), torch.randn(5, 6), torch.randn(5)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        found = functions["linear_relu"](x, weight, bias)
    assert torch.allclose(found, torch.relu(x @ weight.t() + bias), atol=1e-5)
    assert "aten::mm" in {event.key for event in seen.key_averages()}
    assert len(library.launched) == 1
