"""Nearest neighbours among a part of the index, exactly: where most of what is near is excluded, an index must be asked for
almost everything, and looking at every vector of the rest is quicker (100,000 of them in some 20 ms).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from kernelwright.memory.index import Index, Near

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_GROWTH = 1024


class Scan:
    """The vectors of some scopes without the experiences ``without``, as they were when it was made, and what was added since.

    On a shared index it does not see what other processes add later.
    """

    def __init__(self, index: Index, scopes: Collection[str], without: Collection[str]) -> None:
        import numpy as np

        self._ids: list[str] = []
        parts: list[NDArray[np.float32]] = []
        for scope in scopes:
            ids, vectors = index.vectors(scope)
            kept = [n for n, id_ in enumerate(ids) if id_ not in without]
            self._ids += [ids[n] for n in kept]
            parts.append(vectors[kept])
        self._matrix: NDArray[np.float32] = np.concatenate(parts)

    def add(self, id_: str, vector: NDArray[np.float32]) -> None:
        """Take in one more."""
        import numpy as np

        if len(self._ids) == len(self._matrix):
            self._matrix = np.concatenate([self._matrix, np.zeros((_GROWTH, len(vector)), dtype=np.float32)])
        self._matrix[len(self._ids)] = vector
        self._ids.append(id_)

    def near(self, vector: NDArray[np.float32], n: int) -> tuple[Near, ...]:
        """The ``n`` nearest, nearest first; ties by id, as the index has them."""
        import numpy as np

        scores = self._matrix[: len(self._ids)] @ vector
        top = np.argpartition(-scores, n - 1)[:n] if n < len(scores) else np.arange(len(scores))
        found = sorted(((float(scores[i]), self._ids[i]) for i in top), key=lambda pair: (-pair[0], pair[1]))
        return tuple(Near(id_, score) for score, id_ in found)
