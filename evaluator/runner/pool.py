"""Inputs for timed calls: a pool of slots whose contents are new for every call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kernelwright.evaluator.runner.arena import Arena, layout
from kernelwright.evaluator.runner.cases import Case, _many_valued, _same

_BANK = 4
_MIXED = 64
"""Positions at which a slot takes values from another draw, so that no two slots ever hold equal contents."""


class Pool:
    """``copies`` slots of a case's inputs in one arena.

    A bank of private draws feeds the slots: each shuffle gives a slot a random draw and, in floating tensors with
    many values, exchanges a few random positions with another draw, which keeps every element's distribution.
    """

    def __init__(self, case: Case, copies: int, seed: int) -> None:
        self._case = case
        self.copies = copies
        self._generator = torch.Generator().manual_seed(seed)
        draws = [case._flatten(case.new_inputs(seed + i))[0] for i in range(_BANK)]
        self._bank = [torch.stack([d[i].flatten() for d in draws]) for i in range(len(draws[0]))]
        self._mixes = [_many_valued(t) and t.numel() >= _MIXED for t in draws[0]]
        self._specs, nbytes = layout(draws[0], copies)
        self._arena, self.descriptors = Arena.create(case.device, nbytes)
        self._views = [self._arena.slots(s, copies) if s_numel(s) else None for s in self._specs]
        self._shapes = [t.shape for t in draws[0]]
        self.shuffle()

    def shuffle(self) -> None:
        """New contents in every slot."""
        pick = torch.randint(_BANK, (self.copies,), generator=self._generator)
        other = (pick + 1 + torch.randint(_BANK - 1, (self.copies,), generator=self._generator)) % _BANK
        self._pick, self._other = pick, other
        self._where: list[torch.Tensor | None] = []
        for view, bank, mixes in zip(self._views, self._bank, self._mixes, strict=True):
            if view is None:
                self._where.append(None)
                continue
            view.copy_(bank[pick.to(bank.device)])
            where = None
            if mixes:
                where = torch.randint(bank.shape[1], (_MIXED,), generator=self._generator).to(bank.device)
                view[:, where] = bank[:, where][other.to(bank.device)]
            self._where.append(where)
        if self._case.device != "cpu":
            torch.cuda.synchronize()

    def contents(self, slot: int) -> list[torch.Tensor]:
        """Private copies of what slot ``slot`` was given, whatever a candidate did to the arena since."""
        found = []
        for bank, where, shape in zip(self._bank, self._where, self._shapes, strict=True):
            row = bank[int(self._pick[slot])].clone()
            if where is not None:
                row[where] = bank[int(self._other[slot])][where]
            found.append(row.view(shape))
        return found

    def unchanged(self, slot: int, contents: Sequence[torch.Tensor]) -> bool:
        """Whether the arena still holds ``contents`` in ``slot``."""
        return all(_same(now, given) for now, given in zip(self.tensors(slot), contents, strict=True))

    def tensors(self, slot: int) -> list[torch.Tensor]:
        return [self._arena.tensor(spec, slot) for spec in self._specs]

    def describe(self) -> dict[str, Any]:
        return {"arena": self._arena.describe(), "specs": self._specs, "copies": self.copies}

    def close(self) -> None:
        self._views.clear()
        self._arena.close()


def s_numel(spec: dict[str, Any]) -> int:
    """Elements of one slot of ``spec``."""
    count = 1
    for n in spec["shape"]:
        count *= int(n)
    return count
