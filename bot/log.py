"""Logging: structlog for our events, discord.py's records through the same pipe, always to stderr.

Console lines on a terminal, JSON elsewhere. Secrets are taken out of every event, see `bot.redaction`.
"""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import Literal

import structlog

from bot.redaction import Redactor


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
        # A reload configures anew, and the loggers of all modules have to follow.
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
