"""Which host of an ssh engine gets the next agent (pure). What changes is what is known of each host."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from math import inf

from pool.engines.model import NodeStatus
from pool.engines.ssh.settings import SshHost

AGENT = 400 * 1024 * 1024
"""Bytes that an agent is taken to need until the host is asked again: many starts at once are to spread."""


@dataclass(slots=True)
class HostState:
    """What is known of a host.

    Attributes:
        running: this engine's agents that are there or about to be.
        free_memory: bytes, when it was last asked; None: it was not, or does not say.
        asked: when that was.
        since: agents started since.
        trouble: why it could not be reached when it was last tried; "": it could.
    """

    host: SshHost
    running: int = 0
    free_memory: int | None = None
    asked: float = -inf
    since: int = 0
    trouble: str = ""

    @property
    def name(self) -> str:
        return self.host.called

    @property
    def room(self) -> int:
        """How many more agents it takes."""
        return self.host.places - self.running

    @property
    def guess(self) -> int | None:
        """Bytes that are free by now, as far as one can tell."""
        return None if self.free_memory is None else max(0, self.free_memory - self.since * AGENT)

    def measured(self, free_memory: int | None, now: float) -> None:
        """Note what it has said."""
        self.free_memory, self.asked, self.since, self.trouble = free_memory, now, 0, ""

    def failed(self, trouble: str, now: float) -> None:
        """Note that it did not answer."""
        self.free_memory, self.asked, self.since, self.trouble = None, now, 0, trouble

    def status(self, *, full: bool = True) -> NodeStatus:
        """Return it for people."""
        reason = self.trouble or ("full" if full and self.room <= 0 else "")
        return NodeStatus(self.name, self.running, self.host.places, self.guess, not self.trouble, reason)


def choose(
    hosts: Iterable[HostState], avoided: Container[str], tried: Container[str], home: str = ""
) -> HostState | None:
    """Return the host with the most free memory of those with a free place; None: there is none.

    One that is avoided is taken if no other one is left, and one that was tried not at all. ``home`` is the one that
    has the thread's files, if only one has: that one comes first.
    """
    fit = [one for one in hosts if one.room > 0 and one.name not in tried]

    def worth(one: HostState) -> tuple[bool, bool, int, float]:
        return one.name not in avoided, one.name == home, one.guess or 0, one.room / one.host.places

    return max(fit, key=worth, default=None)
