"""Cards with buttons: permission requests, their end, and the Stop button (pure).

A card shows everything that a person needs to decide, in full: what does not fit is attached as a file. Characters that
hide or reorder text are written out, and all of the agent's text stands in code, where no link or mention works.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from acp.schema import PermissionOption, ToolCallUpdate
from bot.reply.port import Attachment, Body, Button, ButtonStyle
from bot.reply.request_detail import (
    Json,
    Part,
    command_in,
    inline,
    is_short_line,
    one_row,
    parts_of,
    paths_of,
    with_short_paths,
)
from bot.reply.sanitise import clip, code_block, in_full, inline_code, one_line, spelled, units

_TEXT_LIMIT = 2000
_SPARE = 320
"""Units of a card for its notes, and for the line of its end, which may be longer than that of who may press."""
_SPARE_FOR_TWO = 320
"""The same for who has agreed so far, where two people have to (C1)."""
_MOST_AGREED = 2
_AGREED = "-# ☑️ {name} agreed to {option}. One more person has to agree."

_TITLE_LIMIT, _KIND_LIMIT, _PLACE_LIMIT, _LABEL_LIMIT = 200, 30, 120, 80
_DETAIL_LIMIT, _OPTIONS_LIMIT = 900, 500
_MOST_LINES = 25
_MOST_PLACES = 3
_MOST_OPTIONS = 25
_OPTION = re.compile(r"weft:perm:[A-Za-z0-9_-]*:(\d+)")
_FILE_LIMIT = 8 * 2**20
"""Bytes of a card's file: less than Discord takes on any server."""

_HOPELESS_LIMIT = 2**20
_SLICE = 65_536

_BEGINNING = "**Only the beginning is shown; all {size:,} characters are in the file.**"
_FOLDED = "**Unchanged lines are left out here; they are in the file.**"
_OPTIONS_IN_FILE = "**The options are too long to show here; they are in the file.**"
_TOO_LONG = (
    "**Only the beginning is shown. It is too long even for the file: {size:,} bytes are missing, "
    "so you can only reject it.**"
)
_INCOMPLETE = "**Part of this request could not be kept, so you can only reject it.**"

TurnButton = Literal["stop", "go", "now", "drop", "end", "allow", "details"]
_TURN_BUTTONS: dict[TurnButton, tuple[str, ButtonStyle]] = {
    "stop": ("Stop", "danger"),
    "go": ("Continue", "primary"),  # an interrupted prompt (R2)
    "now": ("Send now", "primary"),  # a waiting prompt, as "drop" (Q5)
    "drop": ("Remove", "secondary"),
    "end": ("End it", "danger"),  # what a turn has left running (P13)
    "allow": ("Allow this turn", "primary"),  # a prompt for which nothing is left to be spent (A4)
    "details": ("Details", "secondary"),  # what an agent thought and did in a turn (V2)
}
_STYLES: dict[str, ButtonStyle] = {"allow": "success", "reject": "danger"}


def turn_button(kind: TurnButton, thread_id: int, key: int | str) -> Button:
    """Return a button below a prompt or a turn, which ``key`` names: the prompt's id, or a token."""
    label, style = _TURN_BUTTONS[kind]
    return Button(f"weft:{kind}:{thread_id}:{key}", label, style)


