"""Files of messages, on their way to the agent: fetched when the turn starts, saved, made into blocks of the prompt.

What can't be had costs itself alone: it is named to the agent and in the thread. `Fetch` gets the bytes, `inbox` saves
them, `images` and `transcription` work on what was saved. There is no state between two prompts.
"""

from __future__ import annotations

import base64
import mimetypes
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

import anyio
import anyio.to_thread
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from acp.schema import ContentBlock, PromptCapabilities, audio_block, embedded_text, image_block, resource_link
from bot.model import Attachment, Inbound, Origin, Quote
from bot.reply.port import Body
from bot.reply.sanitise import clean, clip, inline_code
from bot.work.files.inbox import IN, WEFT, Inbox, IncomingFile, NotSaved, distinct, safe_name
from bot.work.files.transcription import NotTranscribed, Transcriber
from bot.work.limits import FileLimits
from bot.work.ports import DownloadFailed, Fetch, TryDownloadAgain
from bot.work.prompt import Brought, headlined

log = structlog.get_logger(__name__)

MOST_TEXT = 256 * 1024
"""Bytes of a text that becomes part of the prompt."""

MOST_INLINE = 12 * 1024 * 1024
"""Bytes of images, sounds and texts in one prompt, before base64: it goes to the agent as one line."""

SHAPING = 30.0
"""Seconds for all images of a prompt: what a file makes a decoder do must not hold up a turn."""

_KIB, _MIB = 1024, 1024 * 1024
_CLOSING = 5.0  # seconds
_TRIES = 3
_NAMES_SHOWN = 5
_TOLD, _TRANSCRIPT_SHOWN = 1900, 1700
_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)
_UNTYPED = "application/octet-stream"

_Closable = Inbox | IncomingFile
_C = TypeVar("_C", Inbox, IncomingFile)

TOO_SLOW = "it takes too long to decode"
TIMED_OUT = "it did not arrive in time"
NOT_FETCHED = "it could not be fetched"
NOT_READ = "it can't be read any more"
NO_FILES = "files are not passed on here"
NO_ROOM = "the prompt has no room left for it"
HEADLINES = {
    Origin.MESSAGE: "Attached files, saved in your working directory",
    Origin.FORWARDED: "Files of the forwarded message, saved in your working directory",
    Origin.REPLIED_TO: "Files of the message replied to, saved in your working directory",
}


@dataclass(frozen=True, slots=True)
class Workspace:
    """A thread's directory: ``here`` on this machine, ``inside`` as its agent sees it."""

    here: Path
    inside: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """What came with the messages of a prompt, by their ids, and what their thread is told about it."""

    brought: Mapping[int, Brought]
    notices: tuple[Body, ...] = ()


@dataclass(slots=True)
class _File:
    """A file on its way; it ends with either a block or the reason why there is none.

    Attributes:
        path: where it is saved, below the workspace.
        no_image, no_transcript: why there is none, where there should be one.
    """

    attachment: Attachment
    name: str
    path: str
    reason: str = ""
    incoming: IncomingFile | None = None
    block: ContentBlock | None = None
    no_image: str = ""
    transcript: str = ""
    no_transcript: str = ""

    @property
    def described(self) -> str:
        """Its name, with type and size."""
        size = self.incoming.size if self.incoming is not None else self.attachment.size
        return described(self.name, self.attachment.content_type, size)


_in_thread = partial(anyio.to_thread.run_sync, abandon_on_cancel=True)
"""Runs what works on files: on a disk that hangs the thread stays behind, and the turn goes on or is stopped."""


