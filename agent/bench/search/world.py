"""A synthetic world: what a model can do alone, what it can learn from a context, and what misleads it.

Nothing here was tuned to a result. :class:`World` was fixed before the first comparison ran; two of its figures are fitted,
to what is recorded (docs/search-proof.md says to what), and the others are round.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from kernelwright.tasks.records import ShapeCase, Task, Use

FAMILIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "softmax": ("activation", ("softmax", "log_softmax", "exp")),
    "reduction": ("reduce", ("sum", "logsumexp", "amax")),
    "normalization": ("normalization", ("layer_norm", "rsqrt", "mean")),
    "matmul": ("matmul", ("matmul", "linear", "einsum")),
    "pooling": ("pooling", ("max_pool2d", "avg_pool2d", "unfold")),
    "gather": ("index", ("gather", "index_select", "embedding")),
}
"""Op family -> its category and the operators that its references call: the words that similarity has to go by."""
NAMES = ("plain", "batched", "masked", "strided", "scaled", "fused", "chunked", "grouped")
OBSTACLES = (
    *("queue_depth", "tail_mask", "bank_swap", "pipe_barrier", "ub_align", "scalar_cast", "repeat_stride", "block_sync"),
    *("nan_order", "core_split", "burst_len", "mask_reset", "event_flag", "tensor_slot", "half_round", "loop_carry"),
    *("zero_pad", "copy_fence", "tile_order", "addr_space", "index_width", "lane_pack", "acc_init", "drain_wait"),
    *("edge_clamp", "stack_limit", "vector_mask", "page_cross", "unit_lock", "stage_flip", "order_swap", "bias_slot"),
)
"""What can be wrong with a kernel: the judge's words, which no task's text holds."""
TECHNIQUES = (
    *("wide_loads", "double_buffer", "two_pass", "online_scan", "row_split", "lane_reduce", "reg_tile", "persist"),
    *("prefetch", "swizzle", "fuse_tail", "pack_pairs", "unroll_four", "stream_store", "warm_cache", "async_copy"),
    *("tree_sum", "column_walk", "half_accumulate", "block_merge", "bulk_gather", "skew_tiles", "split_k", "deep_pipe"),
    *("inline_scale", "hoist_mask", "short_loop", "long_burst", "pair_lanes", "tile_cache", "ring_queue", "lazy_max"),
    *("mixed_unit", "vector_exp", "sorted_index", "dual_issue", "fold_bias", "thin_rows", "square_tiles", "late_store"),
    *("early_exit", "const_table"),
)


@dataclass(frozen=True)
class World:
    """The parameters. Probabilities unless said otherwise; gains are differences of ln speedup."""

    families: int = 3
    """Two at least: what misleads is another family's."""
    obstacles: tuple[int, ...] = (1, 2, 3, 4)
    """Of each task of a family, easy to hard: what a draft must get right at once to be feasible."""
    hard: int = 3
    """A task of so many obstacles is hard."""
    budget: int = 30
    """Attempts a task: EvoKernel's."""
    own: int = 6
    """Obstacles that are a family's own; each family also meets the shared ones."""
    shared: int = 6
    of_own: float = 0.7
    """A task's obstacle is one of its family's own."""
    known: float = 0.3
    """The model knows an obstacle beforehand. With ``able`` and ``unaided`` fitted: see docs/search-proof.md."""
    able: float = 0.9
    """It gets right what it knows."""
    unaided: float = 0.02
    """It gets right what it does not know, without help."""
    shown: float = 0.7
    """Likewise where a kernel in its context does it right."""
    explained: float = 0.5
    """Likewise where a seed explains it."""
    warned: float = 0.06
    """Likewise where a failure in its context names it."""
    documented: float = 0.25
    """A seed explains an obstacle."""
    lookalikes: int = 8
    """Seeds of each family in its own words that explain nothing."""
    harmful: float = 0.5
    """Such a seed misleads."""
    misled: float = 0.6
    """Factor on a draft's chance of each obstacle while misled."""
    techniques: int = 7
    """Of each family: two of kind A, two of kind B, which exclude each other within a kernel, the rest of neither."""
    applicable: float = 0.75
    """A technique of the family can be applied to one of its tasks."""
    gain: float = 0.3
    """Mean gain of a technique, exponentially distributed; kind B has half as much again."""
    follow: float = 0.6
    """A refinement tries what a kernel in its context does, or a seed misleads it to, and its start point does not."""
    practised: float = 0.8
    """An applicable technique that was followed comes out feasible."""
    invented: float = 0.4
    """Likewise one of the model's own idea, drawn from all techniques of all families."""
    broken: float = 0.5
    """A technique that cannot be applied makes the kernel infeasible; else it costs up to ``loss``."""
    loss: float = 0.2
    first: tuple[float, float] = (-0.5, 0.4)
    """Mean and deviation of ln speedup of a task's plain kernel against eager."""
    noise: float = 0.02
    """Deviation of the judge's ln speedup."""
    null: bool = False
    """No context changes anything: memory must show no gain."""

    def nothing(self) -> World:
        """The same world with every hidden effect of a context at zero."""
        alone = self.unaided
        return replace(self, null=True, shown=alone, explained=alone, warned=alone, misled=1.0, follow=0.0)


