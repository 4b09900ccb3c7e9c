"""A thread of the loopback Discord as plain text: whole, after a prompt, or piece by piece while it grows (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from bot.reply.live_status import without_block
from bot.sandbox import Message

SMALL = "-# "
"""What Discord shows in small print begins with this: status lines and the footer."""

GAIN = " · "
"""What stands before each part of a footer but its first."""

_CARD = re.compile(
    r"weft:perm:(?P<request>[A-Za-z0-9_-]+):(?P<option>\d+)"
    r"|weft:ask:(?P<question>[A-Za-z0-9_-]+):(?:pick-\d+|step-\d+|done|decline)"
)
_TIME = re.compile(r"<t:(?P<at>\d{1,11})(?::[tTdDfFR])?>")
_MENTION = re.compile(r"<(?P<sign>@|#)[!&]?(?P<id>\d+)>")


@dataclass(frozen=True, slots=True)
class CardButton:
    """A button of a permission card, or of a question: that has no ``option`` of a request."""

    custom_id: str
    label: str
    request: str
    option: int | None


def card_buttons(message: Message) -> list[CardButton]:
    """Return the buttons that answer a permission request or a question, in their order."""
    found = []
    for button in _buttons(message.components):
        match = _CARD.fullmatch(str(button.get("custom_id", "")))
        if match and not button.get("disabled"):
            found.append(
                CardButton(
                    match.group(),
                    str(button.get("label", "?")),
                    match["request"] or match["question"],
                    int(match["option"]) if match["option"] else None,
                )
            )
    return found


def at_work(message: Message) -> bool:
    """Return whether a message has a button of something that goes on: all but those that an ended turn keeps."""
    return any(not str(one.get("custom_id", "")).startswith("weft:details:") for one in _buttons(message.components))


def _buttons(components: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for component in components:
        yield from _buttons(component["components"]) if "components" in component else (component,)


def named(text: str, names: Mapping[int, str]) -> str:
    """Return a text with the names of the people, roles and channels that it mentions, and with times as they read."""
    text = _TIME.sub(lambda match: f"{datetime.fromtimestamp(int(match['at']), UTC).astimezone():%a %d %b %H:%M}", text)
    return _MENTION.sub(lambda match: match["sign"] + names.get(int(match["id"]), match["id"]), text)


def plain_text(message: Message, names: Mapping[int, str], pressed: Mapping[int, str]) -> str:
    """Return a message as ``author: text``, with its files, its buttons and what was pressed."""
    text = named(message.content, names)
    lines = [f"{names.get(message.author_id, '?')}: {text}".rstrip()]
    lines += [f"[file {attachment.name}, {len(attachment.content)} bytes]" for attachment in message.attachments]
    if buttons := card_buttons(message):
        lines.append(" ".join(f"[{button.label}]" for button in buttons))
    if message.id in pressed:
        lines.append(f"(owner pressed “{pressed[message.id]}”)")
    return "\n".join(lines)


@dataclass(slots=True)
class LivePrinter:
    """Turns the states of messages into what a terminal has still to print.

    What is printed can't be taken back, and several messages grow at once: only the message that was printed last goes
    on where it ended; any other one goes on in a new block, which says so. The mutable state is what was printed of
    each message, and which of them the last line, if it is open, belongs to.
    """

    bot_id: int
    _printed: dict[int, str] = field(default_factory=dict)
    _asked: set[int] = field(default_factory=set)
    _footers: dict[int, str] = field(default_factory=dict)
    _last: int | None = None

    def show(self, message: Message, names: Mapping[int, str]) -> str:
        """Return the text to print for a new state of a message; nothing for what people wrote themselves."""
        # What people typed is on the screen already.
        if message.author_id != self.bot_id or message.loading:
            return ""
        content = named(message.content, names)
        said, small = split_small_print(content)
        if at_work(message) and (above := without_block(content)) is not None:
            said = above
        # Text after a card may begin with an empty line, of which Discord shows nothing; what grows is shown without.
        said = said.lstrip("\n")
        out = self._text(message.id, said) + self._choices(message)
        # What still has a button is still at work, and what stands below its text changes all the time.
        return out if at_work(message) else out + self._end(message.id, small)

    def interrupt(self, text: str) -> str:
        """Return a text of the terminal's own as lines of their own; what grows goes on in a new block below."""
        return f"{self.line_end()}{text}\n"

    def line_end(self) -> str:
        """Return the end of a line that is still open, else nothing."""
        end = "\n" if self._last is not None else ""
        self._last = None
        return end

    def _text(self, message_id: int, said: str) -> str:
        before = self._printed.get(message_id, "")
        if before.startswith(said):
            return ""  # nothing new: a page that is full passes its end on to the next message, which shows it again
        self._printed[message_id] = said
        if not before:
            return self._block(message_id, "Weft: ", said)
        if not said.startswith(before):
            return self._block(message_id, "Weft (changed): ", said[_first_change(before, said) :])
        added = said[len(before) :]
        return added if self._last == message_id else self._block(message_id, "Weft (more): ", added.lstrip())

    def _choices(self, message: Message) -> str:
        buttons = card_buttons(message)
        if not buttons or message.id in self._asked:
            return ""
        # Once: each edit of a card would print its choices again.
        self._asked.add(message.id)
        return self.line_end() + "".join(f"  {number}) {one.label}\n" for number, one in enumerate(buttons, 1))

    def _end(self, message_id: int, small: list[str]) -> str:
        """End the line of a message that is complete; its footer is shown once, and then what it gains."""
        out, before = self.line_end(), self._footers.get(message_id)
        footer = "\n".join(small)
        if not small or footer == before:
            return out
        self._footers[message_id] = footer
        if before is not None:
            # The branch is looked at beside the end of a turn, and may be known only after the footer was shown (W3).
            # Any other change is of what was printed already.
            gained = footer.removeprefix(before) if footer.startswith(before) else ""
            return out + (f"  {gained.removeprefix(GAIN)}\n" if gained else "")
        head = "" if self._printed.get(message_id) else "Weft:\n"
        return out + head + "".join(f"  {line}\n" for line in small)

    def _block(self, message_id: int, head: str, text: str) -> str:
        begun = self.line_end() + head + text
        self._last = message_id
        return begun


def _first_change(before: str, after: str) -> int:
    """Where the first line begins in which two texts differ."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False))
    return sum(len(line) for line, _ in same)


def split_small_print(content: str) -> tuple[str, list[str]]:
    """Return the text and the lines of small print that close it."""
    lines = content.split("\n")
    small: list[str] = []
    while lines and (lines[-1].startswith(SMALL) or not lines[-1]):
        last = lines.pop()
        if last:
            small.insert(0, last.removeprefix(SMALL))
    return "\n".join(lines), small
