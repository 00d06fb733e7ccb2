"""Every rule of the screen beside a cheat that breaks it and an honest neighbour that does not."""

from __future__ import annotations

import time

import pytest

from kernelwright.evaluator.screen import Finding, screen
from kernelwright.tasks.records import Kernel

MODEL = """
class ModelNew(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, x):
        y = torch.empty_like(x)
        return y
"""


def findings(text: str, model: str = MODEL) -> tuple[Finding, ...]:
    return screen(Kernel(f"import torch\n{text}\n{model}", "cpp"))


def in_forward(body: str) -> str:
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return f"\nclass ModelNew(torch.nn.Module):\n    def forward(self, x):\n{lines}\n        return x\n"


def rejects(found: tuple[Finding, ...]) -> set[str]:
    return {f.rule for f in found if f.tier == "reject"}


CHEATS = {
    "patching": [
        "torch.cuda.synchronize = lambda *a: None",
        "import torch as t\nt.cuda.Event.elapsed_time = lambda *a: 0.0",
        "from torch import cuda\ncuda.synchronize = print",
        "import time\ntime.perf_counter = lambda: 0.0",
        "from time import perf_counter as p\nimport time as clock\nclock.perf_counter: object = p",
        "setattr(torch.cuda, 'synchronize', print)",
        "setattr(getattr(torch, 'cuda'), 'synchronize', print)",
        "torch.__dict__['allclose'] = print",
        "vars(torch)['allclose'] = print",
        "torch.cuda.__dict__.update(synchronize=print)",
        "import sys\nsys.modules['time'] = None",
        "import sys\nsetattr(sys.modules['time'], 'perf_counter', print)",
        "import builtins\nbuiltins.print = None",
        "f = torch.cuda\nf.synchronize = print",
        "del torch.cuda.synchronize",
        "torch.nn.Module.__call__, y = print, 1",
        "def g():\n    import statistics as s\n    s.median = min",
        "torch.Tensor.contiguous = lambda s: s",
        "def g(f):\n    f.__code__ = g.__code__",
        "__import__('time').perf_counter = print",
        "from unittest import mock\nmock.patch('time.time').start()",
        "import triton\ntriton.testing.do_bench = print",
        "object.__setattr__(torch, 'mm', print)",
        "(t := torch).mm = print",
        "for torch.mm in [print]: pass",
    ],
    "global_switch": [
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "from torch import backends as b\nb.cudnn.benchmark = True",
        "import torch.backends.cudnn as c\nc.allow_tf32 = True",
        "torch.set_float32_matmul_precision('high')",
        "from torch import set_num_threads as s\ns(1)",
        "torch.use_deterministic_algorithms(False)",
        "torch.set_default_dtype(torch.float16)",
        "torch.backends.cuda.enable_flash_sdp(False)",
        "torch._C._set_cublas_allow_tf32(True)",
        "with torch.backends.cudnn.flags(allow_tf32=True): pass",
        "torch._dynamo.config.cache_size_limit = 1",
        "getattr(torch, 'set_num_threads')(1)",
    ],
    "exit": [
        "import os\nos._exit(0)",
        "import sys\nsys.exit(0)",
        "from sys import exit as leave\nleave()",
        "exit()",
        "raise SystemExit(0)",
        "raise SystemExit",
        "import signal\nsignal.alarm(1)",
        "import atexit\natexit.register(print)",
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    ],
    "process": [
        "import subprocess\nsubprocess.run(['ls'])",
        "import subprocess as s\nrun = s.Popen\nrun('ls')",
        "from os import system\nsystem('ls')",
        "import os\nos.fork()",
        "import multiprocessing.pool\nmultiprocessing.pool.Pool()",
        "from subprocess import *",
    ],
    "network": [
        "import socket\nsocket.socket()",
        "import urllib.request as u\nu.urlopen('http://x')",
        "torch.hub.load('a', 'b')",
    ],
    "raw_memory": [
        "import ctypes\nctypes.CDLL(None)",
        "from ctypes import memmove\nmemmove(1, 2, 3)",
        "import ctypes as c\nc.pythonapi.PyDict_SetItem",
        "import mmap\nmmap.mmap(-1, 10)",
        "torch.cuda.memory_snapshot()",
        "torch.ops.load_library('x.so')",
    ],
    "frames": [
        "import sys\nsys._getframe(1)",
        "import inspect\ninspect.stack()",
        "import gc\ngc.get_objects()",
        "from gc import get_referrers\nget_referrers(1)",
        "def g(): pass\ng.__globals__['x'] = 1",
        "try:\n    pass\nexcept Exception as e:\n    e.__traceback__.tb_frame",
        "().__class__.__base__.__subclasses__()",
        "import sys\nsys.settrace(print)",
    ],
    "dynamic_code": [
        "import base64\nexec(base64.b64decode('cHJpbnQ='))",
        "e = eval\ne('1' + '2')",
        "import builtins\nbuiltins.exec(open('x').read())",
        "import importlib\nimportlib.import_module('o' + 's')",
        "__import__('o' + 's')",
        "import pickle\npickle.loads(b'')",
        "import types\ntypes.FunctionType(compile('1', '', 'exec'), {})",
        "getattr(__builtins__, 'x', exec)('a' + 'b')",
    ],
    "environment": [
        "import os\nos.environ['X'] = '1'",
        "from os import environ as e\ne['X'] = '1'",
        "import os\nos.environ.update(X='1')",
        "import os\nos.putenv('X', '1')",
        "import os\ndel os.environ['X']",
    ],
    "install": ["import pip\npip.main(['install', 'x'])", "from pip._internal import main\nmain([])"],
    "files": [
        "open('x', 'w')",
        "open('x', mode='ab')",
        "m = 'r+'\nopen('x', m)",
        "from pathlib import Path\nPath('x').write_text('y')",
        "from pathlib import Path\nPath('x').open('w')",
        "import os\nos.write(1, b'passed')",
        "import shutil\nshutil.rmtree('x')",
        "import io\nio.open('x', 'w')",
    ],
    "proc": ["open('/proc/self/maps').read()", "p = '/proc/' + 'self'", "f'/proc/{1}/mem'"],
    "tensor_subclass": [
        "class Lazy(torch.Tensor): pass",
        "from torch import Tensor as T\nclass Lazy(T): pass",
        "class A:\n    def __torch_function__(self, *a): pass",
        "from torch.utils._python_dispatch import TorchDispatchMode\nclass M(TorchDispatchMode): pass",
        "torch.Tensor._make_subclass(int, 1)",
        "y = torch.ones(1).as_subclass(int)",
    ],
    "harness": [
        "import __main__\n__main__.x",
        "from kernelwright.evaluator import judge",
        "import kernelwright.evaluator.correctness",
        "from kernelwright.tasks import records",
        "from kernelwright.evaluator import native\nnative.reset_calls()",
        "import kernelwright.evaluator.native as n\nn._count[0] += 10",
    ],
    "reference": ["from reference import Model", "import reference", "from task import Model as Base", "from .x import y"],
    "library": ["f = torch.compile(torch.sum)", "@torch.compile\ndef f(x): return x", "import flash_attn\nflash_attn.f()"],
}

