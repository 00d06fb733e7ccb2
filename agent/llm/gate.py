"""Who may ask a provider now: calls in flight, requests a minute, and a pause for all when it says that it is too much."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK = 0.5
"""Seconds between two looks of a caller that waits at whether it still wants to."""
FIRST_SPACING = 0.25
"""Seconds between two starts after the first "too many requests"; doubled by each further one."""
LONGEST_SPACING = 30.0


class Gate:
    """All calls of this process to one endpoint go through one gate. Other processes with the same key are not seen.

    Starts are spaced evenly, without bursts, so that no window of a minute holds more than the rate and one. The limits are
    those given last: clients of one run agree on them.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._concurrency, self._spacing = 1, 0.0
        self._flying = 0
        self._next = 0.0
        """When the next call may start."""
        self._slowed = 0.0
        """Seconds between starts that the provider taught us; fades with every answer."""

    def limit(self, concurrency: int, per_minute: float | None) -> None:
        """Set how many calls may fly, and how many may start in a minute."""
        with self._changed:
            self._concurrency = concurrency
            self._spacing = 60.0 / per_minute if per_minute else 0.0
            self._changed.notify_all()

    @contextmanager
    def passed(self, tick: Callable[[], None]) -> Iterator[None]:
        """Wait for one's turn and hold it. ``tick`` is called now and then while waiting; what it raises ends the wait."""
        while not self._entered():
            tick()
        try:
            yield
        finally:
            with self._changed:
                self._flying -= 1
                self._changed.notify_all()

    def slow(self, seconds: float) -> None:
        """The provider says that it is too much: nobody starts for so long, and then more slowly."""
        with self._changed:
            self._next = max(self._next, time.monotonic() + seconds)
            self._slowed = min(LONGEST_SPACING, max(FIRST_SPACING, 2 * self._slowed))

    def answered(self) -> None:
        """An answer came: starts may come a little closer again."""
        with self._changed:
            self._slowed = self._slowed * 0.8 if self._slowed > 0.01 else 0.0

    @property
    def spacing(self) -> float:
        """Seconds between two starts, as things are."""
        return max(self._spacing, self._slowed)

    def _entered(self) -> bool:
        """Enter if it is one's turn; else wait a tick at most."""
        with self._changed:
            now = time.monotonic()
            early = self._next - now
            if self._flying < self._concurrency and early <= 0:
                self._flying += 1
                self._next = now + self.spacing
                return True
            self._changed.wait(min(TICK, early) if early > 0 else TICK)
            return False


_gates: dict[str, Gate] = {}
_lock = threading.Lock()


def gate_of(endpoint: str) -> Gate:
    """The one gate of this process for an endpoint."""
    with _lock:
        return _gates.setdefault(endpoint, Gate())
