"""The playbook: a writer without a model.

``export.py`` exports the reference's ATen graph at several shapes in a child process; ``graph.py`` makes them one graph over
symbolic sizes; ``lower.py`` with ``ops_*.py`` turn operators into definitions (``defs.py``) of expressions (``expr.py``);
``schedule.py``, ``merge.py`` and ``simplify.py`` fuse those into the few loops of an :class:`~.ir.Program`; ``emit_cpp.py`` and
``emit_triton.py`` write the kernel file at a point of the program's parameter space (``space.py``), and ``writer.py`` is the
seam to the loop. In Triton nests, products, scatters,
counts, orders and spectra each have a writer (``triton_*.py``); orders and spectra have none in C++.
"""

from typing import Any

__all__ = ["Playbook"]


def __getattr__(name: str) -> Any:
    """``Playbook``, imported when asked for: the tracing child needs nothing of the writer."""
    if name == "Playbook":
        from kernelwright.agent.writers.playbook.writer import Playbook

        return Playbook
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
