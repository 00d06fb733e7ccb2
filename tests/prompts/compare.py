"""Runs every exemplar of a backend against its torch reference and prints a JSON list of what was seen.

Run as a script in a process of its own: the interpreter of Triton must be chosen before Triton is imported, and an
unmasked store would take the test run down with it.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from kernelwright.evaluator.correctness import compare
from kernelwright.tasks.shapes import integers, with_sizes

REFERENCES = Path(__file__).parent / "references"
SETTINGS = ("KERNEL", "STRIDE", "PADDING")
FLOAT32 = ("optimizer",)
"""Exemplars whose tasks have no other dtype."""


def load(source: str, name: str, folder: Path) -> ModuleType:
    """A module from source; Triton reads its kernels' text from the file."""
    path = folder / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shapes(source: str) -> dict[str, Mapping[str, int]]:
    """Sizes to compare in: the reference's own, tiny ones, odd ones, and for windows another stride and padding."""
    sizes = {name: value for name, value in integers(source).items() if name not in SETTINGS}
    found: dict[str, Mapping[str, int]] = {"own": {}, "tiny": {}, "odd": {}}
    found["tiny"] = {name: max(2, min(value, 3)) for name, value in sizes.items()}
    found["odd"] = {name: max(3, value // 3 * 2 + 1) for name, value in sizes.items()}
    if "KERNEL" in integers(source):
        found["tiny"] = {name: min(value, 4) for name, value in sizes.items()}
        found["dense"] = {"STRIDE": 1, "PADDING": 0}
    return found


def judge(reference: ModuleType, kernel: ModuleType, dtype: torch.dtype, strided: bool) -> str:
    """Empty when the kernel agrees with the float64 reference as the judge asks, in all results, else what is wrong."""
    init = reference.get_init_inputs()
    torch.manual_seed(0)
    model = reference.Model(*init)
    ours = kernel.ModelNew(*init)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(torch.rand_like(value) * 2 - 1)
    ours.load_state_dict(model.state_dict())
    model, ours = model.to(dtype), ours.to(dtype)
    inputs = [x.to(dtype) if x.is_floating_point() else x for x in reference.get_inputs()]
    if strided:
        inputs = [x.transpose(0, -1).contiguous().transpose(0, -1) for x in inputs]
    kept = [x.clone() for x in inputs]
    with torch.no_grad():
        eager, seen = model(*inputs), ours(*inputs)
        oracle = model.double()(*[x.double() if x.is_floating_point() else x for x in inputs])
    if not all(torch.equal(a, b) for a, b in zip(kept, inputs, strict=True)):
        return "changed an input"
    results = zip(*(x if isinstance(x, tuple) else (x,) for x in (seen, oracle, eager)), strict=True)
    return next(filter(None, (difference(*one) for one in results)), "")


def difference(seen: torch.Tensor, oracle: torch.Tensor, eager: torch.Tensor) -> str:
    """Likewise, of one result."""
    if (seen.shape, seen.dtype, seen.stride()) != (eager.shape, eager.dtype, torch.empty(eager.shape).stride()):
        return f"gave {seen.dtype} {tuple(seen.shape)} {seen.stride()}"
    return compare(seen, oracle, eager).detail


def check(backend: str, exemplar: Path, folder: Path) -> list[dict[str, Any]]:
    """One row a shape and dtype."""
    source = (REFERENCES / exemplar.name).read_text(encoding="utf-8")
    kernel = load(exemplar.read_text(encoding="utf-8"), f"{backend}_{exemplar.stem}", folder)
    rows = []
    for name, sizes in shapes(source).items():
        reference = load(with_sizes(source, sizes), f"reference_{exemplar.stem}_{name}", folder)
        only = backend == "triton" or exemplar.stem in FLOAT32
        dtypes = (torch.float32,) if only else (torch.float32, torch.bfloat16)
        for dtype in dtypes:
            for strided in (False, True) if name == "own" else (False,):
                problem = judge(reference, kernel, dtype, strided)
                rows.append({"category": exemplar.stem, "shape": name, "dtype": str(dtype), "problem": problem})
    return rows


def main(backend: str, exemplars: Path) -> None:
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for path in sorted(exemplars.glob("*.py")) for row in check(backend, path, Path(folder))]
    sys.stdout.write(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
