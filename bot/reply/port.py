"""A thread as the reply sees it: message bodies, buttons, and the errors that decide what happens next (pure).

PortError
├── ThreadGone      the thread is deleted, locked or forbidden: nothing can be shown there from now on
│   └── ThreadDeleted   Discord no longer knows it: it never comes back
├── ThreadArchived  no edit is possible; sending a new message takes the thread out of the archive
├── MessageGone     the message was deleted, or takes no further edit: send its content anew, once
├── UploadRefused   its files can't be read or are not taken: nothing was posted
└── Unavailable     Discord did not take it after the port's own tries: try again later
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Literal, NamedTuple, Protocol

from bot.reply.sanitise import clip, units

MESSAGE_LIMIT = 2000
NO_FILE = "\n-# The file could not be posted: {why}."
NO_ALLOWING = "\n**Nobody can see all of it, so it can only be rejected.**"

ButtonStyle = Literal["primary", "secondary", "success", "danger"]


@dataclass(frozen=True, slots=True)
class Button:
    """A button; ``custom_id`` has at most 100 characters, ``label`` at most 80; ``row`` 0 to 4, None: as they come.

    With a ``url`` (at most 512 characters) a press opens that page and tells nobody here, so it has no ``custom_id``.
    """

    custom_id: str
    label: str
    style: ButtonStyle = "secondary"
    disabled: bool = False
    row: int | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class SelectChoice:
    """One of the choices of a `Select`; label, value and description have at most 100 UTF-16 units each."""

    label: str
    value: str
    description: str = ""
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Select:
    """A menu from which one is chosen, in its own row; ``custom_id`` as of a `Button`.

    Attributes:
        choices: 1 to 25, no two with the same value, at most one of them chosen.
        placeholder: stands there while none is; at most 150 units.
    """

    custom_id: str
    choices: tuple[SelectChoice, ...]
    placeholder: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to post with a message."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that stays where it is until it is sent.

    Attributes:
        open: called for each try; blocks, and raises OSError.
        limit: bytes; of a file that turns out to have more, nothing is posted.
    """

    name: str
    open: Callable[[], BinaryIO]
    limit: int


@dataclass(frozen=True, slots=True)
class Body:
    """What a message is to look like.

    Attributes:
        text: Discord Markdown, at most 2,000 UTF-16 code units.
        buttons: at most 25, five in a row.
        file: posted when the message is created; an edit leaves it as it is.
        ping: the only user this message may notify; ``role``: the only role.
        fileless: the buttons if Discord does not take the file; None: the same.
        on_fileless: called with the reason before it is posted without its file; see `without_file`.
        uploads: files without which it is not posted; see `UploadRefused`.
    """

    text: str
    buttons: tuple[Button, ...] = ()
    file: Attachment | None = None
    ping: int | None = None
    role: int | None = None
    fileless: tuple[Button, ...] | None = None
    # Not compared: what looks the same needs no edit.
    on_fileless: Callable[[str], None] | None = field(default=None, compare=False, repr=False)
    uploads: tuple[Upload, ...] = ()


def without_file(body: Body, why: str) -> Body:
    """Return a body as it is posted where Discord does not take its file; ``why`` is for people."""
    note = NO_FILE.format(why=why)
    if body.fileless is None:
        return replace(body, text=clip(body.text, MESSAGE_LIMIT - units(note)) + note, file=None)
    # The last line of a card says who may press, or how it ended, and stays the last.
    above, _, last = body.text.rpartition("\n")
    below = f"{note}{NO_ALLOWING}\n{last}"
    text = clip(above, MESSAGE_LIMIT - units(below)) + below
    return replace(body, text=text, buttons=body.fileless, file=None, fileless=None)


class OwnMessage(NamedTuple):
    """One of Weft's messages as Discord gives it back: ``custom_ids`` are those of its buttons; what it replies to."""

    message_id: int
    text: str
    custom_ids: tuple[str, ...] = ()
    reply_to: int | None = None


class PortError(Exception):
    """Base of what a thread port raises."""


class ThreadGone(PortError):
    """The thread is deleted, locked or forbidden."""


class ThreadDeleted(ThreadGone):
    """The thread, or the channel, no longer exists."""


class ThreadArchived(PortError):
    """The thread is archived: its messages can't be edited."""


class MessageGone(PortError):
    """The message was deleted, or is too old for one more edit."""


class UploadRefused(PortError):
    """The files of a message can't be read, or Discord does not take them; the text says why, for people."""


class Unavailable(PortError):
    """Discord did not take the request after several tries.

    Attributes:
        retry_after: for how many seconds it takes none of this kind here, where it says so; the request was not done.
    """

    def __init__(self, text: str = "", retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class ThreadPort(Protocol):
    """Sends to one thread. A call that has begun must not be cancelled: Discord may already have applied it."""

    async def send(self, body: Body, *, nonce: str, reply_to: int | None = None) -> int:
        """Post a message and return its id; the same nonce never posts twice."""

    async def edit(self, message_id: int, body: Body) -> None:
        """Replace a message's text and buttons; may return seconds after the change became visible."""

    async def delete(self, message_id: int) -> None:
        """Delete one of Weft's own messages; a refusal says nothing about the thread."""

    async def typing(self) -> None:
        """Show the typing sign for about ten seconds."""

    async def archives_after(self) -> int | None:
        """Return after how many minutes of silence it is archived; None: it is archived, or never will be."""

    async def archive_after(self, minutes: int) -> None:
        """Let it be archived after so many minutes of silence."""

    async def own_messages(self, after: int, limit: int) -> list[OwnMessage]:
        """Return Weft's own among the ``limit`` messages that follow the message ``after``, oldest first.

        Their texts have no white space at both ends: Discord takes it away.
        """
