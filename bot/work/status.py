"""What ``/status`` says (pure)."""

from __future__ import annotations

from acp.turn import Phase, TurnSnapshot
from bot.reply.render import SILENCE, context_share, cost
from bot.reply.sanitise import inline_code
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
    used = [context_share(snapshot), cost(snapshot)] if snapshot else []
    if any(used):
        lines.append("Used: " + ", ".join(filter(None, used)))
    return "\n".join(lines)


def describe_pool(counts: PoolCounts, *, running: int, waiting: int, trouble: str = "") -> str:
    """Return how busy the bot is over all threads, and what is wrong with its storage, if anything."""
    return "\n".join(
        [
            f"{running} running, {waiting} waiting",
            f"Agents: {counts.live} live, {counts.starting} starting, {counts.closing} ending, at most {counts.limit}",
            *([f"⚠️ Storage: {trouble}"] if trouble else []),
        ]
    )


def _turn_line(snapshot: TurnSnapshot, now: float) -> str:
    silent = snapshot.silent_for(now)
    quiet = f", no sign of life for {silent:.0f} s" if silent >= SILENCE else ""
    return f"{_PHASES[snapshot.phase].capitalize()} for {now - snapshot.started:.0f} s{quiet}"


def _agent(slot: SlotStatus | None) -> str:
    return (
        f"{inline_code(slot.agent or 'unnamed')}, {slot.state.value}"
        if slot
        else "none (it starts with the next message)"
    )
