"""Code that acts for itself (the launchers, Triton's compiler) cannot be talked into acting for a kernel."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from forked import run_forked

from kernelwright.evaluator.toolchain import build_library

IMPORTS = """
import ctypes, functools, json, os, operator, tempfile
from pathlib import Path
os.environ["TRITON_CACHE_DIR"] = tempfile.mkdtemp()
import numpy, torch, triton
import triton.language as tl
from kernelwright.evaluator import native, native_cuda
from kernelwright.evaluator.backends import triton_compile, triton_memory
from kernelwright.evaluator.runner.audit import Audit
from kernelwright.evaluator.symbols import exported
from kernelwright.evaluator.toolchain import build_library, source_hash
CPP = '''
#if 0
extern "C" int system(const int8_t* command) { return 0; }
#endif
extern "C" int64_t add(int64_t a, double b) { return a + (int64_t)b; }
'''
ADD = CPP.split("#endif")[1]
CUDA = 'extern "C" __global__ void f(float* x, int n) { x[0] = n; }'
cubin = Path(tempfile.mkdtemp()) / "f.cubin"
cubin.write_bytes(b"not loaded here")
built = {source_hash(s): build_library(s, Path(tempfile.mkdtemp())).path for s in (CPP, ADD)}
built[source_hash(CUDA)] = str(cubin)
os.environ["KERNELWRIGHT_LIBRARIES"] = json.dumps(built)
opened = []
"""
KERNEL = """
@triton.jit
def k(x, B: tl.constexpr):
    tl.store(x + tl.arange(0, B), 1.0)
audit.start()
"""
SETUP = """
raised = ""
audit = Audit({path: exported(path) for path in built.values()})
def report():
    return {"seen": audit.seen, "raised": raised}
