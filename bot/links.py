"""Links to messages, as Discord's "Copy Message Link" makes them (pure)."""

from __future__ import annotations

import re
from typing import NamedTuple

# At most 20 digits each: a snowflake has no more, and int() of thousands of them takes long.
_LINK = re.compile(
    r"https://(?:(?:ptb|canary)\.)?discord(?:app)?\.com/channels/(\d{1,20})/(\d{1,20})/(\d{1,20})(?!\d)", re.ASCII
)


class MessageLink(NamedTuple):
    """A message by where it is: snowflakes."""

    guild_id: int
    channel_id: int
    message_id: int


def links_in(text: str, guild_id: int | None) -> list[MessageLink]:
    """Return the messages of a server that a text links to, each once, in order."""
    found = (MessageLink(*map(int, groups)) for groups in _LINK.findall(text))
    return list(dict.fromkeys(link for link in found if link.guild_id == guild_id))
