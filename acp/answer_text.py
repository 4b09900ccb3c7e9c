"""The text of a turn: append-only, bounded, cheap to read from an offset on; messages apart, retries shown once (pure).

An offset into the text, once handed out, stands for the same character for ever. The mutable state is the text, the
message being written, and the beginning of a message that may be a retry of the one before and is held back.
"""

from __future__ import annotations

from bisect import bisect_right

from acp.truncation import BoundedOutput

_BLOCK = 65_536
"""Characters after which a run of chunks is joined for good; what is read is joined at most this much too long."""

_MOST_IDS = 1_000
"""Message ids that are remembered; an older one that comes back is taken for a new one."""


class BlockText:
    """Append-only text. Appending is constant work; reading costs what is read, plus at most a block."""

    def __init__(self) -> None:
        self.length = 0
        self._blocks: list[str] = []
        self._starts: list[int] = []
        self._recent: list[str] = []
        self._joined = 0

    def append(self, text: str) -> None:
        """Add text at the end."""
        self._recent.append(text)
        self.length += len(text)
        if self.length - self._joined >= _BLOCK:
            self._starts.append(self._joined)
            self._blocks.append("".join(self._recent))
            self._recent.clear()
            self._joined = self.length

    def read(self, start: int = 0) -> str:
        """Return the text from an offset on."""
        self._recent[:] = ["".join(self._recent)]  # once for all readers, or each would join all chunks again
        if start >= self._joined:
            return self._recent[0][start - self._joined :]
        first = bisect_right(self._starts, start) - 1
        head = self._blocks[first][start - self._starts[first] :]
        return "".join([head, *self._blocks[first + 1 :], self._recent[0]])


class AnswerText:
    """The agent's answer: its messages, a blank line between them.

    A message under a new id, or without one after one that has an id, that directly follows another and repeats its
    text from the start is a retry: agents ask their model again after a broken stream, or stream a text without ids and
    send it whole with one. As long as it only repeats it is held back. What goes on where the repetition is complete
    goes on in the shown message; what turns out different becomes a separate message.

    Args:
        limit: bytes (UTF-8) to keep; `cut` counts the bytes beyond.
    """

    def __init__(self, limit: int) -> None:
        self.cut = 0
        self._room = limit
        self._text = BlockText()
        self._last = ""  # the last two characters, which decide how a blank line is made
        self._id: str | None = None
        self._start = 0
        self._ids: set[str] = set()
        self._apart = False  # a tool call came since the last chunk
        self._retried: str | None = None  # the message that the one held back may repeat
        self._held: list[str] = []
        self._held_length = 0

    @property
    def length(self) -> int:
        """Characters that are shown; grows only."""
        return self._text.length

    def read(self, start: int = 0) -> str:
        """Return the text from an offset on."""
        return self._text.read(start)

    def append(self, message_id: str | None, text: str) -> None:
        """Take a chunk of a message."""
        if not text:
            return
        # Without ids, only a tool call between two chunks tells that they are two messages.
        if message_id != self._id or (message_id is None and self._apart):
            self.settle()
            self._open(message_id)
        self._apart = False
        if self._retried is None:
            self._show(text)
            return
        # It may be a retry. Compared chunk by chunk: joining what is held back each time would cost its square.
        rest = len(self._retried) - self._held_length
        if not self._retried.startswith(text[:rest], self._held_length):
            self._held.append(text)
            self.settle()
        elif len(text) < rest:
            self._held.append(text)
            self._held_length += len(text)
        else:
            self._retried = None
            self._held, self._held_length = [], 0
            self._show(text[rest:])

    def interrupt(self) -> None:
        """A tool call was made: what was held back is shown, and what follows is no retry."""
        self.settle()
        self._apart = True

    def settle(self) -> None:
        """Show what was held back and no longer waits for more."""
        if self._retried is None:
            return
        held = "".join(self._held)
        self._retried = None
        self._held, self._held_length = [], 0
        self._separate()
        self._show(held)

    def _open(self, message_id: str | None) -> None:
        # Without ids there is no telling a retry from a text that repeats itself; one of the two has to have one.
        can_repeat = message_id not in self._ids and not self._apart and self.length > self._start
        if can_repeat and not self.cut:
            self._retried = self._text.read(self._start)
        else:
            self._separate()
        self._id = message_id
        if len(self._ids) >= _MOST_IDS:
            self._ids.clear()
        if message_id is not None:
            self._ids.add(message_id)

    def _separate(self) -> None:
        """Begin a message: the next character comes after a blank line."""
        if self.length and not self.cut:
            self._show("\n" * (2 - (len(self._last) - len(self._last.rstrip("\n")))))
        self._start = self.length

    def _show(self, text: str) -> None:
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if size <= self._room:
            self._room -= size
        else:
            # A character has a byte at least: what is beyond is not worth a copy of megabytes.
            head = text[: self._room]
            text = head.encode("utf-8", "surrogatepass")[: self._room].decode("utf-8", "ignore")
            self.cut += size - self._room
            self._room = 0  # what is kept is a beginning: nothing shorter gets in after this
        if text:
            self._text.append(text)
            self._last = (self._last + text)[-2:]


class Thoughts:
    """The agent's reasoning; of a long one the beginning and the end are kept, and what is left out is counted."""

    def __init__(self, head: int, tail: int) -> None:
        self._kept = BoundedOutput(head, tail)
        self._begun = False
        self._id: str | None = None

    def append(self, message_id: str | None, text: str) -> None:
        """Take a chunk; one under a new id begins after a blank line."""
        if not text:
            return
        # Thoughts come without ids as well; then nothing says where one begins.
        if message_id != self._id and self._begun:
            text = f"\n\n{text}"
        self._id, self._begun = message_id, True
        self._kept.append(text)

    def read(self) -> str:
        """Return what is kept, with a line in the place of what is not."""
        return self._kept.text()
