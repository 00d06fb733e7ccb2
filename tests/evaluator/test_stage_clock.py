"""The clock of a hearing's stages."""

from __future__ import annotations

import time

import pytest

from kernelwright.evaluator.stage_clock import StageClock


def test_time_belongs_to_the_stage_it_passed_in() -> None:
    began = time.monotonic()
    clock = StageClock("screen")
    clock.enter("build")
    time.sleep(0.03)
    clock.enter("time")
    time.sleep(0.01)
    clock.enter("build")  # again: it goes on where it stopped
    time.sleep(0.02)
    seconds = clock.seconds()
    assert list(seconds) == ["screen", "build", "time"]
    assert seconds["build"] >= 0.05
    assert seconds["time"] >= 0.01
    assert seconds["screen"] < 0.01
    assert sum(seconds.values()) == pytest.approx(time.monotonic() - began, abs=0.005)
    assert clock.seconds()["build"] >= seconds["build"]
