"""Where the bot may be asked how it is: nowhere that other machines reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.config import ConfigError, load_settings
from bot.ops.address import Loopback, UnixSocket, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", Loopback("127.0.0.1", 9464)),
        ("127.1.2.3:0", Loopback("127.1.2.3", 0)),
        ("[::1]:65535", Loopback("::1", 65535)),
        ("unix:/run/weft/health.sock", UnixSocket(Path("/run/weft/health.sock"))),
    ],
)
def test_an_address_on_this_machine_is_taken_and_written_as_it_was(text: str, address: object) -> None:
    """R7"""
    assert parse_address(text) == address
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0.0.0.0:9464", "not a loopback address"),
        ("192.168.1.2:9464", "not a loopback address"),
        ("[::]:9464", "not a loopback address"),
        ("localhost:9464", "not a loopback address"),
        (":9464", "not a loopback address"),
        ("127.0.0.1", "neither"),
        ("127.0.0.1:", "neither"),
        ("127.0.0.1:-1", "neither"),
        ("127.0.0.1:65536", "neither"),
        ("127.0.0.1:９", "neither"),
        ("9464", "neither"),
        ("unix:health.sock", "not an absolute path"),
        ("unix:/" + "x" * 107, "too long"),
    ],
)
def test_every_other_one_is_refused_in_a_line(text: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """R7, exits: loopback only, and 78."""
    monkeypatch.setenv("WEFT_HEALTH", text)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    (problem,) = caught.value.problems
    assert problem.startswith("WEFT_HEALTH (environment): ")
    assert why in problem


def test_it_is_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """R7"""
    for value in (None, ""):
        monkeypatch.delenv("WEFT_HEALTH", raising=False) if value is None else monkeypatch.setenv("WEFT_HEALTH", value)
        assert load_settings().health is None
