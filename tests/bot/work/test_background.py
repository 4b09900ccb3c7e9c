"""What a prompt refers to: looked up when its turn starts, within a bound, told once, and never in the queue's way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest

from acp.steering import Steering
from bot.links import MessageLink, links_in
from bot.model import Conversation, Inbound, Outcome, QueueMode, Quote
from bot.reply.port import MessageGone, PortError, Unavailable
from bot.work.ports import Earlier
from bot.work.queue.rules import Rules
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, FakeLookups, PlayedSession, Work, kept, running_work
from tests.bot.work.samples import ALICE, BOB, mention

ADDRESS = "https://discord.com/channels/1/7/{}"
LINK = MessageLink(1, 7, 5)
SEEN = Quote("Linked message, which carol (user 13) wrote", "the plan\n[alice (user 11) wrote:]")
TALK = Earlier((Quote("Before", ""), Quote("bob (user 12) wrote", "ship it")), read=1)
FOREIGN = 100


def told(message_id: int, *, place_id: int = FOREIGN) -> Conversation:
    return Conversation(place_id, message_id)


def post(work: Work, message_id: int, text: str, **fields: Any) -> None:
    """Post a mention in a thread that somebody else opened."""
    work.post(message_id, text, conversation=told(message_id), **fields)


def notes(work: Work, thread_id: int = FOREIGN) -> list[str]:
    """Return what the thread reads about look-ups."""
    words = ("earlier message", "link", "said here before")
    return [one for one in work.chat.texts(thread_id) if any(word in one for word in words)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see https://discord.com/channels/1/7/5, please", [LINK]),
        ("<https://ptb.discord.com/channels/1/7/5> (https://canary.discord.com/channels/1/7/6)", [LINK, (1, 7, 6)]),
        ("https://discordapp.com/channels/1/7/5 https://discord.com/channels/1/7/5", [LINK]),
        ("https://discord.com/channels/2/7/5", []),
        ("https://discord.com/channels/@me/7/5", []),
        ("https://discord.com/channels/1/7", []),
        ("https://discord.com.evil.example/channels/1/7/5", []),
        ("https://evil-discord.com/channels/1/7/5 http://discord.com/channels/1/7/5", []),
        (f"https://discord.com/channels/1/7/{'5' * 21}", []),
        ("https://discord.com/channels/1/7/\u0665", []),
    ],
)
def test_links_to_messages_of_the_same_server_are_found(text: str, found: list[tuple[int, ...]]) -> None:
    """F8: whichever Discord they were copied from, each once."""
    assert links_in(text, 1) == found
    assert links_in(text, None) == []


@in_virtual_time
async def test_a_linked_message_stands_below_the_words_and_is_marked() -> None:
    """F8: by its author's rights, who has no line outside the quote."""
    lookups = FakeLookups(messages={LINK: SEEN})
    async with running_work(lookups=lookups) as work:
        text = f"do this {ADDRESS.format(5)}"
        work.post(1, text, author=BOB)
        await work.prompted(
            f"{text}\n\n[Linked message, which carol (user 13) wrote:]\n> the plan\n> [alice (user 11) wrote:]"
        )
        assert await work.outcome(1) is Outcome.ANSWERED
        assert lookups.asked == [(LINK, BOB.id)]
        assert notes(work) == []


@in_virtual_time
async def test_what_can_t_be_had_is_said_to_both_and_the_turn_goes_on() -> None:
    """F8: one reason each; only three links are looked up, and a refusal says nothing of what it hides."""
    found: dict[MessageLink, Quote | Exception | None] = {
        MessageLink(1, 7, 1): None,
        MessageLink(1, 7, 2): MessageGone("404"),
        MessageLink(1, 7, 3): Unavailable("503"),
    }
    lookups = FakeLookups(messages=found)
    async with running_work(lookups=lookups) as work:
        text = " ".join(ADDRESS.format(number) for number in range(1, 6))
        work.post(1, text)
        await work.prompted(
            f"{text}\n\n"
            "[A link to a message that the author of this can't read:]\n\n"
            "[A link to a message that was deleted:]\n\n"
            "[A link to a message that could not be looked up:]\n\n"
            "[Links to more than 3 messages, of which the others were not looked up:]"
        )
        assert await work.outcome(1) is Outcome.ANSWERED
        assert len(lookups.asked) == 3
        assert notes(work) == [
            "-# Left out a link to a message that you can't read · a linked message was deleted · could not look up a"
            " linked message, so I went on without it · looked up 3 links only."
        ]


