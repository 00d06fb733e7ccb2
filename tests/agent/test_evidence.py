"""Evidence files: what was changed by hand is named, what is no evidence is refused, what is judged again is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evidence_files import CALLS, DEVICE, KERNEL, TASK, evidence, record, saved, tampered, verdict

from kernelwright.agent.evidence import file, integrity
from kernelwright.agent.evidence.again import judge_again, same_task, settings_for
from kernelwright.agent.evidence.findings import FAILS, Finding, holds
from kernelwright.agent.evidence.records import Evidence
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.errors import InputError, TaskError
from kernelwright.tasks.records import Kernel, Status, Task, Verdict

SAMPLES = "fake/timing/float32"


def examined(path: Path) -> tuple[Finding, ...]:
    return integrity.examine(*file.read(path))


def failed(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.check for finding in findings if finding.result == FAILS]


def detail(findings: tuple[Finding, ...], check: str) -> str:
    return next(finding.detail for finding in findings if finding.check == check)


def test_what_was_written_is_read_and_agrees_with_itself(tmp_path: Path) -> None:
    written = evidence()
    found, data = file.read(saved(tmp_path / "e.json", written))
    assert found == written
    assert (data["format"], data["kind"], data["bench"], data["model"]) == (1, "evidence", "bench-a", "playbook")
    assert data["baselines"]["eager"]["speedup"][0] == pytest.approx(1.5)
    findings = integrity.examine(found, data)
    assert holds(findings), findings
    assert detail(findings, "samples of judging 2 (audit)") == "6 blocks from raw readings"


def test_one_judging_and_none_timed_agree_with_themselves(tmp_path: Path) -> None:
    for judged in (verdict(1.5), verdict(None), verdict(None, status=Status.CHEATING)):
        assert holds(examined(saved(tmp_path / "e.json", evidence(judged))))


def double(data: Any, *keys: Any) -> None:
    """Twice the interval or number that ``keys`` lead to."""
    for key in keys[:-1]:
        data = data[key]
    value = data[keys[-1]]
    data[keys[-1]] = {k: 2 * v for k, v in value.items()} if isinstance(value, dict) else 2 * value


def quoted_speedup(data: Any) -> None:
    double(data, "verdict", "timing", "speedup", "best")


def speedup_everywhere(data: Any) -> None:
    for one in (data["verdict"], *(j["verdict"] for j in data["judgings"])):
        for interval in (one["timing"]["speedup"], *(case["speedup"] for case in one["timing"]["cases"])):
            double(interval, "best")


def a_sample(data: Any) -> None:
    double(data, "judgings", 1, "verdict", "evidence", "samples_us", SAMPLES, "eager", 0)


def a_reading(data: Any) -> None:
    data["judgings"][2]["record"]["timing"][SAMPLES]["sides"]["candidate"]["readings"][3][1] += 2 * CALLS


def a_bound(data: Any) -> None:
    data["verdict"]["timing"]["speedup"]["eager"]["low"] *= 0.9


def other_kernel(data: Any) -> None:
    data["kernel"]["source"] += "# faster\n"


def other_kernel_with_its_id(data: Any) -> None:
    other_kernel(data)
    data["kernel"]["kernel_id"] = Kernel(data["kernel"]["source"], "cpp").kernel_id


def other_task(data: Any) -> None:
    data["task"]["name"] = "tiny/level1/2_harder"


def easier(data: Any) -> None:
    data["judging"]["rtol"] = 0.5


def status(data: Any) -> None:
    data["judgings"][1]["verdict"] |= {"status": "incorrect", "timing": None}


def reason(data: Any) -> None:
    data["verdict"]["reason"] = "9.00x the best baseline"


def baseline(data: Any) -> None:
    data["baselines"]["eager"]["speedup"][0] = 3.0


def roofline(data: Any) -> None:
    data["verdict"]["timing"]["roofline_fraction"] = 0.9


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        (quoted_speedup, ["figures that are quoted"]),
        (speedup_everywhere, [*(f"figures of judging {n}" for n in (1, 2, 3)), "figures that are quoted"]),
        (a_sample, ["verdict", "samples of judging 2", "figures of judging 2"]),
        (a_reading, ["samples of judging 3"]),
        (a_bound, ["figures that are quoted", "baselines"]),
        (other_kernel, ["kernel's id", "one kernel, one task"]),
        (other_kernel_with_its_id, ["one kernel, one task"]),
        (other_task, ["one kernel, one task"]),
        (easier, ["one kernel, one task"]),
        (status, ["verdict", "figures that are quoted"]),
        (reason, ["verdict"]),
        (baseline, ["baselines"]),
        (roofline, ["figures that are quoted"]),
    ],
)
def test_what_was_changed_is_named_though_every_hash_is_made_anew(
    tmp_path: Path, change: Callable[[Any], None], fails: list[str]
) -> None:
    found = failed(examined(tampered(saved(tmp_path / "e.json"), change)))
    assert [check.removesuffix(" (audit)").removesuffix(" (search)") for check in found] == fails


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        (other_kernel, {"kernel's text", "kernel's id", "one kernel, one task"}),
        (other_task, {"task's record", "one kernel, one task"}),
    ],
)
def test_a_text_that_is_not_its_hashs_is_named(tmp_path: Path, change: Callable[[Any], None], fails: set[str]) -> None:
    assert set(failed(examined(tampered(saved(tmp_path / "e.json"), change, sealed=False)))) == {"whole file", *fails}


def test_a_bound_may_differ_where_another_numpy_drew(tmp_path: Path) -> None:
    def elsewhere(data: Any) -> None:
        data["versions"]["numpy"] = "1.0"
        interval = data["verdict"]["timing"]["speedup"]["eager"]
        interval["low"] += 0.1 * (interval["high"] - interval["low"])
        data["baselines"]["eager"]["speedup"][1] = interval["low"]

    assert holds(examined(tampered(saved(tmp_path / "e.json"), elsewhere)))


def with_key(*keys: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in keys[:-2]:
            data = data[key]
        data[keys[-2]] = keys[-1]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (with_key("format", 2), "format '2'"),
        (with_key("kind", "bench"), "kind 'bench'"),
        (with_key("task", "source", {"a": 1}), "task.source is"),
        (with_key("task", "cases", 0, "sizes", {"N": 1.5}), "no whole number"),
        (with_key("task", "cases", 0, "name", "../x"), "task.cases"),
        (with_key("task", "cases", None), "task"),
        (with_key("kernel", "backend", 3), "kernel.backend"),
        (with_key("kernel", "extra", 3), "extra"),
        (with_key("verdict", "status", "won"), "won"),
        (with_key("verdict", []), "verdict is missing"),
        (with_key("verdict", "timing", "latency_us", "low", 1e9), "not ordered"),
        (with_key("judgings", []), "judgings"),
        (with_key("judgings", 0, "verdict", "evidence", "samples_us", []), "samples_us"),
        (with_key("judgings", 0, "verdict", "evidence", "samples_us", SAMPLES, "eager", [1.0, 0.0]), "blocks"),
        (with_key("judgings", 0, "verdict", "evidence", "samples_us", SAMPLES, "eager", [0.0] * 6), "not above 0"),
        (with_key("judgings", 0, "verdict", "evidence", "samples_us", SAMPLES, {"eager": [1.0] * 9000}), "blocks"),
        (with_key("judgings", 1, "record", "draws", 0, "seed", -1), "a seed"),
        (with_key("judgings", 1, "record", "draws", 0, "seed", 1 << 70), "a seed"),
        (with_key("judgings", 1, "record", "timing", SAMPLES, "calls", 0), "of no call"),
        (with_key("judgings", 1, "record", "timing", SAMPLES, "sides", "eager", "readings", [[1]]), "judgings[1]"),
        (with_key("device", "cores", "many"), "device.cores"),
        (with_key("versions", "torch", 2), "versions"),
        (with_key("sample", "first"), "sample"),
        (with_key("verdict", "seconds", 10**400), "verdict"),
    ],
)
def test_what_no_version_writes_is_refused(tmp_path: Path, change: Callable[[Any], None], says: str) -> None:
    with pytest.raises(InputError) as error:
        file.read(tampered(saved(tmp_path / "e.json"), change))
    assert says in error.value.message
    assert "\n" not in error.value.message


def test_a_later_format_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        file.read(tampered(saved(tmp_path / "e.json"), with_key("format", 2)))
    assert "newer version" in error.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 1, "format": 1}',
        '{"format": NaN}',
        '{"format": 1e999}',
        '{"kind": "\\ud800"}',
        "[" * 100_000,
        '{"a":' * 50_000,
        '{"format": ' + "9" * 5000 + "}",
        '{"format": 1, "kind": "evidence"}',
    ],
)
def test_what_is_no_evidence_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "e.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        file.read(path)
    assert str(path) in error.value.message
    assert "\n" not in error.value.message


def test_half_a_file_bytes_and_no_file_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "e.json")
    for content in (path.read_bytes()[:-100], b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="no JSON text"):
            file.read(path)
    for other in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="cannot be read"):
            file.read(other)


class Bench:
    """A judge that says what it is told to, and keeps what it was asked."""

    kind = "cpu"

    def __init__(self, *verdicts: Verdict | Exception, device: DeviceInfo = DEVICE) -> None:
        self.settings = Settings()
        self.verdicts = list(verdicts)
        self.device = device
        self.asked: list[tuple[Settings, Mapping[str, Any] | None]] = []

    def device_info(self) -> DeviceInfo:
        return self.device

    def judge(self, kernel: Kernel, task: Task, recorded: Mapping[str, Any] | None = None) -> Verdict:
        assert (kernel, task) == (KERNEL, TASK)
        self.asked.append((self.settings, recorded))
        found = self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]
        if isinstance(found, Exception):
            raise found
        return replace(found, evidence={**found.evidence, "record": record({})})


def again(bench: Bench, found: Evidence | None = None) -> dict[str, Finding]:
    return {finding.check: finding for finding in judge_again(found or evidence(), bench).findings}


def test_the_same_again_holds_and_was_asked_with_recorded_and_with_fresh_seeds() -> None:
    bench = Bench(verdict(1.5))
    found = again(bench)
    assert holds(tuple(found.values())), found
    assert found["inputs, recorded seeds"].detail == "1 of 1 with the same hash"
    (settings, recorded), *fresh = bench.asked
    assert recorded is not None
    assert (recorded["draws"][0]["seed"], recorded["parameter_seeds"]) == (11, {"given/correctness/float32": 7})
    assert not settings.timing
    assert [(s.timing, r) for s, r in fresh] == [(True, None)] * 3


def test_another_status_fails_with_its_reason() -> None:
    found = again(Bench(verdict(1.5), verdict(None, status=Status.INCORRECT)))
    assert found["status, recorded seeds"].result == "holds"
    wrong = found["status, fresh seeds"]
    assert (wrong.result, wrong.recorded, wrong.now) == ("fails", "passed", "incorrect")
    assert "as it is" in wrong.detail
    assert not holds(tuple(found.values()))


def test_a_figure_apart_fails_and_says_which_way() -> None:
    found = again(Bench(verdict(1.2)))
    assert failed(tuple(found.values())) == ["speedup over best", "speedup over compile", "speedup over eager"]
    assert found["speedup over eager"].detail == "above what it is now"
    assert found["latency, µs"].result == "noted"
    assert again(Bench(verdict(1.9)))["speedup over eager"].detail == "below what it is now"
    assert again(Bench(verdict(1.9, spread=0.5)))["speedup over eager"].detail.startswith("too wide")


@pytest.mark.parametrize("device", [replace(DEVICE, name="another CPU"), replace(DEVICE, cores=64)])
def test_on_another_device_times_are_not_compared_and_nothing_is_held_against_the_file(device: DeviceInfo) -> None:
    found = again(Bench(verdict(9.0), device=device))
    assert holds(tuple(found.values()))
    assert found["timing"].result == "not comparable"
    here = f"{device.name} ({device.cores} cores)"
    assert found["timing"].detail == f"timing not comparable: recorded on some CPU (2 cores), this is {here}"


def test_other_inputs_from_the_same_seeds_fail_where_torch_and_device_are_the_same() -> None:
    class Other(Bench):
        def judge(self, *given: Any, **more: Any) -> Verdict:
            found = super().judge(*given, **more)
            found.evidence["record"]["draws"][0]["inputs"] = "other"
            return found

    assert again(Other(verdict(1.5)))["inputs, recorded seeds"].result == "fails"
    other = replace(DEVICE, versions={**DEVICE.versions, "torch": "9.9"})
    found = again(Other(verdict(1.5), device=other))
    assert found["inputs, recorded seeds"].result == "noted"
    assert found["versions"].detail.startswith("commit c0ffee, here ")
    assert found["versions"].detail.endswith("torch 2.13, here 9.9")


@pytest.mark.parametrize("error", [TaskError("forward is random"), KeyError("outputs"), TypeError("nonsense")])
def test_a_task_that_cannot_be_judged_fails(error: Exception) -> None:
    found = again(Bench(error))
    assert found["task"].result == "fails"
    assert str(error.args[0]) in found["task"].detail


def test_what_cannot_be_judged_here_does_not_hold() -> None:
    found = again(Bench(verdict(None, status=Status.UNSUPPORTED)))
    assert found["status, fresh seeds"].detail == "it cannot be judged here: as it is"
    assert not holds(tuple(found.values()))


def test_it_is_judged_by_the_recorded_tolerance_and_baselines_and_confined() -> None:
    asked = Settings(rtol=0.01, baselines=("eager",), sandbox="off", screen=False)
    found = settings_for(evidence(settings=asked), "strict")
    assert (found.rtol, found.baselines, found.sandbox) == (0.01, ("eager",), "strict")
    assert (found.screen, found.stranger) == (True, True)
    for rtol in ("1", 2.0, True):
        with pytest.raises(InputError, match="rtol"):
            settings_for(replace(evidence(), judging={"rtol": rtol}), "auto")
    odd = replace(evidence(), judging={"baselines": ["os:system", "compile"]})
    assert settings_for(odd, "auto").baselines is None


def test_a_task_is_the_trusted_one_or_says_what_differs() -> None:
    found = evidence()
    assert same_task(found, replace(TASK, name="mine", path="/x/add.py"), "mine").result == "holds"
    swapped = same_task(found, replace(TASK, source="class Model: return 0", rtol={"float32": 0.5}), "mine")
    assert (swapped.result, swapped.detail) == ("fails", "source, rtol differ from mine")
    assert same_task(found, None, "").result == "noted"
