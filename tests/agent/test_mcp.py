"""The MCP server as its clients have it: a process of its own, spoken to over its stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the MCP server's package is not installed: pip install 'kernelwright[mcp]'")

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from kernelwright.agent.exchange.seat import Seat
from kernelwright.agent.run import resume, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.tasks.load import load_task

TOOLS = {
    "list_tasks", "task_prompt", "check_kernel", "submit_attempt", "attempt", "search_memory", "best_so_far", "runs",
}  # fmt: skip

TASK = """\
import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x):
        return torch.relu(x) * 3 + x


def get_inputs():
    return [torch.randn(96, 128)]


def get_init_inputs():
    return []
"""

KERNEL = '''\
import torch
from torch import nn

from kernelwright.evaluator.native import load

lib = load(cpp=r"""
extern "C" void fused(const float* x, float* y, int64_t n) {
  #pragma omp parallel for
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] > 0 ? x[i] : 0.0f) * %s + x[i];
}""")


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.fused(x, y, x.numel())
        return y
'''
GOOD, WRONG = KERNEL % "3.0f", KERNEL % "2.0f"


class Agent:
    """A client's session, and how a coding agent would use it."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, **arguments: Any) -> Any:
        """The tool's result; lists are wrapped by the protocol."""
        done = await self.client.call_tool(tool, arguments)
        assert not done.is_error, done.content
        assert json.loads(done.content[0].text) if done.content else True
        found = done.structured_content
        return found["result"] if set(found) == {"result"} else found

    async def refused(self, tool: str, **arguments: Any) -> str:
        """The text of the tool's error."""
        done = await self.client.call_tool(tool, arguments)
        assert done.is_error, done.structured_content
        return str(done.content[0].text)

    async def settled(self, idea: str) -> Any:
        """An idea that was answered, once its verdict is there."""
        end = time.monotonic() + 120
        while (seen := await self.call("attempt", idea=idea))["state"] == "answered":
            assert time.monotonic() < end, seen
            await asyncio.sleep(0.1)
        return seen


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "scaled.py").write_text(TASK)
    return Workspace.at(tmp_path / "home", None)


@asynccontextmanager
async def session(place: Workspace, *more: str) -> AsyncIterator[Agent]:
    fast = ("--backend", "cpp", "--baselines", "eager", "--timing-seconds", "0.3")
    line = ["-m", "kernelwright", "mcp", "--home", str(place.home), *fast, *more]
    server = StdioServerParameters(command=sys.executable, args=line, cwd=place.home.parent / "work")
    async with Client(stdio_client(server)) as client:
        yield Agent(client)


def driven(place: Workspace, script: Callable[[Agent], Coroutine[Any, Any, None]]) -> None:
    """Run a script against a server of its own."""

    async def main() -> None:
        async with session(place) as agent:
            await script(agent)

    asyncio.run(asyncio.wait_for(main(), 240))


def answer(source: str) -> str:
    return f"Model: a test\nStrategy: one pass\n\n```python\n{source}```\n"


