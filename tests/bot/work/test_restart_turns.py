"""A turn of several messages that a restart cut off: told once, gone on with as a whole (R2, Q2, Q4)."""

from __future__ import annotations

from dataclasses import replace

from acp.steering import Steering
from bot.outcome import Outcome
from bot.work.model import QueueMode
from bot.work.policy.rules import Rules
from bot.work.record import accepted_prompt
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, NotedStore, PlayedSession, Work, running_work
from tests.bot.work.samples import BOB, inbound


def kept() -> NotedStore:
    return NotedStore(outlives=True)


def buttons(work: Work) -> list[tuple[int, str]]:
    """Return message and custom_id of each button that the thread shows."""
    messages = work.chat.threads[100].messages.items()
    return [(number, button.custom_id) for number, body in messages for button in body.buttons]


async def cut_off_together(store: NotedStore) -> None:
    """Leave a turn of two messages, and a third one that was said into it, as a kill does."""
    for message in (inbound(1, text="one"), inbound(2, text="two"), inbound(3, text="three", author=BOB)):
        await store.accept(accepted_prompt(message))
    await store.started(1, [2])
    await store.started(1, [3])


@in_virtual_time
async def test_a_turn_of_several_messages_that_was_cut_off_is_told_once_on_the_first() -> None:
    """R2, O1, Q4: each of them ends, and none is run again by itself."""
    store = kept()
    await cut_off_together(store)
    await store.accept(accepted_prompt(inbound(4, text="waited")))
    async with running_work(store=store) as work:
        ended = dict(await work.over(4))
        assert ended == dict.fromkeys((1, 2, 3), Outcome.INTERRUPTED) | {4: Outcome.ANSWERED}
        assert work.agents.prompted == ["waited"]
        assert [custom_id for _, custom_id in buttons(work)] == ["weft:go:100:1"]
        (notice,) = [call for call in work.chat.threads[100].of("send") if "interrupted" in call.body.text]
        assert notice.reply_to == 1
        assert sorted(work.chat.reacted) == [(1, "❌"), (2, "❌"), (3, "❌"), (4, "✅")]
    async with running_work(store=store, chat=work.chat) as again:
        await again.settled()
        assert again.outcomes == []


@in_virtual_time
async def test_what_was_said_into_a_turn_that_is_over_is_told_once_too() -> None:
    """R2, Q2: it waited for a turn of its own, and may have been read in the one before."""
    store = kept()
    await cut_off_together(store)
    await store.finished(1, "superseded")
    async with running_work(store=store) as work:
        assert sorted(await work.over(2)) == [(2, Outcome.INTERRUPTED), (3, Outcome.INTERRUPTED)]
        ((notice, custom_id),) = buttons(work)
        assert custom_id == "weft:go:100:2"
        work.desk.go_on(100, 2, notice, BOB)
        await work.over(3)
        assert work.agents.prompted[0].endswith(
            "request:\n\n[alice (user 11) wrote:]\n> two\n\n[bob (user 12) wrote:]\n> three"
        )


@in_virtual_time
async def test_a_message_of_a_cut_off_turn_that_can_t_be_read_hurts_no_other() -> None:
    """O4, R2"""
    store = kept()
    await cut_off_together(store)
    store._prompts[2].prompt = replace(store._prompts[2].prompt, payload="no json")
    async with running_work(store=store) as work:
        assert sorted(await work.over(2)) == [(1, Outcome.INTERRUPTED), (3, Outcome.INTERRUPTED)]


@in_virtual_time
async def test_what_is_said_into_a_turn_is_part_of_it_for_the_next_run() -> None:
    """Q2, R2, Q4: of a row that is one prompt, of what is steered, of what could not be steered."""

    def listen(session: PlayedSession) -> None:
        session.steer = lambda _prompt: Steering(0.1)  # type: ignore[attr-defined]
        session.can_steer = True

    store = kept()
    limits = replace(LIMITS, rules=Rules(debounce=0.5))
    async with running_work(limits=limits, store=store) as work:
        work.agents.parts["one\ntwo"] = listen
        work.post(1, "one")
        work.post(2, "two")
        await work.prompted("one\ntwo")
        work.desk._floor.scheduler.queue(100).steerable(can=True)
        work.post(3, "three", mode=QueueMode.STEER)
        await work.until(lambda: store.calls[-2:] == [("accept", 3), ("started", 1)])
        assert [one.turn for one in await store.open_prompts()] == [None, 1, 1]
        await work.until(lambda: len(work.outcomes) == 3)
        assert ("started", 3) in store.calls


@in_virtual_time
async def test_continue_of_a_turn_of_several_messages_repeats_all_of_it() -> None:
    """R2, Q2: whether a kill cut it off or a stop; with names where several people spoke."""
    store = kept()
    await cut_off_together(store)
    async with running_work(store=store) as work:
        await work.over(3)
        ((notice, _),) = buttons(work)
    async with running_work(store=store, chat=work.chat) as work:
        work.desk.go_on(100, 1, notice, BOB)
        await work.over()
        (prompted,) = work.agents.prompted
        one, two, three = (
            f"[{who} wrote:]\n> {text}"
            for who, text in [("alice (user 11)", "one"), ("alice (user 11)", "two"), ("bob (user 12)", "three")]
        )
        assert prompted.endswith(f"go on with this request:\n\n{one}\n\n{two}\n\n{three}")
