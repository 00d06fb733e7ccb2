"""Comparing encoded trees without torch: the judge's process never imports it."""

from __future__ import annotations

from typing import Any


def same_tree(a: Any, b: Any) -> bool:
    """Whether two encoded values have the same structure and the same plain values; lists and tuples count alike."""
    (kind_a, content_a), (kind_b, content_b) = next(iter(a.items())), next(iter(b.items()))
    if kind_a in ("list", "tuple") and kind_b in ("list", "tuple"):
        return len(content_a) == len(content_b) and all(map(same_tree, content_a, content_b))
    if kind_a != kind_b:
        return False
    if kind_a == "dict":
        return sorted(content_a) == sorted(content_b) and all(same_tree(content_a[k], content_b[k]) for k in content_a)
    return bool(content_a == content_b)
