"""Nsight Compute's CSV as figures; and, without a GPU, how the profiled process is started and its failures are told."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelwright.evaluator import profiler
from kernelwright.evaluator.profile_metrics import METRICS, number, read, summary
from kernelwright.evaluator.profiler import Profiler, command, find_ncu
from kernelwright.evaluator.runner.processes import ForkServer
from kernelwright.evaluator.session import OpenCase, Session
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.records import Kernel, ShapeCase, Task, Use

LEADING = ("ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream", "Block Size", "Grid Size",
           "Device", "CC")  # fmt: skip
STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"


def table(*kernels: tuple[str, dict[str, str]], units: dict[str, str] | None = None) -> str:
    """What ``ncu --csv --page raw`` prints, after NVIDIA's documentation: header, units, one row a kernel; all quoted."""
    metrics = list(dict.fromkeys(name for _, cells in kernels for name in cells))
    given = {"gpu__time_duration.sum": "ns", **(units or {})}
    rows = [(*LEADING, *metrics), (*[""] * len(LEADING), *(given.get(name, "") for name in metrics))]
    for i, (name, cells) in enumerate(kernels):
        leading = (str(i), "4711", "python3.12", "127.0.0.1", name, "1", "7", "(128, 1, 1)", "(8192, 1, 1)", "0", "9.0")
        rows.append((*leading, *(cells.get(metric, "") for metric in metrics)))
    return "\n".join(",".join(f'"{cell}"' for cell in row) for row in rows)


SOFTMAX = {
    "gpu__time_duration.sum": "41,216",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "24.61",
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": "88.20",
    "lts__throughput.avg.pct_of_peak_sustained_elapsed": "51.02",
    "launch__registers_per_thread": "40",
    "dram__bytes_read.sum": "67,108,864",
    "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": "2,097,152",
    "l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum": "131,072",
    STALL.format("long_scoreboard"): "21.40",
    STALL.format("barrier"): "3.10",
    STALL.format("wait"): "1.70",
    STALL.format("drain"): "0.20",
}
NOISE = """job start
==PROF== Connected to process 4711 (/usr/bin/python3.12)
==PROF== Profiling "softmax_kernel" - 0: 0%....50%....100% - 9 passes
"""


def test_one_kernel_in_the_units_that_we_promise() -> None:
    (row,) = read(f"{NOISE}{table(('softmax_kernel', SOFTMAX))}\njob end\n==PROF== Disconnected from process 4711\n")
    assert (row.name, row.microseconds) == ("softmax_kernel", 41.216)
    assert row.figures["dram_percent"] == 88.2
    assert row.figures["dram_read_bytes"] == 67_108_864
    found = summary([row])
    assert (found["launches"], found["microseconds"], found["registers"]) == (1, 41.22, 40)
    assert found["memory_percent"] == 88.2, "the busiest of L1, L2 and DRAM"
    assert found["stalls"] == {"long scoreboard": 21.4, "barrier": 3.1, "wait": 1.7}, "the three longest, longest first"
    assert "kernels" not in found, "a single launch is told once"


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("41,216", "ns", 41.216), ("41.216", "usecond", 41.216), ("1,041.5", "us", 1041.5), ("1.5", "msecond", 1500.0),
        ("67.11", "Mbyte", 67.11e6), ("48", "Kbyte/block", 48e3), ("1,024", "byte/block", 1024.0), ("12.5", "%", 12.5),
        ("n/a", "%", None), ("", "ns", None), ("nan", "", None), ("inf", "ns", None), ("(128, 1, 1)", "", None),
    ],
)  # fmt: skip
def test_numbers_with_separators_and_units(text: str, unit: str, value: float | None) -> None:
    assert number(text, unit) == (None if value is None else pytest.approx(value))


def test_several_kernels_are_weighted_by_their_time_and_the_librarys_are_apart() -> None:
    def cells(nanoseconds: str, compute: str, spilled: str) -> dict[str, str]:
        return {
            "gpu__time_duration.sum": nanoseconds,
            "sm__throughput.avg.pct_of_peak_sustained_elapsed": compute,
            "smsp__inst_executed_op_local_ld.sum": spilled,
        }

    text = table(
        ("partial_sums", cells("30,000", "80.0", "640")),
        ("combine", cells("10,000", "40.0", "0")),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>(int)", cells("5,000", "5.0", "0")),
    )
    found = summary(read(text))
    assert found["compute_percent"] == 70.0
    assert (found["launches"], found["microseconds"], found["library_microseconds"]) == (2, 40.0, 5.0)
    assert found["local_loads"] == 640
    assert [kernel["name"] for kernel in found["kernels"]] == ["partial_sums", "combine"]  # type: ignore[attr-defined]


def test_what_is_no_row_is_left_out() -> None:
    good = table(("k", SOFTMAX))
    broken = f'{good}\n"1","2"\nnot csv at all\n' + good.splitlines()[-1].replace('"41,216"', '"n/a"')
    assert [row.name for row in read(broken)] == ["k"]
    assert read("==ERROR== no kernels were profiled\n") == ()
    assert summary(read('"ID","Kernel Name"\n')) == {}
    (row,) = read(table(("evil`\n```" + "x" * 500, SOFTMAX)).replace("\n```", "```"))
    assert "`" not in row.name
    assert len(row.name) <= 60


