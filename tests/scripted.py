"""Parts for whole runs without a model or a judge, by import path: they also work in other processes."""

from __future__ import annotations

import json
import time
from pathlib import Path

from kernelwright.agent.writers.fake import FakeWriter
from kernelwright.agent.writers.writer import Assignment, Setup
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.evaluator.engines.ray import named
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.errors import InputError, Pending, WriterError
from kernelwright.tasks.records import Answer, Attempt

ENGINE = "kernelwright.evaluator.engines.fake:FakeEngine"
MODEL = "scripted:Scripted"

REFERENCE = """\
import torch
import torch.nn as nn

N = 64


class Model(nn.Module):
    def forward(self, x):
        return x + {number}


def get_inputs():
    return [torch.rand(N, N)]


def get_init_inputs():
    return []
"""

KERNEL = '''\
```python
import torch.nn as nn

SAYS = """
# number {number}
# judge: {judge}
"""


class ModelNew(nn.Module):
    def forward(self, x):
        return x
```
'''

ERRORS = {"pending": Pending, "writer": WriterError, "input": InputError}


def kernel(judge: str, number: int = 0) -> str:
    """An answer with a kernel of which the fake engine says ``judge``."""
    return KERNEL.format(judge=judge.replace("; ", "\n# judge: "), number=number)


def reference(folder: Path, name: str = "add", number: int = 1) -> str:
    """The path of a plain task file."""
    path = folder / f"{name}.py"
    path.write_text(REFERENCE.format(number=number))
    return str(path)


def script(home: Path, *lines: str) -> None:
    """Put down what :class:`Scripted` answers in this workspace: texts, ``!kind`` for an error, ``~seconds`` to wait."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "script.json").write_text(json.dumps(lines))


class Scripted:
    """Answers idea n with the n-th line of ``<home>/script.json``, and appends the idea's id to ``<home>/asked``."""

    name = "scripted"

    def __init__(self, setup: Setup) -> None:
        self._home = setup.home

    def write(self, assignment: Assignment) -> Answer:
        lines = json.loads((self._home / "script.json").read_text())
        with (self._home / "asked").open("a") as file:
            file.write(f"{assignment.idea.id}\n")
        line = lines[min(assignment.idea.number, len(lines)) - 1]
        if line.startswith("~"):
            seconds, _, line = line[1:].partition(" ")
            time.sleep(float(seconds))
        if line.startswith("!"):
            raise ERRORS[line[1:]](f"scripted {line[1:]}", "change the script")
        answer = FakeWriter([line], cost_usd=0.25).write(assignment)
        return Answer(answer.text, answer.kernel, answer.problem, model=self.name, prompt="p", cost_usd=0.25)

    def told(self, attempt: Attempt) -> None:
        with (self._home / "told").open("a") as file:
            file.write(f"{attempt.id}\n")

    def close(self) -> None:
        (self._home / "closed").touch()


class Rival(Scripted):
    """Another member for ensembles, with the same script."""

    name = "rival"


class Clustered(FakeEngine):
    """Appends the Ray cluster that it would join to ``<home>/joined``, and judges as its kernels say."""

    def __init__(self, backend: str, device: str | None, cache: Path, settings: Settings | None = None) -> None:
        super().__init__(backend, device, cache, settings)
        with (cache.parent / "joined").open("a") as file:
            file.write(f"{named()}\n")
