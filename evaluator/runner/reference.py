"""The trusted side: a forked child that owns the reference, the inputs, the expected values and the baselines.

The judge never imports torch; everything that needs it happens here. What a candidate may see is copied into arenas;
private copies, oracles and expected outputs stay in ordinary memory of this process.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from kernelwright.evaluator.correctness import compare
from kernelwright.evaluator.runner.baselines import Baselines
from kernelwright.evaluator.runner.cases import Case
from kernelwright.evaluator.runner.channel import Channel, ChannelClosed
from kernelwright.evaluator.runner.clockwork import Calls, Flusher, run_calls, run_spacers, spin_after, wake
from kernelwright.evaluator.runner.execute import Refused
from kernelwright.evaluator.runner.pool import Pool
from kernelwright.tasks.codec import from_json
from kernelwright.tasks.records import Task


def serve(channel: Channel, config: dict[str, Any]) -> None:
    """Answer the judge's requests until it closes the pipe. A reference's failure is a reply, ``refused``."""
    reference = Reference(from_json(Task, config["task"]), config["device"])
    handlers: dict[str, Callable[[dict[str, Any]], tuple[dict[str, Any], list[int]]]] = {
        "open": reference.open,
        "draw": reference.draw,
        "reset": reference.reset,
        "compare": reference.compare,
        "fingerprint": reference.fingerprint,
        "admit": reference.admit,
        "further": reference.further,
        "hand_over": reference.hand_over,
        "pool": reference.pool,
        "shuffle": reference.shuffle,
        "rewrite": reference.rewrite,
        "intact": reference.intact,
        "verify": reference.verify,
        "baselines": reference.baselines,
        "prepare": reference.prepare,
        "time": reference.time,
        "account": reference.account,
        "space": reference.space,
        "close_pool": reference.close_pool,
        "device": reference.device_facts,
    }
    spin = 0.0
    while True:
        try:
            request, _ = channel.receive(None, spin)
        except ChannelClosed:
            return
        fds: list[int] = []
        spin = spin_after(request["op"], config["device"])
        try:
            reply, fds = handlers[request["op"]](request)
        except Refused as refusal:
            reply = {"refused": str(refusal)}
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            reply = {"refused": f"the reference does not fit in memory: {str(error).splitlines()[0]}", "memory": True}
        except Exception as error:  # noqa: BLE001 - process boundary: the reference is the user's code and may raise anything
            tail = traceback.format_exc().splitlines()[-6:]
            reply = {"refused": f"{type(error).__name__}: {error}"[:800], "traceback": tail}
        channel.send(reply, fds)


class Reference:
    """All cases of one task on one device."""

    def __init__(self, task: Task, device: str) -> None:
        self._task = task
        self._device = device
        self._cuda = device != "cpu"
        self._cases: dict[str, Case] = {}
        self._pools: dict[str, Pool] = {}
        self._baselines = Baselines()
        self._prepared: list[list[Any]] = []
        self._calls = Calls([], 0.0, [])
        self._flush: Flusher | None = None
        torch.set_grad_enabled(False)
        if self._cuda:
            torch.cuda.set_device(torch.device(device).index or 0)
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False

    def open(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Execute the reference for a shape case in a dtype; describe what a candidate needs to be built and called."""
        case = Case(self._task, request["sizes"], request["dtype"], self._device, request["leading"], request["seed"])
        self._cases[request["key"]] = case
        return case.describe(), case.descriptors

    def draw(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Fresh inputs (and, with ``vary``, parameters) in the arena; ``dropped`` when they leave the domain."""
        case = self._cases[request["key"]]
        kept = case.draw(request["seed"], request["scale"], request["spikes"], request["vary"])
        found = {"dropped": not kept, "oracle": case.oracle_dtype}
        return found | ({"hashes": case.hashes()} if request["hashed"] and kept else {}), []

    def reset(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Every case as it was opened, whatever was drawn for earlier kernels."""
        for case in self._cases.values():
            case.reset()
        return {"ok": True}, []

    def compare(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """The candidate's exported outputs and the inputs it may not have changed, against the last draw."""
        case = self._cases[request["key"]]
        seen = {"hash": case.hash_outputs()} if request.get("hashed") else {}
        results = case.compare_outputs(request["rtol"], request.get("back", 0))
        return {
            **seen,
            "outputs": results,
            "inputs": case.compare_inputs(request["rtol"]),
            "state": case.compare_state(request["rtol"]),
        }, []

    def fingerprint(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """A hash of what the candidate exported, to tell whether calls agree bit for bit."""
        return {"hash": self._cases[request["key"]].fingerprint()}, []

    def admit(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Whether outputs that take no computing would pass on the draws that kernels are judged on."""
        from kernelwright.evaluator.runner.admission import admit

        return admit(self._cases[request["key"]], request["draws"], request["seed"], request["rtol"]), []

    def further(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Spikes of the draws that show what the ordinary ones hide."""
        from kernelwright.evaluator.runner.admission import further

        return {"spikes": further(self._cases[request["key"]], request["seed"])}, []

    def hand_over(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """The last draw's inputs and the parameters as a file, for a process that shares no arena."""
        return self._cases[request["key"]].hand_over(Path(request["path"])), []

    def pool(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """A pool of input slots for timing; replies with how many were made."""
        key = request["key"]
        if key not in self._pools:
            self._pools[key] = Pool(self._cases[key], request["copies"], request["seed"])
        pool = self._pools[key]
        return pool.describe(), pool.descriptors

    def close_pool(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        pool = self._pools.pop(request["key"], None)
        if pool is not None:
            pool.close()
            del pool
            if self._cuda:  # other judges' processes have need of it
                torch.cuda.empty_cache()
        return {"ok": True}, []

    def shuffle(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """New contents in every slot of the pool, ``anew`` as a whole."""
        self._pools[request["key"]].shuffle(request["anew"])
        return {"ok": True}, []

    def rewrite(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """The same contents once more in every slot of the pool."""
        self._pools[request["key"]].rewrite()
        return {"ok": True}, []

    def intact(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Whether every slot of the pool holds what it was given."""
        return {"intact": self._pools[request["key"]].intact()}, []

    def verify(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """The exported output of a timed call, against the oracle for what its slot held."""
        case, pool = self._cases[request["key"]], self._pools[request["key"]]
        slot = request["slot"]
        contents = pool.contents(slot)
        expected = case.expect(contents)
        count = len(expected.eager) - len(expected.mutated)
        tensors = [*map(case.output, range(count)), *(pool.tensors(slot)[i] for i in expected.mutated)]
        outputs = []
        for i, given in enumerate(zip(tensors, expected.oracle, expected.eager, strict=True)):
            result = compare(*given, request["rtol"])
            if not result.passed and case.look_nearby(expected, contents):
                result = compare(*given, request["rtol"], [near[i] for near in expected.nearby])
            outputs.append(result.to_dict())
        unchanged = bool(expected.mutated) or pool.unchanged(slot, contents)
        return {"outputs": outputs, "unchanged": unchanged, "oracle": case.oracle_dtype}, []

    def baselines(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Make the named baselines of a case ready; replies with the failures, name -> reason."""
        case, pool = self._cases[request["key"]], self._pools[request["key"]]
        arguments = case.arguments(pool.tensors(0))
        return {"failed": self._baselines.prepare(request["key"], case, request["names"], arguments)}, []

    def prepare(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Make ready, outside the clock, the arguments of the calls that :meth:`time` will make."""
        case, pool = self._cases[request["key"]], self._pools[request["key"]]
        self._calls = Calls([], 0.0, [])
        self._prepared = [case.arguments(pool.tensors(slot)) for slot in request["slots"]]
        wake(self._flusher(), self._cuda)
        return {"ok": True}, []

    def time(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """The prepared calls of one baseline in a row."""
        call = self._baselines.get(request["key"], request["name"])
        self._calls = run_calls(call, self._prepared, self._flusher(), request["head"], self._cuda)
        return {"host_us": self._calls.host_us}, []

    def account(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """The device's own account of the last run."""
        return {"event_us": self._calls.event_us()}, []

    def space(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        run_spacers(request["count"], self._flusher(), request["head"], self._cuda)
        return {"ok": True}, []

    def device_facts(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """What the device is and, when asked, how fast it copies and multiplies."""
        from kernelwright.evaluator.runner.ceilings import facts, measure

        if self._cuda:
            torch.cuda.synchronize()  # raises when the device is gone: names and sizes are remembered
        found = facts(self._device)
        if request["measure"]:
            found["ceilings"] = measure(self._device)
        return found, []

    def _flusher(self) -> Flusher:
        if self._flush is None:
            self._flush = Flusher(self._device)
        return self._flush