def test_a_whole_optimisation(place: Workspace) -> None:
    async def script(agent: Agent) -> None:
        assert {tool.name for tool in (await agent.client.list_tools()).tools} == TOOLS
        asked = {"task": "scaled.py", "budget": 2}
        both = await asyncio.gather(agent.call("task_prompt", **asked), agent.call("task_prompt", **asked))
        first = both[0]
        assert both[1]["idea"] == first["idea"]  # asked twice at once: one run
        assert (first["state"], first["budget"], first["finished_attempts"], first["best"]) == ("prompt", 2, 0, None)
        assert "torch.relu(x) * 3 + x" in first["prompt"]
        assert first["waiting"] == [first["idea"]]

        checked, wrong, runs = await asyncio.gather(
            agent.call("check_kernel", source=GOOD, task="scaled.py", wait_seconds=200),
            agent.call("submit_attempt", idea=first["idea"], answer=answer(WRONG), wait_seconds=200),
            agent.call("runs"),
        )
        assert checked["verdict"]["status"] == "passed", checked
        assert checked["verdict"]["speedup"]["eager"]["median"] > 0
        assert (wrong["state"], wrong["verdict"]["status"], wrong["best"]) == ("judged", "incorrect", None)
        assert wrong["verdict"]["evidence"]
        assert (wrong["run_status"], wrong["finished_attempts"]) == ("waiting", 1)  # the check is no attempt
        assert [run["run"] for run in runs] == [first["run"]]

        second = await agent.call("task_prompt", task="scaled.py")
        assert second["idea"] == wrong["next_idea"]
        assert "incorrect" in second["prompt"]
        assert [second["idea"]] == (await agent.call("task_prompt", task="scaled.py", backend="cpp", budget=2))["waiting"]
        right = await agent.call("submit_attempt", idea=second["idea"], answer=answer(GOOD), wait_seconds=200)
        assert (right["state"], right["verdict"]["status"], right["next_idea"]) == ("judged", "passed", "")
        assert right["run_status"] == "finished"
        assert (right["best"]["idea"], right["best"]["audited"]) == (second["idea"], True), right
        assert right["best"]["model"] == "exchange: a test"

        over = await agent.call("task_prompt", task="scaled.py")  # an agent that goes on asking begins no second run by that
        assert (over["state"], over["run"], over["prompt"]) == ("finished", first["run"], "")

        (best,) = await agent.call("best_so_far", run=first["run"], source=True)
        (over_all,) = await agent.call("best_so_far", task="scaled.py")
        assert best["source"].strip() == GOOD.strip()
        assert (over_all["idea"], over_all["source"]) == (second["idea"], "")
        again = await agent.call("attempt", idea=second["idea"], prompt=True)
        assert again["prompt"] == second["prompt"]
        assert any("relu" in item["text"] or item["task"] for item in await agent.call("search_memory", text="relu", n=3))

    driven(place, script)
    (run,) = Seat(place).runs(5)
    assert run.status == "finished"
    assert "<svg" in (place.run(run.id) / "report.html").read_text()


def test_what_cannot_be_is_an_error_with_a_remedy(place: Workspace) -> None:
    outside = place.home.parent / "outside.py"
    outside.write_text(TASK)
    (place.home.parent / "work" / "link.py").symlink_to(outside)
    (place.home.parent / "work" / "broken.py").write_text("def (:\n")
    (place.home.parent / "work" / "folder").mkdir()
    (place.home.parent / "work" / "folder" / "task.yaml").write_text("summary: x\n")
    (place.home.parent / "work" / "folder" / "reference.py").symlink_to(outside)

    async def script(agent: Agent) -> None:
        for name in (str(outside), "../outside.py", "link.py", "folder", "/etc/passwd", "~/../outside.py"):
            assert "outside of what this server reads" in await agent.refused("task_prompt", task=name)
            assert "--root" in await agent.refused("check_kernel", task=name, source=GOOD)
        for name in ("no_such_task", "scaled.py\0"):
            assert "list" in await agent.refused("task_prompt", task=name)
        assert "broken.py" in await agent.refused("task_prompt", task="broken.py")
        assert "available: ascend, cpp" in await agent.refused("task_prompt", task="scaled.py", backend="fortran")
        assert "unknown backend" in await agent.refused("check_kernel", task="scaled.py", source=GOOD, backend="os:system")
        assert "unknown device" in await agent.refused("task_prompt", task="scaled.py", device="toaster")
        assert "budget is 0" in await agent.refused("task_prompt", task="scaled.py", budget=0)
        assert "unknown idea" in await agent.refused("submit_attempt", idea="../../x", answer=answer(GOOD))
        assert "unknown idea" in await agent.refused("attempt", idea="nobody")
        assert "unknown run" in await agent.refused("best_so_far", run="nothing")
        assert "a task or a run" in await agent.refused("best_so_far")
        assert "unknown suite" in await agent.refused("list_tasks", suite="moon")
        assert "idea" in await agent.refused("submit_attempt", answer="x")
        assert await agent.call("runs") == []  # nothing of all this has begun a run
        names = [task["task"] for task in await agent.call("list_tasks", containing="Softmax")]
        assert any(name.endswith("softmax") for name in names)

    driven(place, script)


