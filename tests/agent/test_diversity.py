"""Effective diversity K*: the properties that make it a number of different answers."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from kernelwright.agent.ensemble.diversity import diversity, embedded, k_star, plain
from kernelwright.tasks.records import Answer, Kernel

TILED = "import triton\n\ndef kernel(x):\n    block = 128\n    return tile_matmul(x, block)\n"
SCAN = "class ModelNew:\n    def forward(self, values):\n        return cumulative(values) / total(values)\n"


def answer(source: str, strategy: str = "", model: str = "m", prompt: str = "p") -> Answer:
    return Answer(source, Kernel(source, "cpp"), strategy=strategy, model=model, prompt=prompt)


def unit(rows: int, seed: int, columns: int = 12) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, columns))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_answers_alike_are_one(n: int) -> None:
    assert k_star(np.repeat(unit(1, 0), n, axis=0)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_answers_with_nothing_in_common_are_as_many_as_they_are(n: int) -> None:
    assert k_star(np.eye(n, 50, dtype=np.float32)) == pytest.approx(n, rel=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_it_lies_between_one_and_n_and_no_order_changes_it(seed: int) -> None:
    n = 1 + seed
    vectors = unit(n, seed)
    found = k_star(vectors)
    assert 1.0 <= found <= n
    assert k_star(vectors[np.random.default_rng(seed).permutation(n)]) == pytest.approx(found, rel=1e-6)


def test_two_answers_by_hand() -> None:
    """Cosine c: the eigenvalues of K / 2 are (1 + c) / 2 and (1 - c) / 2."""
    c = 0.6
    vectors = np.array([[1.0, 0.0], [c, math.sqrt(1 - c * c)]], dtype=np.float32)
    entropy = -(0.8 * math.log2(0.8) + 0.2 * math.log2(0.2))
    assert k_star(vectors) == pytest.approx(2**entropy, rel=1e-5)


def test_each_copy_of_one_answer_makes_it_less() -> None:
    vectors = np.eye(4, dtype=np.float32)
    found = [k_star(np.concatenate([vectors, np.repeat(vectors[:1], copies, axis=0)])) for copies in range(6)]
    assert all(later < earlier for earlier, later in zip(found, found[1:], strict=False))
    assert found[0] == pytest.approx(4.0, rel=1e-5)


def test_a_copy_in_place_of_a_different_answer_makes_it_less() -> None:
    vectors = np.eye(4, dtype=np.float32)
    assert k_star(vectors[[0, 1, 2, 2]]) < k_star(vectors[[0, 1, 2, 3]])


def test_doubling_every_answer_changes_nothing() -> None:
    vectors = unit(6, 3)
    assert k_star(np.concatenate([vectors, vectors])) == pytest.approx(k_star(vectors), rel=1e-6)


def test_embeddings_are_unit_vectors() -> None:
    vectors = embedded([answer(TILED, "tiles"), answer(SCAN), answer("not ( python", "broken")])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


DRESSED = '''
"""What it is."""
import   triton
# why
def kernel(x):
    """Doc."""
    block=128  # tile

    return (tile_matmul(x,block))
'''
NATIVE = 'CPP = """\nint f(int x) { return x + 1; }\n"""\n'
DRESSED_NATIVE = 'CPP = """\n// adds\nint f(int x)\n{ return x + 1; }\n"""\n'


@pytest.mark.parametrize(("bare", "dressed"), [(TILED, DRESSED), (NATIVE, DRESSED_NATIVE)])
def test_comments_docstrings_and_layout_make_no_answer_different(bare: str, dressed: str) -> None:
    assert plain(bare) == plain(dressed)
    assert k_star(embedded([answer(bare), answer(dressed)])) == pytest.approx(1.0, abs=1e-5)


def test_other_code_and_another_strategy_each_make_an_answer_different() -> None:
    same, code = k_star(embedded([answer(TILED, "tiles")] * 2)), k_star(embedded([answer(TILED, "s"), answer(SCAN, "s")]))
    line = k_star(embedded([answer(TILED, "split the rows over blocks"), answer(TILED, "vectorised loads")]))
    assert code > same + 0.2
    assert line > same + 0.2


def test_a_run_by_task_and_by_model() -> None:
    answers = [
        ("a", answer(TILED, "tiles", "one")),
        ("a", answer(TILED, "tiles", "one")),
        ("a", answer(SCAN, "a scan", "two")),
        ("b", answer(TILED, "tiles", "one")),
        ("b", Answer("?", None, problem="unreadable", model="two", prompt="p")),
    ]
    random.Random(0).shuffle(answers)
    found = diversity(answers)
    assert found is not None
    by_task = {task.task: task for task in found.tasks}
    assert (by_task["a"].all.answers, by_task["b"].all.answers, found.all.answers) == (3, 1, 4)
    assert by_task["a"].models["one"].k_star == pytest.approx(1.0, abs=1e-5)
    assert by_task["a"].all.k_star > 1.3
    assert "two" not in by_task["b"].models
    assert found.all.k_star == pytest.approx((by_task["a"].all.k_star + 1.0) / 2)
    assert (found.models["one"].answers, found.models["one"].tasks) == (3, 2)
    assert str(found.models["one"]) == "1.00 of 1.5"


def test_tasks_that_differ_do_not_make_answers_diverse() -> None:
    found = diversity([("a", answer(TILED)), ("b", answer(SCAN))])
    assert found is not None
    assert found.all.k_star == pytest.approx(1.0)


def test_without_a_model_there_is_none() -> None:
    assert diversity([("a", answer(TILED, prompt=""))]) is None
    assert diversity([("a", Answer("?", None, problem="unreadable", prompt="p"))]) is None
    assert diversity([]) is None
