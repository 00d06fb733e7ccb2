"""Spans and counters of a run by OpenTelemetry, where the user has configured an exporter; nothing at all otherwise.

Configured means what it means to OpenTelemetry: an ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or one for traces or metrics), or an
``OTEL_TRACES_EXPORTER`` or ``OTEL_METRICS_EXPORTER``, in the environment; or a provider that somebody has set in this process
already. What leaves are names, statuses and figures: no prompt, no answer, no kernel, no reason of a verdict.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kernelwright.agent.watch import Heeding
from kernelwright.memory.records import RunRecord, TaskOutcome
from kernelwright.tasks.records import Attempt, Idea, Task

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from kernelwright.agent.llm.ledger import Ledger

SCOPE = "kernelwright"
PATIENCE_S = 5.0
"""Longest wait for the exporters when a run ends."""
_EXPORTERS = {"traces": "OTEL_TRACES_EXPORTER", "metrics": "OTEL_METRICS_EXPORTER"}
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def exporters(environment: Mapping[str, str]) -> dict[str, list[str]]:
    """Signal (``traces``, ``metrics``) -> names of the exporters that the environment asks for."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return {}
    found = {}
    for signal, variable in _EXPORTERS.items():
        reached = environment.get(_ENDPOINT) or environment.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
        named = environment.get(variable) or ("otlp" if reached else "")
        names = [name.strip() for name in named.split(",") if name.strip() not in ("", "none")]
        if names:
            found[signal] = names
    return found


@contextmanager
def traced(watch: Heeding, run: RunRecord) -> Iterator[Heeding]:
    """``watch``, with what it sees also told to the user's exporters; ``watch`` itself where there are none."""
    providers = _providers(exporters(os.environ))
    if providers is None:
        yield watch
        return
    teller = Telemetry(watch, run, *providers)
    try:
        yield teller
    finally:
        teller.close()


class Telemetry:
    """Looks on as ``watch`` does, and tells: a span a run, under it one a task, under that one an attempt; and counters."""

    def __init__(self, watch: Heeding, run: RunRecord, traces: TracerProvider, metrics: MeterProvider) -> None:
        self._watch, self._providers = watch, (traces, metrics)
        self._tracer = traces.get_tracer(SCOPE)
        meter = metrics.get_meter(SCOPE)
        self._attempts = meter.create_counter("kernelwright.attempts", "{attempt}", "Attempts by status")
        self._outcomes = meter.create_counter("kernelwright.tasks", "{task}", "Tasks by outcome")
        self._tokens = meter.create_counter("kernelwright.tokens", "{token}", "Tokens of answers by direction")
        self._cost = meter.create_counter("kernelwright.cost", "USD", "What answers cost, where it is known")
        self._judging = meter.create_histogram("kernelwright.judging.duration", "s", "Judging one kernel")
        self._common = {f"kernelwright.{k}": str(run.config.get(k) or "") for k in ("backend", "model", "policy")}
        self._run = self._tracer.start_span("kernelwright.run", attributes={"kernelwright.run": run.id, **self._common})
        self._task: Span | None = None
        self._open: dict[str, Span] = {}
        """Attempts that this process works on: those that an earlier one finished are shown again, and not told again."""

    def stopping(self) -> bool:
        return self._watch.stopping()

    def paused(self) -> bool:
        return self._watch.paused()

    def spending(self, ledger: Ledger) -> None:
        self._watch.spending(ledger)

    def task(self, task: Task, budget: int) -> None:
        if self._task is None:
            about = {"kernelwright.task": task.name, "kernelwright.family": task.family, "kernelwright.budget": budget}
            self._task = self._begin("kernelwright.task", self._run, about)
        self._watch.task(task, budget)

    def doing(self, idea: Idea | None, what: str) -> None:
        if idea is not None:
            span = self._open.get(idea.id)
            if span is None:
                about = {"kernelwright.attempt": idea.id, "kernelwright.stage": idea.stage.value}
                span = self._open[idea.id] = self._begin("kernelwright.attempt", self._task or self._run, about)
            span.add_event(what)
        self._watch.doing(idea, what)

    def done(self, attempt: Attempt) -> None:
        if (span := self._open.pop(attempt.id, None)) is not None:
            self._tell(attempt, span)
        self._watch.done(attempt)

    def outcome(self, outcome: TaskOutcome) -> None:
        status = "interrupted" if self._watch.stopping() else outcome.status  # then the outcome is only how it stands
        self._outcomes.add(1, {**self._common, "kernelwright.status": status})
        self._end_task(status)
        self._watch.outcome(outcome)

    def close(self) -> None:
        """End what is open, and wait a moment until it is sent."""
        self._end_task("interrupted")
        self._run.end()
        ends = time.monotonic() + PATIENCE_S
        flushing = [threading.Thread(target=_flush, args=(provider,), daemon=True) for provider in self._providers]
        for thread in flushing:
            thread.start()
        for thread in flushing:  # a collector that is not there may hold its exporter for longer than it promises
            thread.join(max(0.0, ends - time.monotonic()))

    def _begin(self, name: str, parent: Span, about: Mapping[str, Any]) -> Span:
        from opentelemetry.trace import set_span_in_context

        return self._tracer.start_span(name, set_span_in_context(parent), attributes=about)

    def _tell(self, attempt: Attempt, span: Span) -> None:
        answer, verdict = attempt.answer, attempt.verdict
        by = {**self._common, "kernelwright.status": attempt.status}
        self._attempts.add(1, by)
        for direction, tokens in (("in", answer.tokens_in), ("out", answer.tokens_out)):
            if tokens:
                self._tokens.add(tokens, {**self._common, "kernelwright.direction": direction})
        if answer.cost_usd:
            self._cost.add(answer.cost_usd, self._common)
        span.set_attributes({"kernelwright.status": attempt.status, "kernelwright.writing.seconds": answer.seconds})
        if verdict is not None:
            self._judging.record(verdict.seconds, by)
            span.set_attributes({"kernelwright.decided": verdict.stage.value, "kernelwright.judging.seconds": verdict.seconds})
            if verdict.timing is not None and verdict.speedup is not None:
                latency = verdict.timing.latency_us.median
                span.set_attributes({"kernelwright.latency_us": latency, "kernelwright.speedup": verdict.speedup})
        span.end()

    def _end_task(self, status: str) -> None:
        for span in self._open.values():  # they wait for an answer or a verdict from elsewhere
            span.end()
        self._open.clear()
        if self._task is not None:
            self._task.set_attribute("kernelwright.status", status)
            self._task.end()
            self._task = None


