"""Permissions, as Discord's documentation computes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.ops.doctor.permissions import (
    ADMINISTRATOR,
    ESSENTIAL,
    HISTORY,
    NEEDED,
    VIEW,
    Overwrite,
    Standing,
    invite_link,
    lacking,
    permitted,
)

GUILD, BOT, ROLE, OTHER_ROLE, STRANGER = 1, 2, 3, 4, 5
SEND = ESSENTIAL["Send Messages"]
FILES = NEEDED["Attach Files"]


def standing(everyone: int = VIEW | SEND, role: int = 0, **more: bool) -> Standing:
    return Standing(BOT, GUILD, {GUILD: everyone, ROLE: role, OTHER_ROLE: 0}, **more)


@pytest.mark.parametrize(
    ("base", "overwrites", "expected"),
    [
        (VIEW | SEND, [], VIEW | SEND),
        (VIEW, [Overwrite(GUILD, allow=SEND)], VIEW | SEND),
        (VIEW | SEND, [Overwrite(GUILD, deny=SEND)], VIEW),
        # A role goes before everyone, the member before its roles, whatever the order of the list.
        (VIEW, [Overwrite(ROLE, allow=SEND), Overwrite(GUILD, deny=SEND)], VIEW | SEND),
        (VIEW | SEND, [Overwrite(ROLE, deny=SEND), Overwrite(GUILD, allow=SEND)], VIEW),
        (VIEW | SEND, [Overwrite(BOT, deny=SEND), Overwrite(ROLE, allow=SEND)], VIEW),
        (VIEW, [Overwrite(BOT, allow=SEND), Overwrite(ROLE, deny=SEND)], VIEW | SEND),
        # Of two roles, the one that gives goes before the one that takes.
        (VIEW, [Overwrite(ROLE, allow=SEND), Overwrite(OTHER_ROLE, deny=SEND)], VIEW | SEND),
        (VIEW, [Overwrite(ROLE, deny=SEND), Overwrite(OTHER_ROLE, allow=SEND)], VIEW | SEND),
        # Within one overwrite, too.
        (VIEW, [Overwrite(ROLE, allow=SEND, deny=SEND)], VIEW | SEND),
        # What is meant for others changes nothing.
        (VIEW | SEND, [Overwrite(STRANGER, deny=VIEW | SEND)], VIEW | SEND),
        # Who can't see a channel can do nothing in it.
        (VIEW | SEND | FILES, [Overwrite(GUILD, deny=VIEW)], 0),
        (SEND | FILES, [], 0),
        (SEND, [Overwrite(BOT, allow=VIEW)], VIEW | SEND),
    ],
)
def test_overwrites_apply_in_the_documented_order(base: int, overwrites: list[Overwrite], expected: int) -> None:
    assert expected == permitted(standing(base), overwrites)


def test_roles_are_joined() -> None:
    assert permitted(standing(VIEW, role=SEND)) == VIEW | SEND


@pytest.mark.parametrize("high", [standing(0, ADMINISTRATOR), standing(0, is_owner=True)])
def test_owners_and_administrators_may_do_everything(high: Standing) -> None:
    assert lacking(permitted(high, [Overwrite(BOT, deny=VIEW | SEND)])) == []


def test_a_time_out_leaves_only_seeing_and_reading() -> None:
    base = sum(NEEDED.values())
    assert permitted(standing(base, silenced=True)) == VIEW | HISTORY


def test_a_time_out_does_not_touch_administrators() -> None:
    assert lacking(permitted(standing(0, ADMINISTRATOR, silenced=True))) == []


@pytest.mark.parametrize("name", NEEDED)
def test_each_permission_that_is_missing_is_named(name: str) -> None:
    assert lacking(sum(NEEDED.values()) & ~NEEDED[name]) == [name]


def test_the_invitation_asks_for_what_is_needed_and_no_more() -> None:
    link = invite_link(123)
    assert link == (
        "https://discord.com/oauth2/authorize?client_id=123&scope=bot+applications.commands&permissions=309237746752"
    )


def test_the_page_on_configuration_has_the_same_invitation() -> None:
    page = Path(__file__).parents[4] / "docs" / "configuration.md"
    assert invite_link(0).replace("client_id=0", "client_id=APPLICATION_ID") in page.read_text()
