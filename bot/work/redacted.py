"""Discord behind a filter: no configured secret passes, whatever text, label or file holds it (R5).

A secret that an agent spells out piece by piece over several messages is out of reach; see ``docs/limits.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.log import Redactor
from bot.model import Actor, Inbound, QueueMode
from bot.reply.port import Body, ThreadPort
from bot.work.ports import Answer, Chat, Desk


@dataclass(frozen=True, slots=True)
class RedactedThread:
    """A `ThreadPort` that cuts secrets out of every message."""

    port: ThreadPort
    redactor: Redactor

    async def send(self, body: Body, *, nonce: str, reply_to: int | None = None) -> int:
        """Post a message without the secrets."""
        return await self.port.send(self._clean(body), nonce=nonce, reply_to=reply_to)

    async def edit(self, message_id: int, body: Body) -> None:
        """Edit a message to a text without the secrets."""
        await self.port.edit(message_id, self._clean(body))

    async def delete(self, message_id: int) -> None:
        """Delete a message."""
        await self.port.delete(message_id)

    async def typing(self) -> None:
        """Show the typing sign."""
        await self.port.typing()

    async def own_messages(self, after: int, limit: int = 50) -> list[tuple[int, str]]:
        """Return Weft's own messages; they were filtered when they were posted."""
        return await self.port.own_messages(after, limit)

    def _clean(self, body: Body) -> Body:
        text = self.redactor.text
        buttons = tuple(replace(button, label=text(button.label)) for button in body.buttons)
        file = body.file and replace(body.file, data=self.redactor.data(body.file.data))
        return replace(body, text=text(body.text), buttons=buttons, file=file)


@dataclass(frozen=True, slots=True)
class RedactedChat:
    """A `Chat` that cuts secrets out of everything it posts."""

    chat: Chat
    redactor: Redactor

    def thread(self, thread_id: int) -> ThreadPort:
        """Return the filtered port of a thread."""
        return RedactedThread(self.chat.thread(thread_id), self.redactor)

    async def open_thread(self, inbound: Inbound) -> None:
        """Open the inbound's thread; its name is what a person wrote."""
        await self.chat.open_thread(inbound)

    async def acknowledge(self, inbound: Inbound, emoji: str) -> None:
        """React to the message."""
        await self.chat.acknowledge(inbound, emoji)

    async def react(self, channel_id: int, message_id: int, emoji: str, *, instead_of: tuple[str, ...] = ()) -> None:
        """Set a reaction on a message."""
        await self.chat.react(channel_id, message_id, emoji, instead_of=instead_of)

    async def refuse(self, inbound: Inbound, text: str) -> None:
        """Answer the message without the secrets."""
        await self.chat.refuse(inbound, self.redactor.text(text))


@dataclass(frozen=True, slots=True)
class RedactedDesk:
    """A `Desk` whose answers hold no secret: a tool's title or an option's name is an agent's text."""

    desk: Desk
    redactor: Redactor

    async def saved(self) -> bool:
        """Wait until all that was asked for is written down."""
        return await self.desk.saved()

    def submit(self, inbound: Inbound) -> None:
        """Take a message over."""
        self.desk.submit(inbound)

    def stop(self, thread_id: int, by: Actor, prompt: int | None = None, before: int | None = None) -> Answer:
        """Stop a turn; see `Desk`."""
        return self._clean(self.desk.stop(thread_id, by, prompt, before))

    def status(self, thread_id: int | None) -> str:
        """Return the state of a thread, or of the whole bot."""
        return self.redactor.text(self.desk.status(thread_id))

    def reset(self, thread_id: int, by: Actor) -> Answer:
        """End the thread's agent and forget its session."""
        return self._clean(self.desk.reset(thread_id, by))

    def agents(self) -> tuple[str, ...]:
        """Return the names of the agents."""
        return self.desk.agents()

    def renew(self, thread_id: int | None, agent: str | None, by: Actor) -> Answer:
        """Go on afresh with an agent."""
        return self._clean(self.desk.renew(thread_id, agent, by))

    def assign(self, thread_id: int, agent: str) -> None:
        """Give a thread an agent."""
        self.desk.assign(thread_id, agent)

    def decide(self, request: str, option: int, by: Actor) -> Answer:
        """Answer a permission request, if ``by`` may."""
        return self._clean(self.desk.decide(request, option, by))

    def pending(self) -> frozenset[int]:
        """Return the ids of the messages that are not written down yet."""
        return self.desk.pending()

    def hold(self) -> None:
        """Start nothing new until `release`."""
        self.desk.hold()

    def release(self) -> None:
        """Let waiting prompts start again."""
        self.desk.release()

    def missed(self, inbound: Inbound) -> None:
        """Take a message that was posted too long ago to be run unasked."""
        self.desk.missed(inbound)

    def waiting(self) -> dict[int, list[int]]:
        """Return the ids of the messages that wait, by place."""
        return self.desk.waiting()

    def at_rest(self, thread_id: int) -> bool:
        """Return whether nothing waits or runs in a thread."""
        return self.desk.at_rest(thread_id)

    def forget(self, *gone: int) -> None:
        """Forget what does not exist any more."""
        self.desk.forget(*gone)

    def authors(self) -> frozenset[tuple[int, int]]:
        """Return who wrote what waits."""
        return self.desk.authors()

    def roles_now(self, guild_id: int, user_id: int, roles: frozenset[int]) -> None:
        """Take note of the roles that somebody has now."""
        self.desk.roles_now(guild_id, user_id, roles)

    def edited(self, message_id: int, text: str) -> None:
        """Take the new text of a message."""
        self.desk.edited(message_id, text)

    def deleted(self, message_id: int) -> None:
        """Take a message out that was deleted."""
        self.desk.deleted(message_id)

    def stop_all(self, thread_id: int, by: Actor, before: int) -> Answer:
        """End the turns of the thread and empty its queue."""
        return self._clean(self.desk.stop_all(thread_id, by, before))

    def queue(self, thread_id: int, guild_id: int | None = None) -> str:
        """Return what waits in a thread."""
        return self.redactor.text(self.desk.queue(thread_id, guild_id))

    def choose_mode(self, place_id: int, mode: QueueMode, by: Actor, *, server: bool) -> Answer:
        """Choose the queue mode of a thread or a server."""
        return self._clean(self.desk.choose_mode(place_id, mode, by, server=server))

    def clear(self, thread_id: int, by: Actor) -> Answer:
        """Take everything out that waits in a thread."""
        return self._clean(self.desk.clear(thread_id, by))

    def promote(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        """Run a waiting prompt now."""
        return self._clean(self.desk.promote(thread_id, prompt, by))

    def remove(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        """Take a waiting prompt out."""
        return self._clean(self.desk.remove(thread_id, prompt, by))

    def end_left(self, thread_id: int, token: str, by: Actor) -> Answer:
        """End what a turn has left running."""
        return self._clean(self.desk.end_left(thread_id, token, by))

    def go_on(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer:
        """Go on with an interrupted prompt."""
        return self._clean(self.desk.go_on(thread_id, prompt, notice, by))

    def thread_gone(self, thread_id: int, reason: str) -> None:
        """Cancel what runs in a thread that is gone."""
        self.desk.thread_gone(thread_id, reason)

    def _clean(self, answer: Answer) -> Answer:
        return replace(answer, text=self.redactor.text(answer.text))
