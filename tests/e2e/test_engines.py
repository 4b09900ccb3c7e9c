"""The whole bot with agents that an engine runs elsewhere: starts, ends, and what people read of machines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.agents import engines, engines_running
from bot.agents.engines import EngineProfile
from bot.agents.model import AgentProfile, Agents
from bot.model import Outcome
from bot.ops.snapshot import node_health
from bot.sandbox import FakeDiscord
from bot.work.files import turn_files
from tests.agents import ScriptedAgent, scenario
from tests.bot.work.repositories import needs_git
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.test_diff import shown
from tests.engines import nearby
from tests.engines.nearby import NEARBY, NearbyEngine, NearbySettings

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_notices")]


@pytest.fixture(autouse=True)
def nearby_is_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "KINDS", {"nearby": NEARBY})
    monkeypatch.setattr(nearby, "made", [])


def far(directory: Path, agent: ScriptedAgent, places: int = 8) -> Callable[[FakeDiscord, str], Agents]:
    """Return one agent that works in directories of another machine."""
    profile = AgentProfile("far", agent.argv, f"{directory}/there/{{thread_id}}", engine="farm", tools=False)
    engine = EngineProfile("farm", "nearby", NearbySettings(places=places))
    return lambda _discord, _workspace: Agents({"far": profile}, "far", engines={"farm": engine})


@asynccontextmanager
async def playing(
    directory: Path, agent: ScriptedAgent, places: int = 8, **settings: Any
) -> AsyncIterator[tuple[Play, NearbyEngine]]:
    async with play(directory, agent, agents=far(directory, agent, places), **settings) as game:
        yield game, nearby.made[-1]


async def said(game: Play, place_id: int) -> str:
    """Return what /status says in a place."""
    status = await game.owner.slash(place_id, "status")
    return str((status.response or {}).get("content"))


async def test_an_agent_runs_where_its_engine_puts_it(tmp_path: Path) -> None:
    """P14: it is labelled, found again by a sweep before the first start, and shown in /status."""
    async with playing(tmp_path, scenario(tmp_path)) as (game, engine):
        assert len(engine.swept) == 1
        thread_id, outcome = await game.ask("hello")
        assert outcome is Outcome.ANSWERED
        [spec] = engine.specs
        assert (spec.labels["thread"], spec.labels["agent"]) == (str(thread_id), "far")
        assert spec.labels["state"] == engine.swept[0]
        # Nothing of this machine's environment goes there.
        assert dict(spec.env) == {}
        assert "on near-1" in await said(game, thread_id)
        # In a channel it is about all of them, as they were at the last look.
        everywhere = await said(game, game.discord.channel_id)
        assert "of 8, 1.0 GiB free" in everywhere
        assert "0 of 4 (no route to host)" in everywhere
        health = node_health(game.on_stage.bot.pool, str)
        assert [(one.engine, one.name, one.reachable) for one in health] == [
            ("farm", "near-1", True),
            ("farm", "near-2", False),
        ]


async def test_status_tells_of_machines_as_they_are_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P14: not as they were at the last look."""
    monkeypatch.setattr(engines_running, "LOOK_EVERY", 10 * LIMIT)
    async with playing(tmp_path, scenario(tmp_path)) as (game, engine):
        await game.ask("hello")
        with anyio.fail_after(LIMIT):
            # What is younger than 2 s counts as now.
            while "near-1 1 of 8" not in await said(game, game.discord.channel_id):  # noqa: ASYNC110
                await anyio.sleep(0.1)
        assert engine.asked[0] is None
        assert set(engine.asked[1:]) == {engines_running.FRESH}


async def test_an_agent_that_is_lost_in_a_turn_is_told_and_the_next_message_goes_on(tmp_path: Path) -> None:
    """P14, O1: what was said so far stays."""
    agent = scenario(tmp_path, words={"lose": [{"text": "half"}, {"hang": True}]}, store=str(tmp_path / "sessions"))
    async with playing(tmp_path, agent) as (game, engine):
        thread_id = await game.mention("lose it")
        await game.until_shown(thread_id, "half")
        [lost] = engine.agents
        lost.lose("near-1 is gone")
        assert await game.outcome(thread_id) is Outcome.AGENT_UNREACHABLE
        await game.until_shown(thread_id, "connection lost: near-1 is gone")
        again = await game.say(thread_id, "go on")
        assert await game.outcome(again) is Outcome.ANSWERED
        assert len(engine.specs) == 2


async def test_what_a_start_waits_for_is_shown(tmp_path: Path) -> None:
    """P14: Pending is told in the thread like any other wait."""
    async with playing(tmp_path, scenario(tmp_path)) as (game, engine):
        engine.hold = anyio.Event()
        thread_id = await game.mention("hello")
        await game.until_begun(thread_id)
        with anyio.fail_after(LIMIT):
            while "2 Insufficient memory" not in await said(game, thread_id):  # noqa: ASYNC110 - nobody else is told
                await anyio.sleep(0.05)
        engine.hold.set()
        assert await game.outcome(thread_id) is Outcome.ANSWERED


