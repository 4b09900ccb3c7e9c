"""What the work and the reply may ask of Discord: `DiscordChat` and `DiscordThread`.

Everything is addressed by id on the current client, so nothing here depends on a cache or on one client's life.
Every body says whom it may notify: nobody, or the one user and the one role that it names. Together with the answers of
`bot.chat.interactions` this is the only way out to Discord, and no configured secret passes it, whatever text, label,
file or name holds it (R5); see `bot.redaction`.
"""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from io import BufferedIOBase
from typing import Any, Literal

import anyio
import anyio.to_thread
import discord
import structlog
from discord import ui
from discord.http import Route

from bot.chat.channels import DiscordChannels
from bot.chat.downloads import NOT_SENT, Downloads
from bot.chat.inbound import Place, Post, clip
from bot.chat.posts import field, place_of, post_of, posts_of, reply_to, snowflake
from bot.chat.rest import (
    FILE_TOO_LARGE,
    MISSING_PERMISSIONS,
    NO_REPLIES,
    READ_LEAVE_LIMIT,
    THREAD_EXISTS,
    UNKNOWN_EMOJI,
    Breaker,
    Rest,
    RetryLimits,
    TryAgain,
)
from bot.model import Attachment, Inbound
from bot.recent import Recent, RecentMap
from bot.redaction import Redactor
from bot.reply.port import (
    MESSAGE_LIMIT,
    Body,
    Button,
    MessageGone,
    OwnMessage,
    PortError,
    Select,
    ThreadArchived,
    ThreadGone,
    ThreadPort,
    Unavailable,
    Upload,
    UploadRefused,
    without_file,
)
from bot.work.ports import DownloadFailed, TryDownloadAgain

log = structlog.get_logger(__name__)

NONCE_LIMIT = 25
ORIGINAL_LIMIT = 5.0
"""Seconds; a prompt waits no longer for what it replies to."""
COPY_LIMIT = 60.0
"""Seconds for the copies of a message's files."""
AUTO_ARCHIVE_MINUTES: Literal[1440] = 1440
TOO_LARGE = 413  # HTTP
_NO_PREVIEWS = discord.MessageFlags.suppress_embeds.flag
PAGE = 100  # messages of a history at once
NO_THREADS = "I lack the permission Create Public Threads here (code 50013)"
_NO_FILE_WHY = {MISSING_PERMISSIONS: "I lack the permission Attach Files", FILE_TOO_LARGE: "it is too large here"}
NOBODY = discord.AllowedMentions.none()
_CHUNK = 1024 * 1024
_MOST_OPENED = 1000  # threads remembered to have been opened, by whichever of those who want one
_MOST_UNREACTIVE = 1000  # channels remembered to have been logged


