"""Where secrets are taken out of what leaves the bot: messages, buttons and files for Discord, and log events (R5).

`Redactor` knows the values, and each way out calls it: `bot.chat.port` for messages, edits, files and thread names,
`bot.chat.interactions` for answers to commands and buttons, `bot.log` for log events. A secret that an agent spells
out over several messages is out of reach; see ``docs/limits.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import replace
from typing import Any

from bot.reply.port import Body

REDACTED = "[secret]"
"""What stands in place of a secret: never longer than one, so that no text outgrows its limit."""

_SHORTEST_SECRET = len(REDACTED)
_CUTS = ("", "…", "\n", "`")
"""What may stand where a text was cut: its end, the sign of it, or the end of a line or of code."""


class Redactor:
    """Cuts known secret values out of text, messages and files and, as a structlog processor, out of every event."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: a secret may contain another. Very short values would shred ordinary words.
        long = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        # Cards show what a tool is given as JSON, where quotes, backslashes and line ends are written otherwise.
        written = {json.dumps(secret, ensure_ascii=False)[1:-1] for secret in long}
        self._secrets = sorted(long | written, key=len, reverse=True)

    def text(self, value: str) -> str:
        """Return ``value`` without the secrets."""
        for secret in self._secrets:
            value = _without_heads(value.replace(secret, REDACTED), secret, REDACTED)
            if secret[-_SHORTEST_SECRET:] in value:  # a tail is a head from behind
                value = _without_heads(value[::-1], secret[::-1], REDACTED[::-1])[::-1]
        return value

    def data(self, value: bytes) -> bytes:
        """Return the content of a file without the secrets."""
        for secret in self._secrets:
            value = value.replace(secret.encode(), REDACTED.encode())
        return value

    def stream(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Return the content of a file that comes in pieces without the secrets, in other pieces."""
        longest = max((len(secret.encode()) for secret in self._secrets), default=1)
        held = b""
        for chunk in chunks:
            clean = self.data(held + chunk)
            # The end may be the beginning of a secret, so it waits for what follows.
            border = max(0, len(clean) - (longest - 1))
            held = clean[border:]
            yield clean[:border]
        yield held

    def body(self, body: Body) -> Body:
        """Return a message without the secrets in its text, the labels of its buttons, its file and all file names.

        What it uploads is read when it is sent; see `stream`.
        """
        # No text grows by this, so what fitted Discord's limits still does.
        buttons = tuple(replace(button, label=self.text(button.label)) for button in body.buttons)
        fileless = body.fileless and tuple(replace(button, label=self.text(button.label)) for button in body.fileless)
        file = body.file and replace(body.file, name=self.text(body.file.name), data=self.data(body.file.data))
        uploads = tuple(replace(upload, name=self.text(upload.name)) for upload in body.uploads)
        return replace(body, text=self.text(body.text), buttons=buttons, fileless=fileless, file=file, uploads=uploads)

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Clean an event in place, nested values included."""
        for key, value in event.items():
            event[key] = self._clean(value)
        return event

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(item) for item in value]
        return value if isinstance(value, int | float | bool | None) else self.text(str(value))


def _without_heads(text: str, secret: str, instead: str) -> str:
    """Return the text without beginnings of the secret that a limit on length or the end of a page has cut off."""
    start = text.find(secret[:_SHORTEST_SECRET])
    while start >= 0:
        end = start + _SHORTEST_SECRET
        while text[end : end + 1] == secret[end - start : end - start + 1] != "":
            end += 1
        if text[end : end + 1] in _CUTS:
            text = text[:start] + instead + text[end:]
        start = text.find(secret[:_SHORTEST_SECRET], start + 1)
    return text
