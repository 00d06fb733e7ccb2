"""A headless Chromium, driven over its own debugging pipe with the standard library: no driver to install."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
CONTRAST = """(() => {
  const numbers = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(e.tagName)) continue;
    const words = `${e.tagName}.${e.className} ${walk.currentNode.data.trim().slice(0, 30)}`;
    found.push([ratio(numbers(getComputedStyle(e).color), behind(e)), words]);
  }
  for (const e of document.querySelectorAll("[placeholder]"))
    found.push([ratio(numbers(getComputedStyle(e, "::placeholder").color), behind(e)), "placeholder"]);
  return found.sort((a, b) => a[0] - b[0]);
})()"""
"""Every text's contrast to what is behind it, the least first, each with where it stands."""
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " ")}


def find() -> str | None:
    """The browser's command; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One browser with one page, which starts empty. A call that takes longer than ``patience`` seconds fails."""

    def __init__(self, command: str, profile: Path, patience: float = 30.0) -> None:
        down, self._to = _pipe()
        self._from, up = _pipe()
        self._patience, self._number, self._read = patience, 0, b""
        self.events: list[dict[str, Any]] = []
        asked = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
        asked += ["--no-first-run", "--disable-extensions", "--disable-background-networking", f"--user-data-dir={profile}"]

        def connect() -> None:  # the browser reads from 3 and writes to 4
            os.dup2(down, 3)
            os.dup2(up, 4)

        self._process = subprocess.Popen(
            [command, *asked, "about:blank"], close_fds=False, preexec_fn=connect, stderr=subprocess.DEVNULL
        )
        os.close(down)
        os.close(up)
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._to)
        os.close(self._from)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A call to the page, by the protocol's name of it."""
        return self._ask(method, self._session, **parameters)

    def open(self, page: Path | str) -> None:
        """Load a file or an address, until all of it is there."""
        self.events.clear()
        self.ask("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._receive(time.monotonic() + self._patience)

    def js(self, expression: str) -> Any:
        """The value of an expression, as JSON has it."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screen(self, width: int, height: int = 800, scheme: str = "light", motion: str = "no-preference") -> None:
        """Size, colours and motion that the page is told of."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        self.ask("Emulation.setEmulatedMedia", features=[{"name": k, "value": v} for k, v in wishes.items()])

    def click(self, selector: str) -> None:
        """Scroll to the first such element, and press the mouse on the middle of its first line."""
        quoted = json.dumps(selector)
        self.js(f"document.querySelector({quoted}).scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}})")
        box = f"(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector({quoted}).getClientRects()[0])"
        x, y = self.js(box)
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, *, shift: bool = False) -> None:
        """``Tab``, ``Enter`` or a space."""
        code, text = _KEYS[key]
        told = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
        self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **told, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **told)

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self.ask("Input.insertText", text=text)

    def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + self._patience
        while not self.js(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.02)

    def picture(self, path: Path) -> None:
        """What is on the screen, as a PNG."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def _ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self._patience
        while True:
            answer = self._receive(end)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self, end: float) -> dict[str, Any]:
        """The next message; events are kept."""
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            more = os.read(self._from, 1 << 20)
            assert more, "the browser has ended"
            self._read += more
        line, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message


def _pipe() -> tuple[int, int]:
    """The two ends of a pipe, at numbers that are out of the way of 3 and 4."""
    ends = os.pipe()
    reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return reading, writing
