"""Real judges on a real cluster of several nodes on this machine: the same verdicts as here, and a node killed among them.

Run by name: ``scripts/test tests/evaluator/test_ray_judges.py -m "requires_ray and slow"``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from plain import kernel, task
from processes import spawn, the_run

from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.engines.local import LocalEngine
from kernelwright.evaluator.engines.ray import RayEngine
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Status, Task

pytestmark = [
    pytest.mark.requires_ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray leaves sockets and files to the collector
]
NODES = 3
SETTINGS = Settings(timing_seconds=0.2, baselines=("eager",), smoke_seconds=10.0, call_seconds=10.0, memory_bytes=2 << 30)
HONEST = "x = x.contiguous()\ny = torch.empty_like(x)\nlib.doubled(x, y, x.numel())\nreturn y"
BY_ROWS = "x = x.contiguous()\ny = torch.empty_like(x)\nlib.doubled_rows(x, y, x.shape[0], x.shape[1])\nreturn y"
WILD = """
extern "C" void crash() { *(volatile int*)8 = 1; }
extern "C" void spin() { for (volatile int i = 0;; i = i + 1) {} }
"""
KERNELS = {
    "honest": (kernel(HONEST), Status.PASSED),
    "by rows": (kernel(BY_ROWS), Status.PASSED),
    "wrong": (kernel(HONEST.replace("return y", "y[0, 0] = 9.0\nreturn y")), Status.INCORRECT),
    "one output": (kernel(HONEST.replace("torch.empty_like(x)", "self.kept.setdefault(1, torch.empty_like(x))")), None),
    "no C++": (kernel(HONEST, cpp="this is no C++"), Status.BUILD_FAILED),
    "library": (kernel("return x * 2"), None),
    "crash": (kernel("lib.crash()\nreturn x", cpp=WILD), Status.RUNTIME_ERROR),
    "spin": (kernel("lib.spin()\nreturn x", cpp=WILD), Status.TIMEOUT),
    "raises": (kernel("raise ValueError('no')"), Status.RUNTIME_ERROR),
}
"""What there is to judge, and its status where the test is about that; elsewhere what this machine says is the measure."""


def started(nodes: int) -> Any:
    """A head, and so many nodes with a device each."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.nodes = [made.add_node(num_cpus=1, resources={"kernelwright_cpu": 1}) for _ in range(nodes)]
    return made


@pytest.fixture
def cluster() -> Iterator[Any]:
    made = started(NODES)
    import ray

    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def below(root: int) -> set[int]:
    """All processes that come from ``root``."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it has ended meanwhile
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found, todo = set[int](), [root]
    while todo:
        todo += (children := parents.get(todo.pop(), []))
        found |= set(children)
    return found


def raylet_of(node: Any) -> int:
    (info,) = node.all_processes["raylet"]
    return int(info.process.pid)


def test_a_cluster_gives_the_verdicts_of_this_machine_though_a_node_is_killed(cluster: Any, tmp_path: Path) -> None:
    doubled = task(tmp_path, "return x * 2")
    jobs = [Job(name, found, doubled) for name, (found, _) in KERNELS.items()]
    here = LocalEngine("cpp", "cpu", tmp_path / "cache", SETTINGS)
    expected = {job.id: here.evaluate(job) for job in jobs}
    here.close()
    for name, (_, status) in KERNELS.items():
        assert status in (None, expected[name].status), (name, expected[name].reason)

    there = RayEngine("cpp", "cpu", tmp_path / "cache", SETTINGS)
    there.admit(doubled)
    assert there.devices == NODES
    with ThreadPoolExecutor(NODES + 1) as pool:  # one more than there are devices: each judge always has work
        asked = {pool.submit(there.evaluate, job): job for job in jobs}
        wait(asked, return_when=FIRST_COMPLETED)
        killed = below(raylet_of(cluster.nodes[0]))
        cluster.remove_node(cluster.nodes[0], allow_graceful=False)
        verdicts = {job.id: found.result(timeout=300) for found, job in asked.items()}
    assert killed
    assert there.lost >= 1, "the judge that the node had was at work"
    assert there.devices >= NODES - 1
    for job in jobs:
        local, remote = expected[job.id], verdicts[job.id]
        assert (remote.status, remote.stage, remote.kernel_id) == (local.status, local.stage, local.kernel_id), job.id
        assert (remote.timing is None) == (local.timing is None)
    there.close()
    end = time.monotonic() + 20
    while (left := [pid for pid in killed if Path(f"/proc/{pid}").exists()]) and time.monotonic() < end:
        time.sleep(0.2)
    assert not left, "a killed node leaves neither judges nor kernels behind"


def test_a_task_that_no_judge_admits_is_refused_as_here(cluster: Any, tmp_path: Path) -> None:
    broken: Task = task(tmp_path, "raise ValueError('never')")
    said = []
    for made in (LocalEngine, RayEngine):
        engine = made("cpp", "cpu", tmp_path / "cache", SETTINGS)
        with pytest.raises(TaskError) as refused:
            engine.admit(broken)
        said.append(refused.value.message)
        engine.close()
    assert said[0] == said[1]


def test_a_run_whose_cluster_went_away_goes_on_with_another(tmp_path: Path) -> None:
    home, asked = tmp_path / "home", ("optimize", "core/activation/gelu_tanh", "--model", "playbook", "--budget", "3")
    judged = ("--backend", "cpp", "--device", "cpu", "--baselines", "eager", "--timing-seconds", "0.2", "--engine", "ray")
    first = started(1)
    process = spawn(home, *asked, *judged, "--ray-address", first.address)
    store = Workspace.at(home, None).open_store()

    def learned() -> int:
        return sum(step.learned for run in store.runs() for step in store.steps(run.id))

    end = time.monotonic() + 200
    while not learned():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.2)
    first.shutdown()
    process.communicate(timeout=200)  # Ray gives its head 60 s, and then ends the process
    assert process.returncode not in (0, None)
    kept = learned()
    assert 1 <= kept < 3
    second = started(1)
    try:
        resumed = spawn(home, "resume", the_run(home).id, "--ray-address", second.address)
        out, said = resumed.communicate(timeout=400)
        assert json.loads(out)["tasks"][0]["attempts"] == 3, said
    finally:
        second.shutdown()
        store.close()
