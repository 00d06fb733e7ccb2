"""The baseline ladder: eager and torch.compile, made ready once a case."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from kernelwright.evaluator.runner.cases import Case

_COMPILE = {"compile": "default", "max-autotune": "max-autotune-no-cudagraphs"}
"""Baseline name -> torch.compile mode."""


class Baselines:
    """Callables by (case key, baseline name)."""

    def __init__(self) -> None:
        self._ready: dict[tuple[str, str], Callable[..., Any]] = {}
        self._failed: dict[tuple[str, str], str] = {}

    def prepare(self, key: str, case: Case, names: Sequence[str], arguments: Sequence[Any]) -> dict[str, str]:
        """Build and warm what is missing; name -> reason for those that do not work."""
        for name in names:
            if (key, name) in self._ready or (key, name) in self._failed:
                continue
            try:
                call = case.model if name == "eager" else self._compiled(case.model, _COMPILE[name])
                for _ in range(3):
                    call(*arguments)
                self._ready[key, name] = call
            except Exception as error:  # noqa: BLE001 - torch.compile raises what its many parts raise; the baseline is left out
                self._failed[key, name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return {name: self._failed[key, name] for name in names if (key, name) in self._failed}

    def get(self, key: str, name: str) -> Callable[..., Any]:
        return self._ready[key, name]

    @staticmethod
    def _compiled(model: Any, mode: str) -> Callable[..., Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.compile(model, mode=mode, dynamic=False)
