"""Menus in messages: found by their custom_id alone, as buttons are, and asked anew who may use them at each use.

What a choice does is decided by the work, which looks up what it stands for: a menu may be older than what it offers.
"""

from __future__ import annotations

import re
from typing import Any, Self, cast

import discord
from discord import ui

from bot.chat.commands.projects import on_tree
from bot.chat.interactions import respond, thread_place_of
from bot.model import Actor
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer

EXPIRED = "This menu has expired. Use the command again."
TEMPLATE = r"weft:(?:opt:(?P<thread>\d+):(?P<option>[0-9a-f]{16})|opts:(?P<all_of>\d+)|tree:(?P<trees_in>\d+))"
KNOWN = re.compile(TEMPLATE)


class WeftSelect(ui.DynamicItem[ui.Select[Any]], template=TEMPLATE):
    """Chooses a value of an option, or an option whose values are wanted."""

    match: re.Match[str]

    @classmethod
    async def from_custom_id(
        cls, _interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        select = cls(cast("ui.Select[Any]", item))
        select.match = match
        return select

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        named, chosen = self.match, "".join(self.item.values[:1])
        place = thread_place_of(interaction)
        # Like the ones below, it compares the place of the use with the one that is named.
        if named["trees_in"]:
            await on_tree(interaction, int(named["trees_in"]), chosen, "show")
            return

        def act(dispatcher: Dispatcher, by: Actor) -> Answer:
            # Whether the person may was decided for the place of the use, and a forged custom_id can name any other.
            if place is None or place.thread_id != int(named["thread"] or named["all_of"]):
                return Answer(EXPIRED, accepted=False)
            if named["all_of"]:
                return dispatcher.options.menu(place, chosen)
            return dispatcher.options.choose(place, named["option"], chosen, by, announced=True)

        await respond(interaction, act)
