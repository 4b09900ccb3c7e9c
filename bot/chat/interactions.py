"""What buttons and commands share: who asks, whether they may, and an answer within Discord's three seconds.

The work is synchronous, so the answer is the first thing sent; only what has to be looked up is deferred. A promise
that has to outlive the process waits a moment until it is written down. Only the person who asks sees the answer,
unless it concerns everybody in the thread. Answers are sent by `tell` alone, without secrets (R5).
"""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import discord
import structlog
from discord import ui
from discord.app_commands import Choice
from discord.http import Route

from bot.chat.answers import FAILED, Act, look_first, run_command, saved, soon
from bot.chat.authorize import Purpose, Request, Verdict, authorize
from bot.chat.client import WeftClient
from bot.chat.inbound import Command, clip
from bot.chat.modals import modal_view
from bot.chat.port import NOBODY, view_of
from bot.chat.posts import Json, field, snowflake
from bot.model import Actor, ThreadPlace
from bot.reply.port import MESSAGE_LIMIT, Attachment, Button, Select
from bot.reply.sanitise import one_line
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer
from bot.work.questions.cards import Modal

log = structlog.get_logger(__name__)

QUIETLY: dict[str, Any] = {"suppress_embeds": True, "allowed_mentions": NOBODY}
NO_FILE = "\n-# ⚠️ Discord did not take the file that belongs here."
MOST_SUGGESTED, NAME_LIMIT = 25, 100
"""Discord's limits: of suggestions, and of characters of each."""
_NUMBER = len(" (1000)")
LATER_LIMIT = 60.0
"""Seconds in which an answer may still be corrected by the one that follows it."""
UNREAD = "I could not read this. Please try again."
_LOST = (discord.DiscordException, aiohttp.ClientError, OSError)
_ANSWERABLE = frozenset({2, 3, 5})  # commands, components, modals; suggestions while somebody types take no text
_MESSAGE, _EPHEMERAL = 4, 64


def actor_of(person: discord.abc.User) -> Actor:
    """Return the person as the work knows people; roles are known for members of a server only."""
    roles = frozenset(role.id for role in person.roles) if isinstance(person, discord.Member) else frozenset[int]()
    return Actor(person.id, person.display_name, roles)


def asker_of(interaction: discord.Interaction[Any]) -> Actor:
    """Return who pressed or typed something, with the rights that they have now."""
    client, person = interaction.client, interaction.user
    assert isinstance(client, WeftClient)
    # No role lets a bot in, and so none makes it an approver.
    return actor_of(person) if person.bot else client.policy.knows(actor_of(person))


def thread_of(interaction: discord.Interaction[Any]) -> int | None:
    """Return the conversation in which something was pressed or typed: a thread, or direct messages; else None."""
    in_one = isinstance(interaction.channel, discord.Thread) or interaction.guild_id is None
    return interaction.channel_id if in_one else None


def agent_place(interaction: discord.Interaction[Any], dispatcher: Dispatcher) -> int:
    """Return the thread or channel whose agent is meant where something was pressed or typed."""
    channel = interaction.channel
    if not isinstance(channel, discord.Thread):
        return interaction.channel_id or 0
    return dispatcher.logins.place_of(channel.id, channel.parent_id)


def thread_place_of(interaction: discord.Interaction[Any]) -> ThreadPlace | None:
    """Return the conversation in which something was pressed or typed, and where it stands; None outside of any."""
    channel, thread_id = interaction.channel, thread_of(interaction)
    parent_id = channel.parent_id if isinstance(channel, discord.Thread) else None
    return ThreadPlace(interaction.guild_id, thread_id, parent_id) if thread_id is not None else None


def verdict_on(interaction: discord.Interaction[Any], purpose: Purpose = Purpose.PROMPT) -> Verdict:
    """Return whether the person may use Weft here."""
    channel, client = interaction.channel, interaction.client
    assert isinstance(client, WeftClient)
    request = Request(
        guild_id=interaction.guild_id,
        # No list names an unknown channel, so it is refused where channels are listed.
        channel_id=channel.id if channel is not None else 0,
        parent_id=channel.parent_id if isinstance(channel, discord.Thread) else None,
        user_id=interaction.user.id,
        roles=actor_of(interaction.user).roles,
        automatic=interaction.user.bot,
    )
    return authorize(request, client.policy, purpose)


def _note_presence(interaction: discord.Interaction[Any]) -> None:
    """Take note of who pressed or typed something, and where."""
    # Also of whoever is refused now: what they agreed to before must not count any longer.
    if interaction.guild_id is not None and isinstance(interaction.user, discord.Member):
        work: Dispatcher = interaction.client.dispatcher
        work.pressed(interaction.guild_id, actor_of(interaction.user))
        work.inbox.seen(thread_of(interaction), interaction.user.id, interaction.id)


