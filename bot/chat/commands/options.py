"""`/model`, `/mode`, `/effort` and `/options`: what the thread's agent offers, to be searched or chosen from a menu.

Choices are seen by everybody in the thread; menus and refusals by the person who asks. All is answered from what was
last known, so that an agent that starts, works or hangs keeps nobody waiting.
"""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice

from acp.session_options import Kind
from bot.chat.answers import ELSEWHERE
from bot.chat.client import WeftClient
from bot.chat.interactions import choices_of, respond, thread_place_of, verdict_on
from bot.model import Actor
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer

VALUE_ALONE = Answer("Also choose the option that this value is for.", accepted=False)


@app_commands.command(name="model", description="Choose the agent's model in this thread")
@app_commands.describe(model="Type part of its name, or leave it out for a menu")
@app_commands.guild_only()
async def model(interaction: discord.Interaction[Any], model: str | None = None) -> None:
    """Choose the thread's model."""
    await _choose(interaction, Kind.MODEL, model)


@app_commands.command(name="mode", description="Choose the agent's mode in this thread")
@app_commands.describe(mode="Type part of its name, or leave it out for a menu")
@app_commands.guild_only()
async def mode(interaction: discord.Interaction[Any], mode: str | None = None) -> None:
    """Choose the thread's mode."""
    await _choose(interaction, Kind.MODE, mode)


@app_commands.command(name="effort", description="Choose how hard the agent thinks in this thread")
@app_commands.describe(effort="The level; leave it out for a menu")
@app_commands.guild_only()
async def effort(interaction: discord.Interaction[Any], effort: str | None = None) -> None:
    """Choose the thread's level of effort."""
    await _choose(interaction, Kind.EFFORT, effort)


@app_commands.command(name="options", description="Show the agent's options in this thread, or change one")
@app_commands.describe(option="Which option; leave it out for a list", value="Its new value; leave it out for a menu")
@app_commands.guild_only()
async def options(interaction: discord.Interaction[Any], option: str | None = None, value: str | None = None) -> None:
    """List the thread's options, or choose a value of one."""
    await _choose(interaction, option, value)


async def _choose(interaction: discord.Interaction[Any], wanted: Kind | str | None, said: str | None) -> None:
    place = thread_place_of(interaction)

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        if place is None:
            return ELSEWHERE
        if not said:
            # Nothing is changed by a menu, so it needs no person: the choice in it is decided anew.
            return dispatcher.options.menu(place, wanted)
        return dispatcher.options.choose(place, wanted, said, by) if wanted is not None else VALUE_ALONE

    # What is chosen concerns everybody in the thread; a menu only who asked for it.
    await respond(interaction, act, shown=bool(said))


async def _suggest(interaction: discord.Interaction[Any], typed: str, wanted: Kind | str | None) -> list[Choice[str]]:
    """Suggest values, or options if None is wanted, that have in them what was typed."""
    # Discord asks for these whoever types: a stranger must not learn what there is.
    place = thread_place_of(interaction)
    if place is None or not verdict_on(interaction).allowed:
        return []
    client: WeftClient = interaction.client
    return choices_of(interaction, typed, client.dispatcher.options.suggest(place, wanted))


@model.autocomplete("model")
async def suggest_models(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    return await _suggest(interaction, typed, Kind.MODEL)


@mode.autocomplete("mode")
async def suggest_modes(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    return await _suggest(interaction, typed, Kind.MODE)


@effort.autocomplete("effort")
async def suggest_efforts(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    return await _suggest(interaction, typed, Kind.EFFORT)


@options.autocomplete("option")
async def suggest_options(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    return await _suggest(interaction, typed, None)


@options.autocomplete("value")
async def suggest_values(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    wanted = getattr(interaction.namespace, "option", None)
    # The option may not be filled in yet: no values are suggested then.
    return await _suggest(interaction, typed, wanted) if wanted else []