def permission_card(
    token: str,
    tool_call: ToolCallUpdate,
    options: Sequence[PermissionOption],
    *,
    who: str,
    ping: int | None = None,
    role: int | None = None,
    deadline: str = "",
    complete: bool = True,
    two_person: bool = False,
    workspace: str = "",
) -> Body:
    """Return the card of a permission request (D6).

    Args:
        token: names the request in the buttons' ids; at most 80 characters.
        who: who may press, as Discord Markdown.
        ping: the person to notify; ``role``: the role.
        deadline: when the time is up and what happens then, as Discord Markdown.
        complete: whether ``tool_call`` is all that the agent has said of it; if not, nobody can allow it.
        two_person: two people have to agree to what does not reject.
        workspace: where the agent works, as it sees it; files in there are named from there.
    """
    call = with_short_paths(tool_call.as_sent(), workspace)
    paths, _ = paths_of(call)
    # What stands above in full need not be repeated below; what is cut there must.
    limits = {"title": _TITLE_LIMIT, "kind": _KIND_LIMIT}
    texts = {key: call[key] for key in limits if isinstance(call.get(key), str)}
    # Backticks, which can run a command, can't stand in inline code: with one, it is not shown as it is.
    headline = [key for key, text in texts.items() if "`" not in text and is_short_line(text, limits[key])]
    if _named_by_command(call):
        headline.append("title")
    few = len(paths) <= _MOST_PLACES
    places_shown = few and all("`" not in path and is_short_line(path, _PLACE_LIMIT) for path in paths)
    parts = parts_of(call, headline=headline, places_shown=places_shown)
    head, last = _head(call, paths, ping, role), f"-# {who} may answer."
    last += (" Two people have to agree to it; one can reject it." if two_person else "") + (
        f" {deadline}" if deadline else ""
    )
    # Nobody may approve what they can't see in full: then only refusals are left.
    refusing, _ = _buttons(token, options, seen=False)
    buttons, names = _buttons(token, options, seen=complete)
    left_out = len(options) - len(buttons) if complete else 0
    listed = _block(names, names.text, _OPTIONS_LIMIT, height=_MOST_OPTIONS + 3) if names else None
    fixed = sum(units(line) + 1 for line in (*head, last)) + (listed.size if listed else 0)
    spare = _SPARE + (_SPARE_FOR_TWO if two_person else 0)
    shown, note = _shown_detail(parts, min(_DETAIL_LIMIT, _TEXT_LIMIT - spare - fixed))
    if listed and not listed.whole and names:
        parts, note = [*parts, names], note or _OPTIONS_IN_FILE
    file, missing = _file(parts) if note else (None, 0)
    if missing:
        # Known only now, when the buttons were counted: the card has room for fewer in any case.
        note, buttons, left_out = _TOO_LONG.format(size=missing), refusing, 0
    elif not complete:
        note = f"{note}\n{_INCOMPLETE}".strip()
    more = [f"-# {left_out:,} more options have no button."] if left_out else []
    lines = [*head, *shown, *([note] if note else []), *([listed.text] if listed else []), *more, last]
    # If Discord does not take the file, nobody sees what is only in there.
    return Body("\n".join(lines), buttons, file, ping, role, fileless=refusing if file else None)


def options_offered(card: Body) -> frozenset[int]:
    """Return the numbers of the options that have a button."""
    found = (_OPTION.fullmatch(button.custom_id) for button in card.buttons)
    return frozenset(int(option[1]) for option in found if option)


def with_rule_button(card: Body, token: str) -> Body:
    """Return a card with a button that shows the rule which would allow this from now on, if there is room (C2)."""
    button = Button(f"weft:always:{token}", "Always here…")
    # Not among those without the file: nobody allows for good what nobody could see in full.
    return replace(card, buttons=(*card.buttons, button)) if len(card.buttons) < _MOST_OPTIONS else card


def agreed_card(card: Body, agreed: Sequence[tuple[PermissionOption, str]]) -> Body:
    """Return the card with the options that somebody has agreed to, and their names, above its last line (C1)."""
    text, _, last = card.text.rpartition("\n")
    lines = [
        _AGREED.format(name=inline_code(name, 40), option=inline_code(_label(option), 40))
        for option, name in agreed[:_MOST_AGREED]
    ]
    more = len(agreed) - len(lines)
    lines += [f"-# ☑️ Somebody agreed to {more} more."] if more > 0 else []
    return replace(card, text="\n".join([text, *lines, last]))


def closed_card(card: Body, end: str) -> Body:
    """Return the card after its end: without buttons, with ``end`` (see `answered_by()`) in place of who may press."""
    # The file stays: what was decided must remain readable.
    return Body(ended(card.text, end), file=card.file, ping=card.ping, role=card.role)


def ended(text: str, end: str) -> str:
    """Return the text of a card after its end, which stands in place of who may press."""
    above, _, _ = text.rpartition("\n")
    return f"{above}\n{end}"


