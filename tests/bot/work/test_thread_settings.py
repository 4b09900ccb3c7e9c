"""What is settled for threads and servers: queue modes and agents, the nearest choice counts, and all is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from acp.turn_deadlines import TurnLimits
from bot.agents.model import AgentProfile, Agents, Project, only
from bot.model import Inbound, QueueMode
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import ONE_AGENT, running_work
from tests.bot.work.samples import ALICE, inbound
from tests.pool.memory import MemoryStore

SERVER, THREAD, CHANNEL = 1, 100, 200


def agents(*names: str, **fields: object) -> Agents:
    profiles = {name: AgentProfile(name, (name,), "/srv") for name in names}
    return Agents(profiles, names[0], **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def settled(store: MemoryStore, known: Agents = ONE_AGENT) -> AsyncIterator[ThreadSettings]:
    async with anyio.create_task_group() as tasks:
        settings = ThreadSettings(TaskTracker(tasks), store, known, QueueMode.QUEUE)
        await settings.load()
        yield settings


def mode_of(settings: ThreadSettings, message: Inbound) -> QueueMode:
    return settings.mode_in(message.thread_id, message.guild_id, message.mode)


@pytest.mark.asyncio
async def test_a_part_keeps_json_values_of_its_own() -> None:
    """They hold at once and in the next run, beside what is settled, and None takes one back."""
    store = MemoryStore()
    async with settled(store) as settings:
        settings.settle(THREAD, mode=QueueMode.STEER)
        settings.keep(THREAD, {"colour": ["red", 1], "shape": "round"})
        settings.keep(THREAD, {"shape": None})
        assert (settings.kept(THREAD, "colour"), settings.kept(THREAD, "shape")) == (["red", 1], None)
        assert settings.kept(CHANNEL, "colour") is settings.kept(None, "colour") is None
    async with settled(store) as settings:
        assert settings.kept(THREAD, "colour") == ["red", 1]
        assert settings.mode_in(THREAD) is QueueMode.STEER


# --- queue modes -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_nearest_choice_counts() -> None:
    """Q2: the message's own, the thread's, the server's, the default."""
    async with settled(MemoryStore()) as settings:
        assert mode_of(settings, inbound(1)) is QueueMode.QUEUE
        settings.settle(SERVER, mode=QueueMode.FOLLOWUP)
        assert mode_of(settings, inbound(1)) is QueueMode.FOLLOWUP
        settings.settle(THREAD, mode=QueueMode.STEER)
        assert mode_of(settings, inbound(1)) is QueueMode.STEER
        assert mode_of(settings, inbound(1, thread_id=200)) is QueueMode.FOLLOWUP
        assert mode_of(settings, replace(inbound(1), mode=QueueMode.INTERRUPT)) is QueueMode.INTERRUPT


@pytest.mark.asyncio
async def test_choices_are_known_to_the_next_run() -> None:
    """Q2, R2"""
    store = MemoryStore()
    async with settled(store) as settings:
        settings.settle(THREAD, mode=QueueMode.STEER)
        settings.settle(THREAD, mode=QueueMode.INTERRUPT)
    async with settled(store) as settings:
        assert settings.mode_in(THREAD) is QueueMode.INTERRUPT


@pytest.mark.asyncio
@pytest.mark.parametrize("options", ["{}", "no json", "[]", '{"queue_mode": "unknown"}', '{"queue_mode": 3}'])
async def test_a_choice_that_can_not_be_understood_is_none(options: str) -> None:
    """R2"""
    store = MemoryStore()
    await store.bind(THREAD, options=options)
    async with settled(store) as settings:
        assert settings.mode_in(THREAD) is QueueMode.QUEUE


@in_virtual_time
async def test_the_mode_of_the_server_is_shown_as_that_of_its_threads() -> None:
    """Q2, Q11."""
    async with running_work() as work:
        work.dispatcher.controls.choose_mode(1, QueueMode.FOLLOWUP, ALICE, server=True)
        assert "Mode: followup" in work.dispatcher.controls.queue(100, 1)


