"""A child that becomes another program: a sanitizer's, which runs candidate code outside Python.

It is forked like every other child, so it lives under the same sandbox, limits and wall clock. Its channel stays open,
unused, until the program ends: that is how the judge sees the end. A program may write into it; the judge takes
whatever arrives for the end.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from kernelwright.evaluator.runner.channel import Channel

_ADDR_NO_RANDOMIZE = 0x0040000


def serve(channel: Channel, config: dict[str, Any]) -> None:
    """Replace this process by ``config["command"]`` with the environment ``config["variables"]``, nothing else."""
    os.set_inheritable(channel.fileno(), True)
    # The sanitizers' shadow memory collides with unlucky address layouts; where this is refused they still mostly work.
    ctypes.CDLL(None).personality(_ADDR_NO_RANDOMIZE)
    command = [str(part) for part in config["command"]]
    os.execve(command[0], command, {str(k): str(v) for k, v in config["variables"].items()})
