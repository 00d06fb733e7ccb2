"""Looking through the rest finds exactly what comparing with every vector finds."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

import numpy as np
import pytest

from kernelwright.memory import experiences, recall
from kernelwright.memory.embed import DIMENSIONS, embed
from kernelwright.memory.records import Experience
from kernelwright.memory.scan import Scan

OPERATORS = ("softmax", "matmul", "conv2d", "cumsum", "gather", "rms_norm", "huber", "attention")
_WORDS = "vector loads one pass two passes registers tiles split warp shuffle online unrolled prefetch padded rows mask"
WORDS = _WORDS.split()


def lesson(number: int, draw: random.Random) -> str:
    return f"{OPERATORS[number % len(OPERATORS)]} in cpp: {' '.join(draw.sample(WORDS, 5))}"


class Texts:
    """What a scan reads of an index."""

    def __init__(self, **scopes: dict[str, str]) -> None:
        self.scopes = scopes

    def vectors(self, scope: str) -> tuple[list[str], np.ndarray]:
        texts = self.scopes[scope]
        return list(texts), embed(list(texts.values())) if texts else np.zeros((0, DIMENSIONS), dtype=np.float32)


def brute(texts: Mapping[str, str], vector: np.ndarray, n: int) -> list[str]:
    """The nearest, one by one and in float64; what differs by less than float32 tells is a tie, and goes by id."""
    scores = {id_: round(float(embed([text])[0].astype(np.float64) @ vector), 5) for id_, text in texts.items()}
    return sorted(scores, key=lambda id_: (-scores[id_], id_))[:n]


def agrees(scan: Scan, texts: Mapping[str, str], vector: np.ndarray, n: int) -> bool:
    near = scan.near(vector, n)
    assert [(x.similarity, x.id) for x in near] == sorted(((x.similarity, x.id) for x in near), key=lambda p: (-p[0], p[1]))
    rounded = sorted(near, key=lambda x: (-round(x.similarity, 5), x.id))
    return [x.id for x in rounded] == brute(texts, vector, n)


@pytest.mark.parametrize("n", [1, 7, 40, 1000])
@pytest.mark.parametrize("asked", ["softmax", "matmul by tiles in registers, rows padded, split over warps, masked tail"])
def test_a_scan_finds_what_brute_force_finds(n: int, asked: str) -> None:
    draw = random.Random(n)
    texts = {f"e{k:03d}": lesson(k, draw) for k in range(300)}
    without = {id_ for k, id_ in enumerate(texts) if k % len(OPERATORS) < 4}
    mine, common = {i: t for i, t in texts.items() if int(i[1:]) < 200}, {i: t for i, t in texts.items() if int(i[1:]) >= 200}
    scan = Scan(Texts(mine=mine, common=common, none={}), ("mine", "common", "none"), without)
    rest = {i: t for i, t in texts.items() if i not in without}
    assert agrees(scan, rest, embed([asked])[0], n)


def test_equal_texts_are_found_in_the_order_of_their_ids() -> None:
    texts = {f"e{k:02d}": "softmax over rows" if k % 3 else f"matmul {k}" for k in reversed(range(60))}
    scan = Scan(Texts(mine=texts), ("mine",), ())
    same = sorted(id_ for id_, text in texts.items() if text == "softmax over rows")
    for n in (1, 5, len(same)):
        assert [near.id for near in scan.near(embed(["row softmax"])[0], n)] == same[:n]


def test_what_is_added_is_found_however_much_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernelwright.memory.scan._GROWTH", 4)
    draw = random.Random(0)
    texts: dict[str, str] = {}
    scan = Scan(Texts(mine={}), ("mine",), ())
    assert scan.near(embed(["softmax"])[0], 5) == ()
    for k in range(50):
        texts[f"e{k:02d}"] = lesson(k, draw)
        scan.add(f"e{k:02d}", embed([texts[f"e{k:02d}"]])[0])
        assert agrees(scan, texts, embed(["softmax in one pass"])[0], 3)


def note(number: int, draw: random.Random) -> Experience:
    of, text = OPERATORS[number % len(OPERATORS)], lesson(number, draw)
    return Experience(f"e{number:04d}", "trace", "", "cpp", "", of, f"core/x/{of}", text, "", text, "", "", None, ())


@pytest.mark.parametrize("excluded", [OPERATORS[:1], OPERATORS[:4], OPERATORS[1:]])
def test_recall_without_some_operators_equals_brute_force(tmp_path, scenes, excluded: Collection[str]) -> None:
    """The N nearest of what is left, where all are worth the same."""
    draw = random.Random(2)
    memory = scenes.open_here(tmp_path / "home", exclude=excluded, places=12, pool=(1.0, 1.0), epsilon=(0.0, 0.0))
    tasks = [scenes.task(f"core/x/{operator}", operator, f"{operator} over rows") for operator in OPERATORS]
    memory.store.create_run(scenes.run("r1", *tasks))
    notes = [note(number, draw) for number in range(400)]
    with memory.store.begin() as tx:
        for one in notes:
            experiences.insert(tx, [one], one.id, "test", memory.store.artifacts)
    rest = {one.id: one.text for one in notes if one.family not in excluded}
    for number, of in enumerate([*tasks, *tasks], 1):
        idea = scenes.idea(of, number)
        vector = embed([recall.query_text(idea, of, "cpp", None, ())])[0]
        found = memory.recall(idea, of, "cpp").items
        rounded = sorted(found, key=lambda r: (-round(r.similarity, 5), r.experience.id))
        assert [r.experience.id for r in rounded] == brute(rest, vector, 12)
    memory.close()
