"""Logging: structlog for our events, discord.py's records through the same pipe, always to stderr.

Console lines on a terminal, JSON elsewhere. Configured secrets are cut out of every event, whatever field holds them.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, MutableMapping
from types import TracebackType
from typing import Any, Literal

import structlog

REDACTED = "[secret]"
"""What stands in place of a secret: never longer than one, so that no text outgrows its limit."""

_SHORTEST_SECRET = len(REDACTED)
_CUTS = ("", "…", "\n", "`")
"""What may stand where a text was cut: its end, the sign of it, or the end of a line or of code."""


class Redactor:
    """Cuts known secret values out of text and, as a structlog processor, out of every event."""

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


def configure_logging(level: str, style: Literal["auto", "console", "json"], redactor: Redactor) -> None:
    """Set up logging for the process; call it once, before the first event."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Tracebacks become text before the secrets are cut out: an exception's message can hold one.
        structlog.processors.format_exc_info,
        redactor,
    ]
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # discord.py is chatty at INFO: a line for each connection step that our own events already tell.
    logging.getLogger("discord").setLevel(max(logging.WARNING, root.level))


def log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log what nobody has caught, in place of `sys.excepthook`, which knows of no secrets."""
    structlog.get_logger(__name__).critical("bot.crashed", exc_info=(kind, error, trace))
