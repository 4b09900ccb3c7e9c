"""Cards with buttons: permission requests, their end, and the Stop button (pure).

A card shows everything that a person needs to decide, in full: what does not fit is attached as a file. Characters that
hide or reorder text are written out, and all of the agent's text stands in code, where no link or mention works.
"""

from __future__ import annotations

from collections.abc import Sequence

from acp.schema import PermissionOption, ToolCallContent, ToolCallUpdate
from bot.reply.port import Attachment, Body, Button, ButtonStyle
from bot.reply.sanitise import clean, clip, code_block, inline_code, one_line, reveal, units
from bot.reply.tools import command_of, diff_texts, input_text, places, terms_of

_LABEL_LIMIT = 80
_DETAIL_LIMIT = 900
_MOST_PLACES = 3
_MOST_OPTIONS = 25
_FILE_LIMIT = 2**20
"""Bytes of a card's file: far more than anybody reads, and far less than Discord refuses."""

_STYLES: dict[str, ButtonStyle] = {"allow": "success", "reject": "danger"}


def stop_button(thread_id: int, prompt_id: int) -> Button:
    """Return the button that stops the turn of one prompt."""
    return Button(f"weft:stop:{thread_id}:{prompt_id}", "Stop", "danger")


def go_on_button(thread_id: int, prompt_id: int) -> Button:
    """Return the button that goes on with an interrupted prompt (R2)."""
    return Button(f"weft:go:{thread_id}:{prompt_id}", "Continue", "primary")


def send_now_button(thread_id: int, prompt_id: int) -> Button:
    """Return the button that lets a waiting prompt run now (Q5)."""
    return Button(f"weft:now:{thread_id}:{prompt_id}", "Send now", "primary")


def remove_button(thread_id: int, prompt_id: int) -> Button:
    """Return the button that takes a waiting prompt out (Q5)."""
    return Button(f"weft:drop:{thread_id}:{prompt_id}", "Remove")


def permission_card(
    token: str,
    tool_call: ToolCallUpdate,
    options: Sequence[PermissionOption],
    *,
    who: str,
    ping: int | None = None,
    deadline: str = "",
) -> Body:
    """Return the card of a permission request (D6).

    Args:
        token: names the request in the buttons' ids; at most 80 characters.
        who: who may press, as Discord Markdown.
        ping: the person to notify.
        deadline: when the time is up and what happens then, as Discord Markdown.
    """
    name, language, detail = _detail(tool_call)
    shown, file = _shown_detail(name, language, detail)
    buttons = _buttons(token, options)
    left_out = len(options) - len(buttons)
    more = [f"-# {left_out:,} more options have no button."] if left_out else []
    lines = [_headline(tool_call), *_where(tool_call), *shown, *more, _who(who, deadline)]
    text = "\n".join([f"<@{ping}>", *lines] if ping is not None else lines)
    return Body(text, buttons, file, ping)


def closed_card(card: Body, end: str) -> Body:
    """Return the card after its end: without buttons, with ``end`` (see `answered_by()`) in place of who may press."""
    text, _, _ = card.text.rpartition("\n")
    return Body(f"{text}\n{end}", file=card.file, ping=card.ping)


def answered_by(option: PermissionOption, name: str) -> str:
    """Return the last line of a card that somebody answered."""
    sign = "✅" if option.kind.startswith("allow") else "⛔" if option.kind.startswith("reject") else "☑️"
    return f"{sign} {inline_code(_label(option))} by {inline_code(name, 60)}"


def expired(option: PermissionOption | None) -> str:
    """Return the last line of a card that nobody answered in time; ``option`` was taken in their place."""
    taken = f"answered {inline_code(_label(option))}" if option else "cancelled"
    return f"⌛ No answer in time: {taken}."


CANCELLED = "⏹ Cancelled: the turn ended before an answer."


def _headline(tool_call: ToolCallUpdate) -> str:
    kind = f" ({inline_code(tool_call.kind, 30)})" if tool_call.kind else ""
    return (
        f"🔐 **The agent asks for permission**{kind}: {inline_code(tool_call.title or 'a tool without a title', 200)}"
    )


