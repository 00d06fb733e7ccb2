"""The Ray engine on a real cluster of several nodes on this machine, each with fake devices; and what is said without Ray."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kernelwright.evaluator.engines import ray as ours
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import HarnessError, InputError, TaskError
from kernelwright.tasks.records import Kernel, Task, Verdict

FAKE = "kernelwright.evaluator.engines.fake:FakeEngine"
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray leaves sockets and files to the collector


def job(name: str, word: str) -> Job:
    return Job(name, Kernel(f"# judge: {word}\n# {name}\n", "cpp"), Task("fake", "class Model: pass\n", "", ()))


def engine(tmp: Path, **more: Any) -> ours.RayEngine:
    return ours.RayEngine("cpp", "cpu", tmp, seat=FAKE, **more)


def judged(engine: ours.RayEngine, jobs: list[Job]) -> list[Verdict]:
    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(engine.evaluate, jobs))


def test_without_ray_one_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"needs the package ray.*pip install 'kernelwright\[ray\]'"):
        ours.RayEngine("cpp", "cpu", tmp_path)


def test_the_device_is_a_kind_and_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "_ray", lambda: object())
    with pytest.raises(InputError, match="use cpu or cuda"):
        ours.RayEngine("cpp", "cuda:1", tmp_path)


def test_an_address_where_nobody_listens_is_one_error_at_once() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unheard.getsockname()[1]}"
        with pytest.raises(InputError, match=f"no Ray cluster at {address}: .*refused"):
            ours._connect(object(), address)  # Ray is not asked


@pytest.fixture
def cluster() -> Iterator[Any]:
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    import ray

    made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.nodes = [made.add_node(num_cpus=1, resources={"kernelwright_cpu": 2}) for _ in range(2)]
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.requires_ray
def test_verdicts_are_those_of_the_engine_itself_and_errors_keep_their_type(cluster: Any, tmp_path: Path) -> None:
    jobs = [job(f"j{n}", word) for n, word in enumerate(["passed 1.5", "build_failed", "untimed", "passed 2"])]
    there = engine(tmp_path)
    here = FakeEngine()
    assert there.devices == 4
    assert there.device() == here.device()
    assert [to_json(v) for v in judged(there, jobs)] == [to_json(here.evaluate(j)) for j in jobs]
    with pytest.raises(TaskError, match="no shapes"):
        there.admit(Task("bad", "# admit: no shapes\n", "", ()))
    with pytest.raises(HarnessError, match="fake harness is broken"):
        there.evaluate(job("b", "broken"))
    there.close()


@pytest.mark.requires_ray
def test_a_node_killed_in_the_middle_costs_no_verdict(cluster: Any, tmp_path: Path) -> None:
    there = engine(tmp_path)
    jobs = [job(f"j{n}", "sleep 3\n# judge: passed 1.5") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(there.evaluate, j) for j in jobs]
        time.sleep(1.5)
        cluster.remove_node(cluster.nodes[0], allow_graceful=False)
        verdicts = [f.result(timeout=120) for f in found]
    assert [v.kernel_id for v in verdicts] == [j.kernel.kernel_id for j in jobs]
    assert {v.status.value for v in verdicts} == {"passed"}
    there.close()


@pytest.mark.requires_ray
def test_a_hung_judge_is_ended_and_its_job_tried_once_more(cluster: Any, tmp_path: Path) -> None:
    there = engine(tmp_path, patience=ours.Patience(judge=20.0))
    there._patience = ours.Patience(judge=1.0)
    begun = time.monotonic()
    with pytest.raises(HarnessError, match="job h: a judge gave no answer in 1 s; 2 were tried"):
        there.evaluate(job("h", "sleep 600"))
    assert time.monotonic() - begun < 60
    there._patience = ours.Patience(judge=20.0)
    assert there.evaluate(job("after", "passed 1.5")).timing is not None
    there.close()


@pytest.mark.requires_ray
def test_other_versions_on_a_worker_are_one_error(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ours.versions()
    monkeypatch.setattr(ours, "versions", lambda: {**real, "torch": "9.9"})
    with pytest.raises(InputError, match=rf"torch 9.9 here, {real['torch'].split('+')[0]}"):
        engine(tmp_path)
