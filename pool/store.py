"""What must survive a restart: sessions, accepted prompts, replies on their way, and what was last seen where.

`SessionStore` is the seam, and `pool.storage` stands behind it. What a prompt or a reply consists of is opaque here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict, Unpack


class StoreBusy(Exception):
    """Too much waits to be written: the prompt was not accepted."""


@dataclass(frozen=True, slots=True)
class ThreadRecord:
    """What is remembered of a thread.

    Attributes:
        agent: the name of the agent that made the session.
        session_id: the session to resume; None starts afresh.
        cwd: the directory in which the session was opened.
        previous_session_id: the session before this one, when it was forgotten or unknown to the agent.
        mode: the session's mode that people chose; options: their other choices, as JSON.
    """

    thread_id: int
    agent: str | None = None
    session_id: str | None = None
    cwd: str | None = None
    previous_session_id: str | None = None
    title: str | None = None
    mode: str | None = None
    options: str | None = None


class ThreadChanges(TypedDict, total=False):
    """What changes of a `ThreadRecord`; a field that is left out stays as it is."""

    agent: str | None
    session_id: str | None
    cwd: str | None
    title: str | None
    mode: str | None
    options: str | None


@dataclass(frozen=True, slots=True)
class AcceptedPrompt:
    """A message that was accepted as a prompt; ``payload`` is all that is needed to run it after a restart."""

    message_id: int
    thread_id: int
    channel_id: int
    author_id: int
    payload: str


@dataclass(frozen=True, slots=True)
class OpenPrompt:
    """A prompt without an end; one that was ``started`` may have had side effects: nobody runs it again unasked.

    ``shown`` holds the ids of the messages that show its reply so far, in order; ``turn`` the first message of the turn
    that it is part of, where that is another one.
    """

    prompt: AcceptedPrompt
    started: bool
    shown: tuple[int, ...] = ()
    turn: int | None = None


@dataclass(frozen=True, slots=True)
class PendingReply:
    """The reply of a turn that is over, of which nobody knows whether it arrived; ``shown`` as in `OpenPrompt`."""

    prompt: AcceptedPrompt
    outcome: str
    payload: str
    shown: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenPlace:
    """A thread or a channel in which a prompt was accepted, and the newest message there that was dealt with.

    Attributes:
        parent_id, owner_id: of a thread, the channel it stands in and who opened it.
        seen: the snowflake of that message; 0 if there is none.
    """

    place_id: int
    guild_id: int | None
    parent_id: int | None = None
    owner_id: int | None = None
    seen: int = 0


@dataclass(frozen=True, slots=True)
class KeptNotice:
    """A thread that may show notices of what waits in it; none of them is older than the message ``since``.

    ``stopping``: the newest of them tells that the bot is about to restart.
    """

    thread_id: int
    since: int
    stopping: bool = False


class SessionStore(Protocol):
    """Keeps threads, prompts and places. A call that returned has been written, or `trouble` says why not.

    No call raises for a fault of the storage: what can't be written is kept in memory until it can.
    """

    @property
    def trouble(self) -> str:
        """What is wrong with the storage, in a few words for people; empty when all is well."""

    @property
    def durable(self) -> bool:
        """Whether what is kept outlives the process."""

    async def flush(self) -> bool:
        """Wait until all that was handed in before is written; False: it is kept in memory only, see `trouble`."""

    async def accept(self, prompt: AcceptedPrompt) -> bool:
        """Remember a prompt; False if its message was accepted before, whatever the result.

        Raises:
            StoreBusy: too much waits to be written.
        """

    async def amend(self, message_id: int, payload: str) -> None:
        """Replace what is kept of a prompt that waits; one that was started stays as it is."""

    async def started(self, first: int, others: Sequence[int] = ()) -> None:
        """Say that prompts are about to be sent to the agent, as one turn: of all of them or of none.

        ``first`` is the message that the turn answers; of one that runs already, ``others`` come in addition.
        """

    async def shown(self, message_id: int, messages: tuple[int, ...]) -> None:
        """Say which messages show the reply to the prompt so far, all of them, in order."""

    async def save_pending_reply(self, message_id: int, outcome: str, payload: str) -> None:
        """Say that the prompt is over, how it ended, and what the reply on its way is.

        The first outcome stays; a reply with the same one takes the place of the one before.
        """

    async def finished(self, message_id: int, outcome: str, *, keep: bool = False) -> None:
        """Say that the end of the prompt is visible, or given up; what was kept for its reply is dropped.

        The first outcome stays, be it from here or from `save_pending_reply`. A message that was never accepted is left
        alone. ``keep``: the prompt itself is kept, since somebody may ask for it again; see `turn`.
        """

    async def turn(self, message_id: int) -> list[OpenPrompt]:
        """Return the prompts that are one turn with this one, itself included, in order of arrival.

        Only those of which the payload is kept: not finished, or to be kept; none if this one's is not.
        """

    async def open_prompts(self) -> list[OpenPrompt]:
        """Return the accepted prompts that have no outcome, in order of arrival."""

    async def pending_replies(self) -> list[PendingReply]:
        """Return the replies on their way, in order of arrival of their prompts."""

    async def thread(self, thread_id: int) -> ThreadRecord | None:
        """Return what is remembered of a thread."""

    async def bind(self, thread_id: int, **changes: Unpack[ThreadChanges]) -> None:
        """Change what is remembered of a thread, in one write; what is not given stays as it is.

        A session that another one replaces, or none, becomes the ``previous_session_id``.
        """

    async def forget(self, gone: Iterable[int]) -> None:
        """Forget threads, channels or servers that are gone, with all that stands in them; prompts stay."""

    async def choices(self) -> dict[int, str]:
        """Return the ``options`` of all threads that have some."""

    async def keep_notice(self, notice: KeptNotice) -> None:
        """Remember that a thread may show notices, in place of what was remembered before."""

    async def drop_notice(self, thread_id: int) -> None:
        """Remember that a thread shows no notice."""

    async def notices(self) -> list[KeptNotice]:
        """Return all threads that may show notices."""

    async def see(self, places: Iterable[SeenPlace]) -> None:
        """Remember places; ``seen`` only grows, and what is not known of a place takes nothing away."""

    async def places(self) -> list[SeenPlace]:
        """Return the places, the one with the newest message first."""