HONEST = {
    "patching": [
        "class A: pass\na = A()\na.x = 1",
        "def f(torch):\n    torch.x = 1",
        "f = lambda t: t\nf.cache = {}",
        "import time\ntime = 3",
        "setattr(object(), 'x', 1)",
        "state = {}\nstate['torch'] = 1",
        "import torch as t\ndef f(a):\n    t = a.t()\n    t.requires_grad = False",
        "xs = [time.x for time in ()]",
        "getattr(torch, 'float8_e4m3fn', None)",
        "class A:\n    torch = None\n    def g(self):\n        self.torch = 1",
    ],
    "global_switch": [
        "old = torch.backends.cuda.matmul.allow_tf32",
        "n = torch.get_num_threads()",
        "print(torch.get_float32_matmul_precision(), torch.backends.cudnn.version())",
        "with torch.no_grad(): pass",
        "torch.nn.init.zeros_(torch.ones(3))",
        "torch.backends.cuda.is_built()",
    ],
    "exit": ["raise ValueError('no')", "def exit(): pass\nexit()", "import sys\nsys.platform"],
    "process": ["import os\nos.cpu_count()", "class P:\n    def system(self): pass\nP().system()", "import subprocess"],
    "network": ["import urllib.parse", "socket = 3\nsocket.real"],
    "raw_memory": ["import ctypes\nctypes.c_int(3)", "torch.ones(2).data_ptr()", "memmove = print\nmemmove(1)"],
    "frames": ["import gc\ngc.collect()", "import inspect\ninspect.signature(print)", "globals"],
    "dynamic_code": [
        "import re\nre.compile('a' + 'b')",
        "class M:\n    def eval(self): pass\nM().eval()",
        "exec('x = 1')",
        "torch.nn.Module().eval()",
        "import importlib.util\nimportlib.util.find_spec('triton')",
        "__import__('math').sqrt(2)",
    ],
    "environment": ["import os\nos.environ.get('X')", "import os\nx = os.environ['PATH']", "env = {}\nenv['X'] = '1'"],
    "install": ["pip = 1", "import pipes_like_name_of_ours as p" if False else "def pip(): pass"],
    "files": [
        "open('x')",
        "open('x', 'rb')",
        "class F:\n    def open(self, a): pass\nF().open('name')",
        "import io\nio.StringIO()",
    ],
    "proc": ['"""Reads nothing of /proc/ at all."""', "def f():\n    'see /proc/cpuinfo'\n", "path = '/process/x'"],
    "tensor_subclass": [
        "class A(torch.nn.Module): pass",
        "class F(torch.autograd.Function): pass",
        "isinstance(1, torch.Tensor)",
    ],
    "harness": [
        "from kernelwright.evaluator.native import load, OutsideEnvelope",
        "from kernelwright.evaluator import native\nnative.OutsideEnvelope",
        "import kernelwright.evaluator.native as n\nn.OutsideEnvelope",
        "if __name__ == '__main__': pass",
    ],
    "reference": ["class Model: pass", "from torch.nn import Module", "reference = 3\nreference.real"],
    "library": [
        "import numpy as np\nn = np.prod([1, 2])",
        "torch.compiler.is_compiling()",
        "compile_ = torch.jit.is_scripting()",
    ],
}


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in CHEATS.items() for text in texts])
def test_cheats_are_rejected(rule: str, text: str) -> None:
    found = findings(text)
    assert rule in rejects(found), found
    first = next(f for f in found if f.rule == rule)
    assert first.tier == "reject"
    assert 2 <= first.line <= 1 + len(text.splitlines())


