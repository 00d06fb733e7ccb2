"""Which library asks a model: litellm for the providers, OpenAI's own for OpenAI-compatible servers and without litellm."""

from __future__ import annotations

from kernelwright.agent.llm.transport import Transport
from kernelwright.tasks.errors import WriterError

DIRECT = "openai/"
"""Head of a model string that means chat completions, whoever serves them."""


def transport_for(model: str, api_base: str | None) -> Transport:
    """The way to ``model``.

    With ``--api-base`` a name without a provider of litellm's (``my-model``, ``Qwen/Qwen3-8B``, ``openai/…``) means an
    OpenAI-compatible server, asked by OpenAI's client: it alters nothing of an answer, and needs no litellm (2 s).

    Raises:
        WriterError: an unknown model, no key, or a provider for which litellm would be needed.
    """
    name = model.removeprefix(DIRECT)
    if api_base is not None and (model.startswith(DIRECT) or "/" not in model):
        return _direct(name, api_base)
    try:
        from kernelwright.agent.llm.via_litellm import ViaLitellm, imported

        providers = {str(getattr(p, "value", p)) for p in imported().provider_list}
    except ImportError as error:
        if api_base is not None or model.startswith(DIRECT) or "/" not in model:
            return _direct(name, api_base)
        raise WriterError(
            f"model {model} needs litellm, which cannot be imported ({type(error).__name__})",
            "pip install litellm, or take openai/MODEL, or give --api-base of an OpenAI-compatible server",
        ) from None
    if api_base is not None and model.partition("/")[0] not in providers:
        return _direct(model, api_base)
    return ViaLitellm(model, api_base)


def _direct(name: str, api_base: str | None) -> Transport:
    try:
        from kernelwright.agent.llm.via_openai import ViaOpenAI

        return ViaOpenAI(name, api_base)
    except ImportError as error:
        why = f"model {name} needs the package openai, which cannot be imported ({type(error).__name__})"
        raise WriterError(why, "pip install 'openai>=1.99,<3'") from None
