"""The screen's tables: dotted path -> (tier, rule). The longest matching prefix decides; ``allow`` ends the search.

Reject holds only what no honest kernel needs. What honest kernels do need now and then is a flag: evidence for the
judge's run-time checks and for the audit of winners.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

REJECT, FLAG, RECORD, ALLOW = "reject", "flag", "record", "allow"

WHY: Mapping[str, str] = {
    "syntax": "the source does not parse",
    "no_model": "the kernel must define `class ModelNew(nn.Module)` with a forward method",
    "reference": "a kernel may not import or inherit the reference",
    "harness": "only kernelwright.evaluator.native's load and OutsideEnvelope are there for kernels",
    "patching": "an attribute of an imported module or class is changed",
    "global_switch": "a process-wide setting of torch is changed; a kernel works under the settings it is given",
    "exit": "a kernel may not end or signal the process",
    "process": "a kernel may not start or trace processes",
    "network": "a kernel has no network",
    "raw_memory": "raw memory or library handles are reached from Python; bind native code by native.load(cpp=…)",
    "frames": "frames, globals or the heap of the interpreter are inspected",
    "dynamic_code": "code is made at run time; write it out",
    "environment": "the process environment is changed",
    "install": "a kernel may not install packages",
    "files": "files are touched; a kernel works on its tensors",
    "proc": "/proc is read",
    "tensor_subclass": "tensors with behaviour of their own can defer work; return plain tensors",
    "library": "library work that is not the kernel's own",
    "threads": "threads of its own: the work must be joined before forward returns",
    "streams": "streams of its own: the work must be joined before forward returns",
    "graphs": "a CUDA graph must copy its inputs in",
    "clock": "a clock is read",
    "seed": "random state is set",
    "fallback": "torch is called where something else failed",
    "replay": "identity or version of a tensor is looked at; outputs may not be cached",
    "state": "forward keeps something on self",
    "precision": "a cast to lower precision, or TF32",
    "introspection": "the interpreter's own structures are read",
    "instance_override": "a function is put on an object; outputs must be plain tensors",
    "inline_asm": "inline assembly",
    "include": "a header outside the toolchain's own",
    "fp_mode": "the floating-point mode of the thread is changed",
    "fast_math": "the optimiser is told to break floating-point rules",
    "simulator": "the simulator's own: no core reaches a tensor but by ttl.copy",
    "load_time": "code that runs when the library is loaded, or weak symbols",
}

_REJECTED: Mapping[str, str] = {
    "process": """
        subprocess multiprocessing torch.multiprocessing pty concurrent.futures.ProcessPoolExecutor os.system
        os.popen os.fork os.forkpty os.execl os.execle os.execlp os.execv os.execve os.execvp os.execvpe os.spawnl
        os.spawnle os.spawnlp os.spawnv os.spawnve os.spawnvp os.posix_spawn os.posix_spawnp commands platform.popen
    """,
    "exit": """
        os._exit os.abort os.kill os.killpg sys.exit builtins.exit builtins.quit signal atexit faulthandler
        os.setsid os.setpgid os.setpgrp
    """,
    "network": """
        socket socketserver ssl http urllib.request ftplib smtplib telnetlib xmlrpc asyncio.open_connection requests
        httpx aiohttp urllib3 paramiko huggingface_hub torch.hub
    """,
    "raw_memory": """
        ctypes.CDLL ctypes.PyDLL ctypes.cdll ctypes.pydll ctypes.pythonapi ctypes.LibraryLoader ctypes.memmove
        ctypes.memset ctypes.string_at ctypes.wstring_at ctypes.cast ctypes.addressof ctypes.CFUNCTYPE
        ctypes.PYFUNCTYPE ctypes.py_object ctypes.util cffi mmap _ctypes numpy.ctypeslib numpy.core.multiarray
        torch.cuda.memory_snapshot torch.cuda.memory._snapshot torch.cuda.memory.memory_snapshot
        torch.cuda.caching_allocator_alloc torch.cuda.memory.caching_allocator_alloc torch.ops.load_library
        torch.classes.load_library torch._C._cuda_memorySnapshot torch.from_file torch.UntypedStorage.from_file
        torch.cuda._pin_memory_utils
    """,
    "frames": """
        sys._getframe sys._current_frames sys._current_exceptions sys.settrace sys.setprofile sys.addaudithook
        sys.monitoring inspect.stack inspect.currentframe inspect.trace inspect.getouterframes
        inspect.getinnerframes threading.settrace threading.setprofile gc.get_objects gc.get_referrers
        gc.get_referents traceback.walk_stack traceback.extract_stack _testcapi bdb pdb
    """,
    "dynamic_code": """
        builtins.exec builtins.eval builtins.compile builtins.__import__ importlib runpy imp zipimport marshal
        pickle.loads pickle.load pickle.Unpickler dill cloudpickle types.CodeType types.FunctionType code codeop
    """,
    "environment": """
        os.putenv os.unsetenv os.environ.update os.environ.setdefault os.environ.pop os.environ.popitem
        os.environ.clear os.environ.__setitem__ os.environ.__delitem__ os.chdir os.chroot os.setuid os.setgid
    """,
    "files": """
        os.open os.write os.pwrite os.writev os.sendfile os.dup2 os.dup os.fdopen os.pipe os.remove os.unlink
        os.rename os.renames os.replace os.truncate os.ftruncate os.mkdir os.makedirs os.rmdir os.removedirs
        os.chmod os.chown os.symlink os.link os.mkfifo os.mknod os.memfd_create os.close os.closerange shutil.rmtree
        shutil.copy shutil.copy2 shutil.copyfile shutil.copytree shutil.move sqlite3 dbm shelve numpy.memmap
        numpy.save numpy.savez numpy.savetxt multiprocessing.shared_memory
    """,
    "global_switch": """
        torch.set_float32_matmul_precision torch.set_num_threads torch.set_num_interop_threads
        torch.set_default_dtype torch.set_default_tensor_type torch.set_default_device
        torch.use_deterministic_algorithms torch.set_flush_denormal torch.set_deterministic_debug_mode
        torch.cuda.set_per_process_memory_fraction torch.cuda.memory.change_current_allocator
        torch.cuda.change_current_allocator torch.cuda.set_sync_debug_mode torch.cuda.memory._set_allocator_settings
        torch.cuda._set_allocator_settings torch.backends.cudnn.flags torch.backends.cudnn.set_flags
        torch.backends.mkldnn.flags torch.backends.mkldnn.set_flags torch.backends.mkldnn.verbose torch.__future__
    """,
    "install": """
        pip ensurepip setuptools distutils pkg_resources conda site
    """,
    "library": """
        torch.compile torch._inductor torch._dynamo.optimize torch._dynamo.export torch.jit.optimized_execution
        torch.export torch._export cupy jax tensorflow numba onnxruntime tensorrt torch_tensorrt xformers flash_attn
        flashinfer cudnn nvmath bitsandbytes apex transformer_engine liger_kernel deep_gemm sklearn triton.ops
        triton_kernels fla openvino intel_extension_for_pytorch
    """,
    "tensor_subclass": """
        torch.Tensor._make_subclass torch.Tensor._make_wrapper_subclass torch._subclasses
        torch.utils._python_dispatch.TorchDispatchMode torch.overrides.TorchFunctionMode
    """,
    "patching": """
        unittest.mock mock pytest forbiddenfruit wrapt builtins.__build_class__ sys.meta_path sys.path_hooks
    """,
    "harness": "__main__ kernelwright",
    "reference": "reference",
}
"""Rule -> dotted paths whose *use* rejects; importing them is a flag."""

_FLAGGED: Mapping[str, str] = {
    "threads": """
        threading concurrent.futures asyncio _thread torch.jit.fork torch.jit._fork torch.futures queue
    """,
    "streams": """
        torch.cuda.Stream torch.cuda.stream torch.cuda.ExternalStream torch.Stream torch.cuda.set_stream
    """,
    "graphs": """
        torch.cuda.CUDAGraph torch.cuda.graph torch.cuda.make_graphed_callables torch.cuda.graphs
    """,
    "clock": """
        time datetime timeit torch.cuda.Event triton.testing torch.utils.benchmark torch.profiler
        torch.autograd.profiler
    """,
    "seed": """
        torch.manual_seed torch.seed torch.random torch.cuda.manual_seed torch.cuda.manual_seed_all
        torch.set_rng_state torch.get_rng_state torch.cuda.set_rng_state torch.cuda.get_rng_state torch.initial_seed
        random.seed numpy.random.seed torch.default_generator torch.Generator
    """,
    "introspection": """
        sys.modules sys.path inspect gc ctypes traceback linecache tracemalloc dis weakref os.getpid os.getppid os.fstat
        psutil resource torch._C torch.cuda.cudart torch.library torch.utils.dlpack torch.jit builtins.globals
        builtins.vars builtins.memoryview torch.cuda.memory torch.overrides torch.utils._python_dispatch
        torch.distributed os.sched_setaffinity
    """,
    "files": """
        os.listdir os.scandir os.walk os.stat glob tempfile shutil io numpy.load numpy.fromfile torch.load
        torch.save os.read
    """,
    "library": """
        scipy torch.nn.attention torch.utils.mkldnn
    """,
}

_ALLOWED = """
    torch._inductor.runtime
    importlib.util.find_spec importlib.metadata time.struct_time kernelwright.evaluator.native.load
    kernelwright.evaluator.native.OutsideEnvelope kernelwright.evaluator.native.BuildError torch.compiler
    io.StringIO io.BytesIO torch.jit.is_scripting torch.jit.is_tracing torch.jit.ignore torch.jit.export
    torch._C._nn torch._C._jit_internal torch.cuda.memory.empty_cache weakref.WeakKeyDictionary
    torch.cuda.current_stream torch.library.triton_op torch.library.wrap_triton torch.library.custom_op
    torch.library.register_fake kernelwright.evaluator.pallas.launch
    kernelwright.evaluator.ttlang.launch inspect.signature inspect.isfunction
