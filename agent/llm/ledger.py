"""The ledger of a run: every call to a model goes through it, is paid for out of the run's limits, and is written down.

The limits are hard for all that we can know: a call starts only if what was spent, what the calls in flight may come to and
what the call itself may come to fit in together. Not protected against: a provider that bills more than the tokens it
reports or than it was asked for, a price that is not the provider's, and a call that was in flight when the process was
killed, which nobody wrote down.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from kernelwright.agent.llm.client import Reply
from kernelwright.agent.llm.options import Limits
from kernelwright.agent.money import usd
from kernelwright.memory.records import Call, Spent
from kernelwright.memory.store import Store
from kernelwright.tasks.errors import BudgetSpent, InputError
from kernelwright.tasks.records import Idea

if TYPE_CHECKING:
    from kernelwright.agent.llm.client import Bound, Client

COMMIT_EVERY = 1.0
"""Seconds of wall time that are lost at most where the process is killed between two steps."""
RECHECK = 1.0
"""Seconds between two looks at the clock of a call that waits for room."""


def unheard(tokens: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Flying:
    """A call in flight."""

    idea: str
    role: str
    model: str
    tokens: int
    """Of the answer, heard so far."""
    seconds: float


@dataclass
class _Flight:
    """A call in flight and what is reserved for it."""

    idea: str
    role: str
    model: str
    bound: Bound
    """Of one try."""
    began: float
    tokens: int = 0
    failed: Reply | None = None
    """What earlier tries of this call cost."""

    @property
    def most(self) -> tuple[int, float]:
        """Tokens and US dollars that the call may come to."""
        failed = (self.failed.tokens_in + self.failed.tokens_out, self.failed.cost_usd or 0.0) if self.failed else (0, 0.0)
        return self.bound.tokens + failed[0], (self.bound.usd or 0.0) + failed[1]


@dataclass
class _Clock:
    """The wall time of the run: what earlier processes committed, and this one's."""

    before: float
    began: float
    committed: float = field(init=False)

    def __post_init__(self) -> None:
        self.committed = self.began


