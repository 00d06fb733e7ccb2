"""Words that may be shown: without any key."""

from __future__ import annotations

import os
import re

_PRIVATE = re.compile(r"_(KEY|TOKEN|SECRET|PASSWORD)$|^(KEY|TOKEN|SECRET|PASSWORD)$")
"""Environment variables whose values are never shown."""
_SHORTEST = 4
"""Shorter values are no keys, and replacing them would garble the words."""
_SHAPES = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=*-]{4,}"), r"\1 …"),
    (re.compile(r"(?i)([?&](?:api[-_]?key|key|token|access_token|auth)=)[^&\s\"']+"), r"\1…"),
    (re.compile(r"(://)[^/\s@]+@"), r"\1…@"),
    (re.compile(r"\b(sk|pk|gsk|xai|hf|AIza)[-_][\w*-]{8,}"), r"\1-…"),
)
"""What looks like a key wherever it comes from: headers, URLs, and the half-hidden keys in some providers' messages."""


def scrub(text: str) -> str:
    """``text`` without the value of any environment variable that is named like a key, and without what looks like one.

    Not protected against: a key that is in no environment variable and has no known shape, one that was changed since,
    and one that a server sends back in another encoding.
    """
    values = {name: value.strip() for name, value in os.environ.items()}
    for name, value in sorted(values.items(), key=lambda item: -len(item[1])):
        if len(value) >= _SHORTEST and _PRIVATE.search(name.upper()):
            text = text.replace(value, f"${name}")
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def one_line(text: str, longest: int = 300) -> str:
    """The first line that says something, scrubbed and cut."""
    line = next((line.strip() for line in scrub(text).splitlines() if line.strip()), "")
    return line if len(line) <= longest else f"{line[:longest]}…"
