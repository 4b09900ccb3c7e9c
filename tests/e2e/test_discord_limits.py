"""Discord refuses requests for a while, or would if asked too often: turns go on, the final text arrives once."""

from __future__ import annotations

import functools
from pathlib import Path
from statistics import median

import pytest

from bot.chat import gateway as chat_gateway
from bot.chat.rest import Breaker
from bot.model import Outcome
from bot.sandbox import Fault, RateLimits, html, rate_limited
from tests.agents import Gate, Step, scenario
from tests.e2e.play import Play, play
from tests.e2e.witness import witnessed, words
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

QUICK = pytest.mark.usefixtures("quick_discord")


def refused(game: Play, status: int) -> int:
    return len([call for call in game.discord.rest_calls() if call.status == status])


FIRST_TEXT_LIMIT = 0.150
"""Seconds from the agent's first chunk to its arrival at Discord; on this promise the clock is the test."""


@QUICK
async def test_edits_that_wait_delay_nothing_but_themselves(tmp_path: Path) -> None:
    """D3, O4: the agent goes on meanwhile, and another thread is answered; two edits are held up, one after another."""
    gate = Gate(tmp_path / "gate")
    work: list[Step] = [{"text": "one "}, gate.step, {"text": "two "}, {"mark": "said"}, {"text": "three"}]
    agent = scenario(tmp_path, words=words(tmp_path, work=work))
    async with witnessed(tmp_path, agent) as game:
        other, _ = await game.ask("hello")
        thread_id = await game.mention("work")
        await game.until_shown(thread_id, "one")
        game.discord.faults.next("PATCH", rf"/{thread_id}/messages/", rate_limited(1.5), times=2)
        gate.open()
        await agent.seen("mark")
        # Its agent is there already, as the start of one may well take longer than the edits are held up.
        assert await game.outcome(await game.say(other, "again")) is Outcome.ANSWERED
        assert thread_id not in game.on_stage.outcomes
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        (reply,) = game.replies(thread_id)
        assert reply.content.startswith("one two three\n-# ")
        assert refused(game, 429) == 2


@QUICK
async def test_sends_that_wait_half_a_second_are_posted_once(tmp_path: Path) -> None:
    """D3, O1."""
    agent = scenario(tmp_path, words=words(tmp_path))
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("hello")
        game.discord.faults.next("POST", rf"/{thread_id}/messages$", rate_limited(0.5))
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert [reply.content.split("\n")[0] for reply in game.replies(thread_id)] == ["hello", "again"]
        assert refused(game, 429) == 1


@QUICK
async def test_a_global_limit_is_waited_out_by_all_threads_and_nobody_insists(tmp_path: Path) -> None:
    """D3, O1: it is hit once; then every thread gets its whole answer."""
    gate = Gate(tmp_path / "gate")
    work: list[Step] = [{"text": "one "}, gate.step, {"text": "two "}, {"pause": 0.1}, {"text": "three"}]
    agent = scenario(tmp_path, words=words(tmp_path, work=work))
    async with witnessed(tmp_path, agent) as game:
        threads = [await game.mention(f"work {number}") for number in range(3)]
        for thread_id in threads:
            await game.until_shown(thread_id, "one")
        game.discord.faults.next("PATCH", rf"/{threads[0]}/messages/", rate_limited(0.4, global_=True))
        gate.open()
        for thread_id in threads:
            assert await game.outcome(thread_id) is Outcome.ANSWERED
            (reply,) = game.replies(thread_id)
            assert reply.content.startswith("one two three\n-# ")
        assert refused(game, 429) == 1


@QUICK
@pytest.mark.parametrize(
    "page", [html(403), *in_soak([html(429), rate_limited(1.0, via=False)])], ids=["403", "429", "no Via"]
)
async def test_a_ban_by_the_proxy_before_discord_ends_no_turn_and_loses_no_text(tmp_path: Path, page: Fault) -> None:
    """D3, D10, O1: such an answer says nothing about the thread, so the thread is not given up."""
    gate = Gate(tmp_path / "gate")
    work: list[Step] = [{"text": "one "}, gate.step, {"text": "two"}]
    agent = scenario(tmp_path, words=words(tmp_path, work=work))
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("work")
        await game.until_shown(thread_id, "one")
        game.discord.faults.next("PATCH", rf"/{thread_id}/messages/", page, times=3)
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        game.discord.faults.next("POST", rf"/{thread_id}/messages$", page, times=3)
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert [reply.content.split("\n")[0] for reply in game.replies(thread_id)] == ["one two", "again"]
        assert refused(game, page.http_status) == 6
        assert game.discord.faults.pending == 0


