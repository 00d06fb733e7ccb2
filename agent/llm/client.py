"""One model, asked for answers: streamed, retried here and nowhere else, paid for in full, its key never shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from kernelwright.agent.llm.choice import transport_for
from kernelwright.agent.llm.failures import OF_THE_PROMPT, PASSING, REMEDIES, Failure, Kind
from kernelwright.agent.llm.gate import TICK, gate_of
from kernelwright.agent.llm.listen import Heard, Patience, listen
from kernelwright.agent.llm.options import ModelOptions
from kernelwright.agent.llm.prices import known
from kernelwright.agent.llm.replies import MARKS, Bill, Bound, Reply
from kernelwright.agent.llm.retry import Retry
from kernelwright.agent.llm.scrub import one_line
from kernelwright.agent.llm.taught import LEAST_ANSWER, Taught
from kernelwright.agent.llm.tokens import upper
from kernelwright.agent.llm.transport import Transport
from kernelwright.tasks.errors import WriterError

__all__ = ["Bound", "Client", "Reply", "Unanswered"]

UNKNOWN_ANSWER = 16_384
"""Tokens of an answer that are asked for where nobody said how many the model can give."""
SILENT_THINKING = 5
"""Models that think before they answer, often without a sign, have so many times ``stall_seconds`` to begin."""


class Unanswered(WriterError):
    """The model cannot be asked, or did not answer; ``paid`` says what the tries may cost."""

    def __init__(self, message: str, remedy: str = "", paid: Reply | None = None) -> None:
        super().__init__(message, remedy)
        self.paid = paid


def unheard(tokens: int) -> None:
    """Nobody listens."""


def affordable(paid: Reply) -> bool:
    """There is no limit."""
    return True


class Client:
    """Calls one model; from several threads at once.

    Raises:
        WriterError: at construction, an unknown model or no key; from ``ask``, a refused key, an unknown model, or a
            server that does not answer after all tries.
    """

    def __init__(
        self,
        model: str,
        options: ModelOptions | None = None,
        *,
        transport: Transport | None = None,
        retry: Retry | None = None,
    ) -> None:
        self.model = model
        self._options = options or ModelOptions()
        # Any server may call its model what it likes: a table's price holds only for a model of a named provider.
        named = "/" in model or self._options.api_base is None
        self._known = known(model, self._options, listed=named)
        self._transport = transport or transport_for(model, self._options.api_base)
        self._retry = retry or Retry(tries=self._options.tries)
        self._gate = gate_of(self._transport.endpoint)
        self._gate.limit(self._options.concurrency, self._options.requests_per_minute)
        self._taught = Taught()
        stall = self._options.stall_seconds
        self._patience = Patience(stall * SILENT_THINKING if self._known.thinks else stall, stall, self._options.call_seconds)

    @property
    def priced(self) -> bool:
        """Whether a price is known."""
        return bool(self._known.rates)

    @property
    def endpoint(self) -> str:
        """Where calls go: the host of a server's address, else the provider's name."""
        return urlsplit(self._transport.endpoint).netloc or self._transport.endpoint

    def body(self, prompt: str, seed: int | None = None) -> dict[str, Any]:
        """What is sent, without any key. A parameter that the server refuses when asked is left out from then on."""
        return {
            "model": self._transport.name,
            "messages": [{"role": "user", "content": prompt}],
            **self._transport.taken({name: value for name, value in self._wanted(prompt, seed) if value is not None}),
        }

    def bound(self, prompt: str) -> Bound:
        """The most that one try with ``prompt`` can come to, whatever the model's vocabulary."""
        tokens_in, tokens_out = upper(prompt) + MARKS, self._answer_tokens(prompt)
        return Bound(tokens_in + tokens_out, self._known.most(tokens_in, tokens_out))

    def ask(
        self,
        prompt: str,
        seed: int | None = None,
        heard: Callable[[int], None] = unheard,
        again: Callable[[Reply], bool] = affordable,
    ) -> Reply:
        """The model's answer to ``prompt``.

        ``heard`` is told the tokens of the answer so far, from this thread: at every piece and about twice a second while
        none comes. Whatever it raises ends the call, and carries as ``paid`` what the call has cost.
        ``again`` is asked before a further try if earlier ones may have to be paid: whether one more of :meth:`bound` may be.
        """
        call = _Call(self, prompt, seed, heard)
        try:
            return call.run(again)
        except BaseException as error:
            # Whoever ends a call still has to pay for it. None where there is nothing to be paid.
            error.paid = call.paid()  # type: ignore[attr-defined]
            raise

    def _wanted(self, prompt: str, seed: int | None) -> Iterator[tuple[str, Any]]:
        yield "max_tokens", self._answer_tokens(prompt)
        yield "temperature", self._options.temperature
        yield "reasoning_effort", self._options.reasoning_effort
        yield "seed", seed

    def _answer_tokens(self, prompt: str) -> int:
        """Most tokens of an answer: always asked for, so that :meth:`bound` holds."""
        if self._options.answer_tokens is not None:
            return self._options.answer_tokens
        most, context = self._known.most_out or UNKNOWN_ANSWER, self._known.most_in
        return most if context is None else min(most, max(context - upper(prompt) - MARKS, LEAST_ANSWER))


