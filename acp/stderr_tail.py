"""The last of what an agent said on its stderr: why it failed often stands there."""

from __future__ import annotations

STDERR_KEPT = 64 * 1024
"""Bytes that are kept: the last ones."""


class StderrTail:
    """The last of what an agent said on its stderr.

    Attributes:
        total: bytes said so far.
    """

    def __init__(self) -> None:
        self.total = 0
        self._kept = bytearray()

    def add(self, said: bytes) -> None:
        """Take what was just said."""
        self.total += len(said)
        self._kept += said
        del self._kept[:-STDERR_KEPT]

    def since(self, mark: int) -> str:
        """Return what was said since ``mark`` bytes, as far as it is kept."""
        fresh = max(0, min(self.total - mark, len(self._kept)))
        return self._kept[len(self._kept) - fresh :].decode(errors="replace")

    def text(self) -> str:
        """Return all that is kept."""
        return self._kept.decode(errors="replace")
