"""How a connection to Discord can end: by what a new try may heal, and by what somebody has to mend."""

from __future__ import annotations

import discord

_BAD_TOKEN = 4004
_FATAL_CLOSES = {
    _BAD_TOKEN: "Discord does not accept the token",
    4010: "Discord refused the shard",
    4011: "Discord asks for sharding: the bot is in too many servers",
    4012: "Discord no longer offers this version of its gateway",
    4013: "Discord does not know one of the intents",
    4014: "Discord did not grant the intents",
}
_LOGIN_REFUSED = "Discord does not accept the token: check DISCORD_TOKEN, or make a new one in the developer portal"
_INTENTS = (
    "the Message Content intent is off: switch it on in the developer portal, under Bot, Privileged Gateway Intents"
)


class ChatConfigError(Exception):
    """The connection can't work until somebody changes the configuration; the message says what."""


class Disconnected(Exception):
    """The client ended; a new one may do better."""


def verdict(error: Exception) -> ChatConfigError | Disconnected:
    """Say what a connection's end means: whether a new client may do better."""
    if isinstance(error, discord.LoginFailure):
        return ChatConfigError(_LOGIN_REFUSED)
    if isinstance(error, discord.PrivilegedIntentsRequired):
        return ChatConfigError(_INTENTS)
    if isinstance(error, discord.ConnectionClosed) and error.code in _FATAL_CLOSES:
        return ChatConfigError(
            _LOGIN_REFUSED if error.code == _BAD_TOKEN else f"{_FATAL_CLOSES[error.code]} ({error.code})"
        )
    return Disconnected(repr(error))
