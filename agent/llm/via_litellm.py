"""Every provider that litellm knows, by litellm. It is imported when the first client is made (2 s).

Known of litellm and mended here: it asks the network for prices when imported, retries on several layers at once, ends a
stream that broke off by a ``stop`` of its own, and reports a usage that it counted itself as if it were the provider's.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

from kernelwright.agent.llm.failures import failure_of
from kernelwright.agent.llm.pieces import piece_of, usage_of
from kernelwright.agent.llm.providers import PROVIDERS
from kernelwright.agent.llm.transport import Piece, Stream
from kernelwright.tasks.errors import WriterError


class ViaLitellm:
    """One model of any provider.

    Raises:
        WriterError: a model of no known provider, or no key for its provider.
        ImportError: litellm is not installed, or broken.
    """

    def __init__(self, model: str, api_base: str | None) -> None:
        self._litellm = imported()
        self.name = model
        self._api_base = api_base
        self._provider = self._find_provider()
        self.endpoint = api_base or self._provider
        self.key = next((p.key for p in PROVIDERS if p.name == self._provider), f"{self._provider.upper()}_API_KEY")
        self._check_key()

    def taken(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Those that litellm does not refuse for this model."""
        model = self.name.removeprefix(f"{self._provider}/")
        known = self._litellm.get_supported_openai_params(model, self._provider)
        taken = {"stream": True, "stream_options": {"include_usage": True}}
        return taken | {k: v for k, v in wanted.items() if (known is None or k in known) and self._fits(model, k, v)}

    def open(self, body: Mapping[str, Any], silence: float) -> Stream:
        # What is not given here is litellm's own choice; drop_params leaves out what only a part of a provider's models takes.
        own = {"api_base": self._api_base, "timeout": silence, "max_retries": 0, "num_retries": 0, "drop_params": True}
        if self._api_base is not None and not os.environ.get(self.key):
            own["api_key"] = "none"  # a server of one's own needs no key, but some clients insist on a text
        try:
            answer = self._litellm.completion(**body, **own)
        except Exception as error:  # noqa: BLE001  a process boundary: classes of many libraries
            raise failure_of(error) from None
        return CountedStream(answer) if body.get("stream") else Whole(answer)

    def _find_provider(self) -> str:
        try:
            return str(self._litellm.get_llm_provider(self.name, api_base=self._api_base)[1])
        except self._litellm.exceptions.BadRequestError:
            known = ", ".join(p.model for p in PROVIDERS[:3])
            raise WriterError(
                f"unknown model {self.name!r}",
                f"give playbook, exchange, replay:RUN, or provider/model as litellm writes it, such as {known}; "
                "a model of a server of your own needs --api-base",
            ) from None

    def _check_key(self) -> None:
        if self._api_base is not None:
            return
        missing = [k for k in self._litellm.validate_environment(self.name)["missing_keys"] if k.endswith("_KEY")]
        if missing:
            raise WriterError(f"no key for model {self.name}", f"set {' and '.join(missing)} in the environment")

    def _fits(self, model: str, name: str, value: object) -> bool:
        """Whether litellm lets this value pass: some models take a parameter, but not every value of it."""
        try:
            self._litellm.utils.get_optional_params(
                model=model, custom_llm_provider=self._provider, drop_params=False, **{name: value}
            )
        except self._litellm.exceptions.UnsupportedParamsError:
            return False
        except Exception:  # noqa: BLE001  it cannot tell (it may want more arguments): then the provider will
            return True
        return True


class CountedStream:
    """litellm's stream, believed only where the provider spoke."""

    def __init__(self, stream: Any) -> None:
        self.whole = False
        self._stream = stream

    def __iter__(self) -> Iterator[Piece]:
        usage = None
        try:
            for chunk in self._stream:
                data = chunk.model_dump()
                usage = data.pop("usage", None) or usage
                finish = self._finish(data)
                yield piece_of({"choices": _without_finish(data)})
                if finish:
                    self.whole = True
                    yield Piece(finish=finish)
        except Exception as error:  # noqa: BLE001  a process boundary: classes of many libraries
            raise failure_of(error) from None
        finally:
            self._close()
        if self._reported():
            yield Piece(usage=usage_of(usage))

    def stop(self) -> None:
        """Tell litellm's stream to close; a read that is under way ends by its own timeout at the latest."""
        self._close()

    def _finish(self, chunk: Mapping[str, Any]) -> str:
        """The provider's reason to end; litellm's own ``stop`` is none."""
        given = next((choice.get("finish_reason") for choice in chunk.get("choices") or ()), None)
        if not given or not getattr(self._stream, "received_finish_reason", given):
            return ""
        return str(given)

    def _reported(self) -> bool:
        """Whether the usage is the provider's: litellm counts by itself where no chunk had any."""
        chunks = getattr(self._stream, "chunks", ())
        return any(getattr(chunk, "usage", None) is not None for chunk in chunks)

    def _close(self) -> None:
        with contextlib.suppress(Exception):  # whatever state the connection is in, it is not needed any more
            close = getattr(self._stream, "close", None) or self._stream.completion_stream.close
            close()


class Whole:
    """An answer that was not asked for as a stream."""

    whole = True

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[Piece]:
        yield piece_of(self._answer.model_dump())

    def stop(self) -> None:
        return None


def _without_finish(chunk: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**choice, "finish_reason": None} for choice in chunk.get("choices") or ()]


def imported() -> Any:
    """litellm, silent and without asking the network for prices.

    Raises:
        ImportError: it is not installed, or broken.
    """
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.disable_streaming_logging = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).disabled = True  # its debug lines, and some of its errors, hold whole requests
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log addresses, and some providers put the key there
    return litellm
