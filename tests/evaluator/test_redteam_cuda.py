"""The red-team corpus in CUDA C++, as far as a machine without a GPU can tell: it builds, binds and is screened as it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from forked import run_forked

from kernelwright.evaluator.build import build_native
from kernelwright.evaluator.screen import screen
from kernelwright.evaluator.specimens import CHEAT, FAMILIES, HONEST, Specimen, load_corpus
from kernelwright.evaluator.toolchain_cuda import missing_cuda_compiler
from kernelwright.tasks.records import Kernel

nvcc = pytest.mark.skipif(bool(missing_cuda_compiler()), reason="nvcc is not installed")
CORPUS = load_corpus(Path(__file__).parent.parent / "redteam", "cuda")
REJECTED = {"launcher_stream_replaced": {"patching"}}
"""All that the screen's text rules decide: the rest is for the other layers."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cubins")


EIGHTH = [pytest.param(s, marks=[pytest.mark.slow] if n % 8 else []) for n, s in enumerate(CORPUS)]
"""A build takes one to three seconds: of the whole corpus they are run by name."""


@nvcc
@pytest.mark.parametrize("specimen", EIGHTH, ids=lambda s: s.name)
def test_each_kernel_builds_without_spills(specimen: Specimen, cache: Path) -> None:
    built = build_native(specimen.source, cache)
    assert built.ok, built.log
    figures = [kernel for report in built.evidence["native"] for kernel in report["kernels"].values()]
    assert figures
    assert all(kernel["registers"] > 0 and kernel["spill_store_bytes"] == 0 for kernel in figures)


@pytest.mark.parametrize("specimen", CORPUS, ids=lambda s: s.name)
def test_the_screen_rejects_only_what_it_is_to_reject(specimen: Specimen) -> None:
    rules = {f.rule for f in screen(Kernel(specimen.source, "cuda")) if f.tier == "reject"}
    assert rules == REJECTED.get(specimen.name, set())


def test_the_corpus_has_every_family_and_each_honest_kernel_stands_close_to_a_cheat() -> None:
    cheats = {s.name: s for s in CORPUS if s.kind == CHEAT}
    honest = [s for s in CORPUS if s.kind == HONEST]
    assert len(cheats) >= 14
    assert len(honest) >= 8
    assert {s.family for s in cheats.values()} == set(FAMILIES)
    assert {s.family for s in honest} <= set(cheats)
    assert {s.device for s in CORPUS} == {"cuda"}


@nvcc
def test_cheats_on_the_harness_find_what_they_look_for_when_they_are_loaded(cache: Path) -> None:
    """A cheat that fails by its own mistake would prove nothing."""
    specimens = {s.name: s for s in CORPUS if s.family == "harness"}
    built = {name: build_native(s.source, cache) for name, s in specimens.items()}
    libraries = {key: path for b in built.values() for key, path in b.libraries.items()}
    looked = {
        "count_forged": "assert module['COUNT'] is native._count",
        "inline_launch_replaced": "assert module['KIT'].launch is module['one_row'] is not module['LAUNCH']",
        "driver_borrowed": "native_cuda._driver = lambda: 7\nassert module['launchers_driver']() == 7",
        "launcher_class_patched": "assert native_cuda.CudaKernel.__getitem__ is module['both']",
        "launcher_stream_replaced": "assert torch.cuda.current_stream is module['side_stream']",
    }
    assert set(looked) == set(specimens)
    imports = (
        "import torch\nfrom kernelwright.evaluator import native, native_cuda, native_inline\n"
        "native_inline.install()"
    )
    snippets = {
        name: f"module = {{}}\nexec({specimens[name].source!r}, module)\n{check}\nfound = 'as it says'"
        for name, check in looked.items()
    }
    found = run_forked("found = ''", snippets, imports, {"KERNELWRIGHT_LIBRARIES": json.dumps(libraries)})
    assert found == dict.fromkeys(looked, "as it says")
