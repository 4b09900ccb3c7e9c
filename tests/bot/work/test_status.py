"""What the status says: phase, elapsed time, silence, tool, queue, agent, context, cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from acp.schema import Cost
from acp.snapshot import ContextUse, Phase, TurnSnapshot
from bot.work.status import describe_pool, describe_thread
from pool.engines.model import NodeStatus
from pool.model import PoolCounts, SlotState, SlotStatus
from tests.bot.reply.samples import snapshot, tool


def lines(turn: TurnSnapshot | None = None, *, waiting: int = 0, slot: SlotStatus | None = None) -> list[str]:
    """The status 90 s after the start of the turn."""
    return describe_thread(turn, waiting=waiting, slot=slot, now=1090.0).splitlines()


def turn(**fields: Any) -> TurnSnapshot:
    return snapshot(**{"last_event": 1089.0, **fields})


def slot(agent: str | None = "claude", state: SlotState = SlotState.READY) -> SlotStatus:
    return SlotStatus(state=state, busy=True, pid=1, place="", last_used=0.0, generation=1, agent=agent)


def test_a_thread_where_nothing_runs_says_so() -> None:
    """Q11."""
    assert lines() == ["Nothing is running here.", "Queue: 0 waiting", "Agent: none (it starts with the next message)"]


@pytest.mark.parametrize(
    ("phase", "word"),
    [
        (Phase.RUNNING, "Working"),
        (Phase.CANCELLING, "Stopping"),
        (Phase.DRAINING, "Finishing"),
        (Phase.ENDED, "Done"),
    ],
)
def test_each_phase_has_its_word_and_the_time_since_the_start(phase: Phase, word: str) -> None:
    """Q11."""
    assert lines(turn(phase=phase))[0] == f"{word} for 90 s"


def test_a_silent_agent_is_reported_from_a_minute_on() -> None:
    """T7, Q11."""
    assert lines(turn(last_event=1030.0))[0] == (
        "Working for 90 s, no sign of life for 60 s: "
        "the model provider may be overloaded or refusing. Wait or press Stop"
    )
    assert lines(turn(last_event=1031.0))[0] == "Working for 90 s"


def test_quiet_while_a_card_is_open_is_no_silence() -> None:
    """T7."""
    first, second, *_ = lines(turn(last_event=1000.0, permissions=("c1",)))
    assert (first, second) == ("Working for 90 s", "Waiting for an answer from a person.")


def test_the_current_tool_is_named_as_code() -> None:
    """Q11."""
    assert "Tool: `npm ˋtestˋ @everyone`" in lines(turn(tools=(tool(title="npm `test` @everyone"),)))


def test_a_tool_that_is_over_is_not_named() -> None:
    """Q11."""
    shown = lines(turn(tools=(tool(title="npm test", status="completed"),)))
    assert not any("npm" in line for line in shown)


def test_the_queue_is_counted() -> None:
    """Q11."""
    assert "Queue: 3 waiting" in lines(turn(), waiting=3)


def test_the_agent_is_named_with_its_state() -> None:
    """Q11."""
    assert "Agent: `claude`, ready" in lines(slot=slot())
    assert "Agent: `unnamed`, starting" in lines(slot=slot(None, SlotState.STARTING))


def test_context_is_a_share_of_the_window() -> None:
    """Q11."""
    assert "Used: 41% of context" in lines(turn(context=ContextUse(used=82_000, size=200_000)))


def test_a_window_without_a_size_is_no_fault() -> None:
    """Q11: the number is the agent's."""
    assert [line for line in lines(turn(context=ContextUse(used=5, size=0))) if line.startswith("Used")] == []


def test_numbers_beyond_reason_are_no_fault() -> None:
    """Q11: an agent's numbers have no bound."""
    wild = turn(context=ContextUse(used=10**400, size=1), cost=Cost(amount=1e308))
    assert [line for line in lines(wild) if line.startswith("Used")] == []


def test_the_cost_is_shown_with_its_currency_on_one_line() -> None:
    """Q11."""
    (cost,) = [line for line in lines(turn(cost=Cost(amount=0.125, currency="E\nU\u202eR too long"))) if "Used" in line]
    assert cost.startswith("Used: 0.12 E U")
    assert "\u202e" not in cost


def test_what_is_not_known_has_no_line() -> None:
    """Q11."""
    assert [line.split(" ")[0] for line in lines(turn())] == ["Working", "Queue:", "Agent:"]


def test_the_whole_bot_is_described_by_its_counts() -> None:
    """Q11, P4."""
    counts = PoolCounts(live=3, starting=1, closing=2, limit=12, busy=2)
    assert describe_pool(counts, running=2, waiting=5).splitlines() == [
        "2 running, 5 waiting",
        "Agents: 3 live, 1 starting, 2 ending, at most 12",
    ]


def test_the_machines_of_an_engine_are_told_with_what_is_wrong_with_them() -> None:
    """P14."""
    counts = PoolCounts(live=1, starting=0, closing=0, limit=12, busy=1)
    nodes = {
        "farm": [
            NodeStatus("a", 3, 8, 12 * 2**30, reachable=True),
            NodeStatus("b", 1, None, None, reachable=True),
            NodeStatus("c", 0, 8, None, reachable=False),
            NodeStatus("d", 0, 8, 2**30, reachable=True, reason="cordoned"),
        ],
        "unasked": (),
    }
    old = {"farm": [replace(node, age=1.0 + 11 * (node.name == "b")) for node in nodes["farm"][:2]]}
    *_, line = describe_pool(counts, running=1, waiting=0, nodes=old).splitlines()
    assert line == "On farm: a 3 of 8, 12.0 GiB free; b 1 running (12 s ago)"
    *_, line = describe_pool(counts, running=1, waiting=0, nodes=nodes).splitlines()
    assert line == (
        "On farm: a 3 of 8, 12.0 GiB free; b 1 running; c 0 of 8 (no answer); d 0 of 8, 1.0 GiB free (cordoned)"
    )


def test_the_whole_bot_says_how_many_turns_wait_for_a_person_and_what_is_wrong_with_its_storage() -> None:
    """Q11, D6, R6."""
    counts = PoolCounts(live=1, starting=0, closing=0, limit=12, busy=1)
    assert describe_pool(counts, running=1, waiting=0, asking=1, trouble="the disk is full").splitlines() == [
        "1 running, 0 waiting",
        "1 waiting for an answer: look for the buttons in their threads.",
        "Agents: 1 live, 0 starting, 0 ending, at most 12",
        "⚠️ Storage: the disk is full",
    ]
