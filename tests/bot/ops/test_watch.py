"""What is put around a bot, and that nothing is where nobody asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from bot.observer import Observer
from bot.ops.address import AddressUnusable, UnixSocket
from bot.ops.health import Health, Status
from bot.ops.status import ask
from bot.ops.watch import watching

LOADED = "import bot.app, sys; print('prometheus_client' in sys.modules)"


def test_a_bot_that_nobody_watches_does_not_even_load_what_it_takes() -> None:
    """R7: off by default, and free."""
    done = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


@pytest.mark.asyncio
async def test_without_an_address_nothing_is_measured() -> None:
    """R7"""
    async with watching(None, str) as watch:
        assert type(watch.observer) is Observer
        assert watch.address is None


@pytest.mark.asyncio
async def test_a_bot_that_has_not_begun_says_that_it_starts(tmp_path: Path) -> None:
    """R7"""
    address = UnixSocket(tmp_path / "health.sock")
    with anyio.fail_after(5):
        async with watching(str(address), str) as watch:
            assert watch.address == str(address)
            told: Health = await ask(address)
    assert (told.status, told.problems, told.parts) == (Status.STARTING, (), None)
    assert told.uptime_seconds >= 0


@pytest.mark.asyncio
async def test_an_address_in_use_is_told_before_anything_is_begun(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/health.sock"
    with anyio.fail_after(5):
        async with watching(address, str):
            with pytest.raises(AddressUnusable, match="Address already in use"):
                async with watching(address, str):
                    pytest.fail("two at one address")
