"""A thread of the loopback Discord as plain text: whole, after a prompt, or piece by piece while it grows (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox import Message

SMALL = "-# "
"""What Discord shows in small print begins with this: status lines and the footer."""

_CARD = re.compile(r"weft:perm:(?P<request>[A-Za-z0-9_-]+):(?P<option>\d+)")
_MENTION = re.compile(r"<@!?(\d+)>")


@dataclass(frozen=True, slots=True)
class CardButton:
    """A button of a permission card."""

    custom_id: str
    label: str
    request: str
    option: int


def card_buttons(message: Message) -> list[CardButton]:
    """Return the buttons that answer a permission request, in their order."""
    found = []
    for button in _buttons(message.components):
        match = _CARD.fullmatch(str(button.get("custom_id", "")))
        if match and not button.get("disabled"):
            found.append(
                CardButton(match.group(), str(button.get("label", "?")), match["request"], int(match["option"]))
            )
    return found


def _buttons(components: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for component in components:
        yield from _buttons(component["components"]) if "components" in component else (component,)


def plain_text(message: Message, names: Mapping[int, str], pressed: Mapping[int, str]) -> str:
    """Return a message as ``author: text``, with its files, its buttons and what was pressed."""
    text = _MENTION.sub(lambda match: f"@{names.get(int(match[1]), match[1])}", message.content)
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

    The mutable state is what was printed of each message.
    """

    bot_id: int
    _printed: dict[int, str] = field(default_factory=dict)
    _asked: set[int] = field(default_factory=set)
    _closed: set[int] = field(default_factory=set)

    def show(self, message: Message) -> str:
        """Return the text to print for a new state of a message; nothing for what people wrote themselves."""
        if message.author_id != self.bot_id or message.loading:
            return ""
        said, small = split_small_print(message.content)
        out = self._grown(message.id, said)
        buttons = card_buttons(message)
        if buttons and message.id not in self._asked:
            self._asked.add(message.id)
            out += "".join(f"\n  {number}) {button.label}" for number, button in enumerate(buttons, 1))
        if small and not message.components and message.id not in self._closed:
            self._closed.add(message.id)
            out += "".join(f"\n  {line}" for line in small)
        return out

    def _grown(self, message_id: int, said: str) -> str:
        before = self._printed.get(message_id)
        self._printed[message_id] = said
        if before is None:
            return f"\nWeft: {said}"
        return said[len(before) :] if said.startswith(before) else f"\nWeft (changed): {said}"


def split_small_print(content: str) -> tuple[str, list[str]]:
    """Return the text and the lines of small print that close it."""
    lines = content.split("\n")
    small: list[str] = []
    while lines and (lines[-1].startswith(SMALL) or not lines[-1]):
        last = lines.pop()
        if last:
            small.insert(0, last.removeprefix(SMALL))
    return "\n".join(lines), small
