"""What a vendor's own compiler says of a kernel that passed in our model of its device: what it refuses counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kernelwright.evaluator import toolchain_cann
from kernelwright.evaluator.build import native_sources
from kernelwright.evaluator.toolchain import BuildError
from kernelwright.evaluator.trial import Rejected
from kernelwright.tasks.errors import HarnessError
from kernelwright.tasks.records import Kernel, Stage, Status

if TYPE_CHECKING:
    from kernelwright.evaluator.judge import Judge


def compile_too(judge: Judge, kernel: Kernel, evidence: dict[str, Any]) -> None:
    """Where CANN is, give a kernel's Ascend C to its compiler; what it says goes to ``evidence["compiled"]["cann"]``.

    Raises:
        Rejected: the compiler refuses it.
    """
    if judge.backend.name != "ascend":
        return
    sources = [native.source for native in native_sources(kernel.source) if native.language == "ascend"]
    try:
        found = toolchain_cann.evidence(sources, judge.cache / "native") if sources else {}
    except BuildError as error:
        raise Rejected(Status.BUILD_FAILED, Stage.BUILD, str(error), {"compiler": error.log[:8000]}) from None
    if found:
        evidence["compiled"] = {**evidence.get("compiled", {}), "cann": found}


def launchers(judge: Judge, kernel: Kernel, evidence: dict[str, Any]) -> Mapping[str, str]:
    """What a kernel's launches on the judge's chip need beside what its backend built; the vendor's compiler makes it.

    Raises:
        Rejected: the compiler refuses the kernel.
        HarnessError: it does not do its work.
    """
    chip = judge.on_chip.chip
    if not chip.stands_in:
        compile_too(judge, kernel, evidence)
        if problem := evidence.get("compiled", {}).get("cann", {}).get("problem"):
            message = f"the vendor's compiler, which makes what runs on the {chip.title}: {problem}"
            raise HarnessError(message, f"see {chip.docs}")
    try:
        return judge.on_chip.launchers(kernel, judge.cache / "native")
    except BuildError as error:
        raise Rejected(Status.BUILD_FAILED, Stage.BUILD, str(error), {"compiler": error.log[:8000]}) from None
