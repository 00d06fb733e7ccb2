"""The reference on a chip: on a TPU eager and under ``jax.jit``, through torchax, on an NPU eager. What speedups are over.

A trusted child that holds the chip for one turn of a timing. It has the reference, its parameters and the pool of inputs that
the kernel is timed on, and no expected value. Matrix products of float32 are float32's here, as for every baseline: JAX's own
default on a TPU multiplies them in bfloat16, which no kernel is allowed, and torch_npu's for convolutions is HF32.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch

from kernelwright.evaluator.chip import VARIABLE, Chip, NoChip
from kernelwright.evaluator.runner.arena import Arena, dtype_of
from kernelwright.evaluator.runner.channel import Channel, ChannelClosed
from kernelwright.evaluator.runner.clockwork import Flusher, run_calls
from kernelwright.evaluator.runner.execute import execute
from kernelwright.evaluator.runner.trees import decode, encode
from kernelwright.tasks.codec import from_json
from kernelwright.tasks.records import Task

_APART = 0.05
"""Relative L2 distance from the reference on the host beyond which a baseline computes something else."""


def serve(channel: Channel, config: dict[str, Any]) -> None:
    """Answer the judge's requests until it closes the pipe; a failure is a reply, ``refused``."""
    yardstick = Yardstick(from_json(Task, config["task"]))
    handlers: dict[str, Callable[[dict[str, Any], list[int]], dict[str, Any]]] = {
        "open": yardstick.open,
        "attach": yardstick.attach,
        "build": yardstick.build,
        "baselines": yardstick.baselines,
        "prepare": yardstick.prepare,
        "time": yardstick.time,
        "account": yardstick.account,
    }
    while True:
        try:
            request, fds = channel.receive(None)
        except ChannelClosed:
            return
        try:
            reply = handlers[request["op"]](request, fds)
        except Exception as error:  # noqa: BLE001 - process boundary: the user's code and the vendors' raise what they like
            reply = {"refused": f"{type(error).__name__}: {error}"[:800], "traceback": traceback.format_exc().splitlines()[-6:]}
        channel.send(reply)


class Yardstick:
    """One case of one task on the chip."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._arenas: dict[str, Arena] = {}
        self._inputs: Any = None
        self._specs: list[dict[str, Any]] = []
        self._model: Any = None
        self._opened: Chip | None = None
        self._calls: dict[str, Callable[..., Any]] = {}
        self._prepared: list[list[Any]] = []
        self._flush = Flusher("cpu")
        torch.set_grad_enabled(False)

    def open(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Open the chip: what it is."""
        self._opened = Chip.of(os.environ)
        if self._opened is None:
            raise NoChip(f"{VARIABLE} is not set")
        found = self._opened.open()
        self._opened.exact()
        return found

    @property
    def _chip(self) -> Chip:
        assert self._opened is not None
        return self._opened

    def attach(self, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Map an arena under a name; ``specs``: the inputs that lie in it, slot by slot."""
        self._specs = request.get("specs", self._specs)
        self._arenas[request["name"]] = Arena.attach(request["arena"], fds)
        return {"ok": True}

    def build(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """The reference with the parameters that the kernel is given, on the host."""
        arena = self._arenas["parameters"]
        arguments = decode(request["init"], [arena.tensor(spec).clone() for spec in request["init_specs"]])
        torch.manual_seed(request["seed"])
        model = execute(self._task, request["sizes"])["Model"](*arguments)
        dtype = dtype_of(request["dtype"])
        model = (model if dtype == torch.float32 else model.to(dtype)).train(request["training"])
        own = model.state_dict(keep_vars=True)
        for name, spec in request["parameters"].items():
            own[name].data.copy_(arena.tensor(spec))
        self._model = model
        return {"ok": True}

    def baselines(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Make the baselines ready that are named; replies with the failures, name -> reason."""
        self._inputs = request["inputs"]
        made = self._chip.calls(self._model, self._inputs)
        given = self._arguments(0)
        expected: list[torch.Tensor] = []
        encode(self._model(*given), expected)
        failed = {}
        for name in request["names"]:
            try:
                failed[name] = self._differs(made[name], given, expected)
            except Exception as error:  # noqa: BLE001 - as above; the baseline is left out and the verdict says so
                failed[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]
        self._calls = made
        return {"failed": {name: why for name, why in failed.items() if why}}

    def _differs(self, call: Callable[..., Any], given: Sequence[Any], expected: Sequence[torch.Tensor]) -> str:
        """Warm a baseline; how its outputs differ from the reference's on the host, by more than rounding."""
        for _ in range(3):
            outputs = call(*self._placed(given))
        self._chip.wait(outputs)
        got = self._chip.get(outputs)
        if [t.shape for t in got] != [t.shape for t in expected]:
            return "it gives outputs of other shapes"
        for mine, theirs in zip(got, expected, strict=True):
            wide = theirs.double().nan_to_num(0.0, 0.0, 0.0)
            if float((mine.double().nan_to_num(0.0, 0.0, 0.0) - wide).norm()) > _APART * float(wide.norm()) + 1e-6:
                return "it computes something else than the reference on the host"
        return ""

    def prepare(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """The arguments of the calls that :meth:`time` will make, on the chip when this returns."""
        self._prepared = [self._placed(self._arguments(slot)) for slot in request["slots"]]
        self._chip.wait(self._prepared)
        return {"ok": True}

    def time(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """The prepared calls of one baseline in a row."""
        call = self._calls[request["name"]]
        calls = run_calls(call, self._prepared, self._flush, request["head"], False, self._chip.wait)
        return {"host_us": calls.host_us}

    def account(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """The device's own account of the last run: none is asked for."""
        return {"event_us": None}

    def _arguments(self, slot: int) -> list[Any]:
        arena = self._arenas["pool"]
        return list(decode(self._inputs, [arena.tensor(spec, slot) for spec in self._specs]))

    def _placed(self, arguments: Sequence[Any]) -> list[Any]:
        tensors: list[torch.Tensor] = []
        encode(list(arguments), tensors)
        return [self._chip.put(t) for t in tensors]
