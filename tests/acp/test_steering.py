"""Text that is put into a running turn, and the rule by which it is answered exactly once (Q2)."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from acp.handshake import can_steer
from acp.jsonrpc import Notification
from acp.peer import MOST_ABANDONED
from acp.schema import ContentBlock, InitializeResult, text_block
from acp.session import AgentSession
from acp.snapshot import Phase
from acp.steering import Steering
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from tests.acp.children import lines_of
from tests.acp.connections import HELLO, QUICK, Sink, connected, heard, said

GREET = "greet(_meta={'steering': {'supported': True}})\nopen_session()"
MORE = [text_block("and this")]
END = "answer(p, {'stopReason': 'end_turn'})"
STEERED = "p = hear('session/prompt')\ns = hear('_session/steering')"


@dataclass
class Running:
    """A session with a prompt under way."""

    session: AgentSession
    sink: Sink = field(default_factory=Sink)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> Turn:
        self.turn = Turn(TurnLimits(), anyio.current_time())
        self.prompt = self.session.begin_turn(self.turn, self.sink, HELLO)
        return self.turn

    def steer(self, prompt: list[ContentBlock]) -> Steering:
        return self.session.steer(self.turn, prompt)

    async def until_said(self, text: str) -> None:
        while said(self.turn) != text:
            await self.sink.changes.wait()


@asynccontextmanager
async def prompting(source: str, cwd: Path, *, greet: str = GREET, **limits: Any) -> AsyncIterator[Running]:
    async with connected(f"{greet}\n{source}", cwd, dataclasses.replace(QUICK, **limits)) as connection:
        yield Running((await connection.open_session(str(cwd), None)).session)


def methods(cwd: Path) -> list[str]:
    return [message["method"] for message in heard(cwd)[2:]]


@pytest.mark.asyncio
async def test_text_that_the_agent_injected_is_part_of_the_turn_and_of_its_one_answer(tmp_path: Path) -> None:
    """Q2: said, steered, said on, one response."""
    source = f"{STEERED}\nanswer(s, {{'outcome': 'injected'}})\nsay(text('both'))\n{END}"
    async with prompting(source, tmp_path) as run:
        assert run.session.can_steer
        assert await run.steer(MORE)
        await run.prompt.wait(30)
        assert (said(run.turn), run.turn.phase) == ("both", Phase.DRAINING)
    assert methods(tmp_path) == ["session/prompt", "_session/steering"]


@pytest.mark.asyncio
async def test_the_agent_is_told_to_begin_no_turn_of_its_own(tmp_path: Path) -> None:
    """Q2: without that, real agents answer a text that comes too late outside any turn."""
    async with prompting(f"{STEERED}\nanswer(s, {{'outcome': 'injected'}})", tmp_path) as run:
        await run.steer(MORE)
    assert heard(tmp_path)[3]["params"] == {
        "sessionId": "s1",
        "prompt": [{"type": "text", "text": "and this"}],
        "_meta": {"steering": {"idleBehavior": "promptRequired"}},
    }


@pytest.mark.asyncio
async def test_texts_reach_the_turn_in_the_order_of_the_calls(tmp_path: Path) -> None:
    """Q1, Q2: each is written when it is steered, whenever somebody awaits it."""
    source = f"{STEERED}\nt = hear('_session/steering')\nfor one in (s, t): answer(one, {{'outcome': 'injected'}})"
    async with prompting(source, tmp_path) as run:
        first, second = run.steer([text_block("1")]), run.steer([text_block("2")])
        assert await second
        assert await first
    assert [message["params"]["prompt"][0]["text"] for message in heard(tmp_path)[3:]] == ["1", "2"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "reply",
    [
        "refuse(s, -32601)",
        "refuse(s, -32603)",
        "answer(s, {'outcome': 'promptRequired', 'reason': 'noRunningTurn'})",
        "answer(s, {'outcome': 'from the future'})",
        "answer(s, {'outcome': ['injected']})",
        "answer(s, {})",
        "answer(s, None)",
        "answer(s, 'injected')",
    ],
)
async def test_every_other_answer_leaves_the_text_to_its_caller_and_the_turn_as_it_was(
    tmp_path: Path, reply: str
) -> None:
    """Q2: the caller prompts it; the running turn goes on."""
    async with prompting(f"{STEERED}\n{reply}\nsay(text('on'))\n{END}", tmp_path) as run:
        assert not await run.steer(MORE)
        await run.prompt.wait(30)
        assert (said(run.turn), run.turn.snapshot().stop_reason) == ("on", "end_turn")


@pytest.mark.asyncio
async def test_injected_before_the_response_counts_although_both_come_in_one_write(tmp_path: Path) -> None:
    """Q2: the order on the wire decides, not when somebody looks."""
    both = "say({'id': s['id'], 'result': {'outcome': 'injected'}}, {'id': p['id'], 'result': {'stopReason': 'x'}})"
    async with prompting(f"{STEERED}\n{both}", tmp_path) as run:
        steering = run.steer(MORE)
        await run.prompt.wait(30)
        assert await steering


@pytest.mark.asyncio
async def test_injected_after_the_response_does_not_count(tmp_path: Path) -> None:
    """Q2: the turn was over; the text is prompted, or nobody would ever answer for it."""
    both = "say({'id': p['id'], 'result': {'stopReason': 'x'}}, {'id': s['id'], 'result': {'outcome': 'injected'}})"
    async with prompting(f"{STEERED}\n{both}\nsay(text('late'))", tmp_path) as run:
        steering = run.steer(MORE)
        await run.until_said("late")
        assert not await steering


@pytest.mark.asyncio
@pytest.mark.parametrize("end", [END, "refuse(p, -32603)", "sys.exit(3)"])
async def test_the_end_of_the_turn_settles_at_once_what_is_still_on_its_way(tmp_path: Path, end: str) -> None:
    """Q2, O1: no waiting for an answer that may never come."""
    async with prompting(f"{STEERED}\n{end}", tmp_path, steer=60.0) as run:
        assert not await run.steer(MORE)


@pytest.mark.asyncio
async def test_an_agent_that_does_not_answer_in_time_has_not_taken_the_text(tmp_path: Path) -> None:
    """Q2: settled for good; an answer that comes later changes nothing."""
    source = f"{STEERED}\nhear('session/cancel')\nanswer(s, {{'outcome': 'injected'}})\nsay(text('late'))"
    async with prompting(source, tmp_path, steer=0.05) as run:
        steering = run.steer(MORE)
        assert not await steering
        run.session.cancel()
        await run.until_said("late")
        assert not await steering


@pytest.mark.asyncio
async def test_texts_that_are_never_answered_are_bounded(tmp_path: Path) -> None:
    """Q2, T9."""
    async with prompting("hear('')", tmp_path, steer=0.0) as run:
        for _ in range(2 * MOST_ABANDONED):
            assert not await run.steer(MORE)
        assert len(run.session._peer._open) == MOST_ABANDONED + 1  # and the prompt


@pytest.mark.asyncio
async def test_text_injected_before_a_cancel_took_effect_shares_the_end_of_the_turn(tmp_path: Path) -> None:
    """Q2, T6: it reached the agent, as if the stop had come a moment later."""
    source = f"{STEERED}\nanswer(s, {{'outcome': 'injected'}})\nhear('session/cancel')"
    async with prompting(source, tmp_path) as run:
        steering = run.steer(MORE)
        assert run.turn.cancel(anyio.current_time(), "ada")
        run.session.cancel()
        assert await steering


@pytest.mark.asyncio
async def test_text_in_a_turn_that_nobody_looks_after_any_more_is_not_part_of_it(tmp_path: Path) -> None:
    """Q2: its prompt is still open, but nobody will show what it says."""
    async with prompting(f"{STEERED}\nanswer(s, {{'outcome': 'injected'}})", tmp_path) as run:
        steering = run.steer(MORE)
        run.turn.withdraw(anyio.current_time(), "the bot")
        assert not await steering


@pytest.mark.asyncio
@pytest.mark.parametrize("meta", [None, {}, {"steering": None}, {"steering": {"supported": "yes"}}, {"steering": True}])
async def test_an_agent_that_does_not_announce_it_is_never_asked(tmp_path: Path, meta: Any) -> None:
    """Q2: an unknown method is answered with an error by some agents, with an empty success by others."""
    greet = f"greet(_meta={meta!r})\nopen_session()"
    async with prompting(f"p = hear('session/prompt')\n{END}", tmp_path, greet=greet) as run:
        assert (run.session.can_steer, await run.steer(MORE)) == (False, False)
        await run.prompt.wait(30)
    assert methods(tmp_path) == ["session/prompt"]


@pytest.mark.asyncio
async def test_without_a_running_prompt_nothing_is_sent(tmp_path: Path) -> None:
    """Q2: before the first prompt, after the response, into another turn, and once a cancel was decided."""
    source = f"p = hear('session/prompt')\n{END}\np = hear('session/prompt')\nhear('session/cancel')\n{END}"
    async with connected(f"{GREET}\n{source}", tmp_path) as connection:
        session = (await connection.open_session(str(tmp_path), None)).session
        assert not await session.steer(Turn(TurnLimits(), anyio.current_time()), MORE)
        run = Running(session)
        await run.prompt.wait(30)
        assert not await run.steer(MORE)
        answered, _ = run.turn, run.begin()
        assert not await session.steer(answered, MORE)
        session.cancel("ada")
        assert not await run.steer(MORE)
        await run.prompt.wait(30)
    assert methods(tmp_path) == ["session/prompt", "session/prompt", "session/cancel"]


@pytest.mark.asyncio
async def test_a_turn_that_the_agent_began_by_itself_is_cancelled_after_the_response(tmp_path: Path) -> None:
    """Q2, O1: the text is the caller's to prompt, and is answered once; nobody would see that turn's end."""
    source = f"{STEERED}\nanswer(s, {{'outcome': 'startedNewTurn'}})\nhear('_go')\n{END}\nhear('session/cancel')"
    async with prompting(source, tmp_path) as run:
        assert not await run.steer(MORE)
        run.session._peer.send(Notification("_go", {}))
        await lines_of(tmp_path / "heard", 6)
    assert methods(tmp_path) == ["session/prompt", "_session/steering", "_go", "session/cancel"]


@pytest.mark.asyncio
async def test_a_turn_begun_after_the_response_is_cancelled_at_once(tmp_path: Path) -> None:
    """Q2, O1: before the caller can prompt the text."""
    source = f"{STEERED}\n{END}\nanswer(s, {{'outcome': 'startedNewTurn'}})\nhear('session/cancel')"
    async with prompting(source, tmp_path) as run:
        assert not await run.steer(MORE)
        await lines_of(tmp_path / "heard", 5)
    assert methods(tmp_path) == ["session/prompt", "_session/steering", "session/cancel"]


@pytest.mark.asyncio
async def test_word_of_a_turn_begun_by_itself_never_cancels_the_next_prompt(tmp_path: Path) -> None:
    """Q2, T6: it came too late to tell the two apart."""
    source = (
        f"{STEERED}\n{END}\nq = hear('session/prompt')\nanswer(s, {{'outcome': 'startedNewTurn'}})\n"
        "answer(q, {'stopReason': 'end_turn'})"
    )
    async with prompting(source, tmp_path) as run:
        assert not await run.steer(MORE)
        run.begin()
        await run.prompt.wait(30)
    assert methods(tmp_path) == ["session/prompt", "_session/steering", "session/prompt"]


@pytest.mark.asyncio
async def test_who_gives_up_waiting_leaves_the_answer_to_others() -> None:
    """Q2: several may wait for one text; a cancelled one decides nothing."""
    steering = Steering(60.0)
    with anyio.move_on_after(0.01):
        await steering
    assert steering.reached is None
    steering.settle(True)
    steering.settle(False)
    with anyio.fail_after(30):
        assert await steering
        assert await steering.wait()


def test_what_an_agent_says_of_steering_is_read_from_its_introduction() -> None:
    """Q2"""
    raw = {"protocolVersion": 1, "_meta": {"steering": {"supported": True}, "other": 1}}
    assert can_steer(InitializeResult.parse(raw))
