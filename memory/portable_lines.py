"""The lines of a memory file, read as data from a stranger: each field is what it should be, or the file is refused.

Protects against lines without end, bytes that are no text, numbers that are none, names that climb out of a folder,
repeated keys and ids, wrong types, missing and unknown fields, and files cut off or changed after they were written. Does
not protect against well-formed lies.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from kernelwright.memory.catalog import ItemValue
from kernelwright.memory.lessons import UNSEEN
from kernelwright.memory.records import LEARNED, Experience
from kernelwright.memory.values import CLIP
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import IdeaStage, Status

KIND = "kernelwright-memory"
FORMAT = 1
LONGEST = 4 * 2**20
"""Bytes of a line."""
REMEDY = "nothing was taken in; export the memory again with `kernelwright memory export`"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~+:@-]{0,199}")
_CONTENT = re.compile(r"[0-9a-f]{8,20}")
_SHA = re.compile(r"[0-9a-f]{64}")
_MOST_VISITS = 1_000_000
_STAGES = tuple(stage.value for stage in IdeaStage)
_BOTTLENECK_LIMIT = 20


@dataclass(frozen=True)
class Line:
    """An experience of a file."""

    experience: Experience
    content: str
    archived: bool


class _Wrong(Exception):
    """What is wrong with a line."""


def read(path: Path) -> Iterator[Line | ItemValue | str]:
    """The store's identity, then experiences and values, each checked; the file's own counts and hash at the end.

    Raises:
        InputError: naming the line and what is wrong with it.
    """
    with _opened(path) as file:
        number, hashed, ids, counts = 0, hashlib.sha256(), set[str](), {"experience": 0, "value": 0}
        ended = False
        while raw := file.readline(LONGEST + 1):
            number += 1
            try:
                if ended:
                    raise _Wrong("there is more after the end")
                data = _object(raw)
                if number == 1:
                    yield _head(data)
                elif "end" in data:
                    _check_end(data, counts, hashed.hexdigest())
                    ended = True
                else:
                    yield _line(data, ids, counts)
            except _Wrong as error:
                raise InputError(f"{path}, line {number}: {error}", REMEDY) from error
            hashed.update(raw)
    if not ended:
        raise InputError(f"{path} has no end: it was cut off after line {number}", REMEDY)


def _opened(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} is no file", "give a file that `kernelwright memory export` wrote")
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", "check the path") from error


def _object(raw: bytes) -> Mapping[str, Any]:
    if len(raw) > LONGEST:
        raise _Wrong(f"longer than {LONGEST:,} bytes")
    try:
        data = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise _Wrong(f"byte {error.start + 1} is not UTF-8") from error
    except RecursionError as error:
        raise _Wrong("nested too deep") from error
    except ValueError as error:
        raise _Wrong(f"no JSON: {str(error)[:120]}") from error
    if not isinstance(data, dict):
        raise _Wrong("no object")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise _Wrong("a key stands there twice")
    return data


def _no_number(name: str) -> NoReturn:
    raise _Wrong(f"{name} is no number that JSON has")


def _head(data: Mapping[str, Any]) -> str:
    if data.get("kind") != KIND:
        raise _Wrong(f"no head of a memory file: kind is {_shown(data.get('kind'))}, expected {KIND!r}")
    found = data.get("format")
    if found != FORMAT or isinstance(found, bool):
        newer = isinstance(found, int) and found > FORMAT
        raise _Wrong(f"format {_shown(found)}, this Kernelwright reads {FORMAT}{': upgrade it' if newer else ''}")
    _known(data, ("kind", "format", "store", "created"), "the head")
    _text(40)("created", data["created"])
    return _matching(_ID, "an identity")("store", data["store"])


def _line(data: Mapping[str, Any], ids: set[str], counts: dict[str, int]) -> Line | ItemValue:
    kind, body = next(iter(data.items()), ("", None))
    if len(data) != 1 or kind not in counts or not isinstance(body, dict):
        raise _Wrong("expected one of experience, value, end, with an object")
    counts[kind] += 1
    if kind == "value":
        return ItemValue(**_checked(body, _VALUE, "value"))
    checked = _checked(body, _EXPERIENCE, "experience")
    content, old = checked.pop("content"), checked.pop("archived")
    e = Experience(**checked)
    if e.kind == "trace" and not e.code:
        raise _Wrong(f"trace {e.id} has no code")
    if e.id in ids:
        raise _Wrong(f"experience {e.id} stands there twice")
    ids.add(e.id)
    return Line(e, content, old)


def _check_end(data: Mapping[str, Any], counts: Mapping[str, int], sha: str) -> None:
    body = data["end"]
    if len(data) != 1 or not isinstance(body, dict):
        raise _Wrong("the end holds something else")
    end = _checked(body, _END, "end")
    for name, count in (("experiences", counts["experience"]), ("values", counts["value"])):
        if end[name] != count:
            raise _Wrong(f"the end counts {end[name]} {name}, there are {count}")
    if end["sha256"] != sha:
        raise _Wrong("the hash is another one: the file was changed or damaged after it was written")


def _checked(body: Mapping[str, Any], spec: Mapping[str, Callable[[str, Any], Any]], what: str) -> dict[str, Any]:
    _known(body, tuple(spec), what)
    return {name: check(name, body[name]) for name, check in spec.items()}


def _known(body: Mapping[str, Any], names: tuple[str, ...], what: str) -> None:
    for name in names:
        if name not in body:
            raise _Wrong(f"{what} has no {name!r}")
    for name in body:
        if name not in names:
            raise _Wrong(f"{what} has an unknown field {_shown(name)}")


# One check a field: it gives the value, or says what is wrong.


def _text(limit: int, empty: bool = True) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise _Wrong(f"{name} is {_shown(value)}, expected a text")
        if len(value) > limit or (not value and not empty):
            raise _Wrong(f"{name} has {len(value):,} characters, expected {'' if empty else '1 to '}at most {limit:,}")
        if found := UNSEEN.search(value):
            raise _Wrong(f"{name} holds the character U+{ord(found.group()):04X}")
        return value

    return check


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise _Wrong(f"{name} is {_shown(value)}, expected {what}")
        return value

    return check


def _among(*known: str) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        if value not in known or not isinstance(value, str):
            raise _Wrong(f"{name} is {_shown(value)}, expected one of {', '.join(k or 'nothing' for k in known)}")
        return value

    return check


def _whole(least: int, most: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _Wrong(f"{name} is {_shown(value)}, expected a whole number from {least} to {most}")
        return value

    return check


def _real(least: float, most: float) -> Callable[[str, Any], float]:
    def check(name: str, value: Any) -> float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not least <= value <= most:
            raise _Wrong(f"{name} is {_shown(value)}, expected a number from {least:g} to {most:g}")
        return float(value)

    return check


def _speedup(name: str, value: Any) -> float | None:
    return None if value is None else _real(1e-9, 1e9)(name, value)


def _task(name: str, value: Any) -> str:
    task = _text(1000, empty=False)(name, value)
    if task.startswith(("/", "~", ".", "\\")) or ".." in re.split(r"[/\\]", task):
        raise _Wrong(f"{name} is {_shown(task)}, expected the name of a task, not a path")
    return task


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"{name} is {_shown(value)}, expected true or false")
    return value


def _parents(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 8:
        raise _Wrong(f"{name} is {_shown(value)}, expected a list of at most 8 ids")
    return tuple(_matching(_ID, "an id")(name, item) for item in value)


def _shown(value: Any) -> str:
    said = ascii(value)
    return said if len(said) <= 60 else f"{said[:59]}…"


_EXPERIENCE: Mapping[str, Callable[[str, Any], Any]] = {
    "id": _matching(_ID, "an id: letters, digits and ._~+:@-"),
    "kind": _among(*LEARNED),
    "stage": _among("", *_STAGES),
    "backend": _text(200, empty=False),
    "device": _text(200),
    "family": _text(200),
    "task": _task,
    "text": _text(8_000, empty=False),
    "code": _text(2**20),
    "lesson": _text(8_000),
    "status": _among(*(status.value for status in Status)),
    "bottleneck": _text(_BOTTLENECK_LIMIT),
    "speedup": _speedup,
    "parents": _parents,
    "seen": _whole(1, _MOST_VISITS),
    "content": _matching(_CONTENT, "a hash"),
    "archived": _flag,
}
_VALUE: Mapping[str, Callable[[str, Any], Any]] = {
    "item": _matching(_ID, "an id"),
    "stage": _among(*_STAGES),
    "backend": _text(200, empty=False),
    "family": _text(200),
    "q": _real(-CLIP, CLIP),
    "visits": _whole(1, _MOST_VISITS),
}
_END: Mapping[str, Callable[[str, Any], Any]] = {
    "experiences": _whole(0, 10**9),
    "values": _whole(0, 10**9),
    "sha256": _matching(_SHA, "a hash"),
}
assert {f.name for f in fields(Experience)} == _EXPERIENCE.keys() - {"content", "archived"}
