"""Memory that a kernel has not written holds what no kernel would want, of another kind in every call."""

from __future__ import annotations

import math
import platform
from typing import Any

import pytest
from forked import run_forked

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap is glibc's")

SETUP = """
from kernelwright.evaluator.runner.poison import poison, quiet
torch.set_num_threads(1)
SPEC = {"shape": [64, 96], "dtype": "float32", "offset": 0, "stride": 0}
def given(kind, seed=1, spec=SPEC, device="cpu"):
    poison(device, kind, [spec], seed)
    return torch.empty(spec["shape"], dtype=getattr(torch, spec["dtype"]))
def shares(t):
    t = t.double()
    finite = t[torch.isfinite(t)]
    return {"nan": float(t.isnan().double().mean()), "zero": float((t == 0).double().mean()),
            "least": float(finite.abs().min()) if len(finite) else None,
            "middle": float(finite.abs().median()) if len(finite) else None}
"""
KINDS = ("nan", "huge", "plausible", "sparse")
SNIPPETS = {
    **{kind: f"found = shares(given('{kind}'))" for kind in KINDS},
    "in turn": f"found = [shares(given(kind, i)) for i in range(3) for kind in {KINDS}]",
    "bfloat16": "found = [shares(given(k, spec={**SPEC, 'dtype': 'bfloat16'})) for k in ('nan', 'huge', 'plausible')]",
    "integers": "t = given('nan', spec={**SPEC, 'dtype': 'int64'})\nfound = float((t == -1).double().mean())",
    "large": "found = shares(given('nan', spec={**SPEC, 'shape': [1024, 1031]}))",
    "scratch": "poison('cpu', 'huge', [SPEC], 1)\nfound = shares(torch.empty(4000, 1031))",
    "freed": "poison('cpu', 'huge', [SPEC], 1)\nt = torch.ones(64, 96)\ndel t\nfound = shares(torch.empty(64, 96))",
    "seeds": "a, b, c = given('plausible', 1).clone(), given('plausible', 1).clone(), given('plausible', 2).clone()\n"
             "found = [float(torch.isin(a, other).double().mean()) for other in (b, c)]",
    "holes": """
import random
found = []
for round in range(10):
    rng, kept = random.Random(round), []
    for _ in range(300):
        size = rng.choice([3000, 4000, 6144, 6200, 7000, 8198, 9000])
        kept.append(torch.full((size,), 5.0) if rng.random() < 0.7 else bytearray(rng.randrange(40, 900)))
    kept = [block for block in kept if rng.random() < 0.6]
    found.append([shares(given("sparse", round)), shares(given("plausible", round))])
""",
    "quiet": "given('huge')\nquiet()\nt = torch.empty(4000, 1031)\nfound = float((t > 1e38).double().mean())",
    "nothing returned": "poison('cpu', 'sparse', [{**SPEC, 'shape': [0, 3]}], 1)\nfound = True",
    "one number": "poison('cpu', 'plausible', [{**SPEC, 'shape': []}], 1)\nfound = True",
}  # fmt: skip


@pytest.fixture(scope="module")
def done() -> dict[str, Any]:
    return run_forked(SETUP, SNIPPETS, environment={"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)})


def check(kind: str, found: dict[str, float]) -> None:
    if kind == "nan":
        assert found["nan"] > 0.99
    if kind == "huge":
        assert found["nan"] == 0
        assert found["least"] > 1e30
    if kind == "plausible":
        assert found["nan"] < 0.01
        assert found["zero"] < 0.01
        assert math.isclose(found["middle"], 0.6745, rel_tol=0.1), "the heap's own pointers are in some places"
    if kind == "sparse":
        assert 0.005 < found["nan"] < 0.05
        assert found["zero"] > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_uninitialised_memory_holds_the_kind_asked_for(done: dict[str, Any], kind: str) -> None:
    check(kind, done[kind])


def test_kinds_in_turn_do_not_disturb_each_other(done: dict[str, Any]) -> None:
    for kind, found in zip(KINDS * 3, done["in turn"], strict=True):
        check(kind, found)


def test_bfloat16_and_large_outputs_are_covered(done: dict[str, Any]) -> None:
    nan, huge, plausible = done["bfloat16"]
    assert nan["nan"] > 0.99
    assert huge["least"] > 1e30
    assert math.isclose(plausible["middle"], 0.6745, rel_tol=0.1)
    assert done["large"]["nan"] > 0.99


def test_integers_hold_no_zeros(done: dict[str, Any]) -> None:
    assert done["integers"] > 0.99


def test_huge_reaches_every_allocation_and_every_freed_block(done: dict[str, Any]) -> None:
    assert done["scratch"]["least"] > 1e30
    assert done["freed"]["least"] > 1e30, "the ones are gone"


def test_every_hole_of_a_heap_full_of_them_is_filled(done: dict[str, Any]) -> None:
    for sparse, plausible in done["holes"]:
        assert sparse["nan"] > 0.005
        assert sparse["zero"] > 0.9
        assert plausible["nan"] < 0.01
        assert plausible["zero"] < 0.1, "holes of less than a block's smallest part may lie between"


def test_plausible_numbers_are_another_set_under_another_seed(done: dict[str, Any]) -> None:
    same, other = done["seeds"]
    assert same > 0.5, "blocks of any size begin with the same numbers"
    assert other < 1040 / (64 * 96 * 4), "less than the smallest hole that is filled"


def test_timed_calls_are_not_perturbed(done: dict[str, Any]) -> None:
    assert done["quiet"] < 0.01


@pytest.mark.parametrize("name", ["nothing returned", "one number"])
def test_smallest_outputs_are_no_problem(done: dict[str, Any], name: str) -> None:
    assert done[name] is True