@pytest.mark.parametrize("text", [text for texts in HONEST.values() for text in texts])
def test_honest_neighbours_pass(text: str) -> None:
    assert rejects(findings(text)) == set()


def test_every_reject_rule_has_a_cheat_and_a_neighbour() -> None:
    from kernelwright.evaluator import screen_rules as rules

    used = {rule for tier, rule in rules.TABLE.values() if tier == "reject"} | set(rules.BAD_ATTRIBUTES.values())
    assert used <= set(CHEATS)
    assert set(CHEATS) == set(HONEST)


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("def (", "syntax"),
        ("x = '\0'", "syntax"),
        ("(" * 100_000, "syntax"),
        ("return 3\nimport torch", "no_model"),
        ("import torch\nclass Model(torch.nn.Module):\n    def forward(self): pass", "no_model"),
        ("import torch.nn as nn\nclass ModelNew(nn.Module):\n    def run(self, x): return x", "no_model"),
        ("def f():\n    class ModelNew:\n        def forward(self): pass", "no_model"),
        ("from torch import nn\nclass B(nn.Module): pass\nclass ModelNew(B): pass", "no_model"),
    ],
)
def test_what_cannot_be_judged_at_all(source: str, rule: str) -> None:
    started = time.perf_counter()
    found = screen(Kernel(source, "cpp"))
    assert rejects(found) == {rule}
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    "source",
    [
        "import torch\nclass B(torch.nn.Module):\n    def forward(self, x): return x\nclass ModelNew(B): pass",
        "import torch\nif True:\n    class ModelNew(torch.nn.Module):\n        def forward(self, x): return x",
        "from torch import nn\nclass ModelNew(nn.Module):\n    def run(self, x): return x\n    forward = run",
        "from somewhere import Base\nclass ModelNew(Base): pass",
        "import torch\nclass Model(torch.nn.Module):\n    def forward(self, x): return x\n"
        "class ModelNew(torch.nn.Module):\n    def forward(self, x): return x",
    ],
)
def test_models_in_other_forms_are_found(source: str) -> None:
    assert rejects(screen(Kernel(source, "cpp"))) == set()


@pytest.mark.parametrize(
    "source",
    [
        "from x import *\nclass ModelNew(Model): pass",
        "import torch\nclass Model(torch.nn.Module):\n    def forward(self, x): return x\nclass ModelNew(Model): pass",
        "import torch\nclass Model(torch.nn.Module): pass\nclass B(Model): pass\n"
        "class ModelNew(B):\n    def forward(self, x): return x",
    ],
)
def test_inheriting_the_reference_is_rejected(source: str) -> None:
    assert "reference" in rejects(screen(Kernel(source, "cpp")))


def native(code: str) -> tuple[Finding, ...]:
    source = f'extern "C" void f(float* x, int64_t n) {{\n{code}\n}}'
    return findings(f"from kernelwright.evaluator.native import load\nlib = load(cpp={source!r})")


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ('system("ls");', "process"),
        ('std::system("ls");', "process"),
        ("auto s = system; s(0);", "process"),
        ("if (fork()) {}", "process"),
        ("syscall(1);", "process"),
        ('asm volatile("syscall");', "process"),
        ('void* h = dlopen("libm.so", 1);', "raw_memory"),
        ("auto d = &dlsym;", "raw_memory"),
        ("ptrace(0, 0, 0, 0);", "process"),
        ("socket(1, 2, 3);", "network"),
        ('FILE* f = fopen("x", "w");', "files"),
        ('std::ofstream out("x");', "files"),
        ('const char* p = "/proc/self/mem";', "proc"),
        ("_exit(0);", "exit"),
        ('#include "/proc/self/environ"', "proc"),
        ('setenv("A", "B", 1);', "environment"),
    ],
)
def test_native_cheats_are_rejected(code: str, rule: str) -> None:
    assert rule in rejects(native(code))


