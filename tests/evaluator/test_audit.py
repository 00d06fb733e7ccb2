"""The audit hook: what a kernel's code does is seen and refused, however it is reached; what libraries do for it is not."""

from __future__ import annotations

from typing import Any

import pytest
from forked import run_forked

SETUP = """
from kernelwright.evaluator.runner.audit import Audit
audit = Audit()
raised = ""
def report():
    return {"seen": audit.seen, "raised": raised}
"""

REFUSED = {
    "exec": ("exec('1 + 1')", "dynamic_code"),
    "eval by another name": ("getattr(__builtins__, 'ev' + 'al')('1') if not isinstance(__builtins__, dict) else "
                             "__builtins__['ev' + 'al']('1')", "dynamic_code"),
    "code made by hand": ("(lambda: 1).__code__.replace(co_firstlineno=3)", "dynamic_code"),
    "function made by hand": ("type(lambda: 1)((lambda: 1).__code__, {})", "dynamic_code"),
    "marshal": ("import marshal; marshal.loads(marshal.dumps(3))", "dynamic_code"),
    "ctypes.CDLL": ("import ctypes; ctypes.CDLL(None)", "raw_memory"),
    "an address read": ("import ctypes; ctypes.string_at(id(3), 8)", "raw_memory"),
    "an address as a buffer": ("import ctypes; (ctypes.c_char * 8).from_address(id(3))", "raw_memory"),
    "ctypes.pythonapi": ("import ctypes; ctypes.pythonapi.PyObject_Repr", "raw_memory"),
    "all objects": ("import gc; gc.get_objects()", "frames"),
    "who refers to it": ("import gc; gc.get_referrers(torch)", "frames"),
    "its caller's frame": ("import sys; sys._getframe(0)", "frames"),
    "all threads' frames": ("import sys; sys._current_frames()", "frames"),
    "a trace function": ("import sys; sys.settrace(lambda *a: None)", "frames"),
    "a file": ("open('x', 'w')", "files"),
    "a file by pathlib": ("import pathlib; pathlib.Path('x').write_text('1')", "files"),
    "a file by os": ("import os; os.open('/proc/self/maps', os.O_RDONLY)", "files"),
    "a file by io": ("import io; io.FileIO('x', 'w')", "files"),
    "a file by NumPy": ("import numpy; numpy.fromfile('/proc/self/maps', dtype='u1')", "files"),
    "another source": ("open('reference.py')", "files"),
    "its source, written": ("open(__import__('glob').__file__, 'a')", "files"),
    "a folder": ("import os; os.listdir('/')", "files"),
    "fork": ("import os; os.fork()", "process"),
    "a shell": ("import os; os.system('true')", "process"),
    "a subprocess": ("import subprocess; subprocess.run(['true'])", "process"),
    "multiprocessing": ("import multiprocessing as m; m.get_context('fork').Process(target=print).start()", "process"),
    "a signal": ("import os; os.kill(os.getpid(), 0)", "exit"),
    "a socket": ("import socket; socket.socket()", "network"),
    "the environment": ("import os; os.environ['A'] = 'b'", "environment"),
    "code swapped": ("def f(): pass\nf.__code__ = (lambda: 1).__code__", "patching"),
    "another hook": ("import sys; sys.addaudithook(print)", "frames"),
    # through frames of others
    "no_grad around open": ("torch.no_grad()(open)('x', 'w')", "files"),
    "no_grad around fork": ("import os; torch.no_grad()(os.fork)()", "process"),
    "no_grad around exec": ("torch.no_grad()(exec)('1')", "dynamic_code"),
    "no_grad around a frame": ("import sys; torch.no_grad()(sys._getframe)()", "frames"),
    "no_grad around CDLL": ("import ctypes; torch.no_grad()(ctypes.CDLL)(None)", "raw_memory"),
    "partial in a module list": ("torch.nn.Sequential(*map(open, ['/proc/self/maps']))", "files"),
    "map in a parameter list": ("torch.nn.ParameterList(map(open, ['/proc/self/maps']))", "files"),
    "a hook that is a builtin": (
        "import functools, os\nm = torch.nn.Identity()\nm.register_forward_pre_hook(lambda *a: None)\n"
        "m.forward = functools.partial(os.listdir)\nm('/')", "files"),
    "torch.cuda around CDLL": (
        "import ctypes, functools\ntorch.cuda._initialized = True\ntorch.cuda._lazy_call(functools.partial(ctypes.CDLL, None))",
        "raw_memory"),
    "torch's loader": ("torch.ops.load_library('/nowhere.so')", "raw_memory"),
    "torch's files": ("torch.load('/proc/self/maps')", "files"),
    "triton's subprocess": ("import triton.testing\ntriton.testing.nvsmi(['x'])", "files"),
    "importlib as a wrapper": (
        "import importlib._bootstrap as b\nb._call_with_frames_removed(open, '/proc/self/maps')", "files"),
    "importlib's reader": (
        "import importlib.machinery as m\nm.SourceFileLoader('x', 'y').get_data('/proc/self/maps')", "files"),
    "the harness as a wrapper": (
        "import functools, os\nfrom kernelwright.evaluator.runner.observe import observe\n"
        "observe(functools.partial(os.listdir, '/'), False)", "files"),
    "a thread": ("import threading\nt = threading.Thread(target=open, args=('x', 'w')); t.start(); t.join()", "files"),
    "a pool": ("import concurrent.futures as c\nc.ThreadPoolExecutor(1).submit(open, 'x', 'w').result()", "files"),
    "a thread through no_grad": ("import threading\nt = threading.Thread(target=torch.no_grad()(open), args=('x', 'w'))\n"
                                 "t.start(); t.join()", "files"),
}  # fmt: skip
SWALLOWED = {"a thread", "a thread through no_grad", "another hook", "torch's loader"}
"""Where the refusal does not come out: it raises in the thread, or who called drops or rewords it."""

