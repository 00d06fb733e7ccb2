"""The pages over HTTP: GET and HEAD alone, and only for who calls this machine by its own name.

What is kept out: other sites in the same browser, by the ``Host`` header (a name that was made to lead here is not ours), by a
policy that lets a page load nothing but its style, and of a run at work one script of ours, and by headers against
framing and guessing of types.
What is not: other users of this machine, who can open the same address; and whoever reaches an address that is no loopback.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote

from kernelwright.agent.serve.pages import Page, Pages
from kernelwright.agent.workspace import Workspace
from kernelwright.tasks.errors import InputError, KernelwrightError, UnknownName

POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
LIVE = f"{POLICY}; script-src 'self'; connect-src 'self'"
"""The policy of a page of a run at work: our own script, which asks for the page again. Texts that a kernel or a model wrote
are served as ``text/plain``, which no browser runs where types are not guessed."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LONGEST_TARGET = 4000
PATIENCE = 30.0
"""Seconds that a connection may say nothing."""


class Server:
    """Serves a workspace at :attr:`url` from :meth:`start` to :meth:`close`, in threads of its own.

    Raises:
        InputError: the address cannot be taken.
    """

    def __init__(self, workspace: Workspace, host: str, port: int) -> None:
        if not 0 <= port <= 65535:
            raise InputError(f"--port is {port}", "give 0 (any free one) to 65535")
        self._pages = Pages(workspace)
        try:
            self._http = _bound(host, port, self._pages)
        except OSError as error:
            self._pages.close()
            raise InputError(
                f"{host} port {port} cannot be served: {error.strerror or error}", "give another --port or --host, or --port 0"
            ) from error
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._http.server_address[1]}/"
        self._thread = threading.Thread(target=self._http.serve_forever, name="serve", daemon=True)

    @property
    def requests(self) -> int:
        """How many were answered so far."""
        return self._http.answered

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()
        self._pages.close()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def allowed(header: str | None, host: str) -> bool:
    """Whether a ``Host`` header names this server: an address, ``localhost``, or the very name that it was given.

    A name that somebody else's DNS has led here is refused, which is how a page of theirs would read ours. The port is not
    looked at: a tunnel has another one. On a loopback address only loopback addresses are ours.
    """
    if not header:
        return False
    name = header.rpartition("]")[0].lstrip("[") if header.startswith("[") else header.partition(":")[0]
    name = name.lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name in ("localhost", host.lower())
    return address.is_loopback or not is_loopback(host)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    pages: Pages
    host: str
    answered = 0


def _bound(host: str, port: int, pages: Pages) -> _Http:
    class Bound(_Http):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    http = Bound((host, port), _Handler)
    http.pages, http.host = pages, host
    return http


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    server_version = "kernelwright"
    sys_version = ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        self._send(self._answer())

    def do_HEAD(self) -> None:
        self._send(self._answer())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses: a method that is not there (501), a request that cannot be read."""
        self.close_connection = True
        self.request_version = self.protocol_version  # an answer has headers, whatever was asked
        status = 405 if code == 501 else code
        self._send(self.server.pages.problem(status, message or "the request cannot be read", "only GET and HEAD are answered"))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line a request would bury what the terminal is for."""

    def _answer(self) -> Page:
        pages = self.server.pages
        if not allowed(self.headers.get("Host"), self.server.host):
            seen = self.headers.get("Host") or "none"
            return pages.problem(403, f"the Host header is {seen}, which is not this server", f"open it as {self.server.host}")
        target, _, query = self.path.partition("?")
        if not target.startswith("/") or len(self.path) > LONGEST_TARGET:
            return pages.problem(400, "the address is not one of this server's", "begin at the list of runs")
        try:
            parts = tuple(unquote(part, errors="strict") for part in target.strip("/").split("/") if part)
            return pages.page(parts, dict(parse_qsl(query)))
        except UnknownName as error:
            return pages.problem(404, error.message, error.remedy)
        except (InputError, UnicodeDecodeError) as error:
            return pages.problem(400, str(error), getattr(error, "remedy", ""))
        except KernelwrightError as error:
            return pages.problem(500, error.message, error.remedy)
        except Exception as error:  # noqa: BLE001  the boundary of a request: one page that fails ends no other
            traceback.print_exc(file=sys.stderr)
            return pages.problem(500, f"{type(error).__name__}: {error}", "report it with the address")

    def _send(self, page: Page) -> None:
        same = page.status == 200 and self.headers.get("If-None-Match") == page.tag
        body = b"" if same else page.data
        self.send_response(304 if same else page.status)
        for name, value in (HEADERS | {"Content-Security-Policy": LIVE if page.live else POLICY}).items():
            self.send_header(name, value)
        if page.status == 405:
            self.send_header("Allow", "GET, HEAD")
        if page.status == 200:
            self.send_header("ETag", page.tag)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Content-Type", f"{page.kind}; charset=utf-8")
        if not same:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.server.answered += 1
