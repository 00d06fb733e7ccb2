"""Names to objects: a short name of a table, or the import path of a user's own implementation."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from kernelwright.tasks.errors import InputError, UnknownName


def resolve(noun: str, name: str, table: Mapping[str, str]) -> Any:
    """The object called ``name``: a key of ``table``, or an import path ``package.module:Attribute`` itself.

    ``noun`` says in messages what is being named (``backend``, ``policy``, …); the table maps short names to import
    paths, so that nothing is imported before it is asked for.

    Raises:
        UnknownName: no such short name, module or attribute; lists what there is.
        InputError: the module exists but needs a package that is not installed.
    """
    path = table.get(name, name)
    module_name, colon, attribute = path.partition(":")
    if not (colon and module_name and attribute):
        raise UnknownName.among(noun, name, table)
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise UnknownName(
                f"unknown {noun} {name!r}: there is no module {missing!r}",
                f"available: {', '.join(sorted(table))}, or the import path of your own",
            ) from error
        raise InputError(f"{noun} {name!r} needs the package {missing!r}", f"pip install {missing}") from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            public = ", ".join(n for n in dir(value) if not n.startswith("_"))
            raise UnknownName(f"unknown {noun} {name!r}: {module_name} has no {part!r}", f"it has: {public}")
        value = getattr(value, part)
    return value
