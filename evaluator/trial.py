"""One kernel on trial: its runner, what has been seen of it, and how it fails."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernelwright.evaluator.runner.processes import Child, ChildGone, ForkServer
from kernelwright.evaluator.session import OpenCase, Pool, Session, secret_seed
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.records import CaseResult, Kernel, Stage, Status

_LOG_BYTES = 64 << 20
_TAIL = 2000


class Rejected(Exception):
    """The kernel fails here; carries what the verdict will say."""

    def __init__(self, status: Status, stage: Stage, reason: str, evidence: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.stage = stage
        self.reason = " ".join(reason.split())[:400]
        self.evidence = dict(evidence or {})


class Outside(Exception):
    """The kernel declares this shape outside its envelope."""


class Trial:
    """The untrusted child that runs one kernel, asked stage by stage."""

    def __init__(
        self, server: ForkServer, kernel: Kernel, device: str, settings: Settings, environment: Mapping[str, str]
    ) -> None:
        self.kernel = kernel
        self.device = device
        self.settings = settings
        self.stage = Stage.SMOKE
        self.results: list[CaseResult] = []
        self._scratch = Path(tempfile.mkdtemp(prefix="kernelwright-runner-"))
        limits = {"CORE": 0, "FSIZE": _LOG_BYTES, "NOFILE": 1024}
        if device == "cpu":
            limits["AS_EXTRA"] = settings.memory_bytes
        caches = {"TRITON_CACHE_DIR": str(self._scratch / "triton"), "HOME": str(self._scratch)}
        self.runner: Child = server.spawn(
            "candidate", self._scratch, {"device": device}, environment={**caches, **environment}, limits=limits
        )
        self.least_native: int | None = None
        """Fewest native calls and launches that any judged call made."""
        self.must_launch = False
        """The observed call launched by hand: then every timed one must."""
        self._built: set[str] = set()

    def ask(self, op: str, /, seconds: float | None = None, fds: tuple[int, ...] = (), **message: Any) -> dict[str, Any]:
        """One request to the runner; its failure becomes :class:`Rejected` at the present stage."""
        try:
            reply, _ = self.runner.ask(op, seconds or self.settings.call_seconds, fds, **message)
        except ChildGone as gone:
            how = gone.gone
            status = Status.TIMEOUT if how.how == "timeout" else Status.RUNTIME_ERROR
            reason = f"{how} during {op}"
            if how.how == "timeout":
                reason = f"no answer within {seconds or self.settings.call_seconds:g} s during {op}"
            raise Rejected(status, self.stage, reason, {"log": how.log[-_TAIL:]}) from None
        if "outside" in reply:
            raise Outside(str(reply["outside"]))
        if "failed" in reply:
            status = Status.OUT_OF_MEMORY if reply["failed"] == "out_of_memory" else Status.RUNTIME_ERROR
            evidence = {"traceback": reply.get("traceback", [])}
            raise Rejected(status, self.stage, str(reply.get("message", ""))[:_TAIL], evidence)
        return reply

    def load(self) -> None:
        """Execute the kernel's module in the runner."""
        self.ask("load", self.settings.smoke_seconds, source=self.kernel.source, backend=self.kernel.backend)

    def build(self, opened: OpenCase) -> None:
        """Hand over a case's arenas and construct ``ModelNew`` for it, once."""
        if opened.key in self._built:
            return
        fds = list(opened.fds)
        for entry in opened.facts["arenas"]:
            mine = (fds.pop(0),) if fds else ()
            self.ask("attach", None, mine, name=f"{opened.key}/{entry['name']}", arena=entry["arena"])
        self.ask(
            "build",
            self.settings.smoke_seconds,
            key=opened.key,
            init=opened.facts["init"],
            init_specs=opened.facts["init_specs"],
            parameters=opened.facts["parameters"],
            seed=opened.seed,
            dtype=opened.dtype,
            training=opened.facts["training"],
        )
        self._built.add(opened.key)

    def try_draw(
        self, session: Session, opened: OpenCase, scale: float = 1.0, spikes: bool = False, vary: bool = False
    ) -> dict[str, Any] | None:
        """One fresh draw through the kernel, judged; the comparison, or None when the draw left the domain.

        Raises:
            Rejected: the kernel failed or is wrong.
            Outside: the kernel declares the shape outside its envelope.
        """
        drawn, _ = session.ask("draw", key=opened.key, seed=secret_seed(), scale=scale, spikes=spikes, vary=vary)
        if drawn["dropped"]:
            return None
        facts = opened.facts
        if vary:
            self.ask("refresh", key=opened.key, parameters=facts["parameters"])
        seconds = self.settings.smoke_seconds if self.stage is Stage.SMOKE else None
        reply = self.ask("call", seconds, key=opened.key, **self._inputs(opened))
        made = int(reply["native_calls"])
        if opened.numel:  # nothing in, nothing to launch
            self.least_native = made if self.least_native is None else min(self.least_native, made)
        self._fits(opened, reply)
        self.ask("export", key=opened.key, index=0, specs=self._outputs(opened))
        found, _ = session.ask("compare", key=opened.key, rtol=self._rtol(session, opened))
        found["scale"] = scale
        found["native_calls"] = reply["native_calls"]
        found["oracle"] = drawn["oracle"]
        self._decide(opened, found)
        return found

    def verify_timed(self, session: Session, opened: OpenCase, index: int, slot: int) -> None:
        """The output of a timed call, after the clock stopped, compared in full."""
        reply = self.ask("export", key=opened.key, index=index, specs=self._outputs(opened))
        self._fits(opened, reply)
        found, _ = session.ask("verify", key=opened.key, slot=slot, rtol=self._rtol(session, opened))
        inputs = [] if found["unchanged"] else [{"input": 0, "detail": "changed in place during timing"}]
        self._decide(opened, {**found, "inputs": inputs, "timed": True})

    def expect_launches(self, made: int, calls: int) -> None:
        """A kernel that launches when observed and not when timed lets something else do the work."""
        if self.must_launch and made < calls:
            reason = f"{made} native calls and launches in {calls} timed calls, though the observed call made its own"
            raise Rejected(Status.CHEATING, Stage.HONEST, reason, {"rule": "no_own_work"})

    def attach_pool(self, opened: OpenCase, pool: Pool) -> None:
        self.ask("attach", None, pool.fds, name=f"{opened.key}/pool", arena=pool.facts["arena"])

    def pool_inputs(self, opened: OpenCase, pool: Pool) -> dict[str, Any]:
        """What ``prepare`` needs to find the slots' tensors."""
        return {"arena": f"{opened.key}/pool", "specs": pool.facts["specs"], "inputs": opened.facts["inputs"]}

    def inputs(self, opened: OpenCase) -> dict[str, Any]:
        return self._inputs(opened)

    def close(self) -> None:
        self.runner.kill("over")
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _rtol(self, session: Session, opened: OpenCase) -> float | None:
        if self.settings.rtol is not None:
            return self.settings.rtol
        return session.task.rtol.get(opened.dtype)

    def _inputs(self, opened: OpenCase) -> dict[str, Any]:
        return {"arena": f"{opened.key}/inputs", "specs": opened.facts["specs"], "inputs": opened.facts["inputs"]}

    @staticmethod
    def _outputs(opened: OpenCase) -> list[Any]:
        return list(opened.facts["output_specs"][: len(opened.facts["outputs"])])

    def _fits(self, opened: OpenCase, reply: Mapping[str, Any]) -> None:
        try:
            misfit = opened.misfit(reply)
        except (KeyError, TypeError, ValueError, AttributeError):
            misfit = "the runner's description of the output makes no sense"
        if misfit:
            raise Rejected(Status.INCORRECT, self.stage, f"{opened.case.name} {opened.dtype}: {misfit}")

    def _decide(self, opened: OpenCase, found: Mapping[str, Any]) -> None:
        label = f"{opened.case.name} {opened.dtype}"
        label = f"a held-out shape, {opened.dtype}" if opened.case.use.value == "held_out" else label
        if found["inputs"]:
            first = found["inputs"][0]
            raise Rejected(
                Status.INCORRECT, self.stage, f"{label}: input {first['input']} {first['detail']}", {"comparison": found}
            )
        for i, output in enumerate(found["outputs"]):
            if not output["passed"]:
                raise Rejected(Status.INCORRECT, self.stage, f"{label}: output {i}: {output['detail']}", found)
