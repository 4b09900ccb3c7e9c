"""A thread that is gone takes all with it that it had, and leaves nothing behind in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bot.agents.model import AgentProfile, Agents
from bot.model import Outcome, QueueMode
from bot.reply.port import ThreadGone
from bot.work.gone_places import GonePlaces
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import FakeChat, running_work
from tests.bot.work.samples import ALICE

NEVER = 30
AGENTS = Agents({name: AgentProfile(name, ("agent",), "/") for name in ("red", "blue")}, "red", {})


def held(root: object, seen: set[int]) -> Iterator[object]:
    """Yield all that the bot's and the pool's own objects hold in containers, from ``root`` on."""
    # Which places are gone is known, up to a bound, so that nothing is kept for them anew.
    if id(root) in seen or isinstance(root, GonePlaces):
        return
    seen.add(id(root))
    inside: list[object] = []
    if isinstance(root, Mapping):
        yield from root
        inside = [*root, *root.values()]
    elif isinstance(root, list | tuple | set | frozenset):
        yield from root
        inside = [*root]
    elif type(root).__module__.split(".")[0] in ("bot", "pool"):
        slots = [name for kind in type(root).__mro__ for name in getattr(kind, "__slots__", ())]
        inside = [*getattr(root, "__dict__", {}).values(), *(getattr(root, name, None) for name in slots)]
    for one in inside:
        yield from held(one, seen)


@in_virtual_time
async def test_what_is_known_of_a_thread_is_forgotten_with_it() -> None:
    """D10, Q10: in every map, also what people chose there."""

    def known(*roots: Any) -> set[int]:
        seen: set[int] = set()
        return {one for root in roots for one in held(root, seen) if type(one) is int} & {100, 200}

    async with running_work(chat=FakeChat(), named=AGENTS) as work:
        for number, thread_id in enumerate((100, 200), 1):
            work.post(number, thread_id=thread_id)
            work.dispatcher.controls.choose_mode(thread_id, QueueMode.STEER, ALICE, server=False)
        work.post(3, "hang", thread_id=100)
        await work.over(2)
        work.dispatcher.controls.stop_all(200, ALICE, before=9)
        assert known(work.dispatcher, work.pool) == {100, 200}
        work.dispatcher.thread_gone(100, "the thread was deleted")
        work.dispatcher.forget(100)
        await work.over(3)
        work.pool.evict(200)
        await work.settled()
        assert known(work.dispatcher, work.pool) == {200}
        assert set(await work.store.choices()) == {200}


@in_virtual_time
async def test_a_server_that_comes_back_has_its_threads_again() -> None:
    """D10, Q2: nothing is kept for places that are gone, until somebody speaks in their server."""
    async with running_work() as work:
        work.dispatcher.forget(1, 100)
        work.dispatcher.controls.choose_mode(100, QueueMode.STEER, ALICE, server=False)
        assert work.dispatcher.thread_settings.mode_in(100) is QueueMode.QUEUE
        work.post(1, guild_id=1)
        work.dispatcher.controls.choose_mode(100, QueueMode.STEER, ALICE, server=False)
        assert work.dispatcher.thread_settings.mode_in(100) is QueueMode.STEER
        await work.over()


@in_virtual_time
async def test_a_thread_that_is_gone_takes_its_turn_its_queue_and_its_agent_with_it() -> None:
    """D10, O1."""
    async with running_work() as work:
        work.post(1, "hang")
        await work.prompted("hang")
        work.post(2)
        await work.settled()
        work.dispatcher.thread_gone(100, "the thread was deleted")
        assert sorted(await work.over(2)) == [(1, Outcome.STOPPED), (2, Outcome.STOPPED)]
        assert work.agents.prompted == ["hang"]
        await work.until(lambda: work.pool.status(100) is None)


@in_virtual_time
async def test_the_idle_agent_of_a_thread_that_is_gone_is_let_go() -> None:
    """D10."""
    async with running_work() as work:
        work.post(1)
        await work.over()
        assert work.pool.status(100) is not None
        work.dispatcher.thread_gone(100, "the thread was deleted")
        await work.until(lambda: work.pool.status(100) is None)


@in_virtual_time
async def test_a_thread_that_is_gone_touches_no_other() -> None:
    """O4, D10."""
    async with running_work() as work:
        work.post(1, "hang", thread_id=200)
        await work.prompted("hang")
        work.post(2, "hang")
        await work.prompted("hang", "hang")
        work.dispatcher.thread_gone(100, "the thread was deleted")
        assert await work.over() == [(2, Outcome.STOPPED)]
        assert work.pool.status(200) is not None


@in_virtual_time
async def test_a_thread_that_can_not_be_written_to_ends_its_turn() -> None:
    """D10: the editor found out."""
    async with running_work(speak=lambda session: session.say("hello there")) as work:
        work.chat.thread(100)
        work.chat.threads[100].fail["send"] = [ThreadGone("forbidden")] * NEVER
        work.post(1, "speak")
        assert await work.over() == [(1, Outcome.STOPPED)]
        await work.until(lambda: work.pool.status(100) is None)


@in_virtual_time
async def test_a_thread_that_goes_while_its_message_is_accepted_gives_it_one_end() -> None:
    """D10, O1."""
    async with running_work() as work:
        work.post(1)
        work.dispatcher.thread_gone(100, "the thread was deleted")
        assert await work.outcome(1) is Outcome.STOPPED
        assert work.agents.prompted == []
