"""One thread's queue: one at a time, by snowflake, and nothing forgotten or counted twice."""

from __future__ import annotations

from bot.work.queue import Prompt, PromptState, ThreadQueue
from tests.bot.work.samples import prompt


def queue_of(*prompts: Prompt) -> ThreadQueue:
    queue = ThreadQueue()
    for item in prompts:
        queue.add(item)
    return queue


def waiting(message_id: int) -> Prompt:
    made = prompt(message_id)
    made.state = PromptState.WAITING
    return made


def test_prompts_wait_in_the_order_of_their_snowflakes() -> None:
    """Q1."""
    queue = queue_of(prompt(3), prompt(1), prompt(2))
    assert [item.id for item in queue.waiting] == [1, 2, 3]


def test_only_a_prompt_that_the_store_has_may_start() -> None:
    """O2."""
    first = prompt(1)
    queue = queue_of(first)
    assert queue.head() is None
    first.state = PromptState.WAITING
    assert queue.head() is first


def test_a_prompt_that_is_still_being_written_keeps_its_place() -> None:
    """Q1, O2: what came later does not overtake it."""
    queue = queue_of(prompt(1), waiting(2))
    assert queue.head() is None


def test_nothing_starts_while_a_prompt_runs() -> None:
    """Q1."""
    first = waiting(1)
    queue = queue_of(first, waiting(2))
    queue.start(first)
    assert (queue.running, first.state, queue.head()) == (first, PromptState.RUNNING, None)


def test_the_end_of_the_running_prompt_frees_the_thread() -> None:
    """Q1."""
    first, second = waiting(1), waiting(2)
    queue = queue_of(first, second)
    queue.start(first)
    queue.end(first)
    assert (first.state, queue.head()) == (PromptState.ENDED, second)


def test_the_end_of_a_prompt_that_waits_leaves_the_running_one() -> None:
    """Q1, Q8."""
    first, second = waiting(1), waiting(2)
    queue = queue_of(first, second)
    queue.start(first)
    queue.end(second)
    assert (queue.running, queue.waiting, second.state) == (first, [], PromptState.ENDED)


def test_a_late_end_of_an_old_prompt_frees_nothing() -> None:
    """Q8: it is not the one that runs now."""
    first, second = waiting(1), waiting(2)
    queue = queue_of(first, second)
    queue.start(first)
    queue.end(first)
    queue.start(second)
    queue.end(first)
    assert queue.running is second


def test_a_message_is_held_while_it_waits_and_while_it_runs() -> None:
    """O1, R2."""
    first, second = waiting(1), waiting(2)
    queue = queue_of(first, second)
    queue.start(first)
    assert [queue.holds(number) for number in (1, 2, 3)] == [True, True, False]
    queue.end(first)
    assert not queue.holds(1)


def test_a_queue_is_idle_when_nothing_runs_and_nothing_waits() -> None:
    """Q10."""
    only = waiting(1)
    queue = ThreadQueue()
    seen = [queue.idle]
    for step in (queue.add, queue.start, queue.end):
        step(only)
        seen.append(queue.idle)
    assert seen == [True, False, False, True]