FREE = {
    "torch asks NVML": "try:\n    torch.cuda._raw_device_count_nvml()\nexcept OSError:\n    pass",
    "nothing": "x = torch.empty(3)",
    "dataclasses": "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass A:\n    x: int = 1\nA(2)",
    "namedtuple": "import collections\ncollections.namedtuple('P', 'x y')(1, 2)",
    "typing": "import typing\nclass P(typing.NamedTuple):\n    x: int\nP(1)",
    "enum": "import enum\nclass E(enum.IntEnum):\n    A = 1\nE(1)",
    "functools": "import functools\n@functools.lru_cache\ndef f(x): return x\nf(1)\n@functools.wraps(f)\ndef g(): pass",
    "a lazy import": "def f():\n    import colorsys, wave\n    return wave\nf()",
    "a lazy import of torch's": "def f():\n    import torch.utils.flop_counter, torch.nn.utils.fusion as m\n    return m\nf()",
    "a deep copy": "import copy\ncopy.deepcopy(torch.nn.Linear(2, 2))",
    "a warning": "import warnings\nwarnings.simplefilter('always')\nwarnings.warn('beware')",
    "torch's warning": "import warnings\nwarnings.simplefilter('always')\ntorch.empty(2, 3, 4).T",
    "a traceback": "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.format_exc()",
    "a signature": "import inspect\ndef f(x): pass\ninspect.signature(f), inspect.getsource(f)",
    "a custom operator": ("@torch.library.custom_op('mine::f', mutates_args=())\n"
                          "def f(x: torch.Tensor) -> torch.Tensor:\n    return x.clone()\nf(torch.empty(2))"),
    "no_grad around its own": "@torch.no_grad()\ndef f(x): return x.clone()\nf(torch.empty(2))",
    "triton.jit": ("import triton, triton.language as tl\n@triton.autotune([triton.Config({'B': 8})], key=['n'])\n@triton.jit\n"
                   "def k(x, n, B: tl.constexpr):\n    tl.store(x + tl.arange(0, B), 1.0)"),
    "a compilation": ("import triton, triton.language as tl\nfrom triton.backends.compiler import GPUTarget\n@triton.jit\n"
                      "def k(x, B: tl.constexpr):\n    tl.store(x + tl.arange(0, B), 1.0)\n"
                      "src = triton.compiler.ASTSource(k, {'x': '*fp32', 'B': 'constexpr'}, {'B': 16})\n"
                      "triton.compile(src, target=GPUTarget('cuda', 90, 32))"),
    "threads that compute": "import threading\nt = threading.Thread(target=torch.empty, args=(3,)); t.start(); t.join()",
}  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    cache = tmp_path_factory.mktemp("triton")
    texts = {**{name: text for name, (text, _) in REFUSED.items()}, **FREE}
    snippets = {name: f"audit.start()\n{text}" for name, text in texts.items()}
    imports = f"import os\nos.environ['TRITON_CACHE_DIR'] = {str(cache)!r}\nimport torch, triton, ctypes"
    return run_forked(SETUP, snippets, imports)


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_kernel_does_is_seen_and_refused(done: dict[str, Any], name: str) -> None:
    assert REFUSED[name][1] in done[name]["seen"], done[name]
    if name not in SWALLOWED:
        assert "is not there for kernels" in done[name]["raised"]


@pytest.mark.parametrize("name", FREE)
def test_what_libraries_do_for_honest_code_is_free(done: dict[str, Any], name: str) -> None:
    assert done[name] == {"seen": {}, "raised": ""}


def test_a_library_installed_in_a_folder_of_its_own_acts_for_itself(tmp_path: Any) -> None:
    library, plain = tmp_path / "library", tmp_path / "plain"
    (library / "somelib-1.0.dist-info").mkdir(parents=True)
    plain.mkdir()
    for path in (library / "somelib.py", plain / "notes.py"):
        path.write_text("import sys\ndef caller():\n    return sys._getframe(1).f_lineno\n")
    paths = f"import sys\nsys.path[:0] = [{str(library)!r}, {str(plain)!r}]\n"
    snippets = {name: f"import {name}\naudit.start()\n{name}.caller()" for name in ("somelib", "notes")}
    found = run_forked(paths + SETUP, snippets)
    assert {name: list(each["seen"]) for name, each in found.items()} == {"somelib": [], "notes": ["frames"]}
