"""Values of files that somebody else wrote, made fit for a page. Escaping is the templates' work; this comes before it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

LONGEST_NAME = 200
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def visible(text: str) -> str:
    """``text`` with what changes how text is read and is not seen itself written out: controls, directions, lone surrogates.

    ``\\u202e`` becomes ``⟦U+202E⟧``. Letters of other alphabets that look like Latin ones stay as they are.
    """
    return _UNSEEN.sub(lambda found: f"⟦U+{ord(found.group()):04X}⟧", text)


def name(value: Any, default: str = "") -> str:
    """A name, id or other short value on one line; a longer one is cut, and says so."""
    if value is None or value == "":
        return default
    return line(value if isinstance(value, str) else json.dumps(value))


def line(text: str, longest: int = LONGEST_NAME) -> str:
    """``text`` as one line, for a page or a terminal; a longer one is cut, and says so."""
    text = visible(" ".join(text[: 4 * longest].split()))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def mapping(value: Any) -> dict[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return dict(value) if isinstance(value, dict) else {}


def count(value: Any) -> int | None:
    """``value`` if it counts something: a whole number that is not beyond reason; else None."""
    return value if isinstance(value, int) and 0 <= value < 1_000_000_000 else None


def file_name(text: str, *more: str) -> str:
    """A name for a file or folder that tells what it is: letters of ``text``, and eight digits of the hash of all arguments."""
    digits = hashlib.sha256("\0".join((text, *more)).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    words = words if len(words) <= 48 else words[-48:].partition("-")[2] or words[-48:]
    return f"{words}-{digits}" if words else digits


def below(path: Any) -> PurePosixPath | None:
    """``path`` if it is a relative path that stays below where it starts, with no hidden or unprintable part; else None.

    It does not look at the disk: a link may still lead elsewhere.
    """
    if not isinstance(path, str) or not 0 < len(path) <= 400 or not re.fullmatch(r"[^\\:\x00-\x1f\x7f]+", path):
        return None
    parts = path.split("/")
    if any(part[:1] in ("", ".") or part != visible(part) for part in parts):
        return None
    return PurePosixPath(*parts)


def link(path: PurePosixPath | str) -> str:
    """A relative path as it stands in an ``href``."""
    return quote(str(path))
