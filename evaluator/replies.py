"""What a runner may answer, checked field by field. A runner's reply is a claim by an untrusted process.

Everything downstream may rely on the types given here; what the values say is still to be judged. Fields that are not
listed are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from kernelwright.tasks.errors import HarnessError

Check = Callable[[Any], Any]
"""Returns the value, cleaned; raises :class:`BrokenReply` saying what it is not."""

_MOST = 1 << 53
_TEXT = 4000
_ITEMS = 100_000
_DEPTH = 60
_SHOWN = 60


class BrokenReply(Exception):
    """A reply that the runner's own code cannot have sent."""


def parse(op: str, reply: Mapping[str, Any]) -> dict[str, Any]:
    """The reply to ``op`` with every field of its right type.

    Also ``tripped`` (operator -> count) where it came with it; a failure is ``outside`` (text) or ``failed``, ``message``
    and ``traceback``. ``wanted``, and then nothing else: launches that need compiling first.

    Raises:
        BrokenReply: a field is missing or not what it must be.
        HarnessError: nobody said here what ``op`` answers.
    """
    if op not in _REPLIES:
        raise HarnessError(f"no reply to {op!r} is described", "add it to replies._REPLIES")
    found: dict[str, Any] = {}
    for name, check in (("tripped", _operators), ("patched", sequence(text)), ("wanted", sequence(anything))):
        found |= _record({name: check}, reply) if reply.get(name) else {}
    if "wanted" in found:
        return found
    if "outside" in reply:
        return found | _record({"outside": text}, reply)
    if "failed" in reply:
        return found | _record({"failed": _failure, "message": text, "traceback": sequence(text)}, reply)
    return found | _record(_REPLIES[op], reply)


def count(value: Any) -> int:
    """A whole number, not negative."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
        raise BrokenReply(f"{_show(value)} is no count")
    return value


def number(value: Any) -> float:
    """A finite number, not negative."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _MOST:
        raise BrokenReply(f"{_show(value)} is no figure")
    return float(value)


def text(value: Any) -> str:
    """A string that can be printed and stored: no lone surrogates, cut to a sane length."""
    if not isinstance(value, str):
        raise BrokenReply(f"{_show(value)} is no text")
    return value[:_TEXT].encode("utf-8", "replace").decode("utf-8")


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BrokenReply(f"{_show(value)} is neither true nor false")
    return value


def optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def sequence(check: Check) -> Check:
    def checked(value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) > _ITEMS:
            raise BrokenReply(f"{_show(value)} is no list")
        return [check(item) for item in value]

    return checked


def mapping(check: Check) -> Check:
    def checked(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > _ITEMS:
            raise BrokenReply(f"{_show(value)} is no mapping")
        return {text(key): check(item) for key, item in value.items()}

    return checked


def anything(value: Any, depth: int = 0) -> Any:
    """Any JSON, for evidence only: texts cleaned, numbers finite, not too deep."""
    if depth > _DEPTH:
        raise BrokenReply("nested too deep")
    if isinstance(value, dict):
        return {text(key): anything(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [anything(item, depth + 1) for item in value]
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise BrokenReply("an infinite number")
    return value


def tree(value: Any, depth: int = 0) -> Any:
    """An encoded output, as :mod:`kernelwright.evaluator.runner.trees` writes it."""
    if not isinstance(value, dict) or len(value) != 1 or depth > _DEPTH:
        raise BrokenReply(f"{_show(value)} is no encoded output")
    ((kind, content),) = value.items()
    if kind in ("list", "tuple"):
        return {kind: sequence(lambda item: tree(item, depth + 1))(content)}
    if kind == "dict":
        return {kind: mapping(lambda item: tree(item, depth + 1))(content)}
    if kind == "tensor":
        return {kind: count(content)}
    if kind in ("float", "dtype"):
        return {kind: text(content)}
    if kind == "value" and (content is None or isinstance(content, (bool, int, str))):
        return {kind: text(content) if isinstance(content, str) else content}
    raise BrokenReply(f"{_show(value)} is no encoded output")


def _address(value: Any) -> int:
    """Where a tensor lies."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise BrokenReply(f"{_show(value)} is no address")
    return value


def _tensor(value: Any) -> dict[str, Any]:
    """What :func:`kernelwright.evaluator.runner.trees.describe` says of a tensor."""
    if not isinstance(value, dict):
        raise BrokenReply(f"{_show(value)} describes no tensor")
    return _record({"shape": sequence(count), "dtype": text, "device": text, "strides": sequence(count)}, value)


def _failure(value: Any) -> str:
    if value not in ("not_modelled", "out_of_memory", "runtime_error"):
        raise BrokenReply(f"{_show(value)} is no kind of failure")
    return str(value)


def _operators(value: Any) -> dict[str, int]:
    found: dict[str, int] = mapping(count)(value)
    return found


def _record(fields: Mapping[str, Check], value: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, check in fields.items():
        if name not in value:
            raise BrokenReply(f"it has no {name}")
        try:
            found[name] = check(value[name])
        except BrokenReply as broken:
            raise BrokenReply(f"{name}: {broken}") from None
    return found


def _show(value: Any) -> str:
    return text(repr(value)[:_SHOWN]) if not isinstance(value, (list, dict)) else f"a {type(value).__name__}"


_DONE: Mapping[str, Check] = {"ok": flag}
_PARAMETERS: Mapping[str, Check] = {"copied": sequence(text), "left": sequence(text)}
_OUTPUT: Mapping[str, Check] = {"tree": tree, "outputs": sequence(_tensor), "plain": flag}
_REPLIES: Mapping[str, Mapping[str, Check]] = {
    "open": {"name": text, "versions": mapping(text)},
    "load": _DONE,
    "attach": _DONE,
    "detach": _DONE,
    "build": _PARAMETERS,
    "refresh": _PARAMETERS,
    "call": {**_OUTPUT, "at": sequence(sequence(_address)), "native_calls": count},
    "describe": _OUTPUT,
    "trace": {
        "ops": _operators,
        "times": mapping(number),
        "kernels": mapping(number),
        "total_us": number,
        "flops": count,
        "native_calls": count,
    },
    "compile": {"launches": sequence(anything)},
    "provide": _DONE,
    "record": _DONE,
    "tape": {"bytes": count, "problem": text},
    "races": {"races": sequence(text), "launches": count, "unchecked": text},
    "reside": {"problem": text},
    "prepare": {"native_calls": count},
    "time": {"host_us": number, "native_calls": count, "at": sequence(sequence(_address))},
    "account": {"event_us": optional(number)},
    "space": _DONE,
    "export": _OUTPUT,
    "upstream": {"correct": optional(flag), "detail": text, "raised": flag, "trials": count, "times": sequence(number)},
}
"""Request -> what answers it."""
