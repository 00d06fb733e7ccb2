"""What goes wrong with a provider, in our terms: one kind for each thing that a person can do about it.

The providers' libraries raise classes of their own; :func:`failure_of` sorts them by HTTP status, by the error codes that
providers agree on, and last by words, since several providers tell "no credit" or "too long" only in words.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from kernelwright.agent.llm.scrub import one_line, scrub


class Kind(str, Enum):
    """What went wrong."""

    KEY = "key"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    PAYMENT = "payment"
    CONTEXT = "context"
    POLICY = "policy"
    REQUEST = "request"
    RATE = "rate"
    SERVER = "server"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    GARBAGE = "garbage"
    CUT = "cut"


PASSING = frozenset({Kind.RATE, Kind.SERVER, Kind.TIMEOUT, Kind.CONNECTION, Kind.GARBAGE, Kind.CUT})
"""After these the same request may succeed."""
OF_THE_PROMPT = frozenset({Kind.CONTEXT, Kind.POLICY})
"""One prompt was turned down; others may still be answered."""

REMEDIES = {
    Kind.KEY: "check {key} in the environment",
    Kind.FORBIDDEN: "check with the provider that the account behind {key} may use this model from here",
    Kind.MISSING: "check the model's name with the provider, and that --api-base is the whole address; most end in /v1",
    Kind.PAYMENT: "check the account's credit and limits with the provider, then `kernelwright resume` the run",
    Kind.CONTEXT: "lower --prompt-tokens or --answer-tokens, or take a model with a longer context",
    Kind.POLICY: "take another model, or another task",
    Kind.REQUEST: "check the model's name and its options",
    Kind.RATE: "give --requests-per-minute and a lower --concurrency, then `kernelwright resume` the run",
    Kind.SERVER: "see the provider's status page, then `kernelwright resume` the run",
    Kind.TIMEOUT: "give more --stall-seconds or check --api-base, then `kernelwright resume` the run",
    Kind.CONNECTION: "check the network and --api-base, then `kernelwright resume` the run",
    Kind.GARBAGE: "check that --api-base is an OpenAI-compatible server, and that no proxy answers in its place",
    Kind.CUT: "check the network and the server's log, then `kernelwright resume` the run",
}
"""What a person can do; ``{key}`` is the environment variable of the provider's key."""

_STATUSES = {
    401: Kind.KEY,
    402: Kind.PAYMENT,
    403: Kind.FORBIDDEN,
    404: Kind.MISSING,
    408: Kind.TIMEOUT,
    413: Kind.CONTEXT,
    429: Kind.RATE,
}
_CODES = {
    "insufficient_quota": Kind.PAYMENT,
    "billing_hard_limit_reached": Kind.PAYMENT,
    "context_length_exceeded": Kind.CONTEXT,
    "exceed_context_size_error": Kind.CONTEXT,
    "content_filter": Kind.POLICY,
    "content_policy_violation": Kind.POLICY,
    "model_not_found": Kind.MISSING,
    "invalid_api_key": Kind.KEY,
}
_NO_CREDIT = re.compile(r"(?i)insufficient (quota|balance|credit|funds)|exceeded your current quota|balance is too low")
_TOO_LONG = re.compile(r"(?i)context (length|window|size)|maximum context|(prompt|input) is too long|too many (input )?tokens")
_UNWANTED = re.compile(r"(?i)content (management )?polic|content[ _]filter|flagged|moderation|safety system")
_BAD_KEY = re.compile(r"(?i)(invalid|incorrect|missing|no) api[ _-]?key|api key not (valid|found)")
_WORDS: Mapping[int, tuple[tuple[Kind, re.Pattern[str]], ...]] = {
    401: (),
    402: (),
    403: ((Kind.PAYMENT, _NO_CREDIT), (Kind.POLICY, _UNWANTED)),
    404: (),
    429: ((Kind.PAYMENT, _NO_CREDIT), (Kind.CONTEXT, re.compile(r"(?i)^request too large"))),
}
"""What words may change of a status' meaning; "too many tokens" with a 429 are too many a minute, in all but in one."""
_ANY_WORDS = ((Kind.PAYMENT, _NO_CREDIT), (Kind.CONTEXT, _TOO_LONG), (Kind.POLICY, _UNWANTED), (Kind.KEY, _BAD_KEY))
"""The same for the other refusals."""
_WRAPPING = re.compile(r"^\s*(?:(?:litellm\.)?\w+(?:Error|Exception|Timeout)(?:: | - ))+")
"""What litellm puts before a provider's words, several times over."""


class Failure(Exception):
    """One try that gave no answer. Its words are scrubbed."""

    def __init__(self, kind: Kind, words: str, *, status: int | None = None, parameter: str = "", whole: str = "") -> None:
        self.kind = kind
        self.words = one_line(words) or kind.value
        self.status = status
        self.parameter = parameter
        """The request's parameter that the provider objects to, if it names one by itself."""
        self.message = scrub(whole or words)[:4000]
        """All the words, for what is to be found in them."""
        self.retry_after: float | None = None
        """Seconds that the provider asks to wait."""
        self.unbilled = status is not None and status >= 400
        """Nothing was written for this, so that nothing is to be paid."""
        super().__init__(self.words)


