"""What kernel files launch at a task's shapes, without a device: ``python -m kernelwright.agent.writers.playbook.launches``.

Runs in a child process, since it executes the (trusted) reference and kernel files of the playbook, and imports torch. The
first line of stdin is ``{"shapes": [[source, [dtype, …]], …], "training": bool, "units": int, "capability": [int, int]}``: the
reference at each shape that is timed, the dtypes it is timed in, and the device; it is answered by ``true``. Every further line
is a kernel file as a JSON string, answered by a digest of all that it launches (kernels' texts, grids, options, sizes). Files
with equal digests do the same work there, whatever they are made for. What cannot be told is answered by ``null``.

Tensors are fake: no memory, no arithmetic. They are on a CPU, since torch may be built for nothing else, and files that ask
whether a tensor is on ``"cuda"`` are made to ask for that. ``triton`` is a stand-in that writes launches down.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any


class _Name(str):
    """An attribute of the stand-in for triton.language: itself as text, a decorator or constructor that changes nothing."""

    __slots__ = ()

    def __getattr__(self, name: str) -> _Name:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(f"{self}.{name}")

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return arguments[0] if len(arguments) == 1 and not named else (str(self), arguments, named)


class _Kernel:
    """A jitted function: its launches are written down in ``log``."""

    def __init__(self, name: str, log: list[Any]) -> None:
        self._name, self._log = name, log

    def __getitem__(self, grid: Any) -> Any:
        def launch(*arguments: Any, **named: Any) -> None:
            self._log.append((self._name, _plain(grid), _plain(arguments), _plain(sorted(named.items()))))

        return launch


def _plain(value: Any) -> Any:
    """An argument as text that does not depend on where things lie."""
    import torch

    if isinstance(value, torch.Tensor):
        return ("tensor", str(value.dtype), tuple(value.shape), tuple(value.stride()), value.storage_offset())
    if isinstance(value, (tuple, list)):
        return tuple(_plain(v) for v in value)
    if isinstance(value, dict):
        return _plain(sorted(value.items()))
    return repr(value)


def _stand_in(log: list[Any]) -> dict[str, types.ModuleType]:
    """Modules that a kernel file imports in place of triton's own."""
    triton = types.ModuleType("triton")
    triton.jit = lambda function: _Kernel(function.__name__, log)  # type: ignore[attr-defined]
    triton.cdiv = lambda a, b: -(-a // b)  # type: ignore[attr-defined]
    triton.next_power_of_2 = lambda n: 1 << max(n - 1, 0).bit_length()  # type: ignore[attr-defined]
    language = types.ModuleType("triton.language")
    language.__getattr__ = lambda name: _Name(name)  # type: ignore[method-assign]
    triton.language = language  # type: ignore[attr-defined]
    tools = types.ModuleType("triton.tools")
    descriptor = types.ModuleType("triton.tools.tensor_descriptor")

    def made(*arguments: Any, **named: Any) -> Any:
        return ("descriptor", _plain(arguments), _plain(named))

    made.from_tensor = made  # type: ignore[attr-defined]
    descriptor.TensorDescriptor = made  # type: ignore[attr-defined]
    return {"triton": triton, "triton.language": language, "triton.tools": tools, "triton.tools.tensor_descriptor": descriptor}


@contextlib.contextmanager
def _pretending(units: int, capability: tuple[int, int], log: list[Any]) -> Iterator[None]:
    """A device of ``units`` multiprocessors, and the stand-in for triton."""
    import torch

    stand_in = _stand_in(log)
    kept = {name: sys.modules.get(name) for name in stand_in}
    properties = types.SimpleNamespace(multi_processor_count=units, major=capability[0], minor=capability[1])
    cuda: Any = torch.cuda
    own = {"get_device_capability": cuda.get_device_capability, "get_device_properties": cuda.get_device_properties}
    pointer = torch.Tensor.data_ptr
    try:
        sys.modules.update(stand_in)
        cuda.get_device_capability = lambda *_: capability
        cuda.get_device_properties = lambda *_: properties
        torch.Tensor.data_ptr = lambda _: 0  # type: ignore[method-assign,assignment]
        yield
    finally:
        torch.Tensor.data_ptr = pointer  # type: ignore[method-assign]
        for name, value in own.items():
            setattr(cuda, name, value)
        for name, module in kept.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


class _OnCpu(ast.NodeTransformer):
    """Asks for ``"cpu"`` wherever a file asks for ``"cuda"``."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.copy_location(ast.Constant("cpu"), node) if node.value == "cuda" else node


class Shape:
    """A task at one shape: constructor's arguments and inputs, fake."""

    def __init__(self, source: str, dtypes: list[str]) -> None:
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode

        self.dtypes = [getattr(torch, name) for name in dtypes]
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        module = types.ModuleType("reference")
        sys.modules["reference"] = module
        exec(compile(source, "reference.py", "exec"), module.__dict__)
        with self.mode:
            self.init = tuple(module.__dict__["get_init_inputs"]())
            self.inputs = tuple(module.__dict__["get_inputs"]())

    def launches(self, kernel: types.CodeType, training: bool, dtype: Any, log: list[Any]) -> None:
        """Run the file's module once in ``dtype``."""
        import torch
        from torch.utils import _pytree as pytree

        def cast(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return value.to(dtype) if value.is_floating_point() else value

        namespace: dict[str, Any] = {"__name__": "kernel"}
        with self.mode, torch.no_grad():
            exec(kernel, namespace)
            model = namespace["ModelNew"](*self.init).train(training)
            for module in model.modules():  # Module.to cannot swap fake parameters
                for held in (module._parameters, module._buffers):
                    held.update({name: cast(tensor) for name, tensor in held.items()})
            log.append(str(dtype))
            model(*pytree.tree_map(cast, self.inputs))


class Digests:
    """Digests of kernel files for one task."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._training = bool(request["training"])
        self._units, self._capability = int(request["units"]), (int(request["capability"][0]), int(request["capability"][1]))
        self._shapes = [Shape(source, dtypes) for source, dtypes in request["shapes"]]

    def of(self, text: str) -> str:
        """The digest of a kernel file.

        Raises:
            Exception: whatever the file raises where tensors hold no data.
        """
        log: list[Any] = []
        tree = _OnCpu().visit(ast.parse(text))
        code = compile(tree, "kernel.py", "exec")
        with _pretending(self._units, self._capability, log):
            for shape in self._shapes:
                for dtype in shape.dtypes:
                    shape.launches(code, self._training, dtype, log)
        used = {entry[0] for entry in log if isinstance(entry, tuple)}
        texts = [ast.unparse(node) for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in used]
        return hashlib.sha256(repr((texts, log)).encode()).hexdigest()[:24]


def main() -> None:
    """Answer line by line until stdin ends."""
    warnings.simplefilter("ignore")
    out, sys.stdout = sys.stdout, sys.stderr
    digests: Digests | None = None
    for line in sys.stdin:
        answer: bool | str | None = None
        try:
            if digests is None:
                digests = Digests(json.loads(line))
                answer = True
            else:
                answer = digests.of(json.loads(line))
        except Exception as error:  # noqa: BLE001 - process boundary: a file that cannot be told apart is judged like any other
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        out.write(json.dumps(answer) + "\n")
        out.flush()
        if digests is None:
            return


if __name__ == "__main__":
    main()