@dataclass(frozen=True, slots=True)
class DiscordThread:
    """A thread by its id (`bot.reply.port.ThreadPort`)."""

    _rest: Rest
    _redactor: Redactor
    _id: int

    async def send(self, body: Body, *, nonce: str, reply_to: int | None = None) -> int:
        """Post a message without secrets and return its id."""
        # Discord takes the same nonce once in a few minutes, so a repeated try posts nothing twice.
        if not 0 < len(nonce) <= NONCE_LIMIT:
            raise ValueError(f"the nonce {nonce!r} has {len(nonce)} characters (1 to {NONCE_LIMIT} are possible)")
        clean = self._redactor.body(body)

        async def send(client: discord.Client) -> int:
            async with _copies(clean.uploads, self._redactor) as copies:
                return await _send(client, self._id, clean, nonce, reply_to, copies)

        return await self._rest.call(send)

    async def edit(self, message_id: int, body: Body) -> None:
        """Replace a message's text and buttons; with an empty bucket it returns seconds after it was applied."""
        clean = self._redactor.body(body)
        view = view_of(clean.buttons) if clean.buttons else None
        await self._rest.call(
            lambda client: (
                client.get_partial_messageable(self._id)
                .get_partial_message(message_id)
                .edit(content=clean.text, view=view, allowed_mentions=_mentions(clean))
            )
        )

    async def delete(self, message_id: int) -> None:
        """Delete one of Weft's own messages; that Discord forbids it does not mean that the thread is gone."""
        try:
            await self._rest.call(
                lambda client: client.get_partial_messageable(self._id).get_partial_message(message_id).delete()
            )
        except ThreadGone as exc:
            raise PortError(str(exc)) from exc

    async def typing(self) -> None:
        """Show the typing sign; one try only, since a late sign is of no use."""
        await self._rest.once(lambda client: client.get_partial_messageable(self._id).typing(), essential=False)

    async def archives_after(self) -> int | None:
        """Return after how many minutes of silence the thread is archived; None: it is archived, or is a channel."""
        described = await self._rest.call(
            lambda client: client.http.get_channel(self._id), essential=False, leave_limit=READ_LEAVE_LIMIT
        )
        thread = field(described, "thread_metadata", dict)
        minutes = thread.get("auto_archive_duration")
        return minutes if type(minutes) is int and thread.get("archived") is not True else None

    async def archive_after(self, minutes: int) -> None:
        """Let the thread be archived after so many minutes of silence; Discord knows 60, 1440, 4320 and 10080."""
        await self._rest.call(
            lambda client: client.http.edit_channel(self._id, auto_archive_duration=minutes), essential=False
        )

    async def own_messages(self, after: int, limit: int = 50) -> list[OwnMessage]:
        """Return Weft's own among the ``limit`` messages that follow a message, oldest first."""

        async def read(client: discord.Client) -> list[OwnMessage]:
            assert client.user is not None
            own: list[OwnMessage] = []
            left, newest = limit, after
            while left > 0:
                page = await client.http.logs_from(self._id, min(left, PAGE), after=newest)
                posts = posts_of(page, Place(None, self._id))
                mine = [post for post in posts if post.author.id == client.user.id]
                # By the reference, which stays when the message that it leads to is deleted.
                replies = {snowflake(field(one, "id", str)): reply_to(one) for one in page}
                own += [
                    OwnMessage(one.message_id, one.content, one.custom_ids, replies.get(one.message_id)) for one in mine
                ]
                if len(page) < PAGE or not posts:
                    break
                left, newest = left - PAGE, posts[-1].message_id
            return own

        return await self._rest.call(read, leave_limit=READ_LEAVE_LIMIT)


