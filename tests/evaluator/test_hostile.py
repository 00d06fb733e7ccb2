"""Runners that die, hang, lie or flood, in every stage: one attempt each, and the next kernel is judged right."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kernelwright.evaluator import replies, trial
from kernelwright.evaluator.build import BuildError, native_sources
from kernelwright.evaluator.frozen import Unreadable
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.screen import screen
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Kernel, Status, Task

REFERENCE = """
import torch, torch.nn as nn
ROWS = 8
class Model(nn.Module):
    def __init__(self):
        super().__init__()
    def forward(self, x):
        return x + 1.0
def get_inputs():
    return [torch.randn(ROWS, 32)]
def get_init_inputs():
    return []
"""
HONEST = '''
import json, os, socket, stat, struct, sys, threading, time
import torch, torch.nn as nn
from kernelwright.evaluator.native import load
lib = load(cpp=r"""
extern "C" void inc(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = x[i] + 1.0f; }
""")
def pipes():
    for fd in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                yield fd
        except OSError:
            pass
def forge(**reply):
    data = json.dumps(reply).encode()
    for fd in pipes():
        os.write(fd, struct.pack(">I", len(data)) + data)
def at_export(do):
    """Evil that waits until the harness copies the output."""
    original = torch.Tensor.detach
    def detach(self):
        do()
        return original(self)
    torch.Tensor.detach = detach
LOAD = None
class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        BUILD = None
    def forward(self, x):
        y = torch.empty_like(x)
        lib.inc(x, y, x.numel())
        CALL = None
        return y
'''
EXIT, HANG = "os._exit(0)", "time.sleep(60)"
CLOSE = "([os.close(fd) for fd in pipes()], time.sleep(60))"
GARBAGE = "[os.write(fd, b'\\xff' * 64) for fd in pipes()]"
PASSES = "forge(ok=True, copied=[], left=[], native_calls=1, plain=True)"
STAGES = ("LOAD", "BUILD", "CALL")


def kernel(**evil: str) -> Kernel:
    """The honest kernel with a statement in each of the named stages."""
    source = HONEST
    if "EXPORT" in evil:
        evil["CALL"] = f"at_export(lambda: {evil.pop('EXPORT')})"
    for stage, statement in evil.items():
        source = source.replace(f"{stage} = None", statement)
    return Kernel(source, "cpp")


def descriptors() -> int:
    """Descriptors open in this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def no_right_to_read(*_: object) -> None:
    """As where the judge may not look into the runner: the runner then copies its outputs itself."""
    raise Unreadable("not in this test")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    path = tmp_path_factory.mktemp("hostile") / "increment.py"
    path.write_text(REFERENCE)
    return load_task(str(path))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    settings = Settings(timing=False, screen=False, sanitize="off", smoke_seconds=15.0, call_seconds=15.0, memory_bytes=1 << 30)
    with Judge("cpp", "cpu", tmp_path_factory.mktemp("cache"), settings) as found:
        yield found


