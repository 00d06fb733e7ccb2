"""What a patched model is asked to stand: compilation, copies, autocast, other modes, changes made to it afterwards."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from tuned import Chain, Normed, emitted, keys

from kernelwright.agent.tune import verify
from kernelwright.agent.tune.patch import Patched, patch
from kernelwright.agent.tune.rank import candidates
from kernelwright.tasks.carve.capture import capture

Call = tuple[tuple[Any, ...], dict[str, Any]]


class Counted:
    """A model with every group replaced by its task's reference; counts what runs in place of the original."""

    def __init__(self, model: nn.Module, call: Call, training: bool = False) -> None:
        self.model = model.train(training)
        with torch.no_grad():
            sites, self.notes = capture(model, *call)
        found = candidates(sites, "cpu")
        self.calls = 0
        kernels = {c.group.key: self._counting(emitted(c.group, c.captured)) for c in found}
        assert sorted(kernels) == keys(sites)
        self.patched: Patched = patch(model, sites, kernels, training)

    def _counting(self, kernel: nn.Module) -> Callable[..., Any]:
        def run(*inputs: torch.Tensor) -> Any:
            self.calls += 1
            return kernel(*inputs)

        return run

    def runs(self, *args: Any, **kwargs: Any) -> tuple[Any, bool]:
        """What the model gives, and whether a kernel was in it."""
        before = self.calls
        return self.model(*args, **kwargs), self.calls > before


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.drop, self.down = nn.Linear(8, 32), nn.Dropout(0.5), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.gate(x).chunk(2, dim=-1)
        out: torch.Tensor = self.down(self.drop(F.silu(a) * b + 1))
        return out


