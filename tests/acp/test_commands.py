"""The commands that agents announce."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from acp.commands import MOST_COMMANDS, TEXT_LIMIT, AgentCommand, usable_commands
from acp.schema import AvailableCommandsUpdate, decode_update
from tests.acp.connections import connected


def read(*commands: Any) -> tuple[AgentCommand, ...]:
    update = decode_update({"sessionUpdate": "available_commands_update", "availableCommands": [*commands]})
    assert isinstance(update, AvailableCommandsUpdate)
    return usable_commands(update.available_commands)


def test_commands_are_read_as_far_as_they_can_be_typed() -> None:
    """K3, T9: what is malformed costs itself alone, and a name that can't be typed or was there before is left out."""
    found = read(
        {"name": "review", "description": "Looks\nat it", "input": {"hint": "which part"}},
        {"name": "/init", "description": None, "input": {"type": "future"}},
        {"name": "mcp:docs", "input": 7},
        *({"name": name} for name in ("", "/", "//x", "two words", "new\nline", "rtl\u202e", "x" * 81, "review", None)),
        {"description": "no name"},
        5,
    )
    assert found == (
        AgentCommand("review", "Looks at it", "which part"),
        AgentCommand("init"),
        AgentCommand("mcp:docs"),
    )


def test_a_flood_of_commands_is_bounded() -> None:
    """K3, T10."""
    found = read(*({"name": f"c{n}", "description": "d" * 5_000, "input": {"hint": "h" * 5_000}} for n in range(900)))
    assert len(found) == MOST_COMMANDS
    assert {(len(one.description), len(one.hint)) for one in found} == {(TEXT_LIMIT, TEXT_LIMIT)}


@pytest.mark.asyncio
async def test_a_session_knows_its_commands_before_its_first_turn_and_takes_each_new_list(tmp_path: Path) -> None:
    """K3: real agents send them with the answer to session/new, and again in the first turn; the last list counts."""
    source = (
        "greet()\nnew = hear('session/new')\n"
        "def offer(*names): return {'method': 'session/update', 'params': {'sessionId': 's1', 'update': {"
        "'sessionUpdate': 'available_commands_update', 'availableCommands': [{'name': one} for one in names]}}}\n"
        "say({'id': new['id'], 'result': {'sessionId': 's1'}}, offer('old'), offer('a', 'b'))\nhear()"
    )
    async with connected(source, tmp_path) as connection:
        session = (await connection.open_session(str(tmp_path), None)).session
        with anyio.fail_after(30):
            while len(session.commands) < 2:  # noqa: ASYNC110  nothing tells of it, as nothing has to
                await anyio.sleep(0.01)
        assert [one.name for one in session.commands] == ["a", "b"]
