"""SIGHUP: settings are read anew; what can change without losing a turn does, and what can't is named.

The mutable state is the settings in force.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from bot.config import ConfigError, Settings

log = structlog.get_logger(__name__)

LIVE = frozenset(
    {
        "allowed_guilds",
        "allowed_channels",
        "allowed_users",
        "allowed_roles",
        "liveness_interval",
        "hard_timeout",
        "cancel_grace",
        "permission_timeout",
        "stop_grace",
        "drain",
        "log_level",
    }
)
"""Settings that take effect at once, or with the next turn where they belong to a turn."""


class Reload:
    """Takes over changed settings.

    Attributes:
        current: the settings in force.

    Args:
        load: reads the settings anew.
        apply: makes settings take effect, of which only those in `LIVE` differ from the ones before.
    """

    def __init__(self, current: Settings, load: Callable[[], Settings], apply: Callable[[Settings], None]) -> None:
        self.current = current
        self._load = load
        self._apply = apply

    def __call__(self) -> None:
        """Read the settings and apply what can be; settings that can't be understood change nothing."""
        try:
            wanted = self._load()
        except ConfigError as exc:
            log.warning("settings.not_reloaded", problems=exc.problems)
            return
        changed = changed_names(self.current, wanted)
        live = sorted(changed & LIVE)
        if live:
            self.current = self.current.model_copy(update={name: getattr(wanted, name) for name in live})
            self._apply(self.current)
        log.info("settings.reloaded", changed=live, need_a_restart=sorted(changed - LIVE))


def changed_names(before: Settings, after: Settings) -> frozenset[str]:
    """Return the names of the settings that differ."""
    return frozenset(name for name in Settings.model_fields if getattr(before, name) != getattr(after, name))
