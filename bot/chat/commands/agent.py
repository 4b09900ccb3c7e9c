"""`/agent`: runs one of the agent's own commands, as the prompt of its answer."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.answers import ELSEWHERE
from bot.chat.client import WeftClient
from bot.chat.commands.prompting import ask
from bot.chat.interactions import choices_of, respond, thread_of, verdict_on
from bot.model import Actor
from bot.reply.sanitise import inline_code
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer


@app_commands.command(name="agent", description="Run one of the agent's own commands in this thread")
@app_commands.describe(command="Which one; type to search", given="Text to pass to the command")
@app_commands.rename(given="input")
@app_commands.guild_only()
async def agent(interaction: discord.Interaction[Any], command: str, given: str | None = None) -> None:
    """Ask the agent to run a command; the answer that everybody sees is the message of the prompt."""
    thread_id, prompts = thread_of(interaction), list[str]()

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        if thread_id is None:
            return ELSEWHERE
        # Asked first: the bot may be stopping, and then nothing may be shown as a prompt.
        ready = dispatcher.controls.renew(None, None, by)
        if not ready.accepted:
            return ready
        answer = dispatcher.commands.prompt(thread_id, interaction.guild_id, command, given or "")
        if not answer.accepted:
            return answer
        prompts.append(answer.text)
        name, _, rest = answer.text.partition(" ")
        return Answer(f"{inline_code(name)} {rest}", accepted=True)

    message_id = await respond(interaction, act, shown=True)
    if message_id is not None:
        # There is one: only an answer that was accepted has an id.
        ask(interaction, message_id, prompts[0])


@agent.autocomplete("command")
async def suggest(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest the commands of the thread's agent that have in them what was typed, best first."""
    thread_id, client = thread_of(interaction), interaction.client
    if thread_id is None or not verdict_on(interaction).allowed:
        return []
    assert isinstance(client, WeftClient)
    typed = typed.strip().removeprefix("/")
    offered = client.dispatcher.commands.of(thread_id, interaction.guild_id)
    # Those that begin with it first, as in the agent's own terminal; otherwise in the agent's order.
    ordered = sorted(offered, key=lambda one: not one.name.lower().startswith(typed.lower()))
    found = [
        (": ".join(filter(None, (f"{one.name} {one.hint}".rstrip(), one.description))), one.name) for one in ordered
    ]
    return choices_of(interaction, typed, found)
