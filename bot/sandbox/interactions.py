"""All interactions: what the bot's answers do to messages, and the limits on an interaction's token.

An `Interaction` holds what a user started, and wakes those who wait for its answer. The mutable state is the map of
interactions. Routes call `acknowledge` and the webhook functions; `user_interactions` begins what users do. Where a
person's client began it, that client gets its progress.
"""

import asyncio
import secrets
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import anyio

from bot.sandbox import messages, objects
from bot.sandbox.checks import check_suggestions
from bot.sandbox.drafts import Upload, make_changes, make_draft
from bot.sandbox.errors import DiscordError, InvalidForm
from bot.sandbox.modals import check_modal
from bot.sandbox.model import Channel, Event, Json, Message, MessageFlags, MessageType
from bot.sandbox.state import State

TOKEN_SECONDS = 900.0  # as Discord documents it

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


class FailureReason(IntEnum):
    """Why a person's client is told that an interaction failed."""

    TIMEOUT = 2


@dataclass(frozen=True, slots=True)
class Client:
    """The session of a person's client that began an interaction, and what it calls it."""

    session_id: str | None
    nonce: str | None


@dataclass(slots=True, eq=False)
class Interaction:
    """One interaction; `response` is the data of the first answer, or of the message that filled a deferred one.

    Attributes:
        deadline: when a client is told that it failed, while nothing has answered.
    """

    id: int
    token: str
    type: InteractionType
    user_id: int
    channel_id: int
    created: float
    message_id: int | None = None
    client: Client | None = None
    command_name: str | None = None
    kind: CallbackType | None = None
    response: Json | None = None
    timed_out: bool = False
    ephemeral: bool = False
    original_id: int | None = None
    followups: list[Message] = field(default_factory=list)
    original_removed: bool = False
    answered_at: float | None = None
    deadline: asyncio.TimerHandle | None = None
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
            # One that a command has opened stands on no message that could be edited.
            InteractionType.MODAL: (4, 5) if self.message_id is None else (4, 5, 6, 7),
        }[self.type]
        if value not in allowed:
            raise InvalidForm("type", f"Value must be one of {allowed}.", "BASE_TYPE_CHOICES")
        return CallbackType(value)

    async def settle(self) -> None:
        """Wait for the acknowledgement, or until it would be too late."""
        with anyio.move_on_after(ACKNOWLEDGE_SECONDS):
            await self._acked.wait()

    async def filled(self, timeout: float = 30.0) -> Json:
        """Wait for a response with data, also one that was deferred; raises TimeoutError."""
        with anyio.fail_after(timeout):
            await self._filled.wait()
        return self.response or {}

    async def told(self, timeout: float = 30.0) -> str:
        """Wait for the text that answers the user: the response's or, where that has none, the first followup's."""
        text = (await self.filled(timeout)).get("content")
        if text is None:
            with anyio.fail_after(timeout):
                await self._followed.wait()
            text = self.followups[0].content
        return str(text)

    def note_followup(self, message: Message) -> None:
        self.followups.append(message)
        self._followed.set()

    def note_answer(self, kind: CallbackType, now: float) -> None:
        """Take the first answer."""
        # Or the client would be told of a failure after the success.
        if self.deadline is not None:
            self.deadline.cancel()
        self.kind = kind
        self.answered_at = now
        self._acked.set()

    def note_response(self, data: Json) -> None:
        """Take the data that the user sees."""
        self.response = data
        self._filled.set()


