"""What a run tells a collector: every attempt once, under its task and run; and nothing where nobody has asked for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from processes import TESTS, the_run
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent.run import resume, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.telemetry import Telemetry, exporters
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import RunRecord
from kernelwright.tasks.load import load_task

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def test_what_counts_as_configured() -> None:
    both = {"traces": ["otlp"], "metrics": ["otlp"]}
    assert exporters({}) == {}
    assert exporters({ENDPOINT: "http://x:4317"}) == both
    assert exporters({ENDPOINT: "http://x:4317", "OTEL_METRICS_EXPORTER": "none"}) == {"traces": ["otlp"]}
    assert exporters({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x:4317"}) == {"metrics": ["otlp"]}
    assert exporters({"OTEL_TRACES_EXPORTER": "console, otlp"}) == {"traces": ["console", "otlp"]}
    assert exporters({ENDPOINT: "http://x:4317", "OTEL_SDK_DISABLED": "True"}) == {}


def test_what_an_earlier_process_told_is_not_told_again(tmp_path: Path) -> None:
    export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    spans, reader, traces = export.InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    place = Workspace.at(tmp_path / "home", None)
    task = load_task(reference(tmp_path))
    config = RunConfig((), (task.name,), "cpp", MODEL, engine=ENGINE, policy="greedy", budget=4, run="r")
    record = RunRecord("r", {"backend": "cpp", "model": MODEL}, "running", "2026-01-01T00:00:00+00:00", (task,))

    class StopsAfterTwo(Silence):
        seen = 0

        def done(self, attempt: Any) -> None:
            self.seen += 1

        def stopping(self) -> bool:
            return self.seen >= 2

    script(place.home, "rubbish", kernel("incorrect"), kernel("passed 1.2"), kernel("passed 1.5", 2))
    meters = MeterProvider(metric_readers=[reader])
    first = Telemetry(StopsAfterTwo(), record, traces, meters)
    start(config, [task], place, first)
    first.close()
    told = [s for s in spans.get_finished_spans() if s.name == "kernelwright.attempt"]
    assert [s.attributes and s.attributes["kernelwright.status"] for s in told] == ["unreadable", "incorrect"]
    second = Telemetry(Silence(), record, traces, meters)
    resume("r", place, second)
    second.close()
    found = spans.get_finished_spans()
    told = [s for s in found if s.name == "kernelwright.attempt"]
    statuses = [s.attributes and s.attributes["kernelwright.status"] for s in told]
    assert statuses == ["unreadable", "incorrect", "passed", "passed"]
    assert len({s.attributes and s.attributes["kernelwright.attempt"] for s in told}) == 4
    runs, tasks = ([s for s in found if s.name == f"kernelwright.{name}"] for name in ("run", "task"))
    assert [t.parent and t.parent.span_id for t in tasks] == [r.context.span_id for r in runs]
    assert {t.parent and t.parent.span_id for t in told} == {t.context.span_id for t in tasks}
    assert told[3].attributes is not None
    assert told[3].attributes["kernelwright.speedup"] == pytest.approx(1.5)
    assert [t.attributes and t.attributes["kernelwright.status"] for t in tasks] == ["interrupted", "improved"]
    counted = counters(reader)
    assert counted["kernelwright.tasks"] == {"interrupted": 1, "improved": 1}
    assert counted["kernelwright.attempts"] == {"unreadable": 1, "incorrect": 1, "passed": 2}
    assert sum(counted["kernelwright.cost"].values()) == pytest.approx(1.0)


def counters(reader: Any) -> dict[str, dict[str, float]]:
    """Counter -> status -> sum."""
    found: dict[str, dict[str, float]] = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for metric in (m for scope in resource.scope_metrics for m in scope.metrics):
            for point in metric.data.data_points:
                sums = found.setdefault(metric.name, {})
                status = str(point.attributes.get("kernelwright.status", ""))
                sums[status] = sums.get(status, 0) + getattr(point, "value", 0)
    return found


class Collector:
    """An OTLP collector that keeps what it is sent."""

    def __init__(self) -> None:
        grpc = pytest.importorskip("grpc")
        pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc")
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

        self.spans: list[Any] = []
        self.metrics: list[Any] = []
        outer = self

        class Traces(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]
            def Export(self, request: Any, context: Any) -> Any:
                outer.spans += [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
                return trace_service_pb2.ExportTraceServiceResponse()

        class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):  # type: ignore[misc]
            def Export(self, request: Any, context: Any) -> Any:
                outer.metrics += [m for r in request.resource_metrics for scope in r.scope_metrics for m in scope.metrics]
                return metrics_service_pb2.ExportMetricsServiceResponse()

        self.server = grpc.server(ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), self.server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.stop(None)


def optimized(home: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    script(home, "rubbish", kernel("passed 1.2"))
    arguments = ("optimize", reference(folder), "--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--budget", "2")
    paths = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH", ""))))
    told = {**os.environ, "PYTHONPATH": paths, "KERNELWRIGHT_HOME": str(home), **environment}
    command = [sys.executable, "-m", "kernelwright", *arguments, "--json"]
    return subprocess.run(command, env=told, capture_output=True, text=True, timeout=120, check=False)


def test_a_collector_hears_of_a_whole_run(collector: Collector, tmp_path: Path) -> None:
    done = optimized(tmp_path / "home", tmp_path, **{ENDPOINT: f"http://127.0.0.1:{collector.port}"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    names = sorted(span.name for span in collector.spans)
    assert names == ["kernelwright.attempt", "kernelwright.attempt", "kernelwright.run", "kernelwright.task"]
    run = next(span for span in collector.spans if span.name == "kernelwright.run")
    assert the_run(tmp_path / "home").id in str(run.attributes)
    assert {"kernelwright.attempts", "kernelwright.tasks"} <= {metric.name for metric in collector.metrics}
    said = str(collector.spans) + str(collector.metrics)
    assert "ModelNew" not in said
    assert "rubbish" not in said


def test_an_exporter_that_is_not_there_costs_no_run(tmp_path: Path) -> None:
    done = optimized(tmp_path / "home", tmp_path, OTEL_TRACES_EXPORTER="nonsense")
    assert done.returncode == 0, done.stderr
    assert "no traces exporter 'nonsense'" in done.stderr
    assert "warning: nothing is told to the OpenTelemetry exporter" in done.stderr
    assert done.stdout.count("\n") == 1


def test_nobody_hears_of_anything_otherwise(tmp_path: Path, collector: Collector) -> None:
    done = optimized(tmp_path / "home", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "OpenTelemetry" not in done.stderr
    assert collector.spans == []
