"""Files that an agent hands over as content blocks: images, sounds, resources and links, once each, bounded (pure).

The mutable state is what was handed over so far, as tuples that snapshots share, and the hashes of it.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from acp.schema import ContentBlock, ToolCallContent

_MOST_LINKS = 20
_MOST_NAMED = 1000
"""Characters of a name, an address or a type that are kept: a line from an agent may have millions."""


@dataclass(frozen=True, slots=True)
class HandedFile:
    """A file in a content block; ``name`` and ``mime_type`` are what the agent says, "" where it says nothing.

    ``kind`` is the type of its block: ``image``, ``audio`` or ``resource``.
    """

    kind: str
    name: str
    mime_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class HandedLink:
    """A pointer to a resource that the agent names and does not send."""

    name: str
    uri: str


class HandedFiles:
    """What the content blocks of one turn hold besides text.

    Args:
        most: files to keep.
        size: bytes of all of them; `cut` counts the files beyond either.
    """

    def __init__(self, most: int, size: int) -> None:
        self.files: tuple[HandedFile, ...] = ()
        self.links: tuple[HandedLink, ...] = ()
        self.cut = 0
        self._most = most
        self._room = size
        self._seen: set[bytes] = set()
        self._beyond: set[bytes] = set()

    def take_from_message(self, block: ContentBlock) -> bool:
        """Take a block of the answer; True: it is kept as a file, so that no word has to stand for it.

        Texts and links are not taken: the answer itself shows them.
        """
        found = _encoded(block)
        return found is not None and self._keep(block, *found)

    def take_from_tool(self, content: Iterable[ToolCallContent]) -> None:
        """Take what a tool call shows; agents send the same again with each update of it."""
        for item in content:
            block = item.content
            if item.type != "content" or block is None:
                continue
            if block.type == "resource_link" and block.uri:
                link = HandedLink((block.name or "")[:_MOST_NAMED], block.uri[:_MOST_NAMED])
                if link not in self.links and len(self.links) < _MOST_LINKS:
                    self.links += (link,)
            elif (found := _encoded(block)) is not None or (found := _text(block)) is not None:
                self._keep(block, *found)

    def _keep(self, block: ContentBlock, encoded: str, text: bool) -> bool:
        raw = encoded.encode("utf-8", "replace")
        # Hashed as it was sent: what comes a second time is not decoded again.
        key = hashlib.blake2b(raw, digest_size=16).digest()
        if key in self._seen:
            return True
        try:
            data = raw if text else binascii.a2b_base64(raw)
        except binascii.Error:
            return False
        if not data:
            return False
        if len(self.files) >= self._most or len(data) > self._room:
            # Each file once, although tools repeat theirs with every update; a count that says enough, in bounded
            # memory.
            if key not in self._beyond and len(self._beyond) < 100 * self._most:
                self._beyond.add(key)
                self.cut += 1
            return False
        self._seen.add(key)
        self._room -= len(data)
        resource: dict[str, Any] = block.resource or {}
        uri, mime_type = resource.get("uri") or block.uri or "", resource.get("mimeType") or block.mime_type or ""
        # The end of a name says what the file is.
        name = (block.name or str(uri)[-_MOST_NAMED:].rstrip("/").rpartition("/")[2])[-_MOST_NAMED:]
        self.files += (HandedFile(block.type, name, str(mime_type)[:_MOST_NAMED], data),)
        return True


def _encoded(block: ContentBlock) -> tuple[str, bool] | None:
    """Return the base64 of a block that holds bytes."""
    if block.type in ("image", "audio"):
        return (block.data, False) if block.data else None
    blob = (block.resource or {}).get("blob") if block.type == "resource" else None
    return (blob, False) if isinstance(blob, str) and blob else None


def _text(block: ContentBlock) -> tuple[str, bool] | None:
    """Return the text of an embedded resource."""
    text = (block.resource or {}).get("text") if block.type == "resource" else None
    return (text, True) if isinstance(text, str) and text else None