class _Opened:
    """What is open for a prompt: closed at its end, even if it comes from a thread that was left behind before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[_Closable] | None = []

    def keep(self, make: Callable[[], _C]) -> _C:
        """Return what ``make`` opens."""
        made = make()
        with self._lock:
            if self._open is not None:
                self._open.append(made)
                return made
        made.close()
        return made

    def close(self) -> None:
        """Close everything, the last first."""
        with self._lock:
            found, self._open = self._open or [], None
        for one in reversed(found):
            one.close()


@dataclass(frozen=True, slots=True)
class Attachments:
    """Prepares the files of prompts."""

    fetch: Fetch
    limits: FileLimits = field(default_factory=FileLimits)
    transcriber: Transcriber | None = None

    async def prepare(
        self, messages: Sequence[Inbound], workspace: Workspace, can: PromptCapabilities, *, room: int = MOST_INLINE
    ) -> Prepared:
        """Fetch and save what came with messages of a thread, and make of it what their agent takes.

        Never raises on what a file, Discord or the disk does. May be cancelled at any moment.

        Args:
            room: bytes that may become part of the prompt.
        """
        planned = plan(messages, self.limits)
        if not any(planned.values()):
            return Prepared({})
        files = [file for some in planned.values() for file in some]
        opened = _Opened()
        try:
            await self._fetch_all(messages, planned, workspace, opened)
            # One after the other, in their order: decoded images are large, and what comes first has room first.
            until = anyio.current_time() + SHAPING
            for file in files:
                if file.incoming is not None:
                    await _shape(file, file.incoming, workspace, can, room, until)
                    room -= _inline_size(file)
            await self._hear(files)
        finally:
            with anyio.move_on_after(_CLOSING, shield=True):
                await _in_thread(opened.close)
        return Prepared({key: _brought(some) for key, some in planned.items() if some}, tuple(_notices(files)))

    async def _fetch_all(
        self,
        messages: Sequence[Inbound],
        planned: Mapping[int, Sequence[_File]],
        workspace: Workspace,
        opened: _Opened,
    ) -> None:
        """Fetch what can be had; afterwards each file has its bytes or a reason."""
        # For all messages of the prompt together.
        room = anyio.CapacityLimiter(self.limits.at_once)
        wanted: list[_File] = []
        with anyio.move_on_after(self.limits.fetch_timeout):
            async with anyio.create_task_group() as tasks:
                for message in messages:
                    files = [file for file in planned[message.message_id] if not file.reason]
                    if not files:
                        continue
                    wanted += files
                    open_inbox = partial(Inbox, workspace.here, message.message_id, message.thread_id)
                    try:
                        inbox = await _in_thread(opened.keep, open_inbox)
                    except NotSaved as exc:
                        _leave_out(files, str(exc))
                        continue
                    except Exception as exc:  # noqa: BLE001  as in `_fetch_one`
                        log.warning("files.not_fetched", message=message.message_id, error=type(exc).__name__)
                        _leave_out(files, NOT_FETCHED)
                        continue
                    for file in files:
                        tasks.start_soon(self._fetch_one, file, inbox, room, opened)
        # All that neither arrived nor failed: for these, the time was up.
        _leave_out([file for file in wanted if file.incoming is None and not file.reason], TIMED_OUT)

    async def _fetch_one(self, file: _File, inbox: Inbox, room: anyio.CapacityLimiter, opened: _Opened) -> None:
        async with room:
            try:
                # Closed with the prompt's preparation, not with the fetch: what was written is still to be read.
                incoming = await _in_thread(opened.keep, partial(inbox.receive, file.name))
                await self._download(file.attachment, incoming)
                await _in_thread(incoming.keep)
            except (DownloadFailed, NotSaved) as exc:
                file.reason = str(exc)
            except Exception as exc:  # noqa: BLE001  logged without what it says
                # What a disk or a server may yet think of costs this file, not the turn. Its address is a key to it.
                log.warning("file.not_fetched", file=file.attachment.id, error=type(exc).__name__)
                file.reason = NOT_FETCHED
            else:
                file.incoming = incoming

    async def _download(self, attachment: Attachment, incoming: IncomingFile) -> None:
        async def save(data: bytes) -> None:
            await _in_thread(incoming.write, data)

        tries = AsyncRetrying(
            retry=retry_if_exception_type(TryDownloadAgain),
            stop=stop_after_attempt(_TRIES),
            wait=wait_random_exponential(multiplier=0.5, max=4),
            reraise=True,
        )
        async for attempt in tries:
            with attempt:
                # What an earlier try has written would stand before it.
                await _in_thread(incoming.restart)
                await self.fetch(attachment, save, self.limits.size)

    async def _hear(self, files: Sequence[_File]) -> None:
        """Write down the voice messages that the agent can't hear; all of them have the time of one (P6)."""
        if self.transcriber is None:
            return
        until = inf
        for file in files:
            if file.incoming is None or file.attachment.duration is None or _heard(file):
                continue
            left = until - anyio.current_time()
            # The time of all begins with the first that is heard, and not while files were fetched.
            until = min(until, anyio.current_time() + self.transcriber.timeout)
            try:
                file.transcript = await self.transcriber.transcribe(file.incoming.file, file.name, left)
            except NotTranscribed as exc:
                file.no_transcript = str(exc)


