"""Fork-servers of one environment come from one zygote; what happens to a server stays its own."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from kernelwright.evaluator.runner import zygote
from kernelwright.evaluator.runner.processes import ForkServer
from kernelwright.tasks.errors import HarnessError


@pytest.fixture
def own() -> Iterator[dict[str, str]]:
    """An environment that no other test's zygote has."""
    yield {"OMP_NUM_THREADS": "2", "KERNELWRIGHT_ZYGOTE": "test"}
    for key in [key for key in zygote._zygotes if ("KERNELWRIGHT_ZYGOTE", "test") in key]:
        zygote._zygotes.pop(key).close()


def unknown(pid: int) -> int:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        return int(file.read().rsplit(")", 1)[1].split()[1])


@pytest.mark.parametrize("kernel", ["this one", "before 5.3"])
def test_servers_share_a_zygote_that_outlives_each_of_them(
    own: dict[str, str], kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "before 5.3":
        monkeypatch.setattr(os, "pidfd_open", unknown)
    first, second = ForkServer(own), ForkServer(own)
    assert first.process.pid != second.process.pid
    shared = parent(first.process.pid)
    assert parent(second.process.pid) == shared
    assert parent(shared) == os.getpid()
    first.process.kill()
    assert first.process.wait()
    with pytest.raises(HarnessError, match="the fork-server is gone"):
        first.reap(1, 0.0)
    assert second.reap(os.getpid(), 0.0) == 0, "it still answers, and that is no child of it"
    first.close()
    second.close()
    third = ForkServer(own)
    assert parent(third.process.pid) == shared
    third.close()


def test_one_that_does_not_start_says_why_and_the_next_is_started_anew(own: dict[str, str]) -> None:
    broken = {**own, "PYTHONHOME": "/nowhere"}
    for _ in range(2):
        with pytest.raises(HarnessError, match="the fork-server did not start"):
            ForkServer(broken).wait_ready()
