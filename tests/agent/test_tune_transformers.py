"""Models of transformers, made from a configuration: every group replaced by its task, compared with float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from tuned import emitted, request

from kernelwright.agent.tune import verify
from kernelwright.agent.tune.patch import patch
from kernelwright.agent.tune.rank import candidates
from kernelwright.agent.tune.request import carry_out
from kernelwright.agent.tune.target import target
from kernelwright.agent.watch import Silence
from kernelwright.tasks.carve.capture import capture

pytestmark = [pytest.mark.requires_transformers, pytest.mark.filterwarnings("ignore")]  # its own, and those of what it imports
SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def llama() -> tuple[nn.Module, dict[str, Any]]:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2, max_position_embeddings=32))
    return model, {"input_ids": torch.randint(0, 64, (2, 16)), "use_cache": False}


def bert() -> tuple[nn.Module, dict[str, Any]]:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    model = BertModel(BertConfig(**SIZES, max_position_embeddings=32))
    return model, {"input_ids": torch.randint(0, 64, (2, 16)), "attention_mask": torch.ones(2, 16, dtype=torch.long)}


def cached_llama() -> tuple[nn.Module, dict[str, Any]]:
    model, inputs = llama()
    return model, {**inputs, "use_cache": True}


@pytest.mark.parametrize(("make", "whole", "ops"), [(llama, True, "silu"), (bert, True, "gelu"), (cached_llama, False, "silu")])
def test_every_group_of_the_model_can_be_replaced(make: Any, whole: bool, ops: str) -> None:
    model, inputs = make()
    model.eval()
    with torch.no_grad():
        expected = model(**inputs)[0]
        sites, notes = capture(model, (), inputs)
        found = candidates(sites, "cpu")
        calls = []

        def counting(kernel: nn.Module) -> Any:
            return lambda *a: (calls.append(1), kernel(*a))[1]

        patched = patch(model, sites, {c.group.key: counting(emitted(c.group, c.captured)) for c in found})
        torch.testing.assert_close(model(**inputs)[0], expected)
    assert ([site.path for site in sites] == [""]) is whole
    assert bool(notes) is not whole
    assert any(ops in c.group.ops for c in found)
    assert len(calls) == sum(c.count for c in found)
    result = verify.numerics(patched, [((), inputs)], training=False)
    assert result["passed"], result
    patched.undo()
    assert not [m for m in model.modules() if "_kernelwright_regimes" in vars(m)]


@pytest.mark.parametrize("make", [llama, bert])
def test_the_whole_way_takes_it(tmp_path: Path, make: Any) -> None:
    model, inputs = make()
    options = request(tmp_path, writer="playbook", threshold=0.999)  # no attempt is worth it: the way, without the search
    report = carry_out(options, (), lambda where: target("mine", model, inputs, where), Silence()).report
    assert len(report["groups"]) >= 4
    assert report["kernels"] == {}
    assert (tmp_path / "out" / "report.md").is_file()