class DiscordChat:
    """Discord as the work sees it (`bot.work.ports.Chat`).

    ``current`` gives the current client, or raises `bot.chat.rest.TryAgain` when there is none; ``api_url`` is another
    REST address than Discord's.
    """

    def __init__(
        self,
        current: Callable[[], discord.Client],
        limits: RetryLimits,
        breaker: Breaker,
        redactor: Redactor,
        api_url: str | None = None,
    ) -> None:
        self._rest, self._redactor, self._current = Rest(current, limits, breaker), redactor, current
        self.fetch = Downloads(self._described_anew, api_url).fetch
        self.channels = DiscordChannels(current, self._rest, redactor)
        self._unreactive: Recent[int] = Recent(_MOST_UNREACTIVE)
        self._opened: RecentMap[int, None] = RecentMap(_MOST_OPENED)

    def thread(self, thread_id: int) -> ThreadPort:
        return DiscordThread(self._rest, self._redactor, thread_id)

    def upload_limit(self, guild_id: int | None) -> int:
        """Return how many bytes a file may have in a server, by its boosts; what every server takes if unknown."""
        try:
            guild = self._current().get_guild(guild_id) if guild_id is not None else None
        except TryAgain:
            guild = None
        return guild.filesize_limit if guild is not None else discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES

    def first_role(self, guild_id: int | None, among: Sequence[int]) -> int | None:
        """Return the first of these roles that a server has; of a server that is not known now, the first of all."""
        try:
            guild = self._current().get_guild(guild_id) if guild_id is not None else None
        except Unavailable:
            guild = None
        # Not the role of everybody, which has the server's id: nobody calls all of a server for a card.
        named = (role for role in among if role != guild_id)
        return next((role for role in named if guild is None or guild.get_role(role) is not None), None)

    async def open_thread(self, inbound: Inbound) -> None:
        """Open the inbound's thread from its message; one that exists already is used."""
        if inbound.message_id in self._opened:
            return
        # The name may quote an agent: of a reply without words the first line of what it replies to.
        name = self._redactor.text(inbound.title)

        async def start(client: discord.Client) -> None:
            # Not Message.create_thread: it insists on a cached server, which a client just replaced does not have.
            try:
                await client.http.start_thread_with_message(
                    inbound.channel_id, inbound.message_id, name=name, auto_archive_duration=AUTO_ARCHIVE_MINUTES
                )
            except discord.HTTPException as exc:
                if exc.code == MISSING_PERMISSIONS:
                    raise ThreadGone(NO_THREADS) from exc
                if exc.code != THREAD_EXISTS:
                    raise

        await self._rest.call(start)
        self._opened.put(inbound.message_id, None)

    async def open_post(self, forum_id: int, title: str, body: Body) -> int:
        """Open a post and return its id; it is no thread that anybody has to open any more."""
        clean = self._redactor.body(body)
        message = {"content": clean.text, "allowed_mentions": {"parse": []}, "flags": _NO_PREVIEWS}
        post = {"name": self._redactor.text(title), "auto_archive_duration": AUTO_ARCHIVE_MINUTES, "message": message}
        route = Route("POST", "/channels/{channel_id}/threads", channel_id=forum_id)
        # Once: no nonce would keep a repeated try from making a second post.
        made = await self._rest.once(lambda client: client.http.request(route, json=post))
        post_id = int(made["id"])
        self._opened.put(post_id, None)
        return post_id

    async def answer(self, channel_id: int, message_id: int, text: str) -> None:
        """Reply to a message; a second answer to the same message within minutes is not posted."""
        # Redacted before it is cut: of a secret that the cut divides, the rest would not be recognised for certain.
        body = Body(clip(self._redactor.text(text), MESSAGE_LIMIT))
        await self.thread(channel_id).send(body, nonce=f"a{message_id}", reply_to=message_id)

    async def refuse(self, inbound: Inbound, text: str) -> None:
        """Answer the message where it was posted."""
        await self.answer(inbound.channel_id, inbound.message_id, text)

    async def acknowledge(self, inbound: Inbound, emoji: str) -> None:
        """React to the message; where reactions aren't allowed, show the typing sign instead."""
        try:
            await self._add_reaction(inbound.channel_id, inbound.message_id, emoji)
        except ThreadGone:
            await self.thread(inbound.channel_id).typing()

    async def react(self, channel_id: int, message_id: int, emoji: str, *, instead_of: tuple[str, ...] = ()) -> None:
        """Set a reaction on a message, then take others of Weft's away; nothing where that is not allowed."""

        async def take_away(client: discord.Client, other: str) -> None:
            # Not PartialMessage.remove_reaction: it wants the member, who is in no cache of a client just replaced.
            try:
                await client.http.remove_own_reaction(channel_id, message_id, other)
            except discord.HTTPException as exc:
                if exc.code != UNKNOWN_EMOJI:
                    raise

        try:
            # In this order: a message that is waiting or running is never left without a sign.
            await self._add_reaction(channel_id, message_id, emoji)
            for other in instead_of:
                if other != emoji:
                    await self._rest.call(functools.partial(take_away, other=other), essential=False)
        except MessageGone:
            log.debug("reaction.late", channel=channel_id, message=message_id)
        except (ThreadGone, ThreadArchived) as exc:
            if self._unreactive.first(channel_id):
                log.info("reaction.refused", channel=channel_id, message=message_id, error=str(exc))

    async def _add_reaction(self, channel_id: int, message_id: int, emoji: str) -> None:
        await self._rest.call(
            lambda client: (
                client.get_partial_messageable(channel_id).get_partial_message(message_id).add_reaction(emoji)
            ),
            essential=False,
        )

    # Messages and channels are read from Discord's JSON: of a page of which discord.py can't take one message, it
    # makes nothing at all.

    async def place(self, channel_id: int) -> Place | None:
        """Return a channel or thread that is in no cache; None if what Discord says of it can't be read."""
        return place_of(await self._rest.call(lambda client: client.http.get_channel(channel_id)))

    async def history(self, place: Place, after: int, limit: int) -> list[Post]:
        """Return the newest ``limit`` messages after one, up to 100, the oldest of them first."""
        page = await self._rest.call(
            lambda client: client.http.logs_from(place.channel_id, limit), leave_limit=READ_LEAVE_LIMIT
        )
        return [post for post in posts_of(page, place) if post.message_id > after]

    async def message(self, place: Place, message_id: int) -> Post:
        """Return a message as it is now; `MessageGone`: it was deleted."""
        found = await self._rest.call(
            lambda client: client.http.get_message(place.channel_id, message_id), leave_limit=READ_LEAVE_LIMIT
        )
        post = post_of(found, place)
        if post is None:
            raise PortError(f"message {message_id} can't be read")
        return post

    async def with_original(self, post: Post) -> Post:
        """Return a reply with its original, as far as that can be had: of one that was deleted nothing is said."""
        if post.reference is None:
            return post
        error = "time-out"
        with anyio.move_on_after(ORIGINAL_LIMIT):
            try:
                original = await self.message(post.place, post.reference)
            except MessageGone:
                return replace(post, reference=None)
            except PortError as exc:
                error = str(exc)
            else:
                return replace(post, reference=None, original=original)
        # The reference stays, so that the prompt says that something is missing.
        log.warning("original.unknown", message=post.message_id, error=error)
        return post

    async def _described_anew(self, attachment: Attachment) -> Attachment | None:
        """Return an attachment with the address that it has now; None if its message has it no more."""
        try:
            post = await self.message(Place(None, attachment.channel_id), attachment.message_id)
        except MessageGone:
            return None
        except Unavailable as exc:
            raise TryDownloadAgain(NOT_SENT) from exc
        except PortError as exc:
            raise DownloadFailed(NOT_SENT) from exc
        return next((one for one in post.attachments if one.id == attachment.id), None)

    async def roles(self, guild_id: int, user_id: int) -> frozenset[int]:
        """Return the roles of a member, with that of everybody, which has the server's id and which no member lists."""
        # Not Guild.fetch_member: a client that was just replaced may not know the server yet.
        member = await self._rest.call(
            lambda client: client.http.get_member(guild_id, user_id), leave_limit=READ_LEAVE_LIMIT
        )
        return frozenset(int(role) for role in member["roles"]) | {guild_id}


