"""Inputs made from what ``get_inputs`` gives: scaled, spiked, nudged and cut without breaking what the values mean."""

from __future__ import annotations

import pytest
import torch

from kernelwright.evaluator.runner.draws import cutter, many_valued, map_tensors, nudged, place, scaled
from kernelwright.evaluator.runner.execute import Refused


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


X = torch.randn(64, 128, generator=generator(5))
MASK = (X > 0).float()
LABELS = torch.arange(64)


@pytest.mark.parametrize("spikes", ["", "many", "rows", "lone"])
@pytest.mark.parametrize("t", [MASK, LABELS, X > 0, torch.ones(1), torch.tensor(2.5)])
def test_masks_labels_and_single_values_are_never_scaled(t: torch.Tensor, spikes: str) -> None:
    assert torch.equal(scaled(t, 8.0, spikes, generator()), t)
    assert torch.equal(nudged(t, t.flip(0) if t.dim() else t, generator()), t)


def test_many_valued_tells_measurements_from_masks() -> None:
    assert many_valued(X)
    assert many_valued(torch.tensor([0.5, 1.5]))
    assert not many_valued(MASK)
    assert not many_valued(LABELS)


def test_scale_alone_scales_every_element() -> None:
    assert torch.equal(scaled(X, 1e-3, "", generator()), X * 1e-3)


def test_lone_raises_one_element_and_leaves_the_others() -> None:
    out = scaled(X, 1.0, "lone", generator(3))
    changed = (out != X).nonzero()
    assert len(changed) == 1
    at = tuple(changed[0])
    assert out[at] == X[at] * 1024
    assert torch.equal(X, torch.randn(64, 128, generator=generator(5))), "the given tensor stays as it is"


def test_many_raises_some_elements_by_at_most_eight() -> None:
    factor = scaled(X, 1.0, "many", generator()) / X
    assert 0.05 < float((factor > 1.0001).float().mean()) < 0.25
    assert float(factor.min()) >= 1 - 1e-4
    assert 4 < float(factor.max()) <= 8.001


def test_rows_grow_as_a_whole_and_always_one() -> None:
    for seed in range(20):
        factor = scaled(X[:4], 1.0, "rows", generator(seed)) / X[:4]
        grown = (factor > 1.0001).all(-1)
        assert bool(((factor > 1.0001) == grown[:, None]).all())
        assert bool(grown.any())
        assert float(factor.max()) <= 64.01
    flat = X[0].clone()
    assert torch.equal(scaled(flat, 1.0, "rows", generator()), flat), "one row cannot stand out"


@pytest.mark.parametrize("spikes", ["many", "rows", "lone"])
def test_spikes_stand_elsewhere_under_another_seed(spikes: str) -> None:
    places = {tuple((scaled(X, 1.0, spikes, generator(seed)) != X).nonzero()[0].tolist()) for seed in range(12)}
    assert len(places) > 1


def test_signed_mixes_signs_where_there_is_one_only() -> None:
    out = scaled(X.abs(), 1.0, "signed", generator())
    assert 0.4 < float((out < 0).float().mean()) < 0.6
    assert torch.equal(out.abs(), X.abs())
    assert torch.equal(scaled(X, 1.0, "signed", generator()), X)


def test_nudged_takes_a_few_elements_of_the_new_contents() -> None:
    new = X + 1
    out = nudged(X, new, generator())
    assert 1 <= int((out != X).sum()) <= 3
    assert torch.equal(out[out != X], new[out != X])
    assert out.data_ptr() != X.data_ptr()


def test_cutter_cuts_what_shares_the_leading_dimension() -> None:
    cut = cutter([X, LABELS, 3, torch.ones(5)], 7)
    assert [tuple(cut(t).shape) for t in (X, LABELS, torch.ones(5), torch.tensor(1.0))] == [(7, 128), (7,), (5,), ()]
    assert cutter([X], None)(X) is X
    with pytest.raises(Refused, match="64"):
        cutter([X], 64)


def test_place_casts_floats_only_and_only_from_the_default() -> None:
    assert place(X, "cpu", torch.bfloat16).dtype == torch.bfloat16
    assert place(X.double(), "cpu", torch.float32).dtype == torch.float64, "the reference wants float64 there"
    assert place(LABELS, "cpu", torch.float16).dtype == torch.int64
    assert not place(X.clone().requires_grad_(), "cpu", torch.float32).requires_grad


def test_map_tensors_keeps_the_tree() -> None:
    tree = [X, (1, {"a": LABELS, "b": "text"}), None]
    mapped = map_tensors(tree, lambda t: t[:1])
    assert mapped[0].shape == (1, 128)
    assert mapped[1][1]["a"].shape == (1,)
    assert (mapped[1][0], mapped[1][1]["b"], mapped[2]) == (1, "text", None)
    assert isinstance(mapped[1], tuple)
