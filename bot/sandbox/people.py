"""The users of the loopback Discord: they write, edit, delete, react, click, use commands and fill modals.

What they attach to messages beside text and files has its form on the wire: polls, stickers, forwarded messages.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bot.sandbox import actions, invocations, objects, user_interactions
from bot.sandbox.drafts import EVERYBODY, Upload
from bot.sandbox.errors import DiscordError
from bot.sandbox.interactions import Interaction, Interactions, InteractionType
from bot.sandbox.model import Event, Intents, Json, Message, User
from bot.sandbox.state import Member, State

_PNG = 1


@dataclass(frozen=True, slots=True)
class Person:
    """A member of the guild."""

    id: int
    name: str
    state: State
    interactions: Interactions

    async def say(
        self,
        channel_id: int,
        text: str = "",
        *,
        mention_bot: bool = False,
        reply_to: Message | int | None = None,
        ping: bool = True,
        files: Iterable[tuple[str, bytes]] = (),
        voice: bool = False,
        declared: int | None = None,
        also: Json | None = None,
    ) -> Message:
        """Post a message.

        Args:
            mention_bot: put the bot's mention in front.
            ping: whether a reply notifies the author of the original.
            voice: the files are one voice message.
            declared: the size in bytes that is announced for each file, whatever it has.
            also: what else hangs on it: the poll or the stickers of `parts`, or any field as the wire is to have it.
        """
        body: Json = {"content": f"<@{self.state.bot.id}> {text}" if mention_bot else text}
        if reply_to is not None:
            body["message_reference"] = {"message_id": str(_message_id(reply_to))}
        if not ping:
            # With all that counts where the field is left out, or nobody in the text would be notified.
            body["allowed_mentions"] = {**EVERYBODY, "replied_user": False}
        uploads = [Upload(index, name, data) for index, (name, data) in enumerate(files)]
        extras = actions.Extras(also or {}, voice, declared)
        return actions.send(self.state, self.id, channel_id, body, uploads, extras)

    async def forward(self, message: Message | int, channel_id: int) -> Message:
        """Post a copy of a message in another place; it shows no author."""
        original = self._message(message)
        reference = {"type": actions.FORWARD, "message_id": str(original.id), "channel_id": str(original.channel_id)}
        return actions.send(self.state, self.id, channel_id, {"message_reference": reference}, [])

    async def edit(self, message: Message | int, text: str) -> Message:
        """Change the text of an own message."""
        return actions.edit(self.state, self.id, self._message(message), {"content": text}, [])

    async def delete(self, message: Message | int) -> None:
        """Delete an own message, or another's by whoever manages messages."""
        actions.delete(self.state, self.id, self._message(message))

    async def react(self, message: Message | int, emoji: str) -> None:
        """Add a reaction."""
        actions.react(self.state, self.id, self._message(message), emoji)

    async def unreact(self, message: Message | int, emoji: str) -> None:
        """Take the own reaction away."""
        actions.unreact(self.state, self.id, self._message(message), emoji, self.id)

    async def typing(self, channel_id: int) -> None:
        """Show that this user types."""
        actions.typing(self.state, self.id, channel_id)

    async def click(self, message: Message | int, custom_id: str, values: Iterable[str] = ()) -> Interaction:
        """Click a button or choose in a select; waits until acknowledged or 3 s passed.

        Raises:
            LookupError: the message has no such component, or it is disabled.
            ValueError: the select has no such values, or takes more or fewer of them.

        """
        return await _settled(self.begin_click(message, custom_id, values))

    def begin_click(self, message: Message | int, custom_id: str, values: Iterable[str] = ()) -> Interaction:
        """Click as `click` does, without waiting for the bot."""
        return user_interactions.press(self.interactions, self.id, self._message(message), custom_id, list(values))

    async def choose(self, message: Message | int, custom_id: str, *values: str | int) -> Interaction:
        """Choose in a select, values of its options or ids of people, roles or channels, as `click` does."""
        return await self.click(message, custom_id, [str(one) for one in values])

    async def slash(self, channel_id: int, name: str, /, **options: Any) -> Interaction:
        """Use a slash command (`"queue mode"` names a sub-command); waits until acknowledged or 3 s passed.

        Raises:
            LookupError: no such command is registered.
            ValueError: the options do not fit the registered ones.

        """
        return await _settled(self.begin_slash(channel_id, name, **options))

    def begin_slash(self, channel_id: int, name: str, /, **options: Any) -> Interaction:
        """Use a command as `slash` does, without waiting for the bot."""
        command, inner = self._command(name)
        return user_interactions.use_command(self.interactions, self.id, channel_id, command, inner, options)

    async def autocomplete(self, channel_id: int, name: str, option: str, text: str, /, **options: Any) -> Interaction:
        """Type into an option of a command; the suggestions are in `response["choices"]`."""
        return await _settled(self.begin_autocomplete(channel_id, name, option, text, **options))

    def begin_autocomplete(self, channel_id: int, name: str, option: str, text: str, /, **options: Any) -> Interaction:
        """Type into an option as `autocomplete` does, without waiting for the bot."""
        command, inner = self._command(name)
        return user_interactions.suggest(self.interactions, self.id, channel_id, command, inner, option, text, options)

    async def submit_modal(self, opened_by: Interaction, /, **values: str | Sequence[str]) -> Interaction:
        """Submit the modal that an interaction opened: texts, and values of selects, by the fields' custom ids.

        Raises:
            LookupError: no modal was opened, or it has no such field.
            ValueError: a text is too long or too short for its field, or a select has no such values.

        """
        return await _settled(self.begin_submit(opened_by, **values))

    def begin_submit(self, opened_by: Interaction, /, **values: str | Sequence[str]) -> Interaction:
        """Submit a modal as `submit_modal` does, without waiting for the bot."""
        return user_interactions.submit(self.interactions, self.id, opened_by, values)

    def forge(self, kind: InteractionType, channel_id: int, data: Json, message: Message | None = None) -> Interaction:
        """Send what no client would and Discord would refuse, to see what the bot makes of it."""
        return self.interactions.start(kind, self.id, channel_id, data, message)

    async def forge_click(self, message: Message | int, custom_id: str) -> Interaction:
        """Press a button of a message that only somebody else sees, which Discord would refuse."""
        current = self.state.messages[_message_id(message)]
        component = invocations.find_component(current, custom_id)
        data = invocations.component_data(self.state, component, [])
        return await _settled(self.forge(InteractionType.COMPONENT, current.channel_id, data, current))

    def _command(self, path: str) -> tuple[Json, list[str]]:
        """The command of that name, and the names of its sub-commands after spaces."""
        name, *inner = path.split()
        return invocations.find_command(self.state, name), inner

    def _message(self, message: Message | int) -> Message:
        """The message's present state, ephemeral ones too; raises 10008."""
        # By id, as the caller's record may be an older state of it.
        current = self.state.messages.get(_message_id(message))
        if current is None:
            raise DiscordError(10008)
        return current


