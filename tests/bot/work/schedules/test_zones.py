"""By whose clocks schedules go (A5)."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bot.model import ThreadPlace
from bot.work.schedules.zones import TimeZones, is_zone, usual_zone
from tests.bot.chat.harness import KeptHere

IN_SERVER, ELSEWHERE, DIRECT = ThreadPlace(1, 100, 7), ThreadPlace(2, 200, 8), ThreadPlace(None, 300, None)


def test_each_server_and_each_conversation_in_direct_messages_has_its_own() -> None:
    """A5"""
    settings = KeptHere()
    zones = TimeZones(settings, "Etc/UTC")
    assert zones.choose(IN_SERVER, "Europe/Berlin").accepted
    assert zones.choose(DIRECT, "Asia/Tokyo").accepted
    assert [zones.of(place) for place in (IN_SERVER, ELSEWHERE, DIRECT)] == ["Europe/Berlin", "Etc/UTC", "Asia/Tokyo"]
    # What another version wrote, or what the machine has lost.
    settings.keep(1, {"time_zone": "Mars/Olympus"})
    settings.keep(300, {"time_zone": ["x"]})
    assert [zones.of(place) for place in (IN_SERVER, DIRECT)] == ["Etc/UTC", "Etc/UTC"]


@pytest.mark.asyncio
async def test_a_zone_that_nobody_knows_is_refused_with_the_nearest() -> None:
    """A5"""
    zones = TimeZones(KeptHere(), "Etc/UTC")
    assert "Europe/Berlin" in await zones.names()
    answer = zones.choose(IN_SERVER, "Europe/Berlim")
    assert (answer.accepted, answer.text) == (
        False,
        "I don't know the time zone `Europe/Berlim`. Did you mean `Europe/Berlin`?",
    )
    assert not zones.choose(IN_SERVER, "../../etc/passwd").accepted
    assert zones.of(IN_SERVER) == "Etc/UTC"


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe", "a\0b"])
def test_what_is_no_zone_is_none(name: str) -> None:
    assert not is_zone(name)


def test_the_usual_zone_is_that_of_the_settings_then_the_machines() -> None:
    """A5"""
    none = Path("/nowhere")
    assert usual_zone(ZoneInfo("Asia/Tokyo"), {"TZ": "Europe/Berlin"}, none) == "Asia/Tokyo"
    assert usual_zone(None, {"TZ": ":Europe/Berlin"}, none) == "Europe/Berlin"
    assert usual_zone(None, {"TZ": "<+03>-3"}, none) == "UTC"
    assert usual_zone(None, {}, none) == "UTC"


def test_the_machines_zone_is_where_its_clock_leads(tmp_path: Path) -> None:
    """A5"""
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/America/Sao_Paulo")
    assert usual_zone(None, {}, link) == "America/Sao_Paulo"
    link.unlink()
    link.symlink_to("../somewhere/else")
    assert usual_zone(None, {}, link) == "UTC"
