"""``tuned/``: an importable folder that needs torch (and triton or g++) alone."""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import platform
import re
from pathlib import Path
from typing import Any

import torch

from kernelwright.agent.files import write_text
from kernelwright.agent.tune import patch as patch_module
from kernelwright.agent.tune.folder import replaced
from kernelwright.agent.tune.optimise import Search
from kernelwright.agent.tune.patch import Patched
from kernelwright.agent.tune.target import Target
from kernelwright.agent.tune.text import markdown
from kernelwright.evaluator import native
from kernelwright.tasks.carve import capture
from kernelwright.tasks.codec import to_json

_OWN = re.compile(r"\bkernelwright\.(?:evaluator|tasks\.carve|agent\.tune)(?:\.(\w+))?\b")
_RUNTIME = (capture, patch_module, native)
"""What a package runs by; with whatever of this project they import."""

_INIT = '''"""Kernels found and verified by `kernelwright tune` for {model}; see manifest.json and report.md."""

import hashlib
import importlib
import json
from pathlib import Path

import torch

from ._runtime.capture import capture
from ._runtime.patch import patch

__all__ = ["MANIFEST", "apply"]

_HERE = Path(__file__).parent
MANIFEST = json.loads((_HERE / "manifest.json").read_text())


def apply(model, inputs=None):
    """Put the kernels into `model`, which is changed in place and returned; its state_dict stays as it is.

    `inputs`: a list of (args, kwargs) that the kernels are for; default: those that were tuned for. Calls of other shapes,
    dtypes, devices, strides, or in another mode run the original forward. `model._kernelwright.undo()` takes all out again.

    Raises RuntimeError where a kernel's file was changed, or the model is not the one that was tuned.
    """
    kernels = {{}}
    for key, row in MANIFEST["kernels"].items():
        if hashlib.sha256((_HERE / row["file"]).read_bytes()).hexdigest() != row["sha256"]:
            raise RuntimeError(f"{{row['file']}} is not the file that was verified")
        kernels[key] = importlib.import_module(f".kernels.{{row['module']}}", __name__).ModelNew()
    if not kernels:
        return model
    training = MANIFEST["mode"] == "training"
    device = next((t.device for t in model.parameters()), torch.device("cpu"))
    if inputs is None:
        inputs = torch.load(_HERE / "inputs.pt", weights_only=True, map_location=device)
    was = model.training
    model.train(training)
    sites = []
    with torch.no_grad():
        for args, kwargs in inputs:
            sites += capture(model, args, kwargs)[0]
    found = {{group.key for site in sites for group in site.groups.values()}}
    missing = sorted(MANIFEST["kernels"][key]["module"] for key in kernels if key not in found)
    if missing:
        raise RuntimeError(f"the model has no place for {{', '.join(missing)}}: another model, other shapes, or another torch?")
    patched = patch(model, sites, kernels, training)
    model.train(was)
    object.__setattr__(model, "_kernelwright", patched)
    return model
'''


def write_package(folder: Path, patched: Patched, target: Target, search: Search, report: dict[str, Any]) -> None:
    """Write ``folder``: kernels, runtime, ``apply``, ``inputs.pt``, ``manifest.json``, ``report.json`` and ``report.md``.

    An earlier result takes its leave once the new one is whole; a folder that is something else is not touched.

    Raises:
        InputError: ``folder`` holds files that are no result of ours.
    """
    with replaced(folder) as made:
        _write(made, patched, target, search, report)


def _write(folder: Path, patched: Patched, target: Target, search: Search, report: dict[str, Any]) -> None:
    rows: dict[str, Any] = {}
    for key in patched.used():
        won = search.won[key]
        module = f"{won.candidate.group.name}_{key[:6]}"
        text = _relative(won.source, ".._runtime")
        write_text(folder / "kernels" / f"{module}.py", text)
        rows[key] = {
            "module": module,
            "file": f"kernels/{module}.py",
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "envelope": {"inputs": to_json(won.candidate.group.inputs), "outputs": to_json(won.candidate.group.outputs)},
            "occurrences": won.candidate.count,
            "run": won.run,
            "attempt": won.outcome.best,
            "captured_error": won.captured_error,
            "verdict": to_json(won.outcome.verdict),
        }
    manifest = {
        "kernelwright": 1,
        "model": target.name,
        "mode": report["mode"],
        "device": report["device"],
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "kernels": rows,
        "end_to_end": {name: report.get(name) for name in ("numerics", "latency_ms", "speedup", "contribution_ms")},
    }
    for name, text in _runtime().items():
        write_text(folder / "_runtime" / name, _relative(text, ""))
    write_text(folder / "_runtime" / "__init__.py", "")
    write_text(folder / "kernels" / "__init__.py", "")
    write_text(folder / "__init__.py", _INIT.format(model=target.name))
    torch.save([(args, kwargs) for args, kwargs in target.calls], folder / "inputs.pt")
    write_text(folder / "report.json", json.dumps(report, indent=1) + "\n")
    write_text(folder / "report.md", markdown(report))
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")


def _relative(text: str, package: str) -> str:
    """``text`` with what it has of this project as modules of ``package``, a sibling's or its own."""
    return _OWN.sub(lambda found: f"{package}.{found[1]}" if found[1] else package or ".", text)


def _runtime() -> dict[str, str]:
    """File name -> text of every module that a package runs by."""
    found: dict[str, str] = {}
    left = list(_RUNTIME)
    while left:
        path = Path(str(left.pop().__file__))
        if path.name in found:
            continue
        found[path.name] = text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (own := _OWN.fullmatch(node.module or "")):
                names = [node.module] if own[1] else [f"{node.module}.{alias.name}" for alias in node.names]
                left += [importlib.import_module(str(name)) for name in names]
    return found
