"""How the ways to log in to an agent read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from acp.errors import RequestFailed
from acp.schema import AuthMethod, InitializeResult
from bot.agents.model import AgentProfile, Agents
from bot.work.login.logins import Logins
from tests.bot.work.samples import ALICE

KEY = "sk-0123456789"
AGENT = AgentProfile("claude", ("claude", "--acp mode"), "/srv")


def logins(*methods: Any) -> Logins:
    """Return logins to an agent that names these ways, whatever was announced to it."""
    agent = InitializeResult.parse({"protocolVersion": 1, "authMethods": [*methods]})

    @asynccontextmanager
    async def borrow(_place_id: int) -> AsyncIterator[object]:
        yield SimpleNamespace(agent=agent)

    settings = SimpleNamespace(
        agents=Agents({"claude": AGENT}, "claude"),
        agent_of=lambda _place_id: "claude",
        called=lambda _place_id: "`claude`",
    )
    return Logins(
        cast("Any", SimpleNamespace(borrow=borrow)), cast("Any", settings), lambda text: text.replace(KEY, "***")
    )


@pytest.mark.asyncio
async def test_a_way_that_takes_a_terminal_is_a_command_to_run_without_the_values_of_its_variables() -> None:
    """K4."""
    terminal = {"id": "t", "name": "In **a** terminal", "type": "terminal", "args": ["login"], "env": {"KEY": "hush"}}
    found = await logins(terminal, {"id": "x", "description": "two\nlines"}, {"name": "no id"}).show(
        7, 7, replace(ALICE, owner=True)
    )
    assert found.text.splitlines()[:3] == [
        "**Log in to `claude`**",
        "1. `In **a** terminal`: run `claude '--acp mode' login` in a terminal on Weft's machine, with `KEY` set",
        "2. `x`: `two lines`",
    ]
    assert [button.label for button in found.buttons] == ["Log in: x"]


@pytest.mark.asyncio
async def test_many_ways_fit_into_one_message_and_none_is_said_plainly() -> None:
    """K4: at most 2,000 characters, whatever the agent calls its ways."""
    many = [{"id": f"{n}" * 300, "name": "n" * 300, "description": "d" * 3000} for n in range(30)]
    found = await logins(*many).show(7, 7, replace(ALICE, approver=True))
    assert "… and 24 more" in found.text
    assert len(found.text) <= 2000
    assert all(len(button.custom_id) <= 100 and len(button.label) <= 80 for button in found.buttons)
    none = await logins().show(7, 7, ALICE)
    assert "offers no way to log in" in none.text


@pytest.mark.asyncio
async def test_a_secret_that_an_agent_repeats_is_taken_out_before_its_words_are_cut() -> None:
    """K4, R5: of one that the cut divides, the beginning would stand there."""
    says = [f"{'a ' * (room // 2 - 4)}{KEY}" for room in (60, 150)]
    found = await logins({"id": "t", "name": says[0], "description": says[1]}).show(7, 7, replace(ALICE, owner=True))
    at = logins({"id": "t", "name": "t"})
    refused = RequestFailed("authenticate", -32000, f"{'a ' * 197}{KEY}")

    async def authenticate(_method: str, _limit: float) -> None:
        raise refused

    why = await at._carry_out(7, cast("Any", SimpleNamespace(authenticate=authenticate)), AuthMethod(id="t", name="t"))
    assert "sk-0" not in found.text + found.buttons[0].label + why
