"""Every command that the bot registers: how fast it is acknowledged while 50 turns stream, an agent starts, one hangs.

What is registered with the loopback Discord says which commands there are, what they need and for which of their
options they suggest values, so that a new command is measured from its first day.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bot.sandbox.people import Person
from scripts.benchmarks.agent import HANG_NEXT, HUNG, OFFERS
from scripts.benchmarks.scene import Scene, scene, until
from scripts.benchmarks.stats import Figures, percentile, stamps

Json = dict[str, Any]
STREAMING, RATE, SECONDS = 50, 15, 600
ROUNDS = 8
AGENTS = 200  # at most: the streams, three in each round, and those of commands that open threads
CHAT_INPUT, SUB_COMMAND, GROUP = 1, 1, 2
TYPED = ("", "co", "49", "no such thing")
"""What people have typed when values are suggested: nothing, a beginning, what few of the 500 hold, nonsense."""
WORDS = "bench:hi"
FILLED: dict[int, Any] = {3: WORDS, 4: 1, 5: True, 10: 1.0}
"""By an option's type: text, a whole number, yes or no, a number."""
PERSON, CHANNEL = (6, 9), 7


@dataclass(frozen=True, slots=True)
class Use:
    """A command or sub-command with the options that are filled in, and those that it suggests values for."""

    path: str
    given: tuple[Json, ...] = ()
    suggesting: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The command as one types it, with its options' names."""
        return " ".join([f"/{self.path}", *(f"{one['name']}:" for one in self.given)])


def uses(commands: Iterable[Json]) -> Iterator[Use]:
    """Yield each command and sub-command among registered ones: with what it needs, and with what it suggests."""
    for command in commands:
        if command.get("type", CHAT_INPUT) == CHAT_INPUT:
            yield from _inner(command["name"], command.get("options") or [])


def _inner(path: str, options: list[Json]) -> Iterator[Use]:
    parts = [one for one in options if one["type"] in (SUB_COMMAND, GROUP)]
    for part in parts:
        yield from _inner(f"{path} {part['name']}", part.get("options") or [])
    if not parts:
        suggesting = tuple(one["name"] for one in options if one.get("autocomplete"))
        needed = tuple(one for one in options if one.get("required"))
        yield Use(path, needed, suggesting)
        # A choice does more than the look at what there is to choose from.
        yield from (Use(path, (*needed, one)) for one in options if one.get("autocomplete") and one not in needed)


def filled(option: Json, person: int, channel: int) -> Any:
    """Return a sensible value for an option: its first choice, else one that suits its type."""
    if choices := option.get("choices"):
        return choices[0]["value"]
    if option["type"] in PERSON:
        return person
    return channel if option["type"] == CHANNEL else option.get("min_value", FILLED.get(option["type"], WORDS))


async def every_command() -> Figures:
    """Return the time to acknowledgement over all commands and over all suggestions, and the worst of each command."""
    taken: dict[str, list[float]] = {}
    suggested: list[float] = []
    most = 0
    async with scene(lane=AGENTS, max_agents=AGENTS + 1, stop_grace=0) as running:
        (running.directory / OFFERS).touch()
        await _streams(running)
        registered = [one for listed in running.discord.state.commands.values() for one in listed]
        known, dice = list(uses(registered)), random.Random(0)  # noqa: S311  the same order each time
        await running.report()
        began = time.monotonic()
        for _ in range(ROUNDS):
            threads = await _three(running)
            # Each round in another order: one that stops or resets spoils its thread for those after it.
            for number, use in enumerate(dice.sample(known, len(known))):
                thread = threads[number % len(threads)]
                for option in use.suggesting:
                    for text in TYPED:
                        seconds, choices = await _suggestions(running.discord.owner, thread, use, option, text)
                        suggested.append(seconds)
                        most = max(most, len(choices))
                taken.setdefault(use.label, []).append(await _used(running, thread, use))
        report, spent = await running.report(), time.monotonic() - began
    every = [sample for samples in taken.values() for sample in samples]
    return {
        "commands": float(len({use.path for use in known})),
        "command_samples": float(len(every)),
        "command_p50_ms": percentile(every, 0.5) * 1e3,
        "command_p99_ms": percentile(every, 0.99) * 1e3,
        "command_max_ms": max(every) * 1e3,
        "suggestion_samples": float(len(suggested)),
        "suggestion_p99_ms": percentile(suggested or [0.0], 0.99) * 1e3,
        "suggestions_most": float(most),
        "commands_lag_p99_ms": report["lag_p99"] * 1e3,
        "commands_cpu_share": report["cpu"] / spent,
        **{f"worst_ms {label}": max(samples) * 1e3 for label, samples in sorted(taken.items())},
    }


async def _streams(running: Scene) -> None:
    """Begin the streams, and wait until each is seen."""
    asked = [await running.mention(f"bench:stream:0:{SECONDS}:{RATE}") for _ in range(STREAMING)]
    for thread in asked:
        await until(lambda: any(stamps(one.content) for one in running.replies(thread)), look=0.25)  # noqa: B023


async def _three(running: Scene) -> list[int]:
    """Return new threads: one whose turn streams, one whose agent reads nothing any more, one whose agent starts."""
    hung = await running.thread()
    await running.say(hung, "bench:stuff")
    streaming = await running.thread()
    asked = await running.say(streaming, f"bench:stream:0:{SECONDS}:{RATE}")
    await until(lambda: any(stamps(one.content) for one in running.replies(streaming, asked)))
    (running.directory / HUNG).unlink(missing_ok=True)
    (running.directory / HANG_NEXT).touch()
    starting = await running.mention(WORDS)
    await until(lambda: starting in running.discord.state.channels and (running.directory / HUNG).exists())
    return [streaming, hung, starting]


async def _used(running: Scene, thread: int, use: Use) -> float:
    """Use a command as a person would, choosing what is suggested; return the seconds until it was acknowledged."""
    owner = running.discord.owner
    values = {one["name"]: filled(one, owner.id, running.discord.channel_id) for one in use.given}
    for option in (one["name"] for one in use.given if one.get("autocomplete")):
        _, choices = await _suggestions(owner, thread, use, option, "")
        values[option] = choices[-1]["value"] if choices else values[option]
    start = time.monotonic()
    interaction = await owner.slash(thread, use.path, **values)
    if not interaction.acked:
        raise RuntimeError(f"{use.label} was not acknowledged")
    return time.monotonic() - start


async def _suggestions(owner: Person, thread: int, use: Use, option: str, text: str) -> tuple[float, list[Json]]:
    """Type into an option; return the seconds until values were suggested, and them."""
    start = time.monotonic()
    interaction = await owner.autocomplete(thread, use.path, option, text)
    if not interaction.acked:
        raise RuntimeError(f"{use.label} {option}: nothing was suggested in time")
    return time.monotonic() - start, (interaction.response or {}).get("choices", [])
