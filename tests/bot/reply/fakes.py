"""Fakes for the reply: a loop with its own clock, a thread that records and fails on demand, and a turn with text."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from itertools import pairwise
from typing import Any

import anyio

from acp.snapshot import TurnSnapshot
from bot.model import Outcome
from bot.reply.editor import ThreadEditor
from bot.reply.live_reply import LiveReply
from bot.reply.pacing import Pacing
from bot.reply.pending_reply import FinalReply
from bot.reply.port import Body, Button, MessageGone, OwnMessage, ThreadArchived
from tests.bot.reply.samples import snapshot

STOP = Button("weft:stop:1:2", "Stop", "danger")


PROSE = "".join(
    f"Sentence number {number} says a little. " + ("\n\n" if number % 7 == 0 else "") for number in range(400)
)
ALLOW = Button("weft:perm:x:0", "Allow", "success")


def final_reply(
    outcome: Outcome = Outcome.ANSWERED, *lines: str, footer: str = "-# footer", ping: int | None = None
) -> FinalReply:
    return FinalReply(outcome, lines, footer, ping)


def spoken(texts: Sequence[str]) -> str:
    """What the messages say, without status lines and footers."""
    return "".join(
        "".join(line for line in text.splitlines(keepends=True) if not line.startswith("-# ")) for text in texts
    )


def gaps(calls: list[Call]) -> list[float]:
    return [later.at - earlier.at for earlier, later in pairwise(calls)]


class VirtualSelector(selectors.DefaultSelector):
    """Never waits: a time-out only moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing is due")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes at once."""

    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run the test on a virtual clock, with a bound of two virtual hours."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            with anyio.fail_after(7200):
                await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(bounded())

    return run


@dataclass
class Call:
    """One request to the thread, at the time when it began."""

    at: float
    kind: str
    message_id: int
    body: Body
    nonce: str = ""
    reply_to: int | None = None


class Crash(BaseException):
    """The process is killed."""


@dataclass
class FakeThread:
    """A ThreadPort. ``fail`` gives the errors of the next calls by kind; ``delay`` is how long calls take.

    The process is killed in the request number ``crash_at``: before Discord has it, or, ``crash_applied``, after.
    """

    calls: list[Call] = field(default_factory=list)
    messages: dict[int, Body] = field(default_factory=dict)
    typed: int = 0
    delay: float = 0.08
    stall: float = 0.0
    fail: dict[str, list[Exception | None]] = field(default_factory=dict)
    before: Callable[[str], Awaitable[None]] | None = None
    by_nonce: dict[str, int] = field(default_factory=dict)
    lose_answers: bool = False
    archived: bool = False
    most_at_once: int = 0
    reads: list[int] = field(default_factory=list)
    requests: int = 0
    crash_at: int = 0
    crash_applied: bool = False
    crashed: bool = False
    _now: int = 0
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(101))

    async def send(self, body: Body, *, nonce: str, reply_to: int | None = None) -> int:
        self._arrive(applied=False)
        self.archived = False
        known = self.by_nonce.get(nonce)
        message_id = known if known is not None else next(self._ids)
        self.calls.append(Call(anyio.current_time(), "send", message_id, body, nonce, reply_to))
        lost = self.lose_answers and bool(self.fail.get("send"))
        if known is None and (lost or not (self.fail.get("send") or [None])[0]):
            self.messages[message_id] = body
            self.by_nonce[nonce] = message_id
        self._arrive(applied=True)
        await self._answer("send")
        return message_id

    async def edit(self, message_id: int, body: Body) -> None:
        self._arrive(applied=False)
        self.calls.append(Call(anyio.current_time(), "edit", message_id, body))
        if self.archived:
            raise ThreadArchived
        if message_id not in self.messages:
            raise MessageGone
        if not (self.fail.get("edit") or [None])[0]:
            self.messages[message_id] = replace(body, file=self.messages[message_id].file)
        self._arrive(applied=True)
        await self._answer("edit")

    async def delete(self, message_id: int) -> None:
        self._arrive(applied=False)
        self.calls.append(Call(anyio.current_time(), "delete", message_id, Body("")))
        if self.archived:
            raise ThreadArchived
        if message_id not in self.messages:
            raise MessageGone
        if not (self.fail.get("delete") or [None])[0]:
            del self.messages[message_id]
        self._arrive(applied=True)
        await self._answer("delete")

    async def typing(self) -> None:
        self.typed += 1
        await self._answer("typing")

    async def archives_after(self) -> int | None:
        return None

    async def archive_after(self, minutes: int) -> None:
        raise AssertionError(minutes)

    def skip(self, count: int) -> None:
        """Leave out ids: those messages are there already."""
        for _ in range(count):
            next(self._ids)

    async def own_messages(self, after: int, limit: int) -> list[OwnMessage]:
        self._arrive(applied=False)
        self.reads.append(after)
        self._arrive(applied=True)
        await self._answer("read")
        newer = [(key, self.messages[key]) for key in sorted(self.messages) if key > after][:limit]
        replies = {call.message_id: call.reply_to for call in self.of("send")}
        return [
            OwnMessage(key, body.text.strip(), tuple(one.custom_id for one in body.buttons), replies.get(key))
            for key, body in newer
        ]

    def _arrive(self, *, applied: bool) -> None:
        self.requests += not applied
        if self.crashed:
            raise Crash
        if self.requests == self.crash_at and applied is self.crash_applied:
            self.crashed = True
            raise Crash

    async def _answer(self, kind: str) -> None:
        errors = self.fail.get(kind) or [None]
        error = errors.pop(0)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        if self.before is not None:
            await self.before(kind)
        await anyio.sleep(self.delay + (self.stall if kind == "edit" else 0.0))
        self._now -= 1
        if error is not None:
            raise error

    def of(self, kind: str) -> list[Call]:
        """Return the calls of one kind."""
        return [call for call in self.calls if call.kind == kind]

    @property
    def shown(self) -> list[tuple[int, str]]:
        """Return the messages with their ids, oldest first."""
        return [(key, self.messages[key].text) for key in sorted(self.messages)]

    @property
    def texts(self) -> list[str]:
        """Return what the thread shows, oldest first."""
        return [self.messages[key].text for key in sorted(self.messages)]


