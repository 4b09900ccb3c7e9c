"""An agent that floods: text, chunks, long lines, stderr. Memory is bounded, nothing is lost in silence (T9, T10).

    fault                                      test
    100 MB of text                             test_a_hundred_megabytes_of_text_cost_bounded_memory_and_say_what_was_cut
    many small chunks                          test_many_small_chunks_are_few_edits
    lines of 1, 10 MB                          test_a_long_line_within_the_limit_is_shown_whole
    a 50 MB line, beyond the limit             test_a_line_beyond_the_limit_is_dropped_and_the_next_is_whole
    a line beyond the limit with the response  test_a_response_beyond_the_limit_fails_the_turn_and_says_so
    a line that never ends                     test_a_line_that_never_ends_costs_no_memory_and_the_turn_can_be_stopped
    10 MB of stderr                            test_a_flood_on_stderr_is_drained_and_its_last_line_told

The last message of a flood is a file: what Discord has no room for. A witness streams through each of them (O4).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from bot.model import Outcome
from tests.agents import Step, scenario
from tests.e2e.play import Play
from tests.e2e.witness import witnessed, words
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

MB = 1024 * 1024
GROWTH = 64 * MB
"""Bytes by which the bot may grow through a flood."""

WITH_DISCORD = 160 * MB
"""The same where a file of megabytes goes to the loopback, which takes it in this very process.

What the bot's own process grows by is measured by ``scripts/bench flood``.
"""


@asynccontextmanager
async def flooded(directory: Path, steps: list[Step], *, growth: int = GROWTH, **settings: Any) -> AsyncIterator[Play]:
    """Play a flood for the word ``flood``, beside the witness, and watch the memory of the bot."""
    agent = scenario(directory, words=words(directory, flood=steps))
    me = psutil.Process()
    async with witnessed(directory, agent, **settings) as game, anyio.create_task_group() as tasks:
        before = me.memory_info().rss
        most = [before]

        async def watch() -> None:
            while True:
                most.append(me.memory_info().rss)
                await anyio.sleep(0.02)

        tasks.start_soon(watch)
        yield game
        tasks.cancel_scope.cancel()
        assert max(most) - before < growth


async def test_a_hundred_megabytes_of_text_cost_bounded_memory_and_say_what_was_cut(tmp_path: Path) -> None:
    """T10, D4: 8 MiB are kept."""
    steps: list[Step] = [{"flood": 100_000, "times": 1000, "text": "lorem ipsum "}]
    async with flooded(tmp_path, steps, growth=WITH_DISCORD) as game:
        thread_id, outcome = await game.ask("flood")
        assert outcome is Outcome.ANSWERED
        last = game.replies(thread_id)[-1]
        assert f"-# {100_000_000 - 8 * MB:,} bytes of the answer were left out: it was too long" in last.content
        assert [attachment.name for attachment in last.attachments] == ["answer.md"]


async def test_many_small_chunks_are_few_edits(tmp_path: Path) -> None:
    """D3: 50,000 chunks."""
    async with flooded(tmp_path, [{"flood": 4, "times": 50_000, "text": "abc "}], edit_interval=0.5) as game:
        thread_id, outcome = await game.ask("flood")
        assert outcome is Outcome.ANSWERED
        requests = [call for call in game.discord.rest_calls() if call.method in ("POST", "PATCH")]
        assert len(requests) < 100
        assert len(game.replies(thread_id)) <= 9


@pytest.mark.parametrize("size", [MB, *in_soak([10 * MB])])
async def test_a_long_line_within_the_limit_is_shown_whole(tmp_path: Path, size: int) -> None:
    """T9, D4"""
    steps: list[Step] = [{"flood": size, "times": 1}, {"text": "the end"}]
    async with flooded(tmp_path, steps, growth=WITH_DISCORD) as game:
        thread_id, outcome = await game.ask("flood")
        assert outcome is Outcome.ANSWERED
        kept = min(size, 8 * MB)
        last = game.replies(thread_id)[-1]
        assert len(last.attachments) == 1
        assert ("bytes of the answer were left out: it was too long" in last.content) is (size > kept)


async def test_a_line_beyond_the_limit_is_dropped_and_the_next_is_whole(tmp_path: Path) -> None:
    """T9: resync; and the gap is told."""
    steps: list[Step] = [{"text": "before. ", "id": "m"}, {"flood": 50 * MB, "times": 1}, {"text": "after.", "id": "m"}]
    async with flooded(tmp_path, steps) as game:
        thread_id, outcome = await game.ask("flood")
        assert outcome is Outcome.ANSWERED
        missing = "-# ⚠️ A message of the agent was too large (52 MB) and is missing here."
        assert game.shown(thread_id).startswith(f"before. after.\n{missing}\n-# ")


async def test_a_response_beyond_the_limit_fails_the_turn_and_says_so(tmp_path: Path) -> None:
    """T9, O1: at once, not at the hard timeout; the session goes on."""
    padding = "x" * 200_000
    steps: list[Step] = [{"text": "so far"}, {"respond": {"stopReason": "end_turn", "_meta": {"padding": padding}}}]
    async with flooded(tmp_path, steps, max_line=64 * 1024) as game:
        thread_id, outcome = await game.ask("flood")
        assert outcome is Outcome.FAILED
        line = rf"so far\n⚠️ \*\*Failed:\*\* `the answer was too long \({len(padding) // 1000}\d\d\d bytes\)`\. Send"
        assert re.match(line, game.shown(thread_id))
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED


async def test_a_line_that_never_ends_costs_no_memory_and_the_turn_can_be_stopped(tmp_path: Path) -> None:
    """T9, T6: the answer to the cancel is a part of that line, so nobody hears it."""
    endless: list[Step] = [{"raw": "x" * 1000, "times": 60_000, "end": ""}, {"mark": "written"}, {"hang": True}]
    async with flooded(tmp_path, [{"text": "so far"}, *endless], cancel_grace=0.2) as game:
        thread_id = await game.mention("flood")
        await game.agent.seen("mark")
        await game.until_shown(thread_id, "so far")
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        line = "so far\n⏹ **Stopped** by `owner`. The agent did not react, so it was ended.\n-# "
        assert game.shown(thread_id).startswith(line)


async def test_a_flood_on_stderr_is_drained_and_its_last_line_told(tmp_path: Path) -> None:
    """T9: the agent never waits for us to read it."""
    steps: list[Step] = [{"stderr": "e" * 999 + "\n", "times": 10_000}, {"stderr": "the last words\n"}, {"exit": 4}]
    async with flooded(tmp_path, [{"text": "so far"}, *steps]) as game:
        thread_id, outcome = await game.ask("flood")
        assert outcome is Outcome.AGENT_DIED
        line = "so far\n⚠️ **The agent crashed:** exit status 4, last said `the last words`. Write again to go on.\n-# "
        assert game.shown(thread_id).startswith(line)
