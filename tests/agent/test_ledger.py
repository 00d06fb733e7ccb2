"""The ledger: limits that hold with many calls in flight, nothing paid twice, and runs that end properly when it is spent."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ledgered import BOUND, COST, MODEL, FileClient, reached
from processes import spawn, the_run, told, until
from rich.console import Console
from scripted import ENGINE, kernel, reference, script

from kernelwright.agent.cli.interrupt import Interrupt
from kernelwright.agent.cli.progress import Progress
from kernelwright.agent.llm.client import Bound, Reply
from kernelwright.agent.llm.ledger import Ledger, check_price
from kernelwright.agent.llm.options import Limits
from kernelwright.agent.run import Result, report, resume, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import RunRecord, Spent
from kernelwright.memory.store import Store
from kernelwright.tasks.errors import BudgetSpent, InputError, WriterError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Idea, IdeaStage, Task

Heard = Callable[[int], None]
Again = Callable[[Reply], bool]
PLAN = "Block the rows by 64."


class Slow(FileClient):
    """Answers after a while, at 0.10 $ and 1,200 tokens a call; remembers how many calls were in flight at once."""

    def __init__(self, seconds: float = 0.02, cost: float | None = COST, bound: Bound = BOUND) -> None:
        super().__init__(Path(), bound)
        self.seconds, self.cost = seconds, cost
        self.calls = self.most = self._now = 0
        self._lock = threading.Lock()

    def ask(self, prompt: str, seed: int | None, heard: Heard, again: Again) -> Reply:
        with self._lock:
            self.calls += 1
            self._now += 1
            self.most = max(self.most, self._now)
        heard(7)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        return Reply("answer", "", 1000, 200, cost_usd=self.cost, seconds=self.seconds)


class Clock:
    """Time that goes only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(reference(tmp_path))


@pytest.fixture
def store(tmp_path: Path, task: Task) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'bare' / 'store.db'}")
    store.create_run(RunRecord("run", {}, "running", "2026-01-01T00:00:00+00:00", (task,)))
    yield store
    store.close()


def idea(task: Task, number: int = 1) -> Idea:
    return Idea("run", task.name, number, IdeaStage.DRAFT, seed=number)


def ask(ledger: Ledger, client: FileClient, of: Idea, role: str = "code", prompt: str = "p") -> Reply:
    return ledger.ask(client, of, role, prompt)  # type: ignore[arg-type]


def shown(progress: Progress) -> str:
    """What stands on the terminal just now."""
    console = Console(file=io.StringIO(), width=120)
    console.print(progress._table())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def race(ledger: Ledger, client: FileClient, ideas: Sequence[Idea]) -> list[Reply | BudgetSpent]:
    """All ideas asked at once, a thread each."""
    came: list[Reply | BudgetSpent] = []

    def one(of: Idea) -> None:
        try:
            came.append(ask(ledger, client, of))
        except BudgetSpent as error:
            came.append(error)

    threads = [threading.Thread(target=one, args=(of,)) for of in ideas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return came


# Limits


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        (Limits(usd=1.0), 8),  # 0.75 is the last sum at which a call of at most 0.25 still fits
        (Limits(tokens=10_000), 7),  # 8,000 likewise, and a call takes 1,200
        (Limits(usd=0.6, tokens=100_000), 4),
    ],
)
def test_many_threads_together_never_exceed_a_limit(store: Store, task: Task, limits: Limits, most: int) -> None:
    ledger, client = Ledger(store, "run", limits), Slow()
    came = race(ledger, client, [idea(task, n) for n in range(1, 25)])
    answered = sum(isinstance(one, Reply) for one in came)
    assert answered == client.calls == most
    spent = store.spent("run")
    assert spent.calls == most
    assert spent.cost_usd is not None
    assert spent.cost_usd <= (limits.usd or spent.cost_usd)
    assert spent.tokens_in + spent.tokens_out <= (limits.tokens or 10**9)
    assert ledger.spent() == spent
    assert ledger.flying() == ()


def test_what_is_in_flight_counts_by_what_it_may_come_to(store: Store, task: Task) -> None:
    client = Slow(0.2)
    race(Ledger(store, "run", Limits(usd=0.55)), client, [idea(task, n) for n in range(1, 7)])
    assert client.most == 2  # 0.25 each: a third would not fit while both may cost that much
    assert client.calls == 4  # but once they cost 0.10 each there is room again


