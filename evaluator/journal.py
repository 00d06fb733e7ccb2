"""What one judging drew and measured, written down for whoever judges again: secret seeds, hashes, raw readings.

A journal stays in the judge's process. Nothing of it crosses to a runner, and it leaves with the verdict, when the judging is
over and its seeds are of no more use: the next one draws others.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

FORMAT = 1


def secret_seed() -> int:
    """A seed that no candidate can know."""
    return int.from_bytes(os.urandom(6), "big")


@dataclass(frozen=True)
class Purpose:
    """What a draw of inputs is for."""

    case: str
    """Key of the open case."""
    stage: str
    scale: float = 1.0
    spikes: str = ""
    vary: bool = False
    variant: str = ""


class Journal:
    """The journal of one judging.

    Args:
        kept: whether anything is written down, and hashes are asked for.
        recorded: a journal (:meth:`to_json`) whose seeds are drawn again: the n-th draw for a purpose gets the seed of the
            n-th one then. Draws that it does not hold get fresh seeds.
    """

    def __init__(self, kept: bool = False, recorded: Mapping[str, Any] | None = None) -> None:
        self.kept = kept
        self.stage = ""
        self._known: dict[Purpose, deque[int]] = defaultdict(deque)
        self._known_pools: dict[str, deque[int]] = defaultdict(deque)
        self._draws: list[dict[str, Any]] = []
        self._pools: list[dict[str, Any]] = []
        self._timing: dict[str, Any] = {}
        self._parameters: dict[str, int] = {}
        for draw in (recorded or {}).get("draws", ()):
            self._known[_purpose(draw)].append(draw["seed"])
        for pool in (recorded or {}).get("pools", ()):
            self._known_pools[pool["case"]].append(pool["seed"])

    def seed(self, purpose: Purpose) -> int:
        """The seed of the next draw for ``purpose``."""
        known = self._known[purpose]
        return known.popleft() if known else secret_seed()

    def pool_seed(self, case: str, copies: int) -> int:
        """The seed of the next pool of inputs for timed calls."""
        known = self._known_pools[case]
        seed = known.popleft() if known else secret_seed()
        if self.kept:
            self._pools.append({"case": case, "copies": copies, "seed": seed})
        return seed

    def drew(self, purpose: Purpose, seed: int, reply: Mapping[str, Any]) -> None:
        """A draw was made; ``reply``: the reference's, with its hashes."""
        if self.kept:
            hashes = {name: reply.get("hashes", {}).get(name) for name in ("inputs", "expected")}
            self._draws.append({**asdict(purpose), "seed": seed, "dropped": reply["dropped"], **hashes, "outputs": None})

    def compared(self, outputs: str | None) -> None:
        """The last draw's outputs were compared; ``outputs``: their hash."""
        if self.kept and self._draws:
            self._draws[-1]["outputs"] = outputs

    def opened(self, case: str, seed: int) -> None:
        """A case is judged whose parameters come from ``seed``."""
        self._parameters[case] = seed

    def timed(self, case: str, calls: int, head: int, clock: str, sides: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
        """The raw readings of a timing case; see :func:`kernelwright.evaluator.stopwatch.block_sample`."""
        if self.kept:
            self._timing[case] = {"calls": calls, "head": head, "clock": clock, "sides": sides}

    def to_json(self) -> dict[str, Any]:
        """All that was written down. docs/evidence.md says what is what."""
        return {
            "format": FORMAT,
            "parameter_seeds": dict(self._parameters),
            "draws": list(self._draws),
            "pools": list(self._pools),
            "timing": dict(self._timing),
        }


def _purpose(draw: Mapping[str, Any]) -> Purpose:
    return Purpose(**{name: draw[name] for name in Purpose.__dataclass_fields__})
