"""Requests to Discord fail during a turn: the turn goes on, and the final text is there exactly once."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import aiohttp
import anyio
import pytest

from bot.model import Outcome
from bot.sandbox import Fault, delay, status
from tests.agents import Gate, Step, scenario
from tests.clock import let_pass
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.witness import witnessed, words
from tests.repeat import in_soak

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_discord")]


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests time out after 5 s instead of 300."""
    monkeypatch.setattr(aiohttp.client, "DEFAULT_TIMEOUT", aiohttp.ClientTimeout(total=5))


def texts(game: Play, thread_id: int) -> list[str]:
    return [reply.content.split("\n")[0] for reply in game.replies(thread_id)]


def tries(game: Play, method: str, thread_id: int) -> int:
    return len(game.discord.rest_calls(method, f"/channels/{thread_id}/messages"))


async def until_hit(game: Play, left: int = 0) -> None:
    """Wait until faults are left for no more than so many requests."""
    while game.discord.faults.pending > left:  # noqa: ASYNC110  no event tells that; `play` bounds the wait
        await anyio.sleep(0.01)


FAULTS = {
    "reset after": (Fault.RESET_AFTER, 3),
    "503 storm": (status(503), 5),
    "500": (status(500), 1),
    "reset before": (Fault.RESET_BEFORE, 3),
}
EACH_FAULT = pytest.mark.parametrize(
    ("fault", "times"), [*islice(FAULTS.values(), 2), *in_soak(islice(FAULTS.values(), 2, None))], ids=FAULTS
)


@EACH_FAULT
async def test_sends_that_fail_are_tried_again_and_post_one_message(tmp_path: Path, fault: Fault, times: int) -> None:
    """O1, O2, D3, O4: one try more than failed; the nonce keeps Discord from posting it twice."""
    agent = scenario(tmp_path, words=words(tmp_path))
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("hello")
        before = tries(game, "POST", thread_id)
        game.discord.faults.next("POST", rf"/{thread_id}/messages$", fault, times=times)
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert texts(game, thread_id) == ["hello", "again"]
        assert tries(game, "POST", thread_id) == before + times + 1
        assert agent.prompts()[1:] == ["hello", "again"]


@EACH_FAULT
async def test_edits_that_fail_are_tried_again_and_the_final_text_is_complete(
    tmp_path: Path, fault: Fault, times: int
) -> None:
    """D3, O1, O4: the turn goes on while they fail."""
    gate = Gate(tmp_path / "gate")
    work: list[Step] = [{"text": "one "}, gate.step, {"text": "two "}, {"pause": 0.05}, {"text": "three"}]
    agent = scenario(tmp_path, words=words(tmp_path, work=work))
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("work")
        await game.until_shown(thread_id, "one")
        game.discord.faults.next("PATCH", rf"/{thread_id}/messages/", fault, times=times)
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        (reply,) = game.replies(thread_id)
        assert reply.content.startswith("one two three\n-# ")
        assert game.discord.faults.pending == 0
        assert tries(game, "PATCH", thread_id) <= times + 5  # text, text, footer, and the status line


@pytest.mark.usefixtures("_impatient")
async def test_a_send_that_times_out_and_is_carried_out_later_is_one_message(tmp_path: Path) -> None:
    """O1, D3: the same nonce twice; the first request is carried out when the second is long done."""
    agent = scenario(tmp_path, words=words(tmp_path))
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("hello")
        before = tries(game, "POST", thread_id)
        game.discord.faults.next("POST", rf"/{thread_id}/messages$", delay(10))
        follow_up = await game.say(thread_id, "again")
        await until_hit(game)
        let_pass(5)
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        let_pass(5)
        await game.discord.wait_for(lambda _: tries(game, "POST", thread_id) == before + 2, timeout=LIMIT)
        assert texts(game, thread_id) == ["hello", "again"]


@pytest.mark.usefixtures("_impatient")
async def test_an_edit_that_times_out_is_tried_again(tmp_path: Path) -> None:
    """D3, O4."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words=words(tmp_path, work=[{"text": "one "}, gate.step, {"text": "two"}]))
    async with witnessed(tmp_path, agent) as game:
        thread_id = await game.mention("work")
        await game.until_shown(thread_id, "one")
        game.discord.faults.next("PATCH", rf"/{thread_id}/messages/", delay(3600.0), times=2)
        gate.open()
        for left in (1, 0):
            await until_hit(game, left)
            let_pass(5)
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert texts(game, thread_id) == ["one two"]


@pytest.mark.parametrize(
    "fault", [Fault.RESET_AFTER, *in_soak([Fault.RESET_BEFORE, status(503)])], ids=["after", "before", "503"]
)
async def test_a_failure_while_the_thread_is_opened_opens_it_once(tmp_path: Path, fault: Fault) -> None:
    """O1, D1, O4: and the first sign, the reaction, fails as well."""
    agent = scenario(tmp_path, words=words(tmp_path))
    async with witnessed(tmp_path, agent) as game:
        game.discord.faults.next("POST", r"/threads$", fault, times=2)
        game.discord.faults.next("PUT", r"/reactions/", fault, times=3)
        thread_id, outcome = await game.ask("hello")
        assert outcome is Outcome.ANSWERED
        assert texts(game, thread_id) == ["hello"]
        assert len(game.discord.threads()) == 2
        await game.discord.wait_for(lambda fd: fd.message(thread_id).reactions, timeout=LIMIT)
        game.discord.assert_clean(allow=[160004])


async def test_a_failing_discord_delays_the_answer_and_loses_nothing(tmp_path: Path) -> None:
    """O2, D3: 503 twice, then a reset after the message was taken; it is there once."""
    from bot.sandbox import Fault

    agent = scenario(tmp_path, [{"text": "the answer"}])
    async with play(tmp_path, agent, clean=False) as game:
        game.discord.faults.next("POST", r"/messages$", status(503), times=2)
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        assert [one.content.split("\n")[0] for one in game.replies(thread_id)] == ["the answer"]
        game.discord.faults.next("POST", r"/messages$", Fault.RESET_AFTER)
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert [one.content.split("\n")[0] for one in game.replies(thread_id)] == ["the answer"] * 2
