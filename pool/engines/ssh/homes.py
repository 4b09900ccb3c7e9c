"""Which host of an ssh engine has a thread's files, where each has its own. The mutable state is what is known of that.

A bot that was restarted asks: the host that has a thread's directory has had its agent. Questions that come while one
is asked are asked together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio

_MOST = 10_000

Ask = Callable[[Sequence[str]], Awaitable[Mapping[str, Sequence[str]]]]
"""Returns which of the directories each host has, by its name; a host that does not answer has none."""


class Homes:
    """The hosts of threads; the oldest are forgotten, and asked for again."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._asking = anyio.Lock()
        self._waiting: dict[str, str] = {}
        self._known: dict[str, str] = {}

    def note(self, thread: str, node: str) -> None:
        """Note where a thread's agent was started."""
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
            if thread not in self._known:
                self.note(thread, nodes[0] if len(nodes) == 1 else "")
