"""Hash-consing: equal nodes are one object, so that comparing and hashing shared expression trees costs nothing."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

_pool: WeakValueDictionary[str, Any] = WeakValueDictionary()


def _part(value: Any) -> str:
    key = getattr(value, "key", None)
    if isinstance(key, str):
        return key
    if isinstance(value, tuple):
        return "(" + ",".join(_part(v) for v in value) + ")"
    return f"{type(value).__name__}:{value!r}"


class Interned(type):
    """Metaclass of frozen ``eq=False`` dataclasses: a call with equal fields gives the same object.

    ``key`` is a structural hash, the same in every process. Nodes must not be pickled.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        node = super().__call__(*args, **kwargs)
        parts = [cls.__name__, *(_part(getattr(node, f.name)) for f in fields(node))]
        key = hashlib.blake2b("|".join(parts).encode(), digest_size=12).hexdigest()
        known = _pool.get(key)
        if known is not None:
            return known
        object.__setattr__(node, "key", key)
        _pool[key] = node
        return node


class Node(metaclass=Interned):
    """Base of all interned records."""

    if TYPE_CHECKING:
        key: str
