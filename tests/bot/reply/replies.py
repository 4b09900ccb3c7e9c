"""A reply over several runs of the process: what Discord has is kept, what the store was told may lag behind."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from acp.schema import PlanEntry
from bot.model import Verbosity
from bot.reply.editor import ThreadEditor
from bot.reply.live_reply import LiveReply
from bot.reply.pacing import Pacing
from bot.reply.pending_reply import FinalReply, SavedReply
from bot.reply.port import Body, Unavailable
from tests.bot.reply.fakes import ALLOW, PROSE, STOP, Crash, FakeThread, FakeTurn, final_reply, spoken
from tests.bot.reply.samples import tool

KEY = 2
PLAN = tuple(PlanEntry(content=f"Step {number}", status="pending") for number in range(9))
TOOLS = (
    tool(title="make", status="completed", output="```\n-# ⏳ 5 s\nmade"),
    tool(id="t2", title="npm test", status="in_progress", output="ok 1\nok 2"),
)
INTERRUPTED = Body("⚠️ **interrupted** by a restart")
DONE = SavedReply("Done.", final_reply(), reply_to=KEY, after=KEY)
CODE = "Look:\n```py\n" + "".join(f"print({number}, 'hello')\n" for number in range(300)) + "```\nAll of it.\n"


def long_owed(size: int = 4000) -> SavedReply:
    return SavedReply(PROSE[:size], final_reply(), reply_to=KEY, after=KEY)


def show(thread: FakeThread, *bodies: Body | str) -> tuple[int, ...]:
    """Put messages of an earlier run into the thread."""
    first = max(thread.messages, default=100) + 1
    made = [Body(body) if isinstance(body, str) else body for body in bodies]
    thread.messages.update(dict(zip(itertools.count(first), made, strict=False)))
    thread.skip(len(made))
    return tuple(range(first, first + len(made)))


@dataclass
class RestartedReply:
    """One thread and what the store knows of one reply.

    ``lag`` records of messages are lost in each crash; ``trouble``: requests fail at random, some after they were done.
    """

    thread: FakeThread = field(default_factory=FakeThread)
    lag: int = 0
    trouble: random.Random | None = None
    records: list[tuple[int, ...]] = field(default_factory=list)
    payload: str | None = None
    ended: bool = False
    delivered: list[bool] = field(default_factory=list)
    runs: int = 0
    long_as_file: bool = False

    @property
    def shown(self) -> tuple[int, ...]:
        """Return what the store knows."""
        return self.records[-1] if self.records else ()

    def on_shown(self, ids: tuple[int, ...]) -> None:
        if not self.thread.crashed:
            self.records.append(ids)

    async def run(self, play: Callable[[ThreadEditor], Awaitable[None]], crash_at: int = 0) -> bool:
        """Let the process run until ``play`` ends or it is killed; return whether it came to its end."""
        self.runs += 1
        thread, numbers, run = self.thread, itertools.count(1), self.runs
        thread.requests, thread.crashed, thread.crash_at = 0, False, crash_at
        thread.fail = {} if self.trouble is None else {kind: self._faults() for kind in ("send", "edit")}
        editor = ThreadEditor(
            thread, Pacing(), nonces=lambda: f"run{run}-{next(numbers)}", long_as_file=self.long_as_file
        )
        known = len(self.records)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(editor.run)
                await play(editor)
                editor.close()
        except BaseExceptionGroup as group:
            if group.split(Crash)[1] is not None:
                raise
            del self.records[max(known, len(self.records) - self.lag) :]
            return False
        return True

    def _faults(self) -> list[Exception | None]:
        assert self.trouble is not None
        return [self.trouble.choice([Unavailable("503"), None, None]) for _ in range(12)]

    async def answer(self, editor: ThreadEditor, text: str, dice: random.Random, final: FinalReply) -> None:
        """Let a turn say ``text``, with cards in between, and end."""
        turn = FakeTurn(started=anyio.current_time(), last_event=anyio.current_time())
        reply = editor.open(KEY, turn.snapshot, reply_to=KEY, stop_button=STOP, on_shown=self.on_shown)
        # What stands below the text must not be taken for text in the next run, however much of it there is.
        # Without a word, the answer would be made of the tools.
        turn.fields |= {"plan": PLAN, "tools": TOOLS if text else (), "thoughts": "I think."}
        reply.verbosity = dice.choice([*Verbosity])
        start, cards = 0, itertools.count(1)
        while start < len(text):
            end = start + dice.randrange(1, 1500)
            turn.text = text[:end]
            reply.touch()
            await anyio.sleep(dice.uniform(0.1, 2))
            start = end
            if dice.random() < 0.15:
                reply.card(f"c{next(cards)}", Body(f"-# card {start}", (ALLOW,)))
        await self.finish(reply, final)

    async def finish(self, reply: LiveReply, final: FinalReply) -> None:
        """End a reply as the work does: first the store knows, then Discord."""
        self.payload = reply.owed(final)
        reply.finish(final)
        self.end(await reply.delivered())

    def end(self, delivered: bool) -> None:
        """Take note of the end, unless the process was killed before."""
        if not self.thread.crashed:
            self.delivered.append(delivered)
            self.ended = True

    async def restore(self, editor: ThreadEditor) -> None:
        """Do what a start does."""
        if self.payload is None:
            self.end(await editor.mark_interrupted(KEY, self.shown, INTERRUPTED).delivered())
        else:
            owed = SavedReply.from_json(self.payload)
            reply = editor.restore(KEY, owed, self.shown, on_shown=self.on_shown)
            self.end(await reply.delivered())

    async def play(self, text: str, seed: int, final: FinalReply, crash_at: int) -> None:
        """Run once, and then again until the reply is delivered, killed at the request ``crash_at`` at first."""
        dice = random.Random(seed)
        await self.run(lambda editor: self.answer(editor, text, dice, final), crash_at)
        while not self.ended:
            if dice.random() < 0.5:
                self.thread.by_nonce.clear()  # Discord forgets them after minutes
            await self.run(self.restore, dice.choice([0, dice.randrange(1, 12)]))

    @property
    def answers(self) -> list[str]:
        """Return what the messages say, without those that tell of the interruption."""
        return [text for text in self.thread.texts if text != INTERRUPTED.text]

    @property
    def said(self) -> str:
        """Return what the thread shows of answers, in messages and files, without mentions and white space."""
        files = [body.file.data.decode() for body in self.thread.messages.values() if body.file]
        return "".join((spoken(self.answers) + "".join(files)).replace("<@7>", "").split())

    def count(self, line: str) -> int:
        """Return how often a line is shown."""
        return sum(text.splitlines().count(line) for text in self.thread.texts)


async def baseline(text: str, seed: int, final: FinalReply | None = None) -> int:
    """Return how many requests a run without a crash makes."""
    reply = RestartedReply()
    await reply.play(text, seed, final or final_reply(), 0)
    return reply.thread.requests
