"""One Chromium for all tests of a process: its start costs as much as three visits of the page."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.chromium import PATIENCE, NoChromium, started

expect.set_options(timeout=PATIENCE)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    try:
        async with started() as browser:
            yield browser
    except NoChromium as exc:
        pytest.skip(str(exc))