async def respond(
    interaction: discord.Interaction[Any],
    wanted: Command | Act,
    *,
    purpose: Purpose = Purpose.PROMPT,
    shown: bool = False,
    once: bool = False,
) -> int | None:
    """Do what was asked if the person may, and answer: only to them or, if ``shown``, to everybody.

    Args:
        once: it can take effect once, so the buttons of its message vanish then, but those that only show something.

    Returns the id of the message that everybody sees, if there is one.
    """
    client = interaction.client
    assert isinstance(client, WeftClient)
    _note_presence(interaction)
    # Decided at each press: the person may no longer be allowed what they were when the button was posted.
    verdict = verdict_on(interaction, purpose)
    if verdict.allowed:
        asked_at = anyio.current_time()
        await look_first(wanted, client.dispatcher, thread_of(interaction))
        done = run_command(wanted, client.dispatcher, thread_of(interaction), asker_of(interaction), interaction.id)
        answer = await soon(await saved(done, client.dispatcher), asked_at)
    else:
        answer = Answer(verdict.reason, accepted=False)
    if answer.modal is not None:
        await show_modal(interaction, answer.modal)
        return None
    if once and answer.accepted:
        # The first response, as only that one can edit the message; the answer follows it up.
        try:
            await interaction.response.edit_message(view=_without_effect(interaction), allowed_mentions=NOBODY)
        except _LOST as exc:
            log.warning("answer.lost", interaction=interaction.id, error=repr(exc))
    # A refusal is nobody else's concern.
    public = shown and answer.accepted
    message_id = await tell(interaction, answer.text, answer.buttons, selects=answer.selects, ephemeral=not public)
    if answer.later is not None:
        # Bounded, as the bot may stop meanwhile: then the first answer stands.
        with anyio.move_on_after(LATER_LIMIT):
            await _correct(interaction, await answer.later)
    return message_id if public else None


def _without_effect(interaction: discord.Interaction[Any]) -> discord.ui.View | None:
    """Return the buttons of a message that may be pressed again and again."""
    rows = interaction.message.components if interaction.message is not None else []
    parts = [part for row in rows if isinstance(row, discord.ActionRow) for part in row.children]
    found = [(part.custom_id or "", part.label or "?") for part in parts if isinstance(part, discord.Button)]
    kept = [Button(custom_id, label) for custom_id, label in found if custom_id.startswith("weft:details:")]
    return view_of(kept) if kept else None


async def respond_later(
    interaction: discord.Interaction[Any],
    asked: Callable[[Dispatcher], Awaitable[Answer]],
    *,
    purpose: Purpose = Purpose.PROMPT,
) -> None:
    """Answer the person alone, if they may ask, with what takes longer than Discord waits for the first sign.

    An answer without text is none: what was asked for says it all in the thread.
    """
    client, verdict = interaction.client, verdict_on(interaction, purpose)
    assert isinstance(client, WeftClient)
    _note_presence(interaction)
    if not verdict.allowed:
        await tell(interaction, verdict.reason)
        return
    try:
        await interaction.response.defer(ephemeral=True, thinking=True)
    except _LOST as exc:
        log.warning("answer.lost", interaction=interaction.id, error=repr(exc))
        return
    try:
        answer = await asked(client.dispatcher)
    except Exception:
        # If raised, Discord would show for a quarter of an hour that Weft thinks.
        log.exception("command.failed", asked=interaction.id)
        answer = Answer(FAILED, accepted=False)
    if not answer.text:
        await _take_back(interaction)
        return
    await tell(interaction, answer.text, answer.buttons, selects=answer.selects, file=answer.file)


async def _take_back(interaction: discord.Interaction[Any]) -> None:
    """Take away the answer that stands for "thinking": everybody reads what was done."""
    try:
        await interaction.delete_original_response()
    except _LOST as exc:
        log.warning("answer.lost", interaction=interaction.id, error=repr(exc))