def test_a_call_that_does_not_fit_is_not_made_and_says_why(store: Store, task: Task) -> None:
    ledger, client = Ledger(store, "run", Limits(usd=0.3)), Slow()
    ask(ledger, client, idea(task, 1))
    with pytest.raises(BudgetSpent, match=r"budget of \$0\.30 spent: \$0\.10 so far, and one more call may cost \$0\.25"):
        ask(ledger, client, idea(task, 2))
    assert client.calls == 1
    with pytest.raises(BudgetSpent, match="budget of 1,500 tokens spent: 0 so far, and one more call may take 2,000"):
        ask(Ledger(store, "other", Limits(tokens=1500)), client, idea(task, 3))


def test_exactly_the_limit_may_be_spent(store: Store, task: Task) -> None:
    ledger = Ledger(store, "run", Limits(usd=0.25))
    ask(ledger, Slow(cost=0.25), idea(task, 1))
    assert ledger.left() == "budget of $0.25 spent: $0.25 so far"


@pytest.mark.parametrize(("limit", "tries"), [(0.3, 1), (0.6, 3), (2.0, 4)])
def test_a_further_try_is_made_only_if_it_fits_beside_what_the_failed_ones_cost(
    store: Store, task: Task, limit: float, tries: int
) -> None:
    class Breaking(Slow):
        """Breaks off three times, each at 0.15 $, and then answers."""

        def ask(self, prompt: str, seed: int | None, heard: Heard, again: Again) -> Reply:
            for failed in range(1, 4):
                self.calls += 1
                paid = Reply("", "broke off", 100 * failed, 0, cost_usd=0.15 * failed, tries=failed)
                if not again(paid):
                    return paid
            self.calls += 1
            return Reply("answer", "", 400, 0, cost_usd=0.55, tries=4)

    client = Breaking()
    reply = ask(Ledger(store, "run", Limits(usd=limit)), client, idea(task))
    assert client.calls == tries
    assert reply.text == ("answer" if tries == 4 else "")
    assert (store.spent("run").cost_usd or 0) <= limit


def test_money_and_an_unknown_price_do_not_go_together(store: Store, task: Task) -> None:
    client = Slow()
    client.priced = False
    with pytest.raises(InputError, match="the price of test/scripted is unknown") as caught:
        check_price(client, Limits(usd=1))  # type: ignore[arg-type]
    assert "--price test/scripted=" in caught.value.remedy
    with pytest.raises(InputError, match="unknown"):
        ask(Ledger(store, "run", Limits(usd=1)), client, idea(task))
    assert client.calls == 0
    ask(Ledger(store, "run", Limits(tokens=10_000)), client, idea(task))  # tokens are known without it


def test_a_limit_that_is_raised_in_the_store_makes_room_for_the_next_call(store: Store, task: Task) -> None:
    ledger, client = Ledger(store, "run", Limits(tokens=2000)), Slow(seconds=0)
    ask(ledger, client, idea(task))
    with pytest.raises(BudgetSpent):
        ask(ledger, client, idea(task, 2))
    ledger.end("one more call did not fit")
    store.set_limits("run", {"tokens": 1000})  # less counts for nothing
    assert ledger.left() == "one more call did not fit"
    store.set_limits("run", {"tokens": 9000, "usd": 1})  # what was not limited stays so
    assert ledger.left() is None
    ask(ledger, client, idea(task, 2))
    assert (ledger.limits, client.calls) == (Limits(tokens=9000), 2)


def test_wall_time_adds_up_over_processes_and_ends_the_run(store: Store, task: Task) -> None:
    clock = Clock()
    first = Ledger(store, "run", Limits(seconds=100), clock)
    clock.now += 60
    assert first.left() is None
    first.close()
    first.close()
    assert store.seconds("run") == pytest.approx(60)
    clock.now += 1000  # nobody is at work
    second = Ledger(store, "run", Limits(seconds=100), clock)
    clock.now += 39
    assert second.left() is None
    assert store.seconds("run") == pytest.approx(99)  # committed at once: a killed process loses little
    clock.now += 1
    assert second.left() == "budget of 100 s of wall time spent"
    with pytest.raises(BudgetSpent, match="wall time"):
        ask(second, Slow(), idea(task))


