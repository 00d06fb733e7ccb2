"""Where CANN is, and what its programs are run with. Finds, and runs nothing. Written from its documentation, not run.

Layouts: the vendor's `asc-devkit` (`cmake/asc/asc_modules/CMakeDetermineASCCompiler.cmake`, `cmake/asc/legacy_modules/
host_config.cmake`), and the installation guides of CANN 8 and 9 for `set_env.sh` and `ascend_toolkit_install.info`.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

HOMES = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")
"""What `set_env.sh` sets; the first that is set counts."""
REMEDY = "source the set_env.sh of a whole CANN toolkit"
MACHINE = f"{platform.machine()}-linux"
_FOLDERS = (
    "bin", "compiler/ccec_compiler/bin", "tools/ccec_compiler/bin", f"{MACHINE}/bin", f"{MACHINE}/ccec_compiler/bin",
    "tools/bisheng_compiler/bin", "tools/bishengir/bin",
)  # fmt: skip
"""Of programs, below the home, as `set_env.sh` has them in PATH and then by version."""
_VERSION = re.compile(r"(?im)^\s*version\s*=\s*(\S+)")
_PASSED_ON = "BISHENG_INSTALL_PATH"
"""The vendor's own variable: the folder in which its programs look for each other."""


def home() -> Path | None:
    """The folder of the toolkit, by :data:`HOMES`, else by `bisheng` or `ccec` on PATH; None where there is none.

    What a variable names need not be there.
    """
    for name in HOMES:
        if given := os.environ.get(name):
            return Path(given).expanduser().absolute()
    for name in ("bisheng", "ccec"):
        if found := shutil.which(name):
            return _above(Path(found).resolve().parent)  # what lies elsewhere is a link to it
    return None


def _above(folder: Path) -> Path:
    for known in sorted(_FOLDERS, key=len, reverse=True):
        parts = Path(known).parts
        if folder.parts[-len(parts) :] == parts:
            return Path(*folder.parts[: -len(parts)])
    return folder


def program(home: Path, *names: str) -> str:
    """Path of the first of these programs that is below ``home``, else on PATH; empty where there is none."""
    for name in names:
        for folder in _FOLDERS:
            if os.access(path := home / folder / name, os.X_OK):
                return str(path)
    return next(filter(None, map(shutil.which, names)), "")


def version(home: Path) -> str:
    """The toolkit's own version, as `8.5.0`; empty where it does not say."""
    for file in sorted(home.glob("*-linux/ascend_toolkit_install.info")):
        try:
            found = _VERSION.search(file.read_text(errors="replace"))
        except OSError:
            continue
        if found:
            return found[1]
    return ""


def variables(home: Path, path: str) -> dict[str, str]:
    """The environment of the program at ``path``: what it finds its headers, libraries and fellows by, and nothing else."""
    folders = [str(Path(path).parent), *(str(home / folder) for folder in _FOLDERS if (home / folder).is_dir())]
    found = {
        "PATH": os.pathsep.join([*dict.fromkeys(folders), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": str(home / "lib64"),
        "ASCEND_HOME_PATH": str(home),
    }
    return found | {name: os.environ[name] for name in (_PASSED_ON,) if name in os.environ}
