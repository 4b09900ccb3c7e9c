"""How often the bot logs in: never so often that Discord would reset the token."""

from __future__ import annotations

from functools import partial

import anyio
import pytest
from structlog.testing import capture_logs

from bot.chat.authorize import Policy
from bot.chat.logins import LOGIN_WINDOW, MOST_LOGINS, Logins, LoginsSpent
from bot.sandbox import FakeDiscord
from bot.service.unit import STARTS_PER_HOUR

from .harness import office

DAY = 86_400.0
DISCORDS_LIMIT = 1000


def test_a_day_of_logins_and_starts_stays_below_what_costs_the_token() -> None:
    """R3: connections that end at once, for a whole day, and as many starts as the unit allows."""
    now = 0.0
    logins, count = Logins(lambda: now), 0
    while now < DAY:
        logins.take()
        count += 1
        now += max(1.0, logins.wait())
    assert count <= (DAY / LOGIN_WINDOW + 1) * MOST_LOGINS
    assert count + 24 * STARTS_PER_HOUR < DISCORDS_LIMIT


def test_one_too_many_is_refused_until_the_oldest_is_long_enough_ago() -> None:
    """R3"""
    now = 5.0
    logins = Logins(lambda: now, most=2, window=100.0)
    logins.take()
    now = 25.0
    logins.take()
    with pytest.raises(LoginsSpent, match="2 logins of late: the next one in 80 s"):
        logins.take()
    now = 105.0
    assert logins.wait() == 0.0
    logins.take()
    assert logins.wait() == 20.0


@pytest.mark.parametrize("fault", ["malformed ready", "invalid session"])
@pytest.mark.asyncio
async def test_a_connection_that_ends_after_each_login_is_slowed_down(fault: str) -> None:
    """R3: also where discord.py would log in again by itself."""
    async with FakeDiscord() as fd, office(fd, Policy(), most_logins=1) as chat:
        harm = {
            "malformed ready": partial(fd.gateway.dispatch_raw, "READY", {}),
            "invalid session": partial(fd.gateway.invalidate, resumable=False),
        }[fault]
        with capture_logs() as logs, anyio.fail_after(10):
            await harm()
            while not (lost := [entry for entry in logs if entry["event"] == "gateway.lost"]):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert LOGIN_WINDOW / 2 < lost[0]["pause"] <= LOGIN_WINDOW
        assert fd.gateway.identifies == 1
        assert chat.gateway.stuck() is None
