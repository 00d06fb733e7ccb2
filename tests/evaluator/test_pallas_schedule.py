"""What libtpu writes of its schedule, read from files as libtpu 0.0.52 wrote them; needs neither JAX nor libtpu."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kernelwright.agent.outcome import describe
from kernelwright.agent.policies.policy import best_of, replaces
from kernelwright.agent.prompt.diagnosis import diagnose
from kernelwright.evaluator.backends.pallas_aot import FOLDER, counting, schedules, taken, utilisation
from kernelwright.evaluator.engines.fake import fake_samples, fake_timing
from kernelwright.memory.static import static
from kernelwright.tasks.records import Answer, Assurance, Attempt, Idea, IdeaStage, Kernel, Stage, Status, Timing, Verdict

TABLE = """\
== CAPACTIY:
MATMUL, MATPUSH, XLU, VALU, VPOP, EUP, VLOAD, VLOAD:FILL, VSTORE, VSTORE:SPILL, SALU
    4     4     3     4     2     1     3     3     1     1     2
== UTILIZATION:
0 0 0 0 0 0 1 0 0 0 0
0 0 0 2 0 0 2 1 0 0 2
0 0 0 0 0 0 0 0 1 1 1
0 0 0 0 0 0 0 0 1 1 1
"""
PROFILE = 'hlo_op_estimate {\n  hlo_op_name: "twice.1"\n  estimated_cycles: 1606\n  num_equivalent_hlos: 1\n}\n'
PROGRAM = (
    "HloModule jit_twice\n\nENTRY %main (x: f32[8,128]) -> f32[8,128] {\n"
    '  ROOT %twice.1 = f32[8,128]{1,0:T(8,128)} custom-call(%x), custom_call_target="tpu_custom_call", metadata={}\n}\n'
)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "1795-TLP-hlo.txt").write_text(PROGRAM)
    (folder / "1795-twice.1-00-final_hlo-static-per-bundle-utilization.txt").write_text(TABLE)
    (folder / "1795-TLP-00-final_hlo-static-per-bundle-utilization.txt").write_text(TABLE)
    (folder / "1795-copy.2-00-final_hlo-static-per-bundle-utilization.txt").write_text(TABLE)
    (folder / "twice.1_TPU v5 lite_static_llo_profile.textproto").write_text(PROFILE)
    return tmp_path


def test_bundles_spills_and_cycles_of_the_kernel_and_of_nothing_else(work: Path) -> None:
    (found,) = schedules(work / FOLDER)
    assert (found["name"], found["cycles"]) == ("twice.1", 1606)
    assert (found["bundles"], found["spills"], found["fills"]) == (4, 2, 1)
    assert found["slots"]["VALU"] == pytest.approx(2 / 16, abs=1e-3)
    assert found["slots"]["VSTORE"] == pytest.approx(2 / 4, abs=1e-3)
    assert "VSTORE:SPILL" not in found["slots"]


def test_what_was_taken_is_gone_before_the_next_target(work: Path) -> None:
    assert len(taken(work)) == 1
    assert taken(work) == []


def test_a_kernel_s_link_leads_nowhere(work: Path, tmp_path: Path) -> None:
    for path in (work / FOLDER).glob("*utilization.txt"):
        path.unlink()
    outside = tmp_path / "outside.txt"
    outside.write_text(TABLE)
    (work / FOLDER / "1795-twice.1-00-final_hlo-static-per-bundle-utilization.txt").symlink_to(outside)
    assert taken(work) == []
    assert outside.is_file()


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", TABLE.replace("0 0 0 0 0 0 1 0 0 0 0", "0 0 1"), TABLE.replace("2 1 0 0 2", "2 x 0 0 2"), TABLE[:140]],
)
def test_another_layout_gives_nothing(text: str) -> None:
    assert utilisation(text) is None


def test_where_it_writes_is_within_the_working_folder() -> None:
    for value in (*counting().values(), *counting(cycles=True).values()):
        assert f"--xla_jf_dump_to={FOLDER} " in value
    assert "profile" not in "".join(counting().values())  # the estimate takes its time, and is asked for apart


def verdict(cycles: int | None, timing: Timing | None = None, target: str = "v5e") -> Verdict:
    kernel: dict[str, Any] = {"name": "twice.1", "bundles": 4, "spills": 2, "fills": 1, "slots": {"VALU": 0.125, "EUP": 0.0}}
    if cycles is not None:
        kernel["cycles"] = cycles
    evidence = {"compiled": {"target": "tpu", "case": "cpu/float32", "launches": [], "schedules": {target: [kernel]}}}
    assurance = Assurance.DEVICE if timing else Assurance.SIMULATED
    return Verdict(Status.PASSED, Stage.CORRECT, "", f"k{cycles}", "t", assurance, evidence, timing=timing)


def attempt(number: int, said: Verdict) -> Attempt:
    answer = Answer(f"text {number}", Kernel(f"# {number}", "pallas"))
    return Attempt(Idea("r", "t", number, IdeaStage.DRAFT), answer, said)


def test_refinement_goes_by_fewer_cycles_where_nothing_is_timed() -> None:
    slow, fast, same = attempt(1, verdict(2000)), attempt(2, verdict(1000)), attempt(3, verdict(995))
    assert best_of([slow, fast, same]) == fast
    assert not replaces(slow, fast)


def test_estimates_compare_with_their_like_alone() -> None:
    timed = fake_timing(fake_samples(0.5))
    assert not replaces(attempt(2, verdict(10)), attempt(1, verdict(10, timed)))
    assert replaces(attempt(2, verdict(10, timed)), attempt(1, verdict(10)))
    assert not replaces(attempt(2, verdict(10, target="v6e")), attempt(1, verdict(2000)))
    assert not replaces(attempt(2, verdict(10)), attempt(1, verdict(None)))
    assert static(verdict(10, timed)) is None


def test_a_prompt_tells_the_figures_and_calls_them_static() -> None:
    (metric,) = diagnose(verdict(1606)).metrics
    assert metric.name == "kernel twice.1 compiled for v5e"
    assert metric.value == (
        "1606 cycles by the compiler's estimate (static, not a timing); 4 VLIW bundles; 2 vector spills, 1 fills; "
        "slots in use: VALU 12%"
    )


def test_an_outcome_claims_no_speedup_by_them() -> None:
    said = describe(verdict(1606))
    assert "the compiler estimates 1606 cycles (v5e, cpu/float32), which is no timing" in said
    assert "x" not in said.replace("compiler", "").split("cycles")[0].split("estimates")[1]
