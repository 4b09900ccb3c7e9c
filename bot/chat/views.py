"""Buttons: found by their custom_id alone, so that they work on messages of an earlier run too.

What a press does is the work's business; an unknown or outdated button is answered, never left to Discord's error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

import discord
from discord import ui

from bot.chat.asking import Act, respond, respond_once, tell
from bot.model import Actor
from bot.work.ports import Answer, Desk

EXPIRED = "This button has expired."
GO_TEMPLATE = r"weft:go:(?P<thread>\d+):(?P<prompt>\d+)"
STOP_TEMPLATE = r"weft:stop:(?P<thread>\d+):(?P<prompt>\d+)"
NOW_TEMPLATE = r"weft:now:(?P<thread>\d+):(?P<prompt>\d+)"
DROP_TEMPLATE = r"weft:drop:(?P<thread>\d+):(?P<prompt>\d+)"
END_TEMPLATE = r"weft:end:(?P<thread>\d+):(?P<token>[A-Za-z0-9_-]+)"
PERMISSION_TEMPLATE = r"weft:perm:(?P<request>[A-Za-z0-9_-]+):(?P<option>\d+)"


class PromptButton(ui.DynamicItem[ui.Button[Any]], template=r"weft:(?!)"):
    """What the buttons for one prompt of a thread share; itself, it answers to no custom_id."""

    def __init__(self, item: ui.Button[Any], thread_id: int, prompt: int) -> None:
        super().__init__(item)
        self.thread_id, self.prompt = thread_id, prompt

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Read thread and prompt out of the custom_id."""
        return cls(_button(item), int(match["thread"]), int(match["prompt"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Do it and say what came of it."""
        await respond_once(interaction, self.act_in(interaction))

    def act_in(self, interaction: discord.Interaction[Any]) -> Act:
        """Return what a press does where it happened."""
        # Whether the person may was decided for the place of the press; a custom_id can name any other.
        elsewhere = interaction.channel_id != self.thread_id
        notice = interaction.message.id if interaction.message is not None else 0
        return lambda front, by: Answer(EXPIRED, accepted=False) if elsewhere else self.act(front.desk, by, notice)

    def act(self, desk: Desk, by: Actor, notice: int) -> Answer:
        """Do what the button says; ``notice`` is its message."""
        raise NotImplementedError


class StopButton(PromptButton, template=STOP_TEMPLATE):
    """Stops the turn of one prompt."""

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Stop the turn and say what came of it; the button stays until the turn has ended."""
        await respond(interaction, self.act_in(interaction))

    def act(self, desk: Desk, by: Actor, notice: int) -> Answer:
        """Stop the turn."""
        return desk.stop(self.thread_id, by, prompt=self.prompt)


class GoButton(PromptButton, template=GO_TEMPLATE):
    """Goes on with a prompt that a restart interrupted."""

    def act(self, desk: Desk, by: Actor, notice: int) -> Answer:
        """Go on."""
        return desk.go_on(self.thread_id, self.prompt, notice, by)


class NowButton(PromptButton, template=NOW_TEMPLATE):
    """Runs a waiting prompt now."""

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Do it and say what came of it; the notice has buttons for others, too, and the work keeps it true."""
        await respond(interaction, self.act_in(interaction))

    def act(self, desk: Desk, by: Actor, notice: int) -> Answer:
        """Let it run before all others."""
        return desk.promote(self.thread_id, self.prompt, by)


class DropButton(PromptButton, template=DROP_TEMPLATE):
    """Takes a waiting prompt out."""

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Do it and say what came of it; as for `NowButton`, the notice is the work's."""
        await respond(interaction, self.act_in(interaction))

    def act(self, desk: Desk, by: Actor, notice: int) -> Answer:
        """Take it out."""
        return desk.remove(self.thread_id, self.prompt, by)


class EndButton(ui.DynamicItem[ui.Button[Any]], template=END_TEMPLATE):
    """Ends what a turn has left running."""

    def __init__(self, item: ui.Button[Any], thread_id: int, token: str) -> None:
        super().__init__(item)
        self._thread_id, self._token = thread_id, token

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> EndButton:
        """Read thread and token out of the custom_id."""
        return cls(_button(item), int(match["thread"]), match["token"])

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """End it and say so; the work takes the button away."""
        # Whether the person may was decided for the place of the press.
        elsewhere = interaction.channel_id != self._thread_id
        await respond(
            interaction,
            lambda front, by: (
                Answer(EXPIRED, accepted=False) if elsewhere else front.desk.end_left(self._thread_id, self._token, by)
            ),
        )


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
        await respond(interaction, lambda front, by: front.desk.decide(self._request, self._option, by))


def _button(item: ui.Item[Any]) -> ui.Button[Any]:
    if not isinstance(item, ui.Button):
        raise TypeError(f"{type(item).__name__} stands where a button was expected")
    return item


KNOWN = (StopButton, GoButton, NowButton, DropButton, EndButton, PermissionButton)
_TEMPLATES = (STOP_TEMPLATE, GO_TEMPLATE, NOW_TEMPLATE, DROP_TEMPLATE, END_TEMPLATE, PERMISSION_TEMPLATE)
_KNOWN_IDS = tuple(re.compile(template) for template in _TEMPLATES)


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
