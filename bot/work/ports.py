"""The two sides of the border between Discord and the work: what `chat` may call, and what it must offer (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bot.model import Actor, Inbound, QueueMode
from bot.reply.port import ThreadPort


@dataclass(frozen=True, slots=True)
class Answer:
    """What the person who pressed a button is told.

    Attributes:
        accepted: whether the press had an effect.
        lasting: the text promises what has to outlive the process, so it waits for `Desk.saved`.
    """

    text: str
    accepted: bool
    lasting: bool = False


class Desk(Protocol):
    """The work, as Discord sees it. Every call but `saved` returns at once, whatever an agent does."""

    async def saved(self) -> bool:
        """Wait until all that was asked for so far is written down; False: for now it is in memory only."""

    def submit(self, inbound: Inbound) -> None:
        """Take a message over; from here on it gets exactly one outcome."""

    def stop(self, thread_id: int, by: Actor, prompt: int | None = None, before: int | None = None) -> Answer:
        """Stop the oldest running turn of the thread, or, with ``prompt``, the turn of that message only.

        ``before``: nothing that is newer than this snowflake.
        """

    def status(self, thread_id: int | None) -> str:
        """Return the state of a thread, or of the whole bot, as Discord Markdown."""

    def reset(self, thread_id: int, by: Actor) -> Answer:
        """End the thread's agent and forget its session; the next message starts afresh."""

    def agents(self) -> tuple[str, ...]:
        """Return the names of the agents, of which people may choose one."""

    def renew(self, thread_id: int | None, agent: str | None, by: Actor) -> Answer:
        """End the thread's agent and go on afresh with another, or with the same; None: if a thread may be opened."""

    def assign(self, thread_id: int, agent: str) -> None:
        """Give a thread an agent before its first message; a name that `renew` took."""

    def decide(self, request: str, option: int, by: Actor) -> Answer:
        """Answer permission request ``request`` with its option number ``option``, if ``by`` may."""

    def pending(self) -> frozenset[int]:
        """Return the ids of the messages that were handed over and are not written down yet."""

    def hold(self) -> None:
        """Start nothing new until `release`: what was missed is being looked up (Q1). Calls don't add up."""

    def release(self) -> None:
        """Let waiting prompts start again."""

    def missed(self, inbound: Inbound) -> None:
        """Take a message that was posted too long ago to be run unasked: it is told so, once."""

    def waiting(self) -> dict[int, list[int]]:
        """Return the ids of the messages that wait for their turn, by the place where they were posted."""

    def authors(self) -> frozenset[tuple[int, int]]:
        """Return who wrote what waits for its turn, bots left out, as ids of server and person."""

    def roles_now(self, guild_id: int, user_id: int, roles: frozenset[int]) -> None:
        """Take note of the roles that somebody has now; if they are let in no more, what waits of theirs goes."""

    def edited(self, message_id: int, text: str) -> None:
        """Take the new text of a message; it counts while the message waits (Q5)."""

    def deleted(self, message_id: int) -> None:
        """Take a message out that was deleted; what runs already goes on (Q5)."""

    def stop_all(self, thread_id: int, by: Actor, before: int) -> Answer:
        """End the turns of the thread and empty its queue; messages older than snowflake ``before`` never run (Q7)."""

    def queue(self, thread_id: int, guild_id: int | None = None) -> str:
        """Return what waits in a thread and by which rules, as Discord Markdown (Q11)."""

    def choose_mode(self, place_id: int, mode: QueueMode, by: Actor, *, server: bool) -> Answer:
        """Choose what a message does that comes while a turn runs: for one thread, or for a whole server (Q2)."""

    def clear(self, thread_id: int, by: Actor) -> Answer:
        """Take everything out that waits in a thread; the running turn goes on."""

    def promote(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        """Run a waiting prompt now: the running turn is cancelled for it, the others keep their places (Q5)."""

    def remove(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        """Take a waiting prompt out (Q5)."""

    def end_left(self, thread_id: int, token: str, by: Actor) -> Answer:
        """End what a turn of the thread has left running; ``token`` is the one in the button."""

    def go_on(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer:
        """Go on with an interrupted prompt, asked for by a press on message ``notice`` of the thread (R2)."""

    def thread_gone(self, thread_id: int, reason: str) -> None:
        """Cancel what runs in a thread that was deleted, locked, or that Weft may no longer write to."""

    def at_rest(self, thread_id: int) -> bool:
        """Return whether nothing waits or runs in a thread."""

    def forget(self, *gone: int) -> None:
        """Forget threads, channels or servers that don't exist any more; call `thread_gone` before."""


class Chat(Protocol):
    """Discord, as the work sees it. Errors are those of `bot.reply.port`."""

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
