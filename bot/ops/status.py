"""``weft status``: asks the running bot how it is, at the address that both are given (`WEFT_HEALTH`)."""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp
import anyio
import click
from pydantic import ValidationError

from bot.config import load_settings
from bot.ops.address import Address, UnixSocket, parse_address
from bot.ops.health import Health, Status
from bot.ops.listener import HEALTH
from bot.ops.status_lines import status_lines

EX_UNHEALTHY = 1
EX_USAGE = 2
ANSWER_LIMIT = 5.0
"""Seconds that the bot may take: one whose loop stands still never answers."""


class NoAnswer(Exception):
    """The bot did not say how it is; the message says why, for a person."""


def run_status(env_file: Path) -> int:
    """Print how the bot is; return 0 if it is well, 1 if not or if nobody knows, 2 if it can't be asked.

    Raises:
        ConfigError: the settings can't be understood.
    """
    address = load_settings(env_file).health
    if address is None:
        click.echo("weft: WEFT_HEALTH is not set: a running bot can't be asked how it is", err=True)
        return EX_USAGE
    try:
        health = anyio.run(ask, parse_address(address))
    except NoAnswer as exc:
        click.echo(f"weft: {exc}", err=True)
        return EX_UNHEALTHY
    click.echo("\n".join(status_lines(health)))
    return 0 if health.status is Status.OK else EX_UNHEALTHY


async def ask(address: Address, limit: float = ANSWER_LIMIT) -> Health:
    """Return what the bot at the address says.

    Raises:
        NoAnswer: nothing listens there, it takes longer than ``limit`` seconds, or it is no Weft.
    """
    at_socket = isinstance(address, UnixSocket)
    connector = aiohttp.UnixConnector(str(address.path)) if isinstance(address, UnixSocket) else None
    url = f"http://{'localhost' if at_socket else address}{HEALTH}"
    try:
        with anyio.fail_after(limit):
            asking = aiohttp.ClientSession(connector=connector)
            async with asking as session, session.get(url, allow_redirects=False) as answer:
                return Health.model_validate_json(await answer.read())
    except TimeoutError as exc:
        raise NoAnswer(f"no answer from {address} within {limit:g} s: the bot hangs or is very busy") from exc
    except OSError as exc:
        # asyncio puts its own words, with the address, in the place of the system's.
        why = (os.strerror(exc.errno) if exc.errno else f"{exc}").lower()
        raise NoAnswer(f"no bot at {address} ({why}): it does not run, or was started without WEFT_HEALTH") from exc
    except (aiohttp.ClientError, ValidationError) as exc:
        raise NoAnswer(f"what answers on {address} is not a Weft that this one understands") from exc
