"""A thread that is gone leaves nothing behind in memory, wherever it was known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bot.agents.model import AgentProfile, Agents
from bot.model import QueueMode
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import FakeChat, running_work
from tests.bot.work.samples import ALICE

AGENTS = Agents({name: AgentProfile(name, ("agent",), "/") for name in ("red", "blue")}, "red", {})


def held(root: object, seen: set[int]) -> Iterator[object]:
    """Yield all that the bot's and the pool's own objects hold in containers, from ``root`` on."""
    if id(root) in seen:
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
            work.dispatcher.choose_mode(thread_id, QueueMode.STEER, ALICE, server=False)
        work.post(3, "hang", thread_id=100)
        await work.over(2)
        work.dispatcher.stop_all(200, ALICE, before=9)
        assert known(work.dispatcher, work.pool) == {100, 200}
        work.dispatcher.thread_gone(100, "the thread was deleted")
        work.dispatcher.forget(100)
        await work.over(3)
        work.pool.evict(200)
        await work.settled()
        assert known(work.dispatcher, work.pool) == {200}
        assert set(await work.store.choices()) == {200}
