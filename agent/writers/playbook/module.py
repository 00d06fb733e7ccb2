"""The Python file round the kernels: the constructor, checks of the envelope, allocation, one native call."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kernelwright.agent.writers.playbook.index import Poly, text
from kernelwright.agent.writers.playbook.ir import Buffer, Output, Program

SUFFIX = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""Working dtypes that native code exists for -> how its functions' names end."""


def shape_text(shape: Iterable[Poly]) -> str:
    """A shape as a Python tuple."""
    sizes = [text(s) for s in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def work_buffer(program: Program) -> Buffer | None:
    """The tensor whose dtype is the working dtype: the first floating input, else parameter."""
    found = [b for b in program.buffers if b.dtype == "work" and b.role in ("input", "param")]
    return next((b for b in found if b.role == "input"), found[0] if found else None)


def given(program: Program) -> list[Buffer]:
    """Tensors that forward takes or the module holds."""
    return [b for b in program.buffers if b.role in ("input", "param")]


def made(program: Program) -> list[Buffer]:
    """Tensors that forward allocates."""
    return [b for b in program.buffers if b.role in ("temp", "output")]


def result_text(tree: object) -> str:
    """The result tree as a Python expression over buffers' names."""
    if isinstance(tree, Output):
        return f"{tree.buffer}.view({shape_text(tree.shape)})"
    if isinstance(tree, tuple) and tree and tree[0] in ("tuple", "list"):
        inner = ", ".join(result_text(t) for t in tree[1:])
        return f"[{inner}]" if tree[0] == "list" else f"({inner}{',' if len(tree) == 2 else ''})"
    if isinstance(tree, tuple) and tree and tree[0] == "dict":
        pairs = [f"{k!r}: {result_text(v)}" for k, v in tree[1:]]
        return "{" + ", ".join(pairs) + "}"
    return repr(tree)


def _results(program: Program) -> str:
    shapes = {b.name: b.shape for b in program.buffers}

    def strip(tree: object) -> object:
        if isinstance(tree, Output) and shapes[tree.buffer] == tree.shape:
            return _Name(tree.buffer)
        if isinstance(tree, tuple):
            return tuple(strip(t) for t in tree)
        return tree

    return result_text(strip(program.result))


class _Name:
    """A name that prints as itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


def _prologue(program: Program, native: Iterable[str]) -> list[str]:
    """Names of tensors and sizes, envelope checks, dtypes."""
    lines = [f"{b.name} = {b.source}.contiguous()" for b in given(program)]
    lines += [f"{s.name} = {s.source}" for s in program.sizes]
    lines += [f"{n.name} = {n.kind}({n.source})" for n in program.numbers]
    for b in given(program):
        lines.append(f"if {b.name}.shape != {shape_text(b.shape)}:")
        lines.append(
            f'    raise OutsideEnvelope(f"{_quiet(b.source)} has shape {{tuple({b.name}.shape)}},'
            f' expects {_quiet(shape_text(b.shape))}")'
        )
    for guard in program.guards:
        lines.append(f"if not ({guard.condition}):")
        lines.append(f'    raise OutsideEnvelope("{_quiet(guard.says)}")')
    work = work_buffer(program)
    if work is None:
        lines.append("asked = work = torch.float32")
        return lines
    names = ", ".join(f"torch.{d}" for d in native)
    lines.append(f"asked = {work.name}.dtype")
    lines.append(f"work = asked if asked in ({names},) else torch.float32")
    for b in given(program):
        if b.dtype == "work":
            lines += [f"if {b.name}.dtype is not work:", f"    {b.name} = {b.name}.to(work)"]
        else:
            lines += [f"if {b.name}.dtype is not torch.{b.dtype}:", f"    {b.name} = {b.name}.to(torch.{b.dtype})"]
    return lines


def _quiet(words: str) -> str:
    return words.replace('"', "'").replace("{", "(").replace("}", ")").replace("\\", "/")


def _allocation(program: Program) -> list[str]:
    sources = given(program)
    device = f"{sources[0].name}.device" if sources else '"cpu"'
    lines = []
    for b in made(program):
        dtype = "work" if b.dtype == "work" else f"torch.{b.dtype}"
        lines.append(f"{b.name} = torch.empty({shape_text(b.shape)}, dtype={dtype}, device={device})")
    return lines


def _epilogue(program: Program) -> list[str]:
    lines = []
    if work_buffer(program) is not None:
        for b in made(program):
            if b.role == "output" and b.dtype == "work":
                lines += ["if work is not asked:", f"    {b.name} = {b.name}.to(asked)"]
    lines.append(f"return {_results(program)}")
    return lines


def render(program: Program, imports: str, native: str, launch: Callable[[Program], list[str]], says: str) -> str:
    """The kernel file.

    ``imports``: lines after ``import torch``; ``native``: module-level text that binds the kernels; ``launch``: statements
    of forward
    that run them, where buffers (contiguous, checked), sizes, numbers and ``work`` (a torch dtype, one of
    ``program.dtypes``) have
    the program's names; ``says``: one line for the docstring.
    """
    body = [*_prologue(program, program.dtypes), *_allocation(program), *launch(program), *_epilogue(program)]
    forward = "\n".join(f"        {line}" for line in body)
    return (
        f'"""{says}"""\n\nimport torch\n{imports}\n\n{native}\n\n{program.holder}\n\n'
        f"    def forward({program.forward}):\n{forward}\n"
    )
