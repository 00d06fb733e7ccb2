"""Benches with evidence, made up: what the leaderboard is tested on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench_files import record

from kernelwright.agent.evidence.file import checksum
from kernelwright.tasks.records import Kernel

KERNEL = '''import torch
from kernelwright.evaluator.native import load

lib = load(cpp=r"""
extern "C" void scale(const float* x, float* y, int64_t n) {{
  for (int64_t i = 0; i < n; ++i) y[i] = {factor}.0f * x[i];  // {note}
}}""")


class ModelNew(torch.nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.scale(x, y, x.numel())
        return y
'''
TASK = "class Model(torch.nn.Module):\n    def forward(self, x):\n        return 2 * x  # {note}\n"


def spread(middle: float, by: float = 0.04) -> list[float]:
    return [middle, middle * (1 - by), middle * (1 + by)]


def result(task: str, speedup: float | None, sample: int = 1, /, **more: Any) -> dict[str, Any]:
    """A record as a bench writes it; its level is the task's second word."""
    found = record(task, spread(speedup) if speedup else None, sample)
    if speedup:
        ratios = {"eager": spread(speedup * 1.3), "compile": spread(speedup), "best": spread(speedup)}
        found |= {"speedup": ratios, "latency_us": spread(100.0 / speedup)}
    words = {"suite": "tiny", "model": "writer", "policy": "evokernel", "device": "Card A", "attempts": 4, "category": "norm"}
    words |= {"versions": {"kernelwright": "0.1.0", "torch": "2.13.0"}, "commit": "a" * 40, "verdicts": {"passed": 1}}
    return {**found, **words, "evidence": None, "upstream": None, **more}


def evidence(of: dict[str, Any], bench: str, text: str, **more: Any) -> dict[str, Any]:
    """The evidence of a solved record: what docs/evidence.md has, less the raw readings."""
    spans = {name: dict(zip(("median", "low", "high"), of["speedup"][name], strict=True)) for name in of["speedup"]}
    latency = dict(zip(("median", "low", "high"), of["latency_us"], strict=True))
    case = {"case": "large", "dtype": "float32", "latency_us": latency, "baselines": {}, "speedup": spans, "roofline_us": 5.0}
    case |= {"bound": "memory", "blocks": 30, "notes": []}
    timing = {"latency_us": latency, "baselines": {}, "speedup": spans, "best_baseline": "compile", "roofline_fraction": 0.5}
    timing |= {"cases": [case], "processes": 3}
    right = {"case": "small", "use": "correctness", "dtype": "float32", "status": "passed", "max_error": 1e-7}
    right |= {"error_ratio": 0.02, "detail": ""}
    kernel_id = Kernel(text, of["backend"]).kernel_id
    verdict = {"status": "passed", "stage": "held_out", "reason": "", "kernel_id": kernel_id, "task": of["task"]}
    verdict |= {"assurance": "device", "evidence": {"samples_us": [1.0]}, "cases": [right], "timing": timing}
    verdict |= {"held_out": "passed", "envelope": "", "library_share": 0.0, "environment": {}, "seconds": 2.0}
    kernel = {"backend": of["backend"], "source": text, "options": {}, "kernel_id": kernel_id}
    kernel["sha256"] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    found = {"format": 1, "kind": "evidence", "created": "2026-11-25T12:00:00+00:00", "suite": of["suite"], "bench": bench}
    found |= {"sample": of["sample"], "model": of["model"], "commit": of["commit"], "versions": of["versions"]}
    found |= {"device": {"kind": "cpu", "name": of["device"], "cores": 2, "versions": of["versions"]}}
    found |= {"task": {"name": of["task"], "source": TASK.format(note="<b>")}, "kernel": kernel, "verdict": verdict}
    found |= {"judging": {"rtol": None, "baselines": ["eager", "compile"]}, "judgings": [{"role": "audit"}], "baselines": {}}
    return signed({**found, **more})


def signed(found: dict[str, Any]) -> dict[str, Any]:
    """Evidence with the checksum that its writer gives it; without one where its text is none that can be hashed."""
    with suppress(UnicodeEncodeError):
        return {**found, "checksum": checksum(found)}
    return found


def altered(path: Path, **change: Any) -> None:
    """Change evidence, and its checksum with it, unless that is what is changed."""
    found = {**json.loads(path.read_text()), **change}
    put(path, found if "checksum" in change else signed(found))


def bench(folder: Path, name: str, records: Iterable[dict[str, Any]], *, proven: bool = True, **header: Any) -> Path:
    """A bench's folder: its results, and where ``proven`` evidence of every solved record that names none itself."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for one in records:
        line = {**one, "bench": name}
        if proven and line["correct"] and line["evidence"] is None:
            line["evidence"] = f"evidence/{line['task'].replace('/', '-')}-s{line['sample']}.json"
            text = KERNEL.format(factor=2, note=f"{name} {line['task']}")
            line["kernel_id"] = Kernel(text, line["backend"]).kernel_id
            put(folder / line["evidence"], evidence(line, name, text))
        lines.append(line)
    tasks, samples = len({line["task"] for line in lines}), max((line["sample"] for line in lines), default=1)
    first = {"format": 1, "kind": "bench", "bench": name, "created": "2026-11-25T12:00:00+00:00", "suite": "tiny"}
    first |= {"scale": None, "tasks": tasks, "samples": samples, "attempts": 4, "model": "writer", "policy": "evokernel"}
    first |= {"seed": 0, "left_out": {}}
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ({**first, **header}, *lines)))
    return folder


def put(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
