"""Code, links and spoilers as Discord reads them: an independent, deliberately simple reading of a message."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# In the order in which Discord tries them at each place; what is in code is looked at no further.
_RULES = re.compile(
    r"(?P<escape>\\[^0-9A-Za-z\s])"
    r"|(?P<block>```(?:(?P<language>[A-Za-z0-9_+\-.#]+?)\n)?\n*(?P<body>[^\n][\s\S]*?)\n*```)"
    r"|(?P<code>(?P<ticks>`+)(?P<inside>[\s\S]*?[^`])(?P=ticks)(?!`))"
    r"|(?P<spoiler>\|\|[\s\S]+?\|\|)"
    r"|(?P<masked>\[(?:\[[^\]]*\]|[^\[\]]|\](?=[^\[]*\]))*\]\(\s*<?https?:(?:\([^)]*\)|[^\s\\]|\\.)*?>?(?:\s+['\"][\s\S]*?['\"])?\s*\))"
)


@dataclass
class Reading:
    """What a message has: contents of code blocks and code spans, links that hide where they lead, spoilers."""

    blocks: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    masked: list[str] = field(default_factory=list)
    spoilers: list[str] = field(default_factory=list)
    rest: str = ""


def read(text: str) -> Reading:
    """Return how Discord reads a message; ``rest`` is all of it but code."""
    reading, end = Reading(), 0
    rest = []
    for found in _RULES.finditer(text):
        match found.lastgroup:
            case "block":
                reading.blocks.append(found["body"])
            case "code":
                reading.codes.append(found["inside"])
            case "masked":
                reading.masked.append(found[0])
            case "spoiler":
                reading.spoilers.append(found[0])
        code = found["block"] or found["code"]
        rest += [text[end : found.start()], " " if code else found[0]]
        end = found.end()
    reading.rest = "".join([*rest, text[end:]])
    return reading
