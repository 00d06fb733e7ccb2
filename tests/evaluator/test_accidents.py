"""Accidents in every stage: of a runner, the reference, the fork-server, the disk, the device, and two judges at once.

None may pass a kernel, blame one that has no part in it, or hang; the next judging is right.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernelwright.agent.cli.app import run
from kernelwright.evaluator import accidents, trial, turns
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.engines.local import LocalEngine
from kernelwright.evaluator.frozen import Unreadable
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.runner import cases
from kernelwright.evaluator.session import Session
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.trial import Trial
from kernelwright.tasks.errors import HarnessError, InputError, TaskError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Kernel, Status, Task

REFERENCE = """
import torch, torch.nn as nn
ROWS = 8
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(32))
    def forward(self, x):
        pass
        return x * self.weight + 1.0
def get_inputs():
    return [torch.randn(ROWS, 32)]
def get_init_inputs():
    return []
"""
SOURCE = '''
import torch, torch.nn as nn
from kernelwright.evaluator.native import load
lib = load(cpp=r"""
extern "C" void f(const float* x, const float* w, float* y, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) y[i * cols + j] = x[i * cols + j] * w[j] + 1.0f;
}
""")
class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(32))
    def forward(self, x):
        pass
        y = torch.empty_like(x)
        lib.f(x, self.weight, y, x.shape[0], x.shape[1])
        return y
'''
KERNEL = Kernel(SOURCE, "cpp")
QUICK = Settings(sanitize="off", baselines=("eager",), timing_seconds=0.3, min_blocks=3, max_blocks=4, half_width=1e9)
LOST = "CUDA error: no CUDA-capable device is detected"


def task_of(folder: Path, statement: str = "pass") -> Task:
    """The task, with a statement in the reference's forward."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "affine.py"
    path.write_text(REFERENCE.replace("pass", statement))
    return load_task(str(path))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return task_of(tmp_path_factory.mktemp("accidents"))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with Judge("cpp", "cpu", tmp_path_factory.mktemp("cache"), QUICK) as found:
        yield found


@pytest.fixture
def patch(judge: Judge, task: Task) -> Iterator[pytest.MonkeyPatch]:
    """Changes that are undone before an honest kernel is judged, which must pass."""
    with pytest.MonkeyPatch.context() as found:
        yield found
    with pytest.MonkeyPatch.context() as quicker:
        quicker.setattr(judge, "settings", replace(QUICK, timing=False))
        verdict = judge.judge(KERNEL, task)
    assert verdict.status is Status.PASSED, verdict.reason


def before(patch: pytest.MonkeyPatch, owner: type, op: str, do: Callable[[Any], None]) -> list[str]:
    """Call ``do`` with the asker when ``owner.ask`` is first to send ``op``; the list holds what was asked until then."""
    ask, asked = owner.ask, []  # type: ignore[attr-defined]

    def asks(self: Any, name: str, /, *arguments: Any, **message: Any) -> Any:
        if name == op and op not in asked:
            do(self)
        asked.append(name)
        return ask(self, name, *arguments, **message)

    patch.setattr(owner, "ask", asks)
    return asked


def kill_runner(found: Trial) -> None:
    os.kill(found.runner.worker, signal.SIGKILL)


def kill_reference(found: Session) -> None:
    os.kill(found._child.pid, signal.SIGKILL)


def kill_server(judge: Judge) -> None:
    process = judge.server({}).process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    "op", ["load", "attach", "detach", "build", "refresh", "call", "export", "trace", "prepare", "time", "describe"]
)
def test_a_runner_that_is_killed_in_any_stage_costs_one_attempt(
    judge: Judge, task: Task, patch: pytest.MonkeyPatch, op: str
) -> None:
    def no_right_to_read(*_: object) -> None:
        raise Unreadable("not in this test")

    if op == "export":
        patch.setattr(trial, "take", no_right_to_read)
    asked = before(patch, Trial, op, kill_runner)
    verdict = judge.judge(KERNEL, task)
    assert op in asked
    assert verdict.status is Status.RUNTIME_ERROR, verdict.reason
    assert f"during {op}" in verdict.reason


REQUESTS = "open admit draw compare fingerprint pool baselines shuffle prepare time verify intact"


