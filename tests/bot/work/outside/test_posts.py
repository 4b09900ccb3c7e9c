"""Posts of forums that are sessions: their tags follow what is going on in them, over restarts."""

from __future__ import annotations

from bot.work.ports import ThreadHeader
from bot.work.thread_states import State
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import FakeChannels, FakeChat, Work, kept, running_work

CHOICES = {"working": 1, "needs you": 2, "done": 3}


def header(*tags: int) -> ThreadHeader:
    return ThreadHeader("a post", own=False, open=True, tags=tags, choices=CHOICES)


def tags(work: Work) -> list[tuple[int, tuple[int, ...] | None]]:
    return [(thread_id, tags) for _, thread_id, _, tags in work.chat.channels.changes]


@in_virtual_time
async def test_a_post_that_is_a_session_shows_its_state_and_one_of_people_does_not() -> None:
    """S6: it works, asks, and is done; other tags stay."""
    channels = FakeChannels({100: header(9), 200: header(9)})
    async with running_work(chat=FakeChat(channels=channels), ask=lambda session: session.ask()) as work:
        work.dispatcher.outside.posts.claim(100)
        work.post(1, "hang", thread_id=100)
        work.post(2, "ask", thread_id=200)
        await work.settled()
        assert tags(work) == [(100, (9, 1))]
        work.dispatcher.outside.posts.claim(200)
        work.agents.sessions[1].ask(number=2)
        await work.settled()
        assert tags(work)[1:] == [(200, (9, 2))]
        work.agents.sessions[0].respond()
        await work.settled()
        assert tags(work)[2:] == [(100, (9, 3))]


@in_virtual_time
async def test_after_a_kill_a_post_that_was_at_work_needs_somebody_and_others_are_looked_at() -> None:
    """S6, R2: what was done just before the end may not have got to Discord; what nobody can read is left alone."""
    store = kept()
    channels = FakeChannels({100: header(1), 200: header(1), 300: header(1), 400: header(1)})
    async with running_work(store=store) as work:
        for thread_id, state in ((100, State.WORKING), (200, State.DONE), (300, ""), (400, 5)):
            work.dispatcher.thread_settings.keep(thread_id, {"post": state})
        await work.settled()
    async with running_work(store=store, chat=FakeChat(channels=channels)) as work:
        assert all(thread_id in work.dispatcher.outside.posts for thread_id in (100, 200, 300, 400))
        assert 500 not in work.dispatcher.outside.posts
        await work.until(lambda: len(tags(work)) == 2)
        await work.settled()
        assert sorted(tags(work)) == [(100, (2,)), (200, (3,))]
        work.dispatcher.forget(100)
        assert 100 not in work.dispatcher.outside.posts
