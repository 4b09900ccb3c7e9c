"""Waits that are no settings, shortened for the files whose subject is not how long they are."""

from __future__ import annotations

import pytest

from tests.e2e import process
from tests.e2e.busy import hurry_notices
from tests.e2e.play import hurry_discord


@pytest.fixture
def quick_discord(monkeypatch: pytest.MonkeyPatch) -> None:
    """Discord is tried again soon, and edits come at any pace."""
    hurry_discord(monkeypatch)


@pytest.fixture
def quick_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `quick_discord`; what waits and what was skipped is shown at once."""
    hurry_notices(monkeypatch)


@pytest.fixture
def no_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `quick_notices`, but what waits is not shown within a test."""
    hurry_notices(monkeypatch, patience=600)


@pytest.fixture
def cold_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bot is started as its users start it, not forked."""
    monkeypatch.setattr(process, "START", process.start_cold)
