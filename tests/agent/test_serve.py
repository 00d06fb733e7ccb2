"""The pages over HTTP: all of a run is there, nothing of it becomes markup, and nobody else's page can read ours."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import time
import urllib.parse
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from processes import spawn, told
from scripted import ENGINE, MODEL, kernel, reference, script
from synthetic import EVIL, fill

from kernelwright.agent.cli.app import run as command
from kernelwright.agent.run import start
from kernelwright.agent.serve.compared import MOST_LINES, compare
from kernelwright.agent.serve.server import POLICY, Server, allowed
from kernelwright.agent.serve.views import Window
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.load import load_task

TASK = "core/normalization/evil"


class Client:
    """Asks a server as a browser does, or as one does not."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self.place = urllib.parse.urlsplit(server.url).netloc

    def ask(self, path: str, method: str = "GET", host: str | None = None) -> tuple[int, str, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection(self.place, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True)
            connection.putheader("Host", self.place if host is None else host)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "surrogatepass"), answer.headers
        finally:
            connection.close()

    def page(self, path: str) -> str:
        status, text, _ = self.ask(path)
        assert status == 200, text
        return text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run of hostile texts with 250 attempts, and a small one that was really searched."""
    home = tmp_path_factory.mktemp("served")
    place = Workspace.at(home / "home", None)
    store = place.open_store()
    fill(store, "evil", [TASK], 250, text=EVIL)
    fill(store, "going", ["core/normalization/other"], 3, status="running")
    store.close()
    script(place.home, "rubbish \u2028", kernel("incorrect"), kernel("passed 1.2"), kernel("passed 1.9", 2))
    task = load_task(reference(home))
    config = RunConfig(argv=("optimize",), order=(task.name,), backend="cpp", model=MODEL, engine=ENGINE, budget=4, run="real")
    start(config, [task], place, Silence())
    return place


@pytest.fixture(scope="module")
def client(place: Workspace) -> Iterator[Client]:
    server = Server(place, "127.0.0.1", 0)
    server.start()
    yield Client(server)
    server.close()


class Elements(HTMLParser):
    """The names and attributes of all elements, and where they lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    @property
    def links(self) -> set[str]:
        return {a["href"] for tag, a in self.found if tag == "a" and (a.get("href") or "").startswith("/")}  # type: ignore[misc]


def crawl(client: Client, *begin: str, most: int = 130) -> dict[str, str]:
    """Every page that a person can come to from some, up to a number."""
    seen: dict[str, str] = {}
    ahead = list(begin)
    while ahead and len(seen) < most:
        path = ahead.pop(0)
        if path not in seen:
            status, seen[path], headers = client.ask(path)
            assert status == 200, path
            if headers["Content-Type"].startswith("text/html"):
                ahead += sorted(Elements(seen[path]).links)
    return seen


def test_all_of_a_run_is_there(client: Client, place: Workspace) -> None:
    assert "/runs/real" in Elements(client.page("/")).links
    assert "/runs/real/tasks/1" in Elements(client.page("/runs/real")).links
    store = place.open_store()
    steps = store.steps("real")
    store.close()
    page = client.page("/runs/real/tasks/1")
    assert {f"/attempts/{s.idea.id}" for s in steps} <= Elements(page).links
    assert page.count("<svg") >= 2  # latencies, and the graph
    for step in steps:
        page = client.page(f"/attempts/{step.idea.id}")
        assert step.answer is not None
        assert client.page(f"/attempts/{step.idea.id}/prompt") == step.answer.prompt
        assert client.page(f"/attempts/{step.idea.id}/answer") == step.answer.text
        if step.answer.kernel is None:
            assert "unreadable" in page
            assert client.ask(f"/attempts/{step.idea.id}/kernel")[0] == 404
            continue
        assert client.page(f"/attempts/{step.idea.id}/kernel") == step.answer.kernel.source
        assert step.verdict is not None
        assert step.verdict.kernel_id in page
        assert step.verdict.reason in page


def test_a_refinement_is_shown_against_what_it_started_from(client: Client) -> None:
    page = client.page(next(p for p in crawl(client, "/runs/evil/tasks/1") if "Against attempt" in client.page(p)))
    assert re.search(r'<span class="gone">- y = \d+</span>', page)
    assert re.search(r'<span class="added">\+ y = \d+</span>', page)
    assert page.count('<span class="same">') < 20  # only what is around a change


def test_memory_is_there_with_what_it_is_worth_and_where_it_comes_from(client: Client) -> None:
    page = client.page("/memory?kind=trace")
    (item,) = [link for link in Elements(page).links if link.startswith("/memory/real") and link.endswith("4")]
    page = client.page(item)
    assert "number 2" in page
    assert "/attempts/" + item.removeprefix("/memory/") in Elements(page).links
    assert "Nothing there" in client.page("/memory?backend=nobody")
    assert client.ask("/memory?kind=nonsense")[0] == 400


