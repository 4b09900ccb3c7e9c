"""Buttons: found by their custom_id alone, so that they work on messages of an earlier run too.

What a press does is the work's business; an unknown or outdated button is answered, never left to Discord's error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import discord
from discord import ui

from bot.chat.asking import Front, respond, tell
from bot.work.model import Actor

EXPIRED = "This button has expired."
GO_TEMPLATE = r"weft:go:(?P<thread>\d+):(?P<prompt>\d+)"
STOP_TEMPLATE = r"weft:stop:(?P<thread>\d+):(?P<prompt>\d+)"
PERMISSION_TEMPLATE = r"weft:perm:(?P<request>[A-Za-z0-9_-]+):(?P<option>\d+)"


class StopButton(ui.DynamicItem[ui.Button[Any]], template=STOP_TEMPLATE):
    """Stops the turn of one prompt."""

    def __init__(self, item: ui.Button[Any], place: int | None, thread_id: int, prompt: int) -> None:
        super().__init__(item)
        self._place, self._thread_id, self._prompt = place, thread_id, prompt

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> StopButton:
        """Read the turn out of the custom_id."""
        return cls(_button(item), interaction.channel_id, int(match["thread"]), int(match["prompt"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Stop the turn and say what came of it."""
        await respond(interaction, self._act)

    def _act(self, front: Front, by: Actor) -> str:
        # Whether the person may was decided for the place of the press; a custom_id can name any other.
        if self._place != self._thread_id:
            return EXPIRED
        return front.desk.stop(self._thread_id, by, prompt=self._prompt).text


class GoButton(ui.DynamicItem[ui.Button[Any]], template=GO_TEMPLATE):
    """Goes on with a prompt that a restart interrupted."""

    def __init__(self, item: ui.Button[Any], place: int | None, thread_id: int, prompt: int) -> None:
        super().__init__(item)
        self._place, self._thread_id, self._prompt = place, thread_id, prompt
        self._notice = 0

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> GoButton:
        """Read the prompt out of the custom_id."""
        return cls(_button(item), interaction.channel_id, int(match["thread"]), int(match["prompt"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Go on and say what came of it."""
        self._notice = interaction.message.id if interaction.message is not None else 0
        await respond(interaction, self._act)

    def _act(self, front: Front, by: Actor) -> str:
        # As with the stop button: the press was allowed in the place where it happened, not in any other.
        if self._place != self._thread_id:
            return EXPIRED
        return front.desk.go_on(self._thread_id, self._prompt, self._notice, by).text


class PermissionButton(ui.DynamicItem[ui.Button[Any]], template=PERMISSION_TEMPLATE):
    """Chooses one option of a permission request."""

    def __init__(self, item: ui.Button[Any], request: str, option: int) -> None:
        super().__init__(item)
        self._request, self._option = request, option

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> PermissionButton:
        """Read the request and the option out of the custom_id."""
        return cls(_button(item), match["request"], int(match["option"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Answer the request and say what came of it."""
        await respond(interaction, lambda front, by: front.desk.decide(self._request, self._option, by).text)


def _button(item: ui.Item[Any]) -> ui.Button[Any]:
    if not isinstance(item, ui.Button):
        raise TypeError(f"{type(item).__name__} stands where a button was expected")
    return item


KNOWN = (StopButton, GoButton, PermissionButton)
_KNOWN_IDS = tuple(re.compile(template) for template in (STOP_TEMPLATE, GO_TEMPLATE, PERMISSION_TEMPLATE))


def is_known(custom_id: str) -> bool:
    """Return whether one of the buttons above answers to the custom_id."""
    return any(pattern.fullmatch(custom_id) for pattern in _KNOWN_IDS)


async def answer_unknown(interaction: discord.Interaction[Any]) -> None:
    """Tell whoever used a component that nothing here answers to, or that its message has lost meanwhile."""
    if interaction.type is not discord.InteractionType.component:
        return
    used: Mapping[str, Any] = {**interaction.data} if interaction.data else {}
    custom_id = str(used.get("custom_id", ""))
    if not (is_known(custom_id) and _stands(interaction.message, custom_id)):
        await tell(interaction, EXPIRED)


def _stands(message: discord.Message | None, custom_id: str) -> bool:
    """Return whether the message has the button; discord.py says nothing to a press on one that it has not."""
    rows = message.components if message is not None else []
    buttons = (button for row in rows if isinstance(row, discord.ActionRow) for button in row.children)
    return any(isinstance(button, discord.Button) and button.custom_id == custom_id for button in buttons)
