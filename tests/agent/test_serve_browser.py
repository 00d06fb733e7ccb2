"""The served pages in a real browser: by keys alone, on a phone, in the dark, and with a hostile run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import browser
import pytest
from scripted import ENGINE, MODEL, kernel, reference, script
from synthetic import EVIL, fill

from kernelwright.agent.run import start
from kernelwright.agent.serve.server import Server
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import Context
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Idea, IdeaStage

pytestmark = pytest.mark.requires_browser
TASK = "core/normalization/a_task_whose_name_is_quite_long_and_does_not_end_soon"
ROLES = ("button", "combobox", "textbox", "checkbox", "link", "region")
OF_RUNS = ("", "runs/evil", "runs/evil/tasks/1", "runs/evil/tasks/1?page=2", "attempts/{best}")
PATHS = (*OF_RUNS, "memory", "memory/{item}", "nothing")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    home = tmp_path_factory.mktemp("served")
    place = Workspace.at(home / "home", None)
    store = place.open_store()
    fill(store, "evil", [TASK], 150, text=EVIL)
    store.close()
    script(place.home, kernel("incorrect"), kernel("passed 1.2"), kernel("passed 1.9", 2))
    task = load_task(reference(home))
    config = RunConfig(argv=("optimize",), order=(task.name,), backend="cpp", model=MODEL, engine=ENGINE, budget=3, run="real")
    start(config, [task], place, Silence())
    return place


@pytest.fixture(scope="module")
def server(place: Workspace) -> Iterator[Server]:
    server = Server(place, "127.0.0.1", 0)
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def addresses(server: Server, place: Workspace) -> list[str]:
    store = place.open_store()
    best = store.outcomes("evil")[TASK].best
    item = store.steps("real")[-1].idea.id
    store.close()
    return [server.url + path.format(best=best, item=item) for path in PATHS]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    command = browser.find()
    if command is None:
        pytest.skip(f"no browser: none of {', '.join(browser.NAMES)} is on the path")
    with browser.Browser(command, tmp_path_factory.mktemp("profile")) as started:
        started.screen(1366)
        yield started


def test_nothing_is_fetched_but_the_page_and_its_style_and_nothing_is_refused(
    page: browser.Browser, server: Server, addresses: list[str]
) -> None:
    for address in addresses[:-1]:
        page.open(address)
        asked = {e["params"]["request"]["url"] for e in page.events if e["method"] == "Network.requestWillBeSent"}
        assert asked - {f"{server.url}favicon.ico"} == {address, f"{server.url}style.css"}
        logged = [e for e in page.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
        assert not [e for e in logged if "favicon" not in str(e)], address  # a policy that refuses something says so here
        assert page.js("window.hacked === undefined")
        assert page.js("document.scripts.length") == 0


@pytest.mark.parametrize("width", [360, 1366])
def test_no_page_is_wider_than_the_screen(page: browser.Browser, addresses: list[str], width: int) -> None:
    page.screen(width)
    for address in addresses:
        page.open(address)
        page.js("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.js("document.documentElement.scrollWidth") <= width, address
        sizes = "[...document.querySelectorAll('nav a, button, select, input, tbody th a')].map(e => e.getBoundingClientRect())"
        assert page.js(f"Math.min(99, ...{sizes}.filter(r => r.width).map(r => r.height))") >= 24, address
    page.screen(1366)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(page: browser.Browser, addresses: list[str], scheme: str) -> None:
    page.screen(1366, scheme=scheme)
    for address in addresses:
        page.open(address)
        page.js("document.querySelectorAll('details').forEach(d => d.open = true)")
        page.js("document.querySelectorAll('svg').forEach(s => s.remove())")  # text in drawings has a fill, not a colour
        ratios = page.js(browser.CONTRAST)
        assert ratios[0][0] >= 4.5, (address, ratios[:5])
    dark = page.js("getComputedStyle(document.body).backgroundColor") == "rgb(19, 21, 23)"
    assert dark is (scheme == "dark")
    page.screen(1366)


def focused(page: browser.Browser) -> str:
    return str(page.js("document.activeElement.getAttribute('href') || ''"))


def test_from_the_list_of_runs_to_a_kernel_by_keys_alone(page: browser.Browser, server: Server) -> None:
    page.open(server.url)
    for begins in ("/runs/evil", "/runs/evil/tasks/1", "/attempts/evil"):
        for _ in range(60):
            page.press("Tab")
            if focused(page).startswith(begins):
                break
        assert page.js("getComputedStyle(document.activeElement).outlineStyle") != "none"
        page.press("Enter")
        page.until(f"location.pathname.startsWith('{begins}') && document.readyState === 'complete'")
    page.until("document.querySelector('h1').textContent.startsWith('Attempt ')")


def test_the_first_stop_skips_to_the_content(page: browser.Browser, server: Server) -> None:
    page.open(f"{server.url}runs/evil")
    page.press("Tab")
    assert focused(page) == "#main"
    page.press("Enter")
    assert page.js("document.activeElement.id") == "main"


def test_the_filter_of_memory_works_without_a_script(page: browser.Browser, server: Server) -> None:
    page.open(f"{server.url}memory")
    page.js("document.querySelector('[name=kind]').value = 'trace'")
    page.click("form button")
    page.until("location.search.includes('kind=trace') && document.readyState === 'complete'")
    kinds = page.js("[...new Set([...document.querySelectorAll('tbody tr')].map(r => r.cells[1].textContent))]")
    assert kinds == ["trace"]
    assert page.js("document.querySelector('[name=kind]').value") == "trace"


def test_names_for_screen_readers(page: browser.Browser, addresses: list[str]) -> None:
    for address in addresses:
        page.open(address)
        tree = page.ask("Accessibility.getFullAXTree")["nodes"]
        named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in tree if not n.get("ignored")]
        assert all(name for role, name in named if role in ROLES), address
        assert {"banner", "main", "navigation", "contentinfo"} <= {role for role, _ in named}
        assert page.js("document.querySelectorAll('h1').length") == 1


def test_the_page_of_a_run_at_work_brings_itself_up_to_date(page: browser.Browser, server: Server, place: Workspace) -> None:
    store = place.open_store()
    fill(store, "going", [TASK], 40, status="running")
    page.screen(1366, 500)
    page.open(f"{server.url}runs/going/tasks/1")
    link = "document.querySelector('tbody tr:nth-child(30) a')"
    page.js(f"window.kept = {link}, kept.focus(), scrollTo({{top: 900, behavior: 'instant'}}), kept.isConnected")
    before, name = page.js("scrollY"), "document.querySelector('#live [role=status]').textContent"
    assert before > 300
    store.ask(Idea("going", TASK, 41, IdeaStage.DRAFT, None), Context())
    page.until("document.querySelectorAll('tbody tr').length === 41")
    assert page.js(f"document.activeElement === kept && kept === {link}")
    assert page.js("scrollY") == before
    assert page.js(name) == "This page brings itself up to date."
    for _ in range(400):  # by keys alone: it can be made to stand still
        page.press("Tab", shift=True)
        if page.js("document.activeElement.tagName") == "BUTTON":
            break
    page.press("Enter")
    assert page.js(name) == "This page stands still."
    store.ask(Idea("going", TASK, 42, IdeaStage.DRAFT, None), Context())
    time.sleep(3)
    assert page.js("document.querySelectorAll('tbody tr').length") == 41
    page.press("Enter")
    page.until("document.querySelectorAll('tbody tr').length === 42")
    store.set_run_status("going", "finished")
    store.close()
    page.until(f"{name} === 'The run is no longer at work.'")
    assert page.js("document.querySelector('#live button') === null")
    logged = [e for e in page.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    assert not [e for e in logged if "favicon" not in str(e)]
    page.screen(1366)


def test_without_a_script_the_page_of_a_run_at_work_is_a_plain_one(
    page: browser.Browser, server: Server, place: Workspace
) -> None:
    store = place.open_store()
    fill(store, "plain", [TASK], 5, status="running")
    store.close()
    page.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(f"{server.url}runs/plain/tasks/1")
        tree = page.ask("Accessibility.getFullAXTree")["nodes"]
        names = [n.get("name", {}).get("value", "") for n in tree if not n.get("ignored")]
        assert "Hold still" not in names
        assert any("5 of 5" in str(name) or "of 5" in str(name) for name in names)
    finally:
        page.ask("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.slow
def test_a_run_of_ten_thousand_attempts_is_on_the_screen_within_a_second(page: browser.Browser, tmp_path: Path) -> None:
    place = Workspace.at(tmp_path / "home", None)
    store = place.open_store()
    fill(store, "big", [TASK], 10_000)
    store.close()
    server = Server(place, "127.0.0.1", 0)
    server.start()
    try:
        took = {}
        for path in ("runs/big", "runs/big/tasks/1"):
            started = time.perf_counter()
            page.open(server.url + path)
            took[path] = round(time.perf_counter() - started, 2)
        assert "1–100 of 10000" in page.js("document.body.textContent")
    finally:
        server.close()
    print(took)  # noqa: T201  the figure that docs/watching.md quotes
    assert max(took.values()) <= 1.0, took