def test_what_memory_gave_is_a_link_away(client: Client, place: Workspace) -> None:
    store = place.open_store()
    last = store.steps("real")[-1]
    store.close()
    given = [item.experience.id for item in last.context.items]
    assert given
    page = client.page(f"/attempts/{last.idea.id}")
    assert {f"/memory/{urllib.parse.quote(i, safe='')}" for i in given} <= Elements(page).links
    assert client.ask(f"/memory/{urllib.parse.quote(given[0], safe='')}")[0] == 200


def test_no_text_becomes_markup(client: Client) -> None:
    found = crawl(client, "/runs/evil/tasks/1", "/memory")
    pages = {path: page for path, page in found.items() if page.startswith("<!doctype")}
    assert sum("evil" in path for path in pages) > 50
    for path, page in pages.items():
        elements = Elements(page).found
        assert not [tag for tag, _ in elements if tag in ("script", "img", "iframe", "object", "style")], path
        assert not [a for _, attributes in elements for a in attributes if a.startswith("on") or a == "style"], path
        assert "\u202e" not in page
    assert any("&lt;script&gt;window.hacked" in page for page in pages.values())


def test_every_answer_carries_the_policy(client: Client) -> None:
    for path in ("/", "/runs/evil", "/style.css", "/nothing", "/attempts/x/prompt"):
        headers = client.ask(path)[2]
        assert headers["Content-Security-Policy"] == POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Python" not in headers["Server"]
    assert "unsafe" not in POLICY
    assert POLICY.startswith("default-src 'none'")
    raw = client.ask("/attempts/real-none/kernel")
    assert raw[0] == 404


def test_a_kernel_as_a_text_is_no_page(client: Client) -> None:
    path = next(p for p in crawl(client, "/runs/evil/tasks/1") if p.endswith("/kernel"))
    status, text, headers = client.ask(path)
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert EVIL in text


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/runs/../../../etc/passwd",
        "/runs/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/runs/..%2f..",
        "/runs/real/report.html",
        "/runs/evil/tasks/2",
        "/runs/evil/tasks/0",
        "/runs/evil/tasks/%C2%B2",
        "/attempts/%2Fetc%2Fpasswd/prompt",
        "/attempts/evil%00",
        "/style.css/x",
        "/memory/nothing",
    ],
)
def test_what_is_no_page_is_not_found(client: Client, path: str) -> None:
    status, text, _ = client.ask(path)
    assert status == 404
    assert "root:" not in text


@pytest.mark.parametrize(
    "path", ["/?page=x", "/?page=-1", "/?page=99999999999999", "/memory?page=1.5", "/runs/%ff", "http://x/"]
)
def test_what_makes_no_sense_is_said(client: Client, path: str) -> None:
    assert client.ask(path)[0] == 400


def test_a_name_that_was_led_here_is_refused(client: Client) -> None:
    names = ("evil.example", "evil.example:8321", "127.0.0.1.evil.example", "localhost.evil.example")
    for host in (*names, "", "10.0.0.1", "[::1"):
        status, text, _ = client.ask("/runs/evil", host=host)
        assert status == 403, host
        assert "core/normalization" not in text
    for host in ("localhost:1", "127.0.0.1:9000", "[::1]:9000", "LOCALHOST"):
        assert client.ask("/", host=host)[0] == 200


def test_whose_name_counts_where_others_may_come() -> None:
    assert allowed("192.168.1.5:80", "0.0.0.0")
    assert allowed("box:80", "box")
    assert not allowed("rebound.example", "0.0.0.0")
    assert not allowed(None, "0.0.0.0")


