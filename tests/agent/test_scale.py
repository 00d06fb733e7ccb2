"""The model of many devices keeps to what must hold of any closed network: nothing lost, Little's law, no bound exceeded."""

from __future__ import annotations

import pytest

from kernelwright.agent.bench.scale import Plant, Seen, Simulation

JUDGING = (20.0, 30.0, 40.0, 110.0)


def plant(devices: int = 5, ideas: int = 12, writing: float = 60.0, store: float = 0.03, cores: int = 2) -> Plant:
    return Plant(devices, ideas, JUDGING, writing, store, cores)


@pytest.mark.parametrize("of", [plant(), plant(ideas=3), plant(devices=1, ideas=1), plant(store=20.0, cores=1)])
def test_ideas_are_conserved_and_littles_law_holds_at_every_station(of: Plant) -> None:
    simulation = Simulation(of, seed=3)
    seen = simulation.run(2_000, 200_000)
    assert simulation.population == of.ideas
    assert sum(s.present for s in seen.values()) == pytest.approx(of.ideas)
    rates = [s.through for s in seen.values()]
    assert max(rates) == pytest.approx(min(rates), rel=0.01), "what leaves one station comes to the next"
    for station in seen.values():
        assert station.present == pytest.approx(station.through * station.stay, rel=0.02)


def test_a_device_is_busy_for_what_it_judges() -> None:
    of = plant()
    seen = Simulation(of).run(2_000, 200_000)
    assert seen["device"].busy == pytest.approx(seen["device"].through * 50.0, rel=0.03)  # the mean of the recorded times
    assert seen["device"].busy <= of.devices


@pytest.mark.parametrize(
    ("of", "limit"),
    [(plant(ideas=60), "device"), (plant(ideas=60, store=20.0, cores=1), "store"), (plant(devices=50, ideas=5), "write")],
)
def test_no_bound_is_exceeded_and_the_lowest_one_is_reached(of: Plant, limit: str) -> None:
    bounds = of.bounds()
    assert min(bounds, key=lambda name: bounds[name]) == limit
    rate = Simulation(of).run(2_000, 200_000)["device"].through
    assert 0.95 * bounds[limit] <= rate <= 1.03 * bounds[limit]


def test_a_seed_gives_the_same_once_more() -> None:
    def once(seed: int) -> dict[str, Seen]:
        return Simulation(plant(), seed).run(100, 5_000)

    assert once(1) == once(1) != once(2)
