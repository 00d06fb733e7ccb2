"""Any language model as a writer: plan, code and review are calls to it, one after the other, all through the run's ledger."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kernelwright.agent.answer.read import read_answer, read_for, spoken
from kernelwright.agent.answer.sources import finished
from kernelwright.agent.llm.client import Client, Reply
from kernelwright.agent.prompt.build import build_prompt
from kernelwright.agent.prompt.lesson import lesson_prompt, lesson_text
from kernelwright.agent.writers.writer import Assignment, Setup
from kernelwright.tasks.errors import BudgetSpent, HarnessError
from kernelwright.tasks.records import Answer, Attempt, Kernel

LONGEST_PLAN = 8_000
"""Characters of a plan that the coder is given; a plan is to be short."""

_APPROVED = re.compile(r"^[ \t>#*_`\"']*(?:verdict[ \t]*:[ \t*_`]*)?APPROVED\b", re.MULTILINE | re.IGNORECASE)
_APPROVED_ONLY = re.compile(rf"\s*{_APPROVED.pattern}[*_`\"'.!]*[ \t]*$", re.MULTILINE | re.IGNORECASE)
"""As the first line, with nothing else on it: what follows is no correction."""


class LlmWriter:
    """One model. Which steps it takes for a kernel is the run's choice (``--steps``).

    Raises:
        WriterError, InputError: at construction, an unknown model, no key, or a limit in US dollars and no price.
    """

    def __init__(self, setup: Setup, client: Client | None = None) -> None:
        self.name = setup.name
        self._setup = setup
        self._client = client or Client(setup.name, setup.options)
        if setup.ledger is not None:
            setup.ledger.check(self._client)

    def write(self, assignment: Assignment) -> Answer:
        return write_with(self._client, assignment, self._setup)

    def told(self, attempt: Attempt) -> None:
        return None

    def lesson(self, assignment: Assignment, attempt: Attempt) -> str:
        """What the model makes of the verdict, where the run's steps have a ``lesson``; paid for like any call."""
        if "lesson" not in self._setup.steps:
            return ""
        if self._setup.ledger is None:
            raise HarnessError(f"model {self._client.model} was asked without a ledger", "make the writer by make_writer")
        reply = self._setup.ledger.ask(self._client, assignment.idea, "lesson", lesson_prompt(assignment, attempt))
        return lesson_text(spoken(reply.text))

    def close(self) -> None:
        return None


def write_with(client: Client, assignment: Assignment, setup: Setup) -> Answer:
    """One kernel from the model behind ``client``, by the steps of ``setup``.

    The answer's text and prompt are those of the step that gave the kernel, its tokens, cost and time those of all steps.

    Raises:
        WriterError: the model cannot be asked at all.
        BudgetSpent: the code cannot be paid for any more. A review that cannot is left out, and noted.
    """
    work = _Work(client, assignment, setup)
    plan = work.plan() if "plan" in setup.steps else ""
    draft = work.code(plan)
    if "review" in setup.steps and draft.kernel is not None:
        draft = work.review(draft, draft.kernel)
    return work.answer(draft)


@dataclass(frozen=True)
class _Draft:
    """What a step gave."""

    text: str
    kernel: Kernel | None
    problem: str
    strategy: str
    prompt: str


class _Work:
    """The steps of one answer, and what they cost together."""

    def __init__(self, client: Client, assignment: Assignment, setup: Setup) -> None:
        self._client, self._assignment, self._setup = client, assignment, setup
        self._replies: list[Reply] = []
        self._notes: list[str] = []

    def plan(self) -> str:
        """What the model wants to do; empty, and noted, when it said nothing."""
        _, reply = self._ask("plan")
        plan = spoken(reply.text).strip()
        if not plan:
            self._notes.append(f"no plan: {reply.problem or 'nothing but thoughts'}")
        return plan if len(plan) <= LONGEST_PLAN else f"{plan[:LONGEST_PLAN].rstrip()} …"

    def code(self, plan: str) -> _Draft:
        """The kernel, or why there is none."""
        prompt, reply = self._ask("code", plan=plan)
        kernel, problem, strategy = read_for(self._assignment, reply.text)
        return _Draft(reply.text, kernel, "" if kernel else (reply.problem or problem), strategy, prompt)

    def review(self, draft: _Draft, kernel: Kernel) -> _Draft:
        """The draft, or its correction. A review that cannot be read or paid for leaves it as it was."""
        try:
            prompt, reply = self._ask("review", code=kernel.source)
        except BudgetSpent as error:
            self._notes.append(f"not reviewed: {error.message}")
            return draft
        corrected, problem, strategy = read_answer(reply.text, kernel.backend, kernel.source)
        said = spoken(reply.text)
        if corrected is not None and finished(kernel.source) and not finished(corrected.source):
            corrected, problem = None, "its correction is not a whole file"
        if corrected is not None and corrected.source != kernel.source and not _APPROVED_ONLY.match(said):
            self._notes.append(f"the review corrected the code{f': {strategy}' if strategy else ''}")
            return _Draft(reply.text, corrected, "", draft.strategy or strategy, prompt)
        if corrected is not None or _APPROVED.search(said):
            self._notes.append("the review approved the code")
        else:
            self._notes.append(f"the review could not be read: {reply.problem or problem}")
        return draft

    def answer(self, draft: _Draft) -> Answer:
        return Answer(
            draft.text,
            draft.kernel,
            draft.problem,
            draft.strategy,
            model=self._client.model,
            prompt=draft.prompt,
            tokens_in=sum(r.tokens_in for r in self._replies),
            tokens_out=sum(r.tokens_out for r in self._replies),
            cost_usd=_total([r.cost_usd for r in self._replies]),
            seconds=sum(r.seconds for r in self._replies),
            notes=tuple(self._notes),
        )

    def _ask(self, role: str, *, plan: str = "", code: str = "") -> tuple[str, Reply]:
        ledger = self._setup.ledger
        if ledger is None:
            raise HarnessError(f"model {self._client.model} was asked without a ledger", "make the writer by make_writer")
        prompt = build_prompt(self._assignment, self._setup.prompt_tokens, role=role, plan=plan, code=code)
        reply = ledger.ask(self._client, self._assignment.idea, role, prompt)
        self._replies.append(reply)
        return prompt, reply


def _total(costs: Sequence[float | None]) -> float | None:
    """None when the price of any part is unknown."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None