@pytest.mark.parametrize("op", REQUESTS.split())
def test_a_reference_that_is_killed_in_any_stage_blames_no_kernel(
    judge: Judge, task: Task, patch: pytest.MonkeyPatch, op: str, tmp_path: Path
) -> None:
    mine = task_of(tmp_path)  # a session of its own, so that every request is made
    asked = before(patch, Session, op, kill_reference)
    with pytest.raises(TaskError, match=r"the reference's process failed \(killed by SIGKILL\)") as failure:
        judge.judge(KERNEL, mine)
    assert op in asked
    assert failure.value.remedy


@pytest.mark.parametrize("op", ["load", "call", "trace", "time"])
def test_a_fork_server_that_dies_is_the_harness_failing(task: Task, tmp_path: Path, op: str) -> None:
    judge = Judge("cpp", "cpu", tmp_path / "cache", QUICK)
    with pytest.MonkeyPatch.context() as patch:
        asked = before(patch, Trial, op, lambda _: kill_server(judge))
        with pytest.raises(HarnessError, match="the fork-server is gone"):
            judge.judge(KERNEL, task)
    assert op in asked
    judge.close()


def test_a_fork_server_that_dies_between_two_kernels(task: Task, tmp_path: Path) -> None:
    with Judge("cpp", "cpu", tmp_path / "cache", replace(QUICK, timing=False)) as judge:
        assert judge.judge(KERNEL, task).passed
        kill_server(judge)
        with pytest.raises(HarnessError, match="the fork-server is gone"):
            judge.judge(KERNEL, task)