@pytest.mark.soak
@QUICK
async def test_an_endless_stream_of_refusals_stays_below_the_breakers_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D10: here 30 instead of 990; whatever people post, no request goes out after that."""
    monkeypatch.setattr(chat_gateway, "Breaker", functools.partial(Breaker, sparing=20, closed=30))
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, clean=False) as game:
        for permission in ("send_messages", "create_public_threads", "add_reactions"):
            game.discord.deny(permission, game.discord.channel_id)
        while (before := refused(game, 403)) < 30:
            await game.mention("hello")
            await game.discord.wait_for(lambda _, before=before: refused(game, 403) > before)  # type: ignore[misc]
        for _ in range(15):
            await game.mention("hello")
        for _ in range(5):
            # What people do by commands is answered all the same; the answer comes after all that was said before.
            answer = await game.owner.slash(game.discord.channel_id, "status")
            assert answer.response is not None
        # What was under way when the limit was reached still counts; the later mentions alone would make 60.
        assert 30 <= refused(game, 403) <= 45
        game.discord.assert_clean(allow=[403])
        game.on_stage.bot.dispatcher.hurry()  # nothing can be told any more


# --- Discord's real limits -----------------------------------------------------------------------------------------


async def test_a_streamed_answer_keeps_within_the_limits_and_is_complete(tmp_path: Path) -> None:
    """D3: no 429, at most four edits in five seconds before the last, the final text exactly once."""
    words = " ".join(f"word{number}" for number in range(60))
    agent = scenario(tmp_path, [{"text": words, "chunks": 60, "delay": 0.066}])
    async with play(tmp_path, agent, rate_limits=RateLimits.REAL, edit_interval=1.25, drain=0.2) as game:
        thread_id, outcome = await game.ask("stream")
        assert outcome is Outcome.ANSWERED
        (reply,) = game.replies(thread_id)
        assert reply.content.startswith(words + "\n-# ")
        timeline = game.discord.timeline(reply.id)
        shown = [text.split("\n")[0] for _, text in timeline]
        assert all(words.startswith(text) for text in shown)
        assert [len(text) for text in shown] == sorted(len(text) for text in shown)
        assert shown[-1] == words
        edits = game.discord.rest_calls("PATCH", f"/messages/{reply.id}")
        assert [call.status for call in edits] == [200] * len(edits)
        assert 3 <= len(edits) <= 7


async def test_the_first_text_is_visible_soon_after_the_first_chunk(tmp_path: Path) -> None:
    """D3: the median of five turns, since the machine may be busy with something else for one of them."""
    steps: list[Step] = [{"mark": "speaks"}, {"text": "hello "}, {"pause": 0.3}, {"text": "there"}]
    agent = scenario(tmp_path, steps)
    async with play(tmp_path, agent, rate_limits=RateLimits.REAL, edit_interval=1.25, drain=0.2) as game:
        delays = []
        for _ in range(5):
            thread_id, outcome = await game.ask("go")
            assert outcome is Outcome.ANSWERED
            spoken = agent.events("mark")[-1]["t"]
            (reply,) = game.replies(thread_id)
            delays.append(game.discord.timeline(reply.id)[0][0] - spoken)
        assert median(delays) <= FIRST_TEXT_LIMIT


async def test_two_threads_stream_at_once_without_a_refusal(tmp_path: Path) -> None:
    """D3: the limits are each thread's own, but for the global one."""
    agent = scenario(tmp_path, [{"text": "some words " * 20, "chunks": 40, "delay": 0.05}])
    async with play(tmp_path, agent, rate_limits=RateLimits.REAL, edit_interval=1.25, drain=0.2) as game:
        threads = [await game.mention("one"), await game.mention("two")]
        assert [await game.outcome(thread_id) for thread_id in threads] == [Outcome.ANSWERED] * 2
        for thread_id in threads:
            assert "some words " * 20 in game.shown(thread_id).replace("\n", " ")


async def test_a_limit_of_minutes_on_edits_does_not_hold_back_the_end(tmp_path: Path) -> None:
    """D3: what is not shown yet is a new message, and the next turn is not held up."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [{"text": "first half. "}, gate.step, {"text": "second half."}])
    async with play(tmp_path, agent) as game:
        game.discord.faults.next("PATCH", "/messages/", Fault.rate_limited(300))
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "first half")
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        before, after = game.replies(thread_id)
        assert before.content.startswith("first half.")
        assert after.content.startswith("second half.\n-# ")
        assert len(game.discord.rest_calls("PATCH", f"/messages/{before.id}")) == 1
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED
