"""Where the token comes from, and that what it came in is gone afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.config import ConfigError, load_settings, take_token


def credentials(directory: Path, content: str) -> dict[str, str]:
    (directory / "discord-token").write_text(content)
    return {"CREDENTIALS_DIRECTORY": str(directory)}


def token(env_file: Path | None = None, given: str | None = None) -> str | None:
    found = load_settings(env_file, given).discord_token
    return found.get_secret_value() if found else None


@pytest.mark.parametrize(("content", "found"), [("sealed\n", "sealed"), ("\n", "open"), ("", "open")])
def test_the_credential_goes_before_the_variable_which_is_removed(tmp_path: Path, content: str, found: str) -> None:
    """R5"""
    environ = credentials(tmp_path, content) | {"DISCORD_TOKEN": "open"}
    assert take_token(environ) == found
    assert "DISCORD_TOKEN" not in environ


@pytest.mark.parametrize("environ", [{}, {"DISCORD_TOKEN": " "}, {"CREDENTIALS_DIRECTORY": "/no/such/place"}])
def test_there_may_be_no_token(environ: dict[str, str]) -> None:
    """R5"""
    assert take_token(environ) is None


def test_a_credential_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    """R3: exit 78."""
    (tmp_path / "discord-token").mkdir()
    with pytest.raises(ConfigError, match="the credential discord-token can't be read: "):
        take_token({"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_reload_still_knows_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """R3, R5: its variable is gone by then; what the file says comes after."""
    monkeypatch.delenv("DISCORD_TOKEN", raising=False)
    env_file = tmp_path / "env"
    env_file.write_text("DISCORD_TOKEN=of-the-file\n")
    assert token(env_file, "taken") == "taken"
    assert token(env_file) == "of-the-file"


def test_the_checks_see_the_credential_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """R5"""
    for name, value in credentials(tmp_path, "sealed").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DISCORD_TOKEN", "open")
    assert token() == "sealed"
