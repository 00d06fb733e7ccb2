"""Tune without the search: capture, patching behind guards, the proof, the package. Kernels are real C++."""

from __future__ import annotations

import copy
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kernelwright.agent.tune import verify
from kernelwright.agent.tune.optimise import Search, Won, load_kernel, on_captured
from kernelwright.agent.tune.package import write_package
from kernelwright.agent.tune.patch import patch
from kernelwright.agent.tune.rank import candidates
from kernelwright.agent.tune.target import Target, load_target
from kernelwright.memory.records import TaskOutcome
from kernelwright.tasks.carve.capture import capture
from kernelwright.tasks.carve.emit import task
from kernelwright.tasks.errors import InputError

KERNEL = """
import torch
import torch.nn as nn
from kernelwright.evaluator.native import load

lib = load(cpp=r'''extern "C" void gate(const float* g, const float* u, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = g[i] / (1.0f + expf(-g[i])) * u[i];
}''')


class ModelNew(nn.Module):
    def forward(self, g, u):
        g, u = g.contiguous(), u.contiguous()
        y = torch.empty_like(g)
        lib.gate(g, u, y, g.numel())
        return y
"""


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(16, 32), nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Gated(), Gated()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Branching(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x if float(x.sum()) > 0 else -x)


@pytest.fixture
def made(tmp_path: Path) -> tuple[nn.Module, torch.Tensor, Any, Path]:
    path = tmp_path / "kernel.py"
    path.write_text(KERNEL)
    torch.manual_seed(0)
    return Twice().eval(), torch.randn(4, 16), load_kernel(path), path


def test_repeated_layers_are_one_task_with_inputs_like_the_captured_ones(made: Any) -> None:
    model, x, kernel, _ = made
    with torch.no_grad():
        sites, notes = capture(model, (x,), {})
    (found,) = candidates(sites, "cpu")
    assert notes == []
    assert found.count == 2
    assert "silu" in task(found.group, found.captured).source
    assert on_captured(found, kernel) < 1e-6


def test_patched_model_is_right_inside_its_guards_and_itself_outside(made: Any) -> None:
    model, x, kernel, _ = made
    state = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        sites, _ = capture(model, (x,), {})
        expected, other = model(x), model(x[:3])
        patched = patch(model, sites, {next(iter(sites[0].groups.values())).key: kernel})
        calls = []
        patched.regimes[0][1].slots[0].register_forward_hook(lambda *_: calls.append(1))
        torch.testing.assert_close(model(x), expected)
        assert calls == [1]
        torch.testing.assert_close(model(x[:3]), other)  # another shape
        torch.testing.assert_close(model(x.t().contiguous().t()), expected)  # other strides
        assert calls == [1]
    assert model(x).requires_grad  # gradients are asked for: the original runs
    assert calls == [1]
    assert list(model.state_dict()) == list(state)
    assert verify.numerics(patched, [((x,), {})], training=False)["passed"]
    with torch.no_grad():
        twin = copy.deepcopy(model)
        twin.layers[0].down.bias += 1
        assert not torch.equal(twin(x), model(x))
    patched.undo()
    assert type(model) is Twice


def test_a_wrong_kernel_does_not_pass(made: Any) -> None:
    model, x, _, _ = made
    with torch.no_grad():
        sites, _ = capture(model, (x,), {})
    patched = patch(model, sites, {next(iter(sites[0].groups.values())).key: lambda g, u: F.silu(g) * u * 1.001})
    assert not verify.numerics(patched, [((x,), {})], training=False)["passed"]
    patched.undo()


def test_training_has_the_original_gradients(made: Any) -> None:
    model, x, kernel, _ = made
    model.train()
    sites, _ = capture(model, (x,), {})
    patched = patch(model, sites, {next(iter(sites[0].groups.values())).key: kernel}, training=True)
    assert patched.used()
    assert verify.numerics(patched, [((x,), {})], training=True)["passed"]
    patched.undo()


def test_control_flow_on_data_is_captured_module_by_module() -> None:
    with torch.no_grad():
        sites, notes = capture(Branching().eval(), (torch.ones(4, 16),), {})
    assert [site.path for site in sites] == ["layers.0", "layers.1"]
    assert "captured one by one" in notes[0]


def test_hooks_are_refused_and_nothing_is_patched(made: Any) -> None:
    model, x, kernel, _ = made
    with torch.no_grad():
        sites, _ = capture(model, (x,), {})
    model.layers[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"layers\.0"):
        patch(model, sites, {next(iter(sites[0].groups.values())).key: kernel})
    assert type(model) is Twice


def test_package_applies_in_a_process_without_kernelwright(made: Any, tmp_path: Path) -> None:
    model, x, kernel, path = made
    with torch.no_grad():
        sites, _ = capture(model, (x,), {})
    (found,) = candidates(sites, "cpu")
    patched = patch(model, sites, {found.group.key: kernel})
    outcome = TaskOutcome("t", "solved", 1, "a", None, 0.0, "")
    search = Search({found.group.key: Won(found, path.read_text(), "cpp", "r", outcome, 0.0)})
    report = {"model": "m", "device": "cpu", "mode": "inference", "pass_ms": 1.0, "notes": [], "profile": [], "groups": []}
    report |= {"tasks": [], "kernels": {}, "dropped": {}, "numerics": None, "speedup": None, "latency_ms": None}
    write_package(tmp_path / "tuned", patched, Target("m", model, [((x,), {})]), search, report)
    source = Path(__file__).read_text()
    classes = source[source.index("class Gated") : source.index("class Branching")]
    (tmp_path / "use.py").write_text(
        "import sys, torch, torch.nn.functional as F\nfrom torch import nn\nfrom tuned import apply\n"
        + classes
        + "m = Twice().eval()\nx = torch.randn(4, 16)\nwith torch.no_grad():\n    y = m(x)\n    apply(m)\n"
        "    assert type(m) is not Twice\n    torch.testing.assert_close(m(x), y)\n"
        "assert not [n for n in sys.modules if n.startswith('kernelwright')]\n"
    )
    done = subprocess.run([sys.executable, "use.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    patched.undo()


def test_a_project_with_modules_named_like_ours_loads(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("WIDTH = 3\n")
    text = "import torch\nfrom tasks import WIDTH\nbuild = torch.nn.Linear(WIDTH, 1)\ninputs = torch.ones(2, WIDTH)\n"
    (tmp_path / "mine.py").write_text(text)
    found = load_target(f"{tmp_path}/mine.py:build", None, "cpu")
    assert found.calls[0][0][0].shape == (2, 3)
    with pytest.raises(InputError, match="nothing"):
        load_target(f"{tmp_path}/mine.py:nothing", None, "cpu")
    sys.modules.pop("tasks", None)
    importlib.invalidate_caches()


@pytest.mark.slow
def test_a_small_model_gets_faster_end_to_end(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "gelu_mlp.py"
    command = f"tune {example}:build --model playbook --backend cpp --device cpu --budget 1 --turn 1 --no-compile --json"
    where = ["--home", str(tmp_path / "home"), "--out", str(tmp_path / "tuned"), "--timing-seconds", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "kernelwright", *command.split(), *where], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["numerics"]["passed"]
    assert report["speedup"]["eager"]["low"] > 1
