"""What the work and the reply may ask of Discord: `DiscordChat` and `DiscordThread`.

All is addressed by id on whatever client is current, so nothing here depends on a cache or on one client's life.
Every body says whom it may notify: nobody, or the one user in `Body.ping`.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import discord
import structlog
from discord import ui

from bot.chat.breaker import Breaker
from bot.chat.inbound import Place, Post, Taken, clip
from bot.chat.posts import place_of, post_of, posts_of
from bot.chat.rest import (
    FILE_TOO_LARGE,
    MISSING_PERMISSIONS,
    NO_REPLIES,
    THREAD_EXISTS,
    UNKNOWN_EMOJI,
    Rest,
    RetryLimits,
)
from bot.model import Inbound
from bot.reply.port import Attachment, Body, Button, MessageGone, PortError, ThreadArchived, ThreadGone, ThreadPort

log = structlog.get_logger(__name__)

NONCE_LIMIT = 25
AUTO_ARCHIVE_MINUTES: Literal[1440] = 1440
MESSAGE_LIMIT = 2000
PAGE = 100  # messages of a history at once
NO_THREADS = "I lack the permission Create Public Threads here (code 50013)"
NO_FILE = "\n-# The file could not be posted: {why}."
NO_ALLOWING = "\n**Nobody can see all of it, so it can only be rejected.**"
_NO_FILE_WHY = {MISSING_PERMISSIONS: "I lack the permission Attach Files", FILE_TOO_LARGE: "it is too large here"}
NOBODY = discord.AllowedMentions.none()
_MOST_UNREACTIVE = 1000  # channels remembered to have been logged
_Change = Callable[..., Awaitable[None]]


class DiscordThread:
    """A thread by its id (`bot.reply.port.ThreadPort`)."""

    def __init__(self, rest: Rest, thread_id: int) -> None:
        self._rest, self._id = rest, thread_id

    async def send(self, body: Body, *, nonce: str, reply_to: int | None = None) -> int:
        """Post a message; Discord takes the same nonce once in a few minutes, so a repeated try posts nothing twice."""
        if not 0 < len(nonce) <= NONCE_LIMIT:
            raise ValueError(f"the nonce {nonce!r} has {len(nonce)} characters (1 to {NONCE_LIMIT} are possible)")
        return await self._rest.call(functools.partial(_send, channel_id=self._id, body=body, nonce=nonce, to=reply_to))

    async def edit(self, message_id: int, body: Body) -> None:
        """Replace a message's text and buttons; with an empty bucket it returns seconds after it was applied."""
        await self._rest.call(functools.partial(_edit, channel_id=self._id, message_id=message_id, body=body))

    async def delete(self, message_id: int) -> None:
        """Delete one of Weft's own messages; that Discord forbids it does not mean that the thread is gone."""
        try:
            await self._rest.call(functools.partial(_delete, channel_id=self._id, message_id=message_id))
        except ThreadGone as exc:
            raise PortError(str(exc)) from exc

    async def typing(self) -> None:
        """Show the typing sign; one try only, since a late sign is of no use."""
        await self._rest.once(functools.partial(_typing, channel_id=self._id), essential=False)

    async def own_messages(self, after: int, limit: int = 50) -> list[tuple[int, str]]:
        """Return Weft's own among the ``limit`` messages that follow a message, as (id, content), oldest first."""
        return await self._rest.read(functools.partial(_own, channel_id=self._id, after=after, limit=limit))


