"""A memory's index with exact neighbours and no files: a brute-force product in place of Chroma.

A trial makes a hundred memories that live for seconds. The embedder is the real one; what is left out is Chroma's
approximation and its disk, which the comparison of arms is not about (a test holds both to the same trial).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from kernelwright.memory.embed import DIMENSIONS, embed
from kernelwright.memory.index import Index, Near, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ExactIndex(Index):
    """The index of one memory in one process."""

    def __init__(self) -> None:
        self.notes = []
        self._vectors: dict[str, dict[str, NDArray[np.float32]]] = {}

    @property
    def writes(self) -> bool:
        return True

    def claim(self) -> bool:
        return True

    def hold(self) -> None:
        return None

    def sync(self, source: Source, exact: bool = False) -> None:
        for scope in source.counts():
            self.add(scope, source.texts(source.ids(scope)))

    def add(self, scope: str, texts: Mapping[str, str]) -> None:
        vectors = self._vectors.setdefault(scope, {})
        for id_, text in texts.items():
            vectors[id_] = _vector(text)

    def remove(self, scope: str, ids: Iterable[str]) -> None:
        for id_ in ids:
            self._vectors.get(scope, {}).pop(id_, None)

    def query(self, text: str, scopes: Sequence[str], n: int) -> tuple[Near, ...]:
        return self.near(_vector(text), scopes, n)

    def near(self, vector: NDArray[np.float32], scopes: Sequence[str], n: int) -> tuple[Near, ...]:
        import numpy as np

        found: list[tuple[float, str]] = []
        for scope in scopes:
            if vectors := self._vectors.get(scope):
                products = (np.stack(list(vectors.values())) @ vector).tolist()
                found += zip((-p for p in products), vectors, strict=True)
        return tuple(Near(id_, -p) for p, id_ in sorted(found)[:n])

    def vectors(self, scope: str) -> tuple[list[str], NDArray[np.float32]]:
        import numpy as np

        held = self._vectors.get(scope, {})
        return list(held), np.stack(list(held.values())) if held else np.zeros((0, DIMENSIONS), dtype=np.float32)

    def count(self) -> int:
        return sum(map(len, self._vectors.values()))

    def rebuild(self) -> int:
        return self.count()

    def close(self) -> None:
        return None


@lru_cache(maxsize=20_000)
def _vector(text: str) -> NDArray[np.float32]:
    vector: NDArray[np.float32] = embed([text])[0]
    return vector
