"""What a person does with commands, components and modals, checked as Discord checks it: one function each.

`people` comes here for those who act in process, `routes_user_interactions` for people's clients. What an interaction
carries is made in `invocations` and `modals`; what the bot answers is in `interactions`.

Raises everywhere: DiscordError where the person may not or the place is not there, LookupError where the command,
component or field is not, ValueError where a value does not suit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bot.sandbox import invocations, modals
from bot.sandbox.errors import DiscordError
from bot.sandbox.interactions import CallbackType, Client, Interaction, Interactions, InteractionType
from bot.sandbox.model import ADMINISTRATOR, Channel, Json, Message
from bot.sandbox.state import State

_BOT_DM_CONTEXT = 1


def press(
    interactions: Interactions,
    who: int,
    message: Message,
    custom_id: str,
    values: Sequence[str] = (),
    client: Client | None = None,
) -> Interaction:
    """Press a button or choose in a select of a message's present state."""
    state = interactions.state
    require_reader(state, who, message)
    # In the message as it is now: what an edit took away or disabled can't be pressed any more.
    component = invocations.find_component(message, custom_id)
    data = invocations.component_data(state, component, list(values))
    _require_seen(state, who, data)
    return interactions.start(InteractionType.COMPONENT, who, message.channel_id, data, message, client)


def require_reader(state: State, who: int, message: Message) -> None:
    """Raise where a person does not see a message."""
    state.require(who, state.channel(message.channel_id))
    if message.reader_id not in (None, who):
        raise DiscordError(10008)


def use_command(
    interactions: Interactions,
    who: int,
    channel_id: int,
    command: Json,
    inner: Sequence[str],
    values: Mapping[str, Any],
    client: Client | None = None,
) -> Interaction:
    """Use a slash command, or one of its sub-commands."""
    state = interactions.state
    _require_command(state, who, state.channel(channel_id), command)
    data = invocations.command_data(state, command, inner, values)
    _require_seen(state, who, data)
    return interactions.start(InteractionType.COMMAND, who, channel_id, data, None, client)


def suggest(
    interactions: Interactions,
    who: int,
    channel_id: int,
    command: Json,
    inner: Sequence[str],
    option: str,
    text: str,
    values: Mapping[str, Any],
    client: Client | None = None,
) -> Interaction:
    """Type into an option that suggests what one may choose."""
    state = interactions.state
    _require_command(state, who, state.channel(channel_id), command)
    data = invocations.autocomplete_data(command, inner, option, text, values)
    return interactions.start(InteractionType.AUTOCOMPLETE, who, channel_id, data, None, client)


def submit(
    interactions: Interactions, who: int, opened_by: Interaction, values: modals.Filled, client: Client | None = None
) -> Interaction:
    """Send the modal that an interaction opened; again, where the answer to the first time never came."""
    state = interactions.state
    # The answer's modal is what is filled in, not what a client says that it was shown.
    if opened_by.kind is not CallbackType.MODAL or opened_by.response is None or opened_by.user_id != who:
        raise LookupError(f"interaction {opened_by.id} opened no modal")
    state.require(who, state.channel(opened_by.channel_id))
    data = modals.submitted(opened_by.response, values)
    message = state.messages.get(opened_by.message_id or 0)
    return interactions.start(InteractionType.MODAL, who, opened_by.channel_id, data, message, client)


# -- who may use what --------------------------------------------------------------------------------------------------


def usable_commands(state: State, who: int, channel: Channel | None = None) -> list[Json]:
    """The slash commands that a person may use in a place, or in some place of the guild; none without the bot."""
    listed = [*state.commands.get(str(state.guild_id), []), *state.commands.get("", [])]
    if channel is not None and not channel.in_guild:
        return [one for one in listed if _in_direct_messages(state, one)]
    if state.removed:  # an application's commands go with it
        return []
    granted = state.granted(who) if channel is None else state.permissions(who, channel)
    return [one for one in listed if _permitted(one, granted)]


def _require_command(state: State, who: int, channel: Channel, command: Json) -> None:
    # First, so that a place that somebody does not see is unknown, whatever the command.
    state.require(who, channel, "use_application_commands")
    # The same list as the one that clients are offered: what is not in it can't be used by its id either.
    if command not in usable_commands(state, who, channel):
        raise DiscordError(50013 if channel.in_guild else 10063)


def _permitted(command: Json, granted: int) -> bool:
    """Whether `default_member_permissions` lets somebody in: no bits are for administrators alone, None for all."""
    needed = command.get("default_member_permissions")
    if needed is None or granted & ADMINISTRATOR:
        return True
    return int(needed) != 0 and granted & int(needed) == int(needed)


def _in_direct_messages(state: State, command: Json) -> bool:
    contexts = state.command_contexts.get(command["id"])
    return "guild_id" not in command and (contexts is None or _BOT_DM_CONTEXT in contexts)


def _require_seen(state: State, who: int, data: Json) -> None:
    """Nobody can name a place that they do not see."""
    for channel_id in data.get("resolved", {}).get("channels", {}):
        if not state.sees(who, state.channel(int(channel_id))):
            raise ValueError(f"there is no channel {channel_id}")
