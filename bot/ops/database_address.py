"""The address of the state's database: whether it can be one, and what of it must be told to nobody (pure).

Whether something answers there is for `pool.storage.postgres` to say, which needs a driver to be installed.
"""

from __future__ import annotations

import urllib.parse
from typing import Final

WANTED: Final = "write postgresql://USER@HOST/DATABASE"
_SCHEMES: Final = ("postgresql", "postgres")
_PASSWORDS: Final = ("password", "sslpassword")


def database_problem(url: str) -> str:
    """Return what is wrong with an address, without a word of it; empty if nothing is."""
    scheme, mark, rest = url.partition("://")
    # SQLAlchemy's form; which driver is used is not for the address to say.
    if mark and scheme.partition("+")[0] in _SCHEMES and "+" in scheme:
        return f"an address names no driver: {WANTED}"
    if not mark or scheme not in _SCHEMES:
        return f"this is not the address of a PostgreSQL database: {WANTED}"
    if any(letter.isspace() for letter in url):
        return "an address has no spaces: write %20 for one in a password"
    if "#" in rest:
        return "write %23 for a # in a password"
    # Taken apart by hand: a library's errors repeat what they could not read, password and all.
    place, _, query = rest.partition("?")
    authority, _, name = place.rpartition("@")[2].partition("/")
    if place.rpartition("@")[0].count("@") or place.rpartition("@")[0].count("/"):
        return "write %40 for an @ in a password, and %2F for a /"
    if not name and "dbname=" not in query:
        return f"it names no database: {WANTED}"
    for host in authority.split(","):
        # After the bracket, as an address of IPv6 has colons in it.
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            return "the port is not a number up to 65535"
    return ""


def database_secrets(url: str) -> list[str]:
    """Return what of an address must be told to nobody: itself, and the password in it, as written and as meant."""
    place, _, query = url.partition("://")[2].partition("?")
    found = [place.rpartition("@")[0].partition(":")[2]]
    # Not as in a form: to the driver a + is no space.
    found += [value for name, _, value in (one.partition("=") for one in query.split("&")) if name in _PASSWORDS]
    found = [secret for secret in found if secret]
    meant = [urllib.parse.unquote(secret) for secret in found]
    # Without a password there is nothing to hide, and people look for host names in logs.
    return list(dict.fromkeys([url, *found, *meant])) if found else []
