"""The restart of the bot: what an earlier run left behind, what people posted meanwhile, and the end of this run.

Replies that were on their way arrive, waiting prompts go on; what was cut off in the middle is told so and run again
only when somebody asks for it (R2). At the end, threads read what happens, turns finish or are cut off, and what is
left is delivered, all within bounds (R1). The mutable state is which requests to go on were taken, and how much
patience the end has left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

import anyio
import structlog

from bot.model import Actor, Inbound, Lane, Outcome
from bot.reply.cards import turn_button
from bot.reply.editor import Delivery
from bot.reply.live_reply import LiveReply
from bot.reply.pending_reply import Handout, SavedReply
from bot.reply.port import Body, PortError
from bot.reply.recovery import READ_LIMIT
from bot.reply.render import HEADLINES
from bot.work.attention.notifications import Notifications
from bot.work.delivery import NOT_SHOWN, SHARED, Deliveries
from bot.work.editors import Editors
from bot.work.files.handouts import Handouts
from bot.work.intake import Intake
from bot.work.limits import WorkLimits
from bot.work.permissions.card_records import CardRecords
from bot.work.permissions.turn_cards import close_cards
from bot.work.ports import Answer, Chat
from bot.work.prompt import Said, collect
from bot.work.queue.scheduler import Scheduler
from bot.work.queue_notices import STOPPING, QueueNotices
from bot.work.reactions import Reactions
from bot.work.running_turn import Claim
from bot.work.runs import Runs, end_waiting
from bot.work.serialization import accepted_prompt, inbound_of, was_missed
from bot.work.task_tracker import TaskTracker
from pool.storage.durable import SessionStore
from pool.store import OpenPrompt, PendingReply, StoreBusy

log = structlog.get_logger(__name__)

CUT_OFF = "⚠️ **Interrupted:** Weft was restarted in the middle of this. Press Continue to go on."
MISSED = "⚠️ **Interrupted:** Weft was away when this was posted, too long ago to run it now."
MISSED_IN_CHANNEL = f"{MISSED} Mention me again if you still want it."
EXPELLED = "-# Not run: its author may no longer use Weft."
LOST = "-# I no longer know what was asked there. Please send it again."
BUSY = "-# Weft is too busy just now. Please press again in a moment."
GO_ON = (
    "A restart of the bot cut off your last turn. Look at what is done already, then go on with this request:\n\n{text}"
)
_MOST_TAKEN = 1000

HURRIED = 1.0
"""Seconds that the end of the bot still waits once it was told to hurry."""

GRACE = "This turn has {grace:.0f} s to finish; the session is kept."
KEPT = "What waits here goes on afterwards."

LAST_MARKS = 2.0
"""Seconds that the last reactions get, within the bound of the last messages."""


class Recovery:
    """Goes on where an earlier run ended.

    Attributes:
        missing: messages that came too late to be run and are not written down yet.
        going_on: presses on Continue whose prompts are not written down yet.
    """

    def __init__(
        self,
        tracker: TaskTracker,
        chat: Chat,
        store: SessionStore,
        editors: Editors,
        deliveries: Deliveries,
        reactions: Reactions,
        intake: Intake,
        handouts: Handouts,
        records: CardRecords,
        notifications: Notifications,
        may: Callable[[Inbound], bool],
    ) -> None:
        self._tracker = tracker
        self._chat = chat
        self._store = store
        self._editors = editors
        self._deliveries = deliveries
        self._reactions = reactions
        self._intake = intake
        self._handouts = handouts
        self._records = records
        self._notifications = notifications
        self._may = may
        self.missing: set[int] = set()
        self.going_on: set[int] = set()
        self._taken: set[int] = set()

    async def recover(self) -> None:
        """Take up everything that has no end yet; what is damaged is logged and hurts nothing else."""
        pending, opened = await self._store.pending_replies(), await self._store.open_prompts()
        # 1. Before anything is marked anew: what an earlier run has set is to go with it.
        for prompt in (*(one.prompt for one in pending), *(one.prompt for one in opened)):
            with _guarded(prompt.message_id):
                self._reactions.inherit(inbound_of(prompt))
        # 2. All replies of a thread before anything new is said there: they may claim each other's messages.
        for reply in pending:
            with _guarded(reply.prompt.message_id):
                self._restore(reply)
        # 3. Turns that were cut off, each once, with all that was said into it.
        cut_off: dict[int, list[tuple[OpenPrompt, Inbound]]] = {}
        for one in opened:
            if one.started:
                with _guarded(one.prompt.message_id):
                    turn_id = one.turn or one.prompt.message_id
                    cut_off.setdefault(turn_id, []).append((one, inbound_of(one.prompt)))
        for first, turn in cut_off.items():
            with _guarded(first):
                self._tell_cut_off(turn, alone=len(cut_off) == 1)
        # 4. The cards of those turns, before anything new stands in their threads.
        self._records.close_left(await self._store.cards(), cut_off.keys())
        # 5. What waits comes last: its turn may begin at once, and say something.
        for one in opened:
            if not one.started:
                with _guarded(one.prompt.message_id):
                    self._take_again(one)
        if pending or opened:
            log.info("restart.recovered", replies=len(pending), prompts=len(opened))

    def _restore(self, reply: PendingReply) -> None:
        """Bring a reply to its end that was on its way."""
        prompt = reply.prompt
        if reply.payload == SHARED:
            # The reply is another message's, too; that one's row brings it to its end.
            self._tracker.begin(
                self._end, inbound_of(prompt), Outcome(reply.outcome), name=f"shared {prompt.message_id}"
            )
            return
        editor = self._editors.of(prompt.thread_id)
        delivery: Delivery | LiveReply
        handout: Handout | None = None
        try:
            saved = SavedReply.from_json(reply.payload)
        except ValueError as exc:
            log.warning("reply.damaged", prompt=prompt.message_id, error=str(exc))
            delivery = editor.say(
                Body(NOT_SHOWN.format(headline=HEADLINES[Outcome(reply.outcome)])), reply_to=prompt.message_id
            )
        else:

            def note(messages: tuple[int, ...]) -> None:
                name = f"note {prompt.message_id}"
                self._tracker.begin(self._store.shown, prompt.message_id, messages, name=name)

            delivery = editor.restore(prompt.message_id, saved, reply.shown, on_shown=note)
            handout = saved.final.handout
        inbound = inbound_of(prompt)

        async def files() -> Handout | None:
            # The end may have been announced, and the kill have come before the files were written down with it.
            return await self._handouts.recover(inbound, known=handout)

        self._await_end([inbound], delivery, Outcome(reply.outcome), files)

    def _tell_cut_off(self, turn: list[tuple[OpenPrompt, Inbound]], *, alone: bool) -> None:
        """Tell that a turn was cut off: it may have had side effects, so nobody runs it again unasked.

        It is told once, on its first message; what was said into a turn that is over has lost that one.
        """
        opened, first = next((one for one in turn if one[0].turn is None), turn[0])
        body = _with_button(CUT_OFF, first, self._notifications.cut_off(first))
        delivery = self._editors.of(first.thread_id).mark_interrupted(first.message_id, opened.shown, body)
        others = [inbound for _, inbound in turn if inbound is not first]
        asked, name = [first, *others], f"transcript {first.message_id}"
        self._tracker.begin(self._deliveries.transcripts.keep_cut_off, asked, name=name)
        files = partial(self._handouts.recover, first, alone=alone)
        self._await_end([*others, first], delivery, Outcome.INTERRUPTED, files)  # last whose row the notice belongs to

    def _take_again(self, opened: OpenPrompt) -> None:
        inbound = inbound_of(opened.prompt)
        if was_missed(opened.prompt):
            self._tracker.begin(self._say_missed, inbound, True, name=f"missed {inbound.message_id}")
        else:
            self._intake.take_again(inbound)

    def _await_end(
        self,
        messages: list[Inbound],
        delivery: Delivery | LiveReply,
        outcome: Outcome,
        files: Callable[[], Awaitable[Handout | None]],
    ) -> None:
        # Now: the next turn of the thread may end before anybody has looked for these files.
        self._handouts.expect(messages[-1])

        async def wait() -> None:
            handout = await files()
            posted = self._handouts.post(messages[-1], handout, maybe_posted=True) if handout else []
            await delivery.delivered()
            await self._handouts.settle(messages[-1], handout, posted)
            for inbound in messages:
                await self._end(inbound, outcome)

        self._tracker.begin(wait, name=f"recover {messages[-1].message_id}")

    async def _end(self, inbound: Inbound, outcome: Outcome) -> None:
        log.info("turn.recovered", outcome=str(outcome), thread=inbound.thread_id, prompt=inbound.message_id)
        await self._deliveries.record(inbound, outcome)
        # An editor of a thread that is gone must not stay: the thread may be unlocked some day.
        self._editors.let_go(inbound.thread_id)

    def miss(self, inbound: Inbound) -> None:
        """Tell a message that was posted too long ago that it is not run; once, whatever else fetches it."""
        self.missing.add(inbound.message_id)
        self._tracker.begin(self._tell_missed, inbound, name=f"missed {inbound.message_id}")

    async def _tell_missed(self, inbound: Inbound) -> None:
        first = await self._store.accept(accepted_prompt(inbound, missed=True))
        self.missing.discard(inbound.message_id)  # not if that failed: then the next run has to fetch it again
        if first:
            await self._say_missed(inbound, look_first=False)

    async def _say_missed(self, inbound: Inbound, look_first: bool) -> None:
        if inbound.opens_thread:
            told = False
            if look_first:
                # The nonce keeps it from being said twice for minutes only; nothing else of ours replies to it there.
                with suppress(PortError):  # where history can't be read, better told twice than not at all
                    own = await self._chat.thread(inbound.channel_id).own_messages(inbound.message_id, READ_LIMIT)
                    told = any(one.reply_to == inbound.message_id for one in own)
            try:
                if not told:
                    await self._chat.refuse(inbound, MISSED_IN_CHANNEL)
            except PortError as exc:
                log.warning("refusal.failed", message=inbound.message_id, error=str(exc))
        else:
            editor, body = self._editors.of(inbound.thread_id), _with_button(MISSED, inbound)
            # The run that wrote it down may have posted its notice before it was killed.
            if look_first:
                await editor.mark_interrupted(inbound.message_id, (), body).delivered()
            else:
                await editor.say(body, reply_to=inbound.message_id).delivered()
        await self._end(inbound, Outcome.INTERRUPTED)

    def go_on(
        self, thread_id: int, prompt: int, notice: int, by: Actor, cutoff: int, *, allowed: bool = False
    ) -> Answer:
        """Go on with a prompt that did not come to its end: its successor has the id of the message that was pressed.

        Args:
            cutoff: snowflake of the last stop-all that had been asked for by now.
            allowed: it was refused as beyond a budget, and ``by`` allows it; it stays its author's.
        """
        if notice in self._taken:
            return Answer("Already going on.", accepted=False)
        if len(self._taken) >= _MOST_TAKEN:
            self._taken.clear()  # the store still knows them
        self._taken.add(notice)
        self.going_on.add(notice)
        self._tracker.begin(self._go_on, thread_id, prompt, notice, by, cutoff, allowed, name=f"go on {prompt}")
        if allowed:
            log.info("budget.allowed", thread=thread_id, prompt=prompt, by=by.id)
        return Answer("Allowed: it runs next." if allowed else "Going on.", accepted=True, lasting=True)

    async def _go_on(self, thread_id: int, prompt: int, notice: int, by: Actor, cutoff: int, allowed: bool) -> None:
        try:
            refusal = await self._take_again_for(thread_id, prompt, notice, by, cutoff, allowed)
        finally:
            # Whoever waits until all is saved waits for this: what is asked for is read before it is written.
            self.going_on.discard(notice)
            self._tracker.changed()
        if refusal:
            await self._editors.of(thread_id).say(Body(refusal), reply_to=notice).delivered()
            self._editors.let_go(thread_id)

    async def _take_again_for(
        self, thread_id: int, prompt: int, notice: int, by: Actor, cutoff: int, allowed: bool
    ) -> str:
        """Accept the successor of a prompt and queue it; return why that can't be, if so."""
        turn = {kept.prompt.message_id: kept for kept in await self._store.turn(prompt)}
        if prompt not in turn or turn[prompt].prompt.thread_id != thread_id:
            return LOST
        said = [inbound_of(kept.prompt) for kept in turn.values()]
        before = inbound_of(turn[prompt].prompt)
        whole, quotes = collect(Said(one.author, one.text, one.quotes, one.left_out) for one in said)
        text = GO_ON.format(text=whole).strip() if turn[prompt].started else whole
        again = replace(before, message_id=notice, channel_id=thread_id, author=by, text=text, opens_thread=False)
        files = tuple(file for one in said for file in one.attachments)
        # What was asked in a channel goes on in the thread that was opened there: whose parent that is, decides (D2).
        again = replace(again, parent_id=before.thread.parent_id, quotes=quotes, left_out=(), attachments=files)
        # A person asks for it now, whoever did before; and an approver's word was for one turn.
        again = replace(again, lane=Lane.MAIN, on_behalf=False, beyond_budget=False)
        again = replace(again, command=before.command and text == before.text)
        if allowed:
            # Whoever allows it does not ask for it: cards, budget and rights are its author's.
            again = replace(again, author=before.author, lane=before.lane, on_behalf=before.on_behalf)
            again = replace(again, beyond_budget=True)
            if not self._may(again):
                return EXPELLED
        # Not handed over like a message: no later run finds it in Discord if this one is told to stop just now.
        try:
            first = await self._store.accept(accepted_prompt(again))
        except StoreBusy:
            self._taken.discard(notice)
            return BUSY
        if first:
            self._intake.take_again(again, cutoff)
        return ""


