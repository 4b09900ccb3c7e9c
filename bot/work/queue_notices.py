"""The notice of a thread: what waits in it, with buttons to run or remove that; at the end, what a restart means.

A thread has one at most, beside those that are being taken away. It follows the queue and goes when nothing waits.
Before one is posted the store knows from which message on to look for it, so that the next run can put right what this
one leaves behind, whenever that is killed (Q5, R1, R2). So it does for what stands beside it in the thread and must go
with the run, too (P13). The mutable state is the notices by thread: the current one, and all that may be visible.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from anyio.abc import TaskGroup

from bot.reply.cards import turn_button
from bot.reply.editor import Delivery, ThreadEditor
from bot.reply.port import Body
from bot.reply.sanitise import inline_code
from bot.work.editors import Editors
from bot.work.queue.entry import Entry
from bot.work.queue.scheduler import Scheduler
from bot.work.queue.thread_queue import ThreadQueue
from bot.work.task_tracker import TaskTracker
from pool.storage.durable import SessionStore
from pool.store import KeptNotice

PATIENCE = 1.5
"""Seconds that a message waits before the notice says so."""

MOST_LISTED = 5
"""Waiting prompts that the notice lists, each with its buttons; five buttons fit into a row."""

NO_AGENT = "-# ⏳ Waiting for a free agent: all of them are busy. This message keeps its place."
OVER = Body("-# ✓ Nothing is waiting here any more.")
STOPPING = "-# ⏸ Weft is about to restart."
RESTARTED = "-# ✓ Weft was restarted."
LEFT_ENDED = Body("-# ✓ What still ran here was ended with the restart of Weft.")
_NAME_LIMIT, _TEXT_LIMIT = 30, 60


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a thread's notice lists as waiting, in order; ``no_agent``: for want of a free agent, as nothing runs."""

    entries: tuple[Entry, ...] = ()
    no_agent: bool = False


def waiting_in(queue: ThreadQueue) -> Waiting:
    """Return what waits in a thread; what is about to start is not part of it."""
    free = queue.free
    # Counted along the line, since `place` looks through it: a long queue is asked for its notice with each message.
    entries = tuple(one for ahead, one in enumerate(queue.line) if one.taken and (ahead >= free or one.told_to_wait))
    return Waiting(entries, no_agent=bool(entries) and entries[0].told_to_wait and not queue.running)


def notice_of(what: Waiting, head: str = "") -> Body:
    """Return the notice of a thread in which this waits; ``head`` stands above it."""
    waiting, lines = what.entries, [head] if head else []
    if what.no_agent:
        lines.append(NO_AGENT)
    # A single one that waits for an agent is named by the reply to it already.
    if len(waiting) > what.no_agent:
        lines.append("-# ⏳ Waiting:" if len(waiting) > 1 else "-# ⏳ Waiting, next in line:")
        for number, entry in enumerate(waiting[:MOST_LISTED], 1):
            names = inline_code(", ".join(author.name for author in entry.authors), _NAME_LIMIT)
            lines.append(f"-# {number}. {names}: {inline_code(entry.messages[0].gist, _TEXT_LIMIT)}")
    if len(waiting) > MOST_LISTED:
        lines.append(f"-# and {len(waiting) - MOST_LISTED} more: `/queue show`")
    # A pair of buttons for a single prompt; for several a row each, by their numbers.
    ids = [(entry.thread_id, entry.messages[0].message_id) for entry in waiting[:MOST_LISTED]]
    sends, removes = [turn_button("now", *one) for one in ids], [turn_button("drop", *one) for one in ids]
    if len(ids) > 1:
        sends = [replace(one, label=f"Send {number} now", row=0) for number, one in enumerate(sends, 1)]
        removes = [replace(one, label=f"Remove {number}", row=1) for number, one in enumerate(removes, 1)]
    return Body("\n".join(lines), (*sends, *removes))


@dataclass(slots=True, eq=False)
class Notice:
    """A notice; ``head`` is what it says beside what waits, and it is not older than the message ``since``.

    ``begun``: its way to the thread has begun, and ``delivery`` is there as soon as the store knows that.
    ``over``: it no longer belongs in the thread.
    """

    thread_id: int
    wanted: Body
    head: str = ""
    since: int = 0
    stopping: bool = False
    begun: bool = False
    over: bool = False
    delivery: Delivery | None = None
    hurry: anyio.Event = field(default_factory=anyio.Event)


