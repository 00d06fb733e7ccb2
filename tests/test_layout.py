"""The house itself: links, names, sizes, and a command that starts from anywhere."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kernelwright

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("agent", "evaluator", "memory", "prompts", "tasks")
MARKDOWN_LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)(?:#[^)]*)?\)")


def sources(*folders: str) -> list[Path]:
    return [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py")) if "exemplars" not in p.parts]


@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_is_a_relative_link_to_its_top_level_folder(layer: str) -> None:
    link = ROOT / "src" / "kernelwright" / layer
    assert link.is_symlink()
    assert link.readlink() == Path("../..") / layer
    assert (ROOT / layer).is_dir()


@pytest.mark.parametrize("layer", ["agent", "evaluator", "memory", "tasks"])
def test_layers_are_imported_under_the_packages_name(layer: str) -> None:
    module = importlib.import_module(f"kernelwright.{layer}")
    assert Path(str(module.__file__)).resolve() == ROOT / layer / "__init__.py"


def test_tests_are_no_package() -> None:
    # With --import-mode=importlib an __init__.py would make "tests" an importable name, and hide a user's own.
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_test_files_have_names_of_their_own() -> None:
    names = [p.name for p in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_files_stay_small() -> None:
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in sources("tests", *LAYERS)}
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > 480} == {}


def test_no_module_is_called_like_one_of_the_standard_library() -> None:
    # Run as a script, or with its folder on the path, such a file would shadow the library's.
    names = {p.stem for p in sources(*LAYERS)}
    assert names & (sys.stdlib_module_names - {"__main__"}) == set()


def test_version_is_the_projects() -> None:
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None
    assert kernelwright.__version__ == declared.group(1)


def test_command_starts_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()  # a user's own package of that name
    (tmp_path / "agent" / "__init__.py").write_text("raise RuntimeError('the wrong agent')\n")
    command = [sys.executable, "-m", "kernelwright", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "optimize" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["agent"]  # asking for help writes nothing


def test_links_between_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    broken = [
        f"{page.relative_to(ROOT)} -> {link}"
        for page in pages
        for link in MARKDOWN_LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("script", ["scripts/quickstart", "scripts/test", "scripts/check", ".ci/run"])
def test_scripts_run_as_they_are(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True, timeout=10)