def test_the_metrics_are_few_and_asked_for_once() -> None:
    assert len(METRICS) == len(set(METRICS)) < 50
    line = command("/opt/ncu")
    assert line[line.index("--clock-control") + 1] == "none", "it must not need rights over clocks"
    assert line[line.index("--profile-from-start") + 1] == "off", "only the second call is looked at"


def test_only_runs_whose_writer_reads_prompts_profile_and_their_audits_do_not() -> None:
    assert Settings().profile == "off"
    assert Settings(profile="auto").thorough("cuda").profile == "off"


# The rest: plumbing, with a script in the profiler's place that runs the program it is given and prints a table.

REFERENCE = """import torch
import torch.nn as nn
N = 1000
class Model(nn.Module):
    def forward(self, x):
        return x * 2
def get_inputs():
    return [torch.rand(N)]
def get_init_inputs():
    return []
"""
KERNEL = "import torch.nn as nn\nclass ModelNew(nn.Module):\n    def forward(self, x):\n        CALL\n        return x * 2\n"
TASK = Task("demo/plumbing", REFERENCE, "reference.py", (ShapeCase("only", Use.TIMING, {}, ("float32",)),))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where CUDA would be: a runner sees what is there."""
    return tmp_path_factory.mktemp("cuda")


@pytest.fixture(scope="module")
def opened(place: Path) -> Iterator[tuple[Session, OpenCase, ForkServer]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_HOME", str(place))
        server = ForkServer({"OMP_NUM_THREADS": "1"})
        session = Session(TASK, "cpu", server, {})
        case = session.open(TASK.cases[0], "float32")
        assert case is not None
        yield session, case, server
        session.close()
        server.close()


def put(place: Path, after: str) -> None:
    """A ``bin/ncu`` that keeps its options, runs the program, and then does ``after``."""
    path = place / "bin" / "ncu"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "#!/bin/sh\n"
        'while [ "${1#-}" != "$1" ] || [ "${1#/}" = "$1" ]; do echo "option $1"; shift; done\n'  # up to the interpreter's path
        '"$@"\nstatus=$?\n'
        f"{after}\nexit $status\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def profiled(
    opened: tuple[Session, OpenCase, ForkServer], patch: pytest.MonkeyPatch, place: Path, call: str = "pass", **own: Profiler
) -> dict[str, object]:
    patch.setenv("CUDA_HOME", str(place))
    patch.setenv("PATH", "/usr/bin:/bin")
    session, case, server = opened
    kernel = Kernel(KERNEL.replace("CALL", call), "triton")
    return own.get("own", Profiler()).profile(kernel, session, [case], server, "cpu", "auto")


def test_the_kernel_is_called_in_a_sandboxed_process_and_the_table_read(
    opened: tuple[Session, OpenCase, ForkServer], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place, "cat <<'END'\n" + table(("softmax_kernel", SOFTMAX)) + "\nEND")
    found = profiled(opened, monkeypatch, place)
    assert found["tool"] == "ncu"
    assert found["case"] == "only/timing/float32"
    assert found["memory_percent"] == 88.2
    json.dumps(found)


def test_a_kernel_that_fails_there_is_told_and_the_next_is_tried(
    opened: tuple[Session, OpenCase, ForkServer], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place, "")
    own = Profiler()
    found = profiled(opened, monkeypatch, place, "raise RuntimeError('not twice')", own=own)
    assert found["problem"] == "job failed: RuntimeError: not twice (exit 3)"
    put(place, "cat <<'END'\n" + table(("k", SOFTMAX)) + "\nEND")
    assert profiled(opened, monkeypatch, place, own=own)["registers"] == 40


def test_without_permission_it_is_said_once_and_not_tried_again(
    opened: tuple[Session, OpenCase, ForkServer], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance Counters"
    put(place, f"echo '{denied} on the target device 0.'; exit 1")
    own = Profiler()
    first = profiled(opened, monkeypatch, place, own=own)
    assert "no permission" in str(first["problem"])
    assert "NVreg_RestrictProfilingToAdminUsers=0" in str(first["remedy"])
    put(place, "cat <<'END'\n" + table(("k", SOFTMAX)) + "\nEND")
    assert profiled(opened, monkeypatch, place, own=own) == {}


def test_a_profile_that_takes_too_long_is_ended(
    opened: tuple[Session, OpenCase, ForkServer], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place, "sleep 600")
    monkeypatch.setattr(profiler, "_SECONDS", 0.5)
    assert profiled(opened, monkeypatch, place)["problem"] == "out of time after 0 s"


def test_no_tool_no_profile(
    opened: tuple[Session, OpenCase, ForkServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(profiler, "find_ncu", lambda: "")
    assert profiled(opened, monkeypatch, tmp_path) == {}


def test_the_tool_is_found_where_cuda_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place, "")
    monkeypatch.setenv("CUDA_HOME", str(place))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert find_ncu() == str(place / "bin" / "ncu")
