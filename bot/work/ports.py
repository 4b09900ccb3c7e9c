"""What the work needs of Discord, and what it answers to those who ask something of it (pure)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bot.links import MessageLink
from bot.model import Actor, Attachment, Inbound, Quote, ThreadPlace
from bot.reply.port import Attachment as File
from bot.reply.port import Body, Button, Select, ThreadPort
from bot.work.questions.cards import Modal


class DownloadFailed(Exception):
    """A file can't be had; the message says why, for people."""


class TryDownloadAgain(DownloadFailed):
    """A file could not be had this time."""


Save = Callable[[bytes], Awaitable[None]]
"""Takes the next bytes of a file."""


class Fetch(Protocol):
    """Hands an attachment's bytes to ``save``, at most ``limit`` of them.

    Raises:
        DownloadFailed: it can't be had, or is larger; what was saved so far is not all of it.
        Exception: what ``save`` raises.
    """

    async def __call__(self, attachment: Attachment, save: Save, limit: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Earlier:
    """What was said before a message; ``read`` is how many messages have their words in there."""

    quotes: tuple[Quote, ...] = ()
    read: int = 0


@dataclass(frozen=True, slots=True)
class Where:
    """The channel in which a thread is to be opened; ``weft_id``: the user that opens it; ``forum``: it is a post."""

    guild_id: int
    channel_id: int
    weft_id: int
    forum: bool = False


@dataclass(frozen=True, slots=True)
class ThreadPage:
    """Messages of a thread, the oldest first, each with its id.

    ``earlier``: the message before which there may be more; 0: there is nothing.
    """

    messages: tuple[tuple[int, Quote], ...] = ()
    earlier: int = 0


class NotAllowed(Exception):
    """Somebody may not do in Discord what is asked for in their name; the message is a sentence about them."""


class Lookups(Protocol):
    """What Discord can be asked about what a prompt refers to. Errors are those of `bot.reply.port`."""

    async def linked(self, link: MessageLink, asker: Actor) -> Quote | None:
        """Return a message; None: whoever asks or Weft may not read it. `MessageGone`: it was deleted."""

    async def earlier(self, inbound: Inbound, since: int, most: int) -> Earlier:
        """Return the newest ``most`` messages of the inbound's conversation that follow the message ``since``."""

    async def let_in(self, place: ThreadPlace, person: Actor) -> Actor | None:
        """Return a person with the rights that they have in a thread now; None: they left, or may not prompt there."""

    async def page(self, inbound: Inbound, before: int | None, most: int) -> ThreadPage:
        """Return the newest ``most`` messages of the inbound's thread, of those before a message.

        Only what its author may read (`NotAllowed`), and of people who are let in.
        """

    async def may_open(self, inbound: Inbound) -> Where:
        """Return where the inbound's author may have a thread opened beside the inbound's (`NotAllowed`).

        What is said in a private thread must not get out of it by that.
        """


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a press on a button, or to a command.

    Attributes:
        accepted: whether the press had an effect.
        lasting: the text promises what has to outlive the process, so it waits for `Dispatcher.saved`.
        file: goes with the text.
        buttons: what only the person who asked can press; ``selects``: the menus above them, at most five rows in all.
        modal: a form to be shown in place of the text.
        later: the answer that takes the place of this one, once what was asked for has been done.
    """

    text: str
    accepted: bool
    lasting: bool = False
    file: File | None = None
    buttons: tuple[Button, ...] = ()
    selects: tuple[Select, ...] = ()
    modal: Modal | None = None
    later: Awaitable[Answer] | None = None


@dataclass(frozen=True, slots=True)
class ThreadHeader:
    """What stands above a thread.

    Attributes:
        own: Weft opened it.
        open: it is neither archived nor locked.
        tags: the ids of the tags that it has, of a forum's post.
        choices: the ids of its forum's tags by their names in lower case; empty elsewhere.
    """

    name: str
    own: bool
    open: bool
    tags: tuple[int, ...] = ()
    choices: Mapping[str, int] = field(default_factory=dict)


class Channels(Protocol):
    """Threads from outside. Errors are those of `bot.reply.port`."""

    async def header(self, thread_id: int) -> ThreadHeader:
        """Return what stands above a thread now."""

    async def change_header(self, thread_id: int, *, name: str | None, tags: Sequence[int] | None) -> None:
        """Change a thread's name and tags in one request; None: they stay. May return long after it is done."""

    def seen_by_all(self, thread_id: int, channel_id: int) -> bool:
        """Return whether everybody who sees a channel sees a thread, as far as that is known for certain."""


class Chat(Protocol):
    """Discord, as the work sees it. Errors are those of `bot.reply.port`."""

    @property
    def fetch(self) -> Fetch:
        """What fetches files."""

    @property
    def channels(self) -> Channels:
        """Threads from outside."""

    def thread(self, thread_id: int) -> ThreadPort:
        """Return the port of a thread; it asks for the current client at each call."""

    def upload_limit(self, guild_id: int | None) -> int:
        """Return how many bytes a file may have in a server."""

    def first_role(self, guild_id: int | None, among: Sequence[int]) -> int | None:
        """Return the first of these roles that a server has."""

    async def open_thread(self, inbound: Inbound) -> None:
        """Open the inbound's thread from its message; a thread that exists already is used."""

    async def open_post(self, forum_id: int, title: str, body: Body) -> int:
        """Open a post of Weft's in a forum; return its id, which is that of its first message, too. Tried once only."""

    async def acknowledge(self, inbound: Inbound, emoji: str) -> None:
        """React to the message."""

    async def react(self, channel_id: int, message_id: int, emoji: str, *, instead_of: tuple[str, ...] = ()) -> None:
        """Set a reaction on a message, and take others of Weft's away; those that are not there don't matter."""

    async def refuse(self, inbound: Inbound, text: str) -> None:
        """Answer the message where it was posted, when there is no thread to answer in."""
