"""Progress on stderr: a live table on a terminal, one line an attempt elsewhere; and what the run has spent."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING

from kernelwright.agent.cli.figures import spent_in_words
from kernelwright.agent.cli.interrupt import Interrupt
from kernelwright.agent.policies.policy import replaces
from kernelwright.tasks.records import Attempt, Idea, Task

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

    from kernelwright.agent.llm.ledger import Ledger
    from kernelwright.memory.records import TaskOutcome


@dataclass
class _Row:
    """What is known of one task while it is worked on."""

    name: str
    budget: int
    done: int = 0
    doing: str = ""
    best: Attempt | None = None
    ended: bool = False


class Progress:
    """Looks on for a person; stops the loop when Ctrl-C was pressed."""

    def __init__(self, interrupt: Interrupt, stream: IO[str]) -> None:
        self._interrupt = interrupt
        self._stream = stream
        self._rows: list[_Row] = []
        self._live: Live | None = None
        self._ledger: Ledger | None = None

    def __enter__(self) -> Progress:
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(get_renderable=self._table, console=Console(file=self._stream), refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def stopping(self) -> bool:
        return self._interrupt.asked

    def spending(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def task(self, task: Task, budget: int) -> None:
        if self._rows and self._rows[-1].name == task.name and not self._rows[-1].ended:
            self._rows[-1].budget = budget
        else:
            self._rows.append(_Row(task.name, budget))

    def doing(self, idea: Idea | None, what: str) -> None:
        row = self._rows[-1]
        row.doing = what if idea is None else f"{what} {idea.number} ({idea.stage.value})"

    def done(self, attempt: Attempt) -> None:
        row = self._rows[-1]
        row.done += 1
        if replaces(attempt, row.best):
            row.best = attempt
        if self._live is None:
            spent = f" ({said})" if (said := self._spent()) else ""
            self._stream.write(f"{row.name} {attempt.idea.number}/{row.budget}: {told(attempt)}{spent}\n")
            self._stream.flush()

    def outcome(self, outcome: TaskOutcome) -> None:
        self._rows[-1].doing = outcome.status
        self._rows[-1].ended = True
        if self._live is None:
            self._stream.write(f"{outcome.task}: {outcome.status}: {outcome.reason}\n")
            self._stream.flush()

    def _spent(self) -> str:
        """What the run has spent so far, in words; empty while no model was called."""
        spent = self._ledger.spent() if self._ledger else None
        return spent_in_words(spent) if spent and (spent.calls or spent.cost_usd != 0) else ""

    def _table(self) -> Group:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_header=False)
        for row in self._rows:
            best = told(row.best) if row.best else ""
            table.add_row(row.name, f"{row.done}/{row.budget}", row.doing, best)
        flying = self._ledger.flying() if self._ledger else ()
        calls = [f"  {f.role} {f.idea}: {f.model}, {f.tokens:,} tokens heard, {f.seconds:.0f} s" for f in flying]
        spent = [f"spent: {said}"] if (said := self._spent()) else []
        return Group(table, *(Text(line, no_wrap=True, overflow="ellipsis") for line in (*spent, *calls)))


def told(attempt: Attempt) -> str:
    """An attempt in a few words."""
    if attempt.verdict is None:
        return f"unreadable: {attempt.answer.problem}"
    if not attempt.feasible:
        return f"{attempt.status}: {attempt.verdict.reason}"
    speedup = attempt.speedup
    return f"passed, {speedup:.2f}x eager" if speedup is not None else f"passed ({attempt.verdict.assurance.value})"
