"""``weft sandbox``: the loopback Discord alone, for a bot that is started by hand."""

from __future__ import annotations

import functools
import signal

import anyio
import click

from bot.config import ConfigError
from bot.demo.page import REQUESTS_KEPT
from bot.sandbox import FakeDiscord, RateLimits
from bot.sandbox.guard import KEY_HEADER

_LIMITS = {"off": RateLimits.OFF, "real": RateLimits.REAL, "scaled": RateLimits.SCALED}


def serve_sandbox(port: int, rate_limits: str) -> int:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: the port can't be used.
    """
    try:
        return anyio.run(functools.partial(_serve, port, _LIMITS[rate_limits]))
    # First, since it is an OSError, too.
    except BrokenPipeError:
        raise  # nobody reads what is printed any more
    except OSError as exc:
        raise ConfigError(f"--port {port}: {exc.strerror}") from exc


async def _serve(port: int, rate_limits: RateLimits) -> int:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with FakeDiscord(rate_limits=rate_limits, port=port, requests_kept=REQUESTS_KEPT) as discord:
            for line in introduction(discord):
                click.echo(line)
            async for _ in signals:
                break
    return 0


def introduction(discord: FakeDiscord) -> list[str]:
    """Return what a bot and a person need to know: settings first, then ids and the routes to play with."""
    api = discord.url + "/_sandbox"
    return [
        f"WEFT_DISCORD_API={discord.api_url}",
        f"DISCORD_TOKEN={discord.token}",
        f"# application {discord.application_id}, guild {discord.guild_id}",
        f"# channel #general {discord.channel_id}, owner {discord.owner.id}",
        f"# page {discord.page_url}",
        f"# with the header -H '{KEY_HEADER}: {discord.key}':",
        f'# POST {api}/say   {{"text": "hello", "mention": true}}',
        f'# POST {api}/click {{"message": ID, "custom_id": ID}}',
        f'# POST {api}/slash {{"channel": ID, "name": "status"}}',
        f"# GET  {api}/timeline?channel=ID",
    ]
