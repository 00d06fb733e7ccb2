"""One small retry loop for model calls: exponential backoff with jitter, and the server's own wish where it has one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """How often and how long to wait. Seconds."""

    tries: int = 5
    first: float = 1.0
    """Wait before the second try; doubled each time."""
    longest: float = 60.0
    """Longest single wait; a server that asks for more is waited for so long and asked again."""


def call(work: Callable[[], T], passing: Callable[[Exception], bool], retry: Retry) -> T:
    """``work()``, again while it raises an exception that is ``passing`` (429, 5xx, a timeout); the last one is raised."""
    for attempt in range(1, retry.tries + 1):
        try:
            return work()
        except Exception as error:  # a process boundary: which classes a provider's client raises is for `passing` to say
            if attempt == retry.tries or not passing(error):
                raise
            time.sleep(wait(error, attempt, retry))
    raise AssertionError("unreachable: the last try returns or raises")


def wait(error: Exception, attempt: int, retry: Retry) -> float:
    """Seconds to wait after try ``attempt``: Retry-After when the answer has it, else backoff with full jitter."""
    asked = retry_after(error)
    if asked is not None:
        return min(asked, retry.longest)
    ceiling = min(retry.longest, retry.first * 2.0 ** (attempt - 1))
    return ceiling / 2 + random.random() * ceiling / 2


def retry_after(error: Exception) -> float | None:
    """The Retry-After header that litellm hangs on ``error``, seconds or a date; None without one."""
    headers = getattr(error, "litellm_response_headers", None)
    value = headers.get("retry-after") if headers is not None else None
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
