"""Evidence files: written, and read as what they are: data from anybody."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kernelwright import __version__
from kernelwright.agent.evidence.records import FORMAT, KIND, Evidence, Judging, Origin, Record
from kernelwright.agent.files import write_text
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.conform import conforming
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Kernel, Task, Verdict

LARGEST = 64 << 20
"""Bytes of a file that is read."""
_REMEDY = "give a file that `kernelwright bench` or `check --save-evidence` wrote"
_LONGEST_SERIES, _MOST_JUDGINGS, _MOST_CASES = 5000, 16, 256
"""What statistics are computed over: far above what a judging gives, far below what would take minutes."""
_MOST_SEED = 1 << 62
_PACKAGES = ("numpy", "triton")
"""Whose versions decide figures too: the bootstrap's random numbers, and compiled kernels."""


@dataclass(frozen=True)
class _Words:
    words: Mapping[str, str]


@dataclass(frozen=True)
class _Samples:
    cases: Mapping[str, Mapping[str, tuple[float, ...]]]


def canonical(data: Any) -> str:
    """``data`` as the one JSON text that is hashed."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def versions(device: DeviceInfo | None) -> dict[str, str]:
    """What figures were made with, by name; the device's own say most."""
    found = {"kernelwright": __version__, **(device.versions if device else {})}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def split(verdict: Verdict) -> tuple[Verdict, dict[str, Any] | None]:
    """A verdict without its journal and without paths of this machine, and the journal."""
    evidence = dict(verdict.evidence)
    record = evidence.pop("record", None)
    build = evidence.get("build")
    if isinstance(build, Mapping) and isinstance(build.get("native"), (list, tuple)):
        evidence["build"] = {**build, "native": [_pathless(found) for found in build["native"]]}
    return replace(verdict, evidence=evidence), record


def _pathless(built: Any) -> Any:
    return {k: v for k, v in built.items() if k != "path"} if isinstance(built, Mapping) else built


def judging(role: str, verdict: Verdict, record: Mapping[str, Any] | None = None) -> Judging:
    """A judging as it goes into a file: the journal beside the verdict."""
    bare, own = split(verdict)
    kept = record if record is not None else own
    return Judging(role, bare, None if kept is None else conforming(Record, to_json(kept), "the record of a judging"))


def to_data(evidence: Evidence) -> dict[str, Any]:
    """The file's object."""
    found: dict[str, Any] = {"format": FORMAT, "kind": KIND, "created": evidence.created}
    found |= asdict(evidence.origin)
    found |= {"commit": evidence.commit, "versions": dict(evidence.versions), "device": to_json(evidence.device)}
    task, kernel = to_json(evidence.task), evidence.kernel
    found |= {"task": task, "task_sha256": sha256(canonical(task))}
    found["kernel"] = {**to_json(kernel), "sha256": sha256(kernel.source), "kernel_id": kernel.kernel_id}
    found["verdict"] = to_json(evidence.verdict)
    found["baselines"] = baselines(evidence.verdict)
    found["judging"] = to_json(evidence.judging)
    found["judgings"] = to_json(evidence.judgings)
    return {**found, "checksum": checksum(found)}


def checksum(data: Mapping[str, Any]) -> str:
    """Of everything but the checksum itself."""
    return sha256(canonical({key: value for key, value in data.items() if key != "checksum"}))


def baselines(verdict: Verdict) -> dict[str, Any]:
    """Latency of each baseline and speedup over it, as ``[median, low, high]``."""
    timing = verdict.timing
    if timing is None:
        return {}
    return {
        name: {"latency_us": [value.median, value.low, value.high], "speedup": [over.median, over.low, over.high]}
        for name, value in timing.baselines.items()
        if (over := timing.speedup.get(name)) is not None
    }


def save(evidence: Evidence, path: Path) -> None:
    """Write the file, whole or not at all."""
    write_text(path, json.dumps(to_data(evidence), indent=1) + "\n")


def read(path: Path) -> tuple[Evidence, Mapping[str, Any]]:
    """The evidence in ``path``, and its object as it stands there.

    Nothing of it is executed; whether it is true, or even agrees with itself, is another question.

    Raises:
        InputError: it cannot be read, is no such file, or of another format.
    """
    data = _object(path)
    if data.get("kind") != KIND or data.get("format") != FORMAT:
        kind, version = (str(data.get(key))[:40] for key in ("kind", "format"))
        later = isinstance(data.get("format"), int) and data["format"] > FORMAT
        remedy = "read it with a newer version of Kernelwright" if later and kind == KIND else _REMEDY
        raise InputError(f"{path} has kind {kind!r}, format {version!r}; expected kind {KIND!r}, format {FORMAT}", remedy)
    try:
        return _evidence(data), data
    except InputError as error:
        raise InputError(f"{path} is damaged: {error.message}", _REMEDY) from error


