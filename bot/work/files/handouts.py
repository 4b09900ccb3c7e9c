"""What agents hand out: taken when a turn ends, posted below its reply, then removed (F7).

A file is neither lost nor posted twice: `outfolder` has it on disk until Discord has it, the messages have nonces that
every run makes alike, and after a restart the thread is read first. The mutable state is the turns that run, with the
directories in which they do, whose files are on their way, and which files were said to be left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
import structlog

from acp.handed import HandedLink
from acp.snapshot import TurnSnapshot
from bot.model import Inbound, posted_at
from bot.recent import Recent
from bot.reply.editor import Delivery
from bot.reply.markdown import for_discord
from bot.reply.pending_reply import FileMessage, Handout
from bot.reply.port import Body, Upload
from bot.reply.sanitise import clean, clip, inline_code, units
from bot.reply.title import REORDERING
from bot.work.editors import Editors
from bot.work.files import outfolder
from bot.work.files.inbox import WEFT, hide_from_git
from bot.work.files.outfolder import OUT, Collected, Left, Share, Taken

log = structlog.get_logger(__name__)

T = TypeVar("T")

AT_ONCE = 10
"""Files of one message; Discord takes no more."""

REQUEST = 24 * 2**20
"""Bytes of one message's files where each may have less: Discord takes 25 MiB, with all that is around them."""

ANY_SERVER = 100 * 2**20
"""Bytes that no server exceeds; at the start, before servers are known, Discord itself has to refuse what is larger."""

_COLLECT_LIMIT = 20.0
"""Seconds after which a turn ends without its files, or nobody waits until they are gone: a disk may hang."""

TOO_SLOW = "-# ⚠️ The agent's files could not be collected in time. They are posted after the next turn."

_CLOCK_STEP = 0.02
"""Seconds by which the times of files may lag behind ours: a kernel may move its clock for them 50 times a second."""

_LINES = 10
_MESSAGE = 1900
LONGEST_CAPTION = 1800
"""UTF-16 units of what is said about a file that is sent."""
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """The directory of a thread on this machine; ``own``: no other thread has it."""

    directory: Path
    own: bool


@dataclass(slots=True, eq=False)
class RunningOut:
    """A turn that may hand something out.

    Attributes:
        since: when it began, in seconds of the wall clock.
        mixed: other threads had turns in its directory meanwhile.
        limit: bytes that a file may have; None: what its server takes.
        sent: the files that were sent while it runs: their names by the digests of what is in them.
    """

    thread_id: int
    prompt_id: int
    guild_id: int | None
    place: Place | None
    since: float
    mixed: bool = False
    limit: int | None = None
    sent: dict[bytes, str] = field(default_factory=dict)