@asynccontextmanager
async def _copies(uploads: Sequence[Upload], redactor: Redactor) -> AsyncIterator[list[BufferedIOBase]]:
    """Hold copies of files without the secrets, on disk and without names: an agent may change its files meanwhile."""

    def copy_all() -> list[BufferedIOBase]:
        return [_copy(upload, redactor, opened) for upload in uploads]

    # Closed in a worker thread, too: what is deleted there may be large.
    async with AsyncExitStack() as stack:
        with ExitStack() as opened:
            try:
                # Bounded: an editor sends nothing else meanwhile, and the files may lie on a disk that hangs.
                with anyio.fail_after(COPY_LIMIT):
                    copies = await anyio.to_thread.run_sync(copy_all, abandon_on_cancel=True) if uploads else []
            except TimeoutError as exc:
                raise UploadRefused("it takes too long to read") from exc
            stack.push_async_callback(anyio.to_thread.run_sync, opened.pop_all().close)
        yield copies


def _copy(upload: Upload, redactor: Redactor, opened: ExitStack) -> BufferedIOBase:
    try:
        copy = tempfile.TemporaryFile()  # noqa: SIM115  open until it is sent
        opened.callback(copy.close)
        with upload.open() as source:
            for chunk in redactor.stream(iter(functools.partial(source.read, _CHUNK), b"")):
                copy.write(chunk)
                # Counted while it is read: it may have grown since it was measured, and may go on growing.
                if copy.tell() > upload.limit:
                    raise UploadRefused(f"{upload.name} has grown beyond what this server takes")
        copy.seek(0)
    except OSError as exc:
        # Not Discord's fault: it would be taken for a connection that broke.
        raise UploadRefused(f"{upload.name} can't be read: {(exc.strerror or str(exc)).lower()}") from exc
    return copy


