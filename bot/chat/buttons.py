"""Buttons: found by their custom_id alone, so that they work on messages of an earlier run too.

What a press does is decided by the work; an unknown or outdated button is answered, never left to Discord's error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

import discord
from discord import ui

from bot.chat.interactions import respond, respond_once, tell
from bot.model import Actor
from bot.work.ports import Answer, DispatcherPort

EXPIRED = "This button has expired."
PROMPT_TEMPLATE = r"weft:(?P<action>go|stop|now|drop):(?P<thread>\d+):(?P<prompt>\d+)"
END_TEMPLATE = r"weft:end:(?P<thread>\d+):(?P<token>[A-Za-z0-9_-]+)"
PERMISSION_TEMPLATE = r"weft:perm:(?P<request>[A-Za-z0-9_-]+):(?P<option>\d+)"


class _WeftButton(ui.DynamicItem[ui.Button[Any]], template=r"weft:(?!)"):
    """What all buttons share; itself, it answers to no custom_id."""

    def __init__(self, item: ui.Item[Any], match: re.Match[str]) -> None:
        if not isinstance(item, ui.Button):
            raise TypeError(f"{type(item).__name__} stands where a button was expected")
        super().__init__(item)
        self.match = match

    @classmethod
    async def from_custom_id(
        cls, _interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        return cls(item, match)


class PromptButton(_WeftButton, template=PROMPT_TEMPLATE):
    """Stops, continues, hurries or removes one prompt of a thread."""

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        action, thread_id, prompt = self.match["action"], int(self.match["thread"]), int(self.match["prompt"])
        notice = interaction.message.id if interaction.message is not None else 0

        def act(dispatcher: DispatcherPort, by: Actor) -> Answer:
            # Whether the person may was decided for the place of the press; a custom_id can name any other.
            if interaction.channel_id != thread_id:
                return Answer(EXPIRED, accepted=False)
            match action:
                case "stop":
                    return dispatcher.stop(thread_id, by, prompt=prompt)
                case "now":
                    return dispatcher.promote(thread_id, prompt, by)
                case "drop":
                    return dispatcher.remove(thread_id, prompt, by)
            return dispatcher.go_on(thread_id, prompt, notice, by)

        # What shows a turn or a queue has other buttons too, and the work keeps it true.
        await (respond_once if action == "go" else respond)(interaction, act)


class EndButton(_WeftButton, template=END_TEMPLATE):
    """Ends what a turn has left running; the work takes the button away."""

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        thread_id, token = int(self.match["thread"]), self.match["token"]
        # Whether the person may was decided for the place of the press.
        elsewhere = interaction.channel_id != thread_id
        await respond(
            interaction,
            lambda dispatcher, by: (
                Answer(EXPIRED, accepted=False) if elsewhere else dispatcher.end_left(thread_id, token, by)
            ),
        )


class PermissionButton(_WeftButton, template=PERMISSION_TEMPLATE):
    """Chooses one option of a permission request."""

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        request, option = self.match["request"], int(self.match["option"])
        # No comparison of places: the request's token can't be guessed, and the work knows its thread.
        await respond(interaction, lambda dispatcher, by: dispatcher.decide(request, option, by))


KNOWN = (PromptButton, EndButton, PermissionButton)
_KNOWN_IDS = tuple(re.compile(template) for template in (PROMPT_TEMPLATE, END_TEMPLATE, PERMISSION_TEMPLATE))


def is_known(custom_id: str) -> bool:
    """Return whether one of the buttons above answers to the custom_id."""
    return any(pattern.fullmatch(custom_id) for pattern in _KNOWN_IDS)


async def on_interaction(interaction: discord.Interaction[Any]) -> None:
    """Answer the use of a component that nothing here answers to, or that its message has lost meanwhile."""
    if interaction.type is not discord.InteractionType.component:
        return
    used: Mapping[str, Any] = {**interaction.data} if interaction.data else {}
    custom_id = str(used.get("custom_id", ""))
    rows = interaction.message.components if interaction.message is not None else []
    buttons = [button for row in rows if isinstance(row, discord.ActionRow) for button in row.children]
    # discord.py says nothing to a press on a button that the message has not any more.
    stands = any(isinstance(button, discord.Button) and button.custom_id == custom_id for button in buttons)
    if not (is_known(custom_id) and stands):
        await tell(interaction, EXPIRED)