class Handouts:
    """Takes and posts what agents hand out.

    Args:
        place_of: tells a thread's directory; None: it has none on this machine.
        upload_limit: tells how many bytes a file may have in a server.
    """

    def __init__(
        self, editors: Editors, place_of: Callable[[int], Place | None], upload_limit: Callable[[int | None], int]
    ) -> None:
        self._editors = editors
        self._place_of = place_of
        self._upload_limit = upload_limit
        self._running: list[RunningOut] = []
        self._on_their_way: set[int] = set()
        self._told: Recent[tuple[int, str, tuple[int, int]]] = Recent(_REMEMBERED)

    @contextmanager
    def turn(self, prompt: Inbound) -> Iterator[RunningOut]:
        """Know a turn while it runs: who shares a directory with it then decides whose the files in it are."""
        place = self._place_of(prompt.thread_id)
        turn = RunningOut(prompt.thread_id, prompt.message_id, prompt.guild_id, place, time.time() - _CLOCK_STEP)
        if place is not None and not place.own:
            for other in self._running:
                if other.place == place and other.thread_id != turn.thread_id:
                    # For both: of what changes from now on, nobody can tell which of them did it.
                    other.mixed = turn.mixed = True
        self._running.append(turn)
        try:
            yield turn
        finally:
            self._running.remove(turn)

    def running(self, prompt_id: int) -> RunningOut | None:
        """Return the turn of a prompt while it may hand something out."""
        return next((turn for turn in self._running if turn.prompt_id == prompt_id), None)

    def limit_of(self, turn: RunningOut) -> int:
        """Return how many bytes a file of a turn may have."""
        return self._upload_limit(turn.guild_id) if turn.limit is None else turn.limit

    @contextmanager
    def sending(self, call_id: int) -> Iterator[Callable[[], None]]:
        """Keep the files in a folder of their own for whoever sends them amid a turn, while the body runs.

        With a call of what it gives, also after that: `settle` is to follow then.
        """
        kept = False

        def keep() -> None:
            nonlocal kept
            kept = True

        self._on_their_way.add(call_id)
        try:
            yield keep
        finally:
            if not kept:
                self._on_their_way.discard(call_id)

    def instruction(self, turn: RunningOut) -> str:
        """Return what an agent has to know to hand out files; "" where it can't."""
        if turn.place is None:
            return ""
        return (
            f"[From Weft, which shows your answer in Discord: to give people a file, put it into "
            f"{WEFT}/{OUT}/{turn.thread_id}/ in your working directory. It is posted when your turn ends.]"
        )

    async def hide(self, thread_id: int) -> None:
        """Keep the folder out of what git shows; it may be the agent who makes it."""
        if (place := self._place_of(thread_id)) is not None:
            await anyio.to_thread.run_sync(hide_from_git, place.directory, abandon_on_cancel=True)

    async def collect(self, turn: RunningOut, snapshot: TurnSnapshot | None = None) -> Handout | None:
        """Take what the turn hands out; None: nothing, and nothing to say. Never raises on what lies there."""
        if turn.place is None:
            return None
        said = snapshot or TurnSnapshot()
        directory, share = turn.place.directory, Share(turn.place.own, turn.since, turn.mixed)
        limit = self.limit_of(turn)
        # Nobody else's, or they would be posted twice; what is taken for a turn that does not wait is the next one's.
        busy = frozenset(self._on_their_way) | {one.prompt_id for one in self._running}
        take = partial(
            outfolder.collect, directory, turn.thread_id, turn.prompt_id, share, limit, said.files, busy,
            # As it is when a file is looked at: what Discord refuses meanwhile comes back, and nobody has it.
            turn.sent.keys(),
        )  # fmt: skip
        try:
            with anyio.fail_after(_COLLECT_LIMIT):
                collected = await anyio.to_thread.run_sync(take, abandon_on_cancel=True)
        except TimeoutError:
            log.warning("files.not_collected", thread=turn.thread_id, prompt=turn.prompt_id, limit=_COLLECT_LIMIT)
            return Handout(str(directory), (FileMessage(TOO_SLOW),))
        except Exception:
            log.exception("files.not_collected", thread=turn.thread_id, prompt=turn.prompt_id)
            return None
        # Once: what stays in the folder would be named after each turn.
        left = [one for one in collected.left if self._told.first((turn.thread_id, one.name, one.version))]
        request = max(REQUEST, limit if turn.limit is None else 0)
        messages = file_messages(Collected(collected.taken, tuple(left)), said.links, said.files_cut, request)
        if collected.taken:
            self._on_their_way.add(turn.prompt_id)
        return Handout(str(directory), messages) if messages else None

    def expect(self, prompt: Inbound) -> None:
        """Keep the files of a prompt for it, which an earlier run took and `settle` is going to see to their end."""
        self._on_their_way.add(prompt.message_id)

    async def recover(
        self, prompt: Inbound, *, alone: bool | None = None, known: Handout | None = None
    ) -> Handout | None:
        """Take what the turn of a prompt handed out that an earlier run did not see to its end.

        Args:
            alone: no other turn was cut off then; else what lies in a shared folder may be that one's. None: this one
                had ended, and has nothing more in there.
            known: what was written down with its end: what was sent before that may still be on its way, too.
        """
        place = self._place_of(prompt.thread_id)
        if place is None or (known is not None and known.workspace != str(place.directory)):
            return known
        since = inf if alone is None else posted_at(prompt.message_id) - _CLOCK_STEP
        turn = RunningOut(prompt.thread_id, prompt.message_id, prompt.guild_id, place, since, not alone, ANY_SERVER)
        found = await self.collect(turn)
        if known is None or found is None:
            return found or known
        return replace(known, messages=(*(one for one in found.messages if one.call_id), *known.messages))

    def post(self, prompt: Inbound, handout: Handout, *, maybe_posted: bool = False) -> list[Delivery]:
        """Post what was taken, as replies to the prompt; `settle` is to follow.

        Args:
            maybe_posted: an earlier run may have posted some of it.
        """
        editor, workspace = self._editors.of(prompt.thread_id), Path(handout.workspace)
        limit = ANY_SERVER if maybe_posted else self._upload_limit(prompt.guild_id)
        # The message that opened the thread is not in it, and can't be replied to there.
        reply_to = None if prompt.opens_thread else prompt.message_id
        return [
            editor.say_once(
                prompt.message_id,
                Body(
                    message.text,
                    uploads=tuple(
                        Upload(name, partial(outfolder.open_taken, workspace, prompt.message_id, name), limit)
                        for name in message.names
                    ),
                ),
                nonce=f"f{message.call_id}-0" if message.call_id else f"f{prompt.message_id}-{number}",
                reply_to=reply_to,
                maybe_said=maybe_posted,
            )
            for number, message in enumerate(handout.messages)
        ]

    async def settle(self, prompt: Inbound, handout: Handout | None, deliveries: Sequence[Delivery]) -> None:
        """Wait until it is posted, and remove it then; what can't be posted goes back to where it was.

        What is still there after that is taken by the next turn, unless it was posted.
        """
        posted_and_there = False
        try:
            for message, delivery in zip(handout.messages if handout else (), deliveries, strict=True):
                delivered = await delivery.delivered()
                if handout is None or not message.names:
                    continue
                workspace = Path(handout.workspace)
                if delivered:
                    remove = partial(outfolder.remove_taken, workspace, prompt.message_id, message.names)
                    posted_and_there |= not await _in_time(remove)
                    continue
                back = partial(outfolder.put_back, workspace, prompt.thread_id, prompt.message_id, message.names)
                await _in_time(back)
                await self._say_not_posted(prompt, message, delivery.message.why_not or "Discord did not take it")
        finally:
            # What was posted and is still there stays on its way for this run: taken again, it would be posted again.
            if not posted_and_there:
                self._on_their_way.discard(prompt.message_id)

    async def _say_not_posted(self, prompt: Inbound, message: FileMessage, why: str) -> None:
        # Without the reason, which may have a file's name in it.
        log.warning("files.not_posted", thread=prompt.thread_id, prompt=prompt.message_id, files=len(message.names))
        editor = self._editors.of(prompt.thread_id)
        if not editor.gone:
            where = f"{WEFT}/{OUT}/{prompt.thread_id}"
            text = f"-# ⚠️ {_named(message.names)} could not be posted: {clip(why, 200)}. It is back in {where}."
            await editor.say(Body(text)).delivered()


