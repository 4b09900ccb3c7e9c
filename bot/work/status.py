"""What ``/status`` says (pure)."""

from __future__ import annotations

from acp.turn import Phase, TurnSnapshot
from bot.reply.sanitise import inline_code, one_line, reveal
from pool.model import PoolCounts, SlotStatus

_PHASES = {
    Phase.RUNNING: "working",
    Phase.CANCELLING: "stopping",
    Phase.DRAINING: "finishing",
    Phase.ENDED: "done",
}


def describe_thread(snapshot: TurnSnapshot | None, *, waiting: int, slot: SlotStatus | None, now: float) -> str:
    """Return phase, elapsed time, current tool, queue, context and cost of a thread, a line each (Q11)."""
    lines = [_turn_line(snapshot, now) if snapshot else "Nothing is running here."]
    if snapshot and snapshot.permissions:
        lines.append("Waiting for an answer to a permission request.")
    if snapshot and snapshot.current_tool:
        lines.append(f"Tool: {inline_code(snapshot.current_tool.title, 200)}")
    lines.append(f"Queue: {waiting} waiting")
    lines.append(f"Agent: {_agent(slot)}")
    if snapshot and snapshot.context:
        lines.append(f"Context: {_percent(snapshot.context.used, snapshot.context.size)} used")
    if snapshot and snapshot.cost:
        lines.append(f"Cost: {snapshot.cost.amount:.2f} {one_line(reveal(snapshot.cost.currency))[:8]}")
    return "\n".join(lines)


def describe_pool(counts: PoolCounts, *, running: int, waiting: int) -> str:
    """Return how busy the bot is over all threads."""
    return (
        f"{running} running, {waiting} waiting\n"
        f"Agents: {counts.live} live, {counts.starting} starting, {counts.closing} ending, at most {counts.limit}"
    )


def _turn_line(snapshot: TurnSnapshot, now: float) -> str:
    silent = now - snapshot.last_event
    quiet = f", no sign of life for {silent:.0f} s" if silent >= 60 and not snapshot.permissions else ""
    return f"{_PHASES[snapshot.phase].capitalize()} for {now - snapshot.started:.0f} s{quiet}"


def _agent(slot: SlotStatus | None) -> str:
    return (
        f"{inline_code(slot.agent or 'unnamed')}, {slot.state.value}"
        if slot
        else "none (it starts with the next message)"
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole > 0 else "?"
