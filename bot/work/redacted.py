"""Discord behind a filter: no configured secret passes, whatever text, label or file holds it (R5).

A secret that an agent spells out piece by piece over several messages is out of reach; see ``docs/limits.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.log import Redactor
from bot.reply.port import Body, ThreadPort
from bot.work.model import Inbound
from bot.work.ports import Chat


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

    async def typing(self) -> None:
        """Show the typing sign."""
        await self.port.typing()

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

    async def refuse(self, inbound: Inbound, text: str) -> None:
        """Answer the message without the secrets."""
        await self.chat.refuse(inbound, self.redactor.text(text))