def is_card(token: str, custom_ids: Sequence[str]) -> bool:
    """Return whether a message with these buttons is the card of a request, or of a question."""
    return any(one.startswith((f"weft:perm:{token}:", f"weft:ask:{token}:")) for one in custom_ids)


def answered_by(option: PermissionOption, *names: str) -> str:
    """Return the last line of a card that somebody answered, or two people together."""
    sign = "✅" if option.kind.startswith("allow") else "⛔" if option.kind.startswith("reject") else "☑️"
    return f"{sign} {inline_code(_label(option))} by {' and '.join(inline_code(name, 60) for name in names)}"


def expired(option: PermissionOption | None) -> str:
    """Return the last line of a card that nobody answered in time; ``option`` was taken in their place."""
    taken = f"{inline_code(_label(option))} was chosen" if option else "the request was cancelled"
    return f"⌛ No answer in time, so {taken}."


def ruled(by: str, name: str, what: str, *, allowed: bool) -> str:
    """Return the line that tells what a rule or a mode has decided; ``what``: what was asked for, in one line."""
    sign, done = ("✓", "allowed") if allowed else ("⛔", "denied")
    return f"-# {sign} {done} by {by} {inline(name, _TITLE_LIMIT)}: {inline(what, _TITLE_LIMIT)}"


CANCELLED = "⏹ Cancelled: the turn ended before anyone answered."
RESTARTED = "⏹ Ended when Weft restarted."
RESTARTED_GO_ON = "⏹ Ended when Weft restarted: *Continue* below runs the turn again."
UNSEEN = "⏹ Cancelled: it is too long to show in full, and the agent offers no way to reject it."
NOT_TAKEN = "⏹ The agent asked for permission, but Discord refused to show the request, so it was cancelled."


def _head(call: Json, paths: list[str], ping: int | None, role: int | None) -> list[str]:
    """Return whom it is for, what is to be done, and where."""
    title, kind = call.get("title"), call.get("kind")
    sort = f" ({inline(kind, _KIND_LIMIT)})" if isinstance(kind, str) and kind else ""
    name = title if isinstance(title, str) and title else "an unnamed tool"
    lines = [f"<@{ping}>"] if ping is not None else [f"<@&{role}>"] if role is not None else []
    named = "" if _named_by_command(call) else f" {inline(name, _TITLE_LIMIT)}"
    lines.append(f"🔐 **The agent asks for permission**{sort}:{named}")
    if paths:
        shown = ", ".join(inline(path, _PLACE_LIMIT) for path in paths[:_MOST_PLACES])
        more = len(paths) - _MOST_PLACES
        lines.append(f"In {shown} and {more} more" if more > 0 else f"In {shown}")
    return lines


def _named_by_command(call: Json) -> bool:
    """Return whether the title is the command, bare or as code: that stands below in full, so it is not said twice."""
    command = command_in(call.get("rawInput"))
    return command is not None and call.get("title") in (command[1], f"`{command[1]}`")


@dataclass(frozen=True, slots=True)
class _Block:
    """A part as it stands in the message, with its units and its lines."""

    text: str
    size: int
    height: int
    whole: bool


