"""A model as a writer: its steps, what they cost together, and what a review may change. The ledger and the store are real."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conformance.policies import attempt, duplicate, failed, rejected
from conformance.writers import WriterConformance
from llm_server import LlmServer, Say, Seen
from scripted import ENGINE, kernel, reference

from kernelwright.agent.llm.client import Bound, Reply
from kernelwright.agent.llm.ledger import Ledger
from kernelwright.agent.llm.options import Limits, ModelOptions
from kernelwright.agent.loop import Parts, search
from kernelwright.agent.policies.greedy import Greedy
from kernelwright.agent.policies.policy import Search
from kernelwright.agent.prompt.build import build_prompt
from kernelwright.agent.run import start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.agent.writers.llm import LlmWriter
from kernelwright.agent.writers.writer import Assignment, Learner, Setup, Writer
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.memory.catalog import Filter
from kernelwright.memory.records import Context, RunRecord
from kernelwright.memory.store import Store
from kernelwright.tasks.errors import BudgetSpent, WriterError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Answer, Assurance, Attempt, Idea, IdeaStage, Kernel, Stage, Status, Task, Verdict

CODE = "Strategy: one pass.\n" + kernel("passed 1.5")
FIXED = "Strategy: the tail was missing.\n" + kernel("passed 1.7", 2)
Said = str | Reply | Exception


class ScriptedClient:
    """Says one line after the other, at 100 tokens in, 50 out and a cent a call; ``prompts`` are those it was asked."""

    model = "test/scripted"
    priced = True

    def __init__(self, *script: Said) -> None:
        self.script = list(script)
        self.prompts: list[str] = []

    def body(self, prompt: str, seed: int | None = None) -> dict[str, object]:
        return {"model": self.model, "messages": [{"role": "user", "content": prompt}], "seed": seed}

    def bound(self, prompt: str) -> Bound:
        return Bound(1000, 0.05)

    def ask(self, prompt: str, *told: object) -> Reply:
        self.prompts.append(prompt)
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Reply) else Reply(said, "", 100, 50, cost_usd=0.01, seconds=2.0)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(reference(tmp_path))


@pytest.fixture
def store(tmp_path: Path, task: Task) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'home' / 'store.db'}")
    store.create_run(RunRecord("run", {}, "running", "2026-01-01T00:00:00+00:00", (task,)))
    yield store
    store.close()


@pytest.fixture
def first(task: Task) -> Assignment:
    idea = Idea("run", task.name, 1, IdeaStage.DRAFT, seed=7)
    return Assignment(idea, task, "cpp", DeviceInfo("cpu", "a cpu", cores=2), Context())


def writer(store: Store, client: ScriptedClient, steps: Sequence[str] = ("code",), limits: Limits | None = None) -> LlmWriter:
    setup = Setup("test/scripted", Path(), "", run="run", steps=tuple(steps))
    return LlmWriter(replace(setup, ledger=Ledger(store, "run", limits or Limits())), client)  # type: ignore[arg-type]


class TestLlm(WriterConformance):
    @pytest.fixture
    def writer(self, store: Store) -> Writer:
        return writer(store, ScriptedClient("the plan", CODE, "APPROVED"), ("plan", "code", "review"))


class TestLlmRubbish(WriterConformance):
    readable = False

    @pytest.fixture
    def writer(self, store: Store) -> Writer:
        return writer(store, ScriptedClient("I cannot."), ("plan", "code", "review"))


def roles(store: Store) -> list[str]:
    return [call.role for call in store.calls("run")]


def test_code_alone_is_one_call_with_the_exact_prompt(store: Store, first: Assignment) -> None:
    client = ScriptedClient(CODE)
    answer = writer(store, client).write(first)
    assert client.prompts == [answer.prompt] == [build_prompt(first)]
    assert (answer.text, answer.strategy, answer.model) == (CODE, "one pass.", "test/scripted")
    assert (answer.tokens_in, answer.tokens_out, answer.cost_usd, answer.seconds) == (100, 50, 0.01, 2.0)
    assert answer.notes == ()


def test_the_plan_goes_to_the_coder_and_the_code_to_the_reviewer(store: Store, first: Assignment) -> None:
    client = ScriptedClient("<think>hm</think>\nBlock the rows by 64.", CODE, "APPROVED")
    answer = writer(store, client, ("plan", "code", "review")).write(first)
    plan, code, review = client.prompts
    assert "Write no code" in plan
    assert "Block the rows by 64." in code
    assert "<think>" not in code
    assert "# judge: passed 1.5" in review
    assert "# judge" not in code
    assert (answer.prompt, answer.text) == (code, CODE)
    assert (answer.tokens_in, answer.tokens_out, answer.seconds) == (300, 150, 6.0)
    assert answer.cost_usd == pytest.approx(0.03)
    assert answer.notes == ("the review approved the code",)
    assert roles(store) == ["plan", "code", "review"]
    spent = store.spent("run")
    assert (spent.tokens_in, spent.tokens_out, spent.calls) == (300, 150, 3)


def test_a_review_corrects_by_a_whole_file_and_its_prompt_is_the_answers(store: Store, first: Assignment) -> None:
    client = ScriptedClient(CODE, FIXED)
    answer = writer(store, client, ("code", "review")).write(first)
    assert answer.kernel is not None
    assert "# judge: passed 1.7" in answer.kernel.source
    assert (answer.prompt, answer.text) == (client.prompts[1], FIXED)
    assert answer.strategy == "one pass.", "what makes it fast, not what was wrong with it"
    assert answer.notes == ("the review corrected the code: the tail was missing.",)


def test_a_review_corrects_by_edits_of_the_code_it_saw(store: Store, first: Assignment) -> None:
    edit = "<<<<<<< SEARCH\n        return x\n=======\n        return x + 0\n>>>>>>> REPLACE\n"
    answer = writer(store, ScriptedClient(CODE, edit), ("code", "review")).write(first)
    assert answer.kernel is not None
    assert "return x + 0" in answer.kernel.source


@pytest.mark.parametrize(
    ("said", "noted"),
    [
        ("I would look at the tail again.", "could not be read: no code block"),
        ("NOT APPROVED: the tail", "could not be read"),
        (Reply("", "it was cut off", 100, 0, cost_usd=0.01), "could not be read: it was cut off"),
        ("<<<<<<< SEARCH\nnot there\n=======\nx\n>>>>>>> REPLACE\n", "does not match"),
        ("```python\nclass ModelNew(nn.Module):\n    pass\n```\n", "not a whole file"),
        ("**APPROVED**", "approved"),
        ("Verdict: APPROVED.\nAll masks are right.", "approved"),
        ("APPROVED\n\nFor reference:\n" + kernel("passed 9"), "approved"),
        (CODE, "approved"),
    ],
)
def test_any_other_review_leaves_the_code_as_it_was_and_is_noted(
    store: Store, first: Assignment, said: Said, noted: str
) -> None:
    client = ScriptedClient(CODE, said)
    answer = writer(store, client, ("code", "review")).write(first)
    assert answer.kernel is not None
    assert "# judge: passed 1.5" in answer.kernel.source
    assert (answer.prompt, answer.text, answer.problem) == (client.prompts[0], CODE, "")
    assert len(answer.notes) == 1
    assert noted in answer.notes[0]
    assert answer.cost_usd == pytest.approx(0.02)


def test_what_is_no_code_is_not_reviewed(store: Store, first: Assignment) -> None:
    client = ScriptedClient(Reply("half a ker", "cut off at its token limit", 100, 50, cost_usd=None))
    answer = writer(store, client, ("code", "review")).write(first)
    assert (answer.kernel, answer.problem, answer.cost_usd) == (None, "cut off at its token limit", None)
    assert len(client.prompts) == 1


def test_no_plan_is_noted_and_the_code_is_asked_for_without(store: Store, first: Assignment) -> None:
    client = ScriptedClient(Reply("", "an empty answer", 100, 0, cost_usd=0.01), CODE)
    answer = writer(store, client, ("plan", "code")).write(first)
    assert client.prompts[1] == build_prompt(first)
    assert answer.notes == ("no plan: an empty answer",)
    assert answer.kernel is not None


def test_a_review_that_cannot_be_paid_for_is_left_out_and_code_that_cannot_is_told(store: Store, first: Assignment) -> None:
    answer = writer(store, ScriptedClient(CODE, "APPROVED"), ("code", "review"), Limits(tokens=1100)).write(first)
    assert answer.kernel is not None
    assert "not reviewed" in answer.notes[0]
    with pytest.raises(BudgetSpent):
        writer(store, ScriptedClient(CODE), ("code",), Limits(tokens=1100)).write(
            replace(first, idea=replace(first.idea, number=2))
        )


def test_steps_that_were_paid_for_are_not_asked_again_after_a_crash(store: Store, first: Assignment) -> None:
    client = ScriptedClient("the plan", CODE, WriterError("the server is gone"))
    with pytest.raises(WriterError):
        writer(store, client, ("plan", "code", "review")).write(first)
    again = ScriptedClient("APPROVED")
    answer = writer(store, again, ("plan", "code", "review")).write(first)
    assert len(again.prompts) == 1
    assert again.prompts[0] == client.prompts[2]
    assert (answer.text, answer.tokens_in) == (CODE, 300)
    assert roles(store) == ["plan", "code", "review"]


def test_a_repair_edits_the_rejected_kernel_and_shows_why_it_was_rejected(store: Store, first: Assignment) -> None:
    source = re.sub(r"```(python)?\n", "", kernel("incorrect"))
    made = failed(first.idea)
    start = replace(made, answer=replace(made.answer, kernel=Kernel(source, "cpp")))
    idea = Idea("run", first.task.name, 2, IdeaStage.DRAFT, start.id, seed=8)
    assignment = replace(first, idea=idea, context=Context(start=start, history=(start,)))
    edit = "Strategy: add one.\n<<<<<<< SEARCH\n        return x\n=======\n        return x + 1\n>>>>>>> REPLACE\n"
    client = ScriptedClient(edit)
    answer = writer(store, client).write(assignment)
    assert answer.kernel is not None
    assert answer.kernel.source == source.replace("return x\n", "return x + 1\n")
    assert "# Make this kernel correct" in client.prompts[0]
    assert "as told" in client.prompts[0]


def test_edits_of_a_variant_that_was_shown_apply_to_it(store: Store, first: Assignment) -> None:
    ideas = [Idea("run", first.task.name, n, IdeaStage.REFINE) for n in (1, 2, 3)]
    sources = ["class ModelNew: pass\n", "class ModelNew:\n    tile = 8\n"]
    one, two = (
        replace(made, answer=replace(made.answer, kernel=Kernel(source, "cpp")))
        for made, source in zip((attempt(ideas[0], 1.0), attempt(ideas[1], 1.2)), sources, strict=True)
    )
    idea = replace(ideas[2], parent=one.id)
    assignment = replace(first, idea=idea, context=Context(start=one, history=(one, two)))
    edit = "<<<<<<< SEARCH\n    tile = 8\n=======\n    tile = 16\n>>>>>>> REPLACE\n"
    answer = writer(store, ScriptedClient(edit)).write(assignment)
    assert answer.kernel is not None
    assert answer.kernel.source == sources[1].replace("8", "16")


def test_what_was_sent_is_in_the_ledger(store: Store, first: Assignment) -> None:
    answer = writer(store, ScriptedClient(CODE)).write(first)
    (call,) = store.calls("run")
    assert json.loads(call.request)["messages"] == [{"role": "user", "content": answer.prompt}]
    assert call.text == CODE


def test_the_prompt_after_a_duplicate_says_whose_it_is_by_number_alone(first: Assignment) -> None:
    ideas = [Idea("run", first.task.name, n, IdeaStage.DRAFT) for n in (1, 2, 3)]
    original = failed(ideas[0])
    copy = duplicate(failed(ideas[1]), original.id)
    prompt = build_prompt(replace(first, idea=ideas[2], context=Context(history=(original, copy))))
    assert "incorrect, same as attempt 1 |" in prompt
    assert prompt.count("same as attempt") == 1
    assert original.id not in prompt, "a replay under another run's id has the same prompts"


def test_a_repair_of_a_cheat_is_warned_off_the_next_trick(first: Assignment) -> None:
    start = rejected(first.idea, Status.CHEATING)
    idea = replace(first.idea, number=2, parent=start.id)
    assert "another way around the" in build_prompt(replace(first, idea=idea, context=Context(start=start)))
    honest = failed(first.idea)
    assert "another way around the" not in build_prompt(replace(first, idea=idea, context=Context(start=honest)))


def said_to(seen: Seen) -> Say:
    """What the model of the whole run says: a plan, a wrong kernel, approval, and edits that repair the kernel."""
    if "Write no code" in seen.prompt:
        return Say("Pass over the rows once.")
    if "# Review a kernel" in seen.prompt:
        return Say("APPROVED")
    if "# Make this kernel correct" in seen.prompt:
        return Say("<<<<<<< SEARCH\n# judge: incorrect\n=======\n# judge: passed 1.5\n>>>>>>> REPLACE\n")
    return Say(kernel("incorrect"))


def test_a_run_over_http_plans_writes_reviews_and_repairs(tmp_path: Path, task: Task) -> None:
    place = Workspace.at(tmp_path / "workspace", None)
    with LlmServer(said_to) as server:
        config = RunConfig(
            argv=(),
            order=(task.name,),
            backend="cpp",
            model="openai/local",
            engine=ENGINE,
            budget=2,
            llm=ModelOptions(api_base=server.url),
            steps=("plan", "code", "review"),
        )
        result = start(config, [task], place, Silence())
        assert ["Pass over the rows once." in seen.prompt for seen in server.seen] == [False, True, False] * 2
    first, second = (step.attempt for step in result.steps)
    assert first is not None
    assert second is not None
    assert (first.status, second.status, second.idea.parent) == ("incorrect", "passed", first.id)
    assert [a.answer.notes for a in (first, second)] == [("the review approved the code",)] * 2
    assert [(a.answer.tokens_in, a.answer.tokens_out) for a in (first, second)] == [(3000, 6000)] * 2
    held = place.open_store()
    try:
        assert [call.role for call in held.calls(result.run.id)] == ["plan", "code", "review"] * 2
        assert (held.spent(result.run.id).tokens_in, held.spent(result.run.id).tokens_out) == (6000, 12000)
    finally:
        held.close()


def judged(first: Assignment, *, passed: bool, stage: Stage = Stage.CORRECT, reason: str = "off by one at [3]") -> Attempt:
    given = Answer("text", Kernel(kernel("passed 1.5"), "cpp"), strategy="one pass over rows")
    status = Status.PASSED if passed else Status.INCORRECT
    assurance = Assurance.SIMULATED
    return Attempt(first.idea, given, Verdict(status, stage, reason, "k", first.task.name, assurance))


def test_the_lesson_is_asked_once_the_verdict_is_there_and_only_if_the_steps_say_so(store: Store, first: Assignment) -> None:
    client = ScriptedClient("Mask the tail: `n` was rounded up.\n```python\nx = 1\n```\n")
    assert writer(store, client).lesson(first, judged(first, passed=False)) == ""
    assert client.prompts == []
    asked = writer(store, client, ("code", "lesson"))
    assert isinstance(asked, Learner)
    assert asked.lesson(first, judged(first, passed=False)) == "Mask the tail: `n` was rounded up."
    for said in ("off by one at [3]", "one pass over rows", "incorrect", "ModelNew", "60 words"):
        assert said in client.prompts[0]
    assert asked.lesson(first, judged(first, passed=False)) == "Mask the tail: `n` was rounded up."
    assert len(client.prompts) == 1, "it is paid for once"
    assert [call.role for call in store.calls("run")] == ["lesson"]


def test_a_lesson_is_told_nothing_of_a_held_out_shape_and_may_be_nothing(store: Store, first: Assignment) -> None:
    client = ScriptedClient("  **NOTHING.** ")
    attempt = judged(first, passed=False, stage=Stage.HELD_OUT, reason="wrong at N=31337")
    assert writer(store, client, ("code", "lesson")).lesson(first, attempt) == ""
    assert "31337" not in client.prompts[0]
    assert "not shown" in client.prompts[0]


def test_lessons_of_the_model_reach_memory_behind_the_facts_and_rules_do_where_the_budget_is_spent(
    tmp_path: Path, task: Task
) -> None:
    """The second attempt's lesson does not fit what the run may spend: memory's own rules stand in, and nothing stops."""
    workspace = Workspace.at(tmp_path / "home", None)
    memory = workspace.open_memory()
    memory.store.create_run(RunRecord("run", {}, "running", "2026-01-01T00:00:00+00:00", (task,)))
    client = ScriptedClient(CODE, "Short rows are bound by latency.", FIXED, "Not affordable.")
    setup = Setup("test/scripted", Path(), "", run="run", steps=("code", "lesson"))
    ledger = Ledger(memory.store, "run", Limits(usd=0.075))
    made = LlmWriter(replace(setup, ledger=ledger), client)
    try:
        policy = Greedy(Search("run", task.name, task.family, "cpp", budget=2), memory.values())
        search(task, policy, (), Parts(memory.store, memory, made, FakeEngine(), "cpp", ledger=ledger), Silence())
        held = [e.experience.lesson for e in memory.listing(Filter(kind="success"))[0]]
    finally:
        memory.close()
    assert len(held) == 2
    with_words, by_rules = sorted(held, key=lambda lesson: "Learned" not in lesson)
    assert with_words.endswith("Learned: Short rows are bound by latency.")
    assert "passed every check" in with_words
    assert "Learned" not in by_rules