def _flush(provider: object) -> None:
    flush = getattr(provider, "force_flush", None)  # the API's own providers send nothing and have none
    if flush is not None:
        flush(round(PATIENCE_S * 1000))


def _providers(wanted: Mapping[str, list[str]]) -> tuple[TracerProvider, MeterProvider] | None:
    """This process's providers, made here if nobody has set any; None where nothing is wanted."""
    if not wanted and "opentelemetry.trace" not in sys.modules:
        return None
    try:
        from opentelemetry import metrics, trace
    except ImportError:
        _without("the package opentelemetry-api is missing; pip install 'kernelwright[otel]'")
        return None
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        if not wanted:
            return None
        if why := _configure(wanted):
            _without(why)
            return None
    return trace.get_tracer_provider(), metrics.get_meter_provider()


def _configure(wanted: Mapping[str, list[str]]) -> str:
    """Set the providers with the exporters that are asked for; returns why that cannot be done, or nothing.

    All else is read from the environment by OpenTelemetry itself: endpoints, headers, sampling, the service's name.
    """
    try:
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider as Meters
        from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
        from opentelemetry.sdk.trace import TracerProvider as Tracers
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        spans = [_exporter("traces", name)() for name in wanted.get("traces", ())]
        figures = [_exporter("metrics", name)() for name in wanted.get("metrics", ())]
    except ImportError as error:
        return f"{error}; pip install 'kernelwright[otel]'"
    except (LookupError, ValueError) as error:
        return str(error.args[0])
    tracers = Tracers(shutdown_on_exit=False)  # every run is flushed at its end
    for exporter in spans:
        tracers.add_span_processor(BatchSpanProcessor(exporter))
    readers = [f if isinstance(f, MetricReader) else PeriodicExportingMetricReader(f) for f in figures]
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(Meters(readers, shutdown_on_exit=False))
    return ""


def _exporter(signal: str, name: str) -> Any:
    """The class of an exporter by its OpenTelemetry name; ``otlp`` stands for the protocol that is asked for, or is there.

    Raises:
        LookupError: none of that name is installed.
    """
    from importlib.metadata import entry_points

    there = {entry.name: entry for entry in entry_points(group=f"opentelemetry_{signal}_exporter")}
    names = [name]
    if name == "otlp":
        asked = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        protocol = next((os.environ[variable] for variable in asked if os.environ.get(variable)), "")
        names = [f"otlp_proto_{p.partition('/')[0]}" for p in ([protocol] if protocol else ["grpc", "http"])]
    for each in names:
        if each in there:
            return there[each].load()
    known = ", ".join(there) or "none"
    raise LookupError(f"no {signal} exporter {name!r} ({' or '.join(names)}) is installed; there are: {known}")


def _without(why: str) -> None:
    sys.stderr.write(f"warning: nothing is told to the OpenTelemetry exporter: {why}\n")
