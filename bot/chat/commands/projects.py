"""`/commit`, `/merge`, `/pr` and `/worktrees`, and the buttons below what they answer.

What is done, everybody in the thread reads; what is not done, the person alone. A list of work trees has those of the
threads that whoever asks may see: a branch has words of its thread's title in it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import discord
from discord import app_commands

from bot.chat.answers import ELSEWHERE
from bot.chat.authorize import Purpose
from bot.chat.commands.prompting import ask
from bot.chat.interactions import asker_of, respond, respond_later, thread_place_of
from bot.chat.questions_here import look_at
from bot.model import Actor, ThreadPlace
from bot.reply.port import Button, Select, SelectChoice
from bot.reply.sanitise import clip
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer
from bot.work.projects.listing import TreeEntry, TreeLook, branch_name, entry_line
from bot.work.projects.tending import Press

PAGE = 5
"""Work trees at once: what a phone shows, and git can look at within seconds."""

MOST_LOOKS = 60
"""Work trees of which Discord is asked whether somebody may see their threads, for one list."""

_LOOK_LIMIT, _AT_ONCE = 5.0, 10
"""Seconds for all of that, and requests at the same time: answers to others go on meanwhile."""

_MESSAGE_LIMIT, _TITLE_LIMIT = 4_000, 200

NONE_HERE = Answer("There are no work trees that you can see here.", accepted=False)
NO_LONGER = Answer("This work tree is gone, or you can't see it any more. Use `/worktrees` again.", accepted=False)
EXPIRED = Answer("This button has expired.", accepted=False)
MENU_EXPIRED = Answer("This menu has expired. Use the command again.", accepted=False)
LEFT_OUT = "-# Older ones are left out."


@app_commands.command(name="commit", description="Commit everything that changed in this thread's work tree")
@app_commands.describe(message="The commit message; by default the thread's title")
@app_commands.guild_only()
async def commit(
    interaction: discord.Interaction[Any], message: app_commands.Range[str, 1, _MESSAGE_LIMIT] | None = None
) -> None:
    """Commit what is new, also new files."""
    by, place, title = asker_of(interaction), thread_place_of(interaction), _title(interaction)

    async def act(dispatcher: Dispatcher) -> Answer:
        if place is None:
            return ELSEWHERE
        return await dispatcher.trees.actions.commit(place, by, message or "", title)

    await respond_later(interaction, act)


# Approvers may merge and push without being let in to prompt: see `bot.work.projects.actions`.


@app_commands.command(name="merge", description="Merge this thread's branch into its base branch")
@app_commands.describe(squash="True: merge it as one commit")
@app_commands.guild_only()
async def merge(interaction: discord.Interaction[Any], squash: bool = False) -> None:
    """Merge what is committed."""
    by, place, title = asker_of(interaction), thread_place_of(interaction), _title(interaction)

    async def act(dispatcher: Dispatcher) -> Answer:
        if place is None:
            return ELSEWHERE
        # The button below a conflict names this merge by it: see `on_resolve`.
        key = str(interaction.id)
        return await dispatcher.trees.actions.merge(place, by, squash=squash, title=title, key=key)

    await respond_later(interaction, act, purpose=Purpose.DECIDE)


@app_commands.command(name="pr", description="Push this thread's branch and open a pull request")
@app_commands.describe(title="The pull request's title; by default the thread's")
@app_commands.guild_only()
async def pr(
    interaction: discord.Interaction[Any], title: app_commands.Range[str, 1, _TITLE_LIMIT] | None = None
) -> None:
    """Push what is committed."""
    by, place, thread = asker_of(interaction), thread_place_of(interaction), _title(interaction)

    async def act(dispatcher: Dispatcher) -> Answer:
        if place is None:
            return ELSEWHERE
        return await dispatcher.trees.actions.publish(place, by, title or "", thread)

    await respond_later(interaction, act, purpose=Purpose.DECIDE)


def _title(interaction: discord.Interaction[Any]) -> str:
    return interaction.channel.name if isinstance(interaction.channel, discord.Thread) else ""


async def on_resolve(interaction: discord.Interaction[Any], thread_id: int, key: str) -> None:
    """Ask the agent, in the name of who pressed, to resolve the conflicts of a merge."""
    prompts: list[str] = []

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        # Whether the person may was decided for the place of the press, and a forged custom_id can name any other.
        if interaction.channel_id != thread_id:
            return EXPIRED
        # Asked first: the bot may be stopping, and then nothing may be shown as a prompt.
        ready = dispatcher.controls.renew(None, None, by)
        answer = dispatcher.trees.actions.resolve(thread_id, key) if ready.accepted else ready
        prompts.extend([answer.text] if answer.accepted else [])
        return answer

    message_id = await respond(interaction, act, shown=True)
    if message_id is not None:
        ask(interaction, message_id, prompts[0])
    elif prompts:
        interaction.client.dispatcher.trees.actions.unasked(thread_id, key)


# --- the list --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seen:
    """A work tree that somebody may see; ``place``: where; ``named``: they may know what its thread is called."""

    entry: TreeEntry
    place: str
    named: bool


@app_commands.command(name="worktrees", description="List work trees, and remove those no longer needed")
@app_commands.guild_only()
async def worktrees(interaction: discord.Interaction[Any]) -> None:
    """List the work trees that whoever asks may see, those that were used last first."""
    await respond_later(interaction, lambda work: _page(interaction, work, 0), purpose=Purpose.DECIDE)


async def on_page(interaction: discord.Interaction[Any], place_id: int, page: int) -> None:
    """Show another page of the list."""
    if interaction.channel_id != place_id:
        await respond(interaction, lambda _work, _by: EXPIRED, purpose=Purpose.DECIDE)
        return
    await respond_later(interaction, lambda work: _page(interaction, work, page), purpose=Purpose.DECIDE)


async def on_tree(
    interaction: discord.Interaction[Any], place_id: int, key: str, press: Press | Literal["show"]
) -> None:
    """Show one work tree, or do what a button below it stands for."""
    if interaction.channel_id != place_id:
        expired = MENU_EXPIRED if press == "show" else EXPIRED
        await respond(interaction, lambda _work, _by: expired, purpose=Purpose.DECIDE)
        return
    by = asker_of(interaction)

    async def act(dispatcher: Dispatcher) -> Answer:
        trees = dispatcher.trees
        entry = await trees.list.find(key)
        # Looked at again: what somebody may see may have changed since the list was shown, or the button is forged.
        found = await _visible(interaction, [entry] if entry is not None else [], by)
        if not found:
            return NO_LONGER
        seen, look = found[0], await trees.list.look(found[0].entry)
        if press == "show":
            return trees.tending.show(seen.entry, look, place_id, by, named=seen.named)
        here = ThreadPlace(interaction.guild_id, place_id, None)
        return await trees.tending.remove(seen.entry, look, press, here, by, named=seen.named)

    await respond_later(interaction, act, purpose=Purpose.DECIDE)


async def _page(interaction: discord.Interaction[Any], dispatcher: Dispatcher, page: int) -> Answer:
    by, here = asker_of(interaction), interaction.channel_id or 0
    entries = await dispatcher.trees.list.all()
    found = await _visible(interaction, entries[:MOST_LOOKS], by)
    notes = [LEFT_OUT] if len(entries) > MOST_LOOKS else []
    if not found:
        return NONE_HERE
    pages = -(-len(found) // PAGE)
    page = min(page, pages - 1)
    shown = found[page * PAGE : (page + 1) * PAGE]
    looks = await dispatcher.trees.list.looks([one.entry for one in shown])
    numbered = list(enumerate(zip(shown, looks, strict=True), page * PAGE + 1))
    now = time.time()
    lines = [
        entry_line(number, one.entry, look, one.place, named=one.named, now=now) for number, (one, look) in numbered
    ]
    head = "**Work trees**" if pages == 1 else f"**Work trees** ({page + 1} of {pages})"
    buttons = [Button(f"weft:trees:{here}:{page - 1}", "Newer")] if page else []
    buttons += [Button(f"weft:trees:{here}:{page + 1}", "Older")] if page + 1 < pages else []
    menu = _menu(here, [(number, one, look) for number, (one, look) in numbered])
    return Answer("\n".join([head, *lines, *notes]), accepted=True, buttons=tuple(buttons), selects=(menu,))


def _menu(here: int, numbered: Sequence[tuple[int, _Seen, TreeLook]]) -> Select:
    choices = [
        SelectChoice(clip(f"{number}. {branch_name(one.entry, look, named=one.named).strip('`')}", 100), one.entry.key)
        for number, one, look in numbered
    ]
    return Select(f"weft:tree:{here}", tuple(choices), "Look at one, or remove it")


async def _visible(interaction: discord.Interaction[Any], entries: Sequence[TreeEntry], by: Actor) -> list[_Seen]:
    """Return those of some work trees that whoever asks may see; what Discord does not tell of in time is hidden."""
    threads = list(dict.fromkeys(user for entry in entries for user in entry.users))
    seen, gone, latest = set[int](), set[int](), anyio.current_time() + _LOOK_LIMIT
    for start in range(0, len(threads), _AT_ONCE):
        some = threads[start : start + _AT_ONCE]
        seen_now, gone_now = await look_at(interaction, some, latest - anyio.current_time())
        seen, gone = seen | seen_now, gone | gone_now
    return [one for entry in entries if (one := _seen(entry, seen, gone, by)) is not None]


def _seen(entry: TreeEntry, seen: set[int], gone: set[int], by: Actor) -> _Seen | None:
    # 1. In threads that they see.
    there = [user for user in entry.users if user not in gone]
    if there and all(user in seen for user in there):
        return _Seen(entry, f"<#{there[0]}>", named=True)
    # 2. Of a thread that there is no longer, nobody can tell who saw it: it is for those who look after all of them.
    if not there and (by.owner or by.approver):
        return _Seen(entry, "its thread is gone" if entry.users else "", named=by.owner)
    # 3. What is hidden even from the owner of the bot has no name here; that it takes room they may know.
    return _Seen(entry, "in a thread that you don't see", named=False) if by.owner else None