@pytest.mark.parametrize(
    "code",
    [
        "// system(1) and /proc/self in a comment",
        "/* fork() */ x[0] = 1;",
        "struct P { void open() {} int kill; }; P p; p.open(); p.kill = 0;",
        "int connect = 3, system = connect; x[0] = system;",
        "float open = x[0], close = x[1]; x[2] = open - close;",
        "#pragma omp parallel for\nfor (int i = 0; i < n; ++i) x[i] = std::exp(x[i]);",
        'asm volatile("" ::: "memory");',
        "std::vector<float> scratch(n);",
    ],
)
def test_native_neighbours_pass(code: str) -> None:
    assert rejects(native(code)) == set()


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("std::thread t([]{}); t.detach();", "threads"),
        ("pthread_create(0, 0, 0, 0);", "threads"),
        ("auto t = std::chrono::steady_clock::now();", "clock"),
        ('asm volatile("nop");', "inline_asm"),
        ("#include </etc/passwd>", "include"),
        ('#include "../other.h"', "include"),
        ('#define H "x.h"\n#include H', "include"),
        ("_MM_SET_FLUSH_ZERO_MODE(1);", "fp_mode"),
        ('#pragma GCC optimize("fast-math")', "fast_math"),
    ],
)
def test_native_oddities_are_flagged_only(code: str, rule: str) -> None:
    found = native(code)
    assert rejects(found) == set()
    assert ("flag", rule) in {(f.tier, f.rule) for f in found}


@pytest.mark.parametrize(
    ("body", "tier", "rule"),
    [
        ("import threading\nthreading.Thread(target=print).start()", "flag", "threads"),
        ("s = torch.cuda.Stream()", "flag", "streams"),
        ("g = torch.cuda.CUDAGraph()", "flag", "graphs"),
        ("import time\nt = time.perf_counter()", "flag", "clock"),
        ("torch.manual_seed(0)", "flag", "seed"),
        ("k = x._version", "flag", "replay"),
        ("y = torch.empty(1)\ny.sum = lambda: 0", "flag", "instance_override"),
        ("try:\n    pass\nexcept Exception:\n    return torch.nn.functional.gelu(x)", "flag", "fallback"),
        ("self.cache = x", "record", "state"),
        ("y = x.half()", "record", "precision"),
        ("a = x.numpy()", "flag", "library"),
    ],
)
def test_noisy_signs_are_flagged_or_recorded_but_not_rejected(body: str, tier: str, rule: str) -> None:
    found = findings("", in_forward(body))
    assert rejects(found) == set(), found
    assert (tier, rule) in {(f.tier, f.rule) for f in found}


def test_numpy_as_the_kernel_is_rejected_but_not_as_a_table_maker() -> None:
    cheat = findings("import numpy as np", in_forward("y = np.matmul(x, x)"))
    table = findings("import numpy as np\nTABLE = np.exp(np.arange(4))")
    assert rejects(cheat) == {"library"}
    assert rejects(table) == set()


def test_code_in_a_literal_exec_is_read_too() -> None:
    found = findings("exec('import os; os._exit(0)')")
    assert rejects(found) == {"exit"}
    assert found[0].line == 2


def test_findings_come_gravest_first() -> None:
    found = findings("import time\nt = time.time()\nexit()")
    assert [f.tier for f in found] == sorted((f.tier for f in found), key=["reject", "flag", "record"].index)
    assert found[0].rule == "exit"


def test_a_long_kernel_is_screened_in_a_moment() -> None:
    body = "\n".join(f"y{i} = torch.empty_like(x); lib.scale(x, y{i}, x.numel(), {i}.0 * self.alpha)" for i in range(250))
    native_code = "\n".join(f"for (int64_t i = 0; i < n; ++i) x[i] = x[i] * {i}.0f + 1.0f; // step" for i in range(250))
    source = f'extern "C" void scale(float* x, int64_t n) {{\n{native_code}\n}}'
    text = f"from kernelwright.evaluator.native import load\nlib = load(cpp={source!r})"
    findings(text)
    times = []
    for _ in range(3):
        started = time.process_time()
        assert rejects(findings(text, in_forward(body))) == set()
        times.append(time.process_time() - started)
    assert min(times) < 0.25
