"""What many devices would need: a closed network of ideas between writers, one store and the devices, simulated event by event.

An idea is written (a delay: providers are taken to have room), recalled and committed (a station of some cores, the store's),
judged (a station of the devices, in turn), and then begins anew. Judging takes what recorded judgings took, drawn with
replacement. Not modelled: failures, a provider's rate limits, the network, and a store that slows down as it grows.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

STATIONS = ("write", "store", "device")


@dataclass(frozen=True)
class Plant:
    """What is simulated. Times in seconds."""

    devices: int
    ideas: int
    """In flight, all runs together."""
    judging: Sequence[float]
    """Recorded times of one judging."""
    writing: float
    """Mean time of a model's answer; drawn from an exponential distribution."""
    store_seconds: float
    """CPU time of database and index an attempt."""
    store_cores: int

    def bounds(self) -> dict[str, float]:
        """Attempts a second that each part alone would allow."""
        mean = sum(self.judging) / len(self.judging)
        alone = mean + self.writing + self.store_seconds
        store = self.store_cores / self.store_seconds
        return {"device": self.devices / mean, "store": store, "write": self.ideas / alone}


@dataclass
class Station:
    """A queue with so many servers (None: any number), and what was seen of it in the measured time."""

    servers: int | None
    waiting: deque[tuple[int, float]] = field(default_factory=deque)
    busy: int = 0
    present: int = 0
    area: float = 0.0
    """Ideas present, over time."""
    work: float = 0.0
    """Servers busy, over time."""
    left: int = 0
    stay: float = 0.0
    """Time that those who left had been there, waiting included."""


@dataclass(frozen=True)
class Seen:
    """One station over the measured time."""

    present: float
    """Ideas there on average."""
    through: float
    """Ideas a second that left it."""
    stay: float
    """Seconds from coming to leaving."""
    busy: float
    """Servers at work on average."""


class Simulation:
    """One run of the model; everything random comes from ``seed``."""

    def __init__(self, plant: Plant, seed: int = 0) -> None:
        self._plant, self._draw, self._now = plant, random.Random(seed), 0.0
        self._at = {"write": Station(None), "store": Station(plant.store_cores), "device": Station(plant.devices)}
        self._events: list[tuple[float, int, str, float]] = []
        for idea in range(plant.ideas):
            self._come(idea, "write")

    @property
    def population(self) -> int:
        """Ideas in flight; they become neither more nor fewer."""
        return sum(station.present for station in self._at.values())

    def run(self, warm: float, measured: float) -> dict[str, Seen]:
        """Each station over ``measured`` seconds, once ``warm`` seconds are over."""
        self._until(warm)
        for station in self._at.values():
            station.area = station.work = station.stay = 0.0
            station.left = 0
        self._until(warm + measured)
        return {
            name: Seen(s.area / measured, s.left / measured, s.stay / max(1, s.left), s.work / measured)
            for name, s in self._at.items()
        }

    def _until(self, end: float) -> None:
        while self._events and self._events[0][0] <= end:
            when, idea, name, came = heapq.heappop(self._events)
            self._pass(when)
            self._leave(idea, name, came)
        self._pass(end)

    def _pass(self, when: float) -> None:
        for station in self._at.values():
            station.area += station.present * (when - self._now)
            station.work += station.busy * (when - self._now)
        self._now = when

    def _come(self, idea: int, name: str) -> None:
        station = self._at[name]
        station.present += 1
        if station.servers is not None and station.busy >= station.servers:
            station.waiting.append((idea, self._now))
        else:
            self._serve(idea, name, self._now)

    def _serve(self, idea: int, name: str, came: float) -> None:
        self._at[name].busy += 1
        heapq.heappush(self._events, (self._now + self._takes(name), idea, name, came))

    def _leave(self, idea: int, name: str, came: float) -> None:
        station = self._at[name]
        station.busy -= 1
        station.present -= 1
        station.left += 1
        station.stay += self._now - came
        if station.waiting:
            self._serve(*_of(station.waiting.popleft(), name))
        self._come(idea, STATIONS[(STATIONS.index(name) + 1) % len(STATIONS)])

    def _takes(self, name: str) -> float:
        plant = self._plant
        if name == "device":
            return self._draw.choice(plant.judging)
        mean = plant.writing if name == "write" else plant.store_seconds
        return self._draw.expovariate(1 / mean)


def _of(who: tuple[int, float], name: str) -> tuple[int, str, float]:
    return who[0], name, who[1]
