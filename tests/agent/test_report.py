"""The report: it shows what verdicts say, nothing else, and no text of a kernel becomes markup."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from kernelwright.agent.report import render_report, write_report
from kernelwright.agent.report.charts import latency_chart, whiskers
from kernelwright.agent.report.graph import lanes
from kernelwright.agent.report.highlight import highlight
from kernelwright.agent.report.svg import Scale
from kernelwright.agent.report.text import command_line, duration, pairs, ratio_interval
from kernelwright.agent.report.view import geometric_mean
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory.records import Context, RunRecord, Step, TaskOutcome
from kernelwright.tasks.records import (
    Answer,
    Assurance,
    CaseResult,
    CaseTiming,
    Idea,
    IdeaStage,
    Interval,
    Kernel,
    ShapeCase,
    Stage,
    Status,
    Task,
    Timing,
    Use,
    Verdict,
)

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&</pre></style></title></svg>"
SOURCE = '''import torch
from kernelwright.evaluator.native import load

lib = load(cpp=r"""
extern "C" void scale(const float* __restrict__ x, float* y, int64_t n) {
  #pragma omp parallel for simd
  for (int64_t i = 0; i < n; ++i) y[i] = 2.0f * x[i];  // one pass
}""")


class ModelNew(torch.nn.Module):
    def forward(self, x):  # <b>not bold</b>
        y = torch.empty_like(x)
        lib.scale(x, y, x.numel())
        return y
'''
CASES = (ShapeCase("small", Use.CORRECTNESS), ShapeCase("large", Use.TIMING))


def around(middle: float, spread: float = 0.03) -> Interval:
    return Interval(middle, middle * (1 - spread), middle * (1 + spread))


def timing(speedup: float, latency: float = 100.0) -> Timing:
    levels = {"eager": around(latency * speedup), "compile": around(latency * speedup * 0.8)}
    ratios = {"eager": around(speedup), "compile": around(speedup * 0.8), "best": around(speedup * 0.8)}
    cases = tuple(
        CaseTiming(name, "float32", around(at), levels, ratios, at * 0.7, bound, 30, ("cold L2",))
        for name, at, bound in (("4096x4096", latency, "memory"), ("8192x1024", latency * 2, "compute"))
    )
    return Timing(around(latency), levels, ratios, "compile", 0.7, cases, processes=3)


def task(name: str) -> Task:
    return Task(name, "class Model: ...", "reference.py", CASES, "normalization", "norm", "llm", "Root mean square")


def verdict(of: Task, status: Status = Status.PASSED, time: Timing | None = None, **more: Any) -> Verdict:
    stage = Stage.HELD_OUT if status is Status.PASSED else Stage.CORRECT
    fields: dict[str, Any] = {
        "assurance": Assurance.DEVICE,
        "evidence": {"honest": {"operators": ["aten::empty"]}, "build": {"log": "ok"}},
        "cases": (CaseResult("small", Use.CORRECTNESS, "float32", "passed", 2.4e-7, 0.031),),
        "held_out": "passed",
        "environment": {"torch": "2.13.0", "device": "test cpu"},
        "seconds": 2.5,
    }
    reason = "all gates passed" if status is Status.PASSED else f"max error 0.5 {EVIL}"
    return Verdict(status, stage, reason, "k" * 20, of.name, timing=time, **{**fields, **more})


def step(of: Task, number: int, judged: Verdict | None, parent: int | None = None, **answer: Any) -> Step:
    start = Idea("r1", of.name, parent, IdeaStage.DRAFT).id if parent else None
    idea = Idea("r1", of.name, number, IdeaStage.REFINE if parent else IdeaStage.DRAFT, start)
    fields = {"text": "…", "kernel": Kernel(SOURCE + f"# {EVIL} {number}", "cpp"), "model": "playbook", "seconds": 0.2}
    fields |= {"strategy": f"vectorise {number} {EVIL}"} | answer
    return Step(idea=idea, context=Context(), answer=Answer(**fields), verdict=judged, learned=True)


def outcome(of: Task, status: str, steps: list[Step], best: int | None = None, reason: str = "") -> TaskOutcome:
    won = next((s for s in steps if s.idea.number == best), None)
    best_id, judged = (won.idea.id, won.verdict) if won else (None, None)
    return TaskOutcome(of.name, status, len(steps), best_id, judged, 0.0, reason)


def run_of(*tasks: Task, **config: Any) -> RunRecord:
    settings = {"argv": ["optimize", "a b"], "backend": "cpp", "budget": 8} | config
    return RunRecord("r1", settings, "finished", "2025-01-02T03:04:05Z", tasks)


DEVICE = DeviceInfo("cpu", "test cpu", memory_gbps=21.0, tflops={"float32": 0.2}, versions={"torch": "2.13.0"})


def full() -> tuple[RunRecord, list[Step], dict[str, TaskOutcome]]:
    """Four tasks: improved after a branching search, solved with library calls, simulated only, and failed."""
    fast, library, simulated, failed = (task(f"core/normalization/{n}") for n in ("rms", "mlp", "sim", "bad"))
    kinds = [s for s in Status if s is not Status.PASSED]
    steps = [step(fast, 1, None, kernel=None, problem="no code block")]
    steps += [step(fast, 2 + i, verdict(fast, kind)) for i, kind in enumerate(kinds)]
    n = 2 + len(kinds)
    plan = [(1.1, None), (1.4, n), (None, n), (1.2, n), (1.9, n + 1), (None, n + 4), (2.4, n + 3), (2.3, n + 6)]
    for i, (speedup, parent) in enumerate(plan):
        judged = verdict(fast, time=timing(speedup, 130 / speedup)) if speedup else verdict(fast, Status.INCORRECT)
        steps.append(step(fast, n + i, judged, parent))
    rest = [step(library, 1, verdict(library, time=timing(1.5, 40_000), library_share=0.4), cost_usd=None, model="m/x")]
    rest.append(step(simulated, 1, verdict(simulated, assurance=Assurance.SIMULATED)))
    rest += [step(failed, i, verdict(failed, Status.BUILD_FAILED, evidence={"log": EVIL})) for i in (1, 2)]
    outcomes = {
        fast.name: outcome(fast, "improved", steps, n + 6),
        library.name: outcome(library, "solved", rest[:1], 1),
        simulated.name: outcome(simulated, "solved", rest[1:2], 1),
        failed.name: outcome(failed, "unsolved", rest[2:], reason=f"no attempt passed {EVIL}"),
    }
    return run_of(fast, library, simulated, failed), steps + rest, outcomes


class Page(HTMLParser):
    """Tags, ids, links and visible text of a page; complains about an element that is never closed."""

    VOID = frozenset(("meta", "br", "img", "input", "link", "hr"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.pieces: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        assert not [name for name in found if name.startswith("on")]
        self.ids += [str(found["id"])] if "id" in found else []
        self.links += [str(found[key]) for key in ("href", "src") if key in found]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.pieces).split())


@pytest.fixture(scope="module")
def page() -> Page:
    run, steps, outcomes = full()
    return Page(render_report(run, steps, outcomes, (DEVICE,)))


def section(page: Page, start: str, end: str) -> str:
    return page.words.split(start)[1].split(end)[0]


def test_a_kernels_text_never_becomes_markup(page: Page) -> None:
    assert not {"script", "img", "iframe", "link", "b2"} & set(page.tags)
    assert not page.open  # the closing tags in the text closed nothing
    assert page.text.count(EVIL) >= 10  # it is shown, as text


def test_nothing_is_fetched_and_every_link_has_its_target(page: Page) -> None:
    assert page.links
    assert [link for link in page.links if not link.startswith("#")] == []
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_summary_has_the_mean_over_own_kernels_and_failures_apart(page: Page) -> None:
    summary = section(page, "Summary", "With library calls")
    assert "core/normalization/rms improved 6 of 16 54.2 µs" in summary
    assert summary.count("geometric mean 2.40×") == 1  # the library-backed task is not in it
    assert "core/normalization/bad" not in summary
    assert "core/normalization/bad unsolved 2" in section(page, "Not solved", "Cost")
    assert "3 of 4 tasks solved" in page.words


def test_simulated_kernel_shows_no_figure_of_speed() -> None:
    only = task("core/norm/sim")
    steps = [step(only, 1, verdict(only, assurance=Assurance.SIMULATED, evidence={"build": {"registers": 42}}))]
    shown = Page(render_report(run_of(only), steps, {only.name: outcome(only, "solved", steps, 1)})).text
    assert "numerics verified in simulation; not timed" in shown
    assert "registers" in shown
    assert not re.search(r"\d\s?×|µs|\d %", shown)


def test_every_attempt_is_a_row_and_a_node(page: Page) -> None:
    slug = task("core/normalization/rms").slug
    for number in range(1, 17):
        assert f"{slug}-{number}" in page.ids
        assert f"#{slug}-{number}" in page.links
    assert "15 ★" in page.text


def test_unfinished_run_shows_what_it_has() -> None:
    only = task("core/norm/open")
    steps = [step(only, 1, verdict(only, time=timing(1.3))), step(only, 2, None)]
    steps.append(replace(step(only, 3, None), answer=None))
    run = replace(run_of(only, task("core/norm/never")), status="interrupted")
    shown = Page(render_report(run, steps, {})).words
    assert "1 ★ draft" in shown
    assert "the answer is still to come" in shown
    assert "the verdict is still to come" in shown
    assert "0 of 2 tasks solved" in shown


def test_run_with_no_task_and_no_step_renders() -> None:
    assert "No task was solved" in Page(render_report(run_of(), [], {})).text


def test_refused_task_that_never_loaded_is_a_failure() -> None:
    lost = TaskOutcome("nowhere.py", "refused", 0, None, None, 0.0, "there is no file 'nowhere.py'")
    shown = Page(render_report(run_of(), [], {"nowhere.py": lost})).words
    assert "0 of 1 tasks solved" in shown
    assert "nowhere.py refused 0 there is no file" in shown


def test_failures_only_leave_speed_charts_out() -> None:
    only = task("core/norm/bad")
    steps = [step(only, 1, verdict(only, Status.TIMEOUT))]
    shown = Page(render_report(run_of(only), steps, {only.name: outcome(only, "unsolved", steps)}))
    assert "svg" in shown.tags  # the search graph
    assert "Speedup" not in shown.text
    assert "Winning kernel" not in shown.text


def test_written_whole_with_links_to_exported_kernels(tmp_path: Path) -> None:
    run, steps, outcomes = full()
    kernel = tmp_path / "r1" / "best" / run.tasks[0].slug / "kernel.py"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(SOURCE)
    write_report(run, steps, outcomes, tmp_path / "r1" / "report.html", (DEVICE,))
    assert f"best/{run.tasks[0].slug}/kernel.py" in Page((tmp_path / "r1" / "report.html").read_text()).links
    assert sorted(p.name for p in (tmp_path / "r1").iterdir()) == ["best", "report.html"]


def test_settings_hide_passwords_and_keys() -> None:
    run = run_of(store="postgresql://me:hunter2@host/db", api_key="sk-1", max_tokens=5)
    run = replace(run, config={**run.config, "argv": ["optimize", "--store", "postgresql://me:hunter2@host/db"]})
    page = render_report(run, [], {})
    assert "hunter2" not in page
    assert "sk-1" not in page
    assert "max_tokens" in page


@pytest.mark.parametrize(
    ("us", "shown"),
    [(0.0123, "0.0123 µs"), (84.23, "84.2 µs"), (999.7, "1.00 ms"), (1234.0, "1.23 ms"), (2.1e6, "2.10 s")],
)
def test_durations_keep_three_digits(us: float, shown: str) -> None:
    assert duration(us) == shown


def test_speedups_keep_two_decimals_near_one() -> None:
    assert ratio_interval(Interval(0.984, 0.976, 1.004)) == "0.98× (0.98–1.00)"
    assert ratio_interval(Interval(0.012, 0.011, 0.013)) == "0.0120× (0.0110–0.0130)"
    assert command_line(["kernelwright", "check", "a b.py"]) == "kernelwright check 'a b.py'"


def test_recorded_values_read_as_an_outline() -> None:
    assert pairs({"a": {}, "b": 0, "c": ["x", 2.5]}) == [("b", "0"), ("c", "x, 2.5")]
    nested = {"screen": [{"rule": "r", "line": 3}], "log": "one\ntwo", "empty": {}, "deep": {"k": {"j": 1}}}
    [(_, outline)] = pairs({"evidence": nested})
    assert outline.splitlines() == [
        *("screen:", "  - rule: r", "    line: 3"),
        *("log:", "  one", "  two"),
        "empty: none",
        *("deep:", "  k:", "    j: 1"),
    ]


def test_geometric_mean_carries_intervals_over() -> None:
    mean = geometric_mean([Interval(2.0, 1.0, 4.0), Interval(8.0, 4.0, 16.0)])
    assert mean is not None
    assert mean.median == pytest.approx(4.0)
    assert mean.high == pytest.approx(4.0 * 2 ** (math.sqrt(2) / 2))  # smaller than either factor of two
    assert geometric_mean([]) is None


def test_a_chain_runs_straight_and_no_two_nodes_meet() -> None:
    parents = [None, None, 1, 1, 3, 1, 2, 5]  # 1 -> 2 -> 6; 1 -> 3 -> 4; 1 -> 5 -> 7
    lane = lanes(parents)
    assert lane[1] == lane[5] == lane[7]
    assert lane[2] == lane[6]
    assert lane[3] == lane[4]
    assert len({lane[1], lane[2], lane[3]}) == 3


def test_scales_put_ticks_inside_and_clamp() -> None:
    for low, high in ((0.9, 1.1), (0.999, 1.001), (0.5, 40.0), (1e-3, 1e5)):
        scale = Scale(low, high, 0.0, 100.0)
        ticks = scale.ticks(6)
        assert 2 <= len(ticks) <= 8
        assert all(low * 0.999 <= t <= high * 1.001 for t in ticks)
    assert Scale(1.0, 10.0, 0.0, 100.0)(10**0.5) == pytest.approx(50.0)
    assert Scale(1.0, 10.0, 0.0, 100.0)(1e9) == 100.0


def test_charts_are_left_out_without_figures() -> None:
    assert latency_chart([], None) is None
    assert whiskers([], "nothing") is None


def test_highlighting_loses_no_character() -> None:
    for source in (SOURCE, EVIL, '"""never closed', "x = 'a\\", "#", "f'{a}' \"b\" 0x1f 1e-3 @d", ""):
        assert Page(f"<pre>{highlight(source)}</pre>").text == source
    marked = str(highlight(SOURCE))
    assert '<span class="hk">float</span>' in marked  # C inside the string is read as C
    assert '<span class="hc">// one pass</span>' in marked
