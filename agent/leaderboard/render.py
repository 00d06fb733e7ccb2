"""Pages as text. Style and script are inside them, a policy in each page lets nothing else run or load, and no text of a
file that was read becomes markup."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from kernelwright.agent.leaderboard import untrusted
from kernelwright.agent.leaderboard.entries import Section
from kernelwright.agent.leaderboard.inputs import LeftOut
from kernelwright.agent.leaderboard.overview import Overview
from kernelwright.agent.leaderboard.pages import TaskPage
from kernelwright.agent.report import text

_HERE = Path(__file__).parent
_REPORT = _HERE.parent / "report"


def index(
    sections: Sequence[Section], pages: Sequence[TaskPage], files: Mapping[str, str], left_out: Sequence[LeftOut]
) -> str:
    """The page of all entries. ``files`` are the copied files of results, by bench."""
    script = (_HERE / "board.js").read_text(encoding="utf-8")
    return _page("index.html.j2", script, view=Overview(sections, pages, files), left_out=left_out)


def task_page(page: TaskPage) -> str:
    """The page of one task, which lies a folder below the other."""
    return _page("task_page.html.j2", "", page=page, kernels=tuple(page.kernels()))


def _page(template: str, script: str, **values: object) -> str:
    environment = _environment()
    style = environment.get_template("board.css.j2").render()
    policy = f"default-src 'none'; style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"
    if script:
        policy += f"; script-src '{_hash(script)}'"
    shell = {"style": Markup(style), "script": Markup(script), "policy": policy}
    rendered = environment.get_template(template).render(**shell, **values)
    return untrusted.visible(rendered)


def _hash(text_: str) -> str:
    """As a content security policy names an inline text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text_.encode()).digest()).decode()}"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_HERE, _REPORT]),  # the report's style and parts are these pages' too
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        duration=text.duration,
        ratio=text.ratio,
        percent=text.percent,
        small=text.small,
        dollars=text.dollars,
        seconds=text.seconds,
        pairs=text.pairs,
        count=_count,
        name=untrusted.name,
        link=untrusted.link,
        raw=_raw,
    )
    return environment


def _count(value: float) -> str:
    """A count that may be of parts of tasks: ``104``, ``12.5``, ``1,250``."""
    return f"{value:,.0f}" if abs(value - round(value)) < 0.05 else f"{value:,.1f}"


def _raw(value: float) -> str:
    """A figure to sort by."""
    return f"{value:.6g}"
