"""The tools: typed, described, and each a short way into the service. The protocol's package is imported here only."""

from __future__ import annotations

import asyncio
import functools
import time
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Annotated, Any, ParamSpec, TypeVar

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from kernelwright.agent.mcp import results
from kernelwright.agent.mcp.results import AttemptView, BestView, CheckView, MemoryItem, PromptView, RunLine, TaskLine
from kernelwright.agent.mcp.service import Asked, Going, Service
from kernelwright.agent.workspace import RunHeld
from kernelwright.memory.records import RunRecord
from kernelwright.tasks.errors import InputError, KernelwrightError
from kernelwright.tasks.load import all_tasks, load_suite

P = ParamSpec("P")
T = TypeVar("T")

_TOLD_SECONDS = 2.0
"""How often a client that wants to know is told where a job is."""

TaskName = Annotated[str, Field(description="A task's name (list_tasks), or a task file's path below the server's folders.")]
Backend = Annotated[str | None, Field(description="cpp or triton; default: by the device.")]
Device = Annotated[str | None, Field(description="cpu, cuda[:N], tpu[:N] or npu[:N]; default: what is there.")]
IdeaId = Annotated[str, Field(description="The idea's id, as task_prompt gives it.")]
Wait = Annotated[float, Field(ge=0, le=3600, description="Answer after so many seconds at the latest; the work goes on.")]
"""A default below the 60 s after which some clients give a call up."""


