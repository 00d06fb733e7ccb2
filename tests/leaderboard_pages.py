"""The leaderboard's site as data: what its tests read."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from leaderboard_files import bench, result

from kernelwright.agent.cli.app import run

VOID = {"meta", "input", "rect", "br", "img", "link", "hr"}
Build = Callable[..., tuple[int, Any]]


class Page(HTMLParser):
    """A page as data: its elements, tables by caption, and whether all that was opened was closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._open: list[str] = []
        self._words: list[str] | None = None
        self.caption = ""
        self.feed(self.text)
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        assert len(dict(attributes)) == len(attributes)
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("caption", "th", "td"):
            self._words = []
        if tag == "tr":
            self.tables[self.caption].append([])

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        words = " ".join("".join(self._words or []).split())
        if tag == "caption":
            self.caption = words
            assert words not in self.tables
            self.tables[words] = []
        elif tag in ("th", "td"):
            self.tables[self.caption][-1].append(words)
        if tag in ("caption", "th", "td"):
            self._words = None

    def handle_data(self, data: str) -> None:
        if self._words is not None:
            self._words.append(f"{data} ")

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, start: str, device: str = "Card A") -> list[dict[str, str]]:
        """Rows of the table whose caption starts so and names the device, by heading; headings of groups left out."""
        (caption,) = (c for c in self.tables if c.startswith(start) and f" on {device}" in c)
        head, *rows = self.tables[caption]
        return [dict(zip(head, row, strict=True)) for row in rows if len(row) > 1]

    def groups(self, start: str, device: str = "Card A") -> list[str]:
        (caption,) = (c for c in self.tables if c.startswith(start) and f" on {device}" in c)
        return [row[0] for row in self.tables[caption] if len(row) == 1]


def builder(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Build:
    """Builds a site in ``folder``, which becomes the current one: exit code, and the object that --json prints."""
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(folder / "home"))
    monkeypatch.chdir(folder)

    def build(*names: object) -> tuple[int, Any]:
        code = run(["leaderboard", *map(str, names), "--out", "site", "--json"])
        return code, json.loads(capfd.readouterr().out)

    return build


def index() -> Page:
    return Page(Path("site/index.html"))


def task_page(name: str) -> Page:
    (path,) = Path("site/tasks").glob(f"*{name}*.html")
    return Page(path)


def two_devices() -> None:
    """Two benches on one device, over the same tasks, and one on another."""
    names = ("tiny/l1/1_relu", "tiny/l1/2_gelu", "tiny/l2/3_norm", "tiny/l2/4_sum")
    bench(Path("in/a"), "bench-a", [result(t, s) for t, s in zip(names, (3.0, 1.5, 0.8, None), strict=True)])
    other = [result(t, s, model="other") for t, s in zip(names, (None, 1.2, None, None), strict=True)]
    bench(Path("in/b"), "bench-b", other, model="other")
    bench(Path("in/c"), "bench-c", [result(t, 9.0, device="Card B") for t in names])
