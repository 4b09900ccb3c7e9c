"""What messages bring along beside their text, read from Discord's JSON (pure).

Discord adds to its objects and leaves things out, so whatever is not as expected counts as not there; nothing raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bot.model import Quote

Json = Mapping[str, Any]
_NOTHING: Json = {}
_KIB = 1024
_DIGITS = 20


def snowflake(value: object) -> int | None:
    """Return an id, which is a text of digits on the wire."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value) if len(value) <= _DIGITS else None
    return value if type(value) is int and 0 < value < 2**64 else None


def part(data: object, key: str) -> Json:
    """Return an object in an object; an empty one if there is none."""
    found = data.get(key) if isinstance(data, Mapping) else None
    return found if isinstance(found, Mapping) else _NOTHING


def items(data: object, key: str) -> list[Any]:
    """Return a list in an object; an empty one if there is none."""
    found = data.get(key) if isinstance(data, Mapping) else None
    return found if isinstance(found, list) else []


def text(data: object, key: str) -> str:
    """Return a text in an object; "" if there is none."""
    found = data.get(key) if isinstance(data, Mapping) else None
    return found if isinstance(found, str) else ""


def quotes(message: Json) -> tuple[Quote, ...]:
    """Return what a message has words for beside its text: what it forwards, its poll and its stickers."""
    found = [Quote("Forwarded message", gist(one)) for one in _snapshots(message)]
    found.append(Quote("Poll", _poll(message)))
    found.append(Quote("Sticker", "\n".join(text(one, "name") for one in items(message, "sticker_items"))))
    return tuple(quote for quote in found if quote.text.strip())


def gist(message: Json) -> str:
    """Return how a message reads to somebody who quotes it: its text or its previews, and the rest."""
    words = text(message, "content") or "\n".join(_embeds(message))
    return "\n".join([*([words] if words else []), *(quote.text for quote in quotes(message))])


def files(message: Json) -> tuple[str, ...]:
    """Return the files of a message and of what it forwards, each as a name with its type and size."""
    found = [_file(one) for one in items(message, "attachments")]
    for snapshot in _snapshots(message):
        found += [_file(one) for one in items(snapshot, "attachments")]
    return tuple(found)


def _snapshots(message: Json) -> list[Json]:
    # What is forwarded in what is forwarded has no end.
    return [{**part(one, "message"), "message_snapshots": None} for one in items(message, "message_snapshots")]


def _poll(message: Json) -> str:
    poll = part(message, "poll")
    answers = [text(part(one, "poll_media"), "text") for one in items(poll, "answers")]
    lines = [text(part(poll, "question"), "text"), *(f"- {answer}" for answer in answers if answer)]
    return "\n".join(line for line in lines if line)


def _embeds(message: Json) -> Iterator[str]:
    for embed in items(message, "embeds"):
        fields = [f"{text(one, 'name')}: {text(one, 'value')}" for one in items(embed, "fields")]
        yield from (line for line in (text(embed, "title"), text(embed, "description"), *fields) if line.strip(": "))


def _file(attachment: object) -> str:
    name = " ".join(text(attachment, "filename").split()) or "a file"
    kind = text(attachment, "content_type").partition(";")[0]
    size = attachment.get("size") if isinstance(attachment, Mapping) else None
    known = [kind] if kind else []
    if type(size) is int:
        known.append(f"{size:,} bytes" if size < _KIB else f"{size / _KIB:,.0f} KiB")
    return f"{name} ({', '.join(known)})" if known else name
