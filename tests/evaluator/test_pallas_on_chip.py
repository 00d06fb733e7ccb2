"""The device path of backend pallas, whole: transfer, stages, timing, records. Interpret mode stands where the chip would be,
and nothing else is different."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.stopwatch import block_sample
from kernelwright.tasks.errors import HarnessError
from kernelwright.tasks.records import Assurance, Kernel, ShapeCase, Stage, Status, Task, Use, Verdict

pytest.importorskip("jax")
pytestmark = pytest.mark.requires_jax

REFERENCE = """
import torch
import torch.nn as nn

ROWS = 8

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(128))

    def forward(self, x):
        return torch.softmax(x * self.scale, -1)

def get_inputs():
    return [torch.randn(ROWS, 128)]

def get_init_inputs():
    return []
"""
KERNEL = """
import jax
import jax.numpy as jnp
import torch
import torch.nn as nn
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from kernelwright.evaluator.pallas import launch

TRACES = [0]

def body(x_ref, s_ref, o_ref):
    y = x_ref[...] * s_ref[...]
    e = jnp.exp(y - jnp.max(y, axis=-1, keepdims=True))
    o_ref[...] = e / jnp.sum(e, axis=-1, keepdims=True)

def soft(x, s):
    TRACES[0] += x.shape[0] == 32
    return pl.pallas_call(body, out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype))(x, s.reshape(1, -1))

class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(128))

    def forward(self, x):
        return launch(soft, x, self.scale)
"""
CASES = (
    ShapeCase("small", Use.CORRECTNESS, {"ROWS": 8}),
    ShapeCase("large", Use.CORRECTNESS, {"ROWS": 24}),
    ShapeCase("timed", Use.TIMING, {"ROWS": 32}),
    ShapeCase("other", Use.HELD_OUT, {"ROWS": 40}),
)
TASK = Task("test/custom/scaled_softmax", REFERENCE, "scaled_softmax.py", CASES)
LATE = """
def late(x_ref, s_ref, o_ref, scratch, semaphore):
    copy = pltpu.make_async_copy(x_ref, scratch, semaphore)
    copy.start()
    y = scratch[...] * s_ref[...]
    e = jnp.exp(y - jnp.max(y, axis=-1, keepdims=True))
    o_ref[...] = e / jnp.sum(e, axis=-1, keepdims=True)
    copy.wait()

def soft(x, s):
    return pl.pallas_call(
        late,
        in_specs=[pl.BlockSpec(memory_space=pl.ANY), pl.BlockSpec(memory_space=pltpu.VMEM)],
        out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
        scratch_shapes=[pltpu.VMEM(x.shape, x.dtype), pltpu.SemaphoreType.DMA],
    )(x, s.reshape(1, -1))
