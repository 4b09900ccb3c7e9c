"""Menus from which people choose options and their values, page by page, and the words around them (pure).

Ids and values of agents are too long for what a menu sends back, so digests stand for them. These say the same after a
restart, and are looked up in what is offered at the press.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from acp.session_options import Kind, OptionValue, SessionOption
from bot.reply.port import MESSAGE_LIMIT, Button, Select, SelectChoice
from bot.reply.sanitise import clip, inline_code, one_line, reveal, units
from bot.work.options.words import Options, label, shown
from bot.work.ports import Answer

PAGE = 25
"""Discord's limit of choices in a menu."""

_TEXT = 100
_LISTED = 20
_MORE_ROOM = 40
_ID = 60
_LOCKED = "approvers only"

NOTHING = "This agent offers nothing to choose."
NONE_OF_KIND = {
    Kind.MODEL: "This agent offers no choice of models.",
    Kind.MODE: "This agent has no modes.",
    Kind.EFFORT: "This agent offers no levels of effort.",
    Kind.OTHER: "This agent has no such option. `/options` lists those it has.",
}


def digest(text: str) -> str:
    """Return what stands for an id or a value in a menu."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def option_named(options: Options, said: str) -> SessionOption | None:
    """Return the option that a text stands for: its id, its digest, or its name."""
    folded = said.casefold().strip()
    return (
        next((one for one in options if one.id == said), None)
        or next((one for one in options if digest(one.id) == said), None)
        or next((one for one in options if one.name.casefold() == folded), None)
    )


def token_of(value: str) -> str:
    """Return what a suggestion sends back for a value: itself, unless it is too long."""
    # Of what is no ASCII, Discord's limit may count a character twice.
    return value if len(value) <= _TEXT and value.isascii() else digest(value)


def value_digested(option: SessionOption, said: str) -> str | None:
    """Return the value for which a digest stands."""
    return next((one.value for one in option.values if digest(one.value) == said), None)


def named(value: OptionValue) -> str:
    """Return a value as a list shows it: its name and, where that differs, itself."""
    same = value.value.casefold() == value.name.casefold()
    return plain(value.name if same else f"{value.name} ({value.value})")


def plain(text: str) -> str:
    """Return an agent's text for a place that shows no Markdown."""
    return clip(one_line(reveal(text)) or "?", _TEXT)


def value_menu(
    thread_id: int, option: SessionOption, everybody: Callable[[str], bool], page: int | None = None
) -> Answer:
    """Return a page of an option's values as a menu; None: the page of the value that is chosen now."""
    # Where the current value is: of sixty models, that is where people begin to look.
    chosen = next((at for at, one in enumerate(option.values) if one.value == option.current), 0)
    first, pages = _page(len(option.values), page, chosen)
    choices = []
    for one in option.values[first : first + PAGE]:
        about = [part for part in ("" if everybody(one.value) else _LOCKED, one.group, one.description) if part]
        said = plain(" · ".join(about)) if about else ""
        choices.append(SelectChoice(named(one), digest(one.value), said, chosen=one.value == option.current))
    key = digest(option.id)
    select = Select(f"weft:opt:{thread_id}:{key}", tuple(choices), plain(f"Choose: {option.name}"))
    lines = [f"{label(option)} is {shown(option, option.current)}."]
    if pages > 1:
        lines.append(f"-# Page {first // PAGE + 1} of {pages}. {_search(option)}")
    return Answer("\n".join(lines), accepted=True, selects=(select,), buttons=_turning(thread_id, key, first, pages))


def option_menu(thread_id: int, options: Options, page: int | None = None) -> Answer:
    """Return all options with what is chosen, and a menu to pick one of which the values are wanted."""
    if not options:
        return Answer(NOTHING, accepted=False)
    first, pages = _page(len(options), page, 0)
    choices = [
        SelectChoice(plain(one.name), digest(one.id), plain(f"now {one.name_of(one.current)}") if one.current else "")
        for one in options[first : first + PAGE]
    ]
    lines, room = [], MESSAGE_LIMIT - _MORE_ROOM
    for one in options[:_LISTED]:
        line = f"{_with_id(one)}: {shown(one, one.current)}"
        # Agents' names may be long: what has no room is counted, not cut off with the count.
        if (room := room - units(line) - 1) < 0:
            break
        lines.append(line)
    if len(options) > len(lines):
        lines.append(f"-# and {len(options) - len(lines)} more in the menu")
    select = Select(f"weft:opts:{thread_id}", tuple(choices), "Choose an option")
    return Answer("\n".join(lines), accepted=True, selects=(select,), buttons=_turning(thread_id, "all", first, pages))


def _with_id(option: SessionOption) -> str:
    """Return how an option is called, with its id where only that names it in the settings."""
    plainly = option.kind is not Kind.OTHER or option.id.casefold() == option.name.casefold()
    # A long one is left out whole: of a secret in it, the rest after a cut would not be recognised.
    return label(option) if plainly or len(option.id) > _ID else f"{label(option)} ({inline_code(option.id, _ID)})"


def suggestions(values: Sequence[OptionValue]) -> list[tuple[str, str]]:
    """Return names and what stands for them, to be searched by what somebody types."""
    return [(named(one), token_of(one.value)) for one in values]


def _search(option: SessionOption) -> str:
    command = f"/{option.kind}" if option.kind is not Kind.OTHER else "/options"
    return f"Type part of a name after `{command}` to search."


def _page(count: int, page: int | None, chosen: int) -> tuple[int, int]:
    """Return where a page begins and how many there are; a page that is gone becomes the last."""
    pages = max(1, -(-count // PAGE))
    return min(chosen // PAGE if page is None else page, pages - 1) * PAGE, pages


def _turning(thread_id: int, key: str, first: int, pages: int) -> tuple[Button, ...]:
    at = first // PAGE
    if pages == 1:
        return ()
    # Both stand on each page: what is pressed again and again must not move under the finger.
    return (
        Button(f"weft:page:{thread_id}:{key}:{max(0, at - 1)}:e", "Earlier", disabled=at == 0),
        Button(f"weft:page:{thread_id}:{key}:{min(pages - 1, at + 1)}:n", "Next", disabled=at == pages - 1),
    )
