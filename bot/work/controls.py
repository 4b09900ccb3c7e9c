"""What people ask for in a thread, by command, button or typed word: decided by its queue, answered at once.

Whether somebody may is decided before, in `bot.chat.authorize`. Every call but `diff` returns at once, whatever an
agent does. Nothing is kept here.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import structlog

from bot.model import Actor, Outcome, QueueMode
from bot.work.budget.budgets import Budgets
from bot.work.intake import Intake
from bot.work.leftovers import Leftovers
from bot.work.options.service import SessionChoices
from bot.work.outside.titles import TITLED
from bot.work.ports import Answer
from bot.work.projects.branches import Branches
from bot.work.queue.entry import PENDING, Cancel, Why
from bot.work.queue.scheduler import Scheduler
from bot.work.queue_notices import QueueNotices
from bot.work.recovery import Recovery
from bot.work.running_turn import Claim
from bot.work.runs import Runs
from bot.work.status import describe_pool, describe_queue, describe_thread
from bot.work.thread_settings import ThreadSettings
from bot.work.transcripts.handoffs import Handoffs
from bot.work.workspace.changes import WorkspaceChanges
from pool.pool import ConnectionPool
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)

RESTARTING = Answer("Weft is restarting. Try again in a minute.", accepted=False)
NOT_WAITING = Answer("This message is no longer waiting.", accepted=False)
NOT_YOURS_TO_ALLOW = Answer("Only an approver or the owner of this bot can allow this.", accepted=False)
AT_WORK = Answer("The agent is working. Wait until it is done or press Stop, then hand off.", accepted=False)
NOTHING_TO_STOP = Answer("There is nothing to stop.", accepted=False)


@dataclass(eq=False)
class Controls:
    """Stops, hurries, removes, begins anew, and tells how things are."""

    scheduler: Scheduler[Claim]
    runs: Runs
    intake: Intake
    recovery: Recovery
    notices: QueueNotices
    leftovers: Leftovers
    thread_settings: ThreadSettings
    changes: WorkspaceChanges
    budgets: Budgets
    handoffs: Handoffs
    options: SessionChoices
    branches: Branches
    pool: ConnectionPool
    store: SessionStore

    def stop(self, thread_id: int, by: Actor, prompt: int | None = None, before: int | None = None) -> Answer:
        """Stop the oldest running turn of the thread, else take its next waiting prompt out (Q7, T6).

        Args:
            prompt: only the turn of this message.
            before: nothing that is newer than this snowflake.
        """
        with self.scheduler.deciding(thread_id, anyio.current_time()) as (queue, decisions):
            waiting = len(queue.line)
            decisions.extend(queue.stop(by.name, prompt, before))
            # By the line, not by the decisions: a message that the store does not have yet gets its end later. Counted
            # before the block ends, since what starts then leaves the line, too.
            ended = waiting - len(queue.line)
        if any(isinstance(decision, Cancel) for decision in decisions):
            return Answer("Stopping.", accepted=True)
        if ended:
            return Answer("Stopped before it began.", accepted=True, lasting=True)
        finished = prompt is not None or self.runs.in_thread(thread_id)
        return Answer("Already finished.", accepted=False) if finished else NOTHING_TO_STOP

    def stop_all(self, thread_id: int, by: Actor, before: int) -> Answer:
        """End the turns of the thread and empty its queue, up to snowflake ``before`` (Q7)."""
        with self.scheduler.deciding(thread_id, anyio.current_time()) as (queue, decisions):
            waiting = len(queue.line)
            decisions.extend(queue.stop_all(by.name, before))
            ended = waiting - len(queue.line)
        # Kept: a message from before it may only be found by a later run, and must not run then either.
        self.thread_settings.settle(thread_id, cutoff=queue.memory.cutoff)
        running = sum(isinstance(decision, Cancel) for decision in decisions)
        if not running and not ended:
            return NOTHING_TO_STOP
        return Answer(f"Stopping everything: {running} running, {ended} waiting.", accepted=True, lasting=True)

    def clear(self, thread_id: int, by: Actor) -> Answer:
        """Take everything out that waits in a thread; the running turn goes on."""
        with self.scheduler.deciding(thread_id, anyio.current_time()) as (queue, decisions):
            waiting = len(queue.line)
            decisions.extend(queue.end_waiting(Why(Outcome.REMOVED, by=by.name)))
        if not waiting:
            return Answer("Nothing is waiting here.", accepted=False)
        return Answer(f"Removed {waiting}.", accepted=True, lasting=True)

    def promote(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        """Run a waiting prompt now (Q5)."""
        if not self._waits(thread_id, prompt):
            return NOT_WAITING
        with self.scheduler.deciding(thread_id, anyio.current_time()) as (queue, decisions):
            decisions.extend(queue.promote(prompt, by.name))
        self.notices.show(thread_id)  # in another order, perhaps
        return Answer("It is next.", accepted=True)

    def remove(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        """Take a waiting prompt out (Q5)."""
        if not self._waits(thread_id, prompt):
            return NOT_WAITING
        with self.scheduler.deciding(thread_id, anyio.current_time()) as (queue, decisions):
            decisions.extend(queue.end_waiting(Why(Outcome.REMOVED, by=by.name), prompt))
        return Answer("Removed.", accepted=True, lasting=True)

    def _waits(self, thread_id: int, prompt: int) -> bool:
        entry = self.scheduler.queue(thread_id).line.where.get(prompt)
        return entry is not None and entry.state in PENDING

    def reset(self, thread_id: int, by: Actor) -> Answer:
        """End the thread's agent and forget its session; what waits goes on with a new one (Q8)."""
        if self.intake.closed:
            return RESTARTING
        running = [turn.first.message_id for turn in self.runs.in_thread(thread_id)]
        with self.scheduler.deciding(thread_id, anyio.current_time()) as (queue, decisions):
            decisions.extend(queue.reset(by.name))
        # After the cancels: a turn that is asked to stop before its agent is ended has the outcome of a stop.
        self.runs.start_afresh(thread_id)
        self.handoffs.begin_anew(thread_id, running)
        return Answer("Done. Your next message starts a new conversation.", accepted=True, lasting=True)

    def hand_off(self, thread_id: int, agent: str, by: Actor) -> Answer:
        """Go on in the thread with another agent, which reads what was said there; what waits is for that one (S4)."""
        if self.intake.closed:
            return RESTARTING
        # What the agent is about to say belongs to what is handed over.
        if self.runs.in_thread(thread_id):
            return AT_WORK
        answer = self.handoffs.begin(thread_id, agent)
        if answer.accepted:
            with self.scheduler.deciding(thread_id, anyio.current_time()) as (queue, decisions):
                decisions.extend(queue.reset(by.name))
            self.runs.start_afresh(thread_id, keep_files=True)
        return answer

    def agents(self) -> tuple[str, ...]:
        """Return the names of the agents, of which people may choose one."""
        return self.thread_settings.agents.names

    def project_names(self) -> tuple[str, ...]:
        """Return the names of the projects, of which people may choose one for a new thread."""
        return tuple(self.thread_settings.agents.projects)

    def renew(self, thread_id: int | None, agent: str | None, by: Actor, project: str | None = None) -> Answer:
        """Go on afresh with an agent (Q8); without a thread, say whether one may be opened for that."""
        if self.intake.closed:
            return RESTARTING
        answer = self.thread_settings.renew(thread_id, agent, project)
        if answer.accepted and thread_id is not None:
            self.reset(thread_id, by)
        return answer

    def assign(self, thread_id: int, channel_id: int, agent: str | None, project: str | None = None) -> None:
        """Give a thread agent and project before its first message, with names that `renew` took (P8, W1)."""
        self.thread_settings.begin(thread_id, channel_id, agent=agent, project=project)

    def keep_name(self, thread_id: int) -> None:
        """Leave a thread the name that a person gives it: no agent's title takes its place (S5)."""
        self.thread_settings.keep(thread_id, {TITLED: True})

    def choose_mode(self, place_id: int, mode: QueueMode, by: Actor, *, server: bool) -> Answer:
        """Choose what a message does that comes while a turn runs (Q2)."""
        self.thread_settings.settle(place_id, mode=mode)
        log.info("mode.chosen", place=place_id, mode=str(mode), user=by.id, server=server)
        where = "Everywhere here" if server else "In this thread"
        return Answer(f"{where} from now on: **{mode}**.", accepted=True, lasting=True)

    def end_left(self, thread_id: int, token: str, by: Actor) -> Answer:
        """End what a turn of the thread has left running; ``token`` is the one in the button (P13)."""
        return self.leftovers.end(thread_id, token, by)

    def go_on(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer:
        """Go on with an interrupted prompt, asked for by a press on message ``notice`` of the thread (R2)."""
        if self.intake.closed:
            return RESTARTING
        # A stop-all of before does not mean what is asked for now; the notice that is pressed may be older than it.
        cutoff = self.scheduler.queue(thread_id).memory.cutoff
        return self.recovery.go_on(thread_id, prompt, notice, by, cutoff)

    def allow(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer:
        """Run a prompt that was refused as beyond a budget, asked for by a press on message ``notice`` (A4)."""
        if not (by.approver or by.owner):
            return NOT_YOURS_TO_ALLOW
        if self.intake.closed:
            return RESTARTING
        cutoff = self.scheduler.queue(thread_id).memory.cutoff
        return self.recovery.go_on(thread_id, prompt, notice, by, cutoff, allowed=True)

    def queue(self, thread_id: int, guild_id: int | None = None) -> str:
        """Return what waits in a thread and by which rules, as Discord Markdown (Q11)."""
        return describe_queue(self.scheduler.queue(thread_id), self.thread_settings.mode_in(thread_id, guild_id))

    async def look_at_nodes(self) -> None:
        """Have the next status of the whole bot tell of other machines as they are now; bounded (P14)."""
        await self.pool.renew_nodes()

    def status(self, thread_id: int | None) -> str:
        """Return the state of a thread, or of the whole bot, as Discord Markdown (Q11)."""
        silences = self.runs.silences
        if thread_id is None:
            waiting = sum(1 for _ in self.scheduler.waiting())
            asking = sum(lane.lent for lane in self.scheduler.counts().values())
            counts, trouble = self.pool.counts(), self.store.trouble
            pool = describe_pool(
                counts,
                running=len(self.runs.running),
                waiting=waiting,
                asking=asking,
                trouble=trouble,
                nodes=self.pool.nodes(),
            )
            return "\n".join([pool, *self.budgets.describe(), *silences.describe()])
        running, slot = self.runs.in_thread(thread_id), self.pool.status(thread_id)
        name = self.thread_settings.agent_name_for(thread_id)
        thread = describe_thread(
            running[0].look() if running else None,
            waiting=len(self.scheduler.queue(thread_id).line),
            slot=slot,
            agent=name,
            project=self.thread_settings.project_name(thread_id),
            now=anyio.current_time(),
        )
        chosen, spent = self.options.describe(thread_id), self.budgets.describe(thread_id)
        left = [*spent, *self.leftovers.describe(thread_id)]
        branch = self.branches.describe(thread_id)
        return "\n".join([thread, *branch, *chosen, *left, *silences.describe(name or (slot.agent if slot else None))])

    async def diff(self, thread_id: int) -> Answer:
        """Return what changed in a thread's workspace since the thread began (V3); takes up to 20 s."""
        return await self.changes.show(thread_id, [turn.turn.snapshot() for turn in self.runs.in_thread(thread_id)])