"""

TIMED = (Use.CORRECTNESS, Use.TIMING)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    settings = Settings(record=True, timing_seconds=1.0, min_blocks=3, max_blocks=3)
    with Judge("standing_in:StandIn", "tpu", tmp_path_factory.mktemp("cache"), settings) as made:
        yield made


def judged(judge: Judge, source: str, *uses: Use) -> Verdict:
    """``uses``: of the cases, where not all are judged."""
    task = TASK if not uses else replace(TASK, cases=tuple(case for case in CASES if case.use in uses))
    return judge.judge(Kernel(source, "pallas"), task)


def test_a_right_kernel_passes_on_the_device_and_is_timed(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernelwright.evaluator.chip_tpu.missing", lambda: "torchax is not installed")
    verdict = judged(judge, KERNEL)
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.assurance is Assurance.DEVICE
    assert verdict.stage is Stage.HELD_OUT
    assert {case.case for case in verdict.cases if case.status == "passed"} == {"small", "large", "timed", "other"}
    assert verdict.evidence["sanitize"]["launches"] == 2, "simulated first, copies done in both ways"
    assert verdict.evidence["chip"]["name"] == verdict.environment["device"]
    assert (verdict.environment["kind"], verdict.environment["memory_gbps"]) == ("tpu", None)
    assert set(verdict.evidence["oracle"].values()) == {"float64"}

    assert verdict.timing is not None
    assert (verdict.timing.speedup, verdict.timing.roofline_fraction) == ({}, None)
    assert "no baseline: torchax is not installed" in verdict.timing.cases[0].notes
    assert "no speedup" in verdict.reason

    times = verdict.evidence["samples_us"]["timed/timing/float32"]["candidate"]
    recorded = verdict.evidence["record"]["timing"]["timed/timing/float32"]
    side = recorded["sides"]["candidate"]
    calls = [(long - short) / (2 * recorded["calls"]) for short, long, _ in side["readings"]]
    blocks = [block_sample(calls[2 * n : 2 * n + 2], side["spacers_us"][: n + 1]) for n in range(len(calls) // 2)]
    assert [b for b in np.round(blocks, 3) if b > 0] == pytest.approx(times, abs=2e-3)
    assert verdict.timing.latency_us.median == pytest.approx(float(np.median(times)), abs=2e-3)


def test_every_layer_of_the_sandbox_that_works_here_is_around_the_runner(judge: Judge) -> None:
    """The chip was opened under all of them when the server started."""
    plain = judge.server(dict(judge.backend.run_entry("cpu"))).layers
    found = judge.server(dict(judge.backend.run_entry("tpu"))).layers
    assert {layer: found[f"tpu_{layer}"] for layer in ("namespaces", "landlock", "seccomp")} == {
        layer: plain[layer] for layer in ("namespaces", "landlock", "seccomp")
    }


def test_wrong_values_are_incorrect(judge: Judge) -> None:
    verdict = judged(judge, KERNEL.replace("e / jnp.sum(e,", "e / jnp.max(e,"), Use.CORRECTNESS)
    assert verdict.status is Status.INCORRECT
    assert verdict.stage is Stage.SMOKE


def test_a_race_is_found_before_the_chip_is_opened(judge: Judge) -> None:
    head, _, tail = KERNEL.partition("def soft(x, s):")
    verdict = judged(judge, f"{head}{LATE}\nclass ModelNew{tail.partition('class ModelNew')[2]}", Use.CORRECTNESS)
    assert verdict.status is Status.INCORRECT, verdict.reason
    assert verdict.stage is Stage.SANITIZE
    assert "race" in verdict.reason
    assert "chip" not in verdict.evidence


def test_work_on_the_host_is_right_and_not_timed(judge: Judge) -> None:
    source = KERNEL.replace("launch(soft, x, self.scale)", "launch(soft, torch.empty_like(x).copy_(x), self.scale)")
    verdict = judged(judge, source, *TIMED)
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.timing is None
    assert "not timed: argument 0 of launch 1 is made on the host" in verdict.reason


def test_a_function_that_is_another_one_when_it_is_timed_is_caught(judge: Judge) -> None:
    """The captured launch is traced once more: what it gives is compared with the oracle, not what ``forward`` gave."""
    cheap = "    if TRACES[0] > 1:\n        x = jnp.broadcast_to(jax.lax.slice(x, (0, 0), (1, 128)), (32, 128))\n"
    verdict = judged(judge, KERNEL.replace("    return pl.pallas_call(", f"{cheap}    return pl.pallas_call("), *TIMED)
    assert verdict.status is Status.INCORRECT, verdict.reason
    assert verdict.stage is Stage.TIME


def test_one_that_is_left_to_xla_when_it_is_timed_is_caught(judge: Judge) -> None:
    """Its values are right; whose work they are is looked at in the trace that is timed."""
    xla = "    if TRACES[0] > 1:\n        return jax.nn.softmax(x * s, -1)\n"
    verdict = judged(judge, KERNEL.replace("    return pl.pallas_call(", f"{xla}    return pl.pallas_call("), *TIMED)
    assert verdict.status is Status.CHEATING, verdict.reason
    assert verdict.evidence["rule"] == "library"
    assert verdict.evidence["seen_in"] == Stage.TIME.value


def test_a_wait_that_does_not_wait_is_patching(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The screen alone would not do: it is left out here."""
    monkeypatch.setattr(judge, "settings", replace(judge.settings, screen=False))
    source = KERNEL.replace("TRACES = [0]", "TRACES = [0]\njax.block_until_ready = lambda x: x")
    verdict = judged(judge, source, Use.CORRECTNESS)
    assert verdict.status is Status.CHEATING, verdict.reason
    assert "jax.block_until_ready" in verdict.reason


def test_what_the_compiler_refuses_does_not_build(judge: Judge) -> None:
    """The interpreter knows no stochastic rounding, which decides nothing; nor does the compiler where the chip would be."""
    whole = "e / jnp.sum(e, axis=-1, keepdims=True)"
    rounded = f"pltpu.stochastic_round({whole}, bits, target_dtype=jnp.bfloat16).astype(jnp.float32)"
    source = KERNEL.replace(whole, rounded)
    bits = "    bits = jnp.zeros(x_ref.shape, jnp.uint32)\n    y = x_ref"
    verdict = judged(judge, source.replace("    y = x_ref", bits), Use.CORRECTNESS)
    assert "not run: the interpreter does not model it" in verdict.evidence["sanitize"]["races"]
    assert (verdict.status, verdict.stage) == (Status.BUILD_FAILED, Stage.BUILD), verdict.reason
    assert "it does not compile for this TPU" in verdict.reason
    assert "stochastic_round" in verdict.reason


def test_a_chip_that_is_gone_is_nobody_s_fault(judge: Judge) -> None:
    settings = replace(judge.settings, sanitize="off", timing=False)
    with Judge("standing_in:Gone", "tpu", judge.cache, settings) as other, pytest.raises(HarnessError) as gone:
        judged(other, KERNEL, Use.CORRECTNESS)
    assert "the TPU cannot be used in a runner" in gone.value.message
    assert "fuser" in gone.value.remedy


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torchax") is None, reason="torchax is not installed")
def test_the_reference_takes_turns_on_the_chip_eager_and_compiled(judge: Judge) -> None:
    verdict = judged(judge, KERNEL, *TIMED)
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.timing is not None
    assert set(verdict.timing.baselines) == {"eager", "jit"}
    assert set(verdict.timing.speedup) == {"eager", "jit", "best"}
    assert verdict.timing.best_baseline in ("eager", "jit")
    assert verdict.speedup is not None
    sides = verdict.evidence["record"]["timing"]["timed/timing/float32"]["sides"]
    assert {len(side["readings"]) for side in sides.values()} == {2 * len(sides["jit"]["spacers_us"])}
