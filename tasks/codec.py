"""Frozen dataclasses to JSON and back, by their type hints. Standard library only: it runs beside the kernel."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from kernelwright.tasks.errors import InputError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """``value`` as JSON data. Non-finite floats become the strings ``"inf"``, ``"-inf"``, ``"nan"``."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value) if f.repr}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(to_json(k)): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def from_json(cls: type[T], data: Any) -> T:
    """An instance of dataclass ``cls`` from what :func:`to_json` gave. Unknown keys are refused.

    Raises:
        InputError: an unknown or missing key, or a value of the wrong kind, naming the record and the key.
    """
    return typing.cast(T, _decode(cls, data))


def _decode(hint: Any, data: Any) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return data
    if origin in (Union, types.UnionType):
        return None if data is None else _decode(next(a for a in get_args(hint) if a is not type(None)), data)
    if origin is not None:
        return _decode_collection(origin, get_args(hint), data)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _decode_enum(hint, data)
    if dataclasses.is_dataclass(hint):
        return _decode_record(hint, data)
    return float(data) if hint is float and data is not None else data


def _decode_collection(origin: Any, args: tuple[Any, ...], data: Any) -> Any:
    if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
        return tuple(_decode(a, d) for a, d in zip(args, data, strict=True))
    if origin is tuple:
        return tuple(_decode(args[0], d) for d in data)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {_decode(args[0], k): _decode(args[1], v) for k, v in data.items()}
    return [_decode(args[0], d) for d in data] if origin in (list, Sequence) else data


def _decode_enum(cls: type[Enum], data: Any) -> Enum:
    try:
        return cls(data)
    except ValueError as error:
        known = ", ".join(str(member.value) for member in cls)
        raise InputError(f"{data!r} is no {cls.__name__}", f"known: {known}") from error


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)  # slow: it compiles every annotation


def _decode_record(cls: Any, data: Mapping[str, Any]) -> Any:
    if not isinstance(data, Mapping):
        raise InputError(f"{cls.__name__} is {data!r}, expected an object", "check the file it was read from")
    hints = _hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.repr}
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise InputError(f"{cls.__name__} has no field {unknown[0]!r}", f"fields: {', '.join(fields)}")
    try:
        return cls(**{name: _decode(hints[name], value) for name, value in data.items()})
    except TypeError as error:
        raise InputError(f"{cls.__name__}: {error}", "check the file against the version that wrote it") from error
