"""One kernel on trial: its runner, what has been seen of it, and how it fails."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kernelwright.evaluator import replies
from kernelwright.evaluator.ascend_compiler import BadLaunch
from kernelwright.evaluator.ascend_source import NotModelled
from kernelwright.evaluator.chip import kinds
from kernelwright.evaluator.device import CHIPS, host_of
from kernelwright.evaluator.effort import Effort, Idleness, effort
from kernelwright.evaluator.frozen import Unreadable, take
from kernelwright.evaluator.journal import secret_seed
from kernelwright.evaluator.runner import sandbox
from kernelwright.evaluator.runner.processes import Child, ChildGone, ForkServer
from kernelwright.evaluator.sanitizers.tape_reader import MAX_FILE, writable, written
from kernelwright.evaluator.session import OpenCase, Pool, Session
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.toolchain import BuildError
from kernelwright.tasks.errors import HarnessError
from kernelwright.tasks.records import CaseResult, Kernel, Stage, Status, Use

_LOG_BYTES = 64 << 20
_TAIL = 2000
_LIBRARIES = "KERNELWRIGHT_LIBRARIES"
_FAILED = {"not_modelled": Status.UNSUPPORTED, "out_of_memory": Status.OUT_OF_MEMORY}
_IDLE_SECONDS = 0.005
_IDLE_SHARE = 0.03
"""Of all the runner's CPU time: on a crowded machine going back to wait takes longer."""
OPEN_SECONDS = 120.0
"""What starting a chip may take; a TPU's client: without transparent huge pages it takes long."""
_CHIP_BYTES = 8 << 30
"""What libtpu maps on the host for transfers, 4 GiB by default, and for itself. Measured on no TPU and no NPU."""
_LAUNCHING = ("build", "call", "trace", "races")
"""Requests in which a kernel may launch something that is to be compiled first."""
_ROUNDS = 64
"""How often one of them is asked again, with what it lacked."""
_BEFORE_HONEST = (Stage.SMOKE, Stage.SANITIZE, Stage.CORRECT)
_GONE = {"timeout": Status.TIMEOUT, "memory": Status.OUT_OF_MEMORY, "broken": Status.CHEATING}
"""How a runner was lost -> status; else it is a runtime error."""


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
    """The untrusted child that runs one kernel, asked stage by stage.

    ``library``: operator classes and names that may stay library work.
    """

    def __init__(
        self,
        server: ForkServer,
        kernel: Kernel,
        device: str,
        settings: Settings,
        environment: Mapping[str, str],
        threads: int | None = None,
        library: Sequence[str] = (),
    ) -> None:
        self.kernel = kernel
        self.library = tuple(library)
        self.device = host_of(device)
        """Where torch keeps its tensors."""
        kind = device.partition(":")[0]
        self.chip = kind if kind in CHIPS else ""
        """The kind of the chip that its runner opens for itself, and its launches run on; empty where there is none."""
        self.opened: Mapping[str, Any] = {}
        """What the runner says of the chip that it has opened."""
        self.settings = settings
        self.stage = Stage.SMOKE
        self.results: list[CaseResult] = []
        self._scratch = Path(tempfile.mkdtemp(prefix="kernelwright-runner-"))
        limits = {"CORE": 0, "FSIZE": _LOG_BYTES, "NOFILE": 1024}
        if self.chip:
            limits["MEMLOCK"] = sandbox.PINNED_BYTES
        elif device == "cpu":
            limits["AS_EXTRA"] = settings.memory_bytes
        places = {"TRITON_CACHE_DIR": str(self._scratch / "work" / "triton")}
        config: dict[str, Any] = {"device": self.device}
        if threads is not None:
            config["threads"] = threads
            places["OMP_NUM_THREADS"] = str(threads)
        gpu = self.device != "cpu"
        processes = gpu or bool(self.chip) or kernel.backend not in ("ascend", "cpp")
        self.runner: Child = server.spawn(
            "candidate",
            self._scratch,
            config,
            environment={**places, **self._hand_over(environment)},
            limits=limits,
            sandbox=sandbox.plan(settings.sandbox, server.layers, gpu, processes=processes, chip=self.chip),
            memory_bytes=settings.memory_bytes + (_CHIP_BYTES if self.chip else 0),
            wired="" if self.library else "npu" if self.chip == "npu" else self.device.partition(":")[0],
        )
        if settings.sandbox == "strict":
            self._demand_layers()
        self.least_native: int | None = None
        """Fewest native calls and launches that any judged call made."""
        self.compiler: Callable[[Sequence[Any]], list[tuple[str, str, bool]]] | None = None
        """Makes the libraries of launches that wait for them: (key, library, whether its programs are compared)."""
        self.must_launch = False
        """The observed call launched by hand: then every timed one must."""
        self._built: set[str] = set()
        self._idle = Idleness(0 if gpu or self.chip else self.runner.worker)  # the chip's library has threads of its own
        self._poisons = 0
        self.tripped: dict[str, int] = {}
        """Operators that computed in ``forward`` though they may not; decides from stage honest on."""
        self._kept: list[tuple[Sequence[int], Sequence[Mapping[str, Any]]]] = []
        self._timed_at: list[list[int]] = []
        self.oracles: dict[str, str] = {}
        """Case key -> dtype of its oracle, and why where it is not float64."""
        self.convention = {"1e-2": True, "1e-4": True}
        """Whether every comparison so far would have passed KernelBench's allclose at that tolerance; decides nothing."""
        self.taken = ""
        """Why outputs are not read out of the stopped runner; empty while they are."""

    def _hand_over(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Built libraries, copied to where the runner can see them: the cache holds other kernels' too."""
        folder = self._scratch / "libraries"
        folder.mkdir()
        built: dict[str, str] = json.loads(environment.get(_LIBRARIES, "{}"))
        mine = {key: str(shutil.copy(path, folder / f"{key}.so")) for key, path in built.items()}
        return {**environment, _LIBRARIES: json.dumps(mine)}

    def _demand_layers(self) -> None:
        lacking = sandbox.missing(self.runner.layers)
        if not lacking:
            return
        self.close()
        what = "; ".join(f"{layer} is {state}" for layer, state in lacking.items())
        raise HarnessError(
            f"--sandbox strict: {what}",
            "use a kernel of Linux 5.13 or newer that allows it (in a container: unconfined seccomp and AppArmor), or "
            "--sandbox auto",
        )

    def ask(self, op: str, /, seconds: float | None = None, fds: tuple[int, ...] = (), **message: Any) -> dict[str, Any]:
        """One request to the runner; its failure becomes :class:`Rejected` at the present stage."""
        for _ in range(_ROUNDS):
            reply = self._ask(op, seconds, fds, message)
            if "wanted" not in reply:
                return reply
            self._supply(op, reply["wanted"])
        raise Rejected(Status.UNSUPPORTED, Stage.BUILD, f"one {op} needs more than {_ROUNDS} launches to be compiled")

    def _supply(self, op: str, wanted: Sequence[Any]) -> None:
        """Compile what was launched, and hand the libraries over."""
        if op == "load":
            reason = "a kernel is launched while its module is loaded; launch in forward"
            raise Rejected(Status.BUILD_FAILED, Stage.BUILD, reason)
        if self.compiler is None or op not in _LAUNCHING:
            raise Rejected(Status.CHEATING, self.stage, f"{op} wants launches compiled", {"rule": "forged_reply"})
        try:
            made = self.compiler(wanted)
        except BadLaunch as bad:
            reason = f"the runner wants no launch: {bad}"
            raise Rejected(Status.CHEATING, self.stage, reason, {"rule": "forged_reply"}) from None
        except NotModelled as missing:
            evidence = {"compiler": missing.log[:8000], "rule": "not_modelled"}
            raise Rejected(Status.UNSUPPORTED, Stage.BUILD, str(missing), evidence) from None
        except BuildError as error:
            raise Rejected(Status.BUILD_FAILED, Stage.BUILD, str(error), {"compiler": error.log[:8000]}) from None
        for key, path, compare in made:
            mine = shutil.copy(path, self._scratch / "libraries" / f"{key}.so")
            self._ask("provide", None, (), {"key": key, "path": str(mine), "compare": compare})

    def _ask(self, op: str, seconds: float | None, fds: tuple[int, ...], message: Mapping[str, Any]) -> dict[str, Any]:
        self._idle.ask()
        try:
            reply, _ = self.runner.ask(op, seconds or self.settings.call_seconds, fds, **message)
            self._idle.answered()
        except ChildGone as gone:
            how = gone.gone
            status = _GONE.get(how.how, Status.RUNTIME_ERROR)
            reason = f"{how} during {op}"
            if how.how == "timeout":
                reason = f"no answer within {seconds or self.settings.call_seconds:g} s during {op}"
            raise Rejected(status, self.stage, reason, {"log": how.log[-_TAIL:]}) from None
        try:
            reply = replies.parse(op, reply)
        except replies.BrokenReply as broken:
            reason = f"the runner's answer to {op} is broken: {broken}"
            raise Rejected(Status.CHEATING, self.stage, reason, {"rule": "forged_reply"}) from None
        if self.stage not in _BEFORE_HONEST:
            self.answer_for_idleness()
        if reply.get("patched"):
            reason = f"changed in the process that runs it: {', '.join(reply['patched'][:5])}"
            raise Rejected(Status.CHEATING, Stage.HONEST, reason, {"rule": "patching", "seen_in": self.stage.value})
        self.tripped = reply.get("tripped", {})
        if self.tripped and self.stage not in _BEFORE_HONEST:
            raise self.library_work()
        if "wanted" in reply:
            return reply
        if "outside" in reply:
            raise Outside(str(reply["outside"]))
        if "failed" in reply:
            status = _FAILED.get(reply["failed"], Status.RUNTIME_ERROR)
            evidence = {"traceback": reply.get("traceback", [])}
            raise Rejected(status, self.stage, str(reply.get("message", ""))[:_TAIL], evidence)
        return reply

    def effort(self) -> Effort | None:
        """What the runner has had of the cores so far; None where it is not counted."""
        return effort(self._idle.pid)

    def answer_for_idleness(self) -> None:
        """Work that goes on while nothing is asked is not joined when ``forward`` returns, or done ahead of the clock."""
        if self._idle.seconds > max(_IDLE_SECONDS, _IDLE_SHARE * self._idle.total()):
            spent = f"{self._idle.seconds * 1e3:.1f} ms of CPU time while nothing was asked"
            reason = f"works outside its calls: {spent}; all work must be joined when forward returns"
            raise Rejected(Status.CHEATING, Stage.HONEST, reason, {"rule": "unjoined", "seen_in": self.stage.value})

    @property
    def work(self) -> Path:
        """The runner's working folder, as the judge sees it; what lies there is the kernel's, too."""
        return self.runner.folder

    def library_work(self) -> Rejected:
        """What computed in ``forward`` though it may not, by the wire's count."""
        names = ", ".join(f"{name} ({n}×)" for name, n in sorted(self.tripped.items())[:5])
        reason = f"{names} computed in forward: library work; the kernel must do it itself"
        return Rejected(Status.CHEATING, Stage.HONEST, reason, {"rule": "library", "seen_in": self.stage.value})

    def load(self) -> None:
        """Execute the kernel's module in the runner, which has opened its chip before.

        Raises:
            HarnessError: the chip cannot be opened.
        """
        if self.chip:
            try:
                self.opened = self.ask("open", OPEN_SECONDS)
            except Rejected as failure:
                self.close()
                said = " ".join([failure.reason, *str(failure.evidence.get("log", "")).splitlines()[-1:]])
                chip = kinds()[self.chip]
                remedy = f"see that no other process holds it ({chip.holders}); {chip.docs}"
                raise HarnessError(f"the {chip.title} cannot be used in a runner: {said}", remedy) from None
        given: dict[str, Any] = {"source": self.kernel.source, "backend": self.kernel.backend, "library": list(self.library)}
        self.ask("load", self.settings.smoke_seconds, **given)

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
            private=opened.case.use is Use.TIMING,
        )
        self._built.add(opened.key)

    def try_draw(
        self,
        session: Session,
        opened: OpenCase,
        scale: float = 1.0,
        spikes: str = "",
        vary: bool = False,
        variant: str = "",
    ) -> dict[str, Any] | None:
        """One fresh draw through the kernel, judged; the comparison, or None when the draw left the domain.

        ``variant``: how the inputs lie in memory (``fresh``, ``unaligned``, ``strided``; empty: at the usual addresses).

        Raises:
            Rejected: the kernel failed or is wrong.
            Outside: the kernel declares the shape outside its envelope.
        """
        drawn = session.draw(opened, scale, spikes, vary, variant)
        if drawn["dropped"]:
            return None
        facts = opened.facts
        if vary:
            self.ask("refresh", key=opened.key, parameters=facts["parameters"])
        seconds = self.settings.smoke_seconds if self.stage is Stage.SMOKE else None
        self._poisons += 1
        kind = ("nan", "huge", "plausible", "sparse")[self._poisons % 4]
        outputs = self._outputs(opened)
        layout: dict[str, Any] = {"poison": kind, "seed": secret_seed(), "outputs": outputs, "variant": variant}
        reply = self.ask("call", seconds, key=opened.key, **layout, **self._inputs(opened))
        made = int(reply["native_calls"])
        if opened.numel:  # nothing in, nothing to launch
            self.least_native = made if self.least_native is None else min(self.least_native, made)
        self._fits(opened, reply)
        self._kept = [(reply["at"][0] if reply["at"] else [], reply["outputs"])]
        self.export(opened, 0)
        found = session.compare(opened, self._rtol(session, opened))
        if variant not in ("", "delayed"):
            found["inputs"] = []  # the kernel was given copies
        found["scale"] = scale
        found["native_calls"] = reply["native_calls"]
        found["oracle"] = drawn["oracle"]
        self._decide(opened, found)
        return found

    def verify_timed(self, session: Session, opened: OpenCase, index: int, slot: int) -> None:
        """The output of a timed call, after the clock stopped, compared in full."""
        reply = self.ask("describe", index=index)
        self._fits(opened, reply)
        at = self._timed_at[index] if self._timed_at else []
        if not self._take(opened, at, reply["outputs"]):
            self.ask("export", key=opened.key, index=index, specs=self._outputs(opened))
        found, _ = session.ask("verify", key=opened.key, slot=slot, rtol=self._rtol(session, opened))
        inputs = [] if found["unchanged"] else [{"input": 0, "detail": "changed in place during timing"}]
        self._decide(opened, {**found, "inputs": inputs, "timed": True})

    def timed(self, opened: OpenCase, reply: Mapping[str, Any], calls: int) -> None:
        """A run of timed calls is over: did each launch, and has each an output of its own?"""
        made = int(reply["native_calls"])
        if self.must_launch and made < calls:
            reason = f"{made} native calls and launches in {calls} timed calls, though the observed call made its own"
            raise Rejected(Status.CHEATING, Stage.HONEST, reason, {"rule": "no_own_work"})
        self._timed_at = reply["at"]
        self._apart(opened, self._timed_at)

    def _apart(self, opened: OpenCase, kept: Sequence[Sequence[int]]) -> None:
        """Outputs that are alive at once may not share memory, unless they are views of the same inputs."""
        for i, described in enumerate(opened.facts["outputs"]):
            mine = [at[i] for at in kept if len(at) > i]
            if opened.facts["aliased"][i] or 0 in described["shape"] or len(set(mine)) == len(mine):
                continue
            reason = f"output {i} of one call is the memory of another call's that is still held"
            raise Rejected(Status.INCORRECT, self.stage, reason, {"rule": "shared_output"})

    def reside(self, opened: OpenCase, pool: Pool) -> str:
        """From here on timed calls are the kernel's launches on arrays that lie on its chip; why they cannot be, or empty."""
        return str(self.ask("reside", key=opened.key, **self.pool_inputs(opened, pool))["problem"])

    def attach_pool(self, opened: OpenCase, pool: Pool) -> None:
        self.ask("attach", None, pool.fds, name=f"{opened.key}/pool", arena=pool.facts["arena"])

    def detach_pool(self, opened: OpenCase) -> None:
        """To be called before the pool is dropped: other judges have need of its memory."""
        self.ask("detach", name=f"{opened.key}/pool")

    def pool_inputs(self, opened: OpenCase, pool: Pool) -> dict[str, Any]:
        """What ``prepare`` needs to find the slots' tensors."""
        return {"arena": f"{opened.key}/pool", "specs": pool.facts["specs"], "inputs": opened.facts["inputs"]}

    def inputs(self, opened: OpenCase) -> dict[str, Any]:
        return self._inputs(opened)

    def keep(self, opened: OpenCase, index: int) -> None:
        """One more call on the present inputs; its output is kept as number ``index`` beside the earlier ones."""
        reply = self.ask("call", key=opened.key, keep=index > 0, **self._inputs(opened))
        self._fits(opened, reply)
        self._kept[index:] = [(reply["at"][0] if reply["at"] else [], reply["outputs"])]
        self._apart(opened, [at for at, _ in self._kept])

    def export(self, opened: OpenCase, index: int) -> None:
        """A kept output, copied to where the reference reads it: by the judge where it can, else by the runner."""
        at, described = self._kept[index]
        if not self._take(opened, at, described):
            self.ask("export", key=opened.key, index=index, specs=self._outputs(opened))

    def _take(self, opened: OpenCase, at: Sequence[int], described: Sequence[Mapping[str, Any]]) -> bool:
        """Read outputs out of the stopped runner; False where that cannot be done."""
        if self.device != "cpu" or self.taken or (self.chip and not at):  # what lay on a chip the runner has to fetch
            return False
        try:
            take(self.runner.worker, opened, at, described)
        except Unreadable as problem:
            self.taken = str(problem)
        return not self.taken

    def compare_kept(self, session: Session, opened: OpenCase, index: int, back: int) -> None:
        """Kept output ``index`` judged again, against the draw ``back`` before the last."""
        self.export(opened, index)
        found, _ = session.ask("compare", key=opened.key, rtol=self._rtol(session, opened), back=back)
        try:
            self._decide(opened, {**found, "inputs": [], "state": []})
        except Rejected as failure:
            reason = f"an output is overwritten by a later call: {failure.reason}" if back else failure.reason
            raise Rejected(failure.status, failure.stage, reason, failure.evidence) from None

    def record(self) -> None:
        """Put every native call from here on a tape; before :meth:`load`."""
        self.ask("record")

    def tape(self) -> tuple[bytes, str]:
        """End the recording: what the runner wrote (untrusted), and why it has nothing."""
        with writable(MAX_FILE) as fd:
            reply = self.ask("tape", None, (fd,))
            return written(fd, reply.get("bytes")), str(reply.get("problem", ""))[:_TAIL]

    def close(self) -> None:
        with contextlib.suppress(HarnessError):  # the fork-server is gone, and its children with it: that was said already
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
        if "oracle" in found:
            self.oracles[opened.key] = str(found["oracle"])
        for name in self.convention:
            self.convention[name] &= all(output["kernelbench"][name] for output in found["outputs"])
        label = f"{opened.case.name} {opened.dtype}"
        label = f"a held-out shape, {opened.dtype}" if opened.case.use.value == "held_out" else label
        if found["inputs"]:
            first = found["inputs"][0]
            raise Rejected(
                Status.INCORRECT, self.stage, f"{label}: input {first['input']} {first['detail']}", {"comparison": found}
            )
        for problem in found.get("state", []):
            raise Rejected(Status.INCORRECT, self.stage, f"{label}: {problem}", {"comparison": found})
        for i, output in enumerate(found["outputs"]):
            if not output["passed"]:
                raise Rejected(Status.INCORRECT, self.stage, f"{label}: output {i}: {output['detail']}", found)
