"""What is known of the hosts of an ssh engine: which gets the next agent, and which has a thread's files.

The mutable state is what each host said last, and where each thread's agent was started.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import anyio

from pool.engines.model import NodeStatus
from pool.engines.ssh.failure import SshFailure
from pool.engines.ssh.settings import SshHost

AGENT = 400 * 1024 * 1024
"""Bytes that an agent is taken to need until the host is asked again: many starts at once are to spread."""

_MOST = 10_000
"""Threads of which it is remembered where their agents were."""

Ask = Callable[[Sequence[str]], Awaitable[Mapping[str, Sequence[str]]]]
"""Returns which of the directories each host has, by its name; a host that does not answer is not in it."""


@dataclass(slots=True)
class HostState:
    """What is known of a host.

    Attributes:
        running: this engine's agents that are there or about to be.
        free_memory: bytes, when it was last asked; None: it was not, or does not say.
        asked: when that was.
        since: agents started since.
        trouble: why it could not be reached when it was last tried; "": it could.
        fault: what it failed with, if that was when it was asked or given an agent.
    """

    host: SshHost
    running: int = 0
    free_memory: int | None = None
    asked: float = -inf
    since: int = 0
    trouble: str = ""
    fault: SshFailure | None = None

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
        self.free_memory, self.asked, self.since, self.trouble, self.fault = free_memory, now, 0, "", None

    def failed_since(self, begin: float) -> SshFailure | None:
        """Return what it has failed with since then; None: nothing, or it was not asked."""
        return self.fault if self.asked >= begin else None

    def failed(self, trouble: str, now: float, fault: SshFailure | None = None) -> None:
        """Note that it did not answer."""
        # Its name stands beside it wherever it is shown.
        words = trouble.removeprefix(f"{self.name}: ").rstrip(".")
        self.free_memory, self.asked, self.since, self.trouble, self.fault = None, now, 0, words, fault

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
        # In this order: a host that works counts more than the files on it, and these more than free memory.
        return one.name not in avoided, one.name == home, one.guess or 0, one.room / one.host.places

    return max(fit, key=worth, default=None)


class Homes:
    """Which host has a thread's files, where each has its own; the oldest are forgotten, and asked for again.

    A bot that was restarted asks: the host that has a thread's directory has had its agent. Questions that come while
    one is asked are asked together.

    Args:
        hosts: how many there are to answer.
    """

    def __init__(self, ask: Ask, hosts: int) -> None:
        self._ask = ask
        self._hosts = hosts
        self._asking = anyio.Lock()
        self._waiting: dict[str, str] = {}
        self._known: dict[str, str] = {}

    def note(self, thread: str, node: str) -> None:
        """Note where a thread's agent was started."""
        # Taken out before, so that it stands behind all others: the first ones are forgotten first.
        self._known.pop(thread, None)
        self._known[thread] = node
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]

    async def of(self, thread: str, directory: str) -> str:
        """Return the host that has a thread's directory; "": none, several, or nobody knows."""
        if thread in self._known:
            return self._known[thread]
        self._waiting[directory] = thread
        async with self._asking:
            # Whoever got here first has asked for all that waited.
            if directory in self._waiting:
                await self._ask_for_all()
        return self._known.get(thread, "")

    async def _ask_for_all(self) -> None:
        asked, self._waiting = self._waiting, {}
        try:
            have = await self._ask(list(asked))
        except BaseException:
            self._waiting = {**asked, **self._waiting}  # others wait for the answer, too
            raise
        for directory, thread in asked.items():
            nodes = [node for node, directories in have.items() if directory in directories]
            # An agent of it may have been started meanwhile: where that is, is certain. A silent host may have it.
            if thread not in self._known and (nodes or len(have) == self._hosts):
                self.note(thread, nodes[0] if len(nodes) == 1 else "")
