"""Which run of the bot an agent belongs to, and which of two runs is the earlier one.

An agent is marked with the run that started it, and a sweep ends those of earlier runs. Where several bots take turns
on a state, the order of the runs is that of their leases: a bot that leads no more, and does not know it yet, finds
nothing of its successor's to end, however long its sweep was under way. There is no state but the name of this run.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from acp.errors import AgentSpawnError, SpawnFailure

_DIGITS: Final = 18


@cache
def this_run() -> str:
    """Return what tells the agents of this process from those that an earlier one left.

    Several engines may lead to one daemon or cluster, and the late sweep of one must leave the agents of another alone.
    """
    # Drawn when it is first asked for: a process that is forked from one that had only imported this is another run.
    return secrets.token_hex(8)


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class BotRun:
    """A run of the bot.

    Attributes:
        name: no other run has it.
        epoch: of the lease on the state, higher than those of all runs before; None: nobody else works on the state.
        leads: whether agents may still be started.
    """

    name: str = field(default_factory=this_run)
    epoch: int | None = None
    leads: Callable[[], bool] = _always

    @property
    def epoch_mark(self) -> str:
        """What agents are marked with beside the name; "": nothing."""
        return "" if self.epoch is None else str(self.epoch)

    def follows(self, name: str, epoch: str) -> bool:
        """Whether this run is later than the one with these marks, which an agent or a person may have made up."""
        if self.epoch is None:
            return name != self.name
        # Lower, and not merely another one: by the time that this is asked, a later run may have begun.
        known = epoch.isascii() and epoch.isdecimal() and len(epoch) <= _DIGITS
        return (int(epoch) if known else 0) < self.epoch

    def check(self) -> None:
        """Go on with a start, or not.

        Raises:
            AgentSpawnError: another bot may lead by now. What was begun all the same is ended by that one's sweeps.
        """
        if not self.leads():
            raise AgentSpawnError("this bot does not lead any more", failure=SpawnFailure.OTHER)