async def test_an_engine_that_is_away_is_told_and_is_tried_again(tmp_path: Path) -> None:
    """P14, P7."""
    async with playing(tmp_path, scenario(tmp_path)) as (game, engine):
        engine.away = "Connection refused"
        thread_id, outcome = await game.ask("hello")
        assert outcome is Outcome.COULD_NOT_START
        await game.until_shown(thread_id, "near-1 does not answer: Connection refused")
        engine.away = ""
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED


async def test_on_a_full_engine_an_agent_that_nobody_uses_gives_way(tmp_path: Path) -> None:
    """P14, P4: the longest unused one; while all of them work, a start waits for the next one that is done."""
    words = {"work": [{"text": "working"}, {"hang": True}]}
    async with playing(tmp_path, scenario(tmp_path, words=words), places=2) as (game, engine):
        first, _ = await game.ask("hello")
        second = await game.mention("work")
        await game.until_shown(second, "working")
        third = await game.mention("work, too")
        await game.until_shown(third, "working")
        assert [spec.labels["thread"] for spec in engine.agents.values()] == [str(second), str(third)]
        fourth = await game.mention("hello again")
        await game.until_begun(fourth)
        with anyio.fail_after(LIMIT):
            while "no free place" not in await said(game, fourth):  # noqa: ASYNC110 - nobody else is told
                await anyio.sleep(0.05)
        assert len(engine.agents) == 2
        await game.say(second, "stop")
        assert await game.outcome(second) is Outcome.STOPPED
        assert await game.outcome(fourth) is Outcome.ANSWERED
        # Not for longer than its engine lets a start take.
        engine.start_timeout = 0.2
        await game.say(first, "work")
        await game.until_shown(first, "working")
        assert await game.outcome(await game.say(fourth, "and now")) is Outcome.COULD_NOT_START
        await game.until_shown(fourth, "no free place")
        assert len(engine.agents) == 2


async def test_people_are_told_where_an_agent_works_there(tmp_path: Path) -> None:
    """P14, K5: what is kept of it on this machine says nothing to them."""
    async with playing(tmp_path, scenario(tmp_path), welcome=True) as (game, _engine):
        thread_id, _ = await game.ask("hello")
        await game.until_shown(thread_id, f"/there/{thread_id}` on `farm`. Send `stop`")


async def test_files_go_to_the_agents_machine_and_come_back(tmp_path: Path) -> None:
    """P14, F1, F4: by the same connection, into its directory and out of the folder that it is told."""
    words = {"make": [{"files": {"{out}/made.txt": "bWFkZQ=="}}, {"text": "there"}]}
    async with playing(tmp_path, scenario(tmp_path, words=words)) as (game, engine):
        files = [("notes.bin", b"\x00note")]
        message = await game.owner.say(game.discord.channel_id, "make", mention_bot=True, files=files)
        assert await game.outcome(message.id) is Outcome.ANSWERED
        [spec] = engine.specs
        there = anyio.Path(spec.cwd)
        assert await (there / f".weft/in/{message.id}/notes.bin").read_bytes() == b"\x00note"
        assert await (there / ".weft/.gitignore").read_text() == "*\n"
        await game.until_shown(message.id, "made.txt")
        posted = [file for reply in game.replies(message.id) for file in reply.attachments]
        assert [(file.name, file.content) for file in posted] == [("made.txt", b"made")]
        assert not await (there / f".weft/out/{message.id}/made.txt").exists()


@needs_git
async def test_what_changed_elsewhere_is_not_looked_for_here(tmp_path: Path) -> None:
    """P14, W1: even where the state directory lies in somebody's repository."""
    await anyio.run_process(["git", "init", "-q", str(tmp_path)])
    change = {"type": "diff", "path": "/there/new.txt", "oldText": None, "newText": "new\n"}
    edit = {"tool": {"title": "write", "kind": "edit", "content": [change]}}
    async with playing(tmp_path, scenario(tmp_path, words={"write": [edit, {"text": "written"}]})) as (game, _):
        files = [("notes.bin", b"note")]
        message = await game.owner.say(game.discord.channel_id, "write", mention_bot=True, files=files)
        assert await game.outcome(message.id) is Outcome.ANSWERED
        answer = await shown(game, message.id)
        assert "its directory is not on this machine" in answer.content
        assert "/there/new.txt" in answer.content


async def test_files_that_take_for_ever_do_not_keep_a_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P14: an agent decides how fast its machine is."""
    monkeypatch.setattr(turn_files, "FETCH_LIMIT", 0.1)
    monkeypatch.setattr(turn_files, "fetch", _never)
    async with playing(tmp_path, scenario(tmp_path)) as (game, _):
        _, outcome = await game.ask("hello")
        assert outcome is Outcome.ANSWERED


async def _never(*_: object, **__: object) -> None:
    await anyio.sleep_forever()