class FakeTurn:
    """A turn whose text grows; ``asked`` are the offsets that snapshots were asked from."""

    def __init__(self, **fields: Any) -> None:
        self.text = ""
        self.fields: dict[str, Any] = fields
        self.asked: list[tuple[int, int]] = []

    def snapshot(self, text_from: int = 0) -> TurnSnapshot:
        self.asked.append((text_from, len(self.text)))
        return snapshot(text=self.text[text_from:], text_length=len(self.text), **self.fields)


@dataclass
class Scene:
    """An editor at work in a thread."""

    thread: FakeThread
    editor: ThreadEditor
    turn: FakeTurn
    gone: list[str]

    def open(self, key: int = 2, reply_to: int | None = 2, turn: FakeTurn | None = None) -> LiveReply:
        return self.editor.open(key, (turn or self.turn).snapshot, reply_to=reply_to, stop_button=STOP)

    async def stream(self, reply: LiveReply, text: str, seconds: float, chunk: int = 12) -> None:
        """Let the text arrive in even chunks."""
        pieces = [text[start : start + chunk] for start in range(0, len(text), chunk)]
        for piece in pieces:
            self.turn.text += piece
            reply.touch()
            await anyio.sleep(seconds / len(pieces))

    async def end(self, reply: LiveReply, final: FinalReply | None = None) -> bool:
        """Let the turn end as it does: the response, the drain, the footer."""
        reply.touch(urgent=True)
        await anyio.sleep(0.2)
        reply.finish(final or FinalReply(Outcome.ANSWERED, footer="-# footer"))
        return await reply.delivered()


@asynccontextmanager
async def scene(pacing: Pacing | None = None, **thread: Any) -> Any:
    """An editor that runs; it is closed and has ended when the block is left."""
    gone: list[str] = []
    port = FakeThread(**thread)
    numbers = itertools.count(1)
    editor = ThreadEditor(port, pacing or Pacing(), nonces=lambda: f"n{next(numbers)}", on_gone=gone.append)
    turn = FakeTurn(started=anyio.current_time(), last_event=anyio.current_time())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(editor.run)
        yield Scene(port, editor, turn, gone)
        editor.close()
