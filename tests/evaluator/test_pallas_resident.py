"""Launches captured from one call and made again on other arrays: what is captured, done on the chip, and refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from kernelwright.evaluator.chip_tpu import Tpu

pytest.importorskip("jax")
pytestmark = pytest.mark.requires_jax

SCRIPT = """
import json, torch, jax
from jax.experimental import pallas as pl
from kernelwright.evaluator import pallas
from kernelwright.evaluator.pallas import launch
from kernelwright.evaluator.chip_tpu import Tpu
from kernelwright.evaluator.backends.pallas_launch import Launches
from kernelwright.evaluator.backends.pallas_resident import NotResident, Resident

torch.set_grad_enabled(False)
launches = Launches(chip=Tpu("cpu"))
pallas.use(launches.launch)

def body(x, w, o):
    o[...] = x[...] * w[...] + 1

def axpy(x, w):
    return pl.pallas_call(body, out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype))(x, w)

def whole(x):
    def largest(x, o):
        o[...] = x[...].max(axis=1, keepdims=True)
    return pl.pallas_call(largest, out_shape=jax.ShapeDtypeStruct((x.shape[0], 1), x.dtype))(x)

class Base(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(8, 16))

class Chain(Base):
    def forward(self, x):  # x: (16, 8)
        y = launch(axpy, x.t(), self.w.to(torch.float32))
        z = launch(axpy, y.contiguous().reshape(8, 16), self.w)
        return {"z": z.t()[:5].to(torch.float64), "y": (y.view(-1), 3)}

class Half(Base):
    def forward(self, x):
        return launch(axpy, x.t().to(torch.bfloat16), self.w.to(torch.bfloat16)).float()

class Indices(Base):
    def forward(self, x):
        return launch(whole, x.to(torch.int64)).to(torch.int64).reshape(-1)

class Joined(Base):
    def forward(self, x):
        return launch(axpy, torch.cat([x.t()[:4], x.t()[4:]]), self.w)

class Constant(Base):
    def forward(self, x):
        return launch(axpy, x.t(), torch.ones(8, 16))

class Written(Base):
    def forward(self, x):
        spare = torch.empty(8, 16)
        spare.copy_(x.t())
        return launch(axpy, spare, self.w)

class Overwritten(Base):
    def forward(self, x):
        y = launch(axpy, x.t(), self.w)
        y.copy_(x.t())
        return launch(axpy, y, self.w)

class Part(Base):
    def forward(self, x):
        return launch(axpy, x.t()[:4], self.w[:4])

class Nothing(Base):
    def forward(self, x):
        return x.t()

def tried(kind):
    module = kind()
    parameters = {name: value.data for name, value in module.state_dict(keep_vars=True).items()}
    try:
        resident = Resident(launches, module, [torch.randn(16, 8)], parameters)
    except NotResident as why:
        return str(why)
    assert launches.watcher is None
    calls = [[torch.randn(16, 8) * 40] for _ in range(3)]
    before = launches.count
    arrays = resident.place(calls)
    made = [resident(*given) for given in arrays]
    resident.wait(made)
    counted = launches.count - before
    for given, kept in zip(calls, made):
        mine, theirs = [], []
        from kernelwright.evaluator.runner.trees import encode
        assert encode(resident.output(kept), mine) == encode(module(*given), theirs)
        for a, b in zip(mine, theirs, strict=True):
            assert (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride()), (a, b)
            assert torch.equal(a, b), (a, b)
    return counted

kinds = (Chain, Half, Indices, Joined, Constant, Written, Overwritten, Part, Nothing)
print(json.dumps({kind.__name__: tried(kind) for kind in kinds}))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    environment = os.environ | Tpu("cpu").environment(0)
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.mark.parametrize(("kind", "launches"), [("Chain", 6), ("Half", 3), ("Indices", 3)])
def test_launches_are_made_again_on_other_inputs_with_views_and_casts(found: dict[str, Any], kind: str, launches: int) -> None:
    """The outputs were compared with those of ``forward`` bit for bit; every launch of the three calls was counted."""
    assert found[kind] == launches


@pytest.mark.parametrize("kind", ["Joined", "Constant", "Written", "Overwritten"])
def test_what_the_host_makes_is_refused_with_the_remedy(found: dict[str, Any], kind: str) -> None:
    assert "is made on the host" in found[kind]
    assert "inside the launched function" in found[kind]


def test_a_part_of_a_tensor_is_refused(found: dict[str, Any]) -> None:
    assert found["Part"] == "argument 0 of launch 1 is a part of a tensor: slice it inside the launched function"


def test_nothing_launched_is_nothing_to_time(found: dict[str, Any]) -> None:
    assert found["Nothing"] == "forward launches nothing"
