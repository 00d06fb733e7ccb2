"""Evidence files as the site takes them in: found below their results, held against the record, and copied.

Checked here: that the file is evidence of this task, sample, kernel and device, that its text is the kernel that its hash
says, and that its figures are the record's. NOT checked: whether any of it is true. Who made the record could make the file
too; ``kernelwright check --evidence FILE`` judges again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kernelwright.agent.bench.records import BASELINES, Sample
from kernelwright.agent.evidence.file import LARGEST, checksum
from kernelwright.agent.evidence.records import FORMAT, KIND
from kernelwright.agent.leaderboard import untrusted
from kernelwright.tasks.conform import conforming
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Kernel, Verdict


class NotTaken(Exception):
    """The evidence that a record names is not on the site; says why."""


@dataclass(frozen=True)
class Evidence:
    """What the site shows of a copied file of evidence."""

    raw: bytes
    """The file, to be copied as it is; empty once that is done."""
    source: str
    backend: str
    sha256: str
    """Of ``source``."""
    task_source: str
    verdict: Verdict | None
    """Without raw readings; None where this version cannot read it."""
    judging: Mapping[str, Any]
    device: Mapping[str, Any]
    versions: Mapping[str, Any]
    judgings: tuple[str, ...]
    """Role of each."""
    contradictions: tuple[str, ...]
    """Where the record says otherwise."""


def read(folder: Path, path: Any, sample: Sample, record: Mapping[str, Any]) -> Evidence:
    """The evidence at ``path`` below ``folder``, for ``sample`` and the ``record`` that it was read from.

    Raises:
        NotTaken: it is not there, lies elsewhere, or is no evidence.
    """
    raw = _bytes(folder, path)
    try:
        data = untrusted.mapping(json.loads(raw))
        total = checksum(data)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or what no JSON text holds: NaN, half a character
        raise NotTaken(f"is no JSON: {str(error).splitlines()[0][:200]}") from error
    if data.get("kind") != KIND or data.get("format") != FORMAT:
        seen = f"kind {untrusted.name(data.get('kind'), 'none')}, format {untrusted.name(data.get('format'), 'none')}"
        raise NotTaken(f"has {seen}; expected kind {KIND}, format {FORMAT}")
    kernel, task = untrusted.mapping(data.get("kernel")), untrusted.mapping(data.get("task"))
    source = kernel.get("source")
    if not isinstance(source, str):
        raise NotTaken("holds no source of a kernel")
    device = untrusted.mapping(data.get("device"))
    judgings = data.get("judgings")
    return Evidence(
        raw=raw,
        source=source,
        backend=untrusted.name(kernel.get("backend")),
        sha256=hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest(),
        task_source=task["source"] if isinstance(task.get("source"), str) else "",
        verdict=_verdict(data.get("verdict")),
        judging=untrusted.mapping(data.get("judging")),
        device=device,
        judgings=tuple(untrusted.name(untrusted.mapping(j).get("role"), "judging") for j in judgings or ())
        if isinstance(judgings, list)
        else (),
        versions=untrusted.mapping(data.get("versions")),
        contradictions=tuple(_contradictions(data, total, kernel, task, device, sample, record)),
    )


def _bytes(folder: Path, path: Any) -> bytes:
    inside = untrusted.below(path)
    if inside is None or inside.suffix != ".json":
        raise NotTaken(f"the path {untrusted.name(path)!r} is none of a .json file beside the results")
    try:
        found = (folder / inside).resolve(strict=True)
        if not found.is_relative_to(folder.resolve()):
            raise NotTaken("a link leads out of the folder of the results")
        if not found.is_file():
            raise NotTaken("is no file")
        if found.stat().st_size > LARGEST:
            raise NotTaken(f"has {found.stat().st_size} bytes; at most {LARGEST} are taken")
        return found.read_bytes()
    except FileNotFoundError as error:
        raise NotTaken("is not there") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        raise NotTaken(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _verdict(data: Any) -> Verdict | None:
    """The verdict, if it is one as this version knows them. Its own raw readings stay in the file."""
    if not isinstance(data, dict):
        return None
    try:
        return conforming(Verdict, {**data, "evidence": {}, "environment": {}}, "the verdict")
    except InputError:
        return None


def _contradictions(
    data: Mapping[str, Any],
    total: str,
    kernel: Mapping[str, Any],
    task: Mapping[str, Any],
    device: Mapping[str, Any],
    sample: Sample,
    record: Mapping[str, Any],
) -> Iterator[str]:
    """What record and evidence say differently, each in a few words. What one of them leaves out is no contradiction.

    ``total``: the checksum of ``data`` as it is.
    """
    sha256 = hashlib.sha256(str(kernel["source"]).encode("utf-8", "surrogatepass")).hexdigest()
    for what, (made, stated) in {"file": (total, data.get("checksum")), "source": (sha256, kernel.get("sha256"))}.items():
        if stated is not None and made != stated:
            yield f"the hash of its {what} is another than it says"
    verdict = untrusted.mapping(data.get("verdict"))
    said = {
        "task": (sample.task, task.get("name")),
        "bench": (record.get("bench"), data.get("bench")),
        "sample": (sample.sample, data.get("sample")),
        "kernel": (record.get("kernel_id"), _kernel_id(kernel)),
        "kernel of the verdict": (record.get("kernel_id"), verdict.get("kernel_id")),
        "device": (sample.device, device.get("name")),
        "verdict": ("passed", verdict.get("status")) if sample.correct else (None, None),
    }
    for what, (ours, theirs) in said.items():
        if ours is not None and theirs is not None and ours != theirs:
            yield f"{what}: {untrusted.name(ours)} in the record, {untrusted.name(theirs)} in the evidence"
    timing = untrusted.mapping(verdict.get("timing"))
    speedup = untrusted.mapping(timing.get("speedup"))
    pairs = {name: (sample.speedup.get(name), speedup.get(name)) for name in BASELINES}
    pairs["latency"] = (sample.latency_us, timing.get("latency_us"))
    for what, (interval, found) in pairs.items():
        if interval is not None and not _same((interval.median, interval.low, interval.high), found):
            yield f"{what}: the figures differ"


def _kernel_id(kernel: Mapping[str, Any]) -> str | None:
    """The identity of the kernel that the file holds, whatever it says itself; None where its parts are of other kinds."""
    try:
        return conforming(Kernel, {k: kernel.get(k) for k in ("source", "backend", "options")}, "the kernel").kernel_id
    except (InputError, UnicodeEncodeError):
        return None


def _same(ours: tuple[float, float, float], found: Any) -> bool:
    """Whether an interval of the evidence, as a list or as an object, is the record's."""
    values = [found.get(key) for key in ("median", "low", "high")] if isinstance(found, dict) else found
    if not isinstance(values, list) or len(values) != 3:
        return False
    numbers = [v for v in values if isinstance(v, (int, float))]
    try:
        return len(numbers) == 3 and all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(ours, numbers, strict=True))
    except OverflowError:  # an integer beyond any float
        return False


def without_raw(evidence: Evidence) -> Evidence:
    """``evidence`` after its file was copied."""
    return replace(evidence, raw=b"")
