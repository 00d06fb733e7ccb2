"""What the judge and a runner both say of Triton-Ascend kernels. The judge's process imports it, and does without torch."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any


def key_of(spec: Mapping[str, Any]) -> str:
    """The name of a specialisation, in the runner and at the judge."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:24]


@functools.cache
def uses_triton(source: str) -> bool:
    """Whether a kernel's source has jitted functions."""
    from kernelwright.evaluator.backends.triton import jit_functions

    return bool(jit_functions(source))
