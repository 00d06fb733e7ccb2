"""A working kernel that the user hands over as the way in: ``optimize --from FILE``.

In the run's own backend it is the first candidate, judged like any other. In another language it is shown to the model, which
translates it. Either way the task alone says what is right, and no figure of it is taken over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kernelwright.tasks.errors import InputError

MOST = 100_000
"""Longest file, in bytes: a prompt has to hold it whole."""
LANGUAGES = {"ascend": "cpp", "cuda": "cuda", "cpp": "cpp"} | dict.fromkeys(("triton", "pallas", "ttlang", "python"), "python")
"""What a kernel may be written in -> the language of its text, for a fence."""
_SUFFIXES = dict.fromkeys((".cu", ".cuh", ".hip"), "cuda") | dict.fromkeys((".c", ".cc", ".cpp", ".cxx", ".h"), "cpp")
_SIGNS = (
    ("pallas", r"^\s*(?:from|import)\s+jax\.experimental(?:\.|\s+import\s+)pallas|\bpallas_call\b"),
    ("ttlang", r"^\s*@ttl\.operation\b|^\s*import ttl\b"),
    ("triton", r"^\s*@triton\.(?:jit|autotune)|^\s*import triton\b"),
    ("ascend", r"\bload\(\s*ascend\s*=|\b__aicore__\b"),
    ("cuda", r"\bload\(\s*cuda\s*=|\bcuda_sources\s*=|__global__"),
    ("cpp", r"\bload\(\s*cpp\s*=|\bcpp_sources\s*="),
)
_MODEL = re.compile(r"^class\s+ModelNew\b", re.MULTILINE)


@dataclass(frozen=True)
class GivenKernel:
    """The file as it was when the run began."""

    name: str
    """Of the file, without its folder."""
    language: str
    """One of :data:`LANGUAGES`; ``python``: neither of those that a Python file can hold was recognised."""
    source: str

    def candidate(self, backend: str) -> bool:
        """Whether it can be judged as it stands: a ``ModelNew`` of that backend."""
        return self.language == backend and _MODEL.search(self.source) is not None


def read_given(path: Path) -> GivenKernel:
    """The kernel in a file.

    Raises:
        InputError: there is no such file, it is empty, not text or too long, or its suffix says nothing.
    """
    language = _SUFFIXES.get(path.suffix.lower(), "python" if path.suffix.lower() == ".py" else "")
    if not language:
        known = ", ".join([*_SUFFIXES, ".py"])
        raise InputError(f"--from is {str(path)!r}: unknown suffix {path.suffix!r}", f"give a source file: one of {known}")
    try:
        data = path.read_bytes()
        source = data.decode()
    except OSError as error:
        raise InputError(f"--from is {str(path)!r}: {error.strerror}", "give a file that can be read") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--from is {str(path)!r}: not UTF-8 text", "give the kernel's source") from error
    if not source.strip():
        raise InputError(f"--from is {str(path)!r}: an empty file", "give the kernel's source")
    if len(data) > MOST:
        raise InputError(f"--from is {str(path)!r}: {len(data)} bytes", f"give at most {MOST}: the kernel without the rest")
    if language == "python":
        language = next((name for name, sign in _SIGNS if re.search(sign, source, re.MULTILINE)), "python")
    return GivenKernel(path.name, language, source)