def choices_of(
    interaction: discord.Interaction[Any], typed: str, found: Iterable[tuple[str, str]]
) -> list[Choice[str]]:
    """Return suggestions without secrets, of names and values: those that have in them what was typed."""
    assert isinstance(interaction.client, WeftClient)
    redact = interaction.client.state.redactor.text
    # Redacted before it is cut, as in `tell`, and before it is looked through: no search may tell a secret.
    choices: dict[str, str] = {}
    alike: dict[str, int] = {}
    for name, value in found:
        shown = clip(one_line(redact(name)) or "?", NAME_LIMIT)
        if shown in choices:  # two that read alike are two all the same
            # Counted on: an agent may give a thousand values one name, and this is asked at each letter.
            base = clip(shown, NAME_LIMIT - _NUMBER)
            while shown in choices:
                alike[base] = alike.get(base, 1) + 1
                shown = f"{base} ({alike[base]})"
        choices[shown] = value
    # What was chosen before comes back as its value.
    wanted = [(name, value) for name, value in choices.items() if typed.lower() in name.lower() or typed == value]
    return [Choice(name=name, value=value) for name, value in wanted[:MOST_SUGGESTED]]


async def tell(
    interaction: discord.Interaction[Any],
    content: str,
    buttons: Sequence[Button] = (),
    *,
    selects: Sequence[Select] = (),
    ephemeral: bool = True,
    file: Attachment | None = None,
) -> int | None:
    """Answer without secrets and return the answer's id; what was answered already is followed up, with its file.

    An answer that does not arrive is logged, not raised: what the person asked for is done.
    """
    assert isinstance(interaction.client, WeftClient)
    redactor, pressed = interaction.client.state.redactor, interaction.message
    # Redacted before it is cut: of a secret that the cut divides, the rest would not be recognised for certain.
    content = clip(redactor.text(content), MESSAGE_LIMIT)
    view = view_of(redactor.buttons(buttons), redactor.selects(selects)) if buttons or selects else None
    try:
        if interaction.response.is_done():
            await _follow_up(interaction, content, view, file)
            return None
        if pressed is not None and pressed.flags.ephemeral:
            # What only this person sees is about the same thing: one message, and no button that has had its time.
            await interaction.response.edit_message(content=content, view=view, allowed_mentions=NOBODY)
            return None
        shown = view or discord.utils.MISSING
        sent = await interaction.response.send_message(content, view=shown, ephemeral=ephemeral, **QUIETLY)
    except _LOST as exc:
        log.warning("answer.lost", interaction=interaction.id, error=repr(exc))
        return None
    return sent.message_id


async def _correct(interaction: discord.Interaction[Any], answer: Answer) -> None:
    """Let an answer that was given show another text, and nothing to press."""
    text = clip(interaction.client.state.redactor.text(answer.text), MESSAGE_LIMIT)
    try:
        await interaction.edit_original_response(content=text, view=None, allowed_mentions=NOBODY)
    except _LOST as exc:
        log.warning("answer.lost", interaction=interaction.id, error=repr(exc))


async def _follow_up(
    interaction: discord.Interaction[Any], content: str, view: ui.View | None, file: Attachment | None
) -> None:
    """Follow an answer up; if Discord does not take the file, without it."""
    options = {"view": view or discord.utils.MISSING, "ephemeral": True, **QUIETLY}
    if file is not None:
        redactor = interaction.client.state.redactor
        # In a worker thread: it may have megabytes.
        data = await anyio.to_thread.run_sync(redactor.data, file.data)
        attached = discord.File(io.BytesIO(data), filename=redactor.text(file.name))
        try:
            await interaction.followup.send(content, file=attached, **options)
        except discord.HTTPException as exc:
            log.warning("answer.without_file", interaction=interaction.id, error=repr(exc))
            content = clip(content, MESSAGE_LIMIT - len(NO_FILE)) + NO_FILE
        else:
            return
    await interaction.followup.send(content, **options)


async def show_modal(interaction: discord.Interaction[Any], modal: Modal) -> None:
    """Open a form for whoever pressed, without secrets; it has to be the first response."""
    assert isinstance(interaction.client, WeftClient)
    try:
        await interaction.response.send_modal(modal_view(modal, interaction.client.state.redactor))
    except _LOST as exc:
        log.warning("answer.lost", interaction=interaction.id, error=repr(exc))


async def on_unreadable_interaction(client: discord.Client, interaction: Json) -> None:
    """Answer an interaction that discord.py cannot read, as long as its id and its token are there."""
    interaction_id, token = snowflake(interaction.get("id")), field(interaction, "token", str)
    kind = interaction.get("type")
    if type(kind) is not int or kind not in _ANSWERABLE or interaction_id is None or not token:
        return
    route = Route("POST", "/interactions/{id}/{token}/callback", id=interaction_id, token=token)
    # The text is ours alone, so no secret can be in it.
    told = {"content": UNREAD, "flags": _EPHEMERAL, "allowed_mentions": {"parse": []}}
    try:
        await client.http.request(route, json={"type": _MESSAGE, "data": told})
    except _LOST as exc:
        log.warning("answer.lost", interaction=interaction_id, error=repr(exc))
