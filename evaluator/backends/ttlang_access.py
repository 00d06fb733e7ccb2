"""Which core touched which element of a launch's tensors, and whether anything orders two cores that touched the same one.

Cores run in no order. What orders them are blocks sent through a pipe: what the sender did before is known to the receiver.
Each core counts its sends, and knows how far it has heard of the others (vector clocks; a core is taken for one sequence).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

_NOBODY, _SEVERAL = -1, -2


class Accesses:
    """Of one launch. ``tensors``: as they lie in the device's memory, each in a storage of its own."""

    def __init__(self, tensors: Sequence[torch.Tensor], cores: int = 64) -> None:
        self.written: set[int] = set()
        """Positions of the tensors that were written."""
        self.races: list[str] = []
        self.unchecked = ""
        """What could not be compared, and why."""
        self._position = {t.untyped_storage().data_ptr(): i for i, t in enumerate(tensors)}
        self._sizes = [t.numel() for t in tensors]
        self._maps: dict[int, dict[str, torch.Tensor]] = {}
        self._heard = torch.full((cores, cores), -1, dtype=torch.int32)
        """``[a, b]``: up to which of b's epochs a knows what b did; its own is the current one."""
        self._heard.fill_diagonal_(0)
        self._sent: dict[int, torch.Tensor] = {}
        self._piped = False

    def sent(self, message: int, core: int) -> None:
        """A core has put a message into a pipe: its next accesses are not known by who receives it."""
        self._piped = True
        self._sent[message] = self._heard[core].clone()
        self._heard[core, core] += 1

    def received(self, message: int, core: int) -> None:
        """A core has taken a message out of a pipe."""
        if message in self._sent:
            self._heard[core] = torch.maximum(self._heard[core], self._sent[message])

    def note(self, part: torch.Tensor, core: int, write: bool) -> None:
        """A core copies to or from a part of a tensor."""
        position = self._position.get(part.untyped_storage().data_ptr())
        if position is None:
            return
        if write:
            self.written.add(position)
        if position not in self._maps:
            blank = {"wrote": _NOBODY, "wrote_at": 0, "read": _NOBODY, "read_at": 0}
            self._maps[position] = {
                name: torch.full((self._sizes[position],), v, dtype=torch.int32) for name, v in blank.items()
            }
        seen = {
            name: known.as_strided(part.shape, part.stride(), part.storage_offset())
            for name, known in self._maps[position].items()
        }
        now = int(self._heard[core, core])
        does = "writes" if write else "reads"
        self._compare(
            seen["wrote"], seen["wrote_at"], core, f"core {core} {does} elements of tensor {position} that", "writes", "write"
        )
        if write:
            self._compare(
                seen["read"], seen["read_at"], core, f"core {core} writes elements of tensor {position} that", "reads", "read"
            )
            seen["wrote"].fill_(core)
            seen["wrote_at"].fill_(now)
        else:
            alone = (seen["read"] == _NOBODY) | (seen["read"] == core)
            seen["read"].copy_(torch.where(alone, core, _SEVERAL))
            seen["read_at"].fill_(now)

    def _compare(self, who: torch.Tensor, at: torch.Tensor, core: int, what: str, one: str, many: str) -> None:
        others = (who != _NOBODY) & (who != core)
        if self._piped:
            if bool((who == _SEVERAL).any()):
                self.unchecked = "what several cores read and one wrote later, since cores send each other blocks"
            others &= (who >= 0) & (at > self._heard[core][who.clamp(min=0).long()])
        if bool(others.any()):
            other = int(who[others][0])
            did = f"core {other} {one}" if other >= 0 else f"several cores {many}"
            self.races.append(f"race: {what} {did}; nothing orders cores within a launch but a block through a pipe")
