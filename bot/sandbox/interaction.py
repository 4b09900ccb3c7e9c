"""One interaction: what a user started, which first answers it takes, and what the bot made of it.

It holds what came in and wakes those who wait for it; what an answer does to messages is `interactions`' business.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import anyio

from bot.sandbox.errors import InvalidForm
from bot.sandbox.model import Json, Message, MessageType

ACKNOWLEDGE_SECONDS = 3.0


class InteractionType(IntEnum):
    """What the user did."""

    COMMAND = 2
    COMPONENT = 3
    AUTOCOMPLETE = 4
    MODAL = 5


class CallbackType(IntEnum):
    """How the bot answered first."""

    MESSAGE = 4
    DEFERRED_MESSAGE = 5
    DEFERRED_UPDATE = 6
    UPDATE = 7
    AUTOCOMPLETE = 8
    MODAL = 9


@dataclass(slots=True, eq=False)
class Interaction:
    """One interaction; `response` is the data of the first answer, or of the message that filled a deferred one."""

    id: int
    token: str
    type: InteractionType
    user_id: int
    channel_id: int
    created: float
    message_id: int | None = None
    kind: CallbackType | None = None
    response: Json | None = None
    ephemeral: bool = False
    original_id: int | None = None
    followups: list[Message] = field(default_factory=list)
    original_removed: bool = False
    answered_at: float | None = None
    _acked: anyio.Event = field(default_factory=anyio.Event)
    _filled: anyio.Event = field(default_factory=anyio.Event)
    _followed: anyio.Event = field(default_factory=anyio.Event)

    @property
    def acked(self) -> bool:
        """Whether the bot answered in time."""
        return self.kind is not None

    @property
    def waiting(self) -> bool:
        """Whether the user still sees "thinking..."."""
        return self.kind is CallbackType.DEFERRED_MESSAGE and not self._filled.is_set() and not self.original_removed

    @property
    def message_type(self) -> MessageType:
        """Of the messages that answer it."""
        return MessageType.COMMAND if self.type is InteractionType.COMMAND else MessageType.DEFAULT

    def callback_type(self, value: Any) -> CallbackType:
        """The type of a first answer; raises a form error where it does not suit what the user did."""
        allowed = {
            InteractionType.COMMAND: (4, 5, 9),
            InteractionType.COMPONENT: (4, 5, 6, 7, 9),
            InteractionType.AUTOCOMPLETE: (8,),
            InteractionType.MODAL: (4, 5) if self.message_id is None else (4, 5, 6, 7),
        }[self.type]
        if value not in allowed:
            raise InvalidForm("type", f"Value must be one of {allowed}.", "BASE_TYPE_CHOICES")
        return CallbackType(value)

    async def settle(self) -> None:
        """Wait for the acknowledgement, or until it would be too late."""
        with anyio.move_on_after(ACKNOWLEDGE_SECONDS):
            await self._acked.wait()

    async def filled(self, timeout: float = 5.0) -> Json:
        """Wait for a response with data, also one that was deferred; raises TimeoutError."""
        with anyio.fail_after(timeout):
            await self._filled.wait()
        return self.response or {}

    async def told(self, timeout: float = 5.0) -> str:
        """Wait for the text that answers the user: the response's or, where that has none, the first followup's."""
        text = (await self.filled(timeout)).get("content")
        if text is None:
            with anyio.fail_after(timeout):
                await self._followed.wait()
            text = self.followups[0].content
        return str(text)

    def note_followup(self, message: Message) -> None:
        """Take a followup."""
        self.followups.append(message)
        self._followed.set()

    def note_answer(self, kind: CallbackType, now: float) -> None:
        """Take the first answer."""
        self.kind = kind
        self.answered_at = now
        self._acked.set()

    def note_response(self, data: Json) -> None:
        """Take the data that the user sees."""
        self.response = data
        self._filled.set()
