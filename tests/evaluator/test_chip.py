"""What of the device path for TPUs needs neither one nor JAX: names, turns, environments, messages, times without a speedup."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import pytest

from kernelwright.agent.cli import defaults
from kernelwright.agent.outcome import describe, standing
from kernelwright.agent.policies.policy import replaces
from kernelwright.evaluator import chip_probe, chip_tpu
from kernelwright.evaluator.backends.pallas import PallasBackend
from kernelwright.evaluator.backends.registry import backend, judged_here
from kernelwright.evaluator.chip import Chip
from kernelwright.evaluator.chip_tpu import Tpu
from kernelwright.evaluator.device import host_of, parse_device
from kernelwright.evaluator.figures import case_timing, headline, in_words, pool
from kernelwright.evaluator.runner import sandbox
from kernelwright.evaluator.runner.visible import visible
from kernelwright.evaluator.turns import _physical
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import (
    Answer,
    Assurance,
    Attempt,
    Idea,
    IdeaStage,
    Kernel,
    ShapeCase,
    Stage,
    Status,
    Task,
    Timing,
    Use,
    Verdict,
)


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    chip_probe.chip.cache_clear()
    yield
    chip_probe.chip.cache_clear()


@pytest.mark.parametrize("name", ["tpu", "tpu:0", "tpu:3", "cpu"])
def test_a_device_is_named(name: str) -> None:
    assert parse_device(name) == name


@pytest.mark.parametrize("name", ["tpu:", "tpu:x", "tpux", "cpu:0", "TPU", ""])
def test_another_word_is_no_device(name: str) -> None:
    with pytest.raises(InputError, match="unknown device") as refused:
        parse_device(name)
    assert "tpu:N" in refused.value.remedy


def test_tensors_lie_on_the_host() -> None:
    assert [host_of(name) for name in ("tpu", "tpu:2", "cuda:1", "cpu")] == ["cpu", "cpu", "cuda:1", "cpu"]


def test_one_chip_has_one_name_whoever_locks_it() -> None:
    assert _physical("tpu") == _physical("tpu:0") == "tpu-0"
    assert len({_physical(name) for name in ("tpu:0", "tpu:1", "cpu", "cuda")}) == 4


def test_a_tpu_takes_the_shapes_of_accelerators() -> None:
    cases = tuple(ShapeCase(name, Use.TIMING, device=device) for name, device in (("a", None), ("b", "cpu"), ("c", "cuda")))
    task = Task("t", "", "", cases)
    assert [[c.name for c in task.cases_for(kind, Use.TIMING)] for kind in ("cpu", "cuda", "tpu")] == [
        ["a", "b"],
        ["a", "c"],
        ["a", "c"],
    ]


def test_pallas_is_what_runs_on_a_tpu() -> None:
    assert (defaults.device_kind("tpu:1"), defaults.backend("tpu:1"), defaults.backend("cpu")) == ("tpu", "pallas", "cpp")


@pytest.mark.parametrize("name", ["cpp", "cuda", "triton", "ascend", "ttlang"])
def test_no_other_backend_takes_one(name: str) -> None:
    problem = backend(name).available("tpu")
    assert problem
    assert "\n" not in problem
    assert judged_here(name, "tpu:1")


class TestEnvironment:
    def test_a_process_sees_one_chip_and_asks_no_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TPU_ACCELERATOR_TYPE", "v5litepod-8")
        monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "10.0.0.2,10.0.0.3")
        monkeypatch.setenv("TPU_NAME_OF_A_SECRET", "key")
        found = Tpu().environment(3)
        assert found["TPU_VISIBLE_CHIPS"] == "3"
        assert found["TPU_SKIP_MDS_QUERY"] == found["ALLOW_MULTIPLE_LIBTPU_LOAD"] == "1"
        assert found["TPU_WORKER_HOSTNAMES"] == "localhost"
        assert found["TPU_ACCELERATOR_TYPE"] == "v5litepod-8"
        assert found["JAX_PLATFORMS"].split(",")[0] == "tpu"
        assert "TPU_NAME_OF_A_SECRET" not in found

    def test_it_is_read_back_by_the_process(self) -> None:
        assert Chip.of(Tpu().environment(0)) == Tpu()
        assert Chip.of(Tpu("cpu").environment(0)) == Tpu("cpu")
        assert Chip.of({}) is None

    def test_the_simulator_has_none(self) -> None:
        assert Chip.of(PallasBackend().run_entry("cpu")) is None
        assert Chip.of(PallasBackend().run_entry("tpu:1")) == Tpu()
        assert PallasBackend().run_entry("tpu:1")["TPU_VISIBLE_CHIPS"] == "1"


class TestPresence:
    """Where there is no TPU, or not all that it takes: one line with the remedy."""

    def test_here_is_none(self) -> None:
        if chip_tpu.nodes():
            pytest.skip("device files of a TPU, or of VFIO, are here")
        problem = chip_probe.chip(Tpu(), 0).problem
        assert "no TPU is visible" in problem
        assert "--device cpu" in problem

    def test_chips_without_their_files_are_a_container_s_trouble(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chip_tpu, "chips", lambda: 4)
        monkeypatch.setattr(chip_tpu, "nodes", list)
        assert "--device /dev/vfio" in chip_tpu.visible()

    def test_another_card_s_vfio_is_no_tpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chip_tpu, "chips", lambda: 0)
        monkeypatch.setattr(chip_tpu, "nodes", lambda: ["/dev/vfio/7", "/dev/vfio/vfio"])
        assert "no PCI device of /dev/vfio is one" in chip_tpu.visible()
        monkeypatch.setattr(chip_tpu, "nodes", lambda: ["/dev/accel0"])
        assert chip_tpu.visible() == ""

    @pytest.fixture
    def present(self, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        monkeypatch.setattr(chip_tpu, "visible", lambda: "")
        monkeypatch.setattr(chip_tpu.importlib.util, "find_spec", lambda name: object())
        return monkeypatch

    def test_libtpu_is_needed(self, present: pytest.MonkeyPatch) -> None:
        present.setattr(chip_tpu.importlib.util, "find_spec", lambda name: None)
        present.delenv("TPU_LIBRARY_PATH", raising=False)
        assert "libtpu is not installed; pip install 'kernelwright[tpu]'" in chip_probe.chip(Tpu(), 0).problem

    def test_one_that_does_not_start_is_told_with_what_it_said(self, present: pytest.MonkeyPatch) -> None:
        said = "NoChip: JAX starts no tpu client: RuntimeError: UNAVAILABLE: No ba16c7433 device found."
        present.setattr(chip_probe, "_asked", lambda environment: {"problem": said})
        problem = chip_probe.chip(Tpu(), 0).problem
        assert said in problem
        assert "docs/backends/pallas.md" in problem
        assert "\n" not in problem

    def test_one_that_another_holds_is_no_trouble(self, present: pytest.MonkeyPatch) -> None:
        said = "UNKNOWN: TPU initialization failed: open(/dev/vfio/1): Device or resource busy; Couldn't open iommu group"
        present.setattr(chip_probe, "_asked", lambda environment: {"problem": said})
        found = chip_probe.chip(Tpu(), 0)
        assert (found.problem, found.name) == ("", "a TPU that another process holds now")


class TestSandbox:
    PROBED = {"namespaces": "", "mounts": "", "landlock": "", "seccomp": ""}

    def test_a_runner_sees_the_chip_s_files_and_nothing_of_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kernelwright.evaluator.runner.visible.nodes", lambda: ["/dev/vfio/0", "/dev/vfio/vfio"])
        on_chip, without = visible(False, True, chip="tpu"), visible(False, True)
        assert set(on_chip.devices) - set(without.devices) == {"/dev/vfio/0", "/dev/vfio/vfio"}
        assert "/sys/devices" in on_chip.read
        assert "/sys/devices" not in without.read
        assert on_chip.write == ()

    def test_a_layer_under_which_the_chip_does_not_open_is_left_off_with_the_reason(self) -> None:
        probed = {**self.PROBED, "tpu_landlock": "", "tpu_seccomp": "it does not open", "tpu_namespaces": ""}
        plan = sandbox.plan("auto", probed, gpu=False, processes=True, chip="tpu")
        assert (plan.chip, plan.gpu, plan.landlock, plan.seccomp) == ("tpu", False, True, False)
        assert dict(plan.off) == {"seccomp": "it does not open"}
        assert sandbox.missing({"seccomp": "off: it does not open", "landlock": "on"})
        assert sandbox.plan("auto", probed, gpu=False, processes=True).seccomp

    def test_it_crosses_to_the_server(self) -> None:
        from dataclasses import asdict

        plan = sandbox.plan("auto", self.PROBED, gpu=False, processes=True, chip="tpu")
        assert sandbox.Plan.of(asdict(plan)) == plan


def timed(latency: float, number: int = 1) -> Attempt:
    """A kernel that was timed without a baseline."""
    times = {"candidate": [latency * f for f in (0.99, 1.0, 1.0, 1.01)]}
    timing: Timing = headline([case_timing("c", "float32", [times])])
    verdict = Verdict(
        Status.PASSED,
        Stage.TIME,
        "",
        f"k{number}",
        "t",
        Assurance.DEVICE,
        timing=timing,
        evidence={"samples_us": {"c/timing/float32": times}},
    )
    idea = Idea("run", "t", number, IdeaStage.DRAFT)
    return Attempt(idea, Answer("", Kernel("", "pallas")), verdict)


class TestNoBaseline:
    """A time without a speedup: nothing prints one."""

    def test_the_figures_have_a_latency_alone(self) -> None:
        verdict = timed(50.0).verdict
        assert verdict is not None
        assert verdict.timing is not None
        assert (verdict.timing.baselines, verdict.timing.speedup, verdict.timing.best_baseline) == ({}, {}, "")
        assert verdict.timing.latency_us.median == pytest.approx(50.0)
        assert verdict.speedup is None
        assert "no speedup" in in_words(verdict.timing)
        assert "50.0 us" in in_words(verdict.timing)

    def test_it_is_solved_and_no_improvement(self) -> None:
        verdict = timed(50.0).verdict
        assert verdict is not None
        assert standing(verdict) == "solved"
        assert describe(verdict).startswith("passed: 50.0 us a call")

    def test_judgings_are_pooled(self) -> None:
        pooled = pool([v for v in (timed(50.0).verdict, timed(52.0).verdict) if v is not None])
        assert pooled.timing is not None
        assert (pooled.timing.processes, pooled.timing.speedup) == (2, {})
        assert "over 2 processes" in pooled.reason

    def test_latencies_decide_between_two(self) -> None:
        assert replaces(timed(40.0, 2), timed(50.0))
        assert not replaces(timed(50.0, 2), timed(40.0))
        assert not replaces(timed(50.2, 2), timed(50.0))

    def test_what_could_not_be_timed_says_why(self) -> None:
        evidence = {"not_timed": "argument 0 is made on the host"}
        verdict = Verdict(Status.PASSED, Stage.ROBUST, "", "k", "t", Assurance.DEVICE, evidence=evidence)
        assert describe(verdict) == "passed, verified device; not timed: argument 0 is made on the host"


def test_tune_says_that_torch_knows_no_tpu() -> None:
    from kernelwright.agent.tune.request import Request, carry_out

    def load(device: str) -> NoReturn:
        raise AssertionError("nothing is loaded")

    with pytest.raises(InputError, match="torch knows no 'tpu:0'"):
        carry_out(Request(device="tpu:0"), (), load, None)  # type: ignore[arg-type]


TOLD = [("tpu", "jax.jit", "There is no TPU"), ("cpu", "There is no TPU", "jax.jit")]


@pytest.mark.parametrize(("device", "said", "unsaid"), TOLD)
def test_a_writer_is_told_of_the_chip_and_of_what_is_timed(device: str, said: str, unsaid: str) -> None:
    from kernelwright.agent.prompt.build import build_prompt
    from kernelwright.agent.writers.writer import Assignment
    from kernelwright.evaluator.device import DeviceInfo
    from kernelwright.memory.records import Context
    from kernelwright.tasks.load import load_task

    task = load_task("matmul/gemm")
    idea = Idea("r", task.name, 1, IdeaStage.DRAFT)
    text = build_prompt(Assignment(idea, task, "pallas", DeviceInfo(device, "TPU v5 lite"), Context()))
    assert said in text
    assert unsaid not in text
    assert ("TPU v5 lite" in text) == (device == "tpu")
    assert ("M=4096" in text) == (device == "tpu")
