"""Waiting for a server that has gone away, such as one that is started again, and saying so on the log."""

from __future__ import annotations

import logging
import time

_LOG = logging.getLogger(__name__)
"""Where nobody has set logging up, its warnings go to stderr as they are."""
_QUIET = 1.0
"""Seconds of which nothing is said."""


class Patience:
    """One wait for ``what``, from now on, for at most ``seconds``."""

    def __init__(self, what: str, seconds: float) -> None:
        self._what, self._seconds = what, seconds
        self._began = time.monotonic()
        self._said = False

    @property
    def over(self) -> bool:
        return time.monotonic() - self._began >= self._seconds

    def wait(self, seconds: float) -> None:
        """Wait a while before trying again."""
        if not self._said and time.monotonic() - self._began >= _QUIET:
            self._said = True
            _LOG.warning("%s does not answer: waiting for it, at most %.0f s", self._what, self._seconds)
        time.sleep(seconds)

    def rewarded(self) -> None:
        """It answers."""
        if self._said:
            _LOG.warning("%s answers again, after %.0f s", self._what, time.monotonic() - self._began)