class Interactions:
    """All interactions by id and token."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._by_id: dict[int, Interaction] = {}
        self._by_token: dict[str, Interaction] = {}

    def all(self) -> list[Interaction]:
        """Every interaction, oldest first."""
        return list(self._by_id.values())

    def get(self, interaction_id: int) -> Interaction:
        """The interaction; raises KeyError."""
        return self._by_id[interaction_id]

    def start(
        self,
        kind: InteractionType,
        user_id: int,
        channel_id: int,
        data: Json,
        message: Message | None,
        client: Client | None = None,
    ) -> Interaction:
        """Make an interaction and send INTERACTION_CREATE."""
        state = self.state
        interaction_id = state.ids()
        interaction = Interaction(
            id=interaction_id,
            # People's clients know the id; whoever has the token answers in the bot's name.
            token=f"sandbox.interaction.{interaction_id}.{secrets.token_urlsafe(16)}",
            type=kind,
            user_id=user_id,
            channel_id=channel_id,
            created=state.clock(),
            message_id=None if message is None else message.id,
            client=client,
            command_name=_command_name(data) if kind is InteractionType.COMMAND else None,
        )
        self._by_id[interaction_id] = interaction
        self._by_token[interaction.token] = interaction
        shape = interaction_json(state, interaction, data, message)
        state.publish(Event("INTERACTION_CREATE", shape, only=state.bot.id))
        if client is not None:
            self._tell(interaction, "INTERACTION_CREATE", {"id": str(interaction_id)})
            # No task waits for this: a timer of the loop ends with the loop, and an answer cancels it.
            later = asyncio.get_running_loop().call_later
            interaction.deadline = later(ACKNOWLEDGE_SECONDS, self._time_out, interaction)
        state.changes.note()
        return interaction

    def _time_out(self, interaction: Interaction) -> None:
        interaction.timed_out = True
        failed: Json = {"id": str(interaction.id), "reason_code": int(FailureReason.TIMEOUT)}
        self._tell(interaction, "INTERACTION_FAILURE", failed)

    def _tell(self, interaction: Interaction, name: str, data: Json) -> None:
        """Tell the client that began it, if one did."""
        if interaction.client is not None:
            told = {**data, "nonce": interaction.client.nonce}
            session_id = interaction.client.session_id
            self.state.publish(Event(name, told, only=interaction.user_id, session=session_id))

    # -- the callback ----------------------------------------------------------------------------------------------

    def acknowledge(self, interaction_id: int, token: str, body: Json, uploads: list[Upload]) -> Json:
        """Take the first answer and return Discord's description of it; raises 10062, 40060 or a form error."""
        interaction = self._by_id.get(interaction_id)
        if interaction is None or interaction.token != token:
            raise DiscordError(10062)
        if interaction.acked:
            raise DiscordError(40060)
        # Both: the timer may be late on a busy loop, and without a client there is none.
        if interaction.timed_out or self.state.clock() - interaction.created > ACKNOWLEDGE_SECONDS:
            raise DiscordError(10062)
        kind = interaction.callback_type(body.get("type"))
        data = body.get("data") or {}
        # Before it counts as answered: an answer that is refused for its form may be given again.
        message = self._carry_out(interaction, kind, data, uploads)
        interaction.note_answer(kind, self.state.clock())
        self._tell_answer(interaction, kind, data)
        self.state.changes.note()
        return self._describe(interaction, kind, message)

    def _tell_answer(self, interaction: Interaction, kind: CallbackType, data: Json) -> None:
        state, shape = self.state, {"id": str(interaction.id)}
        if kind is CallbackType.AUTOCOMPLETE:
            self._tell(interaction, "APPLICATION_COMMAND_AUTOCOMPLETE_RESPONSE", {"choices": data["choices"]})
            return
        if kind is CallbackType.MODAL:
            modal: Json = {
                **shape,
                "application": {"id": str(state.application_id), "name": state.bot.name, "icon": None},
                "channel_id": str(interaction.channel_id),
                **{name: data[name] for name in ("custom_id", "title", "components")},
            }
            self._tell(interaction, "INTERACTION_MODAL_CREATE", modal)
        self._tell(interaction, "INTERACTION_SUCCESS", shape)

    def _carry_out(
        self, interaction: Interaction, kind: CallbackType, data: Json, uploads: list[Upload]
    ) -> Message | None:
        if kind in (CallbackType.MODAL, CallbackType.AUTOCOMPLETE):
            (check_modal if kind is CallbackType.MODAL else check_suggestions)(data)
            interaction.note_response(data)
            return None
        if kind is CallbackType.MESSAGE:
            message = self._post(interaction, data, uploads)
            interaction.original_id = message.id
            interaction.ephemeral = message.ephemeral
            interaction.note_response(data)
            return message
        if kind is CallbackType.DEFERRED_MESSAGE:
            return self._defer(interaction, data)
        interaction.original_id = interaction.message_id
        message = self._original(interaction)
        if kind is CallbackType.UPDATE:
            message = self._edit(message, data, uploads)
            interaction.note_response(data)
        return message

    def _defer(self, interaction: Interaction, data: Json) -> Message:
        """The empty message that stands for "thinking..."."""
        # Decided by the deferral: what fills it later can't change who sees it.
        interaction.ephemeral = bool(int(data.get("flags") or 0) & MessageFlags.EPHEMERAL)
        flags = MessageFlags.LOADING | (MessageFlags.EPHEMERAL if interaction.ephemeral else 0)
        message = Message(
            id=self.state.ids(),
            channel_id=interaction.channel_id,
            author_id=self.state.bot.id,
            type=interaction.message_type,
            flags=int(flags),
            reader_id=interaction.user_id if interaction.ephemeral else None,
            answers=_answered(self.state, interaction),
        )
        interaction.original_id = message.id
        self.state.put_message(message)
        messages.publish_message(self.state, "MESSAGE_CREATE", message)
        return message

    def _post(self, interaction: Interaction, data: Json, uploads: list[Upload]) -> Message:
        state = self.state
        draft = make_draft(data, uploads, state.ids)
        kind = interaction.message_type
        if not draft.flags & MessageFlags.EPHEMERAL:
            answered = _answered(state, interaction)
            return messages.post(state, interaction.channel_id, state.bot.id, draft, kind, answers=answered)
        message = state.put_message(
            Message(
                id=state.ids(),
                channel_id=interaction.channel_id,
                author_id=state.bot.id,
                content=draft.content,
                type=kind,
                flags=draft.flags,
                components=draft.components,
                embeds=draft.embeds,
                attachments=draft.attachments,
                reader_id=interaction.user_id,
                answers=_answered(state, interaction),
            )
        )
        messages.publish_message(state, "MESSAGE_CREATE", message)
        return message

    def _edit(self, message: Message, data: Json, uploads: list[Upload]) -> Message:
        # What was deferred is filled by its first edit: nobody is thinking any more.
        shown = replace(message, flags=message.flags & ~int(MessageFlags.LOADING))
        changes = {"flags": shown.flags, **make_changes(data, uploads, shown, self.state.ids)}
        return messages.edit(self.state, message, changes, data.get("allowed_mentions"))

    def _describe(self, interaction: Interaction, kind: CallbackType, message: Message | None) -> Json:
        shape: Json = {"id": str(interaction.id), "type": int(interaction.type)}
        if message is None:
            return {"interaction": shape}
        shape |= {
            "response_message_id": str(message.id),
            "response_message_loading": message.loading,
            "response_message_ephemeral": message.ephemeral,
        }
        if kind not in (CallbackType.MESSAGE, CallbackType.UPDATE):  # a deferral has made nothing to show yet
            return {"interaction": shape}
        resource = {"type": int(kind), "message": objects.message_json(self.state, message)}
        return {"interaction": shape, "resource": resource}

    # -- the webhook -----------------------------------------------------------------------------------------------

    def by_token(self, application_id: int, token: str) -> Interaction:
        """The answered interaction whose token is still valid; raises 10015 or 50027."""
        interaction = self._by_token.get(token)
        # Before the first answer there is no webhook, as with Discord.
        if interaction is None or application_id != self.state.application_id or not interaction.acked:
            raise DiscordError(10015)
        if self.state.clock() - interaction.created > TOKEN_SECONDS:
            raise DiscordError(50027)
        return interaction

    def follow_up(self, interaction: Interaction, body: Json, uploads: list[Upload]) -> Message:
        """Post a followup; the first one after a deferral fills the deferred message."""
        if interaction.waiting:
            return self.edit(interaction, self._original(interaction), body, uploads)
        message = self._post(interaction, body, uploads)
        interaction.note_followup(message)
        self.state.changes.note()
        return message

    def find(self, interaction: Interaction, name: str) -> Message:
        """`@original` or a followup by its id; raises 10008."""
        if name == "@original":
            return self._original(interaction)
        # Its own messages only: the token gives no right over others.
        known = {one.id for one in interaction.followups} | {interaction.original_id}
        message = self.state.messages.get(int(name)) if name.isdigit() and int(name) in known else None
        if message is None:
            raise DiscordError(10008)
        return message

    def edit(self, interaction: Interaction, message: Message, body: Json, uploads: list[Upload]) -> Message:
        """Edit one of the interaction's messages."""
        edited = self._edit(message, body, uploads)
        interaction.followups = [edited if one.id == edited.id else one for one in interaction.followups]
        if edited.id == interaction.original_id:
            # An edit names only what it changes.
            interaction.note_response({**(interaction.response or {}), **body})
        self.state.changes.note()
        return edited

    def delete(self, interaction: Interaction, message: Message) -> None:
        """Delete one of the interaction's messages."""
        if message.id == interaction.original_id:
            interaction.original_removed = True
        messages.delete(self.state, message)

    def _original(self, interaction: Interaction) -> Message:
        message = self.state.messages.get(interaction.original_id or 0)
        if message is None:
            raise DiscordError(10008)
        return message