@pytest.fixture
def how(next_is_judged_right: None) -> Iterator[pytest.MonkeyPatch]:
    """Changes that are undone before the next kernel is judged."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture
def next_is_judged_right(judge: Judge, task: Task) -> Iterator[None]:
    """After each hostile kernel an honest one gets its verdict."""
    yield
    honest = judge.judge(kernel(), task)
    assert honest.status is Status.PASSED, honest.reason


@pytest.mark.usefixtures("next_is_judged_right")
class TestEveryStage:
    @pytest.mark.parametrize("stage", STAGES)
    @pytest.mark.parametrize(
        ("evil", "status", "words"),
        [
            (EXIT, Status.RUNTIME_ERROR, "ended by itself"),
            (HANG, Status.TIMEOUT, "no answer within"),
            (CLOSE, Status.RUNTIME_ERROR, "closed the judge's pipe"),
            (GARBAGE, Status.CHEATING, "judge's pipe"),
            (PASSES, Status.CHEATING, "another request"),
            ("[][0]", Status.RUNTIME_ERROR, "IndexError"),
        ],
        ids=["exit", "hang", "close", "garbage", "forged", "raise"],
    )
    def test_costs_one_attempt(
        self, judge: Judge, task: Task, how: pytest.MonkeyPatch, stage: str, evil: str, status: Status, words: str
    ) -> None:
        if evil == HANG:
            how.setattr(judge, "settings", replace(judge.settings, smoke_seconds=1.0, call_seconds=1.0))
        verdict = judge.judge(kernel(**{stage: evil}), task)
        assert verdict.status is status, verdict.reason
        assert words in verdict.reason
        json.dumps(verdict.reason).encode()

    def test_waiting_for_the_copying_of_outputs_takes_a_patch_that_is_seen(
        self, judge: Judge, task: Task, how: pytest.MonkeyPatch
    ) -> None:
        how.setattr(trial, "take", no_right_to_read)
        verdict = judge.judge(kernel(EXPORT=EXIT), task)
        assert (verdict.status, verdict.evidence["rule"]) == (Status.CHEATING, "patching")
        assert "torch.Tensor.detach" in verdict.reason

    @pytest.mark.parametrize(
        ("evil", "status"),
        [
            ("kept = [bytes(1 << 28) for _ in range(8)]", Status.OUT_OF_MEMORY),
            ("sys.setrecursionlimit(10 ** 7); a = []; [a := [a] for _ in range(10 ** 6)]; repr(a)", Status.RUNTIME_ERROR),
            ("raise ValueError('\\ud800' + 'x' * (20 << 20))", Status.RUNTIME_ERROR),
            ("return [0] * (1 << 20)", Status.RUNTIME_ERROR),
            ("raise SystemExit(0)", Status.RUNTIME_ERROR),
            ("raise KeyboardInterrupt", Status.RUNTIME_ERROR),
            ("threading.Thread(target=lambda: (time.sleep(0.05), os._exit(0))).start(); time.sleep(1)", Status.RUNTIME_ERROR),
        ],
        ids=["memory", "stack", "long message", "long answer", "exit", "interrupt", "thread"],
    )
    def test_other_ways_to_fail(self, judge: Judge, task: Task, evil: str, status: Status) -> None:
        verdict = judge.judge(kernel(CALL=evil), task)
        assert verdict.status is status, verdict.reason
        verdict.reason.encode()

    def test_descriptors_sent_along_stay_out_of_the_judge(self, judge: Judge, task: Task) -> None:
        evil = "[socket.send_fds(socket.socket(fileno=os.dup(fd)), [b'x'], [0] * 8) for fd in pipes()]"
        judge.judge(kernel(CALL=EXIT), task)  # opens what the judge keeps: the runner, the reference
        before = descriptors()
        assert judge.judge(kernel(CALL=evil), task).status is Status.CHEATING
        assert descriptors() <= before

    def test_the_judge_keeps_no_descriptor_of_an_attempt(self, judge: Judge, task: Task) -> None:
        judge.judge(kernel(CALL=EXIT), task)  # opens what the judge keeps: the runner, the reference
        before = descriptors()
        judge.judge(kernel(CALL=EXIT), task)
        assert descriptors() <= before


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    quick = Settings(screen=False, sanitize="off", baselines=("eager",), timing_seconds=0.3, min_blocks=3, max_blocks=6)
    with Judge("cpp", "cpu", tmp_path_factory.mktemp("timed"), quick) as found:
        yield found


@pytest.mark.parametrize("at", [1, 4, 9, 30, 90])
@pytest.mark.parametrize("evil", ["os._exit(0)", "forge(host_us=0.001, native_calls=1, at=[0])"], ids=["exit", "forged"])
def test_a_runner_that_goes_bad_at_any_call_does_not_pass(timed: Judge, task: Task, at: int, evil: str) -> None:
    body = f"self.count = getattr(self, 'count', 0) + 1\n        if self.count == {at}: {evil}"
    verdict = timed.judge(kernel(CALL=body), task)
    assert verdict.status is (Status.CHEATING if "forge" in evil else Status.RUNTIME_ERROR), verdict.reason


def test_the_verdict_says_what_kept_the_kernel_in(judge: Judge, task: Task) -> None:
    verdict = judge.judge(kernel(), task)
    layers = verdict.environment["sandbox"]
    assert layers["process"] == layers["no_new_privs"] == "on"
    assert {"namespaces", "landlock", "seccomp", "capabilities"} <= set(layers)
    assert all(state == "on" or state.startswith("off: ") for state in layers.values())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
GOOD: dict[str, dict[str, Any]] = {
    "call": {
        "tree": {"list": [{"tensor": 0}, {"float": "nan"}]},
        "outputs": [{"shape": [2], "dtype": "float32", "device": "cpu", "strides": [1]}],
        "plain": True,
        "at": [[4096]],
        "native_calls": 1,
    },
    "trace": {
        "ops": {"aten::add": 1},
        "times": {"aten::add": 1.5},
        "kernels": {},
        "total_us": 2.0,
        "flops": 0,
        "native_calls": 1,
    },
    "time": {"host_us": 1.5, "native_calls": 4, "at": [[1, 2], [3]]},
    "account": {"event_us": None},
    "tape": {"bytes": 3, "problem": ""},
    "races": {"races": [], "launches": 1, "unchecked": ""},
    "compile": {"launches": [{"name": "k", "constexprs": {"B": "inf"}}]},
    "load": {"ok": True},
    "build": {"copied": ["w"], "left": []},
}


@pytest.mark.parametrize("op", sorted(GOOD))
def test_what_the_runner_really_answers_is_accepted(op: str) -> None:
    assert replies.parse(op, {**GOOD[op], "unknown": 1}) == GOOD[op]


@hypothesis_settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_any_reply_is_typed_or_broken(op: str, data: st.DataObject) -> None:
    reply: dict[str, Any] = dict(GOOD[op])
    for key in data.draw(st.lists(st.sampled_from([*reply, "tripped", "failed", "outside", "message"]), max_size=3)):
        reply[key] = data.draw(JSON)
    try:
        found = replies.parse(op, reply)
    except replies.BrokenReply as broken:
        str(broken).encode()
        return
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    for key, value in found.items():
        if key in GOOD[op] and GOOD[op][key] is not None:
            assert type(value) is type(GOOD[op][key])


@pytest.mark.parametrize(
    ("op", "field", "value"),
    [
        ("call", "native_calls", -1),
        ("call", "native_calls", True),
        ("call", "native_calls", 1e300),
        ("call", "tree", {}),
        ("call", "tree", {"tensor": 0, "list": []}),
        ("call", "outputs", {}),
        ("call", "plain", 1),
        ("time", "host_us", float("nan")),
        ("time", "host_us", float("inf")),
        ("time", "host_us", -1.0),
        ("time", "at", {"0": 1}),
        ("trace", "ops", []),
        ("trace", "times", {"aten::add": "1"}),
    ],
)
def test_wrong_types_are_broken(op: str, field: str, value: Any) -> None:
    with pytest.raises(replies.BrokenReply, match=field):
        replies.parse(op, {**GOOD[op], field: value})
    missing = {k: v for k, v in GOOD[op].items() if k != field}
    with pytest.raises(replies.BrokenReply, match=field):
        replies.parse(op, missing)


PIECES = st.sampled_from(
    ["\0", "\\", "'''", '"""', "(", ")", "{", "}", "\n", "\t", "    ", "\r", "load(cpp=", "load(", "#if 0\n", "/*", "R\"x(",
     "\ud800", "\u202e", "é", "import", "from x import *", "lambda:", "exec(", "f'{x!r", "0x", "9" * 5000, "(" * 300,
     "-" * 3000, "await ", "match x:\n case", "@", "=", "\x0c", "\ufeff", "# -*- coding: rot13 -*-\n"]
)  # fmt: skip