@dataclass(eq=False)
class QueueNotices:
    """Shows the notices, keeps them up to date, and takes them away.

    Args:
        tasks: owns the waits before a notice is posted.
        tracker: what the end of the bot waits for.
    """

    tasks: TaskGroup
    tracker: TaskTracker
    editors: Editors
    store: SessionStore
    scheduler: Scheduler[Any]
    patience: float = PATIENCE
    _notices: dict[int, Notice] = field(init=False, default_factory=dict)
    _visible: dict[int, list[Notice]] = field(init=False, default_factory=dict)
    _closed: bool = field(init=False, default=False)

    def show(self, thread_id: int) -> None:
        """Bring the notice of a thread up to date with its queue (Q5)."""
        notice, waiting = self._notices.get(thread_id), waiting_in(self.scheduler.queue(thread_id))
        # What it says about the restart is the last word; the next run puts it right.
        if notice is not None and notice.stopping:
            return
        if not waiting.entries:
            if notice is not None:
                self._take_away(notice)
            return
        if notice is None:
            if self._closed or self.tasks.cancel_scope.cancel_called:
                return
            notice = self._notices[thread_id] = Notice(thread_id, notice_of(waiting))
            first = waiting.entries[0].messages[0].message_id
            self.tasks.start_soon(self._post_later, notice, first, name=f"notice {thread_id}")
        self._want(notice, notice_of(waiting, notice.head))
        if waiting.no_agent:
            notice.hurry.set()  # nobody knows when one is free: that is said at once

    def tell_stop(self, thread_id: int, text: str) -> None:
        """Let the notice of a thread say ``text`` about the end of the bot; from now on nothing else changes it."""
        notice = self._notices.get(thread_id)
        if notice is None:
            notice = self._notices[thread_id] = Notice(thread_id, Body(text))
        notice.stopping = True
        notice.hurry.set()
        if notice.begun:
            self.tracker.begin(self._record, thread_id, name=f"record notice {thread_id}")
        else:
            self._begin(notice, None)
        self._want(notice, Body(text))

    def close(self) -> None:
        """Begin no new notice, and take away those that the end of the bot has nothing to say in."""
        self._closed = True
        for notice in list(self._notices.values()):
            if not notice.stopping:
                self._take_away(notice)

    def adopt(self, kept: KeptNotice) -> None:
        """Take over the notice of an earlier run, and let it say what is true now (R2)."""
        waiting = waiting_in(self.scheduler.queue(kept.thread_id))
        head = RESTARTED if kept.stopping else ""
        body = notice_of(waiting, head)
        notice = Notice(kept.thread_id, body, head=head, since=kept.since, begun=True)
        # The processes that it names were ended before the bot got here, by the mark that they bear: it only has to go.
        left = Notice(kept.thread_id, LEFT_ENDED, since=kept.since, begun=True, over=True)
        if (begun_meanwhile := self._notices.get(kept.thread_id)) is not None:
            begun_meanwhile.over = True
        self._notices[kept.thread_id] = notice
        self._visible.setdefault(kept.thread_id, []).extend((notice, left))
        editor = self.editors.of(kept.thread_id)
        notice.delivery = editor.take_over(kept.since, _is_notice, body if body.text else OVER, OVER)
        self.tracker.begin(self._find, notice, editor, notice.delivery, name=f"find notice {kept.thread_id}")
        found = editor.take_over(kept.since, _is_left, LEFT_ENDED, LEFT_ENDED)
        gone = editor.remove(found, LEFT_ENDED)
        # Each turn may have left something running: all of that must be gone before the store forgets the thread.
        gone.beside = found.beside
        self.tracker.begin(self._forget, left, editor, gone, name=f"forget left {kept.thread_id}")
        if not waiting.entries:
            self._take_away(notice)

    # --- beside it -------------------------------------------------------------------------------------------------

    def say_beside(self, thread_id: int, body: Body, since: int, reply_to: int | None) -> Notice:
        """Post a notice that the next run takes away if this one can't; it is newer than the message ``since``."""
        notice = Notice(thread_id, body, since=since, begun=True)
        self.tracker.begin(self._post, notice, reply_to, name=f"post beside {thread_id}")
        return notice

    def end_beside(self, notice: Notice, body: Body) -> None:
        """Let a notice say its last word, from which on it may stay."""
        notice.over = True
        # Without a delivery it is not there yet, and `_post` finds that it is over.
        if notice.delivery is not None:
            editor = self.editors.of(notice.thread_id)
            last = editor.change(notice.delivery, body)
            self.tracker.begin(self._forget, notice, editor, last, name=f"forget beside {notice.thread_id}")

    # --- one notice ----------------------------------------------------------------------------------------------

    async def _post_later(self, notice: Notice, reply_to: int) -> None:
        with anyio.move_on_after(self.patience):
            await notice.hurry.wait()
        # While it waited, the thread may have got another notice, or no longer need one.
        if not notice.over and not notice.begun:
            self._begin(notice, reply_to)

    def _begin(self, notice: Notice, reply_to: int | None) -> None:
        notice.begun = True
        self.tracker.begin(self._post, notice, reply_to, name=f"post notice {notice.thread_id}")

    async def _post(self, notice: Notice, reply_to: int | None) -> None:
        # Every message that is known here is older than the notice will be.
        queue = self.scheduler.queue(notice.thread_id)
        known = (message.message_id for entry in (*queue.running, *queue.line) for message in entry.messages)
        notice.since = max([notice.since, *known]) or notice.thread_id
        # Recorded before it is shown: of a kill in between, the next run must find what it leaves behind.
        self._visible.setdefault(notice.thread_id, []).append(notice)
        await self._record(notice.thread_id)
        if notice.over:  # it is no longer needed
            await self._gone(notice)
            return
        delivery = notice.delivery = self.editors.of(notice.thread_id).say(notice.wanted, reply_to=reply_to)
        if message_id := await delivery.posted():
            # The next run reads from here on, and only so far.
            notice.since = message_id
            await self._record(notice.thread_id)

    async def _find(self, notice: Notice, editor: ThreadEditor, delivery: Delivery) -> None:
        """Start over where an earlier run left no notice: it was killed before that was visible."""
        if await delivery.posted() is None and not editor.gone and not notice.over:
            notice.over = True
            del self._notices[notice.thread_id]
            await self._gone(notice)
            if notice.stopping:
                self.tell_stop(notice.thread_id, notice.wanted.text)
            else:
                self.show(notice.thread_id)

    def _want(self, notice: Notice, body: Body) -> None:
        if notice.wanted == body:
            return
        notice.wanted = body
        if notice.delivery is not None:
            notice.delivery = self.editors.of(notice.thread_id).change(notice.delivery, body)

    def _take_away(self, notice: Notice) -> None:
        """Delete a notice, or leave what it says beside what waits, now that nothing waits."""
        # First, so that a message that waits from now on gets a new notice.
        notice.over = True
        del self._notices[notice.thread_id]
        notice.hurry.set()
        if notice.delivery is None:
            return
        editor = self.editors.of(notice.thread_id)
        if notice.head:
            over = editor.change(notice.delivery, Body(notice.head))
        else:
            over = editor.remove(notice.delivery, OVER)
        self.tracker.begin(self._forget, notice, editor, over, name=f"forget notice {notice.thread_id}")

    # --- what the store knows --------------------------------------------------------------------------------------

    async def _record(self, thread_id: int) -> None:
        # Taken and handed to the store with no await in between: what was handed in last is what holds.
        if visible := self._visible.get(thread_id):
            stopping = any(notice.stopping for notice in visible)
            await self.store.keep_notice(KeptNotice(thread_id, min(notice.since for notice in visible), stopping))
        else:
            await self.store.drop_notice(thread_id)

    async def _gone(self, notice: Notice) -> None:
        visible = self._visible[notice.thread_id]
        visible.remove(notice)
        if not visible:
            del self._visible[notice.thread_id]
        await self._record(notice.thread_id)

    async def _forget(self, notice: Notice, editor: ThreadEditor, over: Delivery) -> None:
        await over.delivered()
        message = over.message
        # It could not be changed, as its thread is archived, or the editor has failed: the next start tries again.
        if message.message_id is not None and (message.given_up or not message.settled) and not editor.gone:
            return
        await self._gone(notice)


def _is_notice(text: str, custom_ids: tuple[str, ...]) -> bool:
    """Return whether a message of Weft's is a notice that is not over."""
    # By its buttons, which no agent can give a message; what it says of a restart has none, and is a single line.
    waits = any(one.startswith(("weft:now:", "weft:drop:")) for one in custom_ids)
    return waits or (text.startswith(STOPPING) and "\n" not in text)


def _is_left(_text: str, custom_ids: tuple[str, ...]) -> bool:
    """Return whether a message of Weft's names what a turn left running, with the button that ends it."""
    return any(one.startswith("weft:end:") for one in custom_ids)
