"""The end of a reply, and what must be saved of it to show it after a restart (pure).

Saved are the text, the lines about the end, and where the messages begin, so that they come out as they were going to.
`bot.reply.recovery` finds out what is visible already; the store keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from acp.snapshot import Phase, TurnSnapshot
from bot.model import Outcome
from bot.reply.port import MESSAGE_LIMIT, Button
from bot.reply.sanitise import clip


@dataclass(frozen=True, slots=True)
class SavedPage:
    """Where a message of text begins; ``note`` is what it shows where it has no text."""

    start: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class FileMessage:
    """A message below a reply: its text, and the names of the files that it is posted with.

    ``call_id``: of the call by which an agent sent it; 0: it belongs to the reply.
    """

    text: str
    names: tuple[str, ...] = ()
    call_id: int = 0


@dataclass(frozen=True, slots=True)
class Handout:
    """What an agent hands out with a reply: messages with files that lie in ``workspace`` until they are posted."""

    workspace: str
    messages: tuple[FileMessage, ...]

    @property
    def has_files(self) -> bool:
        """Whether there is a file in it, and not only what is said of files."""
        return any(message.names for message in self.messages)


@dataclass(frozen=True, slots=True)
class SavedReply:
    """A finished reply.

    Attributes:
        text: the whole answer, or what stands in its place (T4).
        pages: the messages of text, as far as they were begun; what does not fit goes on in further ones.
        overflow: where the text begins that is in the file; None if it all has messages.
        apart: lines and footer stand in a message of their own.
        reply_to: the message that the first one answers.
        after: the newest message known to be older than all of the reply's.
        changes: those that are a file beside the text (V3).
    """

    text: str
    final: FinalReply
    pages: tuple[SavedPage, ...] = (SavedPage(0),)
    overflow: int | None = None
    apart: bool = False
    reply_to: int | None = None
    after: int = 0
    changes: str = ""

    def snapshot(self, text_from: int = 0) -> TurnSnapshot:
        """Return the turn as far as it is still known, with its text from the offset on."""
        text = self.text[text_from:]
        return TurnSnapshot(text=text, text_from=text_from, text_length=len(self.text), phase=Phase.ENDED)

    def to_json(self) -> str:
        """Return it as one line; lone surrogates, which JSON can't hold, are U+FFFD there as they are in Discord."""
        fields = {
            "text": _whole(self.text),
            # Offsets are those in the text as it is written down.
            "pages": [[len(_whole(self.text[: page.start])), _whole(page.note)] for page in self.pages],
            "overflow": None if self.overflow is None else len(_whole(self.text[: self.overflow])),
            "apart": self.apart,
            "reply_to": self.reply_to,
            "after": self.after,
            "changes": _whole(self.changes),
            "outcome": str(self.final.outcome),
            "lines": [_whole(line) for line in self.final.lines],
            "footer": _whole(self.final.footer),
            "ping": self.final.ping,
            "buttons": [[button.custom_id, button.label, button.style] for button in self.final.buttons],
            "files": _saved_handout(self.final.handout),
        }
        return orjson.dumps(fields).decode()

    @classmethod
    def from_json(cls, payload: str) -> SavedReply:
        """Return what `to_json()` was made from; fields that are not known are ignored.

        Raises:
            ValueError: it is nothing of that kind.
        """
        try:
            fields = orjson.loads(payload)
            text, outcome = str(fields["text"]), Outcome(fields["outcome"])
            lines = tuple(str(line) for line in fields.get("lines", ()))
            buttons = tuple(Button(*button) for button in fields.get("buttons", ()))
            handout = _handout_of(fields.get("files"))  # absent where an older version wrote it
            final = FinalReply(outcome, lines, str(fields.get("footer", "")), fields.get("ping"), buttons, handout)
            return cls(
                text,
                final,
                # What an older version did not keep has the value that it stood for.
                tuple(SavedPage(int(start), str(note)) for start, note in fields.get("pages", [[0, ""]])),
                overflow=fields.get("overflow"),
                apart=bool(fields.get("apart", False)),
                reply_to=fields.get("reply_to"),
                after=int(fields.get("after", 0)),
                changes=str(fields.get("changes", "")),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise ValueError(f"not an owed reply: {exc!r}") from exc


def _saved_handout(handout: Handout | None) -> dict[str, Any] | None:
    if handout is None:
        return None
    # Names are those of files on this machine, which were made safe: no lone surrogates.
    messages = [[_whole(message.text), list(message.names), message.call_id] for message in handout.messages]
    return {"workspace": handout.workspace, "messages": messages}


def _handout_of(fields: dict[str, Any] | None) -> Handout | None:
    if fields is None:
        return None
    messages = tuple(
        # Without a call where an older version wrote it.
        FileMessage(str(text), tuple(map(str, names)), int(call[0]) if call else 0)
        for text, names, *call in fields["messages"]
    )
    return Handout(str(fields["workspace"]), messages)


def _whole(text: str) -> str:
    """Return ``text`` with pairs of surrogates as one character and lone ones replaced."""
    if text.isascii():
        return text  # megabytes, perhaps: no copy only to find that out
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@dataclass(frozen=True, slots=True)
class FinalReply:
    """The end of a turn.

    Attributes:
        lines: what is said about the outcome, below the text.
        footer: the last line of the last message.
        ping: the person to notify, in a new message, since an edit notifies nobody.
        buttons: stand below all that.
        handout: the files that follow in messages of their own.
    """

    outcome: Outcome
    lines: tuple[str, ...] = ()
    footer: str = ""
    ping: int | None = None
    buttons: tuple[Button, ...] = ()
    handout: Handout | None = None

    def tail(self) -> str:
        """Return the lines and the footer."""
        # In the text and in the body: Discord notifies only whom both name.
        mention = (f"<@{self.ping}>",) if self.ping is not None else ()
        lines = [line for line in (*mention, *self.lines, self.footer) if line]
        return clip("\n".join(lines), MESSAGE_LIMIT)


def below(text: str, more: str) -> str:
    """Return ``more`` on the line below ``text``."""
    if not (text and more):
        return text or more
    return text + more if text.endswith("\n") else f"{text}\n{more}"