@pytest.fixture
def gated() -> Iterator[tuple[Counted, torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    model, x = Gated().eval(), torch.randn(4, 8)
    with torch.no_grad():
        expected = model(x)
        made = Counted(model, ((x,), {}))
        yield made, x, expected
    made.patched.undo()
    assert type(model) is Gated


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what inductor imports warns, of whatever is there
def test_torch_compile_takes_the_whole_of_it_and_keeps_the_kernels(gated: Any) -> None:
    made, x, expected = gated
    torch._dynamo.reset()
    compiled = torch.compile(made.model, fullgraph=True)
    before = made.calls
    torch.testing.assert_close(compiled(x), expected)
    assert made.calls > before
    before = made.calls
    other = torch.randn(3, 8)  # outside the envelope, compiled or not
    torch.testing.assert_close(compiled(other), made.patched.original()(other))
    assert made.calls == before
    torch._dynamo.reset()


def test_a_copy_runs_the_original_and_shares_nothing(gated: Any) -> None:
    made, x, expected = gated
    twin = copy.deepcopy(made.model)
    before = made.calls
    torch.testing.assert_close(twin(x), expected)
    assert made.calls == before
    twin.gate.weight.zero_()
    torch.testing.assert_close(made.model(x), expected)


def test_autocast_runs_the_original(gated: Any) -> None:
    made, x, expected = gated
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, used = made.runs(x)
        assert y.dtype == torch.bfloat16
        assert not used
    y, used = made.runs(x)
    assert used
    torch.testing.assert_close(y, expected)


def test_training_runs_the_original_and_eval_the_kernels_again(gated: Any) -> None:
    made, x, expected = gated
    made.model.train()
    y, used = made.runs(x)
    assert not used
    assert not torch.equal(y, expected)  # dropout
    made.model.eval()
    made.model.drop.train()  # a part of it only
    assert not made.runs(x)[1]
    made.model.eval()
    assert made.runs(x)[1]


@pytest.mark.parametrize("what", ["module", "parameter", "hook", "dtype", "gradients"])
def test_what_is_changed_afterwards_is_seen(gated: Any, what: str) -> None:
    made, x, expected = gated
    model, seen = made.model, []
    if what == "module":
        model.gate = nn.Linear(8, 32)
    elif what == "parameter":
        model.gate.weight = nn.Parameter(torch.zeros(32, 8))
    elif what == "hook":
        model.gate.register_forward_hook(lambda *_: seen.append(1))
    elif what == "dtype":
        model.double()
        x = x.double()
    with torch.set_grad_enabled(what == "gradients"):
        y, used = made.runs(x)
        assert not used
        torch.testing.assert_close(y, Gated.forward(model, x))
    assert bool(seen) == (what == "hook")
    assert y.requires_grad == (what == "gradients")


def test_values_loaded_into_the_parameters_are_used(gated: Any) -> None:
    made, x, expected = gated
    written = io.BytesIO()
    torch.save({k: v * 2 for k, v in made.model.state_dict().items()}, written)
    made.model.load_state_dict(torch.load(io.BytesIO(written.getvalue()), weights_only=True))
    y, used = made.runs(x)
    assert used
    assert not torch.allclose(y, expected)
    torch.testing.assert_close(y, made.patched.original()(x))


def in_place(m: nn.Module, x: torch.Tensor) -> Any:
    h = m.up(x)
    h.mul_(0.5).relu_()
    h[:, 0] += 1
    return m.down(h)


def views(m: nn.Module, x: torch.Tensor) -> Any:
    h = m.up(x)
    return {"view": h.view(-1, 2, 16).transpose(0, 1), "input": x, "sum": (h + 1).relu() * h, "scale": 3.0}


def masked(m: nn.Module, x: torch.Tensor) -> Any:
    h = (m.up(x) * 2).relu()
    return h[h[:, 0] >= 0] + 1, h.max(dim=0)


def branch(m: nn.Module, x: torch.Tensor) -> Any:
    h = m.up(x)
    return m.down((h * 2).relu() if float(h.sum()) > -1e9 else h)


def unknown(m: nn.Module, x: torch.Tensor) -> Any:
    return m.down(torch.ops.tune_tests.strange((m.up(x) * 2).relu() + 1))


def complex_(m: nn.Module, x: torch.Tensor) -> Any:
    return torch.fft.fft((m.up(x) * 2).relu() + 1)


class By(nn.Module):
    def __init__(self, what: Callable[[nn.Module, torch.Tensor], Any]) -> None:
        super().__init__()
        self.up, self.down, self.what = nn.Sequential(nn.Linear(8, 32), nn.Softplus(), nn.Tanh()), nn.Linear(32, 8), what

    def forward(self, x: torch.Tensor) -> Any:
        return self.what(self, x)


@torch.library.custom_op("tune_tests::strange", mutates_args=())
def strange(x: torch.Tensor) -> torch.Tensor:
    """An operator that nothing is known of."""
    return x.flip(0).contiguous()


@strange.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


@pytest.mark.parametrize("what", [in_place, views, masked, branch, unknown, complex_])
def test_models_out_of_the_ordinary_come_out_the_same(what: Callable[[nn.Module, torch.Tensor], Any]) -> None:
    torch.manual_seed(0)
    model, x = By(what).eval(), torch.randn(4, 8)
    with torch.no_grad():
        expected = model(x)
        made = Counted(model, ((x,), {}))
        got, used = made.runs(x)
        assert used
        assert bool(made.notes) == (what is branch)
        torch.testing.assert_close(got, expected)
        if what is views:
            assert got["input"].data_ptr() == x.data_ptr()
        found = verify.numerics(made.patched, [((x,), {})], training=False)
    assert found["passed"], found
    made.patched.undo()
    assert type(model) is By


def test_training_moves_statistics_as_the_original_does() -> None:
    torch.manual_seed(0)
    model, x = Normed().train(), torch.randn(16, 8)
    twin = copy.deepcopy(model)
    made = Counted(model, ((x,), {}), training=True)
    state = copy.deepcopy(twin.state_dict())
    model.load_state_dict(state)  # the capture has run it
    expected = verify.run(twin, ((x,), {}), training=True)
    before = made.calls
    got = verify.run(model, ((x,), {}), training=True)
    assert made.calls > before
    torch.testing.assert_close(got, expected)
    assert not torch.equal(twin.norm.running_mean, state["norm.running_mean"])
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (1.01, False)])
@pytest.mark.parametrize("why", ["no memory", "no float64 form"])
def test_without_a_float64_copy_the_distance_to_the_original_counts(factor: float, passes: bool, why: str) -> None:
    class Fixed(Chain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) @ torch.eye(8, dtype=torch.float32)

    torch.manual_seed(0)
    model, x = (Chain() if why == "no memory" else Fixed()).eval(), torch.randn(16, 8)
    with torch.no_grad():
        sites, _ = capture(model, (x,), {})
        found = {c.group.key: emitted(c.group, c.captured) for c in candidates(sites, "cpu")}
        patched = patch(model, sites, {key: lambda *a, k=kernel: k(*a) * factor for key, kernel in found.items()})
    memory = 0 if why == "no memory" else None
    result = verify.numerics(patched, [((x,), {})], training=False, memory=memory)
    assert result["oracle"] == "error ratio"
    assert result["passed"] is passes
    assert ("no float64 copy of the model fits" if memory == 0 else "no float64 form: RuntimeError") in result["note"]
    patched.undo()


def test_fresh_inputs_have_the_strides_of_the_given_ones() -> None:
    wide = torch.randn(1, 5).expand(3, 5)
    mask = torch.tensor([[True, False], [False, False]])
    (a, b), rest = verify.fresh(((wide, wide.t()), {"mask": mask, "n": 3}), seed=1)
    assert a.stride() == wide.stride()
    assert b.stride() == wide.t().stride()
    assert torch.equal(a[0], a[2])
    assert not torch.equal(a, wide)
    assert rest["mask"].sum() == 1
    assert rest["n"] == 3
