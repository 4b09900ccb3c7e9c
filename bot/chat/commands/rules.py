"""Commands about what agents may do: `/permissions list` and `revoke`, for rules, and `/audit`, for what was decided.

They are answered to the person who asks. Whoever may decide what agents ask may use them; rules, and the decisions of
the whole server, are for approvers and owners, which `bot.work.permissions.rule_keeping` decides.
"""

from __future__ import annotations

from typing import Any

import anyio
import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.answers import ELSEWHERE
from bot.chat.authorize import Purpose
from bot.chat.client import WeftClient
from bot.chat.commands.permissions import permissions
from bot.chat.interactions import asker_of, choices_of, respond, respond_later, thread_of, verdict_on
from bot.chat.questions_here import seen_by
from bot.work.dispatcher import Dispatcher
from bot.work.permissions.audit import SHOWN, describe_decisions
from bot.work.permissions.rule_keeping import NOT_YOURS, may_keep
from bot.work.ports import Answer

READ_LIMIT = 10.0
"""Seconds that the state file has for an answer."""

_LOOKED_AT, _LOOK_LIMIT = 100, 5.0
"""How many of the server's last decisions are looked through for those that a person may see, and for how long."""

TOO_SLOW = "I could not read my records in time. Try again in a minute."


@permissions.command(name="list", description="Show the rules that answer agents' requests")
async def list_rules(interaction: discord.Interaction[Any]) -> None:
    """Show the rules that people added and those of the file."""
    # Approvers may look without being let in to prompt (C1).
    await respond(interaction, lambda work, by: work.rules.describe(by), purpose=Purpose.DECIDE)


@permissions.command(name="revoke", description="Take back a rule that was added from a card")
@app_commands.describe(rule="Which rule; those in weft.toml are changed there")
async def revoke(interaction: discord.Interaction[Any], rule: str) -> None:
    """Take a rule back: what it allowed is asked again."""
    guild_id, place_id = interaction.guild_id, interaction.channel_id or 0
    await respond(interaction, lambda work, by: work.rules.revoke(rule, by, guild_id, place_id), purpose=Purpose.DECIDE)


@revoke.autocomplete("rule")
async def suggest_rules(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest the kept rules that have what was typed in them."""
    # Discord asks for these whoever types: rules tell how a project is built.
    if not verdict_on(interaction, Purpose.DECIDE).allowed:
        return []
    client: WeftClient = interaction.client
    return choices_of(interaction, typed, client.dispatcher.rules.choices(asker_of(interaction)))


@app_commands.command(name="audit", description="Show who decided what about agents' requests")
@app_commands.describe(server="True: in all threads of this server, for approvers only; otherwise in this thread")
@app_commands.guild_only()
async def audit(interaction: discord.Interaction[Any], server: bool = False) -> None:
    """Show the last decisions of the thread, or of the server."""
    thread_id, guild_id, by = thread_of(interaction), interaction.guild_id, asker_of(interaction)

    async def look_up(dispatcher: Dispatcher) -> Answer:
        # Asked before anything is read, so that a refusal is the same whatever there is.
        if server and not may_keep(by):
            return NOT_YOURS
        if thread_id is None and not server:
            return ELSEWHERE
        with anyio.move_on_after(READ_LIMIT):
            if not server:
                found = await dispatcher.decisions.last(SHOWN, thread_id=thread_id)
            else:
                last = await dispatcher.decisions.last(_LOOKED_AT, guild_id=guild_id)
                # An approver of the server need not see all of its channels.
                seen = await seen_by(interaction, {one.thread_id for one in last}, _LOOK_LIMIT)
                found = [one for one in last if one.thread_id in seen][:SHOWN]
            return Answer(describe_decisions(found, server=server), accepted=True)
        return Answer(TOO_SLOW, accepted=False)

    await respond_later(interaction, look_up, purpose=Purpose.DECIDE)