# --- agents ----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_choice_counts_before_the_channel_and_the_channel_before_the_default() -> None:
    """P12"""
    known = agents("red", "blue", "green", channels={CHANNEL: "blue"})
    async with settled(MemoryStore(), known) as settings:
        opening = replace(inbound(1), channel_id=CHANNEL, opens_thread=True)
        in_thread = replace(inbound(2, thread_id=101), parent_id=CHANNEL)
        for message in (opening, in_thread, inbound(3, thread_id=102)):
            assert settings.settle_agent(message) is None
        assert [settings.agent_of(thread) for thread in (THREAD, 101, 102)] == ["blue", "blue", "red"]
        settings.settle(103, agent="green")
        settings.settle_agent(replace(inbound(4, thread_id=103), parent_id=CHANNEL))
        assert settings.agent_of(103) == "green"


@pytest.mark.asyncio
async def test_a_later_mapping_moves_no_thread() -> None:
    """P12: its session is with the agent that made it."""
    store, message = MemoryStore(), replace(inbound(1), parent_id=CHANNEL)
    async with settled(store, agents("red", "blue", channels={CHANNEL: "blue"})) as settings:
        settings.settle_agent(message)
    async with settled(store, agents("red", "blue", channels={CHANNEL: "red"})) as settings:
        assert settings.settle_agent(message) is None
        assert settings.agent_of(THREAD) == "blue"


@pytest.mark.asyncio
async def test_an_agent_that_is_gone_is_told_once_and_replaced_by_the_default() -> None:
    """P8, P12"""
    store = MemoryStore()
    async with settled(store, agents("red", "blue")) as settings:
        settings.settle(THREAD, agent="blue")
    async with settled(store, agents("red", "green")) as settings:
        assert settings.agent_of(THREAD) == "red"
        assert settings.settle_agent(inbound(1)) == "blue"
        assert settings.settle_agent(inbound(2)) is None
        assert settings.agent_of(THREAD) == "red"
    async with settled(store, agents("green", "red")) as settings:
        assert settings.agent_of(THREAD) == "red"


@pytest.mark.asyncio
async def test_where_there_is_no_choice_nothing_is_kept() -> None:
    """P12: without a file everything is as it was."""
    store = MemoryStore()
    await store.bind(THREAD, options='{"agent": "blue"}')
    async with settled(store, only(("agent",), "/srv")) as settings:
        assert settings.settle_agent(inbound(1)) is None
        assert (settings.agent_of(THREAD), settings.agent_name_for(THREAD)) == ("default", None)
        settings.settle_agent(inbound(2, thread_id=101))
    assert await store.choices() == {THREAD: '{"agent": "blue"}'}


@pytest.mark.asyncio
@pytest.mark.parametrize("options", ["{}", "no json", '{"agent": 3}', '{"queue_mode": "steer"}'])
async def test_what_can_not_be_understood_is_no_agent(options: str) -> None:
    """R2"""
    store = MemoryStore()
    await store.bind(THREAD, options=options)
    async with settled(store, agents("red", "blue")) as settings:
        assert settings.settle_agent(inbound(1)) is None
        assert settings.agent_of(THREAD) == "red"


@pytest.mark.asyncio
async def test_the_agent_and_the_queue_mode_are_kept_side_by_side() -> None:
    """R2, Q2"""
    store = MemoryStore()
    await store.bind(THREAD, options='{"queue_mode": "steer"}')
    async with settled(store, agents("red", "blue")) as settings:
        settings.settle(THREAD, agent="blue")
    assert await store.choices() == {THREAD: '{"queue_mode":"steer","agent":"blue"}'}


