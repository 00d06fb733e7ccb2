"""Which core touched which element of a launch's tensors: cores run in no order, so a write leaves an element to one core."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_NOBODY, _SEVERAL = -1, -2


class Accesses:
    """Of one launch. ``tensors``: as they lie in the device's memory, each in a storage of its own."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self.written: set[int] = set()
        """Positions of the tensors that were written."""
        self.races: list[str] = []
        self._position = {t.untyped_storage().data_ptr(): i for i, t in enumerate(tensors)}
        self._sizes = [t.numel() for t in tensors]
        self._maps: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def note(self, part: torch.Tensor, node: int, write: bool) -> None:
        """A core copies to or from a part of a tensor."""
        position = self._position.get(part.untyped_storage().data_ptr())
        if position is None:
            return
        if write:
            self.written.add(position)
        if position not in self._maps:
            blank = torch.full((2, self._sizes[position]), _NOBODY, dtype=torch.int16)
            self._maps[position] = blank[0], blank[1]
        wrote, read = (_same_part(known, part) for known in self._maps[position])
        if write:
            self._compare(wrote, position, node, "write")
            self._compare(read, position, node, "read")
            wrote.fill_(node)
        else:
            self._compare(wrote, position, node, "write", "reads")
            read.copy_(torch.where((read == _NOBODY) | (read == node), node, _SEVERAL))

    def _compare(self, before: torch.Tensor, position: int, node: int, did: str, does: str = "writes") -> None:
        others = (before != _NOBODY) & (before != node)
        if bool(others.any()):
            other = int(before[others][0])
            who = f"core {other}" if other >= 0 else "several cores"
            self.races.append(
                f"race: core {node} {does} elements of tensor {position} that {who} {did}{'s' if other >= 0 else ''}; "
                "nothing orders cores within a launch"
            )


def _same_part(known: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Of what is known of a tensor's elements, the view that ``part`` is of the tensor."""
    return known.as_strided(part.shape, part.stride(), part.storage_offset() + known.storage_offset())
