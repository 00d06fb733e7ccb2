"""The leaderboard in a real browser: sorted and filtered by mouse and keys; on a phone, in the dark, without a script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import browser
import pytest
from leaderboard_files import bench, result

from kernelwright.agent.cli.app import run

pytestmark = pytest.mark.requires_browser
TABLE = "#s1 table.results"
FOCUS = """(e => [e.tagName, e.id || e.name || e.className || e.textContent.trim().slice(0, 20),
  getComputedStyle(e).outlineStyle, parseFloat(getComputedStyle(e).outlineWidth)])(document.activeElement)"""
STOPS = ["device", "level", "category", "model", "backend", "task", "solved", "evidence", "Reset"]
NAMED = ("button", "combobox", "searchbox", "checkbox", "link", "region", "table")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two devices, two levels, three benches; one kernel's text is hostile."""
    folder = tmp_path_factory.mktemp("leaderboard")
    speeds = (3.0, None, 10.0, 0.8, 1.25, None)
    names = [f"tiny/l{1 + n // 3}/{n + 1}_operator_with_quite_a_long_name_{n}" for n in range(6)]
    records = [result(t, s, category="ab"[n % 2]) for n, (t, s) in enumerate(zip(names, speeds, strict=True))]
    bench(folder / "in/a", "bench-a", records)
    hostile = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
    same = {"model": "somebody/else", "backend": "cpp", "reason": hostile}
    others = [result(t, 2.0, category="ab"[n % 2], **same) for n, t in enumerate(names)]
    bench(folder / "in/b", "bench-b", others, proven=False, notes=[hostile])
    bench(folder / "in/c", "bench-c", [result(t, 5.0, device="Card B", status="solved", model=hostile) for t in names])
    (folder / "in/bad.jsonl").write_text("{")
    assert run(["leaderboard", str(folder / "in"), "--out", str(folder / "site")]) == 1
    return folder / "site"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    command = browser.find()
    if command is None:
        pytest.skip(f"no browser: none of {', '.join(browser.NAMES)} is on the path")
    with browser.Browser(command, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def page(shared: browser.Browser, site: Path) -> browser.Browser:
    """The page of all entries, on a desktop."""
    shared.ask("Emulation.setScriptExecutionDisabled", value=False)
    shared.screen(1366)
    shared.open(site / "index.html")
    return shared


def heading(name: str) -> str:
    return f"[...document.querySelectorAll('{TABLE} thead th')].find(h => h.textContent === {json.dumps(name)})"


def column(page: browser.Browser, name: str) -> list[str]:
    """A column's own words in the rows that are seen."""
    cells = f"[...document.querySelectorAll('{TABLE} tbody tr:not([hidden])')].map(r => r.cells[{heading(name)}.cellIndex])"
    found: list[str] = page.js(f"{cells}.map(c => c.firstChild ? c.firstChild.textContent.trim() : '')")
    return found


def choose(page: browser.Browser, name: str, value: str) -> None:
    element = f"document.querySelector('#filter [name={name}]')"
    page.js(f"{element}.value = {json.dumps(value)}; {element}.dispatchEvent(new Event('change', {{bubbles: true}}))")


def shown(page: browser.Browser, count: int) -> None:
    page.until(f"document.getElementById('status').textContent === '{count} of 18 results shown.'")


def test_one_file_is_all_that_is_fetched_and_nothing_of_it_fails(page: browser.Browser, site: Path) -> None:
    asked = [e["params"]["request"]["url"] for e in page.events if e["method"] == "Network.requestWillBeSent"]
    assert asked == [(site / "index.html").resolve().as_uri()]
    bad = [e for e in page.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")]
    assert bad == []
    assert page.js("window.hacked === undefined")


def test_sorting_by_mouse(page: browser.Browser) -> None:
    page.js(f"{heading('over best')}.id = 'sought'")
    page.click("#sought button")
    assert column(page, "over best") == ["10.0×", "3.00×", *["2.00×"] * 6, "1.25×", "0.80×", "–", "–"]
    assert page.js(f"{heading('over best')}.getAttribute('aria-sort')") == "descending"
    page.click("#sought button")
    assert column(page, "over best")[:3] == ["0.80×", "1.25×", "2.00×"]
    assert column(page, "over best")[-2:] == ["–", "–"]  # what has no figure is last either way
    assert page.js(f"document.querySelectorAll('{TABLE} [aria-sort]').length") == 1
    assert page.js("document.getElementById('status').textContent") == "Sorted by over best, ascending."
    assert "5.00×" not in column(page, "over best")  # another device's, in another table


def test_sorting_by_keys(page: browser.Browser) -> None:
    page.js(f"{heading('model')}.querySelector('button').focus()")
    page.press("Enter")
    assert column(page, "model") == ["somebody/else"] * 6 + ["writer"] * 6
    page.press(" ")
    assert column(page, "model") == ["writer"] * 6 + ["somebody/else"] * 6
    page.press("Tab")
    assert page.js("document.activeElement.textContent") == "status"
    page.press("Enter")
    assert set(column(page, "status")[:8]) == {"improved"}
    assert page.js(f"{heading('model')}.hasAttribute('aria-sort')") is False


def test_latencies_are_sorted_by_time_not_by_their_digits(page: browser.Browser) -> None:
    page.js(f"{heading('latency')}.querySelector('button').click()")
    assert column(page, "latency")[:3] == ["10.0 µs", "33.3 µs", "50.0 µs"]


def test_filters(page: browser.Browser) -> None:
    shown(page, 18)
    choose(page, "device", "Card A")
    shown(page, 12)
    assert page.js("[...document.querySelectorAll('.board')].map(s => s.hidden)") == [False, True]
    choose(page, "level", "l2")
    shown(page, 6)
    assert set(column(page, "level")) == {"l2"}
    assert page.js("[...document.querySelectorAll('#s1 tbody[data-level]')].map(b => b.hidden)") == [True, False]
    page.click("#filter [name=solved]")
    shown(page, 5)
    page.click("#filter [name=evidence]")
    shown(page, 2)
    assert column(page, "model") == ["writer", "writer"]
    page.click("#filter button[type=reset]")
    shown(page, 18)
    choose(page, "backend", "cpp")
    shown(page, 6)
    assert page.js("document.querySelectorAll('#s1 table tbody tr:not([hidden]):not(.group)').length") == 6 + 1 + 3 + 2 + 2
    choose(page, "category", "a")
    shown(page, 3)
    page.js("document.querySelector('#filter [name=task]').focus()")
    page.write("NAME_2")
    shown(page, 1)
    page.write(" nothing")
    shown(page, 0)
    assert page.js("[...document.querySelectorAll('.none')].map(p => p.checkVisibility())") == [True, True]


def test_what_is_filtered_stays_so_when_sorted(page: browser.Browser) -> None:
    choose(page, "model", "writer")
    shown(page, 6)
    page.js(f"{heading('over best')}.querySelector('button').click()")
    assert column(page, "over best") == ["10.0×", "3.00×", "1.25×", "0.80×", "–", "–"]


@pytest.mark.parametrize("width", [320, 360, 768, 1366])
def test_no_page_scrolls_sideways(page: browser.Browser, site: Path, width: int) -> None:
    page.screen(width)
    for path in (site / "index.html", next((site / "tasks").glob("*1-operator*.html"))):
        page.open(path)
        page.js("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.js("document.documentElement.scrollWidth <= innerWidth"), path.name
        if width == 360 and path.name == "index.html":
            assert page.js("(r => r.scrollWidth > r.clientWidth)(document.querySelector('#s1 .tall'))")  # but its tables do


def test_tabs_lead_through_the_page_and_are_seen(page: browser.Browser) -> None:
    page.press("Tab")
    assert page.js(FOCUS)[1] == "skip"
    assert page.js("document.activeElement.getBoundingClientRect().top") == 0
    page.press("Enter")
    page.press("Tab")
    stops = []
    for _ in range(60):
        stops.append(page.js(FOCUS))
        page.press("Tab")
    assert [s[1] for s in stops[: len(STOPS)]] == STOPS
    assert all(style != "none" and width >= 1 for _, _, style, width in stops)
    regions = [s for s in stops if s[0] == "DIV"]
    assert len(regions) >= 2  # each table's own region, to scroll it by keys
    assert page.js(
        "[...document.querySelectorAll('a, button, select, input')].every(e => e.tabIndex === 0)"
    )  # the order is the document's


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page: browser.Browser, site: Path, scheme: str) -> None:
    page.screen(1366, scheme=scheme)
    for path in (site / "index.html", *(site / "tasks").glob("*1-operator*.html")):
        page.open(path)
        page.js("document.querySelectorAll('details').forEach(d => d.open = true)")
        ratios = page.js(browser.CONTRAST)
        assert len(ratios) > 100
        assert ratios[0][0] >= 4.5, ratios[:5]
    dark = page.js("getComputedStyle(document.body).backgroundColor") == "rgb(19, 21, 23)"
    assert dark is (scheme == "dark")


def test_controls_can_be_hit_and_nothing_moves_that_should_not(page: browser.Browser) -> None:
    controls = "[...document.querySelectorAll('button, select, input:not([type=checkbox]), #filter .check')]"
    sizes = f"{controls}.map(e => e.getBoundingClientRect()).filter(r => r.width).map(r => Math.min(r.width, r.height))"
    assert page.js(f"Math.min(...{sizes})") >= 24
    page.screen(1366, motion="reduce")
    assert page.js("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    assert page.js("document.getAnimations().length") == 0


def test_names_for_screen_readers(page: browser.Browser) -> None:
    tree = page.ask("Accessibility.getFullAXTree")["nodes"]
    named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in tree if not n.get("ignored")]
    assert all(name for role, name in named if role in NAMED)
    assert ("table", page.js(f"document.querySelector('{TABLE} caption').textContent")) in named
    assert {"banner", "main", "navigation", "status", "contentinfo"} <= {role for role, _ in named}


def test_without_a_script_all_of_it_is_there(page: browser.Browser, site: Path) -> None:
    page.ask("Emulation.setScriptExecutionDisabled", value=True)
    page.open(site / "index.html")
    assert page.js("document.querySelectorAll('table.results tbody tr').length") == 18
    assert page.js("[...document.querySelectorAll('table.results tbody tr')].every(r => r.checkVisibility())")
    assert page.js("document.getElementById('filter').checkVisibility()") is False
    assert page.js("document.querySelectorAll('thead button').length") == 0
    assert "need JavaScript" in page.js("document.querySelector('noscript').textContent")


def test_a_task_is_one_click_away_and_its_evidence_another(page: browser.Browser) -> None:
    page.events.clear()
    page.click(f"{TABLE} tbody tr a")
    page.until("location.pathname.includes('/tasks/') && document.readyState === 'complete'")
    assert page.js("document.querySelector('h1').textContent").startswith("tiny/l1/1_operator")
    page.click("article details:last-of-type summary")
    link = page.js("document.querySelector('article a[href$=\".json\"]').href")
    page.ask("Page.navigate", url=link)
    page.until("document.readyState === 'complete' && document.body.innerText.includes('\"kind\": \"evidence\"')")
