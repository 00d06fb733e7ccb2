"""``load_inline`` for the judge: what is found in a kernel's text, built, screened and bound in a runner; and on a GPU."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pytest
from forked import run_forked

from kernelwright.evaluator.build import build_native, native_sources
from kernelwright.evaluator.inline.program import program
from kernelwright.evaluator.inline.source import inline_source
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.sanitizers.device_child import SEEN, needed
from kernelwright.evaluator.screen import screen
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.specimens import Specimen, load_corpus
from kernelwright.evaluator.toolchain import BuildError, build_library
from kernelwright.evaluator.toolchain_cuda import missing_cuda_compiler
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, Kernel, Stage, Status

nvcc = pytest.mark.skipif(bool(missing_cuda_compiler()), reason="neither nvcc nor NVRTC is installed")
CORPUS = {s.name: s for s in load_corpus(Path(__file__).parent.parent / "redteam", "cuda") if s.name.startswith("inline_")}
STORE = "__global__ void store(double* y, double v, int at) { if (threadIdx.x == 0) y[at] = v; }\n"


def kernel_of(text: str) -> str:
    """A kernel's file with one function ``f``."""
    declared = "torch::Tensor f(torch::Tensor x);"
    return f"from torch.utils.cpp_extension import load_inline\nm = load_inline('m', {declared!r}, {text!r}, functions='f')"


@nvcc
def test_a_kernel_is_built_with_figures_and_the_judge_claims_no_more(tmp_path: Path) -> None:
    specimen = CORPUS["inline_row_softmax"]
    with Judge("cuda", "cpu", tmp_path, Settings()) as judge:
        verdict = judge.judge(Kernel(specimen.source, "cuda"), load_task(specimen.task_path))
    assert (verdict.status, verdict.assurance, verdict.timing) == (Status.UNSUPPORTED, Assurance.COMPILED, None)
    (report,) = verdict.evidence["build"]["native"]
    assert report["functions"] == ["torch::Tensor softmax_cuda(torch::Tensor)"]
    assert report["flags_left_out"] == ["-O3", "--use_fast_math"]
    assert set(report["kernels"]) == {"softmax_rows__0", "softmax_rows__1"}


@nvcc
def test_a_compilers_error_has_the_users_own_line(tmp_path: Path) -> None:
    source = CORPUS["inline_gelu_add"].source
    line = (
        source.split('r"""')[1]
        .splitlines()
        .index("  if (i < size) y[i] = x[i] * (0.5f + 0.5f * erff(x[i] * 0.70710678f)) + r[i];")
        + 1
    )
    built = build_native(source.replace("+ r[i];", "+ s[i];"), tmp_path)
    assert built.log.splitlines()[0].startswith(f'kernel.cu({line}): error: identifier "s" is undefined')
    launch = source.split('r"""')[1].split("gelu_add<<<")[0].count("\n") + 1
    wrong = build_native(source.replace("x.data_ptr<float>(), residual", "x.data_ptr<int>(), residual"), tmp_path)
    assert wrong.log.splitlines()[0].startswith(f"kernel.cu({launch}): error:")
    assert not any((built.ok, wrong.ok, built.unsupported, wrong.unsupported))


@nvcc
def test_reduced_floats_and_limits_compile_as_torch_has_them(tmp_path: Path) -> None:
    text = """
    template <typename scalar_t> __global__ void k(const scalar_t* x, scalar_t* y, float a) {
      scalar_t low = std::numeric_limits<int>::max() > 3 ? x[0] : scalar_t(0);
      float sum = 0.f;
      sum += static_cast<float>(x[threadIdx.x]) * a;
      scalar_t v = x[threadIdx.x] * x[0] + low;
      v += static_cast<scalar_t>(sum);
      y[threadIdx.x] = v > scalar_t(0) ? v * 2 : -v / x[1];
    }
    torch::Tensor f(torch::Tensor x) {
      AT_DISPATCH_FLOATING_TYPES_AND2(at::ScalarType::Half, at::ScalarType::BFloat16, x.scalar_type(), "f", [&] {
        k<scalar_t><<<1, 32>>>(x.data_ptr<scalar_t>(), x.data_ptr<scalar_t>(), 2.0);
      });
      return x;
    }
    """
    kernel = kernel_of(text)
    built = build_native(kernel.replace("template <", "#include <limits>\\n    template <", 1), tmp_path)
    assert built.ok, built.log
    assert len(built.evidence["native"][0]["kernels"]) == 4


