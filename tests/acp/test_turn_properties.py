"""What holds for every turn, whatever an agent, a person and the time do to it.

Sequences of steps are made by a seeded generator, and by hypothesis where a short counterexample is wanted.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acp.errors import AgentExit, RequestFailed
from acp.schema import AgentMessageChunk, ToolCallUpdate, text_block
from acp.turn import Action, Ending, Phase, Turn, TurnLimits, TurnSnapshot

LIMITS = TurnLimits(liveness=3.0, hard_timeout=40.0, cancel_grace=5.0, card_extension_max=30.0, text_bytes=400)
LATEST_END = 40.0 + 30.0 + 5.0
STEPS = (
    *("text",) * 8,
    *("tick",) * 6,
    *("tool",) * 2,
    *("open", "close") * 2,
    "respond",
    "fail",
    "cancel",
    "died",
    "begin",
)
CALM = tuple(step for step in STEPS if step not in ("respond", "fail", "died", "begin"))


@dataclass
class Watcher:
    """Does steps to a turn and checks after each what must always hold."""

    turn: Turn = field(default_factory=lambda: Turn(LIMITS, 0.0))
    now: float = 0.0
    phase: Phase = Phase.RUNNING
    version: int = 0
    text: str = ""
    final: TurnSnapshot | None = None
    actions: list[Action] = field(default_factory=list)

    def step(self, kind: str, passed: float, choice: int) -> None:
        self.now += passed
        self.do(kind, choice)
        self.check(choice)

    def do(self, kind: str, choice: int) -> None:
        turn, now, key = self.turn, self.now, f"p{choice % 3}"
        match kind:
            case "text":
                message_id = (None, "a", "b", "c")[choice % 4]
                words = ("d0", "d0 d1", " d1", "x\n", "é")[choice % 5]
                turn.feed(AgentMessageChunk(content=text_block(words), message_id=message_id), now)
            case "tool":
                turn.feed(ToolCallUpdate(tool_call_id=key, status="in_progress", raw_output="out"), now)
            case "open":
                turn.permission_opened(key, ToolCallUpdate(tool_call_id=key), now)
            case "close":
                turn.permission_closed(key, now)
            case "respond":
                turn.respond(("end_turn", "cancelled", "refusal")[choice % 3], None, now)
            case "fail":
                turn.fail(RequestFailed("session/prompt", -32603, "no"), now)
            case "cancel":
                assert turn.cancel(now, f"user {choice}") is (self.phase is Phase.RUNNING)
            case "died":
                turn.died(AgentExit(choice), now)
            case "begin" if self.phase is Phase.RUNNING and not self.text:
                turn.begin(self.now)
            case "tick":
                self.actions += turn.tick(now)

    def check(self, choice: int) -> None:
        turn = self.turn
        assert turn.phase.value >= self.phase.value, "phases only move forward"
        assert turn.version >= self.version, "versions only grow"
        self.phase, self.version = turn.phase, turn.version
        snapshot = turn.snapshot()
        assert (snapshot.ending is not None) is (snapshot.phase is Phase.ENDED), "an ending comes with the end"
        assert snapshot.text.startswith(self.text), "an offset stands for the same text for ever"
        self.text = snapshot.text
        if choice % 5 == 0:
            start = choice % (len(self.text) + 1)
            assert turn.snapshot(start).text == self.text[start:]
        if self.final is not None:
            assert snapshot == self.final, "nothing changes after the end"
        if snapshot.phase is Phase.ENDED:
            self.final = snapshot

    def run_out(self) -> TurnSnapshot:
        """Let only the clock go on; a turn ends by itself."""
        for _ in range(100):
            if self.phase is Phase.ENDED:
                break
            self.now = max(self.now, self.turn.next_wakeup())
            self.step("tick", 0.0, 0)
        assert self.final is not None, "a turn ends, whatever happens"
        return self.final

    def check_end(self) -> None:
        final = self.run_out()
        assert self.actions.count(Action.CANCEL) <= 1
        assert self.actions.count(Action.KILL) == int(final.killed)
        assert final.killed <= (final.ending in (Ending.STOPPED, Ending.TIMED_OUT))
        assert (final.ending is Ending.STOPPED) <= (final.cancelled_by is not None)
        assert (final.ending is Ending.FAILED) <= (final.error is not None)
        assert final.permissions == ()


def watched(rng: random.Random, kinds: tuple[str, ...]) -> Watcher:
    watcher = Watcher()
    for _ in range(rng.randint(50, 200)):
        watcher.step(rng.choice(kinds), rng.choice((0.0, 0.01, 0.1, 0.3, 2.0)), rng.randrange(60))
    return watcher


@pytest.mark.parametrize("seed", range(20))
def test_every_turn_ends_exactly_once(seed: int) -> None:
    """O1, T2, T3, T6, T10: 2,000 turns of 50 to 200 steps, all in all."""
    rng = random.Random(seed)
    for _ in range(100):
        # Endings are rare in some runs, so that long turns are among them.
        watched(rng, STEPS if rng.random() < 0.5 else CALM).check_end()


@pytest.mark.parametrize("seed", range(5))
def test_a_chattering_agent_ends_within_its_limits(seed: int) -> None:
    """T2: hard timeout, plus at most the time for cards, plus the grace; chatter and open cards change nothing."""
    rng = random.Random(seed)
    for _ in range(20):
        watcher = Watcher()
        while watcher.phase is not Phase.ENDED:
            watcher.step(rng.choice(("text", "tool", "open", "close")), 0.1, rng.randrange(60))
            watcher.step("tick", 0.0, 0)
            assert watcher.now <= LATEST_END + 1.0
        assert watcher.actions[-1] is Action.KILL
        assert watcher.final is not None
        assert watcher.final.ending is Ending.TIMED_OUT


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(set(STEPS))), st.sampled_from([0.0, 0.1, 1.0, 9.0]), st.integers(0, 59)),
        max_size=40,
    )
)
def test_no_short_sequence_breaks_a_turn(steps: list[tuple[str, float, int]]) -> None:
    """O1, T2, T3, T6, T10: the same for sequences that shrink well."""
    watcher = Watcher()
    for kind, passed, choice in steps:
        watcher.step(kind, passed, choice)
    watcher.check_end()


def test_a_wakeup_always_finds_something_to_do() -> None:
    """T2: the loop does not spin: at the time that `next_wakeup` names, `tick` changes the turn or asks for work."""
    rng = random.Random(99)
    for _ in range(200):
        watcher = watched(rng, CALM)
        while watcher.phase is not Phase.ENDED:
            due = watcher.turn.next_wakeup()
            watcher.now = max(watcher.now, due)
            version, actions = watcher.version, len(watcher.actions)
            watcher.step("tick", 0.0, 0)
            assert watcher.version > version or len(watcher.actions) > actions
