"""Where secrets are taken out of what leaves the bot: messages, buttons and files for Discord, and log events (R5).

`Redactor` knows the values, and each way out calls it: `bot.chat.port` for messages, edits, files and thread names,
`bot.chat.interactions` for answers to commands and buttons, `bot.log` for log events. A secret that an agent spells
out over several messages is out of reach; see ``docs/limits.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from bot.reply.port import Body, Button, Select, SelectChoice

REDACTED = "[secret]"
"""What stands in place of a secret: never longer than one, so that no text outgrows its limit."""

_SHORTEST_SECRET = len(REDACTED)
_CUTS = ("", "…", "\n", "`")
"""What may stand where a text was cut: its end, the sign of it, or the end of a line or of code."""
_INSERTED = "\\\u200b"
"""What `bot.reply` puts between characters, so that Discord does not take them for markup."""
_WITHOUT_INSERTED = dict.fromkeys(map(ord, _INSERTED))


class Redactor:
    """Cuts known secret values out of text, messages and files and, as a structlog processor, out of every event."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: list[str] = []
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Take further secrets out from now on."""
        # The longest first: a secret may contain another. Very short values would shred ordinary words.
        long = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        # Cards show what a tool is given as JSON, where quotes, backslashes and line ends are written otherwise.
        written = {json.dumps(secret, ensure_ascii=False)[1:-1] for secret in long}
        self._secrets = sorted({*self._secrets, *long, *written}, key=len, reverse=True)

    def text(self, value: str) -> str:
        """Return ``value`` without the secrets, even if characters of theirs were escaped for Discord."""
        for secret in self._secrets:
            # A secret with Markdown in it no longer stands there as it was once its signs are escaped, and a page may
            # end anywhere in it. So it is looked for in what people read, and cut out of what is sent.
            places: Sequence[int] = range(len(value))
            read, sought = value, secret
            if any(sign in value for sign in _INSERTED):
                places = [at for at, sign in enumerate(value) if sign not in _INSERTED]
                read, sought = value.translate(_WITHOUT_INSERTED), secret.translate(_WITHOUT_INSERTED)
            for start, end in reversed(_found(read, sought)):
                value = value[: places[start]] + REDACTED + value[places[end - 1] + 1 :]
        return value

    def data(self, value: bytes) -> bytes:
        """Return the content of a file without the secrets."""
        for secret in self._secrets:
            value = value.replace(secret.encode(), REDACTED.encode())
        return value

    def stream(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Return the content of a file that comes in pieces without the secrets, in other pieces."""
        secrets = [secret.encode() for secret in self._secrets]
        held = b""
        for chunk in chunks:
            held += chunk
            # The end may be the beginning of a secret, so it waits for what follows: as it is, since a shorter secret
            # in it may turn out to be a part of a longer one.
            border = max(0, len(held) - (max(map(len, secrets), default=1) - 1))
            while starts := [at for secret in secrets if (at := _over(held, secret, border)) >= 0]:
                border = min(starts)
            yield self.data(held[:border])
            held = held[border:]
        yield self.data(held)

    def buttons(self, buttons: Iterable[Button]) -> tuple[Button, ...]:
        """Return buttons without the secrets in their labels; a link that has one in it goes nowhere without it."""
        kept = [button for button in buttons if self.text(button.url) == button.url]
        return tuple(replace(button, label=self.text(button.label)) for button in kept)

    def selects(self, selects: Iterable[Select]) -> tuple[Select, ...]:
        """Return menus without the secrets in what people read of them; values are not shown."""

        def clean(choice: SelectChoice) -> SelectChoice:
            return replace(choice, label=self.text(choice.label), description=self.text(choice.description))

        return tuple(
            replace(one, choices=tuple(map(clean, one.choices)), placeholder=self.text(one.placeholder))
            for one in selects
        )

    def body(self, body: Body) -> Body:
        """Return a message without the secrets in its text, the labels of its buttons, its file and all file names.

        What it uploads is read when it is sent; see `stream`.
        """
        # No text grows by this, so what fitted Discord's limits still does.
        buttons, fileless = self.buttons(body.buttons), body.fileless and self.buttons(body.fileless)
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


def _over(data: bytes, secret: bytes, border: int) -> int:
    """Return where a secret begins that stands on both sides of a border; -1 if there is none."""
    return data.find(secret, max(0, border - len(secret) + 1), border + len(secret) - 1)


def _found(text: str, secret: str) -> list[tuple[int, int]]:
    """Return where the secret stands, or what a limit on length or the end of a page has left of it, in order."""
    whole = _heads(text, secret)
    # A tail is a head from behind.
    tails = [(len(text) - end, len(text) - start) for start, end in _heads(text[::-1], secret[::-1])]
    merged: list[tuple[int, int]] = []
    for start, end in sorted([*whole, *tails]):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _heads(text: str, secret: str) -> list[tuple[int, int]]:
    """Return where the secret stands, or begins and is cut off."""
    found = []
    start = text.find(secret[:_SHORTEST_SECRET])
    while start >= 0:
        end = start + _SHORTEST_SECRET
        while text[end : end + 1] == secret[end - start : end - start + 1] != "":
            end += 1
        if end - start == len(secret) or text[end : end + 1] in _CUTS:
            found.append((start, end))
        start = text.find(secret[:_SHORTEST_SECRET], start + 1)
    return found