@nvcc
def test_inside_a_namespace_without_a_name_an_entry_is_still_found(tmp_path: Path) -> None:
    text = (
        "namespace { __global__ void k(double* y) { y[0] = 1; }\n"
        "void go(torch::Tensor x) { k<<<1, 1>>>(x.data_ptr<double>()); } }\n"
        "torch::Tensor f(torch::Tensor x) { go(x); return x; }"
    )
    kernel = kernel_of(text)
    built = build_native(kernel, tmp_path)
    assert built.ok, built.log
    assert list(built.evidence["native"][0]["kernels"]) == ["k__0"]


@pytest.mark.parametrize("name", sorted(CORPUS))
def test_a_call_is_found_wherever_it_stands(name: str) -> None:
    (native,) = native_sources(CORPUS[name].source)
    assert native.inline is not None
    assert "__global__" in native.source


@pytest.mark.parametrize(
    "model",
    [
        "cuda = TEXT\nm = load_inline('m', '', cuda)",
        "def build():\n    cuda = TEXT\n    return load_inline(name='m', cpp_sources=[''], cuda_sources=[cuda])",
        "class M:\n    def __init__(self):\n        self.cuda = TEXT\n        self.m = load_inline('m', '', self.cuda)",
        "m = load_inline('m', '', cuda_sources=TEXT % (), functions=None, verbose=True)",
    ],
    ids=["module", "function", "attribute", "expression"],
)
def test_sources_may_be_named_where_the_text_tells_what_they_are(model: str) -> None:
    source = f"from torch.utils.cpp_extension import load_inline\n{model}\n".replace("TEXT", repr(STORE))
    (native,) = native_sources(source)
    assert native.inline == inline_source({"cuda_sources": STORE})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("load_inline(*parts)", "write its arguments out"),
        ("load_inline('m', '', open('x.cu').read())", "cuda_sources must be a literal"),
        ("load_inline('m', '', CUDA, colour='red')", "takes no argument 'colour'"),
    ],
)
def test_a_call_that_the_text_does_not_give_is_named_with_its_line(call: str, message: str) -> None:
    source = f"from torch.utils.cpp_extension import load_inline\nCUDA = {STORE!r}\nm = {call}\n"
    with pytest.raises(BuildError, match=f"line 3: load_inline.*{re.escape(message)}"):
        native_sources(source)


def test_host_code_is_screened_though_it_is_never_compiled() -> None:
    def rules(line: str) -> set[tuple[str, str]]:
        source = CORPUS["inline_gelu_add"].source.replace(
            "  auto y = torch::empty_like(x);", f"  {line}\n  auto y = torch::empty_like(x);"
        )
        return {(f.tier, f.rule) for f in screen(Kernel(source, "cuda"))}

    assert rules("") == set()
    assert ("reject", "process") in rules('system("true");')
    assert ("reject", "raw_memory") in rules('void* h = dlopen("libcublas.so", 1);')


