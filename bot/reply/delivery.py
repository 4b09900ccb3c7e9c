"""A notice on its way to a thread, as whoever posted it sees it.

What is sent, and when, is `bot.reply.outbox`'s business. The mutable state is the cells to wait for and whether it is
done.
"""

from __future__ import annotations

import anyio

from bot.reply.outbox import Cell


class Delivery:
    """One way of a notice to its thread: to be posted, or to be changed."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._beside: list[Cell] = []
        self._there = anyio.Event()
        self._done = anyio.Event()

    @property
    def message_id(self) -> int | None:
        """The id of the message, once it is there."""
        return self.cell.message_id

    async def delivered(self) -> bool:
        """Wait for its end; True: it is visible, False: it was given up."""
        await self._done.wait()
        return self.cell.message_id is not None

    async def posted(self) -> int | None:
        """Wait until the message is there and return its id; None: it was given up."""
        await self._there.wait()
        return self.cell.message_id

    def wait_for(self, cells: list[Cell]) -> None:
        """Don't be done before these are."""
        self._beside += cells

    def settle(self, *, given_up: bool = False) -> None:
        """Wake those who wait, if it is delivered or given up."""
        if given_up or self.cell.given_up or self.cell.message_id is not None:
            self._there.set()
        if given_up or all(cell.settled for cell in (self.cell, *self._beside)):
            self._done.set()

    @property
    def done(self) -> bool:
        """Whether it is visible or given up."""
        return self._done.is_set()