@pytest.mark.asyncio
async def test_a_turn_may_last_as_long_as_its_agent_says() -> None:
    """T2, P12: what the agent does not say holds as for all."""
    slow = AgentProfile("slow", ("slow",), "/srv", hard_timeout=7200.0)
    known = Agents({"red": AgentProfile("red", ("red",), "/srv"), "slow": slow}, "red")
    async with settled(MemoryStore(), known) as settings:
        usual = TurnLimits(hard_timeout=60.0, cancel_grace=3.0)
        assert settings.limits_for(THREAD, usual) == usual
        settings.settle(THREAD, agent="slow")
        assert settings.limits_for(THREAD, usual) == TurnLimits(hard_timeout=7200.0, cancel_grace=3.0)
    assert known.longest_turn(60.0) == 7200.0
    assert known.longest_turn(9000.0) == 9000.0


@pytest.mark.asyncio
async def test_an_agent_that_is_not_there_is_refused_with_those_that_are() -> None:
    """Q8"""
    async with settled(MemoryStore(), agents("red", "blue")) as settings:
        refusal = settings.renew(THREAD, "`green`")
        assert (refusal.text, refusal.accepted) == ("There is no agent `green`, only `red`, `blue`.", False)
        assert settings.agent_of(THREAD) == "red"
        assert settings.renew(THREAD, "blue").text == "A new conversation with `blue`."
        assert settings.agent_of(THREAD) == "blue"


@pytest.mark.asyncio
async def test_a_thread_that_goes_on_with_a_session_has_its_choices_agent_and_directory() -> None:
    """S1, S2: what was done in the other thread alone, it has not."""
    store, known = MemoryStore(), agents("red", "blue")
    async with settled(store, known) as settings:
        settings.settle(THREAD, mode=QueueMode.STEER, agent="blue", cutoff=5)
        settings.keep(THREAD, {"titled": True, "verbosity": "quiet"})
        settings.inherit(THREAD + 1, "blue", THREAD, THREAD)
        settings.inherit(THREAD + 2, "blue", None)
        assert (settings.mode_in(THREAD + 1), settings.agent_of(THREAD + 1)) == (QueueMode.STEER, "blue")
        assert (settings.kept(THREAD + 1, "verbosity"), settings.kept(THREAD + 1, "titled")) == ("quiet", None)
        assert [settings.home_of(THREAD + number) for number in range(3)] == [THREAD, THREAD, THREAD + 2]
        assert [settings.shares_home(THREAD + number) for number in range(3)] == [True, True, False]
        assert settings.cutoffs() == [(THREAD, 5)]
        with settings.standing_in(7, "blue"):
            assert settings.agent_of(7) == "blue"
        assert settings.agent_of(7) == "red"
    async with settled(store, known) as settings:
        assert (settings.home_of(THREAD + 1), settings.agent_of(THREAD + 2)) == (THREAD, "blue")


# --- projects ------------------------------------------------------------------------------------------------------


def working_on(*names: str, **fields: object) -> Agents:
    state = Path("/state/worktrees")
    projects = {name: Project(name, Path("/srv", name), state / name) for name in names}
    projects |= {"shop": replace(projects["shop"], agent="blue")} if "shop" in names else {}
    return agents("red", "blue", projects=projects, channel_projects={CHANNEL: "web"}, **fields)


@pytest.mark.asyncio
async def test_a_thread_works_on_what_its_first_message_settled_for_good() -> None:
    """W1: on what its channel is for, or what was chosen before; over restarts, whatever the channel is for then."""
    store = MemoryStore()
    async with settled(store, working_on("web", "shop")) as settings:
        settings.settle_agent(replace(inbound(1, thread_id=101), channel_id=CHANNEL))
        settings.begin(102, CHANNEL, project="shop")
        settings.settle_agent(replace(inbound(2, thread_id=102), channel_id=CHANNEL))
        settings.settle_agent(replace(inbound(3, thread_id=103), channel_id=SERVER))
        assert [settings.project_name(thread) for thread in (101, 102, 103)] == ["web", "shop", None]
        assert settings.profile_of(101).workspace == "/state/worktrees/web/{thread_id}"
        assert settings.profile_of(103).workspace == "/srv"
    async with settled(store, replace(working_on("web", "shop"), channel_projects={SERVER: "web"})) as settings:
        settings.settle_agent(replace(inbound(4, thread_id=103), channel_id=SERVER))
        assert [settings.project_name(thread) for thread in (101, 102, 103)] == ["web", "shop", None]


