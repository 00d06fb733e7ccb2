"""Backend knowledge as first experiences."""

from __future__ import annotations

import re

import pytest

from kernelwright.memory import seeds
from kernelwright.memory.catalog import Filter
from kernelwright.memory.seeds import sections
from kernelwright.tasks.errors import WorkspaceError

FACTS = """# Toy: facts

An introduction that belongs to no section.

## Wide loads
<!-- for: softmax reduction -->

`toy.load_wide(p, n)` moves 16 bytes.

```text
## not a heading
```

## Barriers

`toy.barrier()` waits.
"""


MANIFEST = """version: 3
sources:
  facts: the toy's manual, chapter 2
  pitfalls: measured here
  practices: measured here
  exemplars: written here
solves:
  softmax: [softmax]
"""


def knowledge(tmp_path, facts=FACTS):
    folder = tmp_path / "backends" / "toy"
    (folder / "exemplars").mkdir(parents=True, exist_ok=True)
    (folder / "facts.md").write_text(facts)
    (folder / "pitfalls.md").write_text("# Pitfalls\n\n## Missing masks\n\nMask the tail.\n")
    (folder / "practices.md").write_text("## Row kernels\n\nOne program a row.\n")
    (folder / "seeds.yaml").write_text(MANIFEST)
    (folder / "exemplars" / "softmax.py").write_text('"""Softmax in one pass."""\nx = toy.load_wide(p, n)\n')
    return tmp_path / "backends"


def test_sections_split_at_headings_outside_fences():
    assert [heading for heading, _ in sections(FACTS)] == ["Wide loads", "Barriers"]
    assert "## not a heading" in dict(sections(FACTS))["Wide loads"]


def test_every_section_and_exemplar_is_an_experience(tmp_path):
    found = {s.experience.lesson.split("\n")[0]: s.experience for s in seeds.read(knowledge(tmp_path))}
    kinds = {lesson: e.kind for lesson, e in found.items()}
    assert kinds == {
        "Wide loads": "api",
        "Barriers": "api",
        "Missing masks": "practice",
        "Row kernels": "practice",
        "Softmax in one pass.": "trace",
    }
    wide = found["Wide loads"]
    assert (wide.backend, wide.family) == ("toy", "softmax")
    assert "reduction" in wide.text
    assert "<!--" not in wide.lesson
    assert "load_wide" in found["Softmax in one pass."].code


def test_no_folder_is_no_knowledge(tmp_path):
    assert seeds.read(tmp_path / "nowhere") == ()


def test_planting_again_changes_nothing_and_an_edit_replaces(tmp_path, scenes):
    def opened():
        return scenes.open_here(tmp_path / "home", knowledge_at)

    knowledge_at = knowledge(tmp_path)
    for _ in range(2):
        memory = opened()
        assert memory.stats().kinds == {"api": 2, "practice": 2, "trace": 1}
        assert memory.stats().indexed == 5
        memory.close()
    knowledge(tmp_path, FACTS.replace("16 bytes", "32 bytes"))
    memory = opened()
    texts = [r.experience.lesson for r in memory.search("wide loads", "toy")]
    assert memory.stats().kinds["api"] == 2
    assert any("32 bytes" in t for t in texts)
    assert not any("16 bytes" in t for t in texts)
    memory.close()
    knowledge(tmp_path)
    memory = opened()
    assert any("16 bytes" in r.experience.lesson for r in memory.search("wide loads", "toy"))
    memory.close()


def test_api_knowledge_comes_beside_the_places_for_code_that_names_it(tmp_path, scenes):
    memory = scenes.open_here(tmp_path / "home", knowledge(tmp_path))
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    context = memory.recall(scenes.idea(task), task, "toy")
    assert {r.experience.kind for r in context.items} == {"practice", "trace"}
    assert [e.lesson.split("\n")[0] for e in context.knowledge] == ["Wide loads"]
    assert memory.recall(scenes.idea(task), task, "cpp").knowledge == ()
    memory.close()


