"""The state of each thread, as it is seen from outside: of turns that run, wait, ask and end."""

from __future__ import annotations

from dataclasses import replace

from bot.model import Actor, Outcome
from bot.work.thread_states import MOST_THREADS, State, ThreadStates
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, PlayedSession, Work, busy_scheduler, cut_off_together, kept, running_work
from tests.bot.work.samples import ALICE, BOB


def ask(session: PlayedSession) -> None:
    session.ask()


def fail(session: PlayedSession) -> None:
    session.fail(-32603, "no")


def states(work: Work) -> dict[int, State]:
    return {one.place.thread_id: one.state for one in work.dispatcher.thread_states.all()}


@in_virtual_time
async def test_a_thread_works_needs_somebody_and_is_done_or_has_failed() -> None:
    """A3, S6: what people end themselves is done; whoever waits for a change is woken at each."""
    async with running_work(limits=LIMITS, max_agents=4, ask=ask, fail=fail) as work:
        known = work.dispatcher.thread_states
        work.post(1, "ask", thread_id=100)
        work.post(2, "hang", thread_id=200)
        work.post(3, "fail", thread_id=300)
        await work.outcome(3)
        assert states(work) == {100: State.NEEDS_YOU, 200: State.WORKING, 300: State.FAILED}
        assert [one.agent for one in known.all()] == ["fake"] * 3
        failed = known.of(300)
        assert failed is not None
        assert (failed.prompt, failed.asked_by, failed.outcome) == (3, (ALICE.id,), Outcome.FAILED)
        # A message that waits behind a turn changes nothing; behind one that has ended it is what is going on.
        work.post(4, "more", thread_id=100)
        await work.settled()
        assert states(work)[100] is State.NEEDS_YOU
        changed = known.changed
        (card,) = [turn.cards[0] for turn in work.dispatcher._runs.in_thread(100)]
        work.dispatcher.decide(card.token, 0, replace(ALICE, owner=True))
        await work.until(lambda: states(work)[100] is State.WORKING)
        assert changed.is_set()
        work.dispatcher.controls.stop(200, ALICE)
        await work.outcome(2)
        assert states(work)[200] is State.DONE
        work.dispatcher.forget(200)
        assert 200 not in states(work)
        assert known.of(200) is None


@in_virtual_time
async def test_what_waits_for_a_place_is_told_with_the_moment_it_was_posted() -> None:
    """A3, Q6: no turn of it has begun, so only its queue knows of it."""
    async with running_work(max_agents=1) as work:
        work.post(1, "hang", thread_id=100)
        await work.prompted("hang")
        work.post(5 << 22, "later", thread_id=200, author=BOB)
        await work.settled()
        (waiting,) = [one for one in work.dispatcher.thread_states.all() if one.state is State.WAITING]
        assert (waiting.place.thread_id, waiting.prompt, waiting.asked_by) == (200, 5 << 22, (BOB.id,))
        assert waiting.since == 1_420_070_400.005
        work.dispatcher.controls.clear(200, Actor(1, "x"))
        await work.settled()
        assert set(states(work)) == {100}


@in_virtual_time
async def test_the_last_end_of_a_thread_is_known_after_a_restart_and_what_a_kill_cut_off_has_failed() -> None:
    """A3, R2, R6: for a day; what can't be read, or is older, is not recalled."""
    store = kept()
    async with running_work(store=store, fail=fail) as work:
        work.post(11, "fail", thread_id=100)
        work.post(12, "hello", thread_id=200)
        await work.over(2)
        known = {one.place.thread_id: one for one in work.dispatcher.thread_states.all()}
        settings = work.dispatcher.thread_settings
        settings.keep(300, {"ended": {**settings.kept(200, "ended"), "since": 5.0}})
        settings.keep(400, {"ended": {**settings.kept(200, "ended"), "state": "confused"}})
        settings.keep(500, {"ended": "x"})
        await work.settled()
    await cut_off_together(store)
    async with running_work(store=store, held=True) as work:
        await work.over(3)
        again = {one.place.thread_id: one for one in work.dispatcher.thread_states.all()}
        assert set(again) == {100, 200}
        assert again[200] == known[200]
        assert (again[100].state, again[100].outcome) == (State.FAILED, Outcome.INTERRUPTED)
        assert known[100].outcome is Outcome.FAILED


@in_virtual_time
async def test_threads_that_have_been_quiet_for_longest_are_forgotten_first() -> None:
    async with running_work() as work:
        known = work.dispatcher.thread_states
        work.post(1, "hello", thread_id=1)
        await work.outcome(1)
        (state,) = known.all()
        few = ThreadStates(busy_scheduler(), work.dispatcher.thread_settings)
        for thread_id in range(MOST_THREADS + 1):
            few._threads.put(thread_id, known._threads[1])
        assert few.of(0) is None
        assert few.of(MOST_THREADS) == state
