"""What the doctor reads out of the settings alone."""

from __future__ import annotations

import base64

import pytest

from bot.ops.doctor.finding import warn
from bot.ops.doctor.settings import check_agent_variables, looks_like_token

TOKEN = base64.urlsafe_b64encode(b"100000000000000001").decode().rstrip("=") + ".canary.canary"


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c.d", "..", "bm9uZQ.b.c", "é.b.c", "a.b.c"])
def test_what_is_no_token_is_seen_by_its_shape(text: str) -> None:
    assert not looks_like_token(text)


def test_a_token_is_seen_by_its_shape() -> None:
    assert looks_like_token(TOKEN)


def test_a_variable_that_agents_are_to_get_and_that_is_not_set_is_told() -> None:
    """R5."""
    names, given = ("KEY_A", "KEY_B", "OTHER_*"), {"KEY_A": "canary", "OTHER_1": "canary"}
    found = list(check_agent_variables("WEFT_AGENT_ENV", names, given))
    assert found == [warn("agent env", "KEY_B is named in WEFT_AGENT_ENV, but is not set")]
