"""Forty threads that change for an hour, with Discord's real limits: no request is refused, nothing is shown late.

The client is the real one, and so is the loopback Discord; only time passes faster: while nothing is on its way
between the two, the clock goes on to whatever is due next.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import selectors
from collections import deque
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from bot.model import Outcome, QueueMode
from bot.sandbox import ChannelType, FakeDiscord, RateLimits
from bot.work.ending import TurnEnd
from bot.work.outside.boards import PACE
from bot.work.outside.outside import Outside
from bot.work.queue.entry import EntryState
from bot.work.running_turn import RunningTurn
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.thread_states import State, ThreadStates
from tests.bot.chat.harness import running_chat
from tests.bot.reply.fakes import VirtualSelector
from tests.bot.work.fakes import ONE_AGENT
from tests.bot.work.samples import entry_of, inbound
from tests.pool.memory import MemoryStore
from tests.repeat import long_run

THREADS = 40
LATEST = 15.0
"""Seconds after which nothing may be out of date."""
TAGS = ("bug", "working", "needs you", "done")
ON_ITS_WAY = 0.001
"""Real seconds in which what was sent to another socket of this machine has arrived."""
BEGAN = 1_900_000_000.0


class SocketSelector(VirtualSelector):
    """Lets virtual time pass only when no socket has anything to read."""

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = selectors.DefaultSelector.select(self, 0 if timeout is not None and timeout <= 0 else ON_ITS_WAY)
        if not ready and timeout is not None:
            self.now += max(0.0, timeout)
        return ready


class SocketLoop(asyncio.SelectorEventLoop):
    """An event loop on sockets whose time passes at once."""

    def __init__(self) -> None:
        self._virtual = SocketSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def wall() -> float:
    return BEGAN + asyncio.get_running_loop().time()


class Hour:
    """The threads, what they are doing, and what is shown of it."""

    def __init__(self, discord: FakeDiscord, outside: Outside, states: ThreadStates, forum: int) -> None:
        self.discord, self.outside, self.states, self.forum = discord, outside, states, forum
        self.since: dict[int, tuple[float, State]] = {}
        self.said: deque[tuple[float, str]] = deque()
        self.late: list[object] = []
        self.changes = 0
        self.chance = random.Random(7)

    def tell(self, happened: str, running: RunningTurn, *more: Any) -> None:
        for listener in (self.states, *self.outside.listeners):
            getattr(listener, happened)(running, *more)
        state = self.states.of(running.thread_id)
        assert state is not None
        if self.since.get(running.thread_id, (0.0, None))[1] is not state.state:
            self.since[running.thread_id] = (anyio.current_time(), state.state)
            self.changes += 1
        self.note()

    def note(self) -> None:
        """Keep what the board should say from now on."""
        for board in self.outside.boards._boards.values():
            self.said.append((anyio.current_time(), self.outside.boards._text(board)))

    async def live(self, thread_id: int) -> None:
        """Let a thread's turns come and go, some in a moment, some long, some with questions in a row."""
        for number in itertools.count(1):
            await anyio.sleep(self.chance.expovariate(1 / 60))
            entry = entry_of(inbound(thread_id + number, thread_id=thread_id))
            entry.messages[0] = cast(
                "Any", SimpleNamespace(**_fields(entry.messages[0]), thread=self._place(thread_id))
            )
            entry.state = EntryState.RUNNING
            turn = SimpleNamespace(
                thread_id=thread_id,
                entry=entry,
                first=entry.messages[0],
                agent="claude",
                session=None,
                waiting_for_people=0,
            )
            running = cast("RunningTurn", turn)
            self.tell("started", running)
            for _ in range(self.chance.choice([0, 0, 1, 4])):
                await anyio.sleep(self.chance.choice([0.1, 3.0, 20.0]))
                turn.waiting_for_people = 1
                self.tell("asking", running)
                await anyio.sleep(self.chance.choice([0.1, 3.0, 60.0]))
                turn.waiting_for_people = 0
                self.tell("asking", running)
            await anyio.sleep(self.chance.choice([0.2, 5.0, 60.0]))
            entry.state = EntryState.ENDED
            self.tell("ended", running, TurnEnd(self.chance.choice([Outcome.ANSWERED, Outcome.FAILED])))

    def _place(self, thread_id: int) -> Any:
        return SimpleNamespace(guild_id=self.discord.guild_id, thread_id=thread_id, parent_id=self.forum)

    async def watch(self, seconds: int) -> None:
        """Look every second whether something has been wrong for too long."""
        for _ in range(seconds):
            await anyio.sleep(1)
            now = anyio.current_time()
            for thread_id, (since, state) in self.since.items():
                wanted = "needs you" if state is State.FAILED else str(state)
                if now - since > LATEST and self.discord.tags(thread_id) != ["bug", wanted]:
                    self.late.append((thread_id, now - since, state, self.discord.tags(thread_id)))
            # Each was right until the next one.
            while len(self.said) > 1 and self.said[1][0] < now - LATEST:
                self.said.popleft()
            shown = [one for one in self.discord.messages(self.discord.channel_id) if "**Board**" in one.content]
            if shown[-1].content not in {text for _, text in self.said}:
                self.late.append((now, shown[-1].content))


