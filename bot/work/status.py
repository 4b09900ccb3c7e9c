"""How much work there is, and what ``/status`` says (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from acp.snapshot import Phase, TurnSnapshot
from bot.model import Lane, QueueMode
from bot.reply.live_status import SILENCE, why_silent
from bot.reply.render import context_share, cost
from bot.reply.sanitise import inline_code, plain_line
from bot.work.queue.drop_rule import Drop
from bot.work.queue.entry import Entry
from bot.work.queue.scheduler import LaneCounts
from bot.work.queue.thread_queue import ThreadQueue
from pool.engines.model import OLD, NodeStatus
from pool.model import PoolCounts, SlotStatus


@dataclass(frozen=True, slots=True)
class WorkCounts:
    """The work of all threads.

    Attributes:
        waiting: prompts that wait, in all threads.
        queues: threads in which some do.
        longest: how many wait in the thread in which most do.
        cards: permission requests and questions that wait for a person.
        pending: messages whose outcome or reply is being seen to.
    """

    lanes: Mapping[Lane, LaneCounts]
    waiting: int
    queues: int
    longest: int
    cards: int
    pending: int


def work_counts(lanes: Mapping[Lane, LaneCounts], waiting: Iterable[Entry], cards: int, pending: int) -> WorkCounts:
    """Return the counts; ``waiting`` are the entries of all threads that wait."""
    # One pass: with each scrape all that waits is looked at.
    by_thread = Counter(entry.thread_id for entry in waiting)
    return WorkCounts(lanes, by_thread.total(), len(by_thread), max(by_thread.values(), default=0), cards, pending)


_PHASES = {
    Phase.RUNNING: "working",
    Phase.CANCELLING: "stopping",
    Phase.DRAINING: "finishing",
    Phase.ENDED: "done",
}
_MOST_SHOWN = 10
_DROPPED = {Drop.OLD: "oldest", Drop.NEW: "newest"}


def describe_thread(
    snapshot: TurnSnapshot | None,
    *,
    waiting: int,
    slot: SlotStatus | None,
    now: float,
    agent: str | None = None,
    project: str | None = None,
) -> str:
    """Return phase, elapsed time, current tool, queue, context and cost of a thread, a line each (Q11).

    Args:
        agent: the name by which the settings know the thread's agent, where there are several.
        project: what it works on, by name.
    """
    lines = []
    if snapshot is None:
        lines.append("Nothing is running here.")
    else:
        silent = snapshot.silent_for(now)
        # The same words as under the reply: both are read side by side, and must not differ.
        quiet = (
            f", no sign of life for {silent:.0f} s: {why_silent(snapshot)}"
            if silent >= SILENCE and not snapshot.step
            else ""
        )
        lines.append(f"{_PHASES[snapshot.phase].capitalize()} for {now - snapshot.started:.0f} s{quiet}")
    if snapshot and snapshot.step:
        lines.append(f"{snapshot.step[:1].upper()}{snapshot.step[1:]}")
    if snapshot and snapshot.permissions:
        lines.append("Waiting for an answer from a person.")
    if snapshot and snapshot.current_tool:
        lines.append(f"Tool: {inline_code(snapshot.current_tool.title, 200)}")
    lines.append(f"Queue: {waiting} waiting")
    if slot is None:
        known = f"{inline_code(agent)}, not running" if agent else "none"
        lines.append(f"Agent: {known} (it starts with the next message)")
    else:
        # Its own name as well: that in the settings is for people, and says nothing about what runs there.
        own = inline_code(slot.agent or "unnamed")
        where = f" ({plain_line(slot.place, 80)})" if slot.place else ""
        lines.append(f"Agent: {f'{inline_code(agent)} ({own})' if agent else own}, {slot.state.value}{where}")
    if project is not None:
        lines.append(f"Project: {inline_code(project)}")
    used = [context_share(snapshot), cost(snapshot)] if snapshot else []
    if any(used):
        lines.append("Used: " + ", ".join(filter(None, used)))
    return "\n".join(lines)


def engine_in_short(nodes: Sequence[NodeStatus]) -> str:
    """Return how full an engine is, and which of its machines take no agents, in a line."""
    shown = [node_in_short(node) for node in nodes[:_MOST_SHOWN]]
    age = max((node.age for node in nodes), default=0.0)
    old = f" ({age:.0f} s ago)" if age >= OLD else ""
    return "; ".join(shown) + (f"; and {len(nodes) - _MOST_SHOWN} more" if len(nodes) > _MOST_SHOWN else "") + old


def node_in_short(node: NodeStatus) -> str:
    """Return how full a machine is: ``farm-1 3 of 8, 12.0 GiB free``."""
    full = f"{node.running} of {node.places}" if node.places is not None else f"{node.running} running"
    free = f", {node.free_memory / 2**30:.1f} GiB free" if node.free_memory is not None else ""
    why = node.reason or ("" if node.reachable else "no answer")
    return f"{plain_line(node.name, 40)} {full}{free}" + (f" ({plain_line(why, 80)})" if why else "")


def describe_queue(queue: ThreadQueue, mode: QueueMode) -> str:
    """Return what waits in a thread, in order, and by which rules."""
    rules = queue.rules
    lines = [f"Mode: {mode}. Up to {rules.cap} messages can wait; then the {_DROPPED[rules.drop]} is dropped."]
    waiting = list(queue.line)
    for number, entry in enumerate(waiting[:_MOST_SHOWN], 1):  # Discord takes 2,000 characters
        names = ", ".join(author.name for author in entry.authors)
        mode_of_it = f" ({entry.mode})" if entry.mode is not QueueMode.QUEUE else ""
        # Its gist and not its text: what is forwarded or attached may be all that a message says.
        gist = inline_code(entry.messages[0].gist, 120)
        lines.append(f"{number}. {inline_code(names, 60)}{mode_of_it}: {gist}")
    more = len(waiting) - _MOST_SHOWN
    lines += [f"-# and {more} more"] if more > 0 else []
    return "\n".join(lines if waiting else [*lines, "Nothing is waiting here."])


def describe_pool(
    counts: PoolCounts,
    *,
    running: int,
    waiting: int,
    asking: int = 0,
    trouble: str = "",
    nodes: Mapping[str, Sequence[NodeStatus]] | None = None,
) -> str:
    """Return how busy the bot is over all threads, and what is wrong with its storage, if anything.

    Args:
        asking: turns that wait for somebody's answer. How full the lanes are is for operators: `weft status` says it.
        nodes: how full the machines of each engine are, by its name.
    """
    lines = [f"{running} running, {waiting} waiting"]
    if asking:
        lines.append(f"{asking} waiting for an answer: look for the buttons in their threads.")
    lines.append(
        f"Agents: {counts.live} live, {counts.starting} starting, {counts.closing} ending, at most {counts.limit}"
    )
    lines += [f"On {plain_line(name, 40)}: {engine_in_short(known)}" for name, known in (nodes or {}).items() if known]
    # For everybody to see: while it lasts, a restart would lose what is accepted now.
    lines += [f"⚠️ Storage: {trouble}"] if trouble else []
    return "\n".join(lines)
