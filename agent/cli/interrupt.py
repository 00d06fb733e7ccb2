"""Ctrl-C: the first finishes the step in flight, a second aborts at once."""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """While it is entered, the first SIGINT only sets :attr:`asked`; the next raises KeyboardInterrupt.

    ``quiet``: there is no step in flight to speak of.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.asked = False
        self._quiet = quiet
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        if not self._quiet:
            sys.stderr.write("\nfinishing the step in flight; Ctrl-C again aborts at once\n")
