"""What a Pallas kernel may have launched; needs no JAX."""

from __future__ import annotations

import functools
import os
import subprocess
from typing import Any

import pytest

from kernelwright.evaluator.backends.pallas_launch import check_own


def mine(x: object) -> object:
    return x


def test_a_function_of_the_kernel_is_launched() -> None:
    check_own(mine)


THEIRS = [open, os.listdir, os.makedirs, subprocess.check_output, subprocess.Popen, functools.partial(open, "/etc/hostname")]


@pytest.mark.parametrize("theirs", THEIRS)
def test_what_others_wrote_is_not(theirs: Any) -> None:
    with pytest.raises(TypeError, match="a function that the kernel defines"):
        check_own(theirs)
