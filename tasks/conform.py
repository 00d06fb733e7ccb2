"""Whether a record from JSON holds what its type hints say. For files of strangers: the codec itself trusts scalars."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from kernelwright.tasks.codec import from_json
from kernelwright.tasks.errors import InputError

T = TypeVar("T")
_SHOWN = 60


def conforming(cls: type[T], data: Any, what: str) -> T:
    """An instance of ``cls`` from JSON of whatever origin, every value of the kind that its hint says, numbers finite.

    Raises:
        InputError: something is missing, unknown, of another kind, or refused by a constructor; ``what`` names the whole.
    """
    try:
        found = from_json(cls, data)
    except InputError as error:
        raise InputError(f"{what}: {error.message}", error.remedy) from error
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
        raise InputError(f"{what} is no {cls.__name__}: {error}") from error
    problem = misfit(cls, found)
    if problem:
        raise InputError(f"{what}{problem}")
    return found


def misfit(hint: Any, value: Any) -> str:
    """Where ``value`` is not what ``hint`` says, and how; empty when it is."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return ""
    if origin in (Union, types.UnionType):
        return "" if value is None else misfit(next(a for a in args if a is not type(None)), value)
    if origin is tuple:
        kinds = args[:1] * len(value) if len(args) == 2 and args[1] is Ellipsis else args
        return _first((f"[{n}]", kind, v) for n, (kind, v) in enumerate(zip(kinds, value, strict=True)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _first(pair for k, v in value.items() for pair in ((".key", args[0], k), (f".{k}", args[1], v)))
    if origin in (list, Sequence):
        return _first((f"[{n}]", args[0], v) for n, v in enumerate(value))
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return _first((f".{f.name}", hints[f.name], getattr(value, f.name)) for f in dataclasses.fields(hint) if f.repr)
    return _scalar(hint, value)


def _first(parts: Any) -> str:
    return next((f"{where}{problem}" for where, kind, value in parts if (problem := misfit(kind, value))), "")


def _scalar(hint: Any, value: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "" if isinstance(value, hint) else _is(value, hint.__name__)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is float:
        return "" if number and math.isfinite(value) else _is(value, "finite number")
    if hint is int:
        return "" if number and isinstance(value, int) else _is(value, "whole number")
    return "" if isinstance(value, hint) else _is(value, hint.__name__)


def _is(value: Any, expected: str) -> str:
    shown = repr(value)
    return f" is {shown[:_SHOWN]}{'…' if len(shown) > _SHOWN else ''}, no {expected}"
