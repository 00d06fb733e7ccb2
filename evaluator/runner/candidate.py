"""The untrusted side: a forked child that loads one kernel and calls it. It knows no expected value and no seed.

What it reports is a claim; the judge believes only what it reads from the shared outputs and its own clock.
It runs inside the layers of :mod:`kernelwright.evaluator.runner.sandbox`; code that edits this very module in memory is
not kept from doing so.
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kernelwright.evaluator import native, native_ascend, native_inline
from kernelwright.evaluator.chip import VARIABLE, Chip, NoChip
from kernelwright.evaluator.chip_tpu import Tpu
from kernelwright.evaluator.runner import tripwire
from kernelwright.evaluator.runner.arena import Arena, dtype_of
from kernelwright.evaluator.runner.audit import Audit
from kernelwright.evaluator.runner.channel import Channel, ChannelClosed, FrameTooLong
from kernelwright.evaluator.runner.clockwork import Calls, Flusher, run_calls, run_spacers, spin_after, wake
from kernelwright.evaluator.runner.handling import addresses, delay_other_streams, elsewhere, failure, plain
from kernelwright.evaluator.runner.integrity import Integrity
from kernelwright.evaluator.runner.onto import onto
from kernelwright.evaluator.runner.poison import poison, quiet
from kernelwright.evaluator.runner.trees import decode, describe, encode
from kernelwright.evaluator.symbols import exported

_MODULE = "kernel_under_test"
_SERVED = (
    "open", "load", "attach", "detach", "build", "refresh", "call", "trace", "compile", "provide", "reside", "prepare", "time",
    "account", "space", "export", "describe", "record", "tape", "races", "upstream",
)  # fmt: skip
"""Requests, each answered by the method of its name."""
_WATCHED = frozenset({"load", "build", "call", "trace", "reside", "prepare", "export", "describe"})
"""Requests outside any clock whose reply tells whether this process was tampered with."""


def serve(channel: Channel, config: dict[str, Any]) -> None:
    """Answer the judge's requests until it closes the pipe."""
    candidate = Candidate(config["device"])
    if "threads" in config:
        # The kernel's OpenMP is torch's own where they share a libgomp; elsewhere OMP_NUM_THREADS reaches it.
        torch.set_num_threads(config["threads"])
    handlers: dict[str, Callable[[dict[str, Any], list[int]], dict[str, Any]]] = {op: getattr(candidate, op) for op in _SERVED}
    spin = 0.0
    while True:
        try:
            request, fds = channel.receive(None, spin)
        except ChannelClosed:
            return
        spin = spin_after(request["op"], config["device"])
        try:
            reply = handlers[request["op"]](request, fds)
        except BaseException as error:  # noqa: BLE001 - process boundary: a candidate's failure is data for the judge
            reply = failure(error)
        if wanted := candidate.wanted():
            reply["wanted"] = wanted
        if candidate.tripped:
            reply["tripped"] = candidate.tripped
        if request["op"] in _WATCHED and (patched := candidate.patched(whole=request["op"] != "call")):
            reply["patched"] = patched
        try:
            channel.send({**reply, "ticket": request["ticket"]})
        except FrameTooLong as error:  # an output of a hundred thousand numbers, say
            channel.send({**failure(error), "ticket": request["ticket"]})


class _Late(NamedTuple):
    """A timed call's output while it still lies on the chip."""

    resident: Any
    arrays: Sequence[Any]