@pytest.mark.parametrize(
    "text", ["/*" * 50_000, 'R"x(' * 50_000, "#/*\n" * 50_000, "a{" * 40_000, "f() {} = {" * 9_000, "((" * 30_000]
)
def test_a_hostile_text_costs_little(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(BuildError):
        program(inline_source({"cpp_sources": "", "cuda_sources": f"{STORE}\n{text}", "functions": ["f"]}))
    assert time.perf_counter() - started < 3.0


DRIVER = """
extern "C" int cuModuleLoadData(int64_t* module, const int8_t* image) { *module = 1; return 0; }
extern "C" int cuModuleGetFunction(int64_t* function, int64_t module, const int8_t* name) { *function = 2; return 0; }
extern "C" int cuFuncSetAttribute(int64_t function, int what, int value) { return 0; }
extern "C" int cuLaunchKernel(int64_t function, unsigned x) { return function != 2 || x != 3; }
extern "C" int cuGetErrorString(int code, int64_t* text) { *text = 0; return 0; }
"""
KERNEL = '''
import torch
from torch.utils.cpp_extension import load_inline
cuda = r"""
__global__ void k(float* x, int n) { x[0] = n; }
torch::Tensor f(torch::Tensor x) { k<<<x.size(0), 32>>>(nullptr, x.dim()); return torch::zeros_like(x); }
"""
class ModelNew(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.module = load_inline("m", "torch::Tensor f(torch::Tensor x);", cuda, functions=["f"])
    def forward(self, x):
        return self.module.f(x)
'''
IMPORTS = """
import json, os, tempfile
from pathlib import Path
from types import SimpleNamespace
import torch
from kernelwright.evaluator import native, native_inline
from kernelwright.evaluator.build import native_sources
from kernelwright.evaluator.runner.audit import Audit
from kernelwright.evaluator.runner.integrity import Integrity
from kernelwright.evaluator.symbols import exported
cubin = Path(tempfile.mkdtemp()) / "f.cubin"
cubin.write_bytes(b"not loaded here")
(source,) = native_sources(KERNEL)
os.environ["KERNELWRIGHT_LIBRARIES"] = json.dumps({source.hash: str(cubin)})
torch.cuda.current_device = lambda: 0
torch.cuda.current_stream = lambda: SimpleNamespace(cuda_stream=0)
native_inline.install()
"""


def test_in_a_runner_the_module_launches_what_was_built_ahead_and_nobody_is_accused(tmp_path: Path) -> None:
    shutil.copy(build_library(DRIVER, tmp_path).path, tmp_path / "libcuda.so.1")
    start = "audit = Audit({str(cubin): exported(str(cubin))})\naudit.start()\n"
    use = (
        "model = ModelNew()\ny = model(torch.ones(3, 2))\n"
        "found = [native.calls(), y.tolist() == [[0.0] * 2] * 3, audit.seen, repr(model.module)]"
    )
    other = KERNEL.replace("x.dim()", "x.dim() + 1")
    replaced = (
        "integrity = Integrity()\nfrom kernelwright.evaluator.inline import kit\nkit.launch = print\nfound = integrity.broken()"
    )
    snippets = {
        "honest": start + KERNEL + use,
        "untouched": f"integrity = Integrity()\n{KERNEL}\nModelNew()(torch.ones(3, 2))\nfound = integrity.broken()",
        "another text": start + other + use,
        "the rest": "from torch.utils import cpp_extension\ncpp_extension.load('x', [])",
        "replaced": replaced,
    }
    found = run_forked("", snippets, f"KERNEL = {KERNEL!r}\n{IMPORTS}", {"LD_LIBRARY_PATH": str(tmp_path)})
    assert found["honest"] == [1, True, {}, "<load_inline module with f>"]
    assert found["untouched"] == []
    assert "must be literals" in found["another text"]["raised"]
    assert "has no 'load' for kernels" in found["the rest"]["raised"]
    assert found["replaced"] == ["kernelwright.evaluator.inline.kit.launch"]


def test_a_sanitizers_job_sees_all_that_a_module_is_made_of() -> None:
    parts = Path(program.__wrapped__.__code__.co_filename).parent.glob("*.py")
    seen = {path.name for path in needed(SEEN) if path.parent.name == "inline"}
    assert {path.name for path in parts} - seen == {"reading.py"}, "which the judge alone reads by"


# -- on a GPU -----------------------------------------------------------------------------------------------------


@pytest.mark.requires_cuda
@pytest.mark.parametrize("specimen", CORPUS.values(), ids=lambda s: s.name)
def test_on_a_gpu_each_of_the_corpus_has_its_verdict(
    specimen: Specimen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERNELWRIGHT_CUDA_UNPROVEN", "1")
    settings = Settings(baselines=("eager",), timing_seconds=3.0)
    with Judge("cuda", "cuda", tmp_path, settings) as judge:
        verdict = judge.judge(Kernel(specimen.source, "cuda"), load_task(specimen.task_path))
    assert verdict.status.value in specimen.expect, verdict.reason
    if specimen.kind == "honest":
        assert verdict.evidence["operators"]["native_calls"] == 1
    else:
        assert verdict.stage is not Stage.BUILD


def test_evidence_is_json() -> None:
    (native,) = native_sources(CORPUS["inline_row_softmax"].source)
    assert native.inline is not None
    assert json.loads(json.dumps(native.inline.ignored)) == ["-O3", "--use_fast_math"]
