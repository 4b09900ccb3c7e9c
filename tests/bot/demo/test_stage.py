"""The stage: a bot that is ready, outcomes by message, nothing from the environment, nothing left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio
import pytest

from bot.demo.stage import stage
from bot.model import Actor, Inbound, Outcome
from bot.sandbox import FakeDiscord
from tests.agents import alive, scenario

pytestmark = pytest.mark.asyncio


async def test_an_outcome_is_kept_for_whoever_asks_later(tmp_path: Path) -> None:
    agent = scenario(tmp_path)
    with anyio.fail_after(30):
        async with stage(agent.argv, directory=tmp_path, edit_interval=0.02) as on_stage:
            discord = on_stage.discord
            message = await discord.owner.say(discord.channel_id, "hello", mention_bot=True)
            assert await on_stage.outcome(message.id) is Outcome.ANSWERED
            assert await on_stage.outcome(message.id) is Outcome.ANSWERED
            assert on_stage.outcomes == {message.id: Outcome.ANSWERED}
    assert [pid for pid in agent.pids() if alive(pid)] == []


async def test_a_second_outcome_of_a_message_is_an_error(tmp_path: Path) -> None:
    """O1: never two."""
    with anyio.fail_after(30):
        async with stage(scenario(tmp_path).argv, directory=tmp_path) as on_stage:
            inbound = Inbound(1, 2, 1, 3, Actor(4, "owner"), "x", opens_thread=True, title="x")
            on_stage.record(inbound, Outcome.STOPPED)
            with pytest.raises(AssertionError, match="a second outcome, answered, for 1"):
                on_stage.record(inbound, Outcome.ANSWERED)


async def test_settings_come_from_the_caller_and_not_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """R5."""
    for name, value in {
        "DISCORD_TOKEN": "canary",
        "WEFT_DISCORD_API": "https://discord.invalid/api/v10",
        "WEFT_ALLOWED_GUILDS": "no id",
        "WEFT_HARD_TIMEOUT": "1",
        "WEFT_IDLE_TTL": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with anyio.fail_after(30):
        async with stage(scenario(tmp_path).argv, directory=tmp_path, idle_ttl=7) as on_stage:
            settings = on_stage.settings
            assert settings.discord_api == on_stage.discord.api_url
            assert settings.discord_token is not None
            assert settings.discord_token.get_secret_value() == on_stage.discord.token
            assert (settings.hard_timeout, settings.idle_ttl) == (1800, 7)


async def test_who_is_invited_is_there_before_the_bot(tmp_path: Path) -> None:
    """D2."""

    def invite(discord: FakeDiscord) -> dict[str, object]:
        return {"allowed_users": (discord.user("bob").id,)}

    with anyio.fail_after(30):
        async with stage(scenario(tmp_path).argv, directory=tmp_path, invite=invite, edit_interval=0.02) as on_stage:
            discord = on_stage.discord
            message = await discord.user("bob").say(discord.channel_id, "hello", mention_bot=True)
            assert await on_stage.outcome(message.id) is Outcome.ANSWERED


async def test_the_demo_agent_keeps_its_sessions_with_everything_else(tmp_path: Path) -> None:
    """So they go at the end: the demo leaves no file behind."""
    with anyio.fail_after(30):
        async with stage(directory=tmp_path, edit_interval=0.02) as on_stage:
            discord = on_stage.discord
            message = await discord.owner.say(discord.channel_id, "say hello", mention_bot=True)
            assert await on_stage.outcome(message.id) is Outcome.ANSWERED
    assert len([one async for one in anyio.Path(tmp_path).glob("weft-demo-agent-*/*.json")]) == 1


async def test_state_and_workspace_are_removed_unless_a_directory_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    agent = scenario(tmp_path)
    with anyio.fail_after(30):
        async with stage(agent.argv):
            # Beside it, perhaps, the directory of the socket for agents: the state may lie too deep for one.
            (made,) = (tmp_path / "temporary").glob("weft-demo-*")
            assert {path.name for path in made.iterdir()} == {"state", "workspace"}
        async with stage(agent.argv, directory=tmp_path):
            pass
    assert list((tmp_path / "temporary").iterdir()) == []
    assert (tmp_path / "workspace").is_dir()
