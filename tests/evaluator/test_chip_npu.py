"""What of the device path for NPUs needs none: names, turns, environments, refusals, copies as they lay, doctor's line."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kernelwright.agent.cli import defaults
from kernelwright.agent.cli.app import run
from kernelwright.evaluator import chip_npu, chip_probe, honesty
from kernelwright.evaluator.backends import ascend
from kernelwright.evaluator.backends.ascend import AscendBackend
from kernelwright.evaluator.backends.registry import backend
from kernelwright.evaluator.chip import Chip
from kernelwright.evaluator.chip_npu import Npu, flat
from kernelwright.evaluator.device import host_of, parse_device
from kernelwright.evaluator.runner import sandbox, tripwire
from kernelwright.evaluator.runner.poison import poison
from kernelwright.evaluator.runner.visible import visible
from kernelwright.evaluator.turns import _physical
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import ShapeCase, Task, Use


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    chip_probe.chip.cache_clear()
    yield
    chip_probe.chip.cache_clear()


@pytest.mark.parametrize("name", ["npu", "npu:0", "npu:7"])
def test_a_device_is_named(name: str) -> None:
    assert parse_device(name) == name
    assert host_of(name) == "cpu"
    assert (defaults.device_kind(name), defaults.backend(name)) == ("npu", "ascend")


@pytest.mark.parametrize("name", ["npu:", "npu:x", "npus", "NPU"])
def test_another_word_is_no_device(name: str) -> None:
    with pytest.raises(InputError, match="unknown device") as refused:
        parse_device(name)
    assert "npu:N" in refused.value.remedy


def test_one_npu_has_one_name_whoever_locks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASCEND_RT_VISIBLE_DEVICES", raising=False)
    assert _physical("npu") == _physical("npu:0") == "npu-0"
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "4,5")
    assert [_physical(name) for name in ("npu", "npu:1", "npu:2")] == ["npu-4", "npu-5", "npu-2"]
    assert Npu().environment(1)["ASCEND_RT_VISIBLE_DEVICES"] == "5"


def test_it_takes_the_shapes_of_accelerators() -> None:
    cases = tuple(ShapeCase(name, Use.TIMING, device=device) for name, device in (("a", None), ("b", "cpu"), ("c", "cuda")))
    assert [c.name for c in Task("t", "", "", cases).cases_for("npu", Use.TIMING)] == ["a", "c"]


@pytest.mark.parametrize("name", ["cpp", "cuda", "triton", "pallas", "ttlang"])
def test_no_other_backend_takes_one(name: str) -> None:
    problem = backend(name).available("npu:1")
    assert problem
    assert "\n" not in problem


class TestEnvironment:
    def test_a_process_sees_one_npu_and_torch_loads_nothing_by_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ASCEND_RT_VISIBLE_DEVICES", raising=False)
        monkeypatch.setenv("ASCEND_HOME_PATH", "/usr/local/Ascend/cann")
        monkeypatch.setenv("ASCEND_SECRET", "key")
        found = Npu().environment(3)
        assert found["ASCEND_RT_VISIBLE_DEVICES"] == "3"
        assert found["TORCH_DEVICE_BACKEND_AUTOLOAD"] == "0"
        assert found["KERNELWRIGHT_IMPORT"] == "torch_npu"
        assert found["ASCEND_HOME_PATH"] == "/usr/local/Ascend/cann"
        assert "ASCEND_SECRET" not in found

    def test_it_is_read_back_by_the_process(self) -> None:
        assert Chip.of(AscendBackend().run_entry("npu:1")) == Npu()
        assert Chip.of(Npu("cpu").environment(0)) == Npu("cpu")
        assert Chip.of(AscendBackend().run_entry("cpu")) is None
        assert (Npu().device, Npu("cpu").device) == ("npu:0", "cpu")


class TestPresence:
    """Where there is no NPU, or not all that it takes: one line with the remedy, and exit code 2."""

    def test_here_is_none(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        if chip_npu.nodes():
            pytest.skip("device files of an NPU are here")
        kernel = tmp_path / "kernel.py"
        kernel.write_text("lib = load(ascend='')")
        assert run(["check", str(kernel), "--task", "row_sum", "--backend", "ascend", "--device", "npu"]) == 2
        said = capsys.readouterr().err
        assert "no NPU is visible: no /dev/davinci0 is here" in said
        assert "use --device cpu" in said

    def test_another_backend_is_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        kernel = tmp_path / "kernel.py"
        kernel.write_text("class ModelNew: pass")
        assert run(["check", str(kernel), "--task", "row_sum", "--backend", "cpp", "--device", "npu:1"]) == 2
        assert "backend 'cpp' cannot run on npu:1" in capsys.readouterr().err

    @pytest.fixture
    def present(self, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        monkeypatch.setattr(chip_npu, "nodes", lambda: ["/dev/davinci0", "/dev/davinci_manager"])
        monkeypatch.setattr(ascend, "compiler", object)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
        return monkeypatch

    def test_the_manager_alone_is_no_npu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chip_npu, "nodes", lambda: ["/dev/davinci_manager"])
        assert "no NPU is visible" in AscendBackend().available("npu")

    def test_torch_npu_is_needed(self, present: pytest.MonkeyPatch) -> None:
        present.setattr(importlib.util, "find_spec", lambda name: None)
        assert "torch_npu is not installed" in AscendBackend().available("npu")

    def test_cann_is_needed(self, present: pytest.MonkeyPatch) -> None:
        present.setattr(ascend, "compiler", lambda: "")
        assert "no CANN, whose compiler makes what runs on it; source the set_env.sh" in AscendBackend().available("npu")
        present.setattr(ascend, "compiler", lambda: "the CANN at /opt does not compile a plain kernel")
        assert "does not compile a plain kernel" in AscendBackend().available("npu")

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("NoChip: torch_npu opens no NPU: RuntimeError: EL0005: The resources are busy.", "is held by another process"),
            ("NoChip: torch_npu opens no NPU: RuntimeError: Invalid device ID.", "the NPU cannot be used"),
        ],
    )
    def test_one_that_does_not_open_is_told_with_what_was_said(
        self, present: pytest.MonkeyPatch, said: str, told: str
    ) -> None:
        present.setattr(chip_probe, "_asked", lambda environment: {"problem": said})
        problem = AscendBackend().available("npu:2")
        assert said in problem
        assert told in problem
        assert "\n" not in problem

    def test_doctor_s_line_names_what_is_there_and_what_is_not(self, present: pytest.MonkeyPatch) -> None:
        from kernelwright.agent.cli.doctor import _npu

        present.setattr(chip_probe, "_asked", lambda environment: {"name": "Ascend910B1", "versions": {}, "problem": ""})
        assert _npu()["found"].startswith("Ascend910B1: use it with --device npu")
        present.setattr(chip_npu, "nodes", list)
        row = _npu()
        assert (row["ok"], row["needed"], row["found"]) == (False, False, "")
        assert "no NPU is visible" in row["problem"]

    def test_opening_one_where_torch_npu_is_missing_says_so(self) -> None:
        """For real: the process that tries it is started, and there is no torch_npu."""
        if importlib.util.find_spec("torch_npu") is not None:
            pytest.skip("torch_npu is here")
        assert "torch_npu opens no NPU: ModuleNotFoundError" in chip_probe._asked(Npu().environment(0))["problem"]


class TestSandbox:
    def test_a_runner_sees_the_device_files_and_the_driver(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        files = ["/dev/davinci0", "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"]
        monkeypatch.setattr(chip_npu, "nodes", lambda: files)
        monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path))
        there, without = visible(False, True, chip="npu"), visible(False, True)
        assert set(there.devices) - set(without.devices) == set(files)
        assert {"/sys/devices", str(tmp_path)} <= set(there.read)
        assert there.write == ()

    def test_a_layer_under_which_it_does_not_open_is_left_off_with_the_reason(self) -> None:
        probed = {"namespaces": "", "mounts": "", "landlock": "", "seccomp": "", "npu_seccomp": "it does not open"}
        plan = sandbox.plan("auto", probed, gpu=False, processes=True, chip="npu")
        assert (plan.chip, plan.landlock, plan.seccomp, dict(plan.off)) == ("npu", True, False, {"seccomp": "it does not open"})
        assert sandbox.plan("auto", probed, gpu=False, processes=True).seccomp


class TestCopies:
    """What lies on the host strided or off its alignment lies there so, and comes back."""

    LAYOUTS = (
        lambda: torch.arange(24.0).view(4, 6),
        lambda: torch.arange(24.0).view(4, 6).t(),
        lambda: torch.arange(30.0)[3:27].view(4, 6)[:, ::2],
        lambda: torch.arange(6.0).expand(4, 6),
        lambda: torch.tensor(3.0),
        lambda: torch.empty(0, 4),
    )

    @pytest.mark.parametrize("made", LAYOUTS)
    def test_there_and_back(self, made: object) -> None:
        assert callable(made)
        given = made()
        there = Npu("cpu").put(given)
        assert torch.equal(there, given)
        assert there.stride() == given.stride()
        assert given.numel() == 0 or there.data_ptr() != given.data_ptr()
        flat(there).mul_(2)
        expected = given * 2
        flat(given).copy_(flat(there))
        assert torch.equal(given, expected)


class TestWire:
    def test_torch_npu_s_own_operators_are_library_work_and_its_casts_are_none(self) -> None:
        assert honesty.classify("npu::npu_fusion_attention") == "library"
        assert honesty.classify("npu::npu_dtype_cast") == "free"
        assert honesty.classify("mine::made_by_the_kernel") == "free"

    def test_the_wire_lies_across_the_npu_s_keys_and_the_cpu_s(self) -> None:
        """What torch_npu lacks runs on the CPU, where the wire is too."""
        keys = tripwire._KEYS["npu"]
        assert keys[0] == "PrivateUse1"
        assert set(tripwire._KEYS["cpu"]) < set(keys)
        names = tuple(torch._C._dispatch_get_all_op_names())
        assert any(name.startswith("aten::mm") for name, _ in tripwire._computing("CPU", True, names))
        assert tripwire._computing("PrivateUse1", True, names), "those with one kernel for all keys"


@pytest.mark.parametrize("kind", ["nan", "huge", "plausible", "sparse"])
def test_memory_of_a_device_that_has_no_driver_call_for_it_is_poisoned_by_blocks(kind: str) -> None:
    """``meta`` takes every call that an NPU would; what is written there nobody can read."""
    poison("meta", kind, [{"shape": [3, 5], "dtype": "float32"}, {"shape": [2], "dtype": "int64"}], seed=1)
