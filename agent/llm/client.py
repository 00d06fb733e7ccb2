"""One call to a language model through litellm: retried here and nowhere else, priced offline, its key never shown."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from kernelwright.agent.llm import providers
from kernelwright.agent.llm.retry import Retry, call
from kernelwright.tasks.errors import WriterError

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP statuses after which the same call may succeed."""


@dataclass(frozen=True)
class Reply:
    """What a model said. ``text`` is empty when it said nothing, ``problem`` then says why."""

    text: str
    problem: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = None
    seconds: float = 0.0


class Client:
    """Calls one model.

    Raises:
        WriterError: at construction, an unknown model or no key; from ``ask``, a refused key, an unknown model, or a
            server that does not answer after all tries.
    """

    def __init__(self, model: str, api_base: str | None = None, retry: Retry | None = None, timeout: float = 600) -> None:
        self.model = model
        self._api_base = api_base
        self._retry = retry or Retry()
        self._timeout = timeout
        self._litellm = _litellm()
        self._check()

    def ask(self, prompt: str) -> Reply:
        """The model's answer to ``prompt``."""
        began = time.monotonic()
        try:
            response = call(lambda: self._complete(prompt), self._passing, self._retry)
        except Exception as error:  # a process boundary: litellm and the clients under it raise classes of their own
            problem = self._refused(error)
            if problem is None:
                raise self._as_writer_error(error) from error
            return Reply("", problem, seconds=time.monotonic() - began)
        return self._reply(response, time.monotonic() - began)

    def _complete(self, prompt: str) -> Any:
        return self._litellm.completion(
            model=self.model,
            messages=[{"role": "user", "content": prompt}],
            api_base=self._api_base,
            api_key=self._keyless(),
            max_retries=0,
            num_retries=0,
            timeout=self._timeout,
        )

    def _reply(self, response: Any, seconds: float) -> Reply:
        choice = response.choices[0] if response.choices else None
        text = (choice.message.content if choice is not None else None) or ""
        usage = getattr(response, "usage", None)
        problem = ""
        if not text.strip():
            end = f" (it ended by {choice.finish_reason!r})" if choice is not None else ""
            problem = f"{self.model} gave an empty answer{end}"
        elif choice is not None and choice.finish_reason == "length":
            problem = f"{self.model} was cut off at its token limit"
        return Reply(
            text,
            problem,
            tokens_in=getattr(usage, "prompt_tokens", 0) or 0,
            tokens_out=getattr(usage, "completion_tokens", 0) or 0,
            cost_usd=self._price(response),
            seconds=seconds,
        )

    def _price(self, response: Any) -> float | None:
        """US dollars by litellm's own price map; None when it does not hold the model that was asked for."""
        try:
            self._litellm.get_model_info(self.model)
            return float(self._litellm.completion_cost(completion_response=response, model=self.model))
        except Exception:  # noqa: BLE001  litellm raises plain Exception for a model that it has no price of
            return None

    def _check(self) -> None:
        try:
            self._litellm.get_llm_provider(self.model, api_base=self._api_base)
        except self._litellm.exceptions.BadRequestError as error:
            known = ", ".join(p.model for p in providers.PROVIDERS[:3])
            raise WriterError(
                f"unknown model {self.model!r}",
                f"give playbook, exchange, replay:RUN, or provider/model as litellm writes it, such as {known}",
            ) from error
        if self._api_base is not None:
            return
        missing = [k for k in self._litellm.validate_environment(self.model)["missing_keys"] if k.endswith("_KEY")]
        if missing:
            raise WriterError(f"no key for model {self.model}", f"set {' and '.join(missing)} in the environment")

    def _keyless(self) -> str | None:
        """A server of one's own needs no key, but its client insists on some text."""
        provider = providers.of_model(self.model)
        key = provider.key if provider else "OPENAI_API_KEY"
        return None if self._api_base is None or os.environ.get(key) else "none"

    def _passing(self, error: Exception) -> bool:
        raised = self._litellm.exceptions
        if isinstance(error, (raised.Timeout, raised.APIConnectionError)):
            return True
        return getattr(error, "status_code", None) in PASSING

    def _refused(self, error: Exception) -> str | None:
        """Why this one prompt was turned down, when others may still be answered; None when it is not about the prompt."""
        raised = self._litellm.exceptions
        if isinstance(error, raised.ContextWindowExceededError):
            return f"{self.model}: the prompt is longer than its context window"
        if isinstance(error, raised.ContentPolicyViolationError):
            return f"{self.model} refused the prompt by its content policy"
        return None

    def _as_writer_error(self, error: Exception) -> WriterError:
        status = getattr(error, "status_code", None)
        provider = providers.of_model(self.model)
        key = provider.key if provider else "the provider's key"
        if status in (401, 403):
            return WriterError(f"{self.model}: the key was refused ({status})", f"check {key} in the environment")
        if status == 404:
            return WriterError(f"{self.model}: there is no such model (404)", "check its name with the provider")
        if status == 402:
            return WriterError(f"{self.model}: payment required (402)", "check the account's credit with the provider")
        if self._passing(error):
            return WriterError(
                f"{self.model} did not answer in {self._retry.tries} tries: {self._words(error)}",
                "check the network and --api-base, then `kernelwright resume` the run",
            )
        return WriterError(f"{self.model}: {self._words(error)}", "check the model's name and its options")

    def _words(self, error: Exception) -> str:
        """The error in one line, without any key that is in the environment."""
        text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"[:300]
        for name, value in os.environ.items():
            if name.endswith(("_KEY", "_TOKEN")) and len(value) > 3:
                text = text.replace(value, f"${name}")
        return text


def _litellm() -> Any:
    """litellm, imported when it is first needed (2 s) and without asking the network for prices."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm
