"""What the tests of work trees have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.work.workspace import journal


@pytest.fixture(autouse=True)
def nobodys_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a home without any settings: git and Weft look there for who commits."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have locks that nobody gives back told soon."""
    monkeypatch.setattr(journal, "PATIENCE", 0.1)
