"""How what people said reads to the agent: plain where one person speaks, else in frames (pure).

A frame is a headline in square brackets, which Weft writes, and below it lines that all begin with `>`. No text has a
line outside its own frame, so none can pass for somebody else's, whatever it says; a text that stands alone and looks
like a headline is put into a frame as well.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from acp.schema import ContentBlock
from bot.model import Actor, Inbound, Quote
from bot.reply.sanitise import visible

SAID_MEANWHILE = "[Said while you were working:]"
LEFT_OUT = "Attached, but not passed on to you"
_COMMAND = re.compile(r"/[\w:.-]+(?:\s|$)")


@dataclass(frozen=True, slots=True)
class Brought:
    """What came with a message, as its agent gets it.

    Attributes:
        blocks: what follows the text in the prompt.
        quotes: what is said of it in the text.
        left_out: what can't be passed on, each as a name with its type, its size and the reason.
    """

    blocks: tuple[ContentBlock, ...] = ()
    quotes: tuple[Quote, ...] = ()
    left_out: tuple[str, ...] = ()


NOTHING = Brought()


class Said(NamedTuple):
    """A message's part of a prompt: the author's own words, and what came with them."""

    author: Actor
    text: str
    quotes: tuple[Quote, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def beside(self) -> list[Quote]:
        """What is not the author's own words."""
        return [*self.quotes, Quote(LEFT_OUT, "\n".join(self.left_out))] if self.left_out else [*self.quotes]


def is_command(text: str) -> bool:
    """Return whether a message looks like a command of the agent's own, which counts only at the start of a prompt."""
    # Not a path such as `/etc/hosts`; `/tmp` alone looks like one, and costs no more than a turn of its own.
    return _COMMAND.match(text) is not None


def runs_command(message: Inbound) -> bool:
    """Return whether a message is to be the first text of a prompt of its own (K3)."""
    return message.command or is_command(message.text)


def compose(messages: Iterable[Said], earlier: Iterable[Quote] = (), *, meanwhile: bool = False) -> str:
    """Return one prompt of several messages.

    Args:
        earlier: what was said before them. It stands last: below a quote, what its author says in plain lines could be
            read as more of the quote.
        meanwhile: it is marked as said while the agent was working.
    """
    text, quotes = collect(messages)
    frames = (frame(quote.headline, quote.text) for quote in (*quotes, *earlier))
    prompt = "\n\n".join([*([text] if text else []), *frames])
    return f"{SAID_MEANWHILE}\n{prompt}" if meanwhile and prompt else prompt


def collect(messages: Iterable[Said]) -> tuple[str, tuple[Quote, ...]]:
    """Return what several messages say: what may stand plainly, and what has to be framed below it."""
    said = [one for one in messages if one.text.strip() or one.beside]
    quotes: list[Quote] = []
    several = len({one.author.id for one in said}) > 1
    # Framed, too, what only looks like a headline of ours: it could pass for somebody else's words.
    posing = any(_like_headline(line) for one in said for line in one.text.splitlines())
    # Of several messages, it has to be seen to which one a quote belongs.
    ambiguous = len(said) > 1 and any(one.beside for one in said)
    if not (several or posing or ambiguous):
        for one in said:
            quotes += one.beside
        return "\n".join(one.text for one in said if one.text.strip()), tuple(quotes)
    for one in said:
        quotes += [Quote(f"{named(one.author)} wrote", one.text), *one.beside]
    return "", tuple(quotes)


def frame(headline: str, text: str) -> str:
    """Return a text below a headline of Weft's own."""
    return "\n".join([f"[{headline}:]", *([quoted(text)] if text else [])])


def quoted(text: str) -> str:
    """Return a text with a mark at the beginning of each line."""
    # Every kind of line break counts: the agent may see one where others do not.
    return "\n".join(f"> {line}" if line else ">" for line in text.splitlines())


def named(author: Actor) -> str:
    """Return a name for a headline: in one line, without what a headline is made of; the id tells people apart."""
    return f"{headlined(author.name) or 'somebody'} (user {author.id})"


def headlined(name: str) -> str:
    """Return a name that others chose, as it may stand in a headline: it can't end that, nor bring somebody's id."""
    # Brackets and colons of every kind.
    shown = "".join(one if one.isprintable() and not set("[]():") & set(_normal(one)) else " " for one in name)
    return " ".join(shown.split())


def _like_headline(line: str) -> bool:
    """Return whether a reader may take a line for a headline, whatever blanks, dots or stars stand around it."""
    seen = "".join(one for one in _normal(line) if one in "[:]" or (one.isalnum() and visible(one)))
    # Whatever follows on the same line: nobody reads on to see that a headline would have ended there.
    return seen.startswith("[") and ":]" in seen


def _normal(text: str) -> str:
    """Return a text in which a full-width bracket is a bracket: it reads as one, and must count as one."""
    return unicodedata.normalize("NFKC", text)
