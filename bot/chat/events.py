"""Keeps the connection alive when Discord sends an event that can't be read: only that event is lost.

discord.py parses each event in its reader, where one that raises ends the connection. It has no hook to
stop that, so its parsers are wrapped here. Messages do not come to them at all: `posts` reads those.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import discord
import structlog

from bot.chat.posts import field, snowflake

log = structlog.get_logger(__name__)

_VITAL = frozenset({"READY", "RESUMED"})
"""Without one of these a connection is useless, and another one has to be tried."""
_OF_GUILD = frozenset({"GUILD_CREATE", "GUILD_UPDATE", "THREAD_LIST_SYNC"})

Parse = Callable[[Any], Any]


def guard(client: discord.Client) -> None:
    """Let the client's connection survive events that it can't read; messages are dispatched as they came.

    The handlers are ``on_message_payload`` and ``on_message_edit_payload``, and ``on_unreadable_interaction``.
    """
    parsers: dict[str, Parse] = client._connection.parsers
    for name in list(parsers):
        parsers[name] = functools.partial(_parse, client, name, parsers[name])
    parsers["MESSAGE_CREATE"] = functools.partial(client.dispatch, "message_payload")
    parsers["MESSAGE_UPDATE"] = functools.partial(client.dispatch, "message_edit_payload")


def _parse(client: discord.Client, name: str, parse: Parse, data: Any) -> None:
    try:
        parse(data)
    except Exception:
        rest = _readable(client, name, data)
        if rest is None and name in _VITAL:
            raise
        log.exception("event.unreadable", kind=name, id=_id_of(data))
    else:
        return
    if name == "INTERACTION_CREATE":
        client.dispatch("unreadable_interaction", client, data)
    elif rest is not None:
        # Once more without the items that broke it: a server with one odd channel still has all its others.
        _parse(client, name, parse, rest)


def _readable(client: discord.Client, name: str, data: Any) -> dict[str, Any] | None:
    """Return an event without those items of its lists that can't be read; None if no item is to blame."""
    if not isinstance(data, dict):
        return None
    rest = dict(data)
    if name == "READY":
        rest["guilds"] = [one for one in field(data, "guilds", list) if snowflake(_id_of(one)) is not None]
    elif name == "MESSAGE_DELETE_BULK":
        rest["ids"] = [one for one in field(data, "ids", list) if snowflake(one) is not None]
    elif name in _OF_GUILD:
        guild_id = data.get("guild_id", data.get("id"))
        for key, items in data.items():
            kept: list[Any] = []
            for item in items if isinstance(items, list) else ():
                # Tried one by one, in a server of which only this is known, and which is in no cache.
                one: Any = {"id": guild_id, key: [item]}
                try:
                    discord.Guild(data=one, state=client._connection)
                except Exception as exc:  # noqa: BLE001 - whatever a parser raises: the item is left out
                    log.warning("item.unreadable", kind=key, id=_id_of(item), error=repr(exc))
                else:
                    kept.append(item)
            if isinstance(items, list):
                rest[key] = kept
    # The same event again would break again, in an endless loop.
    return rest if rest != data else None


def _id_of(data: object) -> object:
    return data.get("id") if isinstance(data, Mapping) else None