class DiscordChat:
    """Discord as the work sees it (`bot.work.ports.Chat`).

    ``current`` gives the client of the moment, or raises `bot.chat.rest.TryAgain` when there is none.
    """

    def __init__(
        self,
        current: Callable[[], discord.Client],
        limits: RetryLimits | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._rest = Rest(current, limits or RetryLimits(), breaker)
        self._unreactive = Taken(_MOST_UNREACTIVE)

    def thread(self, thread_id: int) -> ThreadPort:
        """Return the port of a thread."""
        return DiscordThread(self._rest, thread_id)

    async def open_thread(self, inbound: Inbound) -> None:
        """Open the inbound's thread from its message; one that exists already is used."""
        await self._rest.call(functools.partial(_open_thread, inbound=inbound))

    async def place(self, channel_id: int) -> Place | None:
        """Return a channel or thread that is in no cache; None if what Discord says of it can't be read."""
        return place_of(await self._rest.call(functools.partial(_channel, channel_id=channel_id)))

    async def history(self, place: Place, after: int, limit: int) -> list[Post]:
        """Return the newest ``limit`` messages after one, up to 100, the oldest of them first."""
        return await self._rest.read(functools.partial(_history, place=place, after=after, limit=limit))

    async def message(self, place: Place, message_id: int) -> Post:
        """Return a message as it is now; `MessageGone`: it was deleted."""
        return await self._rest.read(functools.partial(_message, place=place, message_id=message_id))

    async def roles(self, guild_id: int, user_id: int) -> frozenset[int]:
        """Return the roles of a member."""
        return await self._rest.read(functools.partial(_roles, guild_id=guild_id, user_id=user_id))

    async def acknowledge(self, inbound: Inbound, emoji: str) -> None:
        """React to the message; where reactions aren't allowed, show the typing sign instead."""
        try:
            await self._reaction(_react, inbound.channel_id, inbound.message_id, emoji)
        except ThreadGone:
            await self._rest.once(functools.partial(_typing, channel_id=inbound.channel_id), essential=False)

    async def react(self, channel_id: int, message_id: int, emoji: str, *, instead_of: tuple[str, ...] = ()) -> None:
        """Set a reaction on a message, then take others of Weft's away; nothing where that is not allowed."""
        try:
            await self._reaction(_react, channel_id, message_id, emoji)
            for other in instead_of:
                if other != emoji:
                    await self._reaction(_unreact, channel_id, message_id, other)
        except MessageGone:
            log.debug("reaction.late", channel=channel_id, message=message_id)
        except (ThreadGone, ThreadArchived) as exc:
            if self._unreactive.first(channel_id):
                log.info("reaction.refused", channel=channel_id, message=message_id, error=str(exc))

    async def _reaction(self, change: _Change, channel_id: int, message_id: int, emoji: str) -> None:
        operation = functools.partial(change, channel_id=channel_id, message_id=message_id, emoji=emoji)
        await self._rest.call(operation, essential=False)

    async def refuse(self, inbound: Inbound, text: str) -> None:
        """Answer the message where it was posted."""
        await self.answer(inbound.channel_id, inbound.message_id, text)

    async def answer(self, channel_id: int, message_id: int, text: str) -> None:
        """Reply to a message; a second answer to the same message within minutes is not posted."""
        await DiscordThread(self._rest, channel_id).send(Body(text), nonce=f"a{message_id}", reply_to=message_id)


async def _send(client: discord.Client, channel_id: int, body: Body, nonce: str, to: int | None) -> int:
    try:
        return await _post(client, channel_id, body, nonce, to)
    except discord.HTTPException as exc:
        lesser = _lesser(exc.code, body, to)
        if lesser is None:
            raise
    return await _send(client, channel_id, lesser[0], nonce, lesser[1])


def _lesser(code: int, body: Body, to: int | None) -> tuple[Body, int | None] | None:
    """Return what is left of a message that Discord refused for its reference or its file, if that was the reason."""
    if code == NO_REPLIES and to is not None:
        return body, None
    if code in _NO_FILE_WHY and body.file is not None:
        if body.fileless == ():
            raise PortError("a card of which nothing is left to press without its file")
        note = NO_FILE.format(why=_NO_FILE_WHY[code]) + ("" if body.fileless is None else NO_ALLOWING)
        buttons = body.buttons if body.fileless is None else body.fileless
        text = clip(body.text, MESSAGE_LIMIT - len(note)) + note
        return dataclasses.replace(body, text=text, buttons=buttons, file=None), to
    return None


async def _post(client: discord.Client, channel_id: int, body: Body, nonce: str, to: int | None) -> int:
    options: dict[str, Any] = {"nonce": nonce, "allowed_mentions": _mentions(body), "suppress_embeds": True}
    if body.buttons:
        options["view"] = _view(body.buttons)
    if body.file is not None:
        options["file"] = _file(body.file)  # made anew for each try: a file is read once
    if to is not None:
        options["reference"] = discord.MessageReference(
            message_id=to,
            channel_id=channel_id,
            fail_if_not_exists=False,
        )
    message = await client.get_partial_messageable(channel_id).send(body.text, **options)
    return int(message.id)


async def _edit(client: discord.Client, channel_id: int, message_id: int, body: Body) -> None:
    message = client.get_partial_messageable(channel_id).get_partial_message(message_id)
    view = _view(body.buttons) if body.buttons else None
    await message.edit(content=body.text, view=view, allowed_mentions=_mentions(body))


async def _delete(client: discord.Client, channel_id: int, message_id: int) -> None:
    await client.get_partial_messageable(channel_id).get_partial_message(message_id).delete()


# Messages and channels are read from Discord's JSON: discord.py makes nothing of a page of which it can't take one.


async def _channel(client: discord.Client, channel_id: int) -> object:
    return await client.http.get_channel(channel_id)


async def _history(client: discord.Client, place: Place, after: int, limit: int) -> list[Post]:
    page = await client.http.logs_from(place.channel_id, limit)
    return [post for post in posts_of(page, place) if post.message_id > after]


async def _message(client: discord.Client, place: Place, message_id: int) -> Post:
    post = post_of(await client.http.get_message(place.channel_id, message_id), place)
    if post is None:
        raise PortError(f"message {message_id} can't be read")
    return post


async def _own(client: discord.Client, channel_id: int, after: int, limit: int) -> list[tuple[int, str]]:
    assert client.user is not None
    own: list[tuple[int, str]] = []
    while limit > 0:
        page = await client.http.logs_from(channel_id, min(limit, PAGE), after=after)
        posts = posts_of(page, Place(None, channel_id))
        own += [(post.message_id, post.content) for post in posts if post.author.id == client.user.id]
        if len(page) < PAGE or not posts:
            break
        limit, after = limit - PAGE, posts[-1].message_id
    return own


async def _roles(client: discord.Client, guild_id: int, user_id: int) -> frozenset[int]:
    # Not Guild.fetch_member: a client that was just replaced may not know the server yet.
    member = await client.http.get_member(guild_id, user_id)
    return frozenset(int(role) for role in member["roles"])


async def _typing(client: discord.Client, channel_id: int) -> None:
    await client.get_partial_messageable(channel_id).typing()


async def _react(client: discord.Client, channel_id: int, message_id: int, emoji: str) -> None:
    await client.get_partial_messageable(channel_id).get_partial_message(message_id).add_reaction(emoji)


async def _unreact(client: discord.Client, channel_id: int, message_id: int, emoji: str) -> None:
    # Not PartialMessage.remove_reaction: it wants the member, who is in no cache of a client that was just replaced.
    try:
        await client.http.remove_own_reaction(channel_id, message_id, emoji)
    except discord.HTTPException as exc:
        if exc.code != UNKNOWN_EMOJI:
            raise


async def _open_thread(client: discord.Client, inbound: Inbound) -> None:
    # Not Message.create_thread: it insists on a cached server, which a client that was just replaced does not have.
    try:
        await client.http.start_thread_with_message(
            inbound.channel_id, inbound.message_id, name=inbound.title, auto_archive_duration=AUTO_ARCHIVE_MINUTES
        )
    except discord.HTTPException as exc:
        if exc.code == MISSING_PERMISSIONS:
            raise ThreadGone(NO_THREADS) from exc
        if exc.code != THREAD_EXISTS:
            raise


def _mentions(body: Body) -> discord.AllowedMentions:
    if body.ping is None:
        return NOBODY
    return discord.AllowedMentions(
        everyone=False, roles=False, users=[discord.Object(id=body.ping)], replied_user=False
    )


def _view(buttons: tuple[Button, ...]) -> ui.View:
    view = ui.View(timeout=None)
    for button in buttons:
        style = discord.ButtonStyle[button.style]
        custom_id, disabled = button.custom_id, button.disabled
        view.add_item(
            ui.Button(style=style, label=button.label, custom_id=custom_id, disabled=disabled, row=button.row)
        )
    # Presses are found by custom_id (see views). discord.py keeps a view for ever unless it is stopped.
    view.stop()
    return view


def _file(attachment: Attachment) -> discord.File:
    return discord.File(io.BytesIO(attachment.data), filename=attachment.name)
