"""Where the time of a hearing goes: one monotonic clock, noted whenever the stage changes."""

from __future__ import annotations

import time

OPEN = "open"
"""Between build and smoke: cases are opened and the task admitted (once a session), a runner is forked and loads the kernel."""
EXPLAIN = "explain"
"""After the last stage of a kernel that has passed: what compiler and profiler say, for the prompts."""


class StageClock:
    """Wall-clock seconds by stage. A stage that is entered again goes on where it stopped."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._since = time.monotonic()
        self._seconds: dict[str, float] = {}

    def enter(self, stage: str) -> None:
        """What passed since the last change belongs to the stage before."""
        now = time.monotonic()
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    def seconds(self) -> dict[str, float]:
        """Seconds by stage, in the order in which stages were first left; the present one up to now."""
        self.enter(self._stage)
        return {stage: round(spent, 4) for stage, spent in self._seconds.items()}
