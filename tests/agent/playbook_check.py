"""Runs what the playbook writes beside the reference, without the judge."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from kernelwright.agent.writers.playbook import emit_cpp, export
from kernelwright.agent.writers.playbook.holder import forward_arguments
from kernelwright.agent.writers.playbook.ir import Program
from kernelwright.agent.writers.playbook.program import program_of
from kernelwright.agent.writers.playbook.variants import variants
from kernelwright.tasks.records import ShapeCase, Task, Use
from kernelwright.tasks.shapes import integers, with_sizes


def task_of(name: str, source: str) -> Task:
    """A plain file's task."""
    return Task(name, source, "", (ShapeCase("given", Use.TIMING),))


def graphs_of(source: str, limit: int | None = 3) -> list[dict[str, Any]]:
    """Traces at the given sizes and at some changed ones, in this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sources, own = variants(task_of("zoo", source), "cpu")
        request = {
            "variants": sources[:limit],
            "own": own,
            "training": False,
            "seconds": 60.0,
            "arguments": forward_arguments(source)[1],
        }
        answer = export.answer(request)
    assert not answer["problem"], answer["problem"]
    graphs: list[dict[str, Any]] = answer["graphs"]
    return graphs


def program(source: str, dtypes: tuple[str, ...] = ("float32", "bfloat16"), limit: int | None = 3) -> Program:
    """The program of a reference, traced at ``limit`` shapes."""
    return program_of(graphs_of(source, limit), source, dtypes)


def load(text: str, name: str = "kernel") -> Any:
    """The class ModelNew of a kernel file."""
    namespace: dict[str, Any] = {}
    exec(compile(text, f"{name}.py", "exec"), namespace)
    return namespace["ModelNew"]


def unseen(source: str) -> list[str]:
    """The reference at the given sizes and at larger, unaligned ones that no trace has seen."""
    sizes = {n: v for n, v in integers(source).items() if not n.endswith("_dim")}  # another dimension is another program
    sources = [source]
    for step in (4, 6):
        changed = {n: v * step + (step - 1 if v >= 16 else 0) for n, v in sizes.items()}
        sources.append(with_sizes(source, changed))
        for name, value in sizes.items():
            sources.append(with_sizes(source, {name: value * step}))
    return sources


def compare(kernel: Any, source: str, dtype: torch.dtype) -> bool:
    """Whether the reference accepts the sizes in ``source``; asserts that the kernel then agrees with the float64 oracle."""
    namespace: dict[str, Any] = {}
    exec(compile(source, "reference.py", "exec"), namespace)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.manual_seed(1)
            reference = namespace["Model"](*namespace["get_init_inputs"]()).eval().to(dtype)
            inputs = tree_map(lambda v: _cast(v, dtype), namespace["get_inputs"]())
            eager = tree_leaves(reference(*inputs))
        except (RuntimeError, ValueError):
            return False
        new = kernel(*namespace["get_init_inputs"]()).eval().to(dtype)
        new.load_state_dict(reference.state_dict())
        ours = tree_leaves(new(*inputs))
        oracle = tree_leaves(reference.double()(*tree_map(lambda v: _cast(v, torch.float64), inputs)))
    assert len(ours) == len(eager)
    for place, (mine, theirs, exact) in enumerate(zip(ours, eager, oracle, strict=True)):
        _close(place, mine, theirs, exact, dtype)
    return True


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _close(place: int, mine: torch.Tensor, theirs: torch.Tensor, exact: torch.Tensor, dtype: torch.dtype) -> None:
    assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype), f"output {place}"
    if not mine.is_floating_point():
        assert dtype is not torch.float32 or torch.equal(mine, theirs), f"output {place}"
        return
    finite = exact.isfinite()
    assert torch.equal(mine.isfinite(), theirs.isfinite()), f"output {place}"

    def error(value: torch.Tensor) -> float:
        difference = torch.where(finite, value.double() - exact, 0.0).norm()
        return float(difference / (torch.where(finite, exact, 0.0).norm() + 1e-30))

    assert error(mine) <= 4 * error(theirs) + 4 * torch.finfo(dtype).eps, f"output {place}: {error(mine):.2e}"


def check(name: str, source: str, limit: int | None = None) -> None:
    """The C++ kernel of ``source`` agrees with it at traced and unseen sizes."""
    kernel = load(emit_cpp.emit(program(source, limit=limit), {}), name)
    dtypes = (torch.float32, torch.bfloat16)
    accepted = [compare(kernel, text, dtype) for text in unseen(source) for dtype in dtypes]
    assert sum(accepted) >= 2 * len(dtypes)
