"""A suite's own rule of when a kernel is right and how fast it is, as parameters: the judge can say what upstream would.

Rules are stated by suites in their evaluations' code; what stands here was read there and written down anew. An adapter has
a method ``upstream(task, root)`` that gives the :class:`Rule` of a task, or raises ``TaskError`` where upstream decides by
code of its own. Adapters without that method state no rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """How far an element may be off; see :attr:`Rule.either` for how the two go together."""

    atol: float
    rtol: float


@dataclass(frozen=True)
class Clock:
    """How upstream times: calls on the same inputs, one by one, between two events or two looks at the host's clock."""

    warmups: int
    repeats: int
    statistic: str
    """``mean`` or ``median``."""
    discarded: int = 0
    """Timed calls at the beginning that do not count."""
    flush_bytes: int = 0
    """Written before each timed call, to evict the L2."""


@dataclass(frozen=True)
class Rule:
    """One task's rule. Defaults are those of the most lenient reading."""

    stated: str
    """Where upstream states it: repository, file, commit read."""
    tolerance: Mapping[str, Tolerance]
    """dtype of the reference's output -> tolerance; under ``""`` for any other."""
    trials: int = 1
    """Draws of each case."""
    seed: int | None = None
    """Set before either model is made; None: random numbers go on from where they are."""
    seeds: tuple[int, ...] = ()
    """Of the trials' draws; empty with a ``seed``: drawn from it when ``reseeded``."""
    reseeded: bool = False
    """Each trial sets a seed of its own before it draws inputs."""
    listed: bool = False
    """Every case that the suite lists is tried, none that is derived; else the reference at its own sizes."""
    first: str = "reference"
    """Who is called first on the inputs: ``reference``, ``candidate``, or ``both``: candidate, reference, candidate."""
    cloned: bool = False
    """The candidate is given copies of the inputs; else the very tensors that the reference gets."""
    fresh: bool = False
    """Both models are made anew in every trial."""
    weights: str = "seed"
    """``seed``: equal because both are made after the same seed; ``copied``: by ``load_state_dict``, strictly."""
    cast: bool = False
    """Every tensor, integers too, is cast to float32."""
    either: bool = False
    """An element is wrong only where both tolerances are exceeded; else where ``atol + rtol * |expected|`` is."""
    floor: float = 1e-8
    """With ``either``: added to ``|expected|`` in the relative error."""
    share: float = 1.0
    """Of an output's elements that must be right."""
    cap: float | None = None
    """Largest absolute error of any element."""
    nan_equal: bool = False
    """NaN where NaN is expected is right."""
    finite: bool = False
    """An output with NaN or Inf is wrong, wherever they are expected."""
    not_zero: bool = False
    """An output of zeros is wrong unless zeros are expected."""
    same_dtype: bool = False
    single: bool = False
    """The output must be one tensor."""
    forbidden: tuple[str, ...] = ()
    """Texts that a kernel's source may not contain."""
    clock: Clock | None = None
    """None: upstream has no speedup over the reference."""
    omits: tuple[str, ...] = ()
    """What of upstream's rule is not computed here."""