@dataclass(frozen=True)
class Technique:
    """A way to be faster."""

    name: str
    kind: str
    """``A``, ``B`` or empty."""
    gain: float


@dataclass(frozen=True)
class Truth:
    """What is hidden about one task."""

    task: Task
    obstacles: tuple[str, ...]
    plain: float
    """ln speedup of a kernel without techniques."""
    techniques: Mapping[str, Technique]
    """Those that can be applied."""

    def applies(self, name: str, used: frozenset[str]) -> bool:
        """Whether a technique can be added to a kernel that uses ``used``."""
        new = self.techniques.get(name)
        if new is None or name in used:
            return False
        kinds = {self.techniques[u].kind for u in used if u in self.techniques}
        return not (new.kind == "A" and "B" in kinds) and not (new.kind == "B" and "A" in kinds)


class Landscape:
    """One draw of a world: its tasks, easy ones first, and its seeds."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        draw = random.Random(f"landscape {seed}")
        names = draw.sample(sorted(FAMILIES), world.families)
        words, ways = draw.sample(OBSTACLES, len(OBSTACLES)), draw.sample(TECHNIQUES, len(TECHNIQUES))
        self.shared = tuple(words.pop() for _ in range(min(world.shared, len(words) - world.own * world.families)))
        self.own = {name: tuple(words.pop() for _ in range(world.own)) for name in names}
        self.techniques = {name: self._techniques(ways, draw) for name in names}
        self.known = frozenset(o for o in self.obstacles if draw.random() < world.known)
        self.truths = tuple(sorted((t for n in names for t in self._family(n, draw)), key=lambda t: len(t.obstacles)))
        self.lessons = self._seeds(names, draw)

    @cached_property
    def obstacles(self) -> tuple[str, ...]:
        """Every obstacle there is."""
        return (*self.shared, *(o for own in self.own.values() for o in own))

    @cached_property
    def ways(self) -> tuple[str, ...]:
        """Every technique there is."""
        return tuple(t.name for found in self.techniques.values() for t in found)

    def of(self, task: str) -> Truth:
        """The truth about a task, by its name."""
        return next(t for t in self.truths if t.task.name == task)

    def knowledge(self) -> str:
        """The seeds, as a backend's ``practices.md``."""
        return "\n\n".join(f"## {heading}\n{seed.body}" for heading, seed in sorted(self.lessons.items())) + "\n"

    def _techniques(self, ways: list[str], draw: random.Random) -> tuple[Technique, ...]:
        kinds = ["A", "A", "B", "B", *[""] * (self.world.techniques - 4)]
        factor = {"A": 1.0, "B": 1.5, "": 1.0}
        return tuple(Technique(ways.pop(), k, factor[k] * draw.expovariate(1 / self.world.gain)) for k in kinds)

    def _family(self, family: str, draw: random.Random) -> list[Truth]:
        """One task for each number of obstacles."""
        category, ops = FAMILIES[family]
        found = []
        for number, name in zip(self.world.obstacles, draw.sample(NAMES, len(self.world.obstacles)), strict=True):
            obstacles: list[str] = []
            while len(obstacles) < number:
                pool = self.own[family] if draw.random() < self.world.of_own else self.shared
                obstacles += [o for o in [draw.choice(pool)] if o not in obstacles]
            op = draw.choice(ops)
            source = f"import torch\nclass Model(torch.nn.Module):\n  def forward(self, x): return torch.{op}(x)  # {name}\n"
            case = ShapeCase("one", Use.TIMING, {})
            task = Task(f"synthetic/{family}/{name}_{op}", source, "", (case,), category, family, summary=f"{name} {op}")
            usable = {t.name: t for t in self.techniques[family] if draw.random() < self.world.applicable}
            found.append(Truth(task, tuple(obstacles), draw.gauss(*self.world.first), usable))
        return found

    def _seeds(self, families: list[str], draw: random.Random) -> dict[str, Seed]:
        found: dict[str, Seed] = {}
        for obstacle in self.obstacles:
            if draw.random() < self.world.documented:
                words = obstacle.replace("_", " ")
                found[f"About {words}"] = Seed(f"What {obstacle} is, and how to get it right.", explains=obstacle)
        for family in families:
            category, ops = FAMILIES[family]
            foreign = [t.name for other in families if other != family for t in self.techniques[other]]
            for i, name in enumerate(draw.choices(NAMES, k=self.world.lookalikes)):
                op = draw.choice(ops)
                misleads = draw.choice(foreign) if draw.random() < self.world.harmful else ""
                advice = f"Always {misleads.replace('_', ' ')}." if misleads else "Mind the shape."
                body = f"{family} {category} {name} {op} draft refine. {advice}"
                found[f"{family} {name} {op}, case {'abcdefghijklmnopqrstuvwxyz'[i]}"] = Seed(body, misleads=misleads)
        return found


@dataclass(frozen=True)
class Seed:
    """A seed's text and what it does to who reads it: it explains an obstacle, misleads to a technique, or does nothing."""

    body: str
    explains: str = ""
    misleads: str = ""
