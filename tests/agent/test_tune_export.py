"""Packages of a tuned model's kernels: built, installed and loaded by processes that know no Kernelwright."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import json
import site
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import script
from tuned import FAST, LOOP, chain, one_thread, request

from kernelwright.agent.cli.app import run
from kernelwright.agent.tune.export import export
from kernelwright.agent.tune.request import carry_out
from kernelwright.agent.tune.target import target
from kernelwright.agent.watch import Silence
from kernelwright.tasks.errors import InputError

USE = """
import sys
import torch
from torch import nn
{source}
import {name} as package
assert package.__file__.startswith({where!r}), package.__file__
torch.manual_seed(0)
model, x = Chain().eval(), torch.randn(512, 8)
with torch.no_grad():
    before = model(x)
    assert package.apply(model) is model
    patched = model._kernelwright
    calls = []
    patched.regimes[0][1].slots[0].register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(model(x), before)
    assert calls == [1]
    assert len(patched.used()) == 1
    model(x[:3])  # outside the envelope
    assert calls == [1]
assert not [n for n in sys.modules if n.partition('.')[0] == 'kernelwright']
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tune left of a model with one kernel."""
    made = tmp_path_factory.mktemp("export")
    script(made / "home", FAST)
    model, x = chain()
    with one_thread():
        result = carry_out(request(made), (), lambda where: target("chain", model, x, where), Silence(), LOOP)
    assert len(result.report["kernels"]) == 1, result.report["dropped"]
    result.undo()
    return made / "out"


def use(name: str, where: Path) -> str:
    text = (Path(__file__).parents[1] / "tuned.py").read_text()
    source = text[text.index("class Chain") : text.index("class Normed")]
    return USE.format(source=source, name=name, where=str(where))


def command(*words: str, cwd: Path) -> None:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# Asking the import system for pip would switch off setuptools' hold on distutils, which torch.compile needs afterwards.
@pytest.mark.skipif(not any(importlib.metadata.distributions(name="pip")), reason="pip is not installed")
def test_a_wheel_is_built_installed_and_applied(folder: Path, tmp_path: Path) -> None:
    assert run(["export", str(folder), "--out", str(tmp_path / "package"), "--name", "my_kernels"]) == 0
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    command(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", "wheels", "./package", cwd=tmp_path)
    (wheel,) = (tmp_path / "wheels").glob("my_kernels-*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    command(*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel), cwd=tmp_path)
    (packages / "torch_is_here.pth").write_text("\n".join(site.getsitepackages()))
    command(str(python), "-I", "-c", use("my_kernels", packages), cwd=tmp_path)


def test_a_hub_repository_has_the_layout_that_the_hub_wants(folder: Path, tmp_path: Path) -> None:
    made = export(folder, tmp_path / "repository", "hf", "my_kernels", license="mit")
    variant = made / "build" / "torch-cpu"
    metadata = json.loads((variant / "metadata.json").read_text())
    assert metadata["name"] == "my-kernels"
    assert metadata["license"] == "mit"
    assert metadata["backend"] == {"type": "cpu"}
    assert metadata["id"].isidentifier()
    files = {p.relative_to(variant).as_posix() for p in variant.rglob("*") if p.is_file()}
    assert set(metadata["digest"]["files"]) == files - {"metadata.json"}
    for name, digest in metadata["digest"]["files"].items():
        assert base64.b64decode(digest) == hashlib.sha256((variant / name).read_bytes()).digest()
    build = (made / "build.toml").read_text()
    assert 'name = "my-kernels"' in build
    assert "[torch-noarch]" in build
    assert (made / "torch-ext" / "my_kernels" / "__init__.py").is_file()


@pytest.mark.parametrize("entry", ["__init__.py", "my_kernels/__init__.py"])
def test_a_hub_repository_is_loaded_from_its_path(folder: Path, tmp_path: Path, entry: str) -> None:
    """As huggingface/kernels loads it: under the name of its id, from outside of the path, by either entry."""
    variant = export(folder, tmp_path / "repository", "hf", "my_kernels") / "build" / "torch-cpu"
    name = json.loads((variant / "metadata.json").read_text())["id"]
    loading = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location({name if '/' not in entry else 'older'!r}, {str(variant / entry)!r})\n"
        "package = sys.modules[spec.name] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(package)\n"
    )
    text = use("package", variant).replace("import package as package\n", loading)
    checked = f"assert [n for n in dir(torch.ops.{name}) if n.startswith('g')]\n"  # operators under the kernel's own id
    command(sys.executable, "-c", text + checked, cwd=tmp_path)


def test_the_hub_library_loads_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = pytest.importorskip("kernels", reason="huggingface/kernels is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    package: Any = kernels.get_local_kernel(export(folder, tmp_path / "repository", "hf", "my_kernels"))
    model, x = chain()
    with torch.no_grad():
        before = model.eval()(x)
        package.apply(model)
        assert model._kernelwright.used()
        torch.testing.assert_close(model(x), before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layout": "egg"}, "--layout is 'egg'"),
        ({"name": "not-a-name"}, "--name is 'not-a-name'"),
        ({"name": "class"}, "--name is 'class'"),
        ({"name": "torch"}, "--name is 'torch'"),
        ({"name": "MyKernels", "layout": "hf"}, "--name is 'MyKernels'"),
    ],
)
def test_what_cannot_be_exported_is_refused(folder: Path, tmp_path: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        export(folder, tmp_path / "package", **{"layout": "wheel", "name": "mine", **options})
    assert not (tmp_path / "package").exists()


def test_folders_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    for out, said in ((tmp_path / "full", "is not empty"), (folder / "package", "inside")):
        with pytest.raises(InputError, match=said):
            export(folder, out, "wheel", "mine")
    with pytest.raises(InputError, match=r"holds no manifest\.json"):
        export(tmp_path / "full", tmp_path / "package", "wheel", "mine")
    (tmp_path / "full" / "manifest.json").write_text('{"kernelwright": 1, "kernels": {}}')
    with pytest.raises(InputError, match="left as it was"):
        export(tmp_path / "full", tmp_path / "package", "wheel", "mine")


def test_a_kernel_that_was_changed_is_not_applied(folder: Path, tmp_path: Path) -> None:
    made = export(folder, tmp_path / "package", "wheel", "mine")
    (kernel,) = (made / "src" / "mine" / "kernels").glob("[!_]*.py")
    kernel.write_text(kernel.read_text().replace("0.1f", "0.2f"))
    code = "import mine, torch; mine.apply(torch.nn.ReLU())"
    done = subprocess.run([sys.executable, "-c", code], cwd=made / "src", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not the file that was verified" in done.stderr
