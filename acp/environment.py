"""The environment of an agent process: an allow-list, so that the bot's secrets stay with the bot (pure).

Which extra names are let through is a setting (``WEFT_AGENT_ENV``); a trailing ``*`` in a name stands for any ending.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")

ALLOWED: tuple[str, ...] = (
    *("HOME", "PATH", "LANG", "LC_*", "TZ", "TERM", "TMPDIR", "USER", "SHELL", "XDG_*"),
    *("SSL_CERT_*", "NODE_EXTRA_CA_CERTS"),
    *_PROXIES,
    *(name.upper() for name in _PROXIES),
)
"""Names that every agent gets when they are set."""

WITHHELD: tuple[str, ...] = ("DISCORD_TOKEN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_*")
"""Names that no agent gets, even when a setting asks for them: the token, where it lies, and what speaks to the service
supervisor."""


def agent_environment(environ: Mapping[str, str], extra_names: Iterable[str]) -> dict[str, str]:
    """Return the part of ``environ`` that an agent may see: the allow-list and ``extra_names``, less the withheld."""
    allowed = named(environ, (*ALLOWED, *extra_names))
    return {name: value for name, value in allowed.items() if not _is_in(name, WITHHELD)}


def named(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the part of ``environ`` that ``names`` mean; a trailing ``*`` stands for any ending."""
    patterns = tuple(names)
    return {name: value for name, value in environ.items() if _is_in(name, patterns)}


def _is_in(name: str, patterns: tuple[str, ...]) -> bool:
    return any(name.startswith(item[:-1]) if item.endswith("*") else name == item for item in patterns)