def failure_of(error: BaseException) -> Failure:
    """Any exception of a provider's library, of the HTTP library under it or of the system, as a :class:`Failure`."""
    if isinstance(error, Failure):
        return error
    inner = getattr(error, "original_exception", None)
    if type(error).__name__ == "MidStreamFallbackError" and isinstance(inner, Exception):
        return failure_of(inner)
    names = _names(error)
    body = _body(error)
    status = _status(error, names, body)
    words = str(body.get("message") or getattr(error, "message", "") or error)
    words, body = _unwrapped(words, body)
    kind = _kind(status, names, body, words)
    failure = Failure(kind, words, status=status, parameter=str(body.get("param") or ""), whole=f"{words} {error}")
    failure.retry_after = retry_after(_headers(error))
    if kind is Kind.CONNECTION and names & {"ConnectError", "ConnectTimeout", "ConnectionRefusedError", "gaierror"}:
        failure.unbilled = True
    return failure


def failure_in(body: Mapping[str, Any]) -> Failure:
    """An error that came as an answer or in the middle of one: ``{"error": …}`` with status 200."""
    found = body.get("error")
    error = found if isinstance(found, Mapping) else {"message": str(found)}
    code = error.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    words = str(error.get("message") or json.dumps(error))
    kind = _kind(status if status is not None else 500, set(), error, words)
    failure = Failure(kind, words, status=status)
    failure.unbilled = False
    return failure


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The Retry-After header (also in milliseconds), seconds or a date; None without one."""
    value = headers.get("retry-after")
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        return None if value is None else max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value or "").timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _kind(status: int | None, names: set[str], body: Mapping[str, Any], words: str) -> Kind:
    coded = _CODES.get(str(body.get("code"))) or _CODES.get(str(body.get("type")))
    if coded is not None:
        return coded
    if "ContextWindowExceededError" in names:
        return Kind.CONTEXT
    if "ContentPolicyViolationError" in names:
        return Kind.POLICY
    if status is None:
        return _broken(names, words)
    if 400 <= status < 500:
        worded = next((kind for kind, pattern in _WORDS.get(status, _ANY_WORDS) if pattern.search(words)), None)
        if worded is not None:
            return worded
    return _STATUSES.get(status) or (Kind.SERVER if status >= 500 or status in (409, 425) else Kind.REQUEST)


def _broken(names: set[str], words: str) -> Kind:
    """The kind of a failure that has no HTTP status: something between us and the server."""
    if names & {"TimeoutException", "APITimeoutError", "Timeout", "TimeoutError"} and "ConnectTimeout" not in names:
        return Kind.TIMEOUT
    if names & {"JSONDecodeError", "APIResponseValidationError", "DecodingError", "UnicodeDecodeError", "ValidationError"}:
        return Kind.GARBAGE
    if "before a finish_reason" in words or names & {"RemoteProtocolError", "ReadError", "IncompleteRead"}:
        return Kind.CUT
    return Kind.CONNECTION


def _names(error: BaseException) -> set[str]:
    """Names of the classes of ``error`` and of what it was raised from: the libraries wrap each other's errors."""
    names: set[str] = set()
    link: BaseException | None = error
    for _ in range(6):
        if link is None:
            break
        names |= {c.__name__ for c in type(link).__mro__}
        link = link.__cause__ or link.__context__
    return names


def _status(error: BaseException, names: set[str], body: Mapping[str, Any]) -> int | None:
    """The HTTP status, where there was an answer: litellm gives one to what broke before any, too."""
    code = body.get("code")
    if isinstance(code, int) and 400 <= code < 600:
        return code
    status = getattr(error, "status_code", None)
    if not isinstance(status, int) or names & {"APIConnectionError", "Timeout", "RemoteProtocolError", "ReadError"}:
        return None
    return status if status >= 400 else None


def _body(error: BaseException) -> Mapping[str, Any]:
    """The provider's own words on it: ``message``, ``code``, ``param``, ``type``."""
    body = getattr(error, "body", None)
    if isinstance(body, Mapping):
        inner = body.get("error")
        return inner if isinstance(inner, Mapping) else body
    found = {name: getattr(error, name, None) for name in ("code", "param", "type")}
    return {name: value for name, value in found.items() if value is not None}


def _unwrapped(words: str, body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """A provider's words without what litellm put around them; some of them are the whole body of the answer as JSON."""
    bare = _WRAPPING.sub("", words)
    start = bare.find("{")
    if start < 0 or not 0 <= start < 100:
        return bare, body
    try:
        inner = json.JSONDecoder().raw_decode(bare[start:])[0]
    except ValueError:
        return bare, body
    error = inner.get("error", inner)
    if not isinstance(error, Mapping) or not isinstance(error.get("message"), str):
        return bare, body
    return error["message"], {**error, **{k: v for k, v in body.items() if v is not None}}


def _headers(error: BaseException) -> Mapping[str, str]:
    for headers in (
        getattr(getattr(error, "response", None), "headers", None),
        getattr(error, "litellm_response_headers", None),
    ):
        if headers is not None and any(name.lower().startswith("retry-after") for name in headers):
            return {name.lower(): str(value) for name, value in headers.items()}
    return {}
