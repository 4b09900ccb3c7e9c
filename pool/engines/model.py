"""What an engine is to the pool and to the people who run it, whatever kind it is."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from acp.engine import Engine, LaunchSpec, RunningAgent

_SIGNALS = frozenset(signal.Signals)
_LOCAL_MARKS = ("WEFT_STATE", "WEFT_AGENT")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended that ran beside an agent; ``returncode`` None: it was cut off."""

    returncode: int | None
    stdout: bytes
    stderr: bytes


class RemoteAgent(RunningAgent, Protocol):
    """An agent that an engine runs.

    Attributes:
        node: the name of the machine that it is on; "" where the engine does not say.
    """

    node: str

    async def run(self, argv: Sequence[str], stdin: bytes = b"", *, limit: int, seconds: float) -> CommandResult:
        """Run a command beside the agent: as the same user, in its directory and with its files.

        Args:
            limit: bytes of stdout, and again of stderr, that are taken; more ends the command.
            seconds: after which it is ended.

        Raises:
            AgentExited: the way to the agent is gone.
        """


@dataclass(frozen=True, slots=True)
class Swept:
    """What was found of an earlier run: how many agents were ended, and the names of those that could not be."""

    ended: int = 0
    left: tuple[str, ...] = ()


OLD = 4.0
"""Seconds after which people are told how old it is what is known of a machine."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A machine of an engine, as it was when it was last asked.

    Attributes:
        running: agents of this bot that are on it.
        places: agents that it takes at most; None: the engine decides.
        free_memory: bytes that further agents may take; None: nobody knows.
        reason: why it takes no agents now; "" while it does.
        age: seconds since that was.
    """

    name: str
    running: int
    places: int | None
    free_memory: int | None
    reachable: bool
    reason: str = ""
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineFinding:
    """What a check of an engine found, in a line for people.

    Attributes:
        fix: what to do where it is not well.
        mild: agents start all the same: on another machine, or without what is only helpful.
    """

    ok: bool
    what: str
    fix: str = ""
    mild: bool = False


class PoolEngine(Engine, Protocol):
    """An engine in the settings. Entered and left by one task; all else may be called from any.

    Entering never fails for an engine that is away: it may be back when somebody needs it.

    Attributes:
        kind: ``ssh``, ``docker`` or ``kubernetes``.
        start_timeout: seconds in which a process has to run: connecting, finding room and fetching an image included.
    """

    kind: str
    start_timeout: float

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> bool | None: ...

    async def sweep(self, state: str) -> Swept:
        """End and remove what earlier runs on this state left; bounded, and never raises for an engine that is away.

        Called before the first start, and again and again: what an earlier run had asked for may come late. What is
        left since a node is away is ended once it answers again.
        """

    async def nodes(self, fresh: float | None = None) -> Sequence[NodeStatus]:
        """Return how full the machines are; bounded, and answered from what is known where one is away.

        Args:
            fresh: seconds that what a machine has said may be old; None: as is right for who looks often.
        """

    async def check(self, *specs: LaunchSpec) -> Sequence[EngineFinding]:
        """Look at all that a start needs: the way, the rights, the image, the volume; bounded.

        Args:
            specs: of the agents that are to run there. Where an engine has several machines to choose from, it looks
                for the directory and the program of each on all of them.
        """


def returncode_of(status: int) -> int:
    """Return the return code that a shell's or a container's exit status stands for; negative: the signal.

    A program that ends by itself with 128 and a signal's number is taken for one that the signal ended.
    """
    return 128 - status if status - 128 in _SIGNALS else status


def without_marks(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what marks the agents of this machine.

    It may be the same on another one, or on this one if the agent comes to it by an engine: a bot there would take the
    agent for one that it has left behind, whoever's it is.
    """
    return {name: value for name, value in env.items() if name not in _LOCAL_MARKS}
