"""How many different things the answers of a run try: effective diversity K*.

K* is 2 to the von Neumann entropy, in bits, of ``K / n``: K holds the similarities of n answers, 1 on its diagonal, so that
the eigenvalues of ``K / n`` are a distribution. n answers alike give 1, n that have nothing in common give n. That is the
"effective channels" of arXiv 2602.03794 and the Vendi score of Friedman and Dieng (2022, arXiv 2210.02410), who write e and
nats for 2 and bits.

An answer is embedded as its strategy line beside its kernel's text without comments, docstrings and layout, in equal shares:
a similarity is the mean of the two cosines, and a missing strategy line is like another missing one. The embedder
(:mod:`kernelwright.memory.embed`) compares spelling, not meaning: kernels share most of their boilerplate, so figures are
low, and they compare sets of answers to the same tasks with each other rather than say anything alone. K* grows with n
(never above it): compare sets of the same size, or read it beside its n. Across tasks answers differ because the tasks do,
so K* is worked out a task and averaged.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernelwright.agent.answer.novelty import squeezed
from kernelwright.tasks.records import Answer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Spread:
    """How far a set of readable answers spreads."""

    answers: int
    """Over all tasks."""
    k_star: float
    """From 1 to the answers of a task; a mean over tasks where there are several."""
    tasks: int = 1

    def __str__(self) -> str:
        each = self.answers / self.tasks
        return f"{self.k_star:.2f} of {each:.3g}"


@dataclass(frozen=True)
class TaskDiversity:
    """The answers to one task."""

    task: str
    all: Spread
    models: dict[str, Spread]


@dataclass(frozen=True)
class Diversity:
    """The readable answers of a run. K* of several tasks is the mean of theirs."""

    all: Spread
    models: dict[str, Spread]
    tasks: tuple[TaskDiversity, ...]


def diversity(answers: Iterable[tuple[str, Answer]]) -> Diversity | None:
    """Of (task, answer) pairs; None where no model wrote a readable one. Writers that take no prompt are no models, but
    count as members beside one."""
    readable = [(task, answer) for task, answer in answers if answer.kernel is not None]
    if not any(answer.prompt for _, answer in readable):
        return None
    tasks = []
    for task in dict.fromkeys(task for task, _ in readable):
        own = [answer for name, answer in readable if name == task]
        vectors = embedded(own)
        places = {m: [i for i, a in enumerate(own) if a.model == m] for m in dict.fromkeys(a.model for a in own)}
        models = {model: Spread(len(at), k_star(vectors[at])) for model, at in places.items()}
        tasks.append(TaskDiversity(task, Spread(len(own), k_star(vectors)), models))
    named = dict.fromkeys(model for task in tasks for model in task.models)
    means = {model: mean_of([t.models[model] for t in tasks if model in t.models]) for model in named}
    return Diversity(mean_of([t.all for t in tasks]), means, tuple(tasks))


def k_star(vectors: NDArray[np.float32]) -> float:
    """K* of unit vectors, shape (n, dimensions): from 1 to n; n is at least 1."""
    import numpy as np

    n = len(vectors)
    exact = vectors.astype(np.float64)
    spectrum = np.linalg.eigvalsh(exact @ exact.T / n)
    shares = spectrum[spectrum > 1e-12]  # below are zeros with the solver's rounding
    entropy = -math.fsum(float(p) * math.log2(float(p)) for p in shares / shares.sum())
    return min(float(n), max(1.0, math.pow(2.0, entropy)))


def embedded(answers: Sequence[Answer]) -> NDArray[np.float32]:
    """Unit vectors of answers, shape (n, 768): strategy and kernel in equal shares."""
    import numpy as np

    from kernelwright.memory.embed import embed

    strategies = embed([answer.strategy for answer in answers])
    kernels = embed([plain(answer.kernel.source if answer.kernel else "") for answer in answers])
    both = np.concatenate([strategies, kernels], axis=1) / math.sqrt(2.0)
    return both.astype(np.float32)


def plain(source: str) -> str:
    """A kernel's text without comments, docstrings and layout, those of native code within texts included.

    A source that does not parse stays as it is.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes in native code
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return source
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and _documented(node):
            node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
            node.value = squeezed(node.value)
    return ast.unparse(tree)


def _documented(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return ast.get_docstring(node, clean=False) is not None


def mean_of(spreads: Sequence[Spread]) -> Spread:
    """Of several tasks, each as weighty as any other."""
    return Spread(sum(s.answers for s in spreads), math.fsum(s.k_star for s in spreads) / len(spreads), len(spreads))