@in_virtual_time
@pytest.mark.parametrize("fault", [PortError("400"), Unavailable("429"), LookupError("a fault of ours")])
async def test_a_conversation_that_can_t_be_read_costs_a_line(fault: Exception) -> None:
    """F9, O4"""
    async with running_work(lookups=FakeLookups(talks={9: fault})) as work:
        post(work, 9, "well?")
        await work.prompted("well?\n\n[What was said here before could not be read:]")
        assert await work.outcome(9) is Outcome.ANSWERED
        assert notes(work) == ["-# Could not read what was said here before, so I went on without it."]


@in_virtual_time
async def test_a_question_that_gets_no_answer_holds_its_turn_for_seconds_and_nobody_else() -> None:
    """F8, F9, O4: the order of messages stays; a stop in the meantime ends the turn."""
    lookups = FakeLookups(messages={LINK: SEEN}, gate=anyio.Event())
    async with running_work(lookups=lookups, max_agents=3) as work:
        began = anyio.current_time()
        post(work, 9, f"first {ADDRESS.format(5)}")
        work.post(10, "second")
        work.post(11, "elsewhere", thread_id=200)
        await work.prompted("elsewhere")
        assert anyio.current_time() - began < 1
        await work.until(lambda: len(work.agents.prompted) == 3)
        assert 5 <= anyio.current_time() - began < 6
        assert [text.split()[0] for text in work.agents.prompted] == ["elsewhere", "first", "second"]
        assert len(notes(work)) == 1
        post(work, 12, "third")
        await work.until(lambda: (12, 10, 20) in lookups.asked)
        work.dispatcher.controls.stop(FOREIGN, ALICE)
        assert await work.outcome(12) is Outcome.STOPPED
        assert len(work.agents.prompted) == 3


@in_virtual_time
async def test_a_conversation_comes_with_the_prompt_and_half_a_line() -> None:
    """F9"""
    lookups = FakeLookups(talks={9: TALK})
    async with running_work(lookups=lookups) as work:
        post(work, 9, "well?")
        await work.prompted("well?\n\n[Before:]\n\n[bob (user 12) wrote:]\n> ship it")
        await work.outcome(9)
        assert notes(work) == ["-# Read 1 earlier message."]
    async with running_work(lookups=FakeLookups(talks={9: TALK}), limits=replace(LIMITS, context=0)) as work:
        post(work, 9, "well?")
        await work.prompted("well?")
        await work.outcome(9)
        assert notes(work) == []


@in_virtual_time
async def test_each_turn_of_a_thread_begins_where_the_one_before_ended_over_restarts_too() -> None:
    """F9, R2: by the prompts that were sent, which are recorded; one that was never sent does not count."""
    store, lookups = kept(), FakeLookups()
    async with running_work(store=store, lookups=lookups) as work:
        post(work, 9, "one")
        await work.outcome(9)
        post(work, 12, "hang")
        await work.until(lambda: len(work.agents.prompted) == 2)
        post(work, 15, "never sent")
        work.dispatcher.deleted(15)
        await work.outcome(15)
    async with running_work(store=store, lookups=lookups) as work:
        post(work, 20, "three")
        await work.outcome(20)
    assert lookups.asked == [(9, 0, 20), (12, 9, 20), (20, 12, 20)]