def guarded(tool: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Every error becomes a tool error with what is wrong and what to do."""

    @functools.wraps(tool)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await tool(*args, **kwargs)
        except KernelwrightError as error:
            raise ToolError(f"{error.message}\nremedy: {error.remedy}" if error.remedy else error.message) from error
        except Exception as error:  # noqa: BLE001  the process boundary: the client is told what is not ours to foresee
            traceback.print_exc()  # on stderr
            remedy = "see the server's stderr, and report it; runs go on from their last commit"
            raise ToolError(f"the harness failed: {type(error).__name__}: {error}\nremedy: {remedy}") from error

    return call


class Tools:
    """The tools over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._seat = service.seat

    def register(self, server: MCPServer[Any]) -> None:
        """Add every tool to the server."""
        looks = (self.list_tasks, self.search_memory, self.best_so_far, self.runs, self.attempt)
        for tool in (*looks, self.task_prompt, self.check_kernel, self.submit_attempt):
            hint = ToolAnnotations(read_only_hint=tool in (*looks, self.check_kernel), open_world_hint=False)
            server.add_tool(guarded(tool), annotations=hint)

    async def list_tasks(
        self,
        suite: Annotated[str | None, Field(description="Only a suite's: quickstart, core.")] = None,
        containing: Annotated[str, Field(description="Only tasks whose name, family or summary contains this.")] = "",
    ) -> list[TaskLine]:
        """List the tasks of the library: what can be optimised."""
        found = await _aside(lambda: load_suite(suite) if suite is not None else all_tasks())
        lines = [TaskLine.of(task) for task in found]
        word = containing.lower()
        return [line for line in lines if any(word in text.lower() for text in (line.task, line.family, line.summary))]

    async def task_prompt(  # noqa: PLR0913  one argument an option is how a tool's schema is read
        self,
        task: TaskName,
        ctx: Context,
        backend: Backend = None,
        device: Device = None,
        budget: Annotated[int | None, Field(description="Attempts of a new run; default 30.")] = None,
        jobs: Annotated[int | None, Field(description="Prompts of a new run that wait at once, for several writers.")] = None,
        new_run: Annotated[bool, Field(description="Start a new run though an unfinished one is there.")] = False,
        wait_seconds: Wait = 50,
    ) -> PromptView:
        """Start optimising a task, or go on with its unfinished run: the next prompt and the id of the idea it is for.

        Write the kernel that the prompt asks for, in the form that stands at its end, and hand it in with submit_attempt.
        """
        until = time.monotonic() + wait_seconds
        asked = Asked(backend, device, budget, jobs)
        what = await _aside(lambda: self._service.task(task))
        found = await _aside(lambda: self._service.prompt(what, asked, new=new_run))
        if isinstance(found, str):
            return await _aside(lambda: self._prompt_of(found, ""))
        try:
            done = await _waited(found.future, until, ctx, found)
        except RunHeld as error:  # another process works on it and asks its next ideas: here they can be answered
            message = error.message
            return await _aside(lambda: self._prompt_of(found.look.run, message))
        if done is None:
            message = f"{found.look.at}: call task_prompt again with the same arguments"
            return PromptView("working", message, found.look.run, what.name, backend or "", budget or 0, 0, "", "", [], None)
        refused = next((outcome for outcome in done.outcomes if outcome.status == "refused"), None)
        if refused is not None:
            raise InputError(f"the task is refused: {refused.reason}", "mend the task, or choose another")
        return await _aside(lambda: self._prompt_of(done.run.id, ""))

    async def submit_attempt(
        self,
        idea: IdeaId,
        answer: Annotated[str, Field(description="The whole answer: text with the kernel in one code block.")],
        ctx: Context,
        wait_seconds: Wait = 50,
    ) -> AttemptView:
        """Hand in the answer to a prompt; it is judged, and cannot be taken back. Gives its verdict, the best so far and the
        id of the next idea, whose prompt task_prompt and attempt give."""
        until = time.monotonic() + wait_seconds
        sheet = await _aside(lambda: self._seat.submit(idea, answer.encode(errors="surrogatepass")))
        going = self._service.go_on(sheet.run)
        held = ""
        try:
            done = await _waited(going.future, until, ctx, going)
            held = "" if done is not None else f"{going.look.at}: call attempt with this idea for the verdict"
        except RunHeld as error:
            held = f"{error.message}: it reads the answer"
            while time.monotonic() < until and self._seat.seen(idea).state == "answered":
                await anyio.sleep(0.5)
        return await _aside(lambda: self._attempt_of(idea, held))

    async def attempt(
        self,
        idea: IdeaId,
        prompt: Annotated[bool, Field(description="Give its exact prompt too.")] = False,
    ) -> AttemptView:
        """How an idea stands: waiting, being judged, or judged with its verdict; of any run and any writer."""
        return await _aside(lambda: self._attempt_of(idea, "", prompt=prompt))

    async def check_kernel(
        self,
        source: Annotated[str, Field(description="A whole Python file that defines class ModelNew.")],
        task: TaskName,
        ctx: Context,
        backend: Annotated[str | None, Field(description="cpp or triton; default: what the source imports.")] = None,
        device: Device = None,
        wait_seconds: Wait = 50,
    ) -> CheckView:
        """Judge a kernel outside of any run: is it right, its own work, and how fast? Nothing of it is stored."""
        until = time.monotonic() + wait_seconds
        what = await _aside(lambda: self._service.task(task))
        future = self._service.check(source, what, backend, device)
        try:
            verdict = await _waited(future, until, ctx)
        except KernelwrightError:
            self._service.told(future)
            raise
        if verdict is None:
            return CheckView("working", None)
        self._service.told(future)
        return CheckView("judged", results.VerdictView.of(verdict, what))

    async def search_memory(
        self,
        text: Annotated[str, Field(description="What to look for: operations, a bottleneck, an error's text.")],
        ctx: Context,
        backend: Annotated[str | None, Field(description="Only what this backend can use.")] = None,
        n: Annotated[int, Field(ge=1, le=50, description="How many.")] = 5,
        code: Annotated[bool, Field(description="Give the code of the items too.")] = False,
    ) -> list[MemoryItem]:
        """The knowledge and the lessons of earlier attempts that are nearest to a text. Waits while a kernel is judged."""
        found = await _waited(self._service.search(text, backend, n), float("inf"), ctx)
        return [MemoryItem.of(item, code=code) for item in found or ()]

    async def best_so_far(
        self,
        task: Annotated[str | None, Field(description="A task: its best over all runs, for each backend and device.")] = None,
        run: Annotated[str | None, Field(description="A run: its best for each task.")] = None,
        backend: Backend = None,
        source: Annotated[bool, Field(description="Give the source of the kernels too.")] = False,
    ) -> list[BestView]:
        """The best kernels so far, of a run or of a task."""
        if (task is None) == (run is None):
            raise InputError("give a task or a run, and not both")
        if run is not None:
            found = await _aside(lambda: self._seat.best_of_run(run))
        else:
            found = await _aside(lambda: self._seat.best_on(self._service.task(str(task)), backend))
        return [BestView.of(best, source=source) for best in found if backend in (None, best.backend)]

    async def runs(self, n: Annotated[int, Field(ge=1, le=500, description="How many.")] = 20) -> list[RunLine]:
        """The runs of the workspace, newest first."""
        return [RunLine.of(run) for run in await _aside(lambda: self._seat.runs(n))]

    def _prompt_of(self, run_id: str, message: str) -> PromptView:
        run = self._seat.run(run_id)
        waiting = self._seat.waiting(run_id)
        name, done, best = self._standing(run)
        config = run.config
        common = (run_id, name, str(config.get("backend")), int(config.get("budget") or 0), done)
        if not waiting:
            state = "finished" if run.status == "finished" else "working"
            said = message or ("no attempt is left; best_so_far gives the winner" if state == "finished" else "call again")
            return PromptView(state, said, *common, "", "", [], best)
        first = waiting[0]
        text = first.prompt.read_bytes().decode("utf-8")
        return PromptView("prompt", message, *common, first.id, text, [sheet.id for sheet in waiting], best)

    def _attempt_of(self, idea: str, message: str, *, prompt: bool = False) -> AttemptView:
        seen = self._seat.seen(idea)
        run = self._seat.run(seen.idea.run)
        task = next(t for t in run.tasks if t.name == seen.idea.task)
        waiting = [sheet.id for sheet in self._seat.waiting(run.id)]
        _, done, best = self._standing(run, task.name)
        return AttemptView(
            idea,
            seen.state,
            message if seen.state == "answered" or run.status == "running" else "",
            None if seen.verdict is None else results.VerdictView.of(seen.verdict, task),
            seen.problem,
            seen.prompt if prompt else "",
            best,
            next((other for other in waiting if other != idea), ""),
            run.id,
            run.status,
            done,
            int(run.config.get("budget") or 0),
        )

    def _standing(self, run: RunRecord, task: str = "") -> tuple[str, int, BestView | None]:
        """Task, finished attempts, and the best of a run on it (its only task where none is named)."""
        name = task or run.tasks[0].name
        best = next((best for best in self._seat.best_of_run(run.id) if best.task == name), None)
        return name, self._seat.attempts(run.id, name), None if best is None else BestView.of(best)


async def _aside(work: Callable[[], T]) -> T:
    """Do what reads files or the store in a thread of its own, so that other calls are answered meanwhile."""
    return await anyio.to_thread.run_sync(work)


async def _waited(future: Future[T], until: float, ctx: Context, going: Going | None = None) -> T | None:
    """The future's result; None when it is not there in time: the job goes on, also when the client gives the call up."""
    began = time.monotonic()
    wrapped = asyncio.wrap_future(future)
    wrapped.add_done_callback(lambda done: done.cancelled() or done.exception())  # looked at, also when nobody waits any more
    while not wrapped.done() and (left := until - time.monotonic()) > 0:
        await asyncio.wait([wrapped], timeout=min(left, _TOLD_SECONDS))
        if not wrapped.done():
            await ctx.report_progress(time.monotonic() - began, message=going.look.at if going else "judging")
    return await wrapped if wrapped.done() else None