"""
"""Exceptions below rejected and flagged packages."""


def _table() -> dict[str, tuple[str, str]]:
    table: dict[str, tuple[str, str]] = {}
    for tier, rules in ((REJECT, _REJECTED), (FLAG, _FLAGGED), (ALLOW, {"": _ALLOWED})):
        for rule, paths in rules.items():
            table |= dict.fromkeys(paths.split(), (tier, rule))
    return table


TABLE: Mapping[str, tuple[str, str]] = _table()
_PALLAS = """
    jax.numpy jax.lax jax.nn jax.jit jax.vmap jax.Array jax.ShapeDtypeStruct jax.tree jax.named_scope jax.experimental.pallas
"""
"""Of JAX, what a Pallas kernel is written in; computing with it outside ``pallas_call`` is seen in the trace."""
_PALLAS_REJECTED: Mapping[str, str] = {
    "files": "jax.numpy.save jax.numpy.savez jax.numpy.load jax.numpy.fromfile",
    "patching": """
        jax.experimental.pallas.tpu.force_tpu_interpret_mode jax.experimental.pallas.tpu.set_tpu_interpret_mode
        jax.experimental.pallas.tpu.reset_tpu_interpret_mode_state jax._src
    """,
    "global_switch": "jax.config",
}


_TTLANG_REJECTED: Mapping[str, str] = {
    "patching": "ttl.sim ttl._pipenets ttl._setup ttl.utils ttl.tutorials ttl.config sim_stats",
    "frames": "greenlet",
    "library": "ttnn",
}
_TTLANG = "ttnn.Tensor ttnn.bfloat16 ttnn.float32 ttnn.TILE_LAYOUT ttnn.ROW_MAJOR_LAYOUT ttnn.TILE_SIZE"
"""Of TTNN, what annotations and layouts need; its operators are library work."""
_TTLANG_ATTRIBUTES = """
    raw_tensor to_torch to_tensor to_list from_list from_tensor copy_as_dest get_item dfb_state likeness_tensor underlying_dtype