def test_a_call_that_waits_for_room_stops_when_the_time_is_over(store: Store, task: Task) -> None:
    ledger = Ledger(store, "run", Limits(usd=0.3, seconds=0.5))
    came = race(ledger, Slow(1.5), [idea(task, n) for n in (1, 2)])
    (refused,) = [one for one in came if isinstance(one, BudgetSpent)]
    assert "wall time" in refused.message


def test_answers_of_writers_that_make_no_call_count(store: Store, task: Task) -> None:
    from kernelwright.memory.records import Context
    from kernelwright.tasks.records import Answer

    store.ask(idea(task), Context())
    store.answer(idea(task).id, Answer("x", None, "no code", cost_usd=0.7))
    ledger = Ledger(store, "run", Limits(usd=0.9))
    assert ledger.left() is None
    with pytest.raises(BudgetSpent):
        ask(ledger, Slow(), idea(task, 2))
    store.ask(idea(task, 3), Context())
    store.answer(idea(task, 3).id, Answer("x", None, "no code", cost_usd=None))
    assert ledger.left() == "budget of $0.90 cannot be kept: the price of an answer is unknown"


# What is written down


def test_a_call_is_written_down_with_its_request_and_answer(store: Store, task: Task) -> None:
    reply = Reply("raw\r\ntext", "cut off", 10, 20, 3, 4, True, 0.5, 1.5, 2)

    class One(Slow):
        def ask(self, prompt: str, seed: int | None, heard: Heard, again: Again) -> Reply:
            return reply

    assert ask(Ledger(store, "run", Limits()), One(), idea(task, 5), "plan", "prompt ü") == reply
    (call,) = store.calls("run")
    assert json.loads(call.request) == One().body("prompt ü", 5)
    assert (call.id, call.role, call.model) == (f"{idea(task, 5).id}/1", "plan", "test/scripted")
    told = ("text", "problem", "tokens_in", "tokens_out", "tokens_cached", "tokens_reasoning", "estimated", "cost_usd")
    assert all(getattr(call, name) == getattr(reply, name) for name in (*told, "seconds", "tries"))
    assert call.created


def test_a_failed_call_that_cost_something_is_in_the_ledger(store: Store, task: Task, tmp_path: Path) -> None:
    script(tmp_path, "!", "answer")
    ledger, client = Ledger(store, "run", Limits(usd=1)), FileClient(tmp_path)
    with pytest.raises(WriterError):
        ask(ledger, client, idea(task))
    assert store.spent("run") == Spent(1, 1000, 50, 0.05, 0.0)
    assert ledger.flying() == ()
    assert store.calls("run")[0].estimated
    assert ask(ledger, client, idea(task)).text == "answer"  # a failure is no answer: asked again
    assert store.spent("run").calls == 2


def test_the_same_request_for_the_same_idea_is_paid_for_once(store: Store, task: Task) -> None:
    client = Slow()
    first = ask(Ledger(store, "run", Limits()), client, idea(task))
    spent = store.spent("run")
    later = Ledger(store, "run", Limits(usd=0.0001))  # nothing is spent: there need not be anything left
    assert ask(later, client, idea(task)) == first
    assert client.calls == 1
    assert store.spent("run") == spent
    for other in ({"role": "plan"}, {"prompt": "another"}, {"of": idea(task, 2)}):
        asked = {"of": idea(task), "role": "code", "prompt": "p", **other}
        ask(Ledger(store, "run", Limits()), client, **asked)  # type: ignore[arg-type]
    assert client.calls == 4


