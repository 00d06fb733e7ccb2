"""What all tests share: a workspace of their own, no provider's key, few threads, and markers that skip out loud."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator

import pytest

# Before anything imports torch: two threads are enough for small tensors, and several test runs share a machine.
os.environ.setdefault("OMP_NUM_THREADS", "2")

_PRIVATE = re.compile(r"_(API_KEY|KEY|TOKEN|SECRET|PASSWORD)$|^KERNELWRIGHT_")
_OPT_IN = {
    "slow": "takes more than 30 seconds: run it with -m slow",
    "requires_postgres": "starts PostgreSQL and a Chroma server: run it with -m requires_postgres",
    "requires_ray": "starts a Ray cluster: run it with -m requires_ray",
    "requires_jax": "interprets and compiles for a TPU: run it with -m requires_jax",
    "requires_ttlang": "needs tt-lang-sim, which simulates Tensix cores: run it with -m requires_ttlang",
    "requires_ttsem": "needs ttsem, which executes Triton's IR: run it with -m requires_ttsem",
    "requires_triton_ascend": "compiles by the vendor's compiler: run it with -m requires_triton_ascend",
    "requires_server": "starts a model server: run it with -m requires_server",
    "requires_browser": "starts a browser: run it with -m requires_browser",
}


@pytest.fixture(scope="session", autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No key and no setting of the person who runs the tests reaches them; the workspace and the cache are temporary."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if _PRIVATE.search(n)]:
            patch.delenv(name)
        patch.setenv("KERNELWRIGHT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("user-cache")))
        yield


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and what is run by name only, each with its reason."""
    chosen = str(config.getoption("markexpr"))
    reasons = {mark: reason for mark, reason in _OPT_IN.items() if mark not in chosen}
    if any(item.get_closest_marker("requires_cuda") for item in items) and not _has_cuda():
        reasons["requires_cuda"] = "no CUDA device"
    if importlib.util.find_spec("transformers") is None:
        reasons["requires_transformers"] = "transformers is not installed"
    for item in items:
        for mark, reason in reasons.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
