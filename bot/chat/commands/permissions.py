"""`/permissions answer`: what agents ask, for people who are not at the card.

A card in an archived thread can't be pressed by everybody, as Discord opens the thread first; a command reaches it from
the channel, too. Suggestions are as private as answers: Discord asks for them whoever types.
"""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.authorize import Purpose
from bot.chat.interactions import choices_of, respond, verdict_on
from bot.chat.questions_here import questions_for
from bot.model import Actor
from bot.reply.render import coarse
from bot.work.dispatcher import Dispatcher
from bot.work.permissions.waiting import Asked
from bot.work.ports import Answer

NOT_OPEN = "No such request is open here. Choose one from the suggestions."
NO_SUCH_OPTION = "This request has no such option. Choose one from the suggestions."

permissions = app_commands.Group(name="permissions", description="What agents ask you to allow", guild_only=True)


@permissions.command(name="answer", description="Answer an agent's request in this thread or channel")
@app_commands.describe(request="What the agent asks", option="What you answer")
async def answer(interaction: discord.Interaction[Any], request: str, option: str) -> None:
    """Do what a press on the card does."""
    # Looked up first, since `act` must not wait; whether it is still open is decided again in `act`.
    here = await _here(interaction)

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        asked = next((one for one in here if one.token == request), None)
        if asked is None:
            return Answer(NOT_OPEN, accepted=False)
        # People can type on instead of choosing; a name that stands for two options stands for neither.
        numbers = [number for number, name in asked.options if option in (str(number), name)]
        if len(numbers) != 1:
            return Answer(NO_SUCH_OPTION, accepted=False)
        return dispatcher.decide(asked.token, numbers[0], by, asked.message_id)

    await respond(interaction, act, purpose=Purpose.DECIDE)


@answer.autocomplete("request")
async def suggest_request(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest the open requests of this thread or channel that the person may decide."""
    found = [(f"{coarse(one.waited)}: {one.what}", one.token) for one in await _here(interaction)]
    return choices_of(interaction, typed, found)


@answer.autocomplete("option")
async def suggest_option(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest the options of the request that was chosen."""
    request = getattr(interaction.namespace, "request", "")
    asked = next((one for one in await _here(interaction) if one.token == request), None)
    found = [(name, str(number)) for number, name in asked.options] if asked is not None else []
    return choices_of(interaction, typed, found)


async def _here(interaction: discord.Interaction[Any]) -> list[Asked]:
    """Return the requests of the thread, or of the threads of the channel, in which somebody types."""
    if not verdict_on(interaction, Purpose.DECIDE).allowed:
        return []
    place = interaction.channel_id
    return [
        one
        for one in await questions_for(interaction)
        if one.options and place in (one.place.thread_id, one.place.parent_id)
    ]
