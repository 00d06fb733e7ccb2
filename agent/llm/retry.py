"""How long to wait before a further try: the server's own wish where it has one, else exponential backoff with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Retry:
    """How often and how long to wait. Seconds."""

    tries: int = 5
    first: float = 1.0
    """Wait before the second try; doubled each time."""
    longest: float = 60.0
    """Longest single wait; a server that asks for more is waited for so long and asked again."""

    def wait(self, attempt: int, asked: float | None = None) -> float:
        """Seconds to wait after try ``attempt``, from 1; ``asked``: what the server asks for."""
        if asked is not None:
            return min(asked, self.longest)
        ceiling = min(self.longest, self.first * 2.0 ** (attempt - 1))
        return ceiling / 2 + random.random() * ceiling / 2
