"""Single keys from the terminal, while something else is on the screen."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from types import TracebackType
from typing import Any


class Keys:
    """While it is entered, keys come one by one and are not echoed; Ctrl-C works as ever."""

    def __init__(self) -> None:
        self._file = sys.stdin.fileno()
        self._before: list[Any] = []

    def __enter__(self) -> Keys:
        self._before = termios.tcgetattr(self._file)
        tty.setcbreak(self._file)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    def next(self, seconds: float) -> str:
        """The next key, or nothing where none comes in that time."""
        ready, _, _ = select.select([self._file], [], [], seconds)
        return os.read(self._file, 1).decode("latin-1") if ready else ""
