"""What was looked at in an evidence file, and whether it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HOLDS, FAILS, NOTED, APART = "holds", "fails", "noted", "not comparable"
"""``noted`` decides nothing; ``not comparable``: nothing can be said here, and nothing is held against the file."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    result: str
    recorded: str = ""
    now: str = ""
    detail: str = ""


def holds(findings: Sequence[Finding]) -> bool:
    """Whether nothing speaks against the file."""
    return all(finding.result != FAILS for finding in findings)


def same(check: str, recorded: object, now: object, detail: str = "") -> Finding:
    """A finding on two values that must be equal."""
    return Finding(check, HOLDS if recorded == now else FAILS, str(recorded), str(now), detail)


def first_of(check: str, problems: Sequence[str], good: str) -> Finding:
    """A finding that holds where there are no problems, else says the first, and how many more there are."""
    if not problems:
        return Finding(check, HOLDS, detail=good)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Finding(check, FAILS, detail=problems[0] + more)
