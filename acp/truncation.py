"""Bounds on what agents send: long output keeps its head and its tail, arguments keep their shape (pure)."""

from __future__ import annotations

from typing import Any

_LONGEST_STRING = 65_536
_MOST_ITEMS = 1_000
_DEEPEST = 32
_MOST_IN_ALL = 262_144
"""Characters and items of a tool's arguments that are kept: as much as of its output."""

CUT = "…"
"""Stands for what was left out of a tool's arguments."""


class BoundedOutput:
    """Output that grows at its end; of a long one, ``head`` and ``tail`` bytes are kept and the rest is counted."""

    def __init__(self, head: int, tail: int) -> None:
        self._head_limit = head
        self._tail_limit = tail
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def append(self, text: str) -> None:
        """Add text at the end; the work is bounded by its length."""
        data = text.encode("utf-8", "replace")
        self._total += len(data)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data[-self._tail_limit :] if self._tail_limit else b""
        # Trimmed only once it has doubled: each trim moves the whole tail.
        if len(self._tail) > 2 * self._tail_limit:
            del self._tail[: len(self._tail) - self._tail_limit]

    @property
    def cut(self) -> int:
        """Bytes that were left out."""
        return max(0, self._total - self._head_limit - self._tail_limit)

    def text(self) -> str:
        """Return what is kept, with a line in the place of what is not."""
        del self._tail[: max(0, len(self._tail) - self._tail_limit)]
        if not self.cut:
            return (self._head + self._tail).decode("utf-8", "ignore")
        # Decoded apart: a character that the cut went through is left out on either side.
        head, tail = (bytes(part).decode("utf-8", "ignore") for part in (self._head, self._tail))
        return f"{head}\n[{CUT} {self.cut} bytes left out {CUT}]\n{tail}"


def bounded(text: str, head: int, tail: int) -> tuple[str, int]:
    """Return ``text`` cut to its head and tail, and how many bytes were left out."""
    if len(text) * 4 <= head + tail:  # a character has four bytes at most: the usual text is not even encoded
        return text, 0
    output = BoundedOutput(head, tail)
    output.append(text)
    return output.text(), output.cut


def bounded_value(value: Any) -> Any:
    """Return a JSON value in which long strings, long lists, deep nesting and what is too much in all are cut."""
    room = _MOST_IN_ALL

    def shorten(text: str) -> str:
        nonlocal room
        kept = text[: min(_LONGEST_STRING, max(room, 0))]
        room -= len(kept) + 1
        return kept if len(kept) == len(text) else kept + CUT

    def cut(value: Any, depth: int) -> Any:
        nonlocal room
        if isinstance(value, str):
            return shorten(value)
        room -= 1
        if not isinstance(value, dict | list):
            return value
        # The depth is bounded for our own recursion, the items for those who show and log the value.
        if depth == 0 or room <= 0:
            return CUT
        items = min(_MOST_ITEMS, room)
        if isinstance(value, list):
            return [cut(item, depth - 1) for item in value[:items]]
        return {shorten(key): cut(value[key], depth - 1) for key in list(value)[:items]}

    return cut(value, _DEEPEST)