async def _shape(
    file: _File, incoming: IncomingFile, workspace: Workspace, can: PromptCapabilities, room: int, until: float
) -> None:
    """Give a saved file its block; an image that is not decoded by ``until`` (of the loop's clock) is a link."""
    uri = PurePosixPath(workspace.inside, file.path).as_uri()
    link = resource_link(uri, file.name, _kind(file) or _UNTYPED, incoming.size)
    try:
        is_image = can.image and await _in_thread(_is_image, incoming.file)
        if not is_image:
            file.block = await _in_thread(_block, file, incoming.file, link, can, room)
            return
        # What stays if the time is up.
        file.block, file.no_image = link, TOO_SLOW
        # A thread that decodes is left behind if the turn is stopped: `images` lets no second one in beside it.
        with anyio.move_on_at(until):
            file.block, file.no_image = await _in_thread(_image, incoming.file, uri, link, room)
    except OSError as exc:
        log.warning("file.not_read", file=file.attachment.id, error=exc.strerror)
        file.block, file.reason = None, NOT_READ


def plan(messages: Sequence[Inbound], limits: FileLimits) -> dict[int, list[_File]]:
    """Return the files of each message with a name for each; those that are too many or too large have a reason."""
    planned: dict[int, list[_File]] = {}
    seen: set[int] = set()
    for message in messages:
        # The same file may hang on one message and be quoted by another.
        attachments = [one for one in message.attachments if one.id not in seen]
        seen.update(one.id for one in attachments)
        names = distinct(one.name for one in attachments)
        files = [
            _File(attachment, name, f"{WEFT}/{IN}/{message.message_id}/{name}")
            for attachment, name in zip(attachments, names, strict=True)
        ]
        for file in files[limits.most :]:
            file.reason = f"more than {limits.most} files came with the message" if limits.most else NO_FILES
        for file in files[: limits.most]:
            if file.attachment.size > limits.size:
                file.reason = f"it is larger than {limits.size / _MIB:,.3g} MiB"
        planned[message.message_id] = files
    return planned


def described(name: str, content_type: str, size: int) -> str:
    """Return a file's name with its type and its size in bytes."""
    known = [content_type] if (content_type := mime_type_of(content_type, "")) else []
    known.append(f"{size:,} byte{'' if size == 1 else 's'}" if size < _KIB else f"{size / _KIB:,.0f} KiB")
    return f"{safe_name(name)} ({', '.join(known)})"


def mime_type_of(declared: str, name: str) -> str:
    """Return a well-formed type: the declared one without its parameters, else one by the name; "" if there is none."""
    kind = declared.partition(";")[0].strip().lower()
    return kind if _TYPE.fullmatch(kind) else mimetypes.guess_type(name)[0] or ""


def _leave_out(files: Iterable[_File], reason: str) -> None:
    for file in files:
        file.reason = reason


# --- from a file to a block; in a worker thread ---------------------------------------------------------------------


def _is_image(saved: BinaryIO) -> bool:
    from bot.work.files.images import looks_like_image  # Pillow takes long: not before it is needed

    saved.seek(0)
    # By its bytes: what a file is called and what Discord takes it for proves nothing, and providers look.
    return looks_like_image(saved.read(12))


def _image(saved: BinaryIO, uri: str, link: ContentBlock, room: int) -> tuple[ContentBlock, str]:
    """Return the block of an image; if that is only a link, with the reason."""
    from bot.work.files.images import NotAnImage, picture_of

    # Its own descriptor: the other is closed while a thread that was left behind may still read.
    with os.fdopen(os.dup(saved.fileno()), "rb") as own:
        try:
            picture = picture_of(own)
        except NotAnImage as exc:
            return link, str(exc)
    if len(picture.data) > room:
        return link, NO_ROOM
    return image_block(_base64(picture.data), picture.mime_type, uri), ""