"""
_ADD, _CUDA = "lib = native.load(cpp=ADD)\n", "lib = native.load(cuda=CUDA)\n"
_FILE = "functools.partial(next, map(open, ['/etc/hostname']))"
_FILES = "functools.partial(dict.fromkeys, map(open, ['/etc/hostname']))"
_BUILD = "from triton.runtime.build import compile_module_from_src as build\n"
_TARGET = "from triton.backends.compiler import GPUTarget\n"
_COMPILE = (
    "source = triton.compiler.ASTSource(k, {'x': '*fp32', 'B': 'constexpr'}, {'B': 16})\n"
    "triton.compile(source, target=GPUTarget('cuda', 90, 32))"
)
_EVIL = "'int f(void) { return 0; }', 'evil'"


def _x(method: str = "__index__", call: str = "ctypes.CDLL", value: str = "None") -> str:
    """A class whose objects are converted by what is written in C, and so has no frame."""
    return f"class X:\n    {method} = functools.partial(opened.extend, map({call}, [{value}]))\n"


REFUSED = {
    "an index that opens a library": (_ADD + _x() + "lib.add(X(), 1.0)", "raw_memory"),
    "an index that opens a file": (_ADD + _x("__index__", "open", "'/etc/hostname'") + "lib.add(X(), 1.0)", "files"),
    "a float that opens a library": (_ADD + _x("__float__") + "lib.add(1, X())", "raw_memory"),
    "a float by its index": (_ADD + _x() + "lib.add(1, X())", "raw_memory"),
    "a symbol of an own library, by an index": (
        _ADD + "own = ctypes.CDLL(None, handle=1)\n" + _x("__index__", "own.__getitem__", "'system'")
        + "lib.add(X(), 1.0)", "raw_memory"),
    "a grid that opens a library": (
        _CUDA + _x() + "lib.f[X(), 1]", "raw_memory"),
    "a block in a tuple": (
        _CUDA + _x() + "lib.f[1, (1, X())]", "raw_memory"),
    "shared memory that opens a file": (
        _CUDA + _x("__index__", "open", "'/etc/hostname'") + "lib.f[1, 1, X()]", "files"),
    "another library in its place": (_ADD + "type(lib)('libc.so.6', {'system': None})", "files"),
    "another library's function": ("native._symbol('libc.so.6', 'system')", "raw_memory"),
    "what its library needs": ("native._symbol(built[source_hash(ADD)], 'system')", "raw_memory"),
    "another library by the environment": (
        "os.environ._data[b'KERNELWRIGHT_LIBRARIES'] = json.dumps({source_hash(ADD): '/lib/libc.so.6'}).encode()\n"
        "native.load(cpp=ADD)", "files"),
    "functions that are a callable": (
        _ADD + "class F(dict):\n    items = functools.partial(dict.fromkeys, map(ctypes.CDLL, [None]), 1)\n"
        "type(lib)(built[source_hash(ADD)], F())", "raw_memory"),
    "a cubin that is another file": ("native_cuda._image('/etc/hostname')", "files"),
    "a path whose methods are code": (
        "class P(str):\n    def endswith(self, *_): return opened.append(ctypes.CDLL(None)) or True\n"
        "    def startswith(self, *_): return True\nopen(P('/etc/hostname'))", "files"),
    "the tape's reader on another file": (
        "from kernelwright.evaluator import tape\ntape.Path = " + _FILE + "\ntape._mapped()", "files"),
    # Triton
    "a C module by Triton": (_BUILD + f"build({_EVIL})", "files"),
    "a C module by no_grad": (
        _BUILD + f"torch.no_grad()(build)({_EVIL})", "files"),
    "a C module by a hook of the compiler": (
        _TARGET + _BUILD + f"hook = functools.partial(build, {_EVIL})\n"
        "triton.knobs.runtime.add_stages_inspection_hook = hook\n" + _COMPILE, "files"),
    "a C module by a forged description": (
        _BUILD + f"class S(dict):\n    items = functools.partial(build, {_EVIL})\n"
        "from types import SimpleNamespace as N\nfrom triton.backends.nvidia.driver import CudaLauncher\n"
        "CudaLauncher(N(constants={}, signature=S()), N())", "files"),
    "a file by Triton's cache": ("triton.runtime.cache.FileCacheManager('A' * 52).put(b'1', 'kept')", "files"),
    "a file named as a cache manager": (
        _TARGET + "triton.knobs.cache.manager_class = " + _FILES + "\n" + _COMPILE,
        "files"),
    "a grid that is a callable": (
        "with triton_compile.compile_launches():\n"
        "    k[" + _FILES + "](torch.empty(16), B=16)", "files"),
    "a hook that is a callable": (
        "k.add_pre_run_hook(functools.partial(dict, map(ctypes.CDLL, [None])))\n"
        "with triton_compile.compile_launches():\n    k[(1,)]()", "raw_memory"),
    "a heuristic that is a callable": (
        "h = triton.heuristics({'B': " + _FILES + "})(k)\n"
        "with triton_compile.compile_launches():\n    h[(1,)](torch.empty(16))", "files"),
    "configurations pruned by a callable": (
        "p = {'early_config_prune': lambda *a, **o: a[0]}\n"
        "a = triton.autotune([triton.Config({'B': 16}), triton.Config({'B': 32})], key=[], prune_configs_by=p)(k)\n"
        "class F:\n    __format__ = " + _FILE + "\n"
        "a.early_config_prune = functools.partial('{x}'.format, x=F())\n"
        "with triton_compile.compile_launches():\n    a[(1,)](torch.empty(16))", "files"),
    "a kernel read from elsewhere": (
        "from triton.compiler.compiler import CompiledKernel\nCompiledKernel(None, {'a.json': '/etc/hostname'}, 'h')", "files"),
    "AMD's code generator, unasked": (
        "with triton_compile.compile_launches('gfx942'):\n    k[(1,)](torch.empty(16), B=16)", "raw_memory"),
    "a library as AMD's code generator": (
        "audit.compile_abroad()\n"
        "from triton.backends.amd.compiler import _load_amd_codegen as load\nload('libc.so.6')", "raw_memory"),
    "a copy as AMD's code generator": (
        "audit.compile_abroad()\nfrom triton.backends.amd.compiler import _load_amd_codegen as load\n"
        "load('./libtriton_amd_codegen.so')", "raw_memory"),
    "a program as ptxas": (
        _TARGET + "path = Path('ptxas').resolve()\ntriton.knobs.NvidiaTool.from_path(str(path))", "process"),
    "a program as a version": ("triton.knobs.NvidiaTool.from_path('/bin/sh')", "process"),
}  # fmt: skip

FREE = {
    "a load and a call": (_ADD + "assert lib.add(3, 4.0) == 7"),
    "numbers of libraries": (
        _ADD + "assert lib.add(numpy.int32(3), numpy.float32(4)) == 7\n"
        "assert lib.add(torch.tensor(3).item(), numpy.int64(4)) == 7\nassert lib.add(True, 4) == 5"),
    "an index of its own": _ADD + "class N:\n    def __index__(self): return 3\nassert lib.add(N(), 4.0) == 7",
    "a shape of NumPy's": _CUDA + "lib.f[numpy.int64(3), (1, numpy.int32(2)), 0]",
    "CUDA's driver": "try:\n    native_cuda._driver()\nexcept native.BuildError:\n    pass",
    "a cubin": "native_cuda._image(str(cubin))",
    "launches compiled for an absent GPU": (
        "with triton_compile.compile_launches() as made:\n    k[(1,)](torch.empty(16), B=16)\nassert made[0].launches == 1"),
    "launches compiled for an absent GPU of AMD's": (
        "audit.compile_abroad()\nwith triton_compile.compile_launches('gfx942') as made:\n    k[(1,)](torch.empty(16), B=16)\n"
        "assert made[0].registers"),
    "a compiled kernel from the cache": (
        "for _ in range(2):\n    k.device_caches.clear()\n    with triton_compile.compile_launches() as made:\n"
        "        k[lambda m: (1,)](torch.empty(16), B=16)"),
    "tuning, heuristics and hooks": (
        "h = triton.heuristics({'B': lambda a: 32})(k)\nk.add_pre_run_hook(lambda *a, **o: None)\n"
        "a = triton.autotune([triton.Config({'B': 16}), triton.Config({'B': 32})], key=[], "
        "prune_configs_by={'early_config_prune': lambda c, n, **o: c})(k)\n"
        "with triton_compile.compile_launches() as made:\n    h[(1,)](torch.empty(32))\n    a[(1,)](torch.empty(32))"),
    "what the tape maps": "from kernelwright.evaluator import tape\ntape._mapped()",
    "the heap looked through for a pointer": "triton_memory._alive(numpy.array([torch.empty(4).data_ptr()]), 4)",
}  # fmt: skip


@pytest.fixture(scope="module")
def done() -> dict[str, Any]:
    texts = {**{name: text for name, (text, _) in REFUSED.items()}, **FREE}
    return run_forked(SETUP, {name: KERNEL + text for name, text in texts.items()}, IMPORTS)


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_is_talked_into_is_the_kernels(done: dict[str, Any], name: str) -> None:
    assert REFUSED[name][1] in done[name]["seen"], done[name]
    assert not any("inside another event" in what for what in done[name]["seen"].values())


@pytest.mark.parametrize("name", FREE)
def test_what_it_does_for_honest_code_is_free(done: dict[str, Any], name: str) -> None:
    assert done[name] == {"seen": {}, "raised": ""}


def test_a_namesake_in_a_library_that_is_needed_is_not_bound(done: dict[str, Any]) -> None:
    found = run_forked(SETUP, {"namesake": "audit.start()\nnative.load(cpp=CPP)"}, IMPORTS)["namesake"]
    assert found["seen"] == {}
    assert "system is not exported" in found["raised"]


DRIVER = """
extern "C" int cuModuleLoadData(int64_t* module, const int8_t* image) { *module = 1; return image[0] != 'n'; }
extern "C" int cuModuleGetFunction(int64_t* to, int64_t module, const int8_t* name) { *to = 2; return name[0] != 'f'; }
extern "C" int cuFuncSetAttribute(int64_t function, int what, int value) { return 0; }
extern "C" int cuLaunchKernel(int64_t function, unsigned x) { return function != 2 || x != 3; }
extern "C" int cuGetErrorString(int code, int64_t* text) { *text = 0; return 0; }
"""


def test_a_launch_opens_the_driver_and_the_cubin_and_nobody_is_accused(tmp_path: Path) -> None:
    shutil.copy(build_library(DRIVER, tmp_path).path, tmp_path / "libcuda.so.1")
    standing_in = """
from types import SimpleNamespace
torch.cuda.current_device = lambda: 0
torch.cuda.current_stream = lambda: SimpleNamespace(cuda_stream=0)
"""
    launch = "audit.start()\nlib = native.load(cuda=CUDA)\nlib.f[3, 32, 100 << 10](None, 1)\nassert native.calls() == 1"
    other = "audit.start()\nnative_cuda._driver()\nctypes.CDLL('libcuda.so.1')"
    place = {"LD_LIBRARY_PATH": str(tmp_path)}
    triton = (
        "from triton.backends.nvidia.driver import CudaUtils\naudit.start()\n"
        "try:\n    CudaUtils()\nexcept ImportError as error:\n    assert 'undefined symbol' in str(error)"
    )
    found = run_forked(SETUP, {"launch": launch, "other": other, "triton": triton}, IMPORTS + standing_in, place)
    assert found["triton"] == {"seen": {}, "raised": ""}, "Triton builds its driver's module"
    assert found["launch"] == {"seen": {}, "raised": ""}
    assert "raw_memory" in found["other"]["seen"], "the driver is the launcher's, not the kernel's"
