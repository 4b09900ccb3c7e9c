"""Fixtures of the tests that connect a real client to the loopback Discord."""

from __future__ import annotations

import pytest

from bot.chat.client import WeftClient


@pytest.fixture
def no_pause_before_identify(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the tests the five seconds that discord.py waits after a refused RESUME."""

    async def at_once(_client: WeftClient, _shard: int | None, *, initial: bool = False) -> None:
        del initial

    monkeypatch.setattr(WeftClient, "before_identify_hook", at_once)
