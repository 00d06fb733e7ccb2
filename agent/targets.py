"""One run over several backends: which ones, and what a run's tasks are called then.

A backend of a run over several is a *target*. Each task stands once a target, as ``TASK@TARGET``, with a budget, an incumbent
and an outcome of its own; what one target's attempts teach, memory offers to the next one's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kernelwright.evaluator.backends.registry import BACKENDS, judged_here
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Task


def split(backend: str) -> tuple[str, ...]:
    """The backends that ``--backend`` names.

    Raises:
        InputError: one is named twice, or a comma has nothing beside it.
    """
    names = tuple(name.strip() for name in backend.split(","))
    if "" in names or len(set(names)) < len(names):
        raise InputError(f"--backend is {backend!r}", "give backends separated by commas, each once: cpp,triton")
    return names


def spread(tasks: Iterable[Task], targets: Sequence[str]) -> tuple[Task, ...]:
    """The tasks on each target, all of one target together: only one judge is open at a time.

    With one target alone they stay as they are.
    """
    own = tuple(tasks)
    return own if len(targets) == 1 else tuple(task.on(target) for target in targets for task in own)


def of_recording(tasks: Iterable[Task], targets: Sequence[str], backend: str | None) -> tuple[Task, ...]:
    """The tasks of a run that repeats a recording on ``backend``, one or several of which ``targets`` may name fewer.

    Raises:
        InputError: the recording, or this run, is on several backends, and one that is named was not recorded.
    """
    recorded = split(backend or targets[0])
    foreign = [target for target in targets if target not in recorded]
    if foreign and max(len(recorded), len(targets)) > 1:
        said = f"the run was recorded on {', '.join(recorded)}, and {', '.join(foreign)} is asked for"
        raise InputError(said, "leave --backend out, or name what was recorded")
    own = tuple(tasks)
    on_targets = own if any(task.target for task in own) or len(recorded) == 1 else spread(own, recorded)
    return tuple(task for task in on_targets if task.target in ("", *targets))


def check(targets: Sequence[str], device: str | None) -> None:
    """Refuse a list of which one backend cannot be judged here, before anything is spent on the others.

    Raises:
        InputError: which one, why, and what to do; UnknownName: there is no such backend.
    """
    for name in targets:
        if problem := judged_here(name, device):
            others = ",".join(other for other in targets if other != name)
            raise InputError(f"backend {name!r} cannot be judged here: {problem}", f"or leave it out: --backend {others}")


def portable(device: str | None, model: str) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Every built-in backend that can be judged here, on hardware or in simulation, and why each other one is left out.

    Raises:
        InputError: there is none.
    """
    from kernelwright.agent.writers.playbook.writer import EMITTERS

    left_out: dict[str, str] = {}
    for name in BACKENDS:
        why = judged_here(name, device, numerics=True)
        if not why and model == "playbook" and name not in EMITTERS:
            why = f"the playbook has no templates for it, only for {' and '.join(EMITTERS)}; give a --model"
        if why:
            left_out[name] = why
    found = tuple(name for name in BACKENDS if name not in left_out)
    if not found:
        said = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise InputError(f"--portable finds no backend that can be judged here: {said}", "see `kernelwright doctor`")
    return found, left_out
