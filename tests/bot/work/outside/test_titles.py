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
            session.on_title("Later")
        await work.settled()
        assert renamed(work) == [(1, "Late")]