async def _in_time(job: Callable[[], T]) -> T | None:
    """Return what a job in a worker thread returns; None: it goes on, and nobody waits for it."""
    with anyio.move_on_after(_COLLECT_LIMIT):
        return await anyio.to_thread.run_sync(job, abandon_on_cancel=True)
    log.warning("files.slow", limit=_COLLECT_LIMIT)
    return None


def file_messages(collected: Collected, links: Sequence[HandedLink], cut: int, request: int) -> tuple[FileMessage, ...]:
    """Return the messages that post files and say what is not posted; ``request``: bytes of one message's files."""
    messages = [
        FileMessage(f"-# 📎 {_named(one.name for one in batch)}", tuple(one.name for one in batch))
        for batch in batches([one for one in collected.taken if one.caption is None], request)
    ]
    # Each with its own words, as it was sent first: what is there already is found by them, and not posted again.
    sent = [one for one in collected.taken if one.caption is not None]
    messages = [
        *(FileMessage(sent_message(one.caption or "", one.sent_as), (one.name,), one.call_id) for one in sent),
        *messages,
    ]
    for line in _lines(collected.left, links, cut):
        # Nothing is added to what was sent, for the same reason.
        if messages and not messages[-1].call_id and units(messages[-1].text) + units(line) < _MESSAGE:
            messages[-1] = FileMessage(f"{messages[-1].text}\n{line}", messages[-1].names)
        else:
            messages.append(FileMessage(line))
    return tuple(messages)


def caption_as_shown(caption: str) -> str:
    """Return what an agent says about a file as Discord is to show it."""
    return for_discord(REORDERING.sub("", clean(caption))).strip()


def sent_message(caption: str, name: str) -> str:
    """Return the text of a message with a file that an agent has sent."""
    words = clip(caption_as_shown(caption), LONGEST_CAPTION)
    return "\n".join([*([words] if words else []), f"-# 📎 {_named([name])}"])


def batches(files: Sequence[Taken], request: int) -> list[list[Taken]]:
    """Divide files into messages, in their order."""
    found: list[list[Taken]] = []
    room = 0
    for file in files:
        if not found or len(found[-1]) >= AT_ONCE or file.size > room:
            found.append([])
            room = request
        found[-1].append(file)
        room -= file.size
    return found


def _lines(left: Sequence[Left], links: Sequence[HandedLink], cut: int) -> Iterator[str]:
    for link in links:
        yield f"🔗 {inline_code(link.name or 'a link', 60)}: {_address(link.uri)}"
    refused = [one for one in left if one.reason]
    for one in refused[:_LINES]:
        stays = f" It stays in {one.folder}." if one.folder else ""
        yield f"-# ⚠️ {inline_code(one.name, 60)} {one.reason}.{stays}"
    if len(refused) > _LINES:
        yield f"-# ⚠️ {len(refused) - _LINES:,} more can't be posted."
    if rest := [one.name for one in left if not one.reason]:
        yield f"-# ⚠️ A turn posts at most {outfolder.MOST} files. After the next one: {_named(rest)}."
    if cut:
        yield f"-# ⚠️ Not kept, as it was too much for one turn: {cut:,} more file{'s' if cut > 1 else ''}."


def _address(uri: str) -> str:
    # Only what a browser opens becomes a link; other schemes make programs start.
    plain = uri.isascii() and uri.isprintable() and not set(uri) & set(" <>`")
    opens = plain and uri.startswith(("https://", "http://")) and len(uri) <= 500
    return f"<{uri}>" if opens else inline_code(uri, 200)


def _named(names: Iterable[str]) -> str:
    known = list(names)
    shown = ", ".join(inline_code(name, 60) for name in known[:AT_ONCE])
    return shown + (f" and {len(known) - AT_ONCE:,} more" if len(known) > AT_ONCE else "")