def test_calls_in_flight_can_be_seen_with_what_was_heard(store: Store, task: Task) -> None:
    ledger, client = Ledger(store, "run", Limits()), Slow(0.5)
    heard: list[int] = []
    thread = threading.Thread(target=lambda: ledger.ask(client, idea(task), "plan", "p", heard.append))  # type: ignore[arg-type]
    progress = Progress(Interrupt(), io.StringIO())
    progress.spending(ledger)
    thread.start()
    end = time.monotonic() + 10
    while not ((flying := ledger.flying()) and flying[0].tokens):
        assert time.monotonic() < end
        time.sleep(0.01)
    live = shown(progress)
    thread.join()
    assert "plan" in live
    assert "test/scripted, 7 tokens heard" in live
    assert "spent" not in live  # nothing is paid for yet
    assert "spent: 1 call, 1,000 tokens in, 200 out, $0.10" in shown(progress)
    assert "heard" not in shown(progress)
    assert [(f.idea, f.role, f.model, f.tokens) for f in flying] == [(idea(task).id, "plan", "test/scripted", 7)]
    assert heard == [7]
    assert ledger.flying() == ()


# Whole runs


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


def config(*tasks: Task, **changes: object) -> RunConfig:
    names = tuple(t.name for t in tasks)
    base = RunConfig(argv=(), order=names, backend="cpp", model=MODEL, engine=ENGINE, budget=6, policy="greedy", repairs=0)
    return replace(base, **changes)  # type: ignore[arg-type]


def run(place: Workspace, *tasks: Task, **changes: object) -> Result:
    return start(config(*tasks, **changes), tasks, place, Silence())


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_run_ends_properly_when_its_money_is_spent(place: Workspace, task: Task, tmp_path: Path, jobs: int) -> None:
    script(place.home, kernel("passed 1.2"), kernel("passed 1.5", 2), kernel("incorrect", 3), kernel("incorrect", 4))
    second = load_task(reference(tmp_path, "other", 5))
    result = run(place, task, second, limits=Limits(usd=0.5), jobs=jobs)
    assert result.run.status == "finished"
    first, other = result.outcomes
    assert first.status == "improved"  # audited with what it had
    assert first.verdict is not None
    assert first.verdict.timing is not None
    assert first.verdict.timing.processes == 3
    assert first.attempts == 3
    assert first.reason.startswith("1.20x")  # 1.5 against eager
    assert "budget of $0.50 spent: $0.30 so far, and one more call may cost $0.25 (3 of 6 attempts)" in first.reason
    assert first.cost_usd == pytest.approx(0.3)
    assert (other.status, other.attempts, other.best, other.cost_usd) == ("unsolved", 0, None, 0.0)
    assert other.reason.startswith("budget of $0.50 spent")
    assert len(reached(place.home)) == 3
    assert all(step.learned for step in result.steps)
    again = resume(result.run.id, place, Silence())
    assert again.outcomes == result.outcomes
    assert report(result.run.id, place).outcomes == result.outcomes
    assert "is still to come" not in (place.run(result.run.id) / "report.html").read_text()


def test_a_plan_without_its_code_is_paid_for_and_no_attempt(place: Workspace, task: Task) -> None:
    script(place.home, PLAN, kernel("passed 1.5"), PLAN, kernel("passed 1.7", 2))
    result = run(place, task, limits=Limits(usd=0.45), steps=("plan", "code"))
    (outcome,) = result.outcomes
    assert len(reached(place.home)) == 3
    assert outcome.attempts == 1
    assert outcome.status == "improved"
    assert outcome.cost_usd == pytest.approx(0.3)  # the plan that led nowhere included
    assert [(line.role, line.spent.calls) for line in result.ledger] == [("code", 1), ("plan", 2)]
    assert len(result.steps) == 1


def test_tokens_end_a_run_likewise(place: Workspace, task: Task) -> None:
    script(place.home, kernel("incorrect"), kernel("passed 1.5"))
    (outcome,) = run(place, task, limits=Limits(tokens=4000)).outcomes
    assert outcome.attempts == 2
    assert "budget of 4,000 tokens spent: 2,400 so far" in outcome.reason


