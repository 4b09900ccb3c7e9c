"""The end of a reply: what is said about it, and in which shape it still gets through (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from bot.outcome import Outcome
from bot.reply.port import Attachment, Body, Button
from bot.reply.sanitise import clip

MESSAGE_LIMIT = 2000
_REFUSED = "-# Discord did not take the text of this answer ({size:,} characters); it is in the file."
_REFUSED_ALL = "-# Discord did not take the text of this answer."


@dataclass(frozen=True, slots=True)
class FinalReply:
    """The end of a turn.

    Attributes:
        lines: what is said about the outcome, below the text.
        footer: the last line of the last message.
        ping: the person to notify with a message of its own, since an edit notifies nobody.
        buttons: stand below all that.
    """

    outcome: Outcome
    lines: tuple[str, ...] = ()
    footer: str = ""
    ping: int | None = None
    buttons: tuple[Button, ...] = ()

    def tail(self) -> str:
        """Return the lines and the footer."""
        mention = (f"<@{self.ping}>",) if self.ping is not None else ()
        lines = [line for line in (*mention, *self.lines, self.footer) if line]
        return clip("\n".join(lines), MESSAGE_LIMIT)


def without_text(final: FinalReply, rest: str, *, told: bool) -> Body:
    """Return the end of a reply whose text Discord refuses: with ``rest`` as a file, or bare where that is empty.

    ``told``: the outcome is visible already; it is never told twice.
    """
    if not rest.strip():
        return Body(f"{_REFUSED_ALL}\n-# {final.outcome}")
    text = below(_REFUSED.format(size=len(rest)), "" if told else final.tail())
    ping, buttons = (None, ()) if told else (final.ping, final.buttons)
    return Body(clip(text, MESSAGE_LIMIT), buttons, answer_file(rest), ping)


def answer_file(text: str) -> Attachment:
    """Return the file for text that no message shows (D4)."""
    return Attachment("answer.md", text.encode("utf-8", "replace"))


def below(text: str, more: str) -> str:
    """Return ``more`` on a line of its own below ``text``."""
    if not (text and more):
        return text or more
    return text + more if text.endswith("\n") else f"{text}\n{more}"
