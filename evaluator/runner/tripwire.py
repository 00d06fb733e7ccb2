"""A wire across every ATen operator that computes: in ``forward`` it trips, in each call alike, observed or not.

The kernels of the device's dispatch key are replaced once, in the runner's process, by ones that refuse while armed and
call through otherwise (constructors, copies of parameters, the harness's own work). Free operators (allocation, views, copies,
casts) are left as they are, so that a kernel's own path costs nothing more. A kernel that lets torch do the work when it
believes itself unobserved has no torch to do it.

Also shut: imports of packages that would do the work, and the bridges by which a tensor leaves torch for numpy and others.

Not protected against: code in this process that restores what was replaced here, or that reaches a library by an address
(:mod:`~kernelwright.evaluator.binary` looks for that in native code, the own share of the time in all).
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

import torch

from kernelwright.evaluator import honesty

_KEYS = {
    "cpu": ("CPU", "SparseCPU", "SparseCsrCPU", "QuantizedCPU", "NestedTensorCPU"),
    "cuda": ("CUDA", "SparseCUDA", "SparseCsrCUDA", "QuantizedCUDA", "NestedTensorCUDA"),
    "npu": (
        "PrivateUse1", "SparsePrivateUse1", "SparseCsrPrivateUse1", "QuantizedPrivateUse1", "NestedTensorPrivateUse1",
        "CPU", "SparseCPU", "SparseCsrCPU", "QuantizedCPU", "NestedTensorCPU",
    ),
}  # fmt: skip
"""Dispatch keys of the device: a tensor of another layout is no way round. torch_npu's operators are PrivateUse1's, and what it
lacks it does on the CPU."""
_DENSE = frozenset({"CPU", "CUDA", "PrivateUse1"})
"""Keys that operators with one kernel for all of them are looked for under."""
_BRIDGES = ("numpy", "__array__", "__dlpack__", "__array_interface__", "__cuda_array_interface__")
_PACKAGES = frozenset(
    {
        "apex", "cupy", "flash_attn", "flashinfer", "jax", "jaxlib", "liger_kernel", "numba", "onnxruntime", "scipy", "sklearn",
        "tensorflow", "tensorrt", "torch._inductor.codegen", "torch._inductor.compile_fx", "torch_tensorrt",
        "transformer_engine", "triton_kernels", "xformers",
    }
)  # fmt: skip


class LibraryWork(RuntimeError):
    """An operator computed in ``forward`` that the task does not let stay in the library."""


class Tripwire:
    """Installed once a process, before the kernel's source is executed. ``tripped`` counts by operator."""

    def __init__(self, device: str) -> None:
        self._laid = False
        self._keys = _KEYS[device.partition(":")[0]]
        self._armed = [0]
        self._refuses = False
        self._opened: frozenset[str] = frozenset()
        self._libraries: dict[str, Any] = {}
        self.tripped: dict[str, int] = {}

    def install(self, allowed: Sequence[str]) -> None:
        """Lay the wire and shut the ways round it. ``allowed``: operator classes (``matmul``, …) and base names that may stay
        library calls.
        """
        if not self._laid:
            self.lay(frozenset(allowed))
        elif allowed:
            raise ValueError(f"the wire is laid across every operator, {', '.join(allowed)} too: ask a server without it")
        self._shut()

    def lay(self, allowed: frozenset[str] = frozenset()) -> None:
        """Replace the operators. What is forked from this process has it too, and is spared the 0.15 s.

        Where torch cannot give an operator's own kernel (before 2.9) there is none, and the observed call alone decides.
        """
        self._laid = True
        if hasattr(torch.library, "get_kernel"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that kernels are replaced is the intention
                self._replace(allowed)

    def _replace(self, allowed: frozenset[str]) -> None:
        names = tuple(torch._C._dispatch_get_all_op_names())
        for key in self._keys:
            for name, original in _computing(key, key in _DENSE, names):
                if allowed and {honesty.base_name(name), honesty.library_class(name)} & allowed:
                    continue
                space, _, operator = name.partition("::")
                if space not in self._libraries:
                    self._libraries[space] = torch.library.Library(space, "IMPL")
                wire = self._wire(name, original)
                self._libraries[space].impl(operator, wire, key, with_keyset=True, allow_override=True)

    def _wire(self, name: str, original: Any) -> Callable[..., Any]:
        armed = self._armed

        def through(keys: Any, *arguments: Any, **options: Any) -> Any:
            if armed[0]:
                self._trip(name, armed[0] > 1)
            try:
                return original.call_boxed(keys, *arguments, **options)
            except RuntimeError as error:
                if "expected a value of type 'tensor'" not in str(error).lower():
                    raise
            return original.call_boxed(keys, *_numbers_as_tensors(name, arguments), **options)

        return through

    def _trip(self, name: str, refuse: bool) -> None:
        self.tripped[name] = self.tripped.get(name, 0) + 1
        if refuse:
            raise LibraryWork(f"{name} computes in forward: library work; the kernel must do it itself")

    def report(self, name: str) -> None:
        """Something that computes outside torch, seen by the harness of another language."""
        if self._armed[0]:
            self._trip(name, self._armed[0] > 1)

    def open(self, *packages: str) -> None:
        """Let these packages be imported after all: the kernel's language is one of them. Before :meth:`install`."""
        self._opened = frozenset(packages)

    def arm(self) -> None:
        """From here on operators that compute are counted or, after :meth:`refuse`, refused."""
        self._armed[0] = 2 if self._refuses else 1

    def disarm(self) -> None:
        self._armed[0] = 0

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Whoever simulates the kernel's language computes with torch meanwhile."""
        was, self._armed[0] = self._armed[0], 0
        try:
            yield
        finally:
            self._armed[0] = was

    def refuse(self) -> None:
        """Refuse from here on: whether values are right has been seen, and whose work they are is decided."""
        self._refuses = True
        self.arm()

    def _shut(self) -> None:
        """Shut the bridges and the packages."""
        sys.meta_path.insert(0, _Closed(_PACKAGES - self._opened))
        for name in _BRIDGES:
            bridge = getattr(torch.Tensor, name, None)
            if callable(bridge) and not isinstance(bridge, property):
                setattr(torch.Tensor, name, self._bridge(name, bridge))
        for place in (torch._C, torch, torch.utils.dlpack):
            for name in ("_to_dlpack", "to_dlpack"):
                if (bridge := getattr(place, name, None)) is not None:
                    setattr(place, name, self._bridge(name, bridge))

    def _bridge(self, name: str, original: Any) -> Callable[..., Any]:
        armed = self._armed

        def through(tensor: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            if armed[0]:
                self._trip(f"Tensor.{name}", armed[0] > 1)
            return original(tensor, *arguments, **options)

        through.__name__ = name
        return through


_laid: dict[str, Tripwire] = {}
"""Kind of device -> the wire that this process inherited."""


def lay(device: str) -> None:
    """Lay the wire in a process that runs nothing itself, for those that are forked from it."""
    _laid[device] = Tripwire(device)
    _laid[device].lay()


def of(device: str) -> Tripwire:
    """The wire that is laid in this process, or a new one.

    It is handed out once: no kernel finds it by a name in this module.
    """
    return _laid.pop(device.partition(":")[0], None) or Tripwire(device)


class _Closed(Loader):
    """An import finder whose modules cannot be loaded: of what would do the work, and is installed.

    Libraries may look whether a package is there; only loading it fails.
    """

    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self._packages:
            return None
        found = PathFinder.find_spec(name, path)
        return None if found is None else ModuleSpec(name, self)

    def create_module(self, spec: ModuleSpec) -> None:
        raise ImportError(f"{spec.name} is not available to kernels: it would do the kernel's work")

    def exec_module(self, module: Any) -> None:
        """Never reached."""


def _numbers_as_tensors(name: str, arguments: Sequence[Any]) -> list[Any]:
    """``x * 2.0`` reaches a boxed kernel with a bare number where its schema has a tensor: make it one, of no more rank."""
    schema = torch._C._get_schema(name.partition(".")[0], name.partition(".")[2])
    wide = any(isinstance(a, torch.Tensor) and a.dtype in (torch.float64, torch.complex128) for a in arguments)
    made = []
    for value, argument in zip(arguments, schema.arguments, strict=False):
        if isinstance(value, (bool, int, float, complex)) and str(argument.type) == "Tensor":
            real = torch.float64 if wide else torch.get_default_dtype()
            value = torch.tensor(value, dtype=real if isinstance(value, float) else None)
        made.append(value)
    return made


def look_up_operators(chip: str = "") -> None:
    """Look up, before runners are forked, what each would: 0.15 s. It runs no operator and opens no device.

    ``chip``: the kind of the one that they will open.
    """
    if not hasattr(torch.library, "get_kernel"):
        return
    names = tuple(torch._C._dispatch_get_all_op_names())
    for device, keys in _KEYS.items():
        here = device in ("cpu", chip) or (device == "cuda" and (torch.version.cuda or torch.version.hip))
        for key in keys if here else ():
            _computing(key, key in _DENSE, names)


@functools.cache
def _computing(key: str, composite: bool, names: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """Those of ``names``, all operators that there are, that compute and have a kernel of their own under ``key``, or
    (``composite``) one for all keys; with that kernel."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    found = []
    for name in names:
        if honesty.classify(name) != "library" or has(name, "CompositeImplicitAutograd"):
            continue
        if has(name, key) or (composite and has(name, "CompositeExplicitAutograd")):
            found.append((name, torch.library.get_kernel(name, key)))
    return tuple(found)
