"""Sessions in other threads: the list, opening one, copying one, and that none is ever in two threads."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.model import Outcome
from bot.sandbox import Fault, Interaction, Person
from bot.sandbox.audit import Problem
from bot.sandbox.model import ChannelType
from tests.agents import Gate, ScriptedAgent, alive, scenario
from tests.e2e.busy import friends
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.process import connected, mention, rows, run, until_answered, until_rows
from tests.e2e.test_several_agents import named
from tests.repeat import in_soak

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_notices")]

KEEPS: dict[str, Any] = {"resume": True, "fork": True, "close": True, "titles": "listed"}


def keeping(directory: Path, *turns: Any, **keys: Any) -> ScriptedAgent:
    """An agent that keeps its sessions over processes, and lists them three a page."""
    return scenario(directory, *turns, store=str(directory / "kept"), list=3, **(KEEPS | keys))


def left(directory: Path, name: str, cwd: Path, title: str) -> None:
    """Leave a session that somebody had with the agent on the machine."""
    (directory / "kept").mkdir(exist_ok=True)
    fields = {"cost": 0.0, "prompted": True, "options": None, "modes": None, "models": None, "booleans": False}
    kept: dict[str, Any] = {
        "id": name,
        "cwd": str(cwd),
        "title": title,
        "updated_at": "2020-01-01T00:00:00Z",
        "history": [],
        **fields,
    }
    (directory / "kept" / f"{name}.json").write_text(json.dumps(kept))


async def listed(game: Play, place: int, person: Person | None = None, **options: Any) -> Interaction:
    used = await (person or game.owner).slash(place, "sessions", **options)
    await used.filled()
    return used


def lines(shown: Interaction) -> list[str]:
    """Return the list without times and directories."""
    text = str((shown.response or {}).get("content"))
    return [re.sub(r" · <t:\d+:R>| · `/[^`]*`", "", line) for line in text.splitlines()]


def buttons(shown: Interaction) -> dict[str, str]:
    rows_of = (shown.response or {}).get("components") or []
    return {one["label"]: one.get("custom_id") or one["url"] for row in rows_of for one in row["components"]}


async def press(shown: Interaction, label: str, person: Person) -> str:
    """Press a button below a list, one's own or another's that one does not even see; return what it says."""
    assert shown.original_id is not None
    click = person.click if shown.user_id == person.id else person.forge_click
    return await (await click(shown.original_id, buttons(shown)[label])).told()


def thread_in(text: str) -> int:
    found = re.search(r"<#(\d+)>", text)
    assert found, text
    return int(found[1])


def opened_with(agent: ScriptedAgent, number: int = -1) -> str:
    """Return the session that a prompt was asked in."""
    return str(agent.received("session/prompt")[number]["params"]["sessionId"])


async def test_a_session_is_listed_and_goes_on_in_a_new_thread_once_its_old_one_gave_it_up(tmp_path: Path) -> None:
    """S1, P8: with title, directory and thread, by pages; sessions of other directories stay out."""
    agent = keeping(tmp_path)
    workspace = tmp_path / "workspace"
    async with play(tmp_path, agent) as game:
        left(tmp_path, "machine", workspace, "`rm` *all* @everyone")
        left(tmp_path, "elsewhere", tmp_path, "private")
        for name in "abcd":
            left(tmp_path, f"old-{name}", workspace, f"Old {name}")
        first, _ = await game.ask("mend it")
        shown = await listed(game, game.discord.channel_id)
        assert shown.ephemeral
        assert lines(shown)[:3] == ["**Sessions**", f"1. `mend it` · <#{first}>", "2. `rmˋ *all* @everyone`"]
        assert lines(shown)[-1] == "-# Left out: 1 outside its workspace."
        assert buttons(shown)["Open 1"] == f"https://discord.com/channels/{game.discord.guild_id}/{first}"
        older = await press(shown, "Older", game.owner)
        assert older.splitlines()[1].startswith("6. `Old "), older
        session = opened_with(agent)
        await game.owner.slash(first, "reset")
        again = await listed(game, first)
        other = thread_in(await press(again, "Open 1 here", game.owner))
        assert game.discord.message(other).content == "`mend it` goes on here. Write in the thread what you want done."
        asked = await game.say(other, "and now?")
        assert await game.outcome(asked) is Outcome.ANSWERED
        assert opened_with(agent) == session
        assert await game.outcome(await game.say(first, "something else")) is Outcome.ANSWERED
        assert opened_with(agent) != session
        # What was free when the list was shown is not any more.
        assert "Another thread" in await press(again, "Open 1 here", game.owner)
        assert [message["params"]["sessionId"] for message in agent.received("session/resume")] == [session]


async def test_of_several_who_open_a_session_in_the_same_instant_one_gets_it(tmp_path: Path) -> None:
    """S1: each has a list on which it is free."""
    agent = keeping(tmp_path)
    async with play(tmp_path, agent, **friends("alice", "bob")) as game:
        left(tmp_path, "machine", tmp_path / "workspace", "Free")
        people = [game.owner, game.discord.user("alice"), game.discord.user("bob")]
        lists = [(one, await listed(game, game.discord.channel_id, one)) for one in people]
        hers = await listed(game, game.discord.channel_id, people[1])
        assert "expired" in await press(hers, "Open 1 here", people[0]), "it is not theirs to press"
        pressed = [one.begin_click(shown.original_id or 0, buttons(shown)["Open 1 here"]) for one, shown in lists]
        told = [await one.told() for one in pressed]
        assert sorted(text.split()[0] for text in told) == ["Another", "Another", "Go"]
        (thread,) = game.discord.threads()
        held = await listed(game, game.discord.channel_id)
        assert lines(held)[1] == f"1. `Free` · <#{thread.id}>"


async def test_a_session_that_is_or_was_in_a_hidden_thread_is_shown_to_nobody_who_does_not_see_that(
    tmp_path: Path,
) -> None:
    """S1, D2: neither while it is there, nor after a reset, nor the copies of its turns side by side."""
    gate = Gate(tmp_path / "gate")
    agent = keeping(tmp_path, [gate.step, {"echo": True}], [{"echo": True}])
    async with play(tmp_path, agent, clean=False, max_concurrent=2, **friends("alice")) as game:
        alice, channel = game.discord.user("alice"), game.discord.channel_id
        secret = await game.discord.start_private_thread(game.owner, channel, "secret")
        one = await game.owner.say(secret.id, "the secret plan", mention_bot=True)
        await agent.heard("session/prompt")
        two = await game.owner.say(secret.id, "the secret plan, too", mention_bot=True)
        assert await game.outcome(two.id) is Outcome.ANSWERED
        gate.open()
        assert await game.outcome(one.id) is Outcome.ANSWERED
        (known,) = [line for line in lines(await listed(game, channel))[1:] if "secret" in line]
        assert known.endswith(f"<#{secret.id}>"), "the copy was made for one turn"
        assert "secret" not in "".join(lines(await listed(game, channel, alice)))
        await game.owner.slash(secret.id, "reset")
        freed = await listed(game, channel)
        assert "1. `the secret plan" in "".join(lines(freed))
        assert "private" in await press(freed, "Open 1 here", game.owner)
        assert lines(await listed(game, channel, alice))[0] == "There are no sessions to go on with."
        assert "private" in await (await game.owner.slash(secret.id, "fork")).told()
        game.discord.assert_clean([10007])  # Discord was asked whether alice is a member


async def test_an_old_list_opens_nothing_that_was_in_a_hidden_thread_since(tmp_path: Path) -> None:
    """S1, D2"""
    async with play(tmp_path, keeping(tmp_path), **friends("alice")) as game:
        left(tmp_path, "machine", tmp_path / "workspace", "Free")
        alice, fd = game.discord.user("alice"), game.discord
        old = await listed(game, fd.channel_id, alice)
        hidden = fd.add_channel("hidden")
        fd.overwrite(hidden, fd.guild_id, deny=["view_channel"])
        fd.overwrite(hidden, fd.bot_user.id, allow=["view_channel"])
        secret = thread_in(await press(await listed(game, hidden), "Open 1 here", game.owner))
        await game.owner.slash(secret, "reset")
        assert "expired" in await press(old, "Open 1 here", alice)
        assert [thread.id for thread in fd.threads()] == [secret]


async def test_a_fork_goes_on_in_a_new_thread_while_the_original_still_works(tmp_path: Path) -> None:
    """S2, Q2: linked from both ends, with the agent and the choices of the old one, also in directories of threads."""
    gate = Gate(tmp_path / "gate")
    agent = keeping(tmp_path, [{"echo": True}], [gate.step, {"echo": True}], [{"echo": True}])
    async with play(tmp_path, agent, workspace=str(tmp_path / "workspace" / "{thread_id}")) as game:
        first, _ = await game.ask("begin")
        await game.owner.slash(first, "queue mode", mode="followup")
        running = await game.say(first, "long work")
        await agent.heard("session/prompt", 2)
        told = await (await game.owner.slash(first, "fork", prompt="try it *another* way")).told()
        copy = thread_in(told)
        assert "The running turn goes on here" in told
        assert await game.outcome(copy) is Outcome.ANSWERED
        assert game.discord.message(copy).content == f"A copy of <#{first}> goes on here.\n>>> try it *another* way"
        assert f"copied this conversation: https://discord.com/channels/{game.discord.guild_id}/{copy}" in game.shown(
            first
        )
        gate.open()
        assert await game.outcome(running) is Outcome.ANSWERED
        sessions = [message["params"]["sessionId"] for message in agent.received("session/prompt")]
        assert (sessions[0], len(set(sessions))) == (sessions[1], 2)
        (forked,), (resumed,) = agent.received("session/fork"), agent.received("session/resume")
        assert forked["params"]["sessionId"] == sessions[0]
        # An agent knows a session by its directory.
        assert forked["params"]["cwd"] == resumed["params"]["cwd"] == str(tmp_path / "workspace" / str(first))
        assert "followup" in await (await game.owner.slash(copy, "queue show")).told()
        names = {thread.id: thread.name for thread in game.discord.threads()}
        assert names[copy] == "try it another way"


async def test_in_a_forum_the_new_thread_is_a_post(tmp_path: Path) -> None:
    """S1, S2, S6: what is written in it goes to the session, too."""
    agent = keeping(tmp_path)
    async with play(tmp_path, agent) as game:
        forum = game.discord.add_channel("forum", ChannelType.FORUM)
        mention = f"<@{game.discord.bot_user.id}>"
        post = await game.discord.start_post(game.owner, forum, "Login", f"{mention} begin")
        assert await game.outcome(post.id) is Outcome.ANSWERED
        copy = thread_in(await (await game.owner.slash(post.id, "fork", prompt="another way")).told())
        assert await game.outcome(copy) is Outcome.ANSWERED
        thread = game.discord.thread(copy)
        assert (thread.parent_id, thread.name, thread.owner_id) == (forum, "another way", game.discord.bot_user.id)
        assert game.discord.message(copy).content == f"A copy of <#{post.id}> goes on here.\n>>> another way"
        assert await game.outcome(await game.say(copy, "and on")) is Outcome.ANSWERED
        sessions = [message["params"]["sessionId"] for message in agent.received("session/prompt")]
        assert (sessions[1], len(set(sessions))) == (sessions[2], 2)
        await game.owner.slash(copy, "reset")
        shown = await listed(game, copy)
        free = next(name for name in buttons(shown) if name.endswith("here"))
        opened = thread_in(await press(shown, free, game.owner))
        assert game.discord.thread(opened).parent_id == forum
        assert await game.outcome(await game.say(opened, "once more")) is Outcome.ANSWERED
        assert opened_with(agent) == sessions[1]


@pytest.mark.parametrize(
    ("offers", "why"),
    [
        ({"resume": False}, "not open the copy in another process"),
        *in_soak([({"fork": False}, "this agent can't copy conversations"), ({"fork": "fails"}, "no session")]),
    ],
)
async def test_what_cannot_be_copied_is_told_and_no_thread_is_opened(
    tmp_path: Path, offers: dict[str, Any], why: str
) -> None:
    """S2: nor outside threads, nor before anything was said."""
    async with play(tmp_path, keeping(tmp_path, **offers)) as game:
        first, _ = await game.ask("begin")
        assert why in await (await game.owner.slash(first, "fork")).told()
        await game.owner.slash(first, "reset")
        assert "There is no conversation here" in await (await game.owner.slash(first, "fork")).told()
        assert "inside a Weft thread" in await (await game.owner.slash(game.discord.channel_id, "fork")).told()
        assert [thread.id for thread in game.discord.threads()] == [first]


async def test_of_an_agent_that_cannot_list_those_of_its_threads_are_shown(tmp_path: Path) -> None:
    """S1: also of one that does not answer."""
    async with play(tmp_path, scenario(tmp_path, resume=True)) as game:
        first, _ = await game.ask("mend it")
        shown = lines(await listed(game, first))
        assert shown[:2] == ["**Sessions**", f"1. `mend it` · <#{first}>"]
        assert "can't list its sessions" in shown[2]
    # And one that lists what it could not open again: nothing is offered that would begin afresh.
    ends = tmp_path / "ends"
    ends.mkdir()
    async with play(ends, keeping(ends, resume=False)) as game:
        left(ends, "machine", ends / "workspace", "Old")
        looked = await listed(game, game.discord.channel_id)
        assert lines(looked)[1] == "1. `Old`"
        assert "you can only look at these" in lines(looked)[2]
        assert buttons(looked) == {}


async def test_without_a_living_agent_one_is_started_for_a_list_if_a_place_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S1, P4, P12: it ends with the list; where all places are taken, the list says so."""
    monkeypatch.setattr("pool.pool.PLACE_LIMIT", 0.1)
    red, blue = scenario(tmp_path, [{"text": "so far "}, {"hang": True}]), keeping(tmp_path)
    async with play(
        tmp_path, red, agents=named(red, blue), max_agents=1, lane_main=1, lane_background=1, sessions_per_process=2
    ) as game:
        left(tmp_path, "machine", tmp_path / "workspace", "Free")
        shown = lines(await listed(game, game.discord.channel_id, agent="blue"))
        assert shown[:2] == ["**Sessions of `blue`**", "1. `Free`"]
        with anyio.fail_after(LIMIT):
            while any(alive(pid) for pid in blue.pids()):  # noqa: ASYNC110  the kernel sends no event
                await anyio.sleep(0.01)
        thread_id = await game.mention("first")
        await game.until_shown(thread_id, "so far")
        full = lines(await listed(game, thread_id, agent="blue"))
        assert full[0] == "There are no sessions to go on with."
        assert "all places for agents are taken" in full[1]
        assert "There is no agent" in lines(await listed(game, thread_id, agent="green"))[0]


