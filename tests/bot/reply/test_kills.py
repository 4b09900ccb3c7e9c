"""The process is killed at any request: whatever was on its way is visible once, and in order."""

from __future__ import annotations

import random

import pytest

from bot.model import Outcome
from tests.bot.reply.fakes import PROSE, STOP, FakeThread, final_reply, in_virtual_time, spoken
from tests.bot.reply.replies import CODE, INTERRUPTED, RestartedReply, baseline

WITHOUT_A_WORD = "Theagentfinishedwithoutsayinganythingorusingatool(stopreason`unknown`)."
LENGTHS = (0, 40, 700, 1900, 4000, 9000)


def without_fences(text: str) -> str:
    return "".join(text.replace("```py", "").replace("```", "").split())


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("seed", range(6))
def test_whenever_the_process_is_killed_the_reply_is_shown_once_and_in_order(
    seed: int, lag: int, applied: bool
) -> None:
    """D3, O1, R2: at every request, with Discord one step ahead of the store, and again in the restarts."""
    text = PROSE[: LENGTHS[seed]]

    @in_virtual_time
    async def play() -> None:
        for crash_at in range(1, await baseline(text, seed) + 1):
            reply = RestartedReply(FakeThread(crash_applied=applied), lag)
            await reply.play(text, seed, final_reply(Outcome.ANSWERED, "-# a line"), crash_at)
            check(reply, text, f"killed at {crash_at}")

    play()


def check(reply: RestartedReply, text: str, where: str) -> None:
    owed = reply.payload is not None
    whole, said = "".join(text.split()), reply.said
    assert all(reply.delivered), where
    assert (reply.count("-# footer"), reply.count(INTERRUPTED.text)) == ((1, 0) if owed else (0, 1)), where
    if owed:
        assert whole == (said if whole else said.replace(WITHOUT_A_WORD, "")), where
    else:
        assert all("".join(spoken([line]).split()) in whole for line in reply.answers), where
    assert not any("⏳" in line for line in reply.thread.texts), where
    assert not any(STOP in body.buttons for body in reply.thread.messages.values()), where


@in_virtual_time
async def test_a_code_block_survives_a_kill_at_any_request() -> None:
    """D4, D3"""
    shown = set()
    for crash_at in range(1, await baseline(CODE, 3) + 1):
        reply = RestartedReply(FakeThread(crash_applied=True), lag=1)
        await reply.play(CODE, 3, final_reply(), crash_at)
        if reply.payload is not None:
            shown.add("\n".join(reply.thread.texts[-2:]))
            assert all(text.count("```") % 2 == 0 for text in reply.thread.texts)
            assert without_fences(CODE) == without_fences(spoken(reply.thread.texts))
    assert len(shown) == 1


@pytest.mark.parametrize("applied", [False, True])
@in_virtual_time
async def test_the_requester_is_pinged_once_by_a_new_message(applied: bool) -> None:
    """D9"""
    final = final_reply(ping=7)
    for crash_at in range(1, await baseline(PROSE[:2500], 1, final) + 1):
        reply = RestartedReply(FakeThread(crash_applied=applied), lag=1)
        await reply.play(PROSE[:2500], 1, final, crash_at)
        pinged = {call.message_id for call in reply.thread.of("send") if call.body.ping == 7}
        assert len(pinged & reply.thread.messages.keys()) == (reply.payload is not None), crash_at
        assert reply.count("<@7>") == (reply.payload is not None), crash_at


@in_virtual_time
async def test_the_rest_of_a_long_answer_is_one_file_whenever_the_process_is_killed() -> None:
    """D4, D3"""
    text = PROSE * 2
    requests = await baseline(text, 5)
    for crash_at in range(requests - 8, requests + 1):
        reply = RestartedReply(FakeThread(crash_applied=True), lag=1)
        await reply.play(text, 5, final_reply(), crash_at)
        files = [body.file for body in reply.thread.messages.values() if body.file]
        assert (len(files), reply.said) == (int(reply.payload is not None), reply.said)
        if reply.payload is not None:
            assert "".join(text.split()) == reply.said


@pytest.mark.parametrize("seed", range(20))
def test_a_kill_while_discord_is_in_trouble_costs_nothing_and_doubles_nothing(seed: int) -> None:
    """D3, O1, R2: requests fail, some after they were done, edits stall, and records are lost."""
    dice = random.Random(seed)
    text = PROSE[: dice.choice([30, 500, 1880, 3000, 6000, 15000])]
    final = final_reply(ping=dice.choice([None, 7]))

    @in_virtual_time
    async def play() -> None:
        for lag, loses in [(0, False), (0, True), (1, False), (1, True)]:
            thread = FakeThread(crash_applied=dice.random() < 0.5, lose_answers=loses, stall=dice.choice([0.0, 2.0]))
            reply = RestartedReply(thread, lag, dice)
            crash_at = dice.randrange(1, 40)
            await reply.play(text, seed, final, crash_at)
            check(reply, text, f"killed at {crash_at}, {lag=}, {loses=}")

    play()
