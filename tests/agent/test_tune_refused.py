"""What tune cannot use: one clear refusal each, before anything is spent, and the model and its inputs as they were."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from tuned import Chain, request

from kernelwright.agent.tune.request import carry_out
from kernelwright.agent.tune.target import target
from kernelwright.agent.watch import Silence
from kernelwright.tasks.errors import InputError


class Of(nn.Module):
    """A linear layer, and a function of it, the module and the inputs."""

    def __init__(self, what: Any) -> None:
        super().__init__()
        self.linear, self.dropout, self.what, self.calls = nn.Linear(8, 8), nn.Dropout(0.5), what, 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor, *rest: Any) -> Any:
        return self.what(self, x, *rest)


def counted(m: Of, x: torch.Tensor) -> torch.Tensor:
    m.seen += 1
    return m.linear(x) * m.seen


def hooked(m: nn.Module) -> nn.Module:
    m.linear.register_forward_hook(lambda *_: None)
    return m


def shrinking(m: Of, x: torch.Tensor) -> torch.Tensor:
    m.calls += 1
    return m.linear(x)[: 1 + m.calls % 3]


X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
REFUSED = {
    "fails": (Of(lambda m, x: m.linear(x[:, :3])), (X,), "inference", "fails on its inputs: RuntimeError"),
    "too few inputs": (Of(lambda m, x, y: x + y), (X,), "inference", "fails on its inputs: TypeError"),
    "writes into inputs": (Of(lambda m, x: m.linear(x.mul_(2))), (X,), "inference", r"its inputs \(tensor 0, \[4, 8\]\)"),
    "dropout": (Of(lambda m, x: m.dropout(m.linear(x)).relu()), (X,), "training", "not deterministic"),
    "noise": (Of(lambda m, x: m.linear(x) + torch.randn(4, 8)), (X,), "inference", "not deterministic"),
    "state between calls": (Of(counted), (X,), "inference", "not deterministic"),
    "shapes that change": (Of(shrinking), (X,), "inference", "not deterministic"),
    "no tensor out": (Of(lambda m, x: float(m.linear(x).sum())), (X,), "inference", "returns no tensor"),
    "no tensor in": (Of(lambda m, x: m.linear(X) * x), (2,), "inference", "no tensor is among the inputs"),
    "inputs of another kind": (Of(lambda m, x: x), 3.0, "inference", "inputs are float"),
    "an object among them": (Of(lambda m, x, y: x), (X, SimpleNamespace(a=1)), "inference", "is SimpleNamespace"),
    "nothing but products": (nn.Linear(8, 8), (X,), "inference", "nothing in it can be replaced"),
    "hooks": (hooked(Of(lambda m, x: F.silu(m.linear(x)) * 2)), (X,), "inference", "module 'linear' has hooks"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_one_message_and_nothing_changed(tmp_path: Path, what: str) -> None:
    model, inputs, mode, said = REFUSED[what]
    state, given = copy.deepcopy(model.state_dict()), copy.deepcopy(inputs)
    tensors = [leaf for leaf in torch.utils._pytree.tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
    values = [t.clone() for t in tensors]
    kind, modes = type(model), [m.training for m in model.modules()]
    spent: list[Any] = []
    with pytest.raises(InputError, match=said) as caught:
        carry_out(
            request(tmp_path, mode=mode, writer="playbook"), (), lambda where: target("mine", model, inputs, where),
            Silence(), lambda *a: spent.append(a),
        )  # fmt: skip
    assert spent == []
    assert caught.value.message.startswith("mine")
    assert caught.value.remedy
    assert "\n" not in caught.value.message
    assert type(model) is kind
    assert [m.training for m in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    for tensor, value in zip(tensors, values, strict=True):
        assert torch.equal(tensor, value)
    assert type(inputs) is type(given)
    assert not (tmp_path / "out").exists()


def test_what_is_no_module_is_refused(tmp_path: Path) -> None:
    import kernelwright

    with pytest.raises(InputError, match="model is function"):
        kernelwright.tune(lambda x: x, (X,), home=tmp_path)  # type: ignore[arg-type]


def test_a_model_nearly_like_a_refused_one_is_taken(tmp_path: Path) -> None:
    """Dropout in inference, hooks on the model itself, and constants among the inputs are no reason to refuse."""

    class Kept(Chain):
        def forward(self, x: torch.Tensor, scale: float = 1.0, flag: bool | None = None) -> torch.Tensor:
            return F.dropout(super().forward(x), 0.5, self.training) * scale

    model, seen = Kept(), []
    model.register_forward_hook(lambda *_: seen.append(1))
    x = torch.randn(16, 8)
    options = request(tmp_path, writer="playbook", threshold=0.999)
    result = carry_out(options, (), lambda where: target("mine", model, (x, 2.0, None), where), Silence())
    assert result.report["groups"]
    assert seen
