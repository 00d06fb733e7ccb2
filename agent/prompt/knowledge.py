"""Backend knowledge for a prompt: the sections and the exemplar of ``prompts/backends/<name>/`` that fit a task."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import kernelwright
from kernelwright.tasks.records import Task

PROMPTS = Path(kernelwright.__file__).parent / "prompts"
KINDS = ("facts", "practices", "pitfalls")
"""Files of a backend, in the order in which a prompt shows them; the last is the first to go when space is short."""

_TAGS = re.compile(r"<!-- for: ([^>]*?) -->\n?")
_SIGNS = {
    "attention": r"attention|softmax\([^)]*\)\s*@",
    "convolution": r"\bconv(olution)?(_transpose)?[123]d|nn\.Conv",
    "pooling": r"pool[123]d|Pool[123]d|\.unfold\(",
    "loss": r"cross_entropy|CrossEntropy|nll_loss|mse_loss|_loss\(|Loss\(|kl_div|huber",
    "normalization": r"[a-z]_norm\(|Norm(1d|2d|3d)?\(|rsqrt|\.var\(|\.std\(",
    "index": r"embedding|Embedding|gather|scatter|index_select|index_add|take_along|\[idx|\[index|bincount",
    "resize": r"interpolate|grid_sample|Upsample|pixel_shuffle",
    "matmul": r"matmul|\bmm\(|bmm\(|einsum|nn\.Linear|F\.linear|addmm|\s@\s",
    "softmax": r"softmax|logsumexp",
    "math": r"cumsum|cumprod|cummax|triu|tril|\bfft|stencil",
    "reduce": r"\.(sum|mean|amax|amin|max|min|prod|argmax|argmin|norm)\(|torch\.(sum|mean|amax|amin|prod|argmax|logsumexp)",
    "activation": r"relu|gelu|silu|sigmoid|tanh|elu\(|softplus|mish|hardswish|\.exp\(|torch\.exp",
}
"""Category or family -> what a reference that belongs to it contains; most particular first."""
_NEAREST = {
    "architecture": ("matmul", "fusion"),
    "attention": ("matmul", "fusion"),
    "broadcast": ("fusion", "activation"),
    "optimizer": ("fusion", "activation"),
    "resize": ("pooling",),
    "softmax": ("normalization", "loss"),
}
"""Where a category has no exemplar of its own: the nearest that might."""


@dataclass(frozen=True)
class Section:
    """One ``## `` section of a knowledge file, self-contained."""

    kind: str
    title: str
    body: str
    tags: frozenset[str] = frozenset()
    """Categories, families and dtypes it is about; empty: all."""


@dataclass(frozen=True)
class Exemplar:
    """A complete, tested kernel for a problem of ``category``."""

    category: str
    code: str


def sections(backend: str) -> tuple[Section, ...]:
    """Every section known for a backend, in file order; none for a backend without a knowledge folder."""
    found: list[Section] = []
    for kind in KINDS:
        path = PROMPTS / "backends" / backend / f"{kind}.md"
        if path.is_file():
            found += _split(kind, path.read_text(encoding="utf-8"))
    return tuple(found)


def relevant(backend: str, task: Task) -> tuple[Section, ...]:
    """The sections about everything and those about what ``task`` does."""
    words = topics(task)
    return tuple(s for s in sections(backend) if not s.tags or s.tags & words)


def topics(task: Task) -> frozenset[str]:
    """Categories, families and dtypes that a task touches, by its labels and by what its reference calls."""
    seen = {word for word, sign in _SIGNS.items() if re.search(sign, task.source)}
    dtypes = {dtype for case in task.cases for dtype in case.dtypes}
    return frozenset(seen | dtypes | {task.category, task.family, task.scenario} - {"", "custom"})


def exemplar(backend: str, task: Task) -> Exemplar | None:
    """The exemplar of the task's own category, else of the nearest one that has one."""
    folder = PROMPTS / "backends" / backend / "exemplars"
    seen = [word for word, sign in _SIGNS.items() if re.search(sign, task.source)]
    for word in (task.category, task.family, *_NEAREST.get(task.category, ()), *seen, "activation"):
        for name in (word, *_NEAREST.get(word, ())):
            path = folder / f"{name}.py"
            if path.is_file():
                return Exemplar(name, path.read_text(encoding="utf-8"))
    return None


def _split(kind: str, text: str) -> list[Section]:
    found = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        tags = _TAGS.search(body)
        words = frozenset(tags.group(1).split()) if tags else frozenset()
        found.append(Section(kind, title.strip(), _TAGS.sub("", body).strip(), words))
    return found