def _fields(message: Any) -> dict[str, Any]:
    return {name: getattr(message, name) for name in ("message_id", "thread_id", "author", "guild_id")}


async def for_a_while(seconds: int) -> Hour:
    clock = asyncio.get_running_loop().time
    async with (
        FakeDiscord(rate_limits=RateLimits.REAL, clock=clock, wall=wall) as discord,
        running_chat(discord) as chat,
        anyio.create_task_group() as tasks,
    ):
        forum = discord.add_channel("asks", ChannelType.FORUM, tags=TAGS)
        posts = [await discord.start_post(discord.owner, forum, f"{n}", "?", tags=["bug"]) for n in range(THREADS)]
        tracker, store, numbers = TaskTracker(tasks), MemoryStore(), itertools.count()
        settings = ThreadSettings(tracker, store, ONE_AGENT, QueueMode.QUEUE)
        states = ThreadStates(cast("Any", SimpleNamespace(waiting=lambda: iter(()))), settings, wall)
        budgets: Any = SimpleNamespace(spent_today=lambda _thread: None, worded=lambda _spent: "$0.10")
        outside = Outside(
            tasks, tracker, chat.gateway.chat, store, settings, states, budgets, lambda: f"n{next(numbers)}", str
        )
        outside.boards._clock = wall
        hour = Hour(discord, outside, states, forum)
        outside.boards.put_up(discord.guild_id, discord.channel_id)
        await anyio.sleep(PACE)
        hour.note()
        for post in posts:
            outside.posts.claim(post.id)
            tasks.start_soon(hour.live, post.id)
        # Names as well: more often than Discord takes them.
        own = inbound((await discord.owner.say(discord.channel_id, "mine")).id)
        await chat.gateway.chat.open_thread(cast("Any", _own(own, discord)))
        for number in range(3):
            outside._headers.rename(
                own.message_id, f"name {number}", instead_of=f"name {number - 1}" if number else "mine"
            )
            await anyio.sleep(5)
        await hour.watch(seconds)
        tasks.cancel_scope.cancel()
    discord.assert_clean()
    return hour


def _own(message: Any, discord: FakeDiscord) -> Any:
    return SimpleNamespace(channel_id=discord.channel_id, message_id=message.message_id, title="mine")


@pytest.mark.parametrize(
    "seconds", [90, pytest.param(long_run(3600, 900), marks=pytest.mark.soak)], ids=["a few minutes", "an hour"]
)
def test_forty_threads_are_shown_in_time_and_discord_refuses_nothing(seconds: int) -> None:
    """S5, S6, A3, D3: tags, names and a board, with the loopback's real limits."""
    with asyncio.Runner(loop_factory=SocketLoop) as runner:
        hour = runner.run(for_a_while(seconds))
    assert hour.late == []
    assert hour.changes > seconds / 2
    patches = hour.discord.rest_calls("PATCH")
    assert [call.status for call in patches] == [200] * len(patches)
    edits = [call.time for call in patches if "/messages/" in call.path]
    assert len(edits) > seconds / PACE / 2
    assert all(later - earlier >= PACE for earlier, later in pairwise(edits))
    names = [call for call in patches if "name" in (call.body or {})]
    # The third one waits for ten minutes.
    assert len(names) == (3 if seconds > 700 else 2)