def _with_button(text: str, inbound: Inbound, ping: int | None = None) -> Body:
    # The address makes the text this prompt's own: the editor looks for it before it posts it once more.
    where = f"-# https://discord.com/channels/{inbound.guild_id or '@me'}/{inbound.channel_id}/{inbound.message_id}"
    mention = f"<@{ping}> " if ping is not None else ""
    button = turn_button("go", inbound.thread_id, inbound.message_id)
    return Body(f"{mention}{text}\n{where}", (button,), ping=ping)


@contextmanager
def _guarded(prompt: int) -> Iterator[None]:
    # One damaged row must not keep the bot from starting, nor another prompt from its end (O4).
    try:
        yield
    except Exception:
        log.exception("restart.failed", prompt=prompt)


class Shutdown:
    """Brings the work to its end, once nothing new is taken any more."""

    def __init__(
        self,
        scheduler: Scheduler[Claim],
        runs: Runs,
        tracker: TaskTracker,
        editors: Editors,
        store: SessionStore,
        notices: QueueNotices,
        reactions: Reactions,
    ) -> None:
        self._scheduler = scheduler
        self._runs = runs
        self._tracker = tracker
        self._editors = editors
        self._store = store
        self._notices = notices
        self._reactions = reactions
        self._hurried = False
        self._patience = anyio.CancelScope()

    async def run(self, limits: WorkLimits) -> None:
        """Let turns finish for a while, cut the others off, and wait until all is delivered, within the limits."""
        # First: a turn that waits for a person would use up the time in which others can finish.
        for running in list(self._runs.running.values()):
            close_cards(running)
        self._tell_threads(limits.stop_grace)
        self._notices.close()
        if not self._store.durable:
            for thread_id in {entry.thread_id for entry in self._scheduler.waiting()}:
                end_waiting(self._scheduler, thread_id)
        await self._patiently(limits.stop_grace, lambda: not self._runs.running)
        # Its agent may still answer the cancel with text: until the bound, that is delivered like any other end.
        for running in list(self._runs.running.values()):
            running.stop("a restart", restart=True)
        bound = limits.stop_bound + limits.flush_bound
        latest = anyio.current_time() + bound
        await self._patiently(bound, lambda: not (self._runs.running or self._tracker.under_way))
        if self._tracker.under_way or self._runs.running:
            log.warning("shutdown.undelivered", prompts=self._tracker.under_way + len(self._runs.running))
        # Only now: an editor that is closed takes nothing more, and deliveries above may have been late.
        self._editors.close()
        await self._reactions.flush(min(LAST_MARKS, latest - anyio.current_time()))

    def _tell_threads(self, grace: float) -> None:
        """Tell each thread, in one notice, what the restart means for what runs and for what waits there."""
        running = {turn.thread_id for turn in self._runs.running.values()} if grace else set()
        # A thread that is not open yet can't be told anything: Discord would call it gone.
        waiting = {
            entry.thread_id
            for entry in self._scheduler.waiting()
            if not entry.unstored or not entry.messages[0].opens_thread
        }
        waiting = waiting if self._store.durable else set()
        for thread_id in running | waiting:
            told = [GRACE.format(grace=grace)] if thread_id in running else []
            told += [KEPT] if thread_id in waiting else []
            self._notices.tell_stop(thread_id, " ".join([STOPPING, *told]))

    async def _patiently(self, seconds: float, done: Callable[[], bool]) -> None:
        seconds = min(seconds, HURRIED) if self._hurried else seconds
        with anyio.move_on_after(seconds) as self._patience:
            await self._tracker.until(done)

    def hurry(self) -> None:
        """Wait for turns and messages only a moment longer."""
        self._hurried = True
        self._patience.deadline = min(self._patience.deadline, anyio.current_time() + HURRIED)
