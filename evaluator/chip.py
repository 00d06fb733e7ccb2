"""A chip that a runner opens for itself: who may open it, under which names, what opening it gives, and how values get there.

The process that is to hold a chip opens it before it knows any kernel and gives it back by ending. What it needs for that is
in its environment (:meth:`Chip.environment`), since the vendors' libraries read theirs once. Two kinds: :class:`.chip_tpu.Tpu`,
which torch does not know, and :class:`.chip_npu.Npu`, which it knows by ``torch_npu``.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch

VARIABLE = "KERNELWRIGHT_CHIP"
"""Of a process that is to open a chip: kind and platform, ``tpu:tpu``, or ``tpu:cpu`` where the host stands in."""


class NoChip(RuntimeError):
    """The chip cannot be opened: nobody's kernel is to blame."""


@dataclass(frozen=True)
class Chip(ABC):
    """One chip. The methods from :meth:`put` on are for the process that has opened it."""

    kind: ClassVar[str]
    """As in ``--device``."""
    title: ClassVar[str]
    holders: ClassVar[str]
    """The command that shows who holds it."""
    docs: ClassVar[str]
    baselines: ClassVar[tuple[str, ...]]
    """Names of what the reference is timed as, slowest first."""
    timed: ClassVar[str]
    """What of a call is timed, for the verdict's notes."""
    platform: str
    """The kind; ``cpu``: the host stands where the chip would be, on the same path, for tests."""

    @property
    def stands_in(self) -> bool:
        """Whether this is the host, not a chip."""
        return self.platform == "cpu"

    @property
    def device(self) -> str:
        """Torch's name of it in the process that has opened it; empty where torch does not know it."""
        return ""

    @property
    @abstractmethod
    def imports(self) -> str:
        """Modules that the reference's processes need, as ``KERNELWRIGHT_IMPORT`` has them; importing opens no device."""

    @staticmethod
    def of(environment: Mapping[str, str]) -> Chip | None:
        """The chip that a process with this environment is to open; None: none."""
        kind, _, platform = environment.get(VARIABLE, "").partition(":")
        return kinds()[kind](platform) if kind else None

    @abstractmethod
    def environment(self, index: int) -> dict[str, str]:
        """For a process that opens chip ``index`` of this machine and no other."""

    @abstractmethod
    def absent(self) -> str:
        """Empty where one and what opens it seem to be here, else what is missing, in one line with the remedy."""

    @abstractmethod
    def unmeasured(self) -> str:
        """Why there is no baseline on this machine; empty where there can be one."""

    @abstractmethod
    def open(self) -> dict[str, Any]:
        """Open it in this process: ``name`` and ``versions``.

        Raises:
            NoChip: it does not open, or is another platform's.
        """

    @abstractmethod
    def total(self) -> float:
        """1 + … + 8, added there."""

    @abstractmethod
    def exact(self) -> None:
        """Products of float32 in float32, as for every baseline."""

    @abstractmethod
    def put(self, tensor: torch.Tensor) -> Any:
        """A copy of a host's tensor there; it may be under way."""

    @abstractmethod
    def wait(self, values: Any) -> None:
        """Return when ``values`` are there."""

    @abstractmethod
    def get(self, output: Any) -> list[torch.Tensor]:
        """The tensors of what a call of :meth:`calls` gave, on the host."""

    @abstractmethod
    def calls(self, model: torch.nn.Module, tree: Any) -> dict[str, Callable[..., Any]]:
        """A module of the host as :attr:`baselines`, functions of what :meth:`put` gave; ``tree``: its arguments, encoded."""


def kinds() -> Mapping[str, type[Chip]]:
    """The kinds of chips by their names in ``--device``."""
    from kernelwright.evaluator.chip_npu import Npu
    from kernelwright.evaluator.chip_tpu import Tpu

    return {kind.kind: kind for kind in (Tpu, Npu)}


_BUSY = re.compile(r"resources? (?:is |are )?busy|already in use|in use by process", re.IGNORECASE)


def busy(text: str) -> bool:
    """Whether a vendor's library says that another process holds the chip."""
    return _BUSY.search(text) is not None


def one_line(error: BaseException) -> str:
    """What an error says, cut to a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