@hypothesis_settings(max_examples=250, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), PIECES | st.text(max_size=5)), min_size=1, max_size=6))
def test_no_source_upsets_the_screens(edits: list[tuple[float, int, str]]) -> None:
    source = HONEST
    for where, cut, piece in edits:
        at = int(where * len(source))
        source = source[:at] + piece + source[at + cut :]
    for finding in screen(Kernel(source, "cpp")):
        assert finding.tier in ("reject", "flag", "record")
    with contextlib.suppress(BuildError, SyntaxError):
        native_sources(source)


@pytest.mark.parametrize("count", [100, 148, 600, 20_000])
@pytest.mark.parametrize(
    "form", ["x = {}1|-", "x = {}1|not ", "x = 0{}|+ 1", "x{}|.a", "{}1|lambda: ", "x = f'{}'|{1}", "x = 1{}|if 1 else (1)"]
)
def test_deep_nesting_upsets_no_screen(form: str, count: int) -> None:
    text, piece = form.split("|")
    source = text.replace("{}", piece * count, 1)
    for backend in ("cpp", "triton"):
        for finding in screen(Kernel(source, backend)):
            assert finding.tier in ("reject", "flag", "record")
        with contextlib.suppress(BuildError, SyntaxError):
            native_sources(source)


def test_folders_of_attempts_are_gone(judge: Judge, task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for evil in ("pass", EXIT, "os.makedirs('a/b'); os.chmod('a', 0)"):
        judge.judge(kernel(CALL=evil), task)
    assert not list(tmp_path.glob("kernelwright-runner-*"))
