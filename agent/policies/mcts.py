"""Monte Carlo tree search over the attempt graph, by UCT (as KernelEvolve's, arXiv 2512.23236).

KernelEvolve searches a graph of kernels with a selection policy, one universal operator, a fitness and a rule to stop;
its tree search descends by UCT. Equations, constant and scaling are those of AIRA-dojo (arXiv 2507.02554), which states
them in full for the same formalism:

    UCT(v) = Q(v) + c sqrt(ln N(parent) / N(v)),    c = 0.25

with Q(v) the mean reward backed up through v, scaled over the whole tree to 0 … 1. There is no rollout: the judge's verdict
on a new node is the reward that is backed up.

- **Reward.** 0 for what was rejected; from :data:`PASSED` for the slowest kernel that passed to 1 for the fastest, linear in
  the logarithm of the speedup, so that 2x over 1x counts as 4x over 2x.
- **Widening.** AIRA-dojo gives a leaf five children at once. One idea is asked at a time here, so that children come by
  progressive widening (Coulom 2007; Couëtoux et al. 2011): a node may have another while it has fewer than C·N^0.5. With
  C = 2 that is four before the first descent below it.
- **Ideas in flight** count as visits that brought nothing (virtual loss, Chaslot et al. 2008): with several jobs the next
  descent goes elsewhere.
- A rejected child has been visited, and is descended into no more; its repairs are visits of the same start point, and one
  that passes is that start point's child.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from kernelwright.agent.policies.lineage import Lineage, speed
from kernelwright.agent.policies.policy import Book, Search, Values
from kernelwright.tasks.records import Attempt, Idea, IdeaStage

EXPLORATION = 0.25
"""c of UCT, for rewards of 0 … 1."""
WIDENING = 0.5
"""Exponent of a node's visits that its children may be as many as."""
DRAFTS, CHILDREN = 1.0, 2.0
"""C of the widening, at the root and below."""
PASSED = 0.25
"""Reward of the slowest kernel that passed."""


@dataclass
class Node:
    """A kernel that passed, or the root (no kernel): its visits and what they brought, summed over all below it."""

    attempt: Attempt | None
    parent: Node | None
    visits: int = 0
    reward: float = 0.0
    flying: int = 0
    """Ideas in flight somewhere below: visits that brought nothing yet."""
    pending: int = 0
    """Ideas in flight that are its own children."""
    children: list[Node] = field(default_factory=list)

    @property
    def counted(self) -> int:
        """Visits with those in flight."""
        return self.visits + self.flying

    def uct(self) -> float:
        """The upper confidence bound of a child; visits in flight are losses."""
        assert self.parent is not None, "the root is nobody's child"
        spread = math.log(max(1, self.parent.counted)) / self.counted
        return self.reward / self.counted + EXPLORATION * math.sqrt(spread)


class Mcts:
    """Descend by UCT to a node that may have another child, and refine it; at the root that is a draft."""

    def __init__(self, search: Search, values: Values) -> None:
        self._book = Book(search)

    def ask(self) -> Idea | None:
        number = self._book.number()
        if number is None:
            return None
        if (repair := self._book.repair(number)) is not None:
            return repair
        node = descend(tree(self._book))
        if node.attempt is None:
            return self._book.ask(IdeaStage.DRAFT, None, number)
        return self._book.ask(IdeaStage.REFINE, node.attempt.id, number)

    def tell(self, idea: Idea, attempt: Attempt) -> None:
        self._book.tell(idea, attempt)


def tree(book: Book) -> Node:
    """The search tree of a book as it stands, every verdict backed up; its root stands for drafting anew."""
    lineage, worth = Lineage(book), rewards(book.attempts)
    root = Node(None, None)
    nodes: dict[str | None, Node] = {None: root}
    for attempt in book.attempts:
        above = nodes.get(lineage.start(attempt.idea), root)
        if attempt.feasible and attempt.duplicate_of is None:
            above = nodes[attempt.id] = Node(attempt, above)
            if above.parent is not None:
                above.parent.children.append(above)
        _back_up(above, worth[attempt.id])
    for idea in book.flying:
        start = nodes.get(lineage.start(idea), root)
        start.pending += 1
        above_it: Node | None = start
        while above_it is not None:
            above_it.flying += 1
            above_it = above_it.parent
    return root


def descend(root: Node) -> Node:
    """The node to expand: from the root on to the child with the largest UCT, until one may have another child.

    The root's visits by drafts that were rejected are no reason to draft more: only what grew from its children counts.
    """
    node = root
    while True:
        grown = sum(child.counted for child in node.children) if node.attempt is None else node.counted
        factor = DRAFTS if node.attempt is None else CHILDREN
        allowed = max(1, math.floor(factor * grown**WIDENING))
        if not node.children or len(node.children) + node.pending < allowed:
            return node
        node = max(node.children, key=_merit)


def rewards(attempts: tuple[Attempt, ...]) -> Mapping[str, float]:
    """Attempt id -> reward, 0 … 1, on the scale of all speedups so far.

    Without a timing a kernel that passed has the least reward of those; where all are alike they have the middle. A
    duplicate brings nothing.
    """
    timed = [math.log(speed(a)) for a in attempts if a.feasible and speed(a) > 0]
    low, high = (min(timed), max(timed)) if timed else (0.0, 0.0)
    found = {}
    for attempt in attempts:
        if not attempt.feasible or attempt.duplicate_of is not None:
            found[attempt.id] = 0.0
        elif high == low:
            found[attempt.id] = (1.0 + PASSED) / 2
        else:
            share = (math.log(speed(attempt)) - low) / (high - low) if speed(attempt) > 0 else 0.0
            found[attempt.id] = PASSED + (1.0 - PASSED) * share
    return found


def _back_up(node: Node | None, reward: float) -> None:
    while node is not None:
        node.visits += 1
        node.reward += reward
        node = node.parent


def _merit(child: Node) -> tuple[float, float, int]:
    """UCT; equals go to the faster, then to the newer."""
    assert child.attempt is not None, "only attempts are children"
    return child.uct(), speed(child.attempt), child.attempt.idea.number
