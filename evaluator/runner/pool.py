"""Inputs for timed calls: a pool of slots whose contents are new for every call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kernelwright.evaluator.runner.arena import Arena, layout
from kernelwright.evaluator.runner.cases import Case
from kernelwright.evaluator.runner.draws import many_valued
from kernelwright.evaluator.runner.tensors import same

_BANK = 4
_MIXED = 64
"""Positions at which a slot takes values from another draw, so that no two slots ever hold equal contents."""
_LARGE_BYTES = 1 << 24
"""Bytes of an arena from which only one filling in ``_BANK`` makes a new draw: generators are slower than memory by far."""
_FILL_EVERY = 24
"""Exchanges before every slot is filled anew."""


class Pool:
    """``copies`` slots of a case's inputs in one arena.

    A bank of private draws feeds the slots: a slot holds a random draw in which, in floating tensors with many values, a
    few random positions come from other draws, which keeps every element's distribution.
    """

    def __init__(self, case: Case, copies: int, seed: int) -> None:
        self._case = case
        self.copies = copies
        self._generator = torch.Generator().manual_seed(seed)
        self._seed = seed + _BANK
        draws = [case._flatten(case.new_inputs(seed + i))[0] for i in range(_BANK)]
        self._bank = [torch.stack([d[i].flatten() for d in draws]) for i in range(len(draws[0]))]
        self._mixes = [many_valued(t) and t.numel() >= _MIXED for t in draws[0]]
        self._specs, nbytes = layout(draws[0], copies)
        self._large = nbytes > _LARGE_BYTES
        self._arena, self.descriptors = Arena.create(case.device, nbytes)
        self._views = [self._arena.slots(s, copies) if _numel(s) else None for s in self._specs]
        self._shapes = [t.shape for t in draws[0]]
        self._exchanges: list[tuple[torch.Tensor, list[torch.Tensor | None]]] | None = None
        self.shuffle()

    def shuffle(self, anew: bool = False) -> None:
        """New contents in every slot.

        Mostly a few random positions of each slot are exchanged, which no sampled check of the contents foresees. ``anew``, and
        where there are no many-valued floating tensors or the reference changes its inputs, every slot is filled from the bank,
        of which one draw is new (of large inputs every fourth time).
        """
        mutated = bool(self._case.expected.mutated)
        whole = anew or mutated or self._exchanges is None or len(self._exchanges) >= _FILL_EVERY or not any(self._mixes)
        if whole:
            if self._exchanges is not None and (not self._large or self._draw_again()):
                self._redraw()
            self._fill()
        self._exchange()
        if self._case.device != "cpu":
            torch.cuda.synchronize()

    def rewrite(self) -> None:
        """Every slot's contents once more: what :meth:`shuffle` does to memory and caches, and nothing new in it."""
        assert self._exchanges is not None
        for i, (view, bank) in enumerate(zip(self._views, self._bank, strict=True)):
            if view is None:
                continue
            for slot, draw in enumerate(self._pick.tolist()):
                view[slot].copy_(bank[draw])
            for other, places in self._exchanges:
                where = places[i]
                if where is not None:
                    view[:, where] = bank[:, where][other.to(bank.device)]
        if self._case.device != "cpu":
            torch.cuda.synchronize()

    def _draw_again(self) -> bool:
        return int(torch.randint(_BANK, (1,), generator=self._generator)) == 0

    def _redraw(self) -> None:
        """One of the bank's draws is made anew, so that nobody can know them all."""
        self._seed += 1
        row = int(torch.randint(_BANK, (1,), generator=self._generator))
        for bank, tensor in zip(self._bank, self._case._flatten(self._case.new_inputs(self._seed))[0], strict=True):
            bank[row].copy_(tensor.flatten())

    def intact(self) -> bool:
        """Whether every slot still holds what it was given; nothing to say where the reference changes its inputs."""
        if self._case.expected.mutated:
            return True
        return all(self.unchanged(slot, self.contents(slot)) for slot in range(self.copies))

    def _fill(self) -> None:
        self._pick = torch.randint(_BANK, (self.copies,), generator=self._generator)
        self._exchanges = []
        for view, bank in zip(self._views, self._bank, strict=True):
            if view is not None:
                for slot, draw in enumerate(self._pick.tolist()):
                    view[slot].copy_(bank[draw])

    def _exchange(self) -> None:
        """Give each slot the values of a draw at random positions that is not the one it was filled from."""
        assert self._exchanges is not None
        other = (self._pick + torch.randint(1, _BANK, (self.copies,), generator=self._generator)) % _BANK
        places: list[torch.Tensor | None] = []
        for view, bank, mixes in zip(self._views, self._bank, self._mixes, strict=True):
            if view is None or not mixes:
                places.append(None)
                continue
            where = torch.randint(bank.shape[1], (_MIXED,), generator=self._generator).to(bank.device)
            view[:, where] = bank[:, where][other.to(bank.device)]
            places.append(where)
        self._exchanges.append((other, places))

    def contents(self, slot: int) -> list[torch.Tensor]:
        """Private copies of what slot ``slot`` was given, whatever a candidate did to the arena since."""
        assert self._exchanges is not None
        found = []
        for i, (bank, shape) in enumerate(zip(self._bank, self._shapes, strict=True)):
            row = bank[int(self._pick[slot])].clone()
            for other, places in self._exchanges:
                where = places[i]
                if where is not None:
                    row[where] = bank[int(other[slot])][where]
            found.append(row.view(shape))
        return found

    def unchanged(self, slot: int, contents: Sequence[torch.Tensor]) -> bool:
        """Whether the arena still holds ``contents`` in ``slot``."""
        return all(same(now, given) for now, given in zip(self.tensors(slot), contents, strict=True))

    def tensors(self, slot: int) -> list[torch.Tensor]:
        return [self._arena.tensor(spec, slot) for spec in self._specs]

    def describe(self) -> dict[str, Any]:
        return {"arena": self._arena.describe(), "specs": self._specs, "copies": self.copies}

    def close(self) -> None:
        self._views.clear()
        self._arena.close()


def _numel(spec: dict[str, Any]) -> int:
    """Elements of one slot of ``spec``."""
    count = 1
    for n in spec["shape"]:
        count *= int(n)
    return count