class _Call:
    """One call: its tries, and what they cost."""

    def __init__(self, client: Client, prompt: str, seed: int | None, heard: Callable[[int], None]) -> None:
        self._client, self._heard = client, heard
        self._body = client.body(prompt, seed)
        self._bill = Bill(client._known, prompt)
        self._began = time.monotonic()
        self._tries = 0
        self._streams = True

    def run(self, again: Callable[[Reply], bool]) -> Reply:
        """The answer, or why there is none."""
        retry = self._client._retry
        while True:
            self._tries += 1
            try:
                heard = self._try()
            except Failure as failure:
                if failure.kind in OF_THE_PROMPT:
                    return self._reply("", f"{self._client.model}: {_TURNED_DOWN[failure.kind]}: {failure.words}")
                if failure.kind not in PASSING or self._tries >= retry.tries:
                    raise self._error(failure) from None
                if not self._bill.empty and not again(self._reply("")):
                    return self._reply("", f"{self._client.model}: {failure.words}; another try would go beyond the budget")
                self._wait(failure, retry.wait(self._tries, failure.retry_after))
            else:
                return self._reply(heard.text, _problem(self._client.model, heard))

    def paid(self) -> Reply | None:
        """What the tries so far cost; None where they cost nothing."""
        return None if self._bill.empty else self._reply("", "no answer")

    def _try(self) -> Heard:
        """One answer; asked again at once, and at no cost, where the server objects to a parameter.

        Raises:
            Failure: no answer, or not the whole answer. What it may cost is on the bill.
        """
        client, taught = self._client, self._client._taught
        with client._gate.passed(lambda: self._heard(0)):
            for _ in range(MOST_OBJECTIONS):
                heard, sent = Heard(), self._sent(taught)
                patience = client._patience if "stream" in sent else replace(client._patience, first=client._patience.whole)
                try:
                    listen(client._transport, sent, patience, heard, self._heard)
                except BaseException as error:
                    if heard.begun or not getattr(error, "unbilled", False):
                        self._bill.add(heard)
                    if isinstance(error, Failure) and error.kind is Kind.CUT and heard.begun and not heard.pieces:
                        # Some servers say what they object to only where they have not promised a stream: llama-cpp-python
                        # ends an empty one when the prompt is longer than the context.
                        self._streams = False
                    lesson = taught.after(error, sent) if isinstance(error, Failure) and not heard.begun else None
                    if lesson is None:
                        raise
                    taught = lesson
                else:
                    self._bill.add(heard)
                    client._taught = taught.kept()
                    client._gate.answered()
                    return heard
        raise Failure(Kind.REQUEST, f"it objects to one parameter after the other, at last to one of {', '.join(sent)}")

    def _sent(self, taught: Taught) -> dict[str, Any]:
        """What this try sends."""
        body = taught.applied(self._body)
        return body if self._streams else {name: value for name, value in body.items() if not name.startswith("stream")}

    def _wait(self, failure: Failure, seconds: float) -> None:
        """Let the time until the next try go by: for everybody who asks this provider, if it says that it is too much."""
        if failure.kind is Kind.RATE:
            self._client._gate.slow(seconds)
            return
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, TICK))
            self._heard(0)

    def _reply(self, text: str, problem: str = "") -> Reply:
        return self._bill.reply(text, problem, time.monotonic() - self._began, self._tries)

    def _error(self, failure: Failure) -> Unanswered:
        model, key = self._client.model, self._client._transport.key or "the provider's key"
        status = f" ({failure.status})" if failure.status else ""
        said = _SAID.get(failure.kind)
        if failure.kind in PASSING:
            tries = "1 try" if self._tries == 1 else f"{self._tries} tries"
            message = f"{model} did not answer in {tries}: {failure.words}"
        elif said is not None:
            message = f"{model}: {said}{status}: {failure.words}"
        else:
            message = f"{model}{status}: {failure.words}"
        return Unanswered(message, REMEDIES[failure.kind].format(key=key), self.paid())


MOST_OBJECTIONS = 8
"""Parameters that a server may object to in one call."""
_TURNED_DOWN = {
    Kind.CONTEXT: "the prompt is longer than its context window",
    Kind.POLICY: "the prompt was refused by a content policy",
}
_SAID = {
    Kind.KEY: "the key was refused",
    Kind.FORBIDDEN: "access was refused",
    Kind.MISSING: "there is no such model or address",
    Kind.PAYMENT: "the provider wants to be paid first",
}


def _problem(model: str, heard: Heard) -> str:
    """Why an answer is not what was asked for; empty when it is."""
    if heard.refusal and not heard.text.strip():
        return f"{model} refused: {one_line(heard.refusal)}"
    if heard.finish == "content_filter":
        return f"{model} was cut off by a content policy"
    if heard.finish == "length":
        early = "" if heard.text.strip() else ", before it said anything but thoughts" if heard.thoughts else ", empty"
        return f"{model} was cut off at its token limit{early}"
    if not heard.text.strip():
        return f"{model} gave an empty answer{f' (it ended by {heard.finish!r})' if heard.finish else ''}"
    return ""