def waiting_run(place: Workspace) -> str:
    """The id of an idea of a run, on a real engine by its row, that waits for its first answer."""
    task = load_task(str(place.home.parent / "work" / "scaled.py"))
    config = RunConfig((), (task.name,), "cpp", "exchange", budget=2, wait=True)  # whoever lends an engine does not wait
    start(config, [task], place, Silence(), lambda config, place: FakeEngine("cpp", None, place.cache))
    (sheet,) = Seat(place).waiting()
    return sheet.id


def test_answers_that_cannot_be_taken(place: Workspace) -> None:
    idea = waiting_run(place)

    async def script(agent: Agent) -> None:
        assert (await agent.call("task_prompt", task="scaled.py"))["idea"] == idea  # a run of the command line is gone on with
        assert "is empty" in await agent.refused("submit_attempt", idea=idea, answer=" \n")
        assert (await agent.call("attempt", idea=idea))["state"] == "waiting"
        with place.hold(idea.rsplit("-", 2)[0]):
            held = await agent.call("submit_attempt", idea=idea, answer=answer(GOOD), wait_seconds=2)
            assert held["state"] == "answered"
            assert "being worked on by process" in held["message"]
            assert "answered already" in await agent.refused("submit_attempt", idea=idea, answer=answer(WRONG))

    driven(place, script)
    assert Seat(place).seen(idea).answer == answer(GOOD)


def test_a_client_that_leaves_while_its_kernel_is_judged(place: Workspace) -> None:
    idea = waiting_run(place)
    judged = answer(GOOD + "# judge: passed 1.5\n")

    async def script(agent: Agent) -> None:
        early = await agent.call("submit_attempt", idea=idea, answer=judged, wait_seconds=0)
        assert (early["state"], early["run_status"]) in {("answered", "waiting"), ("answered", "running")}
        assert "call attempt" in early["message"]

    began = time.monotonic()
    driven(place, script)
    assert time.monotonic() - began < 30  # the server is gone before a cold engine could have given a verdict
    result = resume(idea.rsplit("-", 2)[0], place, Silence(), lambda config, place: FakeEngine("cpp", None, place.cache))
    assert result.run.status == "waiting"
    assert [step.answer.text for step in result.steps if step.answer] == [judged]


def test_nothing_but_the_protocol_comes_on_stdout(place: Workspace) -> None:
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    bad = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "attempt", "arguments": {"idea": "x"}}}
    lines = "".join(json.dumps(message) + "\n" for message in (hello, told, bad))
    command = [sys.executable, "-m", "kernelwright", "mcp", "--home", str(place.home)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(lines)
    server.stdin.flush()
    replies = [json.loads(server.stdout.readline()) for _ in range(2)]
    rest, _ = server.communicate(timeout=30)
    assert rest == ""
    assert server.returncode == 0
    assert {reply["id"] for reply in replies} == {1, 2}
    assert "submit_attempt" in replies[0]["result"]["instructions"]
    assert replies[1]["result"]["isError"] is True


@pytest.mark.parametrize(
    ("more", "message", "remedy"),
    [
        (["--root", "nowhere"], "nowhere is no folder", "task files"),
        (["--backend", "fortran"], "unknown backend 'fortran'", "cpp"),
        (["--device", "toaster"], "unknown device 'toaster'", "cpu"),
        (["--sandbox", "no"], "--sandbox is 'no'", "strict"),
        (["--baselines", "fast"], "--baselines is 'fast'", "eager"),
        (["--timing-seconds", "0"], "--timing-seconds is 0", "above 0"),
    ],
)
def test_a_server_that_cannot_be_started(place: Workspace, more: list[str], message: str, remedy: str) -> None:
    done = mcp_without(place, more, "")
    assert done.returncode == 2
    assert message in done.stderr
    assert remedy in done.stderr
    assert done.stdout == ""


def test_without_the_package_one_line_says_what_to_install(place: Workspace) -> None:
    done = mcp_without(place, [], "sys.modules['mcp'] = None; ")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "remedy: pip install 'kernelwright[mcp]'"


def mcp_without(place: Workspace, more: list[str], first: str) -> subprocess.CompletedProcess[str]:
    """The server's start, with something done to Python ``first``."""
    line = ["mcp", "--home", str(place.home), *more]
    code = f"import sys; {first}from kernelwright.agent.cli.app import run; sys.exit(run({line!r}))"
    return subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
