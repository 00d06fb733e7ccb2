"""The estimate of tokens, against the tokenizer that it imitates."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from kernelwright.agent.llm.tokens import estimate
from kernelwright.agent.prompt import knowledge
from kernelwright.tasks.load import all_tasks

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.fixture(scope="module")
def cl100k() -> Any:
    """OpenAI's encoding from the file that litellm brings along: nothing is fetched."""
    tiktoken, litellm = pytest.importorskip("tiktoken"), importlib.util.find_spec("litellm")
    folder = Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers" if litellm and litellm.origin else None
    if folder is None or not folder.is_dir():
        pytest.skip("no litellm with its bundled encoding")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        return tiktoken.get_encoding("cl100k_base")


def test_close_to_cl100k_on_our_prompts(cl100k: Any) -> None:
    for path in sorted(SNAPSHOTS.glob("*_*.md")):
        text = path.read_text(encoding="utf-8")
        assert estimate(text) == pytest.approx(len(cl100k.encode(text, disallowed_special=())), rel=0.03), path.name


def test_close_to_cl100k_on_knowledge_exemplars_and_references(cl100k: Any) -> None:
    texts = {str(p): p.read_text(encoding="utf-8") for p in knowledge.PROMPTS.rglob("*") if p.suffix in (".md", ".py")}
    texts |= {task.name: task.source for task in all_tasks()}
    for name, text in texts.items():
        assert estimate(text) == pytest.approx(len(cl100k.encode(text, disallowed_special=())), rel=0.06, abs=12), name


@pytest.mark.parametrize("text", ["", " ", "\n\n", "a", "ß", "日本語", "\x00\ud800", "=" * 200, "A1b2" * 500, "e" * 10_000])
def test_any_text_has_an_estimate_and_always_the_same(text: str) -> None:
    assert estimate(text) == estimate(text)
    assert (estimate(text) > 0) == bool(text)


def test_parts_are_never_less_than_the_whole() -> None:
    text = (SNAPSHOTS / "draft_cpp.md").read_text(encoding="utf-8")
    parts = text.split("\n## ")
    assert estimate(text) <= estimate(parts[0]) + sum(estimate(f"\n## {part}") for part in parts[1:])
