"""The bot beside the page: restarted, killed, without its agent, unable to start; nothing that was said is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from bot.demo import bot_keeper
from bot.demo.bot_keeper import Refused
from bot.demo.tour import MENTION
from tests.agents import alive, scenario
from tests.bot.demo.visiting import LIMIT, Visit, visiting
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    "ends", [["kill"], *in_soak([["restart", "kill"]])], ids=["a kill", "a restart and then a kill"]
)
async def test_a_restart_and_a_kill_in_the_middle_lose_nothing_that_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: list[str]
) -> None:
    """R1, R2, P9: each message has its one end, also one that was written while no bot was there."""
    monkeypatch.setattr(bot_keeper, "END_LIMIT", 2 * LIMIT)
    async with visiting(tmp_path, monkeypatch, pace=0.05) as visit:
        keeper = visit.on_stage.keeper
        known = {"restart": (keeper.restart, "has ended in order"), "kill": (keeper.kill, "was killed")}
        for end, said in (known[name] for name in ends):
            await _cut_off(visit, end, said)


async def _cut_off(visit: Visit, end: Callable[[], Awaitable[str]], said: str) -> None:
    thread = await visit.write(f"{MENTION} wait 600")
    await visit.until_shown(thread, "Waiting. Stop me")
    waiting = await visit.write("say it waited", place=thread)
    await visit.until(lambda: visit.discord.message(waiting).reactions)
    with anyio.fail_after(LIMIT):  # later it would be ended by force
        assert said in await end()
    assert not visit.discord.gateway.connected
    later = await visit.write(f"{MENTION} say it came later")
    await visit.until_shown(thread, "it waited\n")
    await visit.until_shown(later, "it came later\n")
    await visit.until_shown(thread, "**Interrupted")
    await visit.press(thread, "Continue")
    await visit.until(lambda: visit.shown(thread).count("Waiting. Stop me") == 2)
    await visit.use(thread, "stop")
    await visit.until_shown(thread, "**Stopped** by `owner`")
    assert [visit.shown(place).count(text) for place, text in ((thread, "**Interrupted"), (thread, "it waited\n"))] == [
        1,
        1,
    ]


@pytest.mark.soak
async def test_the_agent_can_be_killed_and_a_bot_that_can_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """O1, P8: the thread goes on after its agent's death; a failure is told in the terminal and on the page."""
    async with visiting(tmp_path, monkeypatch, pace=1.0) as visit:
        keeper, discord = visit.on_stage.keeper, visit.discord
        # 1. The agent of a thread.
        with pytest.raises(Refused, match="No agent runs in this thread"):
            await keeper.kill_agent(discord.channel_id)
        thread = await visit.write(f"{MENTION} wait 600")
        await visit.until_shown(thread, "Waiting. Stop me")
        assert await keeper.kill_agent(thread) == "Killed the agent (1 process)."
        await visit.until_shown(thread, "The agent crashed")
        await visit.write("say on", place=thread)
        await visit.until_shown(thread, "on\n")
        # 2. A state that can't be used, from which it comes back once that is mended.
        identity = tmp_path / "state" / "identity"
        identity.unlink()
        identity.mkdir()
        await keeper.restart()
        while not visit.notice:  # noqa: ASYNC110  that is no change of Discord's, which could be waited for
            await anyio.sleep(0.02)
        assert "The bot could not start: " in visit.notice
        assert str(identity) in visit.notice
        assert visit.notice.endswith("Choose “Restart the bot” to try again.")
        assert visit.notice in capsys.readouterr().err
        with pytest.raises(Refused, match="The bot does not run"):
            await keeper.kill()
        identity.rmdir()
        assert await keeper.restart() == "The bot starts."
        await visit.write("say again", place=thread)
        await visit.until_shown(thread, "again\n")
        assert visit.notice == ""


@pytest.mark.soak
async def test_another_agent_works_there_also_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2: the page says why threads have no branches."""
    (tmp_path / "no-programs").mkdir()
    (tmp_path / "demo").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    agent = scenario(tmp_path)
    async with visiting(tmp_path / "demo", monkeypatch, argv=agent.argv) as visit:
        assert visit.notice == "Threads have no project to work on here, since git is not installed."
        thread = await visit.write(f"{MENTION} hello")
        await visit.until_shown(thread, "hello\n")
        assert agent.prompts() == ["hello"]
    assert not any(alive(pid) for pid in agent.pids())