async def test_a_kill_before_the_thread_of_a_fork_is_open_leaves_one_that_is_opened_at_the_next_start(
    tmp_path: Path,
) -> None:
    """S1, S2, R2: its prompt runs once, in the copy, and nobody else can have that."""
    agent = keeping(tmp_path)
    # The command was killed with the bot, and a thread whose opening was not answered may be open.
    async with connected(tmp_path, agent, allow=[Problem.UNANSWERED, 160004, 503]) as (discord, bot):
        first = await mention(discord, "begin")
        await until_answered(discord, first, "begin")
        discord.faults.next("POST", r"/threads$", Fault.status(503), times=1_000)
        forked = discord.owner.begin_slash(first, "fork", prompt="another way")
        await until_rows(tmp_path, "SELECT count(*) FROM claims WHERE thread_id != 0", [(1,)])
        await bot.signalled(signal.SIGKILL)
        assert forked.waiting
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as other:
            await discord.wait_for(lambda fd: len(fd.threads()) == 2, timeout=LIMIT)
            (copy,) = (thread.id for thread in discord.threads() if thread.id != first)
            await until_answered(discord, copy, "another way")
            await until_rows(tmp_path, "SELECT count(*) FROM claims", [(0,)])
            held = rows(tmp_path, "SELECT thread_id, session_id FROM threads WHERE session_id IS NOT NULL")
            assert {thread_id for thread_id, _ in held} == {first, copy}
            assert len({session for _, session in held}) == 2
            assert agent.prompts() == ["begin", "another way"]
            assert await other.signalled(signal.SIGTERM) == 0