def _block(file: _File, saved: BinaryIO, link: ContentBlock, can: PromptCapabilities, room: int) -> ContentBlock:
    """Return the block of a file that is no image."""
    kind, size, uri = _kind(file), link.size or 0, link.uri or ""
    if size > room:
        return link
    # 1. Text before sound: no sound is UTF-8, but anything may be called one.
    if can.embedded_context and (text := _text(saved, size)) is not None:
        return embedded_text(uri, text, kind if kind and not kind.startswith("audio/") else "text/plain")
    if can.audio and (kind.startswith("audio/") or file.attachment.duration is not None):
        saved.seek(0)
        return audio_block(_base64(saved.read(size)), kind if kind.startswith("audio/") else "audio/ogg")
    # 2. The agent can read it for itself.
    return link


def _kind(file: _File) -> str:
    return mime_type_of(file.attachment.content_type, file.name)


def _text(saved: BinaryIO, size: int) -> str | None:
    if size > MOST_TEXT:
        return None
    saved.seek(0)
    data = saved.read(size)
    try:
        # With a NUL it is valid UTF-8, and still no text.
        return None if b"\0" in data else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _inline_size(file: _File) -> int:
    block = file.block
    if block is None:
        return 0
    text = str((block.resource or {}).get("text", ""))
    return len(text.encode()) + len(block.data or "") * 3 // 4


# --- what is said of it ---------------------------------------------------------------------------------------------


def _brought(files: Sequence[_File]) -> Brought:
    saved = [file for file in files if file.block is not None]
    quotes = [
        Quote(headline, "\n".join(map(_line, of_one)))
        for origin, headline in HEADLINES.items()
        if (of_one := [file for file in saved if file.attachment.origin is origin])
    ]
    quotes += [Quote(f"Transcript of {headlined(file.name)}", file.transcript) for file in saved if file.transcript]
    return Brought(
        blocks=tuple(file.block for file in saved if file.block is not None),
        quotes=tuple(quotes),
        left_out=tuple(f"{file.described}: {file.reason}" for file in files if file.reason),
    )


def _line(file: _File) -> str:
    """Return what the agent reads of a saved file."""
    notes = [str(PurePosixPath(file.path).parent / file.described)]
    if file.attachment.duration is not None:
        notes.append("a voice message" if _heard(file) else "a voice message, which was not transcribed")
    if file.no_image:
        notes.append(f"not shown to you as an image: {file.no_image}")
    return "; ".join(notes)


def _heard(file: _File) -> bool:
    return bool(file.transcript) or (file.block is not None and file.block.type == "audio")


def _notices(files: Sequence[_File]) -> Iterator[Body]:
    """Return what people read in the thread: transcripts, and what was not passed on, or not as it was meant."""
    for file in files:
        if file.transcript:
            lines = clip(clean(file.transcript), _TRANSCRIPT_SHOWN).splitlines()
            cut = " The agent has all of it." if len(file.transcript) > _TRANSCRIPT_SHOWN else ""
            yield Body("\n".join([*(f"> {line}" for line in lines), f"-# What I heard.{cut}"]))
    if lost := summary((file.name, file.reason) for file in files if file.reason):
        yield Body(clip(f"-# Not passed on: {lost}", _TOLD))
    if unseen := summary((file.name, file.no_image) for file in files if file.no_image):
        yield Body(clip(f"-# Passed on as a file, not as an image: {unseen}", _TOLD))
    if unheard := summary((file.name, file.no_transcript) for file in files if file.no_transcript):
        yield Body(clip(f"-# Passed on as a file, without a transcript: {unheard}", _TOLD))


def summary(reasons: Iterable[tuple[str, str]]) -> str:
    """Return names with the reasons for them, the names of a reason together and at most five of them; "" for none."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons:
        by_reason.setdefault(reason, []).append(name)
    return "; ".join(f"{_names(names)} ({reason})" for reason, names in by_reason.items())


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(inline_code(name) for name in names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
