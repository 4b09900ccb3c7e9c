"""What a turn left running, for the next run; `tests/e2e/test_leftovers.py` has the rest, with real agents."""

from __future__ import annotations

import copy
import itertools
import subprocess

import psutil
import pytest

from tests.bot.reply.fakes import FakeThread, in_virtual_time
from tests.bot.work.fakes import FakeChat, PlayedSession, answer, kept, running_work
from tests.pool.fakes import FakeConnection


@in_virtual_time
async def test_what_turns_left_running_is_no_longer_named_after_a_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """P13, R2: the start has ended it, so both lines go; no start after that looks for them again."""
    children: list[subprocess.Popen[bytes]] = []

    async def members(_self: FakeConnection, *, everywhere: bool) -> frozenset[psutil.Process]:
        return frozenset(psutil.Process(child.pid) for child in children)

    def leave(session: PlayedSession) -> None:
        children.append(subprocess.Popen(["sleep", "600"]))
        answer(session)

    monkeypatch.setattr(FakeConnection, "members", members)
    store, chat = kept(), FakeChat()
    try:
        async with running_work(store=store, chat=chat, leave=leave) as work:
            work.post(1, "leave")
            await work.until(lambda: len(work.told("Still running from this turn")) == 1)
            work.post(2, "leave")
            await work.until(lambda: len(work.told("Still running from this turn")) == 2)
            await work.settled()
            # As a kill leaves both: what follows tells the thread of the end.
            left = copy.deepcopy(store)
            messages = dict(chat.threads[100].messages)
        assert len(work.told("Ended with the restart of Weft")) == 2
        assert await store.notices() == []
    finally:
        for child in children:
            child.kill()
            child.wait()
    chat = FakeChat(threads={100: FakeThread(messages=messages, _ids=itertools.count(max(messages) + 1))})
    assert len(await left.notices()) == 1
    async with running_work(store=left, chat=chat) as work:
        await work.settled()
        assert (work.told("Still running"), work.told("What still ran here")) == ([], [])
        assert len(work.told("an answer")) == 2
        assert await left.notices() == []