def test_nothing_but_reading(client: Client) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "NONSENSE"):
        status, _, headers = client.ask("/runs/real", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
    status, text, headers = client.ask("/runs/real", "HEAD")
    assert (status, text) == (200, "")
    assert int(headers["Content-Length"]) == len(client.page("/runs/real").encode())


def test_reading_changes_nothing(place: Workspace, client: Client) -> None:
    def state() -> list[tuple[str, int]]:
        files = (p for p in place.home.rglob("*") if p.is_file() and not p.name.startswith("store.db-"))
        return sorted((str(p), p.stat().st_mtime_ns) for p in files)

    before = state()
    crawl(client, "/", most=30)
    assert state() == before


def test_a_request_that_is_none_ends_only_itself(client: Client) -> None:
    with socket.create_connection((client.place.split(":")[0], int(client.place.split(":")[1])), 10) as raw:
        raw.sendall(b"\x00\xffnonsense\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")
    assert client.ask("/" + "x" * 70_000)[0] in (400, 414)
    assert client.ask("/")[0] == 200


def test_a_running_run_is_seen_as_it_stands(client: Client, place: Workspace) -> None:
    page = client.page("/runs/going")
    assert "running" in page
    store = place.open_store()
    fill(store, "later", ["core/normalization/third"], 1, status="running")
    store.close()
    assert "/runs/later" in Elements(client.page("/")).links


def test_long_lists_come_in_pages(client: Client) -> None:
    first, last = client.page("/runs/evil/tasks/1"), client.page("/runs/evil/tasks/1?page=3")
    assert "1–100 of 250" in first
    assert "201–250 of 250" in last
    assert client.page("/runs/evil/tasks/1?page=99") == last
    assert [Window.at(p, 250).offset for p in (0, 1, 3, 9)] == [0, 0, 200, 200]
    assert (Window.at(1, 0).first, Window.at(1, 0).last) == (0, 0)


def test_a_comparison_says_what_changed_and_gives_up_in_time() -> None:
    before = [f"line {n}" for n in range(100)]
    after = [*before[:50], "new", *before[51:]]
    found = compare("\n".join(before), "\n".join(after))
    assert (found.added, found.gone, found.lines[0].kind) == (1, 1, "cut")
    assert [x.text for x in found.lines if x.kind != "same"] == ["line 48", "line 50", "new"]
    assert compare("same", "same").lines == ()
    long = "x\n" * (MOST_LINES + 1)
    started = time.monotonic()
    assert "more than" in compare(long, "y\n" * (MOST_LINES + 1)).problem
    assert time.monotonic() - started < 1


def test_the_command(tmp_path: Path) -> None:
    process = spawn(tmp_path / "home", "serve", "--port", "0")
    assert process.stderr is not None
    line = process.stderr.readline()
    url = re.search(r"http://127\.0\.0\.1:\d+/", line)
    assert url, line
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url.group()).netloc, timeout=30)
    connection.request("GET", "/")
    assert b"No runs yet" in connection.getresponse().read()
    connection.close()
    process.send_signal(signal.SIGINT)
    assert told(process)["serve"] == {"url": url.group(), "requests": 1}
    assert process.returncode == 0


def test_an_address_that_cannot_be_taken(place: Workspace, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="--port is 70000"):
        Server(place, "127.0.0.1", 70000)
    assert command(["serve", "--port", client.place.split(":")[1], "--home", str(place.home)]) == 2
    assert "give another --port" in capsys.readouterr().err


def test_others_are_warned_of(tmp_path: Path) -> None:
    process = spawn(tmp_path / "home", "serve", "--port", "0", "--host", "0.0.0.0")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("warning: 0.0.0.0 can be reached by other machines")
    assert process.stderr.readline().startswith("serving http://0.0.0.0:")
    process.send_signal(signal.SIGINT)
    told(process)


@pytest.mark.slow
def test_ten_thousand_attempts_open_within_a_second(tmp_path: Path, record_property: object) -> None:
    place = Workspace.at(tmp_path / "home", None)
    store = place.open_store()
    fill(store, "big", [TASK], 10_000)
    store.close()
    server = Server(place, "127.0.0.1", 0)
    server.start()
    try:
        client = Client(server)
        took = {}
        for path in ("/", "/runs/big", "/runs/big/tasks/1", "/runs/big/tasks/1?page=100"):
            started = time.perf_counter()
            page = client.page(path)
            took[path] = time.perf_counter() - started
            assert len(page) < 400_000
    finally:
        server.close()
    print({path: round(seconds, 2) for path, seconds in took.items()})  # noqa: T201  the figure that docs/watching.md quotes
    assert max(took.values()) < 1.0, took


def test_only_a_run_at_work_has_a_script_and_it_is_ours(client: Client) -> None:
    for path in ("/runs/going", "/runs/going/tasks/1"):
        status, page, headers = client.ask(path)
        assert status == 200
        assert [a for tag, a in Elements(page).found if tag == "script"] == [{"src": "/live.js"}]
        assert headers["Content-Security-Policy"] == f"{POLICY}; script-src 'self'; connect-src 'self'"
    assert client.ask("/live.js")[2]["Content-Type"] == "text/javascript; charset=utf-8"
    for path in ("/", "/runs/evil", "/runs/real/tasks/1", "/memory"):
        assert "<script" not in client.page(path)


def test_a_page_that_has_not_changed_is_not_sent_again(client: Client) -> None:
    tag = client.ask("/runs/going")[2]["ETag"]
    assert tag == client.ask("/runs/going")[2]["ETag"] != client.ask("/runs/evil")[2]["ETag"]
    connection = http.client.HTTPConnection(client.place, timeout=30)
    for given, status in ((tag, 304), ('"other"', 200), (tag, 304)):  # on one connection: a 304 has no body to wait for
        connection.request("GET", "/runs/going", headers={"If-None-Match": given})
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (status, status == 200)
    connection.close()
