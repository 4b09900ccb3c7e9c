"""`/schedule` and `/schedules`: prompts that run again and again in a thread of Weft's (A5)."""

from __future__ import annotations

import re
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice

from bot.chat.answers import ELSEWHERE, saved
from bot.chat.authorize import Purpose
from bot.chat.client import WeftClient
from bot.chat.interactions import asker_of, choices_of, respond, thread_of, thread_place_of, verdict_on
from bot.chat.questions_here import LOOK_LIMIT, seen_by
from bot.model import Actor, ThreadPlace
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer
from bot.work.schedules.cron import suggested
from bot.work.schedules.listing import Reader, page_of
from bot.work.schedules.service import PROMPT_LIMIT
from pool.store import KeptSchedule

EXPIRED = "This button has expired."
ZONE_NOT_YOURS = Answer("Only people with the Manage Server permission and my owner can change that.", accepted=False)


@app_commands.command(name="schedule", description="Run a prompt in this thread on a schedule")
@app_commands.describe(
    when="Pick one, or write minute, hour, day of month, month, weekday, such as 0 9 * * 1-5",
    prompt="What you want done each time",
)
@app_commands.guild_only()
async def schedule(
    interaction: discord.Interaction[Any], when: str, prompt: app_commands.Range[str, 1, PROMPT_LIMIT]
) -> None:
    """Make a schedule, which everybody in the thread sees."""
    place = _own_place(interaction)

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        return dispatcher.schedules.make(place, by, when, prompt) if place is not None else ELSEWHERE

    await respond(interaction, act, shown=True)


@schedule.autocomplete("when")
async def suggest_times(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest usual times, and say when what was typed would be next."""
    # Discord asks for these whoever types.
    if not verdict_on(interaction).allowed:
        return []
    client: WeftClient = interaction.client
    schedules, place = client.dispatcher.schedules, _place(interaction)
    found = suggested(typed, schedules.zones.of(place), schedules.now())
    # They are searched already, by what was typed as an expression too.
    return choices_of(interaction, "", found)


@app_commands.command(name="schedules", description="Show schedules, and pause or remove them")
@app_commands.describe(timezone="Time zone for new schedules in this server, such as Europe/Berlin")
@app_commands.guild_only()
async def schedules(interaction: discord.Interaction[Any], timezone: str | None = None) -> None:
    """List the schedules that whoever asks may see, or choose the time zone of the server."""
    if timezone is None:
        await _show(interaction, 0)
        return
    await interaction.client.dispatcher.schedules.zones.names()  # among which the nearest one is suggested

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        # In direct messages there is nobody else whose schedules it would be.
        if interaction.guild_id is not None and not (interaction.permissions.manage_guild or by.owner):
            return ZONE_NOT_YOURS
        return dispatcher.schedules.zones.choose(_place(interaction), timezone)

    # As the list below: also for people who look after a server and may not prompt.
    await respond(interaction, act, purpose=Purpose.DECIDE)


@schedules.autocomplete("timezone")
async def suggest_zones(interaction: discord.Interaction[Any], typed: str) -> list[Choice[str]]:
    """Suggest time zones that have in them what was typed."""
    if not verdict_on(interaction, Purpose.DECIDE).allowed:
        return []
    client: WeftClient = interaction.client
    names = await client.dispatcher.schedules.zones.names()
    wanted = typed.lower().replace(" ", "_")
    return choices_of(interaction, "", [(name, name) for name in names if wanted in name.lower()][:25])


async def on_schedule_press(interaction: discord.Interaction[Any], named: re.Match[str]) -> None:
    """Do what a button below the list stands for, and show the list as it is then."""
    # The list is for one person; a forged button may stand anywhere.
    if interaction.message is None or not interaction.message.flags.ephemeral:
        await respond(interaction, lambda _work, _by: Answer(EXPIRED, accepted=False), purpose=Purpose.DECIDE)
        return
    if not named["schedule"]:
        await _show(interaction, int(named["sched_page"]))
        return
    schedule_id, what = int(named["schedule"]), named["sched_what"]
    client: WeftClient = interaction.client
    said = ""
    # Whether they may at all is asked here, since the list is looked up before `respond` asks.
    if verdict_on(interaction, Purpose.DECIDE).allowed:
        work, by, guild_id = client.dispatcher, asker_of(interaction), interaction.guild_id
        acts = {"pause": work.schedules.pause, "resume": work.schedules.resume, "remove": work.schedules.remove}
        answer = acts[what](schedule_id, by, guild_id)
        said = (await saved(answer, work)).text
    await _show(interaction, int(named["sched_at"]), said)


async def _show(interaction: discord.Interaction[Any], page: int, said: str = "") -> None:
    """Show a page of the schedules that whoever asks may see."""
    client: WeftClient = interaction.client
    work, by = client.dispatcher, asker_of(interaction)
    allowed = verdict_on(interaction, Purpose.DECIDE).allowed
    found = work.schedules.listed(by, interaction.guild_id, thread_of(interaction)) if allowed else []
    # What others have asked in a thread that somebody does not see is nothing for them, approver or not.
    foreign = {row.thread_id for row in found if row.author_id != by.id}
    visible = await seen_by(interaction, foreign, LOOK_LIMIT)
    rows = [row for row in found if row.author_id == by.id or row.thread_id in visible]

    def may_change(row: KeptSchedule) -> bool:
        return work.schedules.may_change(row, by, interaction.guild_id)

    place = _place(interaction)
    reader = Reader(
        thread_of(interaction),
        by.id,
        work.schedules.zones.of(place),
        work.schedules.now(),
        may_change,
        client.state.redactor.text,
    )
    answer = page_of(rows, page, reader, said)
    await respond(interaction, lambda _work, _by: answer, purpose=Purpose.DECIDE)


def _place(interaction: discord.Interaction[Any]) -> ThreadPlace:
    """Return where something was typed; a channel counts as its own thread."""
    return thread_place_of(interaction) or ThreadPlace(interaction.guild_id, interaction.channel_id or 0, None)


def _own_place(interaction: discord.Interaction[Any]) -> ThreadPlace | None:
    """Return the conversation with Weft in which something was typed; None: it is none."""
    client = interaction.client
    assert isinstance(client, WeftClient)
    place = client.find_place(interaction.channel_id or 0)
    if interaction.guild_id is None:
        return thread_place_of(interaction)
    return thread_place_of(interaction) if place is not None and client.weft(interaction.guild_id).has(place) else None