def test_time_ends_a_run_and_what_is_in_flight_is_finished(
    place: Workspace, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(place.home, kernel("passed 1.2"), kernel("passed 1.5", 2))
    second = load_task(reference(tmp_path, "other", 5))
    monkeypatch.setattr(Ledger, "_seconds", lambda _: 60.0 * len(reached(place.home)))  # each call takes a minute
    first, other = run(place, task, second, limits=Limits(seconds=120)).outcomes
    assert first.attempts == 2
    assert first.verdict is not None
    assert first.verdict.speedup == pytest.approx(1.5)
    assert "budget of 120 s of wall time spent (2 of 6 attempts)" in first.reason
    assert (other.status, other.attempts) == ("unsolved", 0)


def test_a_search_that_ended_by_itself_does_not_blame_the_budget(place: Workspace, task: Task) -> None:
    script(place.home, kernel("passed 1.2"))
    (outcome,) = run(place, task, limits=Limits(usd=0.3), budget=1).outcomes
    assert "budget" not in outcome.reason


def test_nothing_fits_at_all(place: Workspace, task: Task) -> None:
    script(place.home, kernel("passed 1.2"))
    (outcome,) = run(place, task, limits=Limits(usd=0.2)).outcomes
    assert (outcome.status, outcome.attempts, outcome.cost_usd) == ("unsolved", 0, 0.0)
    assert "budget of $0.20 spent: $0.00 so far, and one more call may cost $0.25" in outcome.reason
    assert reached(place.home) == []


def test_killed_between_the_call_and_the_answer_nothing_is_asked_twice(
    place: Workspace, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(place.home, PLAN, kernel("passed 1.2"), PLAN, kernel("passed 1.5", 2))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "answer", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(place, task, budget=2, steps=("plan", "code"))
    assert len(reached(place.home)) == 2
    store = place.open_store()
    (row,) = store.runs()
    assert [(c.role, c.text) for c in store.calls(row.id)] == [("plan", PLAN), ("code", kernel("passed 1.2"))]
    store.close()
    result = resume(row.id, place, Silence())
    assert len(reached(place.home)) == 4
    assert result.outcomes[0].attempts == 2
    assert result.outcomes[0].cost_usd == pytest.approx(0.4)
    answers = [step.answer for step in result.steps]
    assert all(a is not None and a.cost_usd == pytest.approx(0.2) for a in answers)


def test_kill_9_during_the_code_keeps_the_plan(tmp_path: Path) -> None:
    home = tmp_path / "home"
    script(home, PLAN, f"~60 {kernel('passed 1.5')}")
    options = ("--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--policy", "greedy", "--budget", "1")
    process = spawn(home, "optimize", reference(tmp_path), *options, "--steps", "plan,code", "--max-usd", "1")
    until(lambda: len(reached(home)) == 2, process)
    time.sleep(1.3)  # the run's time is committed about once a second
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    script(home, "never", "never", kernel("passed 1.5"))
    then = spawn(home, "resume", the_run(home).id)
    data = told(then)
    assert then.returncode == 0
    assert len(reached(home)) == 3  # plan, the code that was lost, the code
    assert data["tasks"][0]["status"] == "improved"
    assert data["spent"]["calls"] == 2
    assert data["spent"]["cost_usd"] == pytest.approx(0.2)
    assert {role: part["calls"] for role, part in data["spent"]["by_role"].items()} == {"code": 1, "plan": 1}
    assert list(data["spent"]["by_model"]) == ["test/scripted"]


def test_a_spent_budget_leaves_with_1_and_says_so_live(tmp_path: Path) -> None:
    home = tmp_path / "home"
    script(home, kernel("incorrect"), kernel("incorrect", 2))
    options = ("--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--policy", "greedy", "--repairs", "0")
    process = spawn(home, "optimize", reference(tmp_path), *options, "--max-usd", "0.4")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    data = json.loads(out)
    assert (data["tasks"][0]["status"], data["tasks"][0]["attempts"]) == ("unsolved", 2)
    assert "budget of $0.40 spent" in data["tasks"][0]["reason"]
    assert "(2 calls, 2,000 tokens in, 400 out, $0.20)" in err


def test_the_report_shows_a_ledger_that_adds_up(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, PLAN, kernel("passed 1.2"))
    second = load_task(reference(tmp_path, "other", 5))
    result = run(place, task, second, budget=2, steps=("plan", "code"))
    page = (place.run(result.run.id) / "report.html").read_text()
    cells = ("8", "8,000", "1,600", "$0.8000")
    assert page.count("".join(f'<td class="n">{cell}</td>' for cell in cells)) == 5  # the totals, and the one model
    for column in ("task", "model", "role"):
        assert f'aria-label="Ledger by {column}"' in page
