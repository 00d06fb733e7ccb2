"""Any language model that litellm can call, by its model string."""

from __future__ import annotations

from kernelwright.agent.answer import read_answer
from kernelwright.agent.llm.client import Client
from kernelwright.agent.prompt import build_prompt
from kernelwright.agent.writers.writer import Assignment, Setup
from kernelwright.tasks.records import Answer


class Litellm:
    """Sends the universal prompt to one model and reads its answer."""

    def __init__(self, setup: Setup) -> None:
        self.name = setup.name
        self._client = Client(setup.name, setup.api_base)

    def write(self, assignment: Assignment) -> Answer:
        prompt = build_prompt(assignment)
        reply = self._client.ask(prompt)
        start = assignment.context.start
        source = start.answer.kernel.source if start is not None and start.answer.kernel is not None else None
        kernel, problem, strategy = read_answer(reply.text, assignment.backend, source)
        return Answer(
            reply.text,
            kernel,
            "" if kernel is not None else (reply.problem or problem),
            strategy,
            model=self.name,
            prompt=prompt,
            tokens_in=reply.tokens_in,
            tokens_out=reply.tokens_out,
            cost_usd=reply.cost_usd,
            seconds=reply.seconds,
        )

    def close(self) -> None:
        return None
