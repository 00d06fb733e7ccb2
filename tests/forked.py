"""Run pieces of Python in processes of their own that share one import of torch: each snippet in a forked child.

For what changes its process for good (replaced ATen kernels, audit hooks, signals). A snippet leaves its findings in
``found``, which must be JSON; what it raises comes back as ``{"raised": "Type: message"}``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SECONDS = 120.0


def run_forked(
    setup: str, snippets: Mapping[str, str], imports: str = "import torch", environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Snippet name -> what it left in ``found``.

    ``imports`` runs once, before the forks; ``setup`` before each snippet, in its child. All share one namespace.
    """
    job = json.dumps({"setup": setup, "snippets": dict(snippets), "imports": imports})
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__],
            input=job,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
    if done.returncode:
        raise AssertionError(f"the snippets' process failed: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def _main() -> None:
    job = json.loads(sys.stdin.read())
    namespace: dict[str, Any] = {}
    exec(job["imports"], namespace)
    found = {name: _child(job["setup"], snippet, namespace) for name, snippet in job["snippets"].items()}
    sys.stdout.write(json.dumps(found))


def _child(setup: str, snippet: str, namespace: dict[str, Any]) -> Any:
    dumps, write = json.dumps, os.write  # a snippet may replace them
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        try:
            text = dumps(_run(setup, snippet, namespace))
        except BaseException:  # noqa: BLE001 - process boundary: the child must end here
            text = dumps({"raised": traceback.format_exc()})
        write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else {"raised": "it wrote nothing"}


def _run(setup: str, snippet: str, namespace: dict[str, Any]) -> Any:
    exec(setup, namespace)
    path = str(Path.cwd() / "kernel_under_test.py")
    Path(path).write_text(snippet)
    code = compile(snippet, path, "exec")
    try:
        exec(code, namespace)
    except BaseException as error:  # noqa: BLE001 - process boundary: it is what is looked at
        namespace["raised"] = f"{type(error).__name__}: {error}"
    if "report" in namespace:
        return namespace["report"]()
    return namespace["found"] if "found" in namespace else {"raised": namespace.get("raised", "nothing found")}


if __name__ == "__main__":
    _main()
