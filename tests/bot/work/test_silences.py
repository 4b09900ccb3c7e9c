"""Agents that fall silent again and again: told in a line, until one of their turns is answered."""

from __future__ import annotations

import anyio
from structlog.testing import capture_logs

from bot.model import Outcome
from bot.work.silences import Silences
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import running_work
from tests.bot.work.samples import ALICE


def test_three_turns_in_a_row_without_a_word_are_told_and_logged() -> None:
    """T7, Q11: those that ended for another reason don't count, and an answer ends the row."""
    silences = Silences()
    with capture_logs() as logs:
        for outcome in (Outcome.STOPPED, Outcome.FAILED, Outcome.INTERRUPTED, Outcome.TIMED_OUT):
            assert silences.describe("a") == []
            silences.ended("a", outcome, silent=True)
        silences.ended("a", Outcome.FAILED, silent=False)
        silences.ended("b", Outcome.STOPPED, silent=True)
    assert [(one["event"], one["agent"], one["turns"]) for one in logs] == [("provider.suspected", "a", 3)]
    (line,) = silences.describe()
    assert line.startswith("⚠️ The last 3 turns of `a` ended without a word from its model")
    assert silences.describe("b") == []
    silences.ended("a", Outcome.ANSWERED, silent=False)
    assert silences.describe() == []


@in_virtual_time
async def test_a_silent_turn_shows_the_agents_last_words_without_secrets() -> None:
    """T7, R5: those that it said in this turn."""
    async with running_work(redact=lambda text: text.replace("sk-secret", "…")) as work:
        work.post(1)
        await work.over()
        connection = work.agents.connections[0]
        connection.stderr = "a warning of before\n"
        for number in (2, 3, 4):
            work.post(number, "hang")
            await work.prompted("hello", *["hang"] * (number - 1))
            connection.stderr += f"\n429 too many requests, attempt {number} of sk-secret\n\n"
            await anyio.sleep(70)
            (shown,) = [text for text in work.chat.texts() if "no sign of life for 1 min" in text]
            assert f"(it last said `429 too many requests, attempt {number} of …`). Wait or press Stop" in shown
            assert "attempt" in work.dispatcher.controls.status(100)
            work.dispatcher.controls.stop(100, ALICE)
            await work.over(number)
        assert "⚠️ The last 3 turns of `fake` ended without a word" in work.dispatcher.controls.status(100)
        assert "⚠️ The last 3 turns of `fake` ended without a word" in work.dispatcher.controls.status(None)
        work.post(5)
        await work.over(5)
        assert "⚠️" not in work.dispatcher.controls.status(100)
