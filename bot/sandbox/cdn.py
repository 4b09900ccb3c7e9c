"""The addresses of files, which end as Discord's do: pure functions from a path and a time to a query.

An address is worth nothing without its query, and nothing after its time; a message read again has a fresh one.
"""

import hashlib
from collections.abc import Mapping
from urllib.parse import urlencode

LIFETIME_SECONDS = 24 * 60 * 60


def signed(path: str, now: float) -> str:
    """The path with the query that lets it be read from now on."""
    expires = f"{int(now) + LIFETIME_SECONDS:x}"
    return f"{path}?{urlencode({'ex': expires, 'is': f'{int(now):x}', 'hm': _seal(path, expires)})}"


def may_be_read(path: str, query: Mapping[str, str], now: float) -> bool:
    """Whether an address still gives its file."""
    expires = query.get("ex", "")
    return query.get("hm") == _seal(path, expires) and now < int(expires, 16)


def _seal(path: str, expires: str) -> str:
    return hashlib.sha256(f"{path}:{expires}".encode()).hexdigest()
