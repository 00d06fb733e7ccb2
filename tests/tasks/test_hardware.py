"""The table of devices, looked up by the names that devices report."""

import os

import pytest

from kernelwright.tasks.hardware import devices, host_cpu, lookup


@pytest.mark.parametrize(
    ("reported", "name", "arch"),
    [
        ("NVIDIA H100 80GB HBM3", "H100 SXM", "sm_90"),
        ("NVIDIA H100 PCIe", "H100 PCIe", "sm_90"),
        ("NVIDIA H100 NVL", "H100 NVL", "sm_90"),
        ("NVIDIA H200", "H200", "sm_90"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM 80GB", "sm_80"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB", "sm_80"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB", "sm_80"),
        ("NVIDIA L4", "L4", "sm_89"),
        ("NVIDIA L40S", "L40S", "sm_89"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090", "sm_89"),
        ("NVIDIA GeForce RTX 5090", "RTX 5090", "sm_120"),
        ("NVIDIA B200", "B200", "sm_100"),
        ("AMD Instinct MI300X", "MI300X", "gfx942"),
    ],
)
def test_a_reported_name_finds_its_device(reported: str, name: str, arch: str) -> None:
    found = lookup(reported)
    assert found is not None
    assert (found.name, found.arch) == (name, arch)


@pytest.mark.parametrize(
    "reported",
    [
        "NVIDIA L40",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA GH200 480GB",
        "NVIDIA GB200",
        "AMD EPYC",
        "",
    ],
)
def test_a_different_device_is_not_mistaken_for_one(reported: str) -> None:
    assert lookup(reported) is None


def test_the_ceilings_are_in_proportion() -> None:
    for device in devices():
        rates = device.flops
        assert device.memory_gbps is not None
        assert 100 < device.memory_gbps < 10_000, device.name
        assert rates["float32"] <= rates["tfloat32"] <= rates["bfloat16"] == rates["float16"], device.name
        assert rates["bfloat16"] < rates.get("float8", 1e9), device.name
        assert device.l2_bytes >= 32 * 2**20
        assert 64 * 1024 <= device.shared_memory_bytes <= 256 * 1024
        assert device.warp in (32, 64)


def test_names_are_unique() -> None:
    assert len({device.name for device in devices()}) == len(devices())


def test_the_host_is_described_from_what_it_says() -> None:
    host = host_cpu()
    assert host.kind == "cpu"
    assert host.name
    assert 1 <= host.units <= (os.cpu_count() or 1)
    assert host.l2_bytes >= 128 * 1024
    assert host.memory_gbps is None
    assert not host.flops