class Candidate:
    """The kernel under test and what it has been given."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._cuda = device != "cpu"
        self._arenas: dict[str, Arena] = {}
        self._namespace: dict[str, Any] = {}
        self._models: dict[str, Any] = {}
        self._prepared: list[list[Any]] = []
        self._outputs: list[Any] = []
        self._calls = Calls([], 0.0, [])
        self._flush: Flusher | None = None
        # Asked now: what the kernel does to the environment later names no other library.
        built = json.loads(os.environ.get("KERNELWRIGHT_LIBRARIES", "{}"))
        self._audit = Audit({path: exported(path) for path in built.values()})
        self._integrity: Integrity | None = None
        self._launches: Callable[[], int] = lambda: 0
        self._check: Callable[[], None] = lambda: None
        self._triton: Any = None
        self._recorder: Any = None
        self._chip = Chip.of(os.environ)
        self._onto = onto(self._chip)
        self._place = self._onto.device if self._onto else device
        self._wire = tripwire.of(self._onto.kind if self._onto else device)
        self._resident: Any = None
        self._pallas: Any = None
        self._ttlang: Any = None
        self._ascend = False
        self._to_compile: Any = None
        torch.set_grad_enabled(False)
        if self._cuda:
            torch.cuda.set_device(torch.device(device).index or 0)
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False

    def patched(self, whole: bool = True) -> list[str]:
        """What the kernel changed in this process that is not its own, and what else it did there."""
        done = [f"{rule}: {what}" for rule, what in self._audit.seen.items()]
        done += self._to_compile.replaced() if self._to_compile is not None else []
        return done + (self._integrity.broken(whole) if self._integrity else [])

    @property
    def tripped(self) -> dict[str, int]:
        """Operators that computed in ``forward`` though they may not, by name."""
        return self._wire.tripped

    def open(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Open the chip, before anything of the kernel is here: what it is."""
        if self._chip is None:
            raise NoChip(f"this process was started for none: {VARIABLE} is not set")
        return self._chip.open()

    def load(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Execute the kernel's source; it must define ``ModelNew``. ``library``: what may stay library work."""
        if request["backend"] == "triton":
            from kernelwright.evaluator.backends.triton_launches import install

            self._triton = triton = install(self._wire.lent)
            self._launches, self._check = lambda: triton.count, triton.check
        elif request["backend"] == "pallas":
            self._pallas = self._install_pallas(request["library"])
        elif request["backend"] == "ttlang":
            self._ttlang = self._install_ttlang()
        elif request["backend"] == "cuda":
            native_inline.install()
        self._ascend = request["backend"] == "ascend"
        if self._ascend:
            self._install_triton_ascend(request["source"])
        self._wire.install(request["library"])
        self._integrity = Integrity()
        path = Path.cwd() / f"{_MODULE}.py"
        path.write_text(request["source"])
        module = types.ModuleType(_MODULE)
        module.__file__ = str(path)
        sys.modules[_MODULE] = module
        self._namespace = module.__dict__
        self._audit.start()
        exec(compile(request["source"], str(path), "exec"), self._namespace)
        if not isinstance(self._namespace.get("ModelNew"), type):
            raise TypeError("the kernel defines no class ModelNew")
        return {"ok": True}

    def _install_pallas(self, allowed: Sequence[str]) -> Any:
        """Send the kernel's Pallas launches through the harness; JAX stays importable, its work is seen in each trace."""
        from kernelwright.evaluator import pallas
        from kernelwright.evaluator.backends.pallas_launch import Launches

        launches = Launches(allowed, self._wire.report, self._chip if isinstance(self._chip, Tpu) else None)
        pallas.use(launches.launch)
        self._launches = lambda: launches.count
        self._wire.open("jax", "jaxlib", "scipy")
        return launches

    def _install_ttlang(self) -> Any:
        """Give the kernel the language, and send its launches through the harness: the simulator may compute."""
        from kernelwright.evaluator import ttlang
        from kernelwright.evaluator.backends.ttlang_launch import Launches

        launches = Launches(self._wire.lent)
        sys.modules.update(launches.modules())
        ttlang.use(launches.launch)
        self._launches, self._check = lambda: launches.count, launches.check
        return launches

    def _install_triton_ascend(self, source: str) -> None:
        """Where the kernel has Triton's functions, send their launches to the host libraries of what the vendor compiled."""
        from kernelwright.evaluator.backends.ascend_launches import Launches
        from kernelwright.evaluator.backends.ascend_triton import uses_triton

        if uses_triton(source):
            self._to_compile = launches = Launches()
            launches.install()
            self._launches = lambda: launches.count

    def wanted(self) -> list[dict[str, Any]]:
        """Launches since the last request that need compiling first."""
        return [] if self._to_compile is None else list(self._to_compile.wanted())

    def provide(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Take a compiled launch's library, which the judge has put where this process may read."""
        path = request["path"]
        self._audit.admit(path, frozenset({"kw_run"}))
        self._to_compile.provide(request["key"], path, request["compare"])
        return {"ok": True}

    def attach(self, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Map an arena under a name, once."""
        known = self._arenas.get(request["name"])
        if known is not None and known.name == request["arena"]["name"]:
            for fd in fds:
                os.close(fd)
            return {"ok": True}
        self._arenas[request["name"]] = Arena.attach(request["arena"], fds)
        return {"ok": True}

    def detach(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Let go of an arena that is used no more, and of what torch keeps: on a GPU it is freed only when nobody maps it."""
        self._prepared, self._outputs = [], []
        found = self._arenas.pop(request["name"], None)
        if found is not None:
            found.close()
        if self._cuda:
            torch.cuda.empty_cache()
        return {"ok": True}

    def build(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Construct ``ModelNew`` after the parameter seed and copy the entries that the reference has too."""
        self._wire.disarm()
        arena = self._arenas[request["key"] + "/parameters"]
        arguments = decode(request["init"], [arena.tensor(spec).clone() for spec in request["init_specs"]])
        torch.manual_seed(request["seed"])
        with torch.device(self._device):
            model = self._namespace["ModelNew"](*arguments)
        dtype = dtype_of(request["dtype"])
        if isinstance(model, torch.nn.Module):
            model = model.to(self._place)
            if dtype != torch.float32:
                model = model.to(dtype)
            model.train(request["training"])
        self._models[request["key"]] = model
        copied = self.refresh(request, [])
        self._wire.arm()  # for good: what a thread of the kernel does between the calls is its work too
        return copied

    def refresh(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Copy the reference's parameters again, in place."""
        model, arena = self._models[request["key"]], self._arenas[request["key"] + "/parameters"]
        if not isinstance(model, torch.nn.Module):
            return {"copied": [], "left": []}
        own = model.state_dict(keep_vars=True)
        copied, there = [], []
        for name, spec in request["parameters"].items():
            if name in own and list(own[name].shape) == spec["shape"]:
                given = arena.tensor(spec)
                if self._onto:
                    there.append((given, own[name].data))
                elif own[name].dtype == given.dtype and not request.get("private"):
                    own[name].data = given  # the reference sees what is done to it, and guard bands lie around it
                else:
                    own[name].data.copy_(given)
                copied.append(name)
        if self._onto:
            self._onto.fill(request["key"], there, bool(request.get("private")))
        self._synchronize()
        return {"copied": copied, "left": sorted(set(own) - set(copied))}

    def call(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """One call; its output is kept under index 0 and described."""
        arguments = [elsewhere(a, request.get("variant", "")) for a in self._arguments(request, 0)]
        kept = self._outputs if request.get("keep") else []
        if request.get("poison"):
            poison(self._place, request["poison"], request["outputs"], request["seed"])
        before = self._native_work()
        delayed = request.get("variant") == "delayed"
        forward = self._delayed if delayed else self._forward
        self._outputs = [*kept, forward(request["key"], arguments)]
        made = self._native_work() - before
        if self._onto:
            self._onto.bring_back(request["key"], inputs=not request.get("variant"))
        at = [] if self._onto else [addresses(self._outputs[-1])]  # what lies on the chip is no address of this process
        return {**self._describe(-1), "at": at, "native_calls": made}

    def _forward(self, key: str, arguments: list[Any]) -> Any:
        """One call; all device work is done when it returns."""
        output = self._models[key](*arguments)
        self._synchronize()
        native_ascend.check()  # what the simulator stopped is a fault, whatever the kernel made of it
        self._check()
        return output

    def _delayed(self, key: str, arguments: list[Any]) -> Any:
        """One call while torch's other streams have something long to do; its outputs as the current stream finds them."""
        delay_other_streams()
        output = self._models[key](*arguments)
        tensors: list[torch.Tensor] = []
        tree = encode(output, tensors)
        found = decode(tree, [t.clone() for t in tensors])  # in order with the current stream alone
        self._synchronize()
        return found

    def trace(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """One call under the profiler's eyes: which operators did work, and with ``device`` what ran on the GPU."""
        from kernelwright.evaluator.runner.observe import observe

        arguments = self._arguments(request, 0)
        before = self._native_work()
        seen = observe(lambda: self._forward(request["key"], arguments), request["device"] and self._cuda)
        self._wire.refuse()
        return {**seen, "native_calls": self._native_work() - before}

    def compile(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Compile every Triton launch that one call would make, for a GPU that is absent, the only one of ``targets``; or lower
        every Pallas launch for a TPU, and compile it for ``targets`` by libtpu, which may end the process."""
        from kernelwright.evaluator.backends.triton_compile import compile_launches

        arguments = self._arguments(request, 0)
        if self._pallas is not None:
            with self._pallas.lowering(request["targets"]) as lowered:
                self._models[request["key"]](*arguments)
            return {"launches": lowered}
        if request["targets"][0].startswith("gfx"):
            self._audit.compile_abroad()
        with compile_launches(*request["targets"]) as launches:
            self._models[request["key"]](*arguments)
        return {"launches": [vars(entry) for entry in launches]}

    def record(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Put every native call from here on a tape; before :meth:`load`, or what is bound already is missed."""
        from kernelwright.evaluator.tape import Recorder

        self._recorder = Recorder()
        native.record(self._recorder)
        return {"ok": True}

    def tape(self, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """End the recording and write the tape into the file that the judge sent."""
        try:
            size = self._recorder.write(fds[0])
        except OSError as error:
            return {"bytes": 0, "problem": f"the tape could not be written: {error.strerror}"}
        finally:
            os.close(fds[0])
        return {"bytes": size, "problem": self._recorder.problem}

    def races(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """One simulated call with every access of every program compared."""
        arguments = self._arguments(request, 0)
        if self._pallas is not None:
            return self._pallas_races(request["key"], arguments)
        if self._ttlang is not None:
            before = self._launches()
            races = self._ttlang.races(lambda: self._forward(request["key"], arguments))
            return {"races": races, "launches": self._launches() - before, "unchecked": self._ttlang.unchecked}
        if self._ascend:  # every launch looks for them: here both orders of the blocks are seen
            before = self._native_work()
            self._forward(request["key"], arguments)
            self._forward(request["key"], arguments)
            unchecked = "" if self._to_compile is None else self._to_compile.uncompared
            return {"races": [], "launches": self._native_work() - before, "unchecked": unchecked}
        with self._triton.watch_races() as seen:
            self._forward(request["key"], arguments)
        return {"races": seen.races, "launches": seen.launches, "unchecked": seen.unchecked}

    def _pallas_races(self, key: str, arguments: list[Any]) -> dict[str, Any]:
        """A call in each way in which a copy may be late: begun at once, or done only when it is waited for."""
        from kernelwright.evaluator.backends.pallas_launch import Race

        before, found = self._launches(), []
        for dma in ("eager", "on_wait"):
            try:
                with self._pallas.races(dma):
                    self._models[key](*arguments)
            except Race as race:
                found.append(str(race))
        return {"races": found, "launches": self._launches() - before, "unchecked": ""}

    def upstream(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """The whole judging by a suite's own rule, in a runner that serves nothing else; see :mod:`.upstream`."""
        from kernelwright.evaluator.runner.upstream import apply

        return apply(request, self._device)

    def reside(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Capture the launches of one call, for calls whose arguments lie on the chip; ``problem``: why they cannot be."""
        from kernelwright.evaluator.backends.pallas_resident import NotResident, Resident

        if self._onto:  # arguments are put there in ``prepare``, and forward itself is timed
            return {"problem": ""}
        model = self._models[request["key"]]
        parameters = {n: t.data for n, t in model.state_dict(keep_vars=True).items() if isinstance(t, torch.Tensor)}
        try:
            self._resident = Resident(self._pallas, model, self._arguments(request, 0), parameters)
        except NotResident as why:
            return {"problem": str(why)}
        return {"problem": ""}

    def prepare(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Make ready, outside the clock, the arguments of the calls that :meth:`time` will make."""
        before = self._native_work()
        self._outputs, self._calls = [], Calls([], 0.0, [])
        quiet()
        self._prepared = [self._arguments(request, slot) for slot in request["slots"]]
        if self._resident is not None:
            self._prepared = self._resident.place(self._prepared)
        self._synchronize()
        wake(self._flusher(), self._cuda)
        return {"native_calls": self._native_work() - before}

    def time(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """The prepared calls in a row; outputs are kept in order."""
        model, resident = self._models[request["key"]], self._resident
        before = self._native_work()
        wait = self._onto.wait if self._onto else resident.wait if resident else None
        self._calls = run_calls(resident or model, self._prepared, self._flusher(), request["head"], self._cuda, wait)
        self._outputs = [_Late(resident, o) for o in self._calls.outputs] if resident else self._calls.outputs
        at = [] if self._cuda or self._onto or resident else [addresses(output) for output in self._outputs]
        return {"host_us": self._calls.host_us, "native_calls": self._native_work() - before, "at": at}

    def account(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """The device's own account of the last run: a claim, for cross-examination."""
        return {"event_us": self._calls.event_us()}

    def space(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """What :meth:`time` does besides calling."""
        run_spacers(request["count"], self._flusher(), request["head"], self._cuda)
        return {"ok": True}

    def export(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Copy kept output ``index`` into the output arena, tensor by tensor, where shape and dtype agree."""
        described = self._describe(request["index"])
        tensors: list[torch.Tensor] = []
        encode(self._output(request["index"]), tensors)
        for t, spec in zip(tensors, request["specs"], strict=False):
            place = self._arenas[request["key"] + "/outputs"].tensor(spec)
            if list(t.shape) == spec["shape"] and t.dtype == place.dtype:
                place.copy_(t.detach())
        self._synchronize()
        return described

    def describe(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        """Kept output ``index``, described."""
        return self._describe(request["index"])

    def _describe(self, index: int) -> dict[str, Any]:
        tensors: list[torch.Tensor] = []
        tree = encode(self._output(index), tensors)
        told = list(map(self._onto.describe if self._onto else describe, tensors))
        return {"tree": tree, "outputs": told, "plain": all(map(plain, tensors))}

    def _output(self, index: int) -> Any:
        kept = self._outputs[index]
        if isinstance(kept, _Late):
            kept = self._outputs[index] = kept.resident.output(kept.arrays)
        return kept

    def _arguments(self, request: dict[str, Any], slot: int) -> list[Any]:
        arena = self._arenas[request["arena"]]
        tensors = [arena.tensor(spec, slot) for spec in request["specs"]]
        if self._onto:
            tensors = self._onto.arguments(tensors, request.get("key", ""))
        arguments = decode(request["inputs"], tensors)
        return list(arguments)

    def _native_work(self) -> int:
        return native.calls() + self._launches()

    def _flusher(self) -> Flusher:
        if self._flush is None:
            self._flush = Flusher(self._device)
        return self._flush

    def _synchronize(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()
        elif self._onto:
            self._onto.wait()