"""
"""Members of the simulator's objects that are no part of the language."""


@functools.cache
def attributes(backend: str) -> Mapping[str, str]:
    """Names that reject on any object of a kernel of one backend, whatever it is."""
    own = _TTLANG_ATTRIBUTES.split() if backend == "ttlang" else []
    return {**BAD_ATTRIBUTES, **dict.fromkeys(own, "simulator")}


@functools.cache
def table(backend: str) -> Mapping[str, tuple[str, str]]:
    """The table for kernels of one backend: what its language is made of is allowed there."""
    allowed, refused = {"pallas": (_PALLAS, _PALLAS_REJECTED), "ttlang": (_TTLANG, _TTLANG_REJECTED)}.get(backend, ("", {}))
    rejected = {path: (REJECT, rule) for rule, paths in refused.items() for path in paths.split()}
    return {**TABLE, **dict.fromkeys(allowed.split(), (ALLOW, "")), **rejected}


PARENTS = frozenset(
    {
        "kernelwright",
        "kernelwright.evaluator",
        "kernelwright.evaluator.native",
        "kernelwright.evaluator.pallas",
        "kernelwright.evaluator.ttlang",
        "importlib",
        "importlib.util",
        "ttnn",
    }
)
"""Packages that an import of something allowed binds on its way."""

