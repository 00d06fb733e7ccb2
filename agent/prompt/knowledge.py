"""Backend knowledge for a prompt: the sections and the exemplar of ``prompts/backends/<name>/`` that fit a task."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

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
    "convolution": ("matmul",),
    "index": ("reduce",),
    "math": ("reduce",),
    "matmul": ("fusion",),
    "optimizer": ("fusion", "activation"),
    "pooling": ("reduce",),
    "reduce": ("normalization",),
    "resize": ("pooling",),
    "softmax": ("normalization", "loss"),
}
"""Where a category has no exemplar of its own, or only one that solves the task: the nearest that might."""


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
    """An exemplar of the task's own category, else of the nearest one that has one; never one that solves ``task``."""
    seen = [word for word, sign in _SIGNS.items() if re.search(sign, task.source)]
    for word in (task.category, task.family, *_NEAREST.get(task.category, ()), *seen, "activation"):
        for name in (word, *_NEAREST.get(word, ())):
            for path in _files(backend, name):
                if not solves(backend, path.stem, task):
                    return Exemplar(name, path.read_text(encoding="utf-8"))
    return None


def solves(backend: str, stem: str, task: Task) -> bool:
    """Whether exemplar ``stem`` says in ``seeds.yaml`` that it solves ``task``, by the last part of the task's name.

    ``45_Conv_Standard_2D.py`` is found by ``conv_standard_2d`` and ``conv*``: numbers in front, case, punctuation do not count.
    """
    asked = _plain(task.asked.rsplit("/", 1)[-1])
    return any(fnmatchcase(asked, _plain(name)) for name in _solved(backend).get(stem, ()))


def _files(backend: str, category: str) -> Iterator[Path]:
    """The category's exemplars: ``<category>.py``, then ``<category>_<what>.py``."""
    folder = PROMPTS / "backends" / backend / "exemplars"
    if category and folder.is_dir():
        yield from (path for path in (folder / f"{category}.py",) if path.is_file())
        yield from sorted(folder.glob(f"{category}_*.py"))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9*]", "", re.sub(r"^\d+_|\.py$", "", name).lower())


@functools.cache
def _solved(backend: str) -> Mapping[str, tuple[str, ...]]:
    path = PROMPTS / "backends" / backend / "seeds.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {stem: tuple(names) for stem, names in data.get("solves", {}).items()}


def _split(kind: str, text: str) -> list[Section]:
    found = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        tags = _TAGS.search(body)
        words = frozenset(tags.group(1).split()) if tags else frozenset()
        found.append(Section(kind, title.strip(), _TAGS.sub("", body).strip(), words))
    return found
