"""What is to be tuned: ``model.py:build`` or ``package.module:attr``, and the inputs it is given."""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kernelwright.tasks.errors import InputError

_PLAIN = (bool, int, float, complex, str, type(None), tuple, list, dict)

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of one call of the model."""


@dataclass
class Target:
    """A model with its example inputs, one for each shape regime."""

    name: str
    model: nn.Module
    calls: Sequence[Call]
    notes: list[str] = field(default_factory=list)


def load_target(spec: str, inputs: str | None, device: str) -> Target:
    """The model that ``spec`` names, on ``device``, and its inputs.

    ``inputs`` names a function or value: a tuple of arguments, a dict of keyword arguments, or a list of such (regimes).
    Default: ``inputs`` or ``get_inputs`` beside the model.

    Raises:
        InputError: nothing is there, it does not load, or is not what is expected.
    """
    module, attribute = _module(spec)
    found = _attribute(module, attribute, spec)
    model = found if isinstance(found, nn.Module) else _called(found, spec)
    if not isinstance(model, nn.Module):
        raise InputError(f"{spec} gives {type(model).__name__}, not a torch.nn.Module", "name a module, a class or a function")
    if inputs is not None:
        other, name = _module(inputs)
        given = _attribute(other, name, inputs)
    else:
        given = getattr(module, "inputs", getattr(module, "get_inputs", None))
        if given is None:
            raise InputError(f"{spec}: no example inputs", "give --inputs model.py:inputs, or define inputs() beside the model")
    value = _called(given, inputs or f"{spec.rpartition(':')[0]}:inputs") if callable(given) else given
    return target(spec, model, value, device)


def target(name: str, model: nn.Module, inputs: Any, device: str) -> Target:
    """A target of a model and what was given as its inputs: a tensor, a tuple, a dict, or a list of those; on ``device``.

    Raises:
        InputError: no tensor is among the inputs, one is of a kind that cannot be written down, or the model does not fit.
    """
    regimes = inputs if isinstance(inputs, list) and inputs and isinstance(inputs[0], (tuple, dict, list)) else [inputs]
    calls: list[Call] = []
    for regime in regimes:
        if isinstance(regime, Mapping):
            call: Call = ((), dict(regime))
        elif isinstance(regime, torch.Tensor):
            call = ((regime,), {})
        elif isinstance(regime, (tuple, list)):
            call = (tuple(regime), {})
        else:
            raise InputError(
                f"{name}: inputs are {type(regime).__name__}", "give a tuple of arguments, a dict, or a list of them"
            )
        calls.append(torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), call))
    if not any(isinstance(leaf, torch.Tensor) for call in calls for leaf in torch.utils._pytree.tree_leaves(call)):
        raise InputError(f"{name}: no tensor is among the inputs", "give at least one tensor; other values stay constants")
    _storable(name, calls)
    try:
        model = model.to(device)
    except torch.cuda.OutOfMemoryError as error:
        raise InputError(f"{name} does not fit on {device}: {error}", "give a smaller model or another --device") from error
    return Target(name, model, calls)


def _storable(name: str, calls: Sequence[Call]) -> None:
    """Refuse inputs that the result's folder could not carry: they are loaded without running code."""
    written = io.BytesIO()
    try:
        torch.save(torch.utils._pytree.tree_map_only(torch.Tensor, lambda _: None, calls), written)
        torch.load(io.BytesIO(written.getvalue()), weights_only=True)
    except Exception as error:  # noqa: BLE001  pickling runs the user's code, and refuses in many ways
        held = [*(leaf for call in calls for leaf in torch.utils._pytree.tree_leaves(call)), *_values(calls)]
        kinds = sorted({type(v).__name__ for v in held if not isinstance(v, (torch.Tensor, *_PLAIN))})
        what = ", ".join(kinds) or "a container of another kind"
        raise InputError(
            f"{name}: among the inputs is {what}; tensors, numbers, strings, None and containers of those are expected",
            "wrap the model in a module that makes it inside of forward",
        ) from error


def _values(calls: Sequence[Call]) -> list[Any]:
    return [value for args, kwargs in calls for value in (*args, *kwargs.values())]


def _module(spec: str) -> tuple[Any, str]:
    where, colon, attribute = spec.rpartition(":")
    if not colon or not attribute:
        raise InputError(f"{spec!r} names no attribute", "give FILE.py:NAME or package.module:NAME")
    try:
        if where.endswith(".py"):
            path = Path(where).expanduser().resolve()
            if not path.is_file():
                raise InputError(f"there is no file {where!r}", "check the path")
            return _from_file(path), attribute
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(where), attribute
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  the user's module may fail in any way
        raise InputError(f"{where} cannot be imported: {type(error).__name__}: {error}", "import it by itself") from error


def _from_file(path: Path) -> Any:
    """The module of a file; what lies beside it can be imported by it, whatever its name (``agent``, ``tasks``)."""
    sys.path.insert(0, str(path.parent))
    name = f"kernelwright_target_{path.stem}_{abs(hash(str(path))):x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file", "give FILE.py:NAME")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _attribute(module: Any, path: str, spec: str) -> Any:
    found = module
    for part in path.split("."):
        if not hasattr(found, part):
            names = [n for n in vars(found) if not n.startswith("_")][:12] if hasattr(found, "__dict__") else []
            raise InputError(f"{spec}: there is no {part!r}", f"there are: {', '.join(names)}")
        found = getattr(found, part)
    return found


def _called(found: Any, spec: str) -> Any:
    if not callable(found):
        return found
    try:
        return found()
    except Exception as error:  # noqa: BLE001  the user's function may fail in any way
        raise InputError(f"{spec}() fails: {type(error).__name__}: {error}", "it is called without arguments") from error
