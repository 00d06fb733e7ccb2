"""Nearest neighbours among a part of the index, exactly: where most of what is near is excluded, an index must be asked for
almost everything, and looking at the rest is quicker.

A query is a short text, and most of its components are 0. So vectors lie by component: a search reads only the components
that the query has, and adds them up without BLAS, whose threads wait for each other longer than they compute where the
machine has other work.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from kernelwright.memory.embed import DIMENSIONS
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
        count = len(self._ids)
        self._columns: NDArray[np.float32] = np.zeros((DIMENSIONS, count + _GROWTH), dtype=np.float32)
        """Shape (dimensions, room): a vector is a column."""
        np.concatenate(parts, out=self._columns[:, :count].T)

    def add(self, id_: str, vector: NDArray[np.float32]) -> None:
        """Take in one more."""
        import numpy as np

        count = len(self._ids)
        if count == self._columns.shape[1]:
            room = np.zeros((DIMENSIONS, max(_GROWTH, count // 8)), dtype=np.float32)
            self._columns = np.concatenate([self._columns, room], axis=1)
        self._columns[:, count] = vector
        self._ids.append(id_)

    def near(self, vector: NDArray[np.float32], n: int) -> tuple[Near, ...]:
        """The ``n`` nearest, nearest first; ties by id, as the index has them."""
        import numpy as np

        scores = self._scores(vector)
        least = np.partition(scores, -n)[-n] if 0 < n < len(scores) else -np.inf
        found = [Near(self._ids[i], float(scores[i])) for i in np.flatnonzero(scores >= least)]
        return tuple(sorted(found, key=lambda near: (-near.similarity, near.id))[:n])

    def _scores(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine similarity of each, summed in the same order for all: equal vectors have equal scores."""
        import numpy as np

        count = len(self._ids)
        scores, term = np.zeros(count, dtype=np.float32), np.empty(count, dtype=np.float32)
        for component in np.flatnonzero(vector):
            np.multiply(self._columns[component, :count], vector[component], out=term)
            scores += term
        return scores