async def _send(
    client: discord.Client,
    channel_id: int,
    body: Body,
    nonce: str,
    reply_to: int | None,
    copies: Sequence[BufferedIOBase] = (),
) -> int:
    """Post a message; without its reference or its file if Discord refuses it for that. Return its id.

    ``copies``: its uploads, without which it is not posted.
    """
    # Ends: each round takes the reference or the file away, and what has neither is not tried again.
    while True:
        options: dict[str, Any] = {"nonce": nonce, "allowed_mentions": _mentions(body), "suppress_embeds": True}
        if body.buttons:
            options["view"] = view_of(body.buttons)
        if body.file is not None:
            # Made anew for each try: a file is read once.
            options["file"] = discord.File(io.BytesIO(body.file.data), filename=body.file.name)
        if copies:
            for copy in copies:
                copy.seek(0)
            named = zip(copies, body.uploads, strict=True)
            options["files"] = [discord.File(copy, filename=upload.name) for copy, upload in named]
        if reply_to is not None:
            options["reference"] = discord.MessageReference(
                message_id=reply_to, channel_id=channel_id, fail_if_not_exists=False
            )
        try:
            return int((await client.get_partial_messageable(channel_id).send(body.text, **options)).id)
        except discord.HTTPException as exc:
            if exc.code == NO_REPLIES and reply_to is not None:
                reply_to = None
                continue
            if copies and (exc.status == TOO_LARGE or exc.code in _NO_FILE_WHY):
                raise UploadRefused(_NO_FILE_WHY.get(exc.code, _NO_FILE_WHY[FILE_TOO_LARGE])) from exc
            if exc.code not in _NO_FILE_WHY or body.file is None:
                raise
            why = _NO_FILE_WHY[exc.code]
        if body.fileless == ():
            raise PortError("a card of which nothing is left to press without its file")
        # Before anybody sees the rest of it: what nobody can see whole must not be allowed by a forged press.
        if body.on_fileless is not None:
            body.on_fileless(why)
        body = without_file(body, why)


def _mentions(body: Body) -> discord.AllowedMentions:
    if body.ping is None and body.role is None:
        return NOBODY
    users, roles = ([discord.Object(id=one)] if one is not None else False for one in (body.ping, body.role))
    return discord.AllowedMentions(everyone=False, users=users, roles=roles, replied_user=False)


def view_of(buttons: Iterable[Button], selects: Iterable[Select] = ()) -> ui.View:
    """Return menus and the buttons below them as discord.py sends them."""
    view = ui.View(timeout=None)
    for select in selects:
        options = [
            discord.SelectOption(
                label=one.label, value=one.value, description=one.description or None, default=one.chosen
            )
            for one in select.choices
        ]
        view.add_item(ui.Select(custom_id=select.custom_id, placeholder=select.placeholder or None, options=options))
    for button in buttons:
        if button.url:
            view.add_item(ui.Button(label=button.label, url=button.url, row=button.row))
            continue
        style = discord.ButtonStyle[button.style]
        custom_id, disabled = button.custom_id, button.disabled
        view.add_item(
            ui.Button(style=style, label=button.label, custom_id=custom_id, disabled=disabled, row=button.row)
        )
    # Presses are found by custom_id (see `buttons`). discord.py keeps a view for ever unless it is stopped.
    view.stop()
    return view
