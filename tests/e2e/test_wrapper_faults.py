"""A wrapper that does not get as far as the agent: the thread says what it said, and how it ended (P12)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.agents import ScriptedAgent
from tests.e2e.process import connected, mention, shown, until_shown

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    ("wrapper", "said"),
    [
        (["sh", "-c", "echo no wall today >&2; exit 7", "--"], ["no wall today", "7"]),
        (["sh", "-c", "kill -KILL $$", "--"], ["SIGKILL"]),
        (["env", "/no/such/program"], ["No such file or directory", "127"]),
    ],
)
async def test_a_wrapper_that_fails_says_why(tmp_path: Path, wrapper: list[str], said: list[str]) -> None:
    """P12, O1"""
    (tmp_path / "weft.toml").write_text(
        f"[agents.walled]\ncommand = 'an-agent'\nworkspace = '{tmp_path}'\nwrapper = {wrapper!r}\n"
    )
    nobody = ScriptedAgent((), tmp_path / "none")
    async with connected(tmp_path, nobody, WEFT_AGENT_COMMAND="") as (discord, bot):
        thread_id = await mention(discord, "go")
        await until_shown(discord, thread_id, "could_not_start")
        text = shown(discord, thread_id)
        assert [part for part in said if part not in text] == []
        assert await bot.signalled(signal.SIGTERM) == 0


async def test_a_wrapper_that_goes_away_later_is_named(tmp_path: Path) -> None:
    """P12, O1: it was there when the bot started."""
    wrapper = tmp_path / "wall"
    wrapper.write_text("#!/bin/sh\n")
    wrapper.chmod(0o755)
    (tmp_path / "weft.toml").write_text(
        f"[agents.walled]\ncommand = 'an-agent'\nworkspace = '{tmp_path}'\nwrapper = ['{wrapper}']\n"
    )
    nobody = ScriptedAgent((), tmp_path / "none")
    async with connected(tmp_path, nobody, WEFT_AGENT_COMMAND="") as (discord, bot):
        wrapper.unlink()
        thread_id = await mention(discord, "go")
        await until_shown(discord, thread_id, "could_not_start")
        assert "wall" in shown(discord, thread_id)
        assert await bot.signalled(signal.SIGTERM) == 0