class Ledger:
    """What one run spends. Writers call it from several threads at once."""

    def __init__(self, store: Store, run: str, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._store, self._run, self._now = store, run, clock
        self._changed = threading.Condition()
        self._flights: list[_Flight] = []
        self._time = _Clock(store.seconds(run), clock())
        self._spent = store.spent(run)
        self._ended: str | None = None

    def check(self, client: Client) -> None:
        """As :func:`check_price`, by this run's limits."""
        check_price(client, self.limits)

    def ask(self, client: Client, idea: Idea, role: str, prompt: str, heard: Callable[[int], None] = unheard) -> Reply:
        """The model's answer; the one already paid for where the same was asked for the same idea before.

        Waits while the calls in flight may still use up what this one needs.

        Raises:
            BudgetSpent: the call does not fit in what the run may spend, or its time is over.
            WriterError: the model cannot be asked at all; what its tries cost is in the ledger.
        """
        request = json.dumps(client.body(prompt, idea.seed), sort_keys=True)
        known = self._store.same_call(idea.id, role, client.model, request)
        if known is not None:
            return _reply(known)
        self.check(client)
        flight = self._reserve(_Flight(idea.id, role, client.model, client.bound(prompt), self._now()))
        call = Call("", idea.id, role, client.model, request, "", created=_now())

        def listen(tokens: int) -> None:
            flight.tokens = tokens
            heard(tokens)
            if (why := self._over()) is not None:  # an answer may go on for half an hour: what it cost is written down
                with self._changed:
                    if self._raised() and self._over() is None:
                        return
                raise BudgetSpent(why, "start a run with a larger budget")

        try:
            reply = client.ask(prompt, idea.seed, listen, lambda paid: self._once_more(flight, paid))
            self._write(idea.task, call, reply)
        except BaseException as error:
            paid = getattr(error, "paid", None)
            if isinstance(paid, Reply):
                self._write(idea.task, call, paid)
            raise
        finally:
            self._release(flight)
        return reply

    def spent(self) -> Spent:
        """What was spent so far, calls in flight not counted."""
        with self._changed:
            return self._spent

    def flying(self) -> tuple[Flying, ...]:
        """The calls in flight, oldest first."""
        now = self._now()
        with self._changed:
            return tuple(Flying(f.idea, f.role, f.model, f.tokens, now - f.began) for f in self._flights)

    def left(self, task: str | None = None) -> str | None:
        """Why nothing more may be asked, or not for ``task``, in one line; None while there is something left.

        Also keeps the run's time.
        """
        self._keep_time(COMMIT_EVERY)
        with self._changed:
            self._look()  # answers of writers that do not come through here count, too
            why = self._left(task)
            return self._left(task) if why is not None and self._raised() else why

    def end(self, reason: str) -> None:
        """Nothing more is to be asked in this run: a call that it needed did not fit."""
        with self._changed:
            self._ended = self._ended or reason

    def close(self) -> None:
        """Commit the run's time. May be repeated."""
        self._keep_time(0.0)

    # How it is done

    def _left(self, task: str | None) -> str | None:
        return self._ended or self._over() or self._short(0, 0.0, flying=False) or self._task_over(task)

    def _raised(self) -> bool:
        """Whether somebody has raised a limit meanwhile; it is kept from now on. Only under the lock."""
        asked = self._store.config(self._run).get("limits") or {}
        held = {name: getattr(self.limits, name) for name in ("usd", "tokens", "seconds", "task_usd")}
        higher = {name: asked[name] for name, had in held.items() if had is not None and (asked.get(name) or 0) > had}
        if higher:
            self.limits, self._ended = replace(self.limits, **higher), None
        return bool(higher)

    def _reserve(self, flight: _Flight) -> _Flight:
        tokens, dollars = flight.bound.tokens, flight.bound.usd or 0.0
        with self._changed:
            while True:
                why = self._over() or self._short(tokens, dollars, flying=False)
                if why is not None and self._raised():
                    continue
                if why is not None:
                    raise BudgetSpent(why, "start a run with a larger budget")
                if self._short(tokens, dollars, flying=True) is None:
                    self._flights.append(flight)
                    return flight
                self._changed.wait(RECHECK)
                self._raised()

    def _once_more(self, flight: _Flight, paid: Reply) -> bool:
        """Whether a further try of a call fits in, whose tries so far cost what ``paid`` says; if so it is reserved, too."""
        with self._changed:
            held, flight.failed = flight.failed, paid
            fits = self._over() is None and self._short(0, 0.0, flying=True) is None
            if not fits:
                flight.failed = held
            return fits

    def _release(self, flight: _Flight) -> None:
        with self._changed:
            self._flights.remove(flight)
            self._changed.notify_all()
        self._keep_time(COMMIT_EVERY)

    def _write(self, task: str, call: Call, reply: Reply) -> None:
        told = {name: getattr(reply, name) for name in _TOLD}
        self._store.record_call(self._run, task, Call(**{**call.__dict__, **told}))
        with self._changed:
            self._look()

    def _look(self) -> None:
        """Read what was spent. Only under the lock: a sum read by one thread must not be put in place of a later one's."""
        self._spent = self._store.spent(self._run)

    def _over(self) -> str | None:
        limit = self.limits.seconds
        if limit is None or self._seconds() < limit:
            return None
        return f"budget of {limit:,.0f} s of wall time spent"

    def _task_over(self, task: str | None) -> str | None:
        limit = self.limits.task_usd
        if task is None or limit is None:
            return None
        used = self._store.spent(self._run, task).cost_usd
        if used is None:
            return f"budget of {usd(limit)} a task cannot be kept: the price of an answer is unknown"
        return f"budget of {usd(limit)} a task spent: {usd(used)} so far" if used >= limit else None

    def _short(self, tokens: int, dollars: float, *, flying: bool) -> str | None:
        """Why a call of at most so much does not fit, with or without what is in flight; 0: whether anything is left."""
        flights = [flight.most for flight in self._flights] if flying else []
        used_tokens = self._spent.tokens_in + self._spent.tokens_out + sum(most[0] for most in flights)
        used_usd = (self._spent.cost_usd or 0.0) + sum(most[1] for most in flights)
        limit, money = self.limits.tokens, self.limits.usd
        if money is not None and self._spent.cost_usd is None:
            return f"budget of {usd(money)} cannot be kept: the price of an answer is unknown"
        if money is not None and (used_usd + dollars > money or used_usd >= money):
            more = f", and one more call may cost {usd(dollars)}" if dollars else ""
            return f"budget of {usd(money)} spent: {usd(used_usd)} so far{more}"
        if limit is not None and (used_tokens + tokens > limit or used_tokens >= limit):
            more = f", and one more call may take {tokens:,}" if tokens else ""
            return f"budget of {limit:,} tokens spent: {used_tokens:,} so far{more}"
        return None

    def _seconds(self) -> float:
        return self._time.before + self._now() - self._time.began

    def _keep_time(self, every: float) -> None:
        with self._changed:
            now = self._now()
            gone = now - self._time.committed
            if gone <= every:
                return
            self._time.committed = now
        self._store.add_seconds(self._run, gone)


def check_price(client: Client, limits: Limits) -> None:
    """Refuse a model whose price nobody knows where money is limited.

    Raises:
        InputError: it asks for ``--price``.
    """
    limit = limits.usd if limits.usd is not None else limits.task_usd
    if limit is not None and not client.priced:
        raise InputError(
            f"the price of {client.model} is unknown, so that a limit of {usd(limit)} could not be kept",
            f"give --price {client.model}=IN,OUT (US dollars for a million tokens), or --max-tokens in place of --max-usd",
        )


_TOLD = (
    "text",
    "problem",
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_reasoning",
    "estimated",
    "cost_usd",
    "seconds",
    "tries",
)
"""What a call and a reply both have."""


def _reply(call: Call) -> Reply:
    return Reply(**{name: getattr(call, name) for name in _TOLD})


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