@pytest.mark.parametrize(
    ("chosen", "project", "channels", "expected"),
    [
        ("red", "shop", {CHANNEL: "blue"}, "red"),
        (None, "shop", {CHANNEL: "red"}, "red"),
        (None, "shop", {}, "blue"),
        (None, "web", {}, "red"),
        (None, None, {}, "red"),
    ],
)
@pytest.mark.asyncio
async def test_who_works_on_a_project_goes_by_the_choice_the_channel_the_project_and_the_default(
    chosen: str | None, project: str | None, channels: dict[int, str], expected: str
) -> None:
    """W1, P8: in this order."""
    async with settled(MemoryStore(), working_on("web", "shop", channels=channels)) as settings:
        settings.begin(THREAD, CHANNEL, agent=chosen, project=project)
        assert settings.agent_of(THREAD) == expected
        assert settings.project_name(THREAD) == (project or "web")


@pytest.mark.asyncio
async def test_a_thread_whose_project_is_gone_works_nowhere() -> None:
    """W1: its name is still known, also where there are no projects at all any more."""
    async with settled(MemoryStore(), agents("red")) as settings:
        settings.keep(THREAD, {"agent": "red", "project": "web"})
        assert (settings.project_name(THREAD), settings.project_of(THREAD)) == ("web", None)
        assert settings.profile_of(THREAD).workspace == ""
        assert settings.rules_place(THREAD) == ""


@pytest.mark.asyncio
async def test_a_project_is_for_new_threads_and_a_wrong_name_is_told() -> None:
    """W1"""
    async with settled(MemoryStore(), working_on("web", "shop")) as settings:
        settings.begin(THREAD, CHANNEL)
        assert settings.renew(None, None, "web").text == "A new conversation on `web`."
        assert settings.renew(None, "blue", "shop").text == "A new conversation with `blue` on `shop`."
        assert settings.renew(THREAD, None, "web").text == "A new conversation with `red` on `web`."
        assert settings.renew(THREAD, None).text == "A new conversation with `red` on `web`."
        refused = settings.renew(THREAD, "blue", "shop")
        assert refused.text == (
            "This thread works on `web`, and that can't change. "
            "Use `/new project:shop` in the channel for a new thread."
        )
        assert (refused.accepted, settings.agent_of(THREAD)) == (False, "red")
        assert settings.renew(103, None, "web").text.startswith(
            "This thread works on no project, and that can't change."
        )
        assert settings.renew(None, None, "wbe").text == "There is no project `wbe`. Did you mean `web`?"
        assert settings.renew(None, None, "x").text == "There is no project `x`. There are `web`, `shop`."
    async with settled(MemoryStore(), agents("red")) as settings:
        assert settings.renew(None, None, "web").text.startswith("No projects are set up here.")


@pytest.mark.asyncio
async def test_who_works_in_a_thread_directory_is_known_when_the_thread_itself_is_gone() -> None:
    """W2, S1: one work tree is never two threads'."""
    async with settled(MemoryStore(), working_on("web")) as settings:
        settings.begin(THREAD, CHANNEL)
        assert (settings.at_home(THREAD), settings.at_home(103)) == ([THREAD], [])
        settings.inherit(103, "red", THREAD, project="web")
        assert settings.at_home(THREAD) == [THREAD, 103]
        settings.forget(THREAD)
        assert settings.at_home(THREAD) == [103]
        assert settings.project_name(103) == "web"
