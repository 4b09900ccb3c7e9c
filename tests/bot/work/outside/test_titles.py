"""A thread that Weft opened gets its agent's title for the conversation, once."""

from __future__ import annotations

from acp.schema import decode_update
from bot.work.ports import ThreadHeader
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import FakeChannels, FakeChat, PlayedSession, Work, kept, running_work
from tests.bot.work.samples import mention


def titled(title: str | None) -> object:
    return decode_update({"sessionUpdate": "session_info_update", "title": title})


def say_title(session: PlayedSession) -> None:
    session.say("done")
    session.respond()
    session.feed(titled("## Fix **the** secret login <@12>\nand more"))  # type: ignore[arg-type]


def renamed(work: Work) -> list[tuple[int, str | None]]:
    return [(thread_id, name) for _, thread_id, name, _ in work.chat.channels.changes]


@in_virtual_time
async def test_a_title_that_comes_in_the_drain_names_the_thread_once_over_restarts() -> None:
    """S5, R5, R6: without markup, mentions and secrets; later titles change nothing."""
    store, channels = kept(), FakeChannels({1: ThreadHeader("hello", own=True, open=True)})
    for number in range(2):
        chat = FakeChat(channels=channels)
        async with running_work(
            store=store, chat=chat, redact=lambda text: text.replace("secret", "[…]"), hello=say_title
        ) as work:
            work.dispatcher.submit(mention(1)) if number == 0 else work.post(10, thread_id=1)
            await work.until(lambda: len(work.outcomes) == 1)
            await work.settled()
            assert renamed(work) == [(1, "Fix the […] login")]
            # A person calls it by the old name again: that is theirs to say.
            channels.headers[1] = ThreadHeader("hello", own=True, open=True)
            work.post(2 + number, thread_id=1)
            await work.until(lambda: len(work.outcomes) == 2)
            await work.settled()
            assert renamed(work) == [(1, "Fix the […] login")]


@in_virtual_time
async def test_a_title_that_comes_after_the_drain_is_taken_as_well_and_an_empty_one_is_none() -> None:
    """S5: nor is the name taken that the thread has already, nor one for a thread that Weft has not opened."""
    async with running_work() as work:
        for number in (1, 2):
            work.dispatcher.submit(mention(number))
        work.post(3, thread_id=100)
        await work.over(3)
        sessions = {session.turn: session for session in work.agents.sessions}
        assert len(sessions) == 3
        for session, title in zip(work.agents.sessions, ["Late", "hello", "Not ours"], strict=True):
            assert session.on_title is not None
            session.on_title(title)
        await work.settled()
        assert renamed(work) == [(1, "Late")]
        # One that says nothing new, or nothing at all, does not keep a better one away.
        for title in ("* * *", "x" * 10**6, "Better", "Best"):
            for session in work.agents.sessions:
                assert session.on_title is not None
                session.on_title(title)
            await work.settled()
        assert renamed(work) == [(1, "Late"), (2, "Better")]


@in_virtual_time
async def test_a_thread_that_was_opened_without_words_is_named_by_its_first_turn() -> None:
    """S5, S4: `/new` without a prompt has to call it something; a name that a person chose there stays."""
    channels = FakeChannels({number: ThreadHeader("New conversation", own=True, open=True) for number in (1, 2)})
    async with running_work(chat=FakeChat(channels=channels), hello=say_title) as work:
        for thread_id in (1, 2):
            work.dispatcher.outside.opened(thread_id, "New conversation")
        work.dispatcher.controls.keep_name(2)
        work.post(10, thread_id=1)
        work.post(11, thread_id=2)
        await work.over(2)
        assert renamed(work) == [(1, "Fix the secret login")]