class TestTwoJudges:
    def test_on_one_device_both_finish(self, judge: Judge, task: Task, tmp_path: Path) -> None:
        with Judge("cpp", "cpu", tmp_path / "cache", QUICK) as other:
            found = []
            threads = [threading.Thread(target=lambda j=j: found.append(j.judge(KERNEL, task))) for j in (judge, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(120)
            assert [v.status for v in found] == [Status.PASSED] * 2, [v.reason for v in found]

    def test_one_times_while_the_other_waits(self) -> None:
        inside, order = threading.Event(), []

        def second() -> None:
            inside.wait(10)
            with turns.exclusive("test"):
                order.append("second")

        thread = threading.Thread(target=second)
        thread.start()
        with turns.exclusive("test"):
            inside.set()
            thread.join(0.2)
            order.append("first")
        thread.join(10)
        assert order == ["first", "second"]

    def test_work_that_is_not_timed_goes_on_side_by_side_and_waits_for_one_that_times(self) -> None:
        order: list[str] = []
        begun, leave = threading.Event(), threading.Event()

        def worker() -> None:
            with turns.shared("test"):
                begun.set()
                leave.wait(10)
                order.append("work")

        def timer() -> None:
            with turns.exclusive("test"):
                order.append("timed")

        def late() -> None:
            with turns.shared("test"):
                order.append("late")

        first = threading.Thread(target=worker)
        first.start()
        assert begun.wait(10)
        with turns.shared("test"):
            order.append("beside")
        others = [threading.Thread(target=timer), threading.Thread(target=late)]
        for each in others:
            each.start()
            each.join(0.2)
        assert order == ["beside"], "one that waits to time lets nobody else begin"
        leave.set()
        for each in (first, *others):
            each.join(10)
        assert order == ["beside", "work", "timed", "late"]

    def test_one_that_is_killed_leaves_the_device_free(self) -> None:
        code = (
            "import sys, time\nfrom kernelwright.evaluator.turns import exclusive\n"
            "with exclusive('test'):\n    print('held', flush=True)\n    time.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            entered = threading.Event()

            def enter() -> None:
                with turns.exclusive("test"):
                    entered.set()

            thread = threading.Thread(target=enter, daemon=True)
            thread.start()
            assert not entered.wait(0.2)
            holder.kill()
            assert entered.wait(10)
            thread.join(10)


def in_small_folder(folder: Path, options: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a file system of its own at ``folder``; skips where that cannot be had."""
    folder.mkdir(parents=True, exist_ok=True)
    tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True, check=False)
    if shutil.which("unshare") is None or tried.returncode:
        pytest.skip("no mount namespaces here")
    script = f'mount -t tmpfs -o {options} tmpfs "$0" && exec "$@"'
    shell = ["unshare", "-rm", "sh", "-c", script, str(folder), *command]
    return subprocess.run(shell, capture_output=True, text=True, check=False, timeout=120)


class TestDisk:
    @pytest.mark.parametrize(("which", "options"), [("home", "size=64k"), ("home", "ro"), ("scratch", "size=64k")])
    def test_without_room_is_said_once_and_judges_nothing(self, tmp_path: Path, which: str, options: str) -> None:
        (tmp_path / "kernel.py").write_text(SOURCE)
        task_of(tmp_path)
        small = tmp_path / which
        home = tmp_path / "home"
        files = [str(tmp_path / "kernel.py"), "--task", str(tmp_path / "affine.py")]
        check = [sys.executable, "-m", "kernelwright", "check", *files]
        temporary = [] if which == "home" else ["env", f"TMPDIR={small}"]
        done = in_small_folder(small, options, *temporary, *check, "--home", str(home), "--json")
        assert done.returncode in (2, 3), done.stdout + done.stderr
        error = json.loads(done.stdout)["error"]
        assert ("cannot be written: Read-only" if options == "ro" else "has 0 MiB left") in error["message"]
        assert error["remedy"]
        assert "Traceback" not in done.stdout + done.stderr

    def test_that_fills_while_a_kernel_is_judged_gives_no_verdict(
        self, judge: Judge, task: Task, patch: pytest.MonkeyPatch
    ) -> None:
        free = os.statvfs("/")

        def full(_: object) -> None:
            shown = os.statvfs_result([*free[:3], 0, 0, *free[5:]])
            patch.setattr(accidents.os, "statvfs", lambda _: shown)

        before(patch, Trial, "trace", full)
        with pytest.raises(HarnessError, match="0 MiB left") as failure:
            judge.judge(KERNEL, task)
        assert "--home" in failure.value.remedy

    def test_a_system_call_of_the_judge_that_fails(self, judge: Judge, task: Task, patch: pytest.MonkeyPatch) -> None:
        def fails(_: object) -> None:
            raise OSError(28, "No space left on device", "/somewhere")

        before(patch, Trial, "trace", fails)
        with pytest.raises(HarnessError, match="/somewhere: No space left on device"):
            judge.judge(KERNEL, task)

    def test_a_cache_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("")
        with pytest.raises(InputError, match="cannot be made"):
            Judge("cpp", "cpu", tmp_path / "cache", QUICK)


class TestDeviceThatIsGone:
    def test_by_the_references_own_word(self, judge: Judge, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
        with pytest.raises(HarnessError, match="cannot be used: .*no CUDA-capable device"):
            judge.judge(KERNEL, task_of(tmp_path, f"raise RuntimeError('{LOST}')"))

    def test_by_what_the_references_process_wrote_before_it_ended(
        self, judge: Judge, tmp_path: Path, patch: pytest.MonkeyPatch
    ) -> None:
        dies = f"import os; print('RuntimeError: {LOST}', flush=True); os._exit(70)"
        with pytest.raises(HarnessError, match="cannot be used: .*no CUDA-capable device"):
            judge.judge(KERNEL, task_of(tmp_path, dies))

    def test_a_kernel_that_only_says_so_is_wrong(self, judge: Judge, task: Task, patch: pytest.MonkeyPatch) -> None:
        verdict = judge.judge(Kernel(SOURCE.replace("pass", f"raise RuntimeError('{LOST}')"), "cpp"), task)
        assert verdict.status is Status.RUNTIME_ERROR

    def test_a_kernel_that_met_it_is_not_to_blame(self, judge: Judge, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
        def gone(session: Session) -> None:
            (session._scratch / "reference.log").write_text(LOST)
            kill_reference(session)

        mine = task_of(tmp_path)
        judge.ceilings()
        before(patch, Session, "device", gone)
        with pytest.raises(HarnessError, match="no CUDA-capable device"):
            judge.judge(Kernel(SOURCE.replace("pass", f"raise RuntimeError('{LOST}')"), "cpp"), mine)

    def test_another_cuda_error_ends_the_references_process(
        self, judge: Judge, tmp_path: Path, patch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(TaskError, match="illegal memory access"):
            judge.judge(KERNEL, task_of(tmp_path, "raise RuntimeError('CUDA error: an illegal memory access was encountered')"))
        assert judge._session is None or not judge._session.alive


class TestOracle:
    def test_float64_is_said(self, judge: Judge, task: Task) -> None:
        verdict = judge.judge(KERNEL, task)
        assert set(verdict.evidence["oracle"].values()) == {"float64"}
        assert verdict.evidence["convention"] == {"1e-2": True, "1e-4": True}

    def test_that_cannot_be_had_is_said_with_the_reason(self, judge: Judge, tmp_path: Path) -> None:
        narrow = "assert x.dtype == torch.float32 or not (_ for _ in ()).throw(MemoryError('float64 does not fit'))"
        verdict = judge.judge(KERNEL, task_of(tmp_path, narrow))
        assert verdict.passed, verdict.reason
        assert set(verdict.evidence["oracle"].values()) == {"float32, not float64: float64 does not fit"}

    def test_that_does_not_fit_memory_falls_back(self, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cases, "available_memory", lambda: 1 << 10)
        case = cases.Case(task, {}, "float32", "cpu", None, 1)
        assert case.oracle_dtype.startswith("float32, not float64: the float64 oracle needs")
        assert case.expected.oracle[0].equal(case.expected.eager[0])


def test_the_fields_convention_may_say_otherwise(judge: Judge, task: Task) -> None:
    wrong = Kernel(SOURCE.replace("+ 1.0f", "+ 1.005f"), "cpp")
    verdict = judge.judge(wrong, task)
    assert verdict.status is Status.INCORRECT
    assert verdict.evidence["convention"] == {"1e-2": True, "1e-4": False}


class TestThoroughJobs:
    def test_settings(self) -> None:
        found = Settings(timing_seconds=1.0, min_blocks=3, max_blocks=6).thorough("cuda")
        assert (found.sanitize, found.min_blocks, found.max_blocks, found.timing_seconds) == ("all", 30, 30, 20.0)
        assert Settings().timing_seconds < Settings().thorough("cpu").timing_seconds < 8.0
        assert Settings(timing_seconds=90.0).thorough("cpu").timing_seconds == 90.0
        assert Settings(timing_seconds=1.0, thorough_seconds=1.0).thorough("cuda").timing_seconds == 1.0
        assert Settings(sanitize="off").thorough("cuda").sanitize == "off"

    def test_are_timed_longer_and_the_next_is_not(self, task: Task, tmp_path: Path) -> None:
        settings = replace(QUICK, timing_seconds=20.0, max_blocks=30, thorough_blocks=7)
        engine = LocalEngine("cpp", "cpu", tmp_path, settings)
        try:
            jobs = [Job("a", KERNEL, task), Job("b", KERNEL, task, thorough=True), Job("c", KERNEL, task)]
            verdicts = [engine.evaluate(job) for job in jobs]
        finally:
            engine.close()
        assert all(v.passed for v in verdicts), [v.reason for v in verdicts]
        blocks = [len(next(iter(v.evidence["samples_us"].values()))["candidate"]) for v in verdicts]
        assert blocks == [3, 7, 3]


class TestExitCodes:
    """What ``kernelwright check --json`` makes of it: one object, and 2 or 3."""

    @pytest.fixture
    def check(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> Callable[..., tuple[int, Any]]:
        (tmp_path / "kernel.py").write_text(SOURCE)

        def check(statement: str = "pass") -> tuple[int, Any]:
            task_of(tmp_path, statement)
            arguments = [str(tmp_path / "kernel.py"), "--task", str(tmp_path / "affine.py"), "--home", str(tmp_path / "home")]
            code = run(["check", *arguments, "--json"])
            return code, json.loads(capfd.readouterr().out)

        return check

    def test_a_reference_that_ends_its_process(self, check: Callable[..., tuple[int, Any]]) -> None:
        code, data = check("import os; os._exit(5)")
        assert code == 2
        assert "ended by itself with exit code 5" in data["error"]["message"]

    def test_a_device_that_is_gone(self, check: Callable[..., tuple[int, Any]]) -> None:
        code, data = check(f"raise RuntimeError('{LOST}')")
        assert code == 3
        assert set(data["error"]) == {"message", "remedy"}

    def test_a_fork_server_that_dies(
        self, check: Callable[..., tuple[int, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(found: Trial) -> None:
            found.runner._server.process.kill()  # type: ignore[attr-defined]

        before(monkeypatch, Trial, "call", die)
        code, data = check()
        assert code == 3
        assert "the fork-server is gone" in data["error"]["message"]
        assert data["error"]["remedy"]
