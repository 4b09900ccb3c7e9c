"""The two sides of the border between Discord and the work: what `chat` may call, and what it must offer (pure)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from bot.model import Actor, Attachment, Inbound, QueueMode
from bot.reply.port import ThreadPort


class DownloadFailed(Exception):
    """A file can't be had; the message says why, for people."""


class TryDownloadAgain(DownloadFailed):
    """A file could not be had this time."""


Save = Callable[[bytes], Awaitable[None]]
"""Takes the next bytes of a file."""


class Fetch(Protocol):
    """Hands an attachment's bytes to ``save``, at most ``limit`` of them.

    Raises:
        DownloadFailed: it can't be had, or is larger; what was saved so far is not all of it.
        Exception: what ``save`` raises.
    """

    async def __call__(self, attachment: Attachment, save: Save, limit: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the person who pressed a button is told.

    Attributes:
        accepted: whether the press had an effect.
        lasting: the text promises what has to outlive the process, so it waits for `DispatcherPort.saved`.
    """

    text: str
    accepted: bool
    lasting: bool = False


class DispatcherPort(Protocol):
    """The work as Discord sees it; what each call does stands in `bot.work.dispatcher`.

    Every call but `saved` returns at once, whatever an agent does.
    """

    async def saved(self) -> bool: ...
    def submit(self, inbound: Inbound) -> None: ...
    def stop(self, thread_id: int, by: Actor, prompt: int | None = None, before: int | None = None) -> Answer: ...
    def status(self, thread_id: int | None) -> str: ...
    def reset(self, thread_id: int, by: Actor) -> Answer: ...
    def agents(self) -> tuple[str, ...]: ...
    def renew(self, thread_id: int | None, agent: str | None, by: Actor) -> Answer: ...
    def assign(self, thread_id: int, agent: str) -> None: ...
    def decide(self, request: str, option: int, by: Actor) -> Answer: ...
    def pending(self) -> frozenset[int]: ...
    def hold(self) -> None: ...
    def release(self) -> None: ...
    def missed(self, inbound: Inbound) -> None: ...
    def waiting(self) -> dict[int, list[int]]: ...
    def authors(self) -> frozenset[tuple[int, int]]: ...
    def roles_now(self, guild_id: int, user_id: int, roles: frozenset[int]) -> None: ...
    def edited(self, message_id: int, text: str) -> None: ...
    def deleted(self, message_id: int) -> None: ...
    def stop_all(self, thread_id: int, by: Actor, before: int) -> Answer: ...
    def queue(self, thread_id: int, guild_id: int | None = None) -> str: ...
    def choose_mode(self, place_id: int, mode: QueueMode, by: Actor, *, server: bool) -> Answer: ...
    def clear(self, thread_id: int, by: Actor) -> Answer: ...
    def promote(self, thread_id: int, prompt: int, by: Actor) -> Answer: ...
    def remove(self, thread_id: int, prompt: int, by: Actor) -> Answer: ...
    def end_left(self, thread_id: int, token: str, by: Actor) -> Answer: ...
    def go_on(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer: ...
    def thread_gone(self, thread_id: int, reason: str) -> None: ...
    def at_rest(self, thread_id: int) -> bool: ...
    def forget(self, *gone: int) -> None: ...


class Chat(Protocol):
    """Discord, as the work sees it. Errors are those of `bot.reply.port`."""

    @property
    def fetch(self) -> Fetch:
        """What fetches files."""

    def thread(self, thread_id: int) -> ThreadPort:
        """Return the port of a thread; it asks for the current client at each call."""

    async def open_thread(self, inbound: Inbound) -> None:
        """Open the inbound's thread from its message; a thread that exists already is used."""

    async def acknowledge(self, inbound: Inbound, emoji: str) -> None:
        """React to the message."""

    async def react(self, channel_id: int, message_id: int, emoji: str, *, instead_of: tuple[str, ...] = ()) -> None:
        """Set a reaction on a message, and take others of Weft's away; those that are not there don't matter."""

    async def refuse(self, inbound: Inbound, text: str) -> None:
        """Answer the message where it was posted, when there is no thread to answer in."""