def test_the_packages_own_knowledge_is_read_whole():
    found = seeds.read(seeds.folder())
    backends = {s.experience.backend for s in found}
    for path in seeds.folder().glob("*/*.md"):
        headings = re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)
        origin = re.escape(f"{seeds.ORIGIN}{path.parent.name}/{path.stem}") + r" v\d+: "
        own = [s for s in found if re.match(origin, s.origin)]
        assert len(own) == len(headings), path
    for path in seeds.folder().glob("*/exemplars/*.py"):
        assert any(s.experience.code == path.read_text() for s in found), path
    assert backends == {p.parent.name for p in seeds.folder().glob("*/*.md")}


def test_every_seed_has_its_version_and_its_source(tmp_path, scenes):
    memory = scenes.open_here(tmp_path / "home", knowledge(tmp_path))
    held = {e.experience.kind: e.origin for e in memory.listing(Filter())[0]}
    assert held["api"] == "seed:toy/facts v3: the toy's manual, chapter 2"
    assert held["trace"] == "seed:toy/exemplars v3: written here"
    memory.close()
    manifest = tmp_path / "backends" / "toy" / "seeds.yaml"
    manifest.write_text(MANIFEST.replace("version: 3", "version: 4"))
    memory = scenes.open_here(tmp_path / "home", tmp_path / "backends")
    assert {e.origin.split(":")[1][-2:] for e in memory.listing(Filter())[0]} == {"v4"}
    assert memory.stats().experiences == 5, "the same text is the same seed"
    memory.close()


def spoil(folder, name, text):
    path = folder / "backends" / "toy" / name
    path.unlink() if text is None else path.write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("seeds.yaml", None, "toy has knowledge and no seeds.yaml"),
        ("seeds.yaml", MANIFEST.replace("version: 3", ""), "seeds.yaml has no field 'version'"),
        ("seeds.yaml", MANIFEST.replace("3", "three"), "seeds.yaml has no field 'version'"),
        ("seeds.yaml", "version: 3\n", "seeds.yaml has no field 'sources'"),
        ("seeds.yaml", MANIFEST.replace("  pitfalls: measured here\n", ""), "seeds.yaml has no field 'sources: pitfalls'"),
        ("seeds.yaml", MANIFEST.replace("solves:", "solved:"), "seeds.yaml has no field 'solves: softmax'"),
        ("seeds.yaml", MANIFEST.replace("[softmax]", "softmax"), "seeds.yaml has no field 'solves: softmax'"),
        ("seeds.yaml", "version: [", "seeds.yaml is no YAML"),
        ("seeds.yaml", "!!python/object/apply:os.system ['true']", "seeds.yaml is no YAML"),
        ("facts.md", "## Wide loads\n\n## Barriers\n\ntext\n", "facts.md: section 'Wide loads' has no text"),
        ("exemplars/softmax.py", "x = 1\n", "softmax.py has no docstring"),
        ("exemplars/softmax.py", "def (", "softmax.py is no Python"),
    ],
)
def test_a_seed_that_lacks_something_is_named_and_the_store_untouched(tmp_path, scenes, name, text, said):
    knowledge(tmp_path)
    spoil(tmp_path, name, text)
    memory = scenes.open_here(tmp_path / "home", tmp_path / "backends")
    with pytest.raises(WorkspaceError, match=said) as caught:
        memory.stats()
    assert "\n" not in caught.value.message
    memory.close()
    knowledge(tmp_path)
    memory = scenes.open_here(tmp_path / "home", tmp_path / "backends")
    assert memory.stats().experiences == 5
    memory.close()


def test_a_new_backend_starts_from_its_folder_alone(tmp_path, scenes):
    """Nothing anywhere else names ``toy``: knowledge, exemplar and API items come up, for it and for nobody else."""
    memory = scenes.open_here(tmp_path / "home", knowledge(tmp_path))
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    what = scenes.idea(task)
    context = memory.recall(what, task, "toy")
    assert {r.experience.backend for r in context.items} == {"toy"}
    assert any("load_wide" in r.experience.code for r in context.items)
    assert memory.recall(what, task, "other").items == ()
    scenes.work(memory, task, what, scenes.answer("toy.barrier()", backend="toy"), scenes.verdict(task, 2.0), context)
    memory.close()