def _object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} has {path.stat().st_size} bytes; evidence has at most {LARGEST}", _REMEDY)
        data = json.loads(
            path.read_bytes().decode(), object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite
        )
        canonical(data).encode()  # lone surrogates are no text
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", _REMEDY) from error
    except RecursionError as error:
        raise InputError(f"{path} is no evidence: nested too deeply", _REMEDY) from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON text: {str(error).splitlines()[0][:200]}", _REMEDY) from error
    if not isinstance(data, dict):
        raise InputError(f"{path} is no evidence: it holds no object", _REMEDY)
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """No key twice: readers would not agree on what the file says."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text[:20])


def _evidence(data: Mapping[str, Any]) -> Evidence:
    def part(key: str) -> Mapping[str, Any]:
        if not isinstance(data.get(key), Mapping):
            raise InputError(f"{key} is missing, or no object")
        return data[key]  # type: ignore[no-any-return]  # just checked

    kernel = {k: v for k, v in part("kernel").items() if k not in ("sha256", "kernel_id")}
    judgings = data.get("judgings")
    if not isinstance(judgings, list) or not 0 < len(judgings) <= _MOST_JUDGINGS:
        raise InputError(f"judgings is no list of 1 to {_MOST_JUDGINGS}")
    origin = {name: data.get(name) for name in Origin.__dataclass_fields__}
    versions_ = conforming(_Words, {"words": data.get("versions")}, "versions").words
    found = Evidence(
        created=str(data.get("created")),
        task=conforming(Task, part("task"), "task"),
        kernel=conforming(Kernel, kernel, "kernel"),
        verdict=conforming(Verdict, part("verdict"), "verdict"),
        judgings=tuple(conforming(Judging, j, f"judgings[{n}]") for n, j in enumerate(judgings)),
        judging=part("judging"),
        device=None if data.get("device") is None else conforming(DeviceInfo, part("device"), "device"),
        versions=versions_,
        commit=data.get("commit") if isinstance(data.get("commit"), str) else None,
        origin=conforming(Origin, origin, "its origin"),
    )
    problem = next(_too_much(found), "")
    if problem:
        raise InputError(problem)
    return found


def samples(verdict: Verdict) -> Mapping[str, Mapping[str, tuple[float, ...]]]:
    """The samples of a verdict: timing case -> side -> µs a call, block by block.

    Raises:
        InputError: they are no positive numbers, or there are more than any judging gives.
    """
    found = conforming(_Samples, {"cases": verdict.evidence.get("samples_us", {})}, "samples_us").cases
    if len(found) > _MOST_CASES:
        raise InputError(f"samples of {len(found)} cases")
    for case, sides in found.items():
        lengths = {len(series) for series in sides.values()}
        if len(lengths) != 1 or not 0 < max(lengths) <= _LONGEST_SERIES or len(sides) > _MOST_JUDGINGS:
            raise InputError(f"samples_us.{case}: sides of {sorted(lengths)} blocks")
        if any(value <= 0 for series in sides.values() for value in series):
            raise InputError(f"samples_us.{case}: a time that is not above 0")
    return found


def _too_much(evidence: Evidence) -> Iterator[str]:
    """What would be read for minutes, or cannot be what it says."""
    names = [case.name for case in evidence.task.cases]
    if len(names) > _MOST_CASES or any(not name.isprintable() or "/" in name or len(name) > 200 for name in names):
        yield "task.cases has too many, or names that no case has"
    for verdict in (evidence.verdict, *(j.verdict for j in evidence.judgings)):
        samples(verdict)
        if verdict.timing is not None and (verdict.timing.processes > _MOST_JUDGINGS or not verdict.timing.cases):
            yield "a timing of no case, or of too many processes"
    for record in (j.record for j in evidence.judgings if j.record):
        seeds = [*record.parameter_seeds.values(), *(d.seed for d in record.draws), *(p.seed for p in record.pools)]
        if any(not 0 <= seed < _MOST_SEED for seed in seeds):
            yield "a seed below 0 or above 2^62"
        for readings in record.timing.values():
            series = [s for side in readings.sides.values() for s in (side.readings, side.spacers_us)]
            if readings.calls < 1 or any(len(s) > 2 * _LONGEST_SERIES for s in series):
                yield "raw readings of no call, or too many of them"