def _where(tool_call: ToolCallUpdate) -> list[str]:
    paths = [(place.path, place.line) for place in tool_call.locations or ()]
    paths += [(diff.path, None) for diff in _diffs(tool_call) if diff.path]
    return [f"In {places(paths, _MOST_PLACES)}"] if paths else []


def _who(who: str, deadline: str) -> str:
    return f"-# {who} may answer." + (f" {deadline}" if deadline else "")


def _diffs(tool_call: ToolCallUpdate) -> list[ToolCallContent]:
    return [content for content in tool_call.content or () if content.type == "diff"]


def _detail(tool_call: ToolCallUpdate) -> tuple[str, str, str]:
    """Return file name, language and full text of what is to be allowed: command, diff, text, or the bare input."""
    diffs = _diffs(tool_call)
    command = command_of(tool_call.raw_input)
    if command is not None:
        return "command.txt", "sh", _rest_of_input(tool_call, command)
    if diffs:
        changes = diff_texts((diff.path or "", diff.old_text, diff.new_text) for diff in diffs)
        return "change.diff", "diff", "\n".join(changes)
    texts = [content.content.text for content in tool_call.content or () if content.content and content.content.text]
    return "request.txt", "", "\n".join(texts) or input_text(tool_call.raw_input)


def _rest_of_input(tool_call: ToolCallUpdate, command: str) -> str:
    """Return the command and, where the input names them, its directory and what else bears on what it does."""
    directory = tool_call.raw_input.get("cwd") or tool_call.raw_input.get("workdir")
    where = f"# in {one_line(directory)}\n" if isinstance(directory, str) and directory else ""
    terms = terms_of(tool_call.raw_input)
    return where + (f"# with {one_line(terms)}\n" if terms else "") + command


def _shown_detail(name: str, language: str, detail: str) -> tuple[list[str], Attachment | None]:
    """Return the lines that show ``detail``, and a file with all of it where they don't."""
    # Looked at no further than it can be shown: an agent's line may have 16 MiB.
    text = reveal(detail[: _DETAIL_LIMIT + 1])
    if not detail.strip():
        return [], None
    block = code_block(text, language)
    if units(block) <= _DETAIL_LIMIT and len(detail) <= _DETAIL_LIMIT:
        return [block], None
    data = clean(detail[:_FILE_LIMIT]).encode("utf-8", "replace")
    if len(detail) > _FILE_LIMIT or len(data) > _FILE_LIMIT:
        data = data[:_FILE_LIMIT].decode("utf-8", "ignore").encode()
        note = f"**Only the beginning is shown; all {len(detail):,} characters are too long even for the file.**"
    else:
        note = f"**Only the beginning is shown; all {len(detail):,} characters are in the file.**"
    # Half the room: at worst every character is a backtick, and each is set apart from the next.
    return [code_block(clip(text, _DETAIL_LIMIT // 2), language), note], Attachment(name, data)


def _buttons(token: str, options: Sequence[PermissionOption]) -> tuple[Button, ...]:
    return tuple(
        Button(
            f"weft:perm:{token}:{number}",
            _label(options[number]),
            _STYLES.get(options[number].kind.split("_")[0], "secondary"),
        )
        for number in _offered(options)
    )


def _offered(options: Sequence[PermissionOption]) -> list[int]:
    """Return the numbers of the options that get a button: the first, and in any case one that says no."""
    numbers = list(range(len(options)))
    shown, others = numbers[:_MOST_OPTIONS], numbers[_MOST_OPTIONS:]
    if not any(_says_no(options[number]) for number in shown):
        refusal = [number for number in others if _says_no(options[number])][:1]
        shown = shown[: _MOST_OPTIONS - len(refusal)] + refusal
    return shown


def _says_no(option: PermissionOption) -> bool:
    return option.kind.startswith("reject")


def _label(option: PermissionOption) -> str:
    name, option_id = (one_line(reveal(text[: 8 * _LABEL_LIMIT])) for text in (option.name, option.option_id))
    return clip(name or option_id or "?", _LABEL_LIMIT)
