"""Triton source of one launch to linalg, by Triton-Ascend: run by the python of its own environment, sandboxed, standalone.

``python worker.py JOB``: the JSON file says ``path`` (the kernel's source), ``function``, ``signature`` (argument -> type),
``constants`` and ``arch``. The last line of stdout is one JSON object: ``linalg`` or ``problem``, with ``known`` where it is
the compiler's word on the kernel. Of the source only jitted functions, imports of Triton and plain constants are executed; what
the compiler evaluates of a jitted function runs here too, so nothing that this process says is more than a claim.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

_IMPORTS = ("triton", "math", "__future__")
_MOST = 4000


def main(job: dict[str, Any]) -> dict[str, Any]:
    try:
        function = _function(job)
    except Exception as error:  # noqa: BLE001 - whatever the source's own lines raise
        return {"problem": f"{type(error).__name__}: {error}"[:_MOST], "known": True}
    try:
        return {"linalg": _lowered(function, job)}
    except subprocess.CalledProcessError as error:
        return {"problem": _said(error), "known": error.returncode > 0}  # else it crashed
    except Exception as error:  # noqa: BLE001 - the compiler's errors are of many kinds
        known = type(error).__module__.startswith("triton")
        return {"problem": f"{type(error).__name__}: {error}"[-_MOST:], "known": known}


def _said(error: subprocess.CalledProcessError) -> str:
    """The tool's own errors, without its stack dumps and the names of scratch files."""
    text = (error.stderr or b"").decode(errors="replace")
    lines = [re.sub(r"^loc\(.*?\): |^/\S+?:(\d+:\d+): ", "", line) for line in text.splitlines()]
    told = [line for line in lines if "error:" in line] or lines[:5]
    died = f"{Path(error.cmd[0]).name} ended with {error.returncode}"
    return "\n".join([*dict.fromkeys(told), died])[:_MOST]


def _function(job: dict[str, Any]) -> Any:
    path = Path(job["path"])
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if _kept(node)]
    module = types.ModuleType("kernel_under_test")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(tree, str(path), "exec", dont_inherit=True), module.__dict__)
    found = module.__dict__.get(job["function"])
    if found is None:
        raise LookupError(f"{job['function']} is no @triton.jit function at the top level of the source")
    return found


def _kept(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import):
        node.names = [alias for alias in node.names if alias.name.split(".")[0] in _IMPORTS]
        return bool(node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in _IMPORTS
    if isinstance(node, ast.FunctionDef):
        node.decorator_list = [mark for mark in node.decorator_list if _is_jit(mark)]
        return bool(node.decorator_list)
    return isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and _is_plain(node.value)


def _is_jit(mark: ast.expr) -> bool:
    target = mark.func if isinstance(mark, ast.Call) else mark
    return ast.unparse(target).rpartition(".")[2] == "jit"


def _is_plain(value: ast.expr) -> bool:
    """A literal, arithmetic on literals, ``tl.constexpr(literal)``, a type of Triton's."""
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rpartition(".")[2] == "constexpr" and all(map(_is_plain, value.args))
    if isinstance(value, ast.Attribute):
        return ast.unparse(value).split(".")[0] in ("tl", "triton", "math")
    kinds = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Tuple, ast.Load, ast.Name, ast.expr_context)
    return all(isinstance(part, kinds) for part in ast.walk(value))


def _constant(value: Any) -> Any:
    if isinstance(value, dict):
        import triton.language as tl

        return tl.dtype(value["dtype"]) if "dtype" in value else float(value["float"])
    return value


def _lowered(function: Any, job: dict[str, Any]) -> str:
    from triton._C.libtriton import ir
    from triton.backends.ascend.compiler import AscendBackend, make_ttir, ttir_to_linalg
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    target = GPUTarget("npu", job["arch"], 0)
    backend = AscendBackend(target)
    options = backend.parse_options({"kernel_name": job["function"], **job.get("options", {})})
    constants = {name: _constant(value) for name, value in job["constants"].items()}
    source = ASTSource(fn=function, signature=job["signature"], constants=constants)
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    modules = backend.get_module_map() if hasattr(backend, "get_module_map") else {}
    module = source.make_ir(options, backend.get_codegen_implementation(), modules, context)
    metadata = {**options.__dict__, "hash": "kernelwright", "target": target}
    module = make_ttir(module, metadata, options)
    return str(ttir_to_linalg(module, metadata, options, named_ops=True))


if __name__ == "__main__":
    answer = main(json.loads(Path(sys.argv[1]).read_text()))
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