SWITCH_PREFIXES = ("torch._C._set_", "torch._C._cuda_set", "torch._C._jit_set", "torch._C._backport")
HEAVY_NUMPY = frozenset(
    {
        "numpy.matmul",
        "numpy.dot",
        "numpy.einsum",
        "numpy.tensordot",
        "numpy.convolve",
        "numpy.inner",
        "numpy.vdot",
        "numpy.fft",
        "numpy.linalg",
        "numpy.sort",
        "numpy.argsort",
        "numpy.cumsum",
        "numpy.exp",
        "numpy.maximum",
        "numpy.add",
        "numpy.multiply",
        "numpy.sum",
        "numpy.mean",
        "numpy.tanh",
    }
)
"""Work on arrays that neither dispatcher nor profiler would see."""

BAD_ATTRIBUTES: Mapping[str, str] = {
    "__globals__": "frames",
    "__subclasses__": "frames",
    "__builtins__": "frames",
    "f_globals": "frames",
    "f_locals": "frames",
    "f_back": "frames",
    "tb_frame": "frames",
    "gi_frame": "frames",
    "cr_frame": "frames",
    "cell_contents": "frames",
    "write_text": "files",
    "write_bytes": "files",
    "unlink": "files",
    "as_subclass": "tensor_subclass",
    "__torch_function__": "tensor_subclass",
    "__torch_dispatch__": "tensor_subclass",
}
"""Names that reject on any object, whatever it is."""
BAD_STORES = frozenset(
    {
        "__code__",
        "__class__",
        "__globals__",
        "__defaults__",
        "__kwdefaults__",
        "__closure__",
        "__builtins__",
        "__wrapped__",
    }
)
FLAG_ATTRIBUTES: Mapping[str, tuple[str, str]] = {
    "_version": (FLAG, "replay"),
    "data_ptr": (RECORD, "replay"),
    "__code__": (FLAG, "introspection"),
    "half": (RECORD, "precision"),
    "bfloat16": (RECORD, "precision"),
}
TENSOR_BASES = frozenset(
    {
        "torch.Tensor",
        "torch.nn.Parameter",
        "torch._C.TensorBase",
        "torch._C._TensorBase",
        "torch.nn.parameter.Parameter",
        "torch.FloatTensor",
    }
)

_CPP_CALLS: Mapping[str, str] = {
    "process": """
        system popen fork vfork execl execle execlp execv execve execvp posix_spawn ptrace syscall
    """,
    "raw_memory": "dlopen dlmopen dlsym dlvsym dl_iterate_phdr mprotect process_vm_readv process_vm_writev",
    "network": "socket connect",
    "exit": "kill _exit _Exit quick_exit sigaction raise",
    "environment": "setenv putenv unsetenv",
    "files": "fopen freopen creat unlink rename open openat",
}
_CPP_WORDS: Mapping[str, str] = {
    "process": "popen vfork execve execvp posix_spawn ptrace",
    "raw_memory": "dlopen dlmopen dlsym dlvsym dl_iterate_phdr process_vm_readv process_vm_writev mprotect",
    "files": "ofstream fstream",
}
_CPP_FLAGS: Mapping[str, str] = {
    "threads": "thread jthread pthread_create async omp_set_num_threads omp_set_dynamic detach taskwait",
    "clock": """
        clock_gettime gettimeofday steady_clock system_clock high_resolution_clock __rdtsc _rdtsc omp_get_wtime
        usleep nanosleep
    """,
    "inline_asm": "asm __asm__ __asm",
    "files": "ifstream mmap getenv",
    "exit": "abort exit signal",
    "fp_mode": "_mm_setcsr _MM_SET_FLUSH_ZERO_MODE _MM_SET_DENORMALS_ZERO_MODE fesetround fesetenv",
    "load_time": """
        constructor destructor weak ifunc environ __builtin_return_address __builtin_frame_address
    """,
}
CPP_CALLS = {word: rule for rule, words in _CPP_CALLS.items() for word in words.split()}
"""Rejected where called; the words are common enough that a mere name proves nothing."""
CPP_WORDS = {word: rule for rule, words in _CPP_WORDS.items() for word in words.split()}
"""Rejected wherever they stand."""
CPP_FLAGS = {word: rule for rule, words in _CPP_FLAGS.items() for word in words.split()}