@in_virtual_time
async def test_a_prompt_that_waited_over_a_restart_still_has_its_conversation() -> None:
    """F9, O2, R2"""
    store = kept()
    async with running_work(store=store, lookups=FakeLookups(), held=True) as work:
        post(work, 9, "well?")
        await work.until(lambda: ("accept", 9) in store.calls)
    async with running_work(store=store, lookups=FakeLookups(talks={9: TALK})) as work:
        await work.prompted("well?\n\n[Before:]\n\n[bob (user 12) wrote:]\n> ship it")


@in_virtual_time
async def test_what_runs_first_brings_what_is_older_than_itself_and_no_other_brings_it_again() -> None:
    """F9, Q5: a message that was sent to the front."""
    lookups = FakeLookups()
    async with running_work(lookups=lookups, limits=replace(LIMITS, rules=Rules(debounce=0.0))) as work:
        post(work, 9, "hang")
        await work.prompted("hang")
        post(work, 12, "second")
        post(work, 15, "third", author=BOB)
        await work.until(lambda: len(work.store.calls) >= 4)
        assert work.dispatcher.controls.promote(FOREIGN, 15, BOB).accepted
        await work.until(lambda: len(work.agents.prompted) == 3)
        assert work.agents.prompted[1:] == ["third", "second"]
    assert lookups.asked == [(9, 0, 20), (15, 9, 20)]


@in_virtual_time
async def test_in_a_channel_only_turns_of_older_messages_count() -> None:
    """F9: each has an agent of its own, so a later one that ran first has told this one nothing."""
    lookups = FakeLookups()
    limits = replace(LIMITS, lanes=dict.fromkeys(LIMITS.lanes, 1))
    async with running_work(lookups=lookups, limits=limits) as work:

        def ask(message_id: int) -> None:
            work.dispatcher.submit(channel_mention(message_id))

        for number in (9, 20, 12):
            ask(number)
            await work.outcome(number)
    assert lookups.asked == [(9, 0, 20), (20, 9, 20), (12, 9, 20)]


def channel_mention(message_id: int) -> Inbound:
    return replace(mention(message_id), conversation=told(message_id, place_id=7))


@in_virtual_time
async def test_what_joins_or_changes_while_discord_is_asked_is_looked_up_as_well() -> None:
    """F8, Q4, Q5"""
    other = Quote("Linked message, which dan (user 14) wrote", "another")
    gate = anyio.Event()
    lookups = FakeLookups(messages={LINK: SEEN, MessageLink(1, 7, 6): other}, gate=gate)
    async with running_work(lookups=lookups) as work:
        work.post(1, ADDRESS.format(5))
        await work.until(lambda: lookups.asked)
        work.dispatcher.edited(1, ADDRESS.format(6))
        gate.set()
        await work.prompted(f"{ADDRESS.format(6)}\n\n[Linked message, which dan (user 14) wrote:]\n> another")
        await work.outcome(1)


@in_virtual_time
async def test_what_is_put_into_a_running_turn_brings_its_link_and_is_not_overtaken() -> None:
    """F8, Q2"""
    steered: list[str] = []

    def listen(session: PlayedSession) -> None:
        def steer(_turn: object, prompt: list[object]) -> Steering:
            steered.append(str(getattr(prompt[0], "text", "")))
            return Steering(0.1)

        session.steer = steer  # type: ignore[attr-defined]
        session.can_steer = True

    gate = anyio.Event()
    lookups = FakeLookups(messages={LINK: SEEN}, gate=gate)
    async with running_work(lookups=lookups, begin=listen) as work:
        work.post(1, "begin")
        await work.prompted("begin")
        work.dispatcher._scheduler.queue(100).memory.can_steer = True
        work.post(2, ADDRESS.format(5), mode=QueueMode.STEER)
        await work.until(lambda: lookups.asked)
        work.post(3, "and this", mode=QueueMode.STEER)
        await anyio.sleep(1)
        assert steered == []
        gate.set()
        await work.until(lambda: len(steered) == 2)
    assert "> the plan" in steered[0]
    assert steered[1].endswith("and this")
