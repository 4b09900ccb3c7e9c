"""The lease on a shared state: one leads, the others take over (R10)."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import anyio
import pytest

from tests.pool.lease_world import LIMITS, Machine, World
from tests.pool.virtual_time import run_virtually
from tests.repeat import long_run

TAKEN_OVER = LIMITS.duration + LIMITS.look + 3 * LIMITS.call
"""Seconds within which somebody leads again, once the database can be reached."""

EVENTS = ("cut", "heal", "stop", "go on", "away", "back", "restart", "end")


@dataclass(slots=True)
class Scenario:
    """Some bots, and what happens to them; all of it comes from a seed."""

    seed: int

    async def play(self) -> World:
        random = Random(self.seed)
        world = World(random)
        machines = [world.machine(name) for name in ("one", "two", "three")[: random.choice([2, 3])]]
        async with anyio.create_task_group() as tasks:
            for machine in machines:
                tasks.start_soon(world.run_bot, machine)
            for _ in range(random.randint(1, 14)):
                await anyio.sleep(random.choice([0.05, 1, 4, 10, 12, 16, 30]) * random.uniform(0.8, 1.2))
                self._happens(random.choice(EVENTS), random.choice(machines), world)
            # Everything is well again: then somebody leads, and soon.
            for machine in machines:
                machine.cut = machine.ends = False
                machine.go_on()
            world.up = True
            await anyio.sleep(TAKEN_OVER)
            assert [name for name, lease in world.leading.items() if lease.held()] != []
            tasks.cancel_scope.cancel()
        return world

    def _happens(self, event: str, machine: Machine, world: World) -> None:
        match event:
            case "cut" | "heal":
                machine.cut = event == "cut"
            case "stop":
                machine.stop()
            case "go on":
                machine.go_on()
            case "end":
                machine.ends = True
            case "away" | "back":
                world.up = event == "back"
                world.restart()
            case "restart":
                world.restart()


def play(seed: int) -> None:
    world = run_virtually(Scenario(seed).play)
    assert world.acts
    world.check()


def test_no_two_ever_lead_and_somebody_takes_over_soon() -> None:
    """R10: with delays, cuts, stops of bots and of the database, in any order."""
    for seed in range(40):
        play(seed)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(4))
def test_no_two_ever_lead_in_many_scenarios(part: int) -> None:
    """R10: as above."""
    for number in range(long_run(1000, 100)):
        play((part + 1) * 10_000 + number)
