"""What ``kernelwright export`` makes of a tuned folder: a source tree for pip, or a repository for Hugging Face kernels."""

from __future__ import annotations

import base64
import hashlib
import json
import keyword
import re
import shutil
from pathlib import Path
from typing import Any

from kernelwright.agent.files import write_text
from kernelwright.tasks.errors import InputError

LAYOUTS = ("wheel", "hf")
_HUB_NAME = re.compile(r"[a-z][a-z0-9_]*[a-z0-9]")
_TAKEN = ("torch", "aten", "prim", "prims", "triton", "kernels", "kernelwright")

_PYPROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "0.1.0"
description = "Kernels found and verified by kernelwright tune"
requires-python = ">=3.10"
dependencies = ["torch"]

[tool.setuptools.packages.find]
where = ["src"]

[tool.setuptools.package-data]
"*" = ["*.json", "*.pt", "*.md"]
"""

_BUILD = """[general]
name = "{name}"
version = 1
edition = 5
license = "{license}"
backends = ["{kind}"]

[torch-noarch]
pyext = ["py", "json", "pt", "md"]
"""

_SAME = '''"""The same package by its older name, for versions of `kernels` that look for it here."""

import importlib.util
import sys
from pathlib import Path

_name = "{id}"
if _name not in sys.modules:
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).parent.parent / "__init__.py")
    sys.modules[_name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_name])
MANIFEST, apply = sys.modules[_name].MANIFEST, sys.modules[_name].apply
__all__ = ["MANIFEST", "apply"]
'''


def export(folder: Path, out: Path, layout: str, name: str, license: str = "other") -> Path:
    """Make a package of ``folder`` in ``out``, which is returned.

    ``wheel``: ``pyproject.toml`` and ``src/<name>``. ``hf``: what the Hub's kernels are (huggingface/kernels, docs/source,
    "Kernel requirements" and "Write kernels", edition 5): a Python-only variant ``build/torch-<device>`` with
    ``metadata.json``, and ``build.toml`` with ``torch-ext/<name>`` to build it again from.

    Args:
        name: the module's name; with ``hf`` in lower case. ``license``: of the kernels, an identifier of the Hub's list.

    Raises:
        InputError: ``folder`` is no result of tune or has no kernels, ``out`` is not empty, or ``name`` cannot be used.
    """
    manifest = _manifest(folder)
    if layout not in LAYOUTS:
        raise InputError(f"--layout is {layout!r}", f"give one of {', '.join(LAYOUTS)}")
    if not name.isidentifier() or keyword.iskeyword(name) or name in _TAKEN:
        raise InputError(
            f"--name is {name!r}; a Python identifier that is not taken is expected", "give one such as my_kernels"
        )
    if layout == "hf" and not _HUB_NAME.fullmatch(name):
        raise InputError(f"--name is {name!r}; lower-case letters, digits and _ are expected", "give one such as my_kernels")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out is {str(out)!r}, which is not empty; a new folder is expected", "give another --out")
    if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
        raise InputError(f"--out is {str(out)!r}, inside {folder}; a folder outside of it is expected", "give another --out")
    if layout == "wheel":
        _copy(folder, out / "src" / name)
        write_text(out / "pyproject.toml", _PYPROJECT.format(name=name.replace("_", "-")))
    else:
        _hub(folder, out, name, license, manifest)
    write_text(out / "README.md", (folder / "report.md").read_text(encoding="utf-8"))
    return out


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} holds no manifest.json that can be read", "give the folder of `kernelwright tune`"
        ) from error
    if not found.get("kernels"):
        raise InputError(f"{folder} holds no kernels: the model was left as it was", "tune again, with a larger budget")
    return found


def _copy(folder: Path, to: Path) -> None:
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("__pycache__"))


def _hub(folder: Path, out: Path, name: str, license: str, manifest: dict[str, Any]) -> None:
    kind = "cpu" if manifest["device"] == "cpu" else "cuda"
    hub_name, variant = name.replace("_", "-"), out / "build" / f"torch-{kind}"
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:8]
    identifier = f"_{name}_{kind}_{digest}"
    _copy(folder, out / "torch-ext" / name)
    _copy(folder, variant)
    write_text(variant / name / "__init__.py", _SAME.format(id=identifier))
    files = {
        path.relative_to(variant).as_posix(): base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
        for path in sorted(variant.rglob("*"))
        if path.is_file()
    }
    metadata = {
        "name": hub_name,
        "id": identifier,
        "version": 1,
        "license": license,
        "python-depends": [],
        "backend": {"type": kind},
        "digest": {"algorithm": "sha256", "files": files},
    }
    write_text(variant / "metadata.json", json.dumps(metadata, indent=1) + "\n")
    write_text(out / "build.toml", _BUILD.format(name=hub_name, license=license, kind=kind))