async def _settled(interaction: Interaction) -> Interaction:
    await interaction.settle()
    return interaction


def _message_id(message: Message | int) -> int:
    return message if isinstance(message, int) else message.id


def add_member(state: State, user: User, role_ids: Iterable[int] = ()) -> Member:
    """Let an account join the guild, or give a member other roles."""
    known = state.members.get(user.id)
    member = Member(user, tuple(role_ids))
    state.members[user.id] = member
    if known is None and user.id != state.bot.id:
        data = {**objects.member_json(member), "guild_id": str(state.guild_id)}
        state.publish(Event("GUILD_MEMBER_ADD", data, Intents.GUILD_MEMBERS))
    elif known is not None:
        # A bot hears of its own roles whatever its intents are.
        data = {**objects.member_json(member), "guild_id": str(state.guild_id)}
        intent = Intents.NONE if user.id == state.bot.id else Intents.GUILD_MEMBERS
        state.publish(Event("GUILD_MEMBER_UPDATE", data, intent))
    return member


def remove_member(state: State, user_id: int) -> None:
    """Take a member out of the guild."""
    member = state.member(user_id)
    # Kept, since their messages are still there and name them.
    member.left, member.role_ids = True, ()
    data = {"guild_id": str(state.guild_id), "user": objects.user_json(member.user)}
    state.publish(Event("GUILD_MEMBER_REMOVE", data, Intents.GUILD_MEMBERS))


def poll(question: str, *answers: str) -> Json:
    """A poll that nobody has voted in yet."""
    shape: Json = {
        "question": {"text": question},
        "answers": [{"answer_id": n, "poll_media": {"text": text}} for n, text in enumerate(answers, 1)],
        "expiry": "2100-01-01T00:00:00+00:00",
        "allow_multiselect": False,
        "layout_type": 1,
        "results": {"is_finalized": False, "answer_counts": []},
    }
    return {"poll": shape}


def stickers(state: State, *names: str) -> Json:
    """Stickers by their names."""
    return {"sticker_items": [{"id": str(state.ids()), "name": name, "format_type": _PNG} for name in names]}