def _command_name(data: Json) -> str:
    """What the command is called, with its sub-commands."""
    names, level = [data["name"]], data
    # A sub-command, or a group of them, is always alone on its level.
    while level.get("options") and level["options"][0]["type"] in (1, 2):
        level = level["options"][0]
        names.append(level["name"])
    return " ".join(names)


def _answered(state: State, interaction: Interaction) -> Json:
    """What a person did that a message answers, as people's clients see it."""
    user = objects.user_json(state.members[interaction.user_id].user)
    shape: Json = {"id": str(interaction.id), "type": int(interaction.type), "user": user}
    if interaction.command_name is not None:
        shape["name"] = interaction.command_name
    return shape


def interaction_json(state: State, interaction: Interaction, data: Json, message: Message | None) -> Json:
    """The data of INTERACTION_CREATE."""
    channel = state.channel(interaction.channel_id)
    member = state.members[interaction.user_id]
    shape: Json = {
        "id": str(interaction.id),
        "application_id": str(state.application_id),
        "type": int(interaction.type),
        "token": interaction.token,
        "version": 1,
        "data": data,
        "channel_id": str(channel.id),
        "channel": objects.channel_json(state, channel),
        "attachment_size_limit": objects.ATTACHMENT_LIMIT_BYTES,
        "entitlements": [],
        "authorizing_integration_owners": {},
        "app_permissions": str(state.permissions(state.bot.id, channel)),
        "locale": "en-US",
        "context": 0 if channel.in_guild else 1,
    }
    if message is not None:
        shape["message"] = objects.message_json(state, message)
    return shape | _who(state, channel, interaction.user_id, objects.member_json(member))


def _who(state: State, channel: Channel, user_id: int, member: Json) -> Json:
    # In direct messages there is a user, and no member.
    if not channel.in_guild:
        return {"user": member["user"]}
    permissions = str(state.permissions(user_id, channel))
    return {
        "guild_id": str(state.guild_id),
        "guild_locale": "en-US",
        "guild": {"id": str(state.guild_id), "locale": "en-US", "features": []},
        "member": {**member, "permissions": permissions},
    }
