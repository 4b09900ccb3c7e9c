"""The two sides of the border between Discord and the work: what `chat` may call, and what it must offer (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bot.reply.port import ThreadPort
from bot.work.model import Actor, Inbound


@dataclass(frozen=True, slots=True)
class Answer:
    """What the person who pressed a button is told; ``accepted`` says whether the press had an effect."""

    text: str
    accepted: bool


class Desk(Protocol):
    """The work, as Discord sees it. Every call is synchronous and returns at once, whatever an agent does."""

    def submit(self, inbound: Inbound) -> None:
        """Take a message over; from here on it gets exactly one outcome."""

    def stop(self, thread_id: int, by: Actor, prompt: int | None = None) -> Answer:
        """Stop the oldest running turn of the thread, or, with ``prompt``, the turn of that message only."""

    def status(self, thread_id: int | None) -> str:
        """Return the state of a thread, or of the whole bot, as Discord Markdown."""

    def reset(self, thread_id: int, by: Actor) -> Answer:
        """End the thread's agent and forget its session; the next message starts afresh."""

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

    def go_on(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer:
        """Go on with an interrupted prompt, asked for by a press on message ``notice`` of the thread (R2)."""

    def thread_gone(self, thread_id: int, reason: str) -> None:
        """Cancel what runs in a thread that was deleted, locked, or that Weft may no longer write to."""


class Chat(Protocol):
    """Discord, as the work sees it. Errors are those of `bot.reply.port`."""

    def thread(self, thread_id: int) -> ThreadPort:
        """Return the port of a thread; it asks for the current client at each call."""

    async def open_thread(self, inbound: Inbound) -> None:
        """Open the inbound's thread from its message; a thread that exists already is used."""

    async def acknowledge(self, inbound: Inbound, emoji: str) -> None:
        """React to the message."""

    async def refuse(self, inbound: Inbound, text: str) -> None:
        """Answer the message where it was posted, when there is no thread to answer in."""