def _block(part: Part, text: str, room: int, *, height: int = _MOST_LINES, labelled: bool = True) -> _Block:
    """Return as much of ``text`` as there is room for."""
    # Looked at no further than it may be shown: an agent's line may have 16 MiB. Counted blanks need little room.
    head, whole = in_full(text[: 16 * _DETAIL_LIMIT]), len(text) <= 16 * _DETAIL_LIMIT
    label = f"-# {part.name}\n" if labelled else ""
    shown = label + code_block(head, part.language)
    if not whole or units(shown) >= room or shown.count("\n") >= height:
        whole = False
        few = "\n".join(head.strip("\n").split("\n")[: max(1, height - labelled - 2)])
        # Half the room: at worst every character is a backtick, and each is set apart from the next.
        shown = label + code_block(clip(few, max(1, (room - 40) // 2)), part.language)
    return _Block(shown, units(shown) + 1, shown.count("\n") + 1, whole)


def _shown_detail(parts: list[Part], room: int) -> tuple[list[str], str]:
    """Return the lines that show the parts, and what is said of what they don't show."""
    labelled = len(parts) > 1
    # First all of it, then without unchanged lines; only if neither fits, the beginning.
    for texts, note in (([part.text for part in parts], ""), ([part.short or part.text for part in parts], _FOLDED)):
        blocks = [_block(part, text, room, labelled=labelled) for part, text in zip(parts, texts, strict=True)]
        fits = sum(block.size for block in blocks) <= room and sum(block.height for block in blocks) <= _MOST_LINES
        if fits and all(block.whole for block in blocks):
            return [block.text for block in blocks], note
    lines: list[str] = []
    height = _MOST_LINES
    for part in parts:
        block = _block(part, part.short or part.text, room, height=height, labelled=labelled)
        if block.size > room or block.height > height:
            break  # not the next part instead: what is shown is the beginning, without a gap
        lines.append(block.text)
        room, height = room - block.size, height - block.height
        if not block.whole:
            break
    return lines, _BEGINNING.format(size=sum(len(part.text) for part in parts))


def _file(parts: list[Part]) -> tuple[Attachment, int]:
    """Return a file with all of the parts, and how many bytes it has no room for."""
    alone = len(parts) == 1
    # What is too long in any case can only be rejected: that needs no more than its beginning.
    limit = _FILE_LIMIT if sum(len(part.text) for part in parts) <= _FILE_LIMIT else _HOPELESS_LIMIT
    data, missing = bytearray(), 0
    for part in parts:
        heading = "" if alone else f"=== {part.name} ===\n"
        # In slices: written out as a whole, an agent's megabytes would be many more.
        slices = (part.text[start : start + _SLICE] for start in range(0, len(part.text), _SLICE))
        for piece in (heading, *slices, "" if alone else "\n"):
            # Written out only as far as there is room: each hidden character becomes eight.
            shown = in_full(piece).encode("utf-8", "replace") if len(data) < limit else b""
            if shown and len(data) + len(shown) <= limit:
                data += shown
            elif piece:
                kept = shown[: limit - len(data)].decode("utf-8", "ignore").encode()
                data += kept
                missing += max(1, len(shown) - len(kept)) if shown else len(piece.encode("utf-8", "replace"))
    return Attachment(parts[0].file if alone else "request.txt", bytes(data)), missing


def _buttons(token: str, options: Sequence[PermissionOption], *, seen: bool) -> tuple[tuple[Button, ...], Part | None]:
    """Return the buttons, and in full the options whose names don't fit on theirs, numbered as those are.

    ``seen``: without it only those that say no, as nobody may approve what they can't see in full.
    """
    refusals = [number for number, option in enumerate(options) if option.kind.startswith("reject")]
    numbers = list(range(len(options))) if seen else refusals
    offered = numbers[:_MOST_OPTIONS]
    # Discord takes 25: a card without a way to say no would leave only the timeout.
    if refusals and not set(offered) & set(refusals):
        offered = [*offered[: _MOST_OPTIONS - 1], refusals[0]]
    buttons, rows = [], []
    for number in offered:
        option, name, label = options[number], _name(options[number]), _label(options[number])
        if name.strip() and not is_short_line(name, _LABEL_LIMIT):
            # The option's own number: that of a button would change when fewer options are offered.
            label = clip(f"{number + 1}. {label}", _LABEL_LIMIT)
            rows.append(f"{number + 1}. {one_row(name)}")
        style = _STYLES.get(option.kind.split("_")[0], "secondary")
        # The id has the option's number and not its text: an agent's ids may be longer than Discord allows.
        buttons.append(Button(f"weft:perm:{token}:{number}", label, style))
    return tuple(buttons), Part("Options", "\n".join(rows), file="options.txt") if rows else None


def _name(option: PermissionOption) -> str:
    return option.name if option.name.strip() else option.option_id


def _label(option: PermissionOption) -> str:
    return clip(one_line(spelled(_name(option)[: 8 * _LABEL_LIMIT])) or "?", _LABEL_LIMIT)
