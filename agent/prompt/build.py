"""The universal prompt (``prompts/universal.j2``): its sections rendered one by one, counted, and cut to a cap in tokens.

No prompt text lives here. What the templates are given is :mod:`kernelwright.agent.prompt.view`'s business, what goes first
when a prompt is too long :mod:`kernelwright.agent.prompt.cuts`'.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from kernelwright.agent.llm.tokens import estimate
from kernelwright.agent.prompt import knowledge
from kernelwright.agent.prompt.cuts import cuts
from kernelwright.agent.prompt.view import variables
from kernelwright.tasks.records import Interval

if TYPE_CHECKING:
    import jinja2

    from kernelwright.agent.writers.writer import Assignment

CAP = 16_000
"""Tokens of a prompt, estimated. Task, contract, start point and the form of the answer are never cut."""

_UNIVERSAL = "universal.j2"


@dataclass(frozen=True)
class PromptSection:
    """One file of ``prompts/sections`` in a prompt."""

    name: str
    tokens: int
    """Estimated; 0 when it says nothing."""
    dropped: tuple[str, ...] = ()
    """What was left out of it for the cap, in the order in which it went."""


@dataclass(frozen=True)
class Prompt:
    """A prompt and what it is made of."""

    text: str
    sections: tuple[PromptSection, ...]
    """In order; those that say nothing included."""
    cap: int

    @property
    def tokens(self) -> int:
        """Estimated; the sum over the sections."""
        return sum(section.tokens for section in self.sections)

    @property
    def note(self) -> str:
        """Says so when even what is never cut exceeds the cap; else empty."""
        if self.tokens <= self.cap:
            return ""
        longest = max(self.sections, key=lambda section: section.tokens)
        return f"{self.tokens} tokens, above {self.cap}: what is left is never cut ({longest.name}: {longest.tokens})"


def build_prompt(assignment: Assignment, cap_tokens: int = CAP, role: str = "code", plan: str = "", code: str = "") -> str:
    """The prompt for an assignment, of at most ``cap_tokens`` unless what is never cut is longer.

    ``role``: ``code`` asks for the kernel (by ``plan``, where one is given), ``plan`` for a plan, ``review`` for a look at
    ``code``, a finished kernel.

    Raises:
        UnknownName: another role.
    """
    return compose(assignment, cap_tokens, role, plan, code).text


def prompt_sections(
    assignment: Assignment, cap_tokens: int = CAP, role: str = "code", plan: str = "", code: str = ""
) -> tuple[PromptSection, ...]:
    """What :func:`build_prompt`'s text is made of: the tokens of each section, and what was left out of it."""
    return compose(assignment, cap_tokens, role, plan, code).sections


def compose(assignment: Assignment, cap_tokens: int = CAP, role: str = "code", plan: str = "", code: str = "") -> Prompt:
    """The prompt with its sections; see :func:`build_prompt`."""
    view = variables(assignment, role, plan, code)
    texts = {name: _section(name, view) for name in section_names()}
    tokens = {name: estimate(text) for name, text in texts.items()}
    dropped: dict[str, list[str]] = {name: [] for name in texts}
    left = cuts(view)
    while sum(tokens.values()) > cap_tokens and (cut := next(left, None)) is not None:
        texts[cut.section] = _section(cut.section, view)
        tokens[cut.section] = estimate(texts[cut.section])
        dropped[cut.section].append(cut.what)
    sections = tuple(PromptSection(name, tokens[name], tuple(dropped[name])) for name in texts)
    return Prompt(_tidy("".join(texts.values())), sections, cap_tokens)


def render(template: str, view: Mapping[str, Any]) -> str:
    """Another template of ``prompts/``, tidied as a prompt is."""
    return _tidy(_environment().get_template(template).render(view))


@functools.cache
def section_names() -> tuple[str, ...]:
    """The sections in the order in which ``universal.j2`` includes them."""
    from jinja2 import meta

    environment = _environment()
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, _UNIVERSAL)
    found = meta.find_referenced_templates(environment.parse(source))
    return tuple(PurePosixPath(name).stem for name in found if name is not None)


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(knowledge.PROMPTS),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"code": _code, "us": _us, "speedup": _speedup, "cell": _cell}
    return environment


def _section(name: str, view: Mapping[str, Any]) -> str:
    """A section as it stands in the prompt; empty when the situation does not call for it."""
    text = _environment().get_template(f"sections/{name}.j2").render(view)
    return f"\n{_tidy(text)}" if text.strip() else ""


def _code(text: str, language: str) -> str:
    """``text`` in a fence that is longer than any inside it."""
    ticks = max((len(run) for run in re.findall(r"`{3,}", text)), default=2) + 1
    fence = "`" * ticks
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


def _us(value: Interval | float | None) -> str:
    if value is None:
        return ""
    number = value.median if isinstance(value, Interval) else value
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}"


def _speedup(value: Mapping[str, Interval] | Interval | float | None, name: str = "") -> str:
    """``1.32x (1.30 to 1.34)``; of a mapping the entry ``name``; empty without one."""
    found = value.get(name) if isinstance(value, Mapping) else value
    if isinstance(found, Interval):
        return f"{found.median:.2f}x ({found.low:.2f} to {found.high:.2f})"
    return "" if found is None else f"{found:.2f}x"


def _cell(text: str, limit: int = 160) -> str:
    """One cell of a table: one line, no bars."""
    flat = " ".join(text.split()).replace("|", "\\|")
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _tidy(text: str) -> str:
    """At most one empty line in a row outside code, one newline at the end."""
    parts = re.split(r"(^(`{3,}).*?^\2$)", text, flags=re.MULTILINE | re.DOTALL)
    prose = [re.sub(r"\n{3,}", "\n\n", part) for part in parts[0::3]]
    pieces = [prose[0]]
    for code, rest in zip(parts[1::3], prose[1:], strict=True):
        pieces += [code, rest]
    return "".join(pieces).strip("\n") + "\n"
