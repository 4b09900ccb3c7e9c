"""The name of a thread, made of what somebody or an agent has said (pure)."""

from __future__ import annotations

import re

from bot.reply.sanitise import clean, clip, visible

TITLE_LIMIT = 100
"""UTF-16 code units; Discord takes names of 1 to 100."""

_MENTION = re.compile(r"<(?:@[!&]?|#)\d+>")
REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069]")
_MARKUP = re.compile(r"^[\s#>*_`~|-]+|[*_`~|]+")


def title_of(text: str) -> str:
    """Return the first line that says something, without markup and mentions, as the name of a thread; "" if none."""
    for line in REORDERING.sub("", clean(text)).splitlines():
        # In the name of a thread Discord shows mentions as numbers, and markup as it is.
        name = " ".join(_MARKUP.sub("", _MENTION.sub("", line)).split())
        if visible(name):
            return clip(name, TITLE_LIMIT)
    return ""
