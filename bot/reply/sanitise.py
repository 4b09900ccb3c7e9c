"""Text that came from an agent, made safe to show (pure).

What is removed (terminal escapes, control characters), what is made visible (bidirectional and zero-width characters),
and how text is put into code so that it can't get out of it. Where people decide by what they read nothing is removed:
`in_full()`. Lengths are UTF-16 code units, as Discord's may be.
"""

from __future__ import annotations

import re

from wcwidth import grapheme_boundary_before

_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\n\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS, SOS, PM, APC up to their end, or the line's
    r"|\x1b[ -/]*[0-~]?"  # any other escape
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SUSPECT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_UNSEEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff"  # controls, halves of characters
    "\xa0\u1680\u2000-\u200a\u202f\u205f\u3000\u2800\u3164\uffa0\u115f\u1160\U0001d159"  # blanks that are no space
    "\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\ufffc\U000110bd\U000110cd\U00013430-\U0001345f\U00016fe4"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # formats, selectors, tags
    "\ue000-\uf8ff\U000f0000-\U0010ffff"  # private use: no font has to show anything
    f"]|(?<=[{_MARKS}]{{2}})[{_MARKS}]"  # accents in piles cover the lines around them
)
_BLANKS = re.compile(r"[ \t]{41,}")
_BLANK_LINES = re.compile(r"\n[ \t\n]{3,}\n")
_MOST_BLANK_LINES = 3
_ASCII_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ZERO_WIDTH_SPACE = "\u200b"
_BACKTICK_LIKE = "\u02cb"
_ACTIVE = re.compile(r"[\\`*_~|<>\[\]():#@/]")
"""Signs of Markdown, mentions and emoji, and those without which there is no address; each can be escaped."""
_LOOKED_AT = 16
_FAR = 200


def units(text: str) -> int:
    """Return the length of ``text`` in UTF-16 code units."""
    return len(text) + sum(character > "\uffff" for character in text)


def clean(text: str) -> str:
    """Return ``text`` without terminal escapes and controls but newline and tab; lone surrogates become U+FFFD."""
    if _SUSPECT.search(text) is None:
        return text
    # A bare carriage return would let a terminal overwrite the line; here it ends one.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _CONTROL.sub("", _ANSI.sub("", text))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def reveal(text: str) -> str:
    """Return clean ``text`` with characters that hide or reorder written as ``<U+202E>``."""
    return _INVISIBLE.sub(lambda match: f"<U+{ord(match.group()):04X}>", clean(text))


def spelled(text: str) -> str:
    """Return ``text`` with every character that can't be seen written as ``<U+001B>``; newline and tab stay."""
    if text.isascii() and _ASCII_UNSEEN.search(text) is None:  # twenty times as fast
        return text
    return _UNSEEN.sub(lambda match: f"<U+{ord(match.group()):04X}>", text)


def in_full(text: str) -> str:
    """Return ``text`` with nothing removed: unseen characters `spelled()`, long runs of blanks and blank lines counted.

    What stands behind hundreds of them would be off the screen.
    """
    pieces, end, text = [], 0, spelled(text)
    for run in _BLANK_LINES.finditer(text):
        count = run.group().count("\n") - 1
        if count > _MOST_BLANK_LINES:
            pieces += [text[end : run.start()], f"\n<{count:,} blank lines>\n"]
            end = run.end()
    text = "".join([*pieces, text[end:]])
    return _BLANKS.sub(lambda run: f"<{len(run.group()):,} blanks>", text)


def visible(text: str) -> bool:
    """Return whether a reader would see anything of ``text``."""
    return any(not character.isspace() and not _INVISIBLE.match(character) for character in clean(text))


def one_line(text: str) -> str:
    """Return ``text`` with every run of white space as one space."""
    return " ".join(text.split())


def clip(text: str, limit: int) -> str:
    """Return ``text``, cut to ``limit`` units with an ellipsis at a character border where it is longer."""
    if units(text) <= limit:
        return text
    return text[: fitting(text, limit - 1)] + "…"


def clip_middle(text: str, head: int, tail: int) -> str:
    """Return the first ``head`` and last ``tail`` characters of ``text``, and between them how many are left out."""
    left_out = len(text) - head - tail
    if left_out <= 0:
        return text
    first, last = _border(text, head), _border(text, len(text) - tail)
    return f"{text[:first].rstrip()}\n… {last - first:,} characters left out …\n{text[last:].lstrip()}"


def inline_code(text: str, limit: int = 80) -> str:
    """Return ``text`` as one line of inline code: no Markdown, mention or link in it has an effect."""
    # An agent's titles and paths have no bound of their own; what is far beyond the limit is not even looked at.
    head = text[: limit * _LOOKED_AT]
    line = one_line(reveal(head)).strip("` ").replace("`", _BACKTICK_LIKE)
    if len(head) < len(text):
        line += "…"
    return f"`{clip(line or '…', limit)}`"


def plain_line(text: str, limit: int) -> str:
    """Return text of people's language as one line in which no Markdown, mention, link or emoji has an effect.

    ``limit``: units that are read; with what is put before its signs it has twice as many at most.
    """
    head = text[: limit * _LOOKED_AT]
    # Only a hint to draw the sign before it in colours: written out, it would stand behind every other emoji.
    line = one_line(reveal(head.replace("\ufe0f", "")))
    if len(head) < len(text):
        line += "…"
    return _ACTIVE.sub(r"\\\g<0>", clip(line or "…", limit))


def code_block(text: str, language: str = "") -> str:
    """Return ``text`` as a code block that it can't end: runs of three backticks are broken by a zero-width space."""
    # Cleaned first: an escape between two backticks would hide the run from the pattern, and not from the reader.
    safe = without_fences(clean(text)).strip("\n")
    return f"```{language}\n{safe or ' '}\n```"


def without_fences(text: str) -> str:
    """Return ``text`` with a zero-width space in every run of three backticks, so that it can't end a code block."""
    return re.sub(r"`(?=``)", f"`{_ZERO_WIDTH_SPACE}", text)


def fitting(text: str, limit: int) -> int:
    """Return the last character border whose prefix has at most ``limit`` units; at least one code point."""
    used, offset = 0, 0
    for offset, character in enumerate(text):  # noqa: B007  the offset is the answer
        used += 2 if character > "\uffff" else 1
        if used > limit:
            break
    else:
        return len(text)
    # A character without a border near is cut between code points: what is shown must get on.
    return _border(text, offset) or offset or 1


def _border(text: str, offset: int) -> int:
    """Return the last offset up to ``offset`` where a character as people see it begins; 0 if there is none near."""
    if offset >= len(text):
        return len(text)
    # Not from the start of the text: an edit costs what its message costs, and accents may be piled up without end.
    start = max(0, offset - _FAR)
    border = start + grapheme_boundary_before(text[start : offset + 1], offset - start + 1)
    # Two halves of one character are sent as one, and half a character would be refused.
    if border and "\ud800" <= text[border - 1] <= "\udbff" and "\udc00" <= text[border] <= "\udfff":
        border -= 1
    return border if border > start else 0
