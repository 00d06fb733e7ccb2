"""Bytes and FLOPs are arithmetic and nothing else."""

import pytest

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.expression import evaluate

NAMES = {"M": 6, "N": 4, "itemsize": 2}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 * M * N", 48),
        (" M * itemsize + N ", 16),
        ("(M + 1) // 2", 3),
        ("M % N - 1", 1),
        ("M / N", 1.5),
        ("N ** 2", 16),
        ("-N + 5", 1),
        ("min(M, N) + max(M, N, 9)", 13),
        ("ceil(M / N)", 2),
        ("N * log2(N)", 8),
        ("1.5 * N", 6),
        ("5e11", 5e11),
    ],
)
def test_arithmetic(expression: str, value: float) -> None:
    assert evaluate(expression, NAMES) == value


def test_large_counts_stay_exact() -> None:
    assert evaluate("n * n + 1", {"n": 2**40}) == 2**80 + 1


@pytest.mark.parametrize(
    "expression",
    ["", "M *", "__import__('os')", "M.real", "[M][0]", "M if N else 1", "'a' * N", "True", "print(M)", "M; N"],
)
def test_anything_else_is_refused(expression: str) -> None:
    with pytest.raises(TaskError):
        evaluate(expression, NAMES)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(TaskError, match="unknown name 'K'") as error:
        evaluate("K * 2", NAMES)
    assert error.value.remedy == "known: M, N, itemsize"


def test_a_division_by_zero_is_told() -> None:
    with pytest.raises(TaskError, match="cannot be computed"):
        evaluate("M // (N - 4)", NAMES)
