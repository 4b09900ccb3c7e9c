"""The work between fakes: agents that play a part, a Discord that records and fails on demand, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import anyio

from acp.commands import AgentCommand
from acp.engine import LaunchSpec
from acp.errors import RequestFailed
from acp.open_request import RequestEnd
from acp.permission_request import PermissionRequest
from acp.schema import ContentBlock, PermissionParams, SessionUpdate, decode_update
from acp.session import TurnSink
from acp.session_options import SessionOptions
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from bot.agents.model import Agents, only
from bot.links import MessageLink
from bot.model import Actor, Attachment, Inbound, Outcome, Quote, ThreadPlace
from bot.reply.pacing import Pacing
from bot.reply.port import Body, ThreadPort
from bot.work.dispatcher import Dispatcher
from bot.work.files.handouts import Handouts
from bot.work.limits import WorkLimits
from bot.work.observer import Observer
from bot.work.ports import Earlier, NotAllowed, Save, ThreadHeader, ThreadPage, Where
from bot.work.queue.scheduler import Scheduler
from bot.work.serialization import accepted_prompt
from pool.agent_task import OpenConnection
from pool.model import PoolLimits
from pool.pool import ConnectionPool
from pool.store import AcceptedPrompt
from tests.bot.reply.fakes import FakeThread
from tests.bot.work.samples import BOB, inbound
from tests.pool.fakes import ByThread, FakeAgents, FakeConnection, FakeOpened
from tests.pool.memory import MemoryStore

T = TypeVar("T")

ONE_AGENT = only((), "")
# Nothing is kept of turns: that is packed in a worker thread, for which no virtual clock waits.
LIMITS = WorkLimits(turn=TurnLimits(), pacing=Pacing(), transcript_days=0)


def chunk(text: str) -> SessionUpdate:
    return decode_update({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}})


def tool_update(**fields: Any) -> SessionUpdate:
    return decode_update({"sessionUpdate": "tool_call_update", "toolCallId": "t1", **fields})


def permission_request(title: str = "rm -r build", number: int = 1) -> PermissionRequest:
    options = [
        {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
        {"optionId": "no", "name": "Reject", "kind": "reject_once"},
    ]
    call = {"toolCallId": f"c{number}", "title": title}
    params = PermissionParams.parse({"sessionId": "s", "toolCall": call, "options": options})
    return PermissionRequest(number, params, lambda _request, _response: None)


def nothing_handed_out() -> Handouts:
    """What agents without a directory hand out."""
    return Handouts(cast("Any", None), lambda _thread_id: None, lambda _guild_id: 0)


class PlayedSession:
    """A session whose agent does what ``PlayedAgents.parts`` has for the text of the prompt."""

    def __init__(self, agents: PlayedAgents, session_id: str, connection: PlayedConnection) -> None:
        self.id = session_id
        self.connection = connection
        self.on_late: Callable[[SessionUpdate], None] | None = None
        self.on_title: Callable[[str], None] | None = None
        self.deaf = False
        self.on_cancel: Callable[[PlayedSession], object] = lambda session: session.respond("cancelled")
        self.is_prompting = False
        self.can_steer = False
        self.heard = 0.0
        self.commands: tuple[AgentCommand, ...] = ()
        self.options = SessionOptions()
        self.briefed = False
        self.cancels = 0
        self.requests: list[PermissionRequest] = []
        self._agents = agents

    def begin_turn(
        self, turn: Turn, sink: TurnSink, prompt: list[ContentBlock], *, clock: Callable[[], float]
    ) -> object:
        self.turn, self.sink, self.clock, self.is_prompting = turn, sink, clock, True
        turn.begin(clock())
        text = prompt[0].text or ""
        self._agents.prompted.append(text)
        self._agents.sessions.append(self)
        self._agents.parts.get(text, answer)(self)
        return None

    def cancel(self, by: str | None = None) -> None:
        if by is not None and not self.turn.cancel(self.clock(), by):
            return
        self.cancels += 1
        for request in self.requests:
            request.close(RequestEnd.TURN_CANCELLED)
        if self.deaf:
            self.sink.changed()
        else:
            self.on_cancel(self)

    def feed(self, update: SessionUpdate) -> None:
        self.turn.feed(update, self.clock())
        self.sink.changed()

    def say(self, text: str) -> None:
        self.feed(chunk(text))

    def respond(self, stop_reason: str = "end_turn") -> None:
        self.is_prompting = False
        self.turn.respond(stop_reason, None, self.clock())
        self.sink.changed()

    def fail(self, code: int, message: str) -> None:
        self.is_prompting = False
        self.turn.fail(RequestFailed("session/prompt", code, message), self.clock())
        self.sink.changed()

    def ask(self, title: str = "rm -r build", number: int = 1) -> PermissionRequest:
        request = permission_request(title, number)
        self.requests.append(request)
        self.turn.permission_opened(request.key, request.tool_call, self.clock())
        self.sink.permission(request)
        return request


class PlayedConnection:
    """A fake connection with sessions that can be prompted."""

    def __init__(self, agents: PlayedAgents, inner: FakeConnection) -> None:
        self._agents = agents
        self._inner = inner
        self.told_to_stop = False

    async def open_session(self, cwd: str, previous: str | None, *given: Any) -> FakeOpened:
        opened = await self._inner.open_session(cwd, previous, *given)
        return replace(opened, session=PlayedSession(self._agents, opened.session.id, self))

    def request_stop(self) -> None:
        self.told_to_stop = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@dataclass
class PlayedAgents(FakeAgents):
    """Agents that answer at once; ``parts`` gives other parts by the text of the prompt."""

    parts: dict[str, Callable[[PlayedSession], object]] = field(default_factory=dict)
    prompted: list[str] = field(default_factory=list)
    sessions: list[PlayedSession] = field(default_factory=list)

    @asynccontextmanager
    async def play(self, spec: LaunchSpec, limits: object) -> AsyncIterator[PlayedConnection]:
        async with self.open(spec, limits) as connection:
            yield PlayedConnection(self, connection)


def answer(session: PlayedSession) -> None:
    session.say("an answer")
    session.respond()


def hang(_session: PlayedSession) -> None:
    """Say nothing, and answer a cancel."""


def be_deaf(session: PlayedSession) -> None:
    session.say("so far")
    session.deaf = True


def refuse_login(session: PlayedSession) -> None:
    session.fail(-32000, "Authentication required")


PARTS: dict[str, Callable[[PlayedSession], object]] = {"hang": hang, "deaf": be_deaf, "login": refuse_login}
"""The prompts that every agent of `running_work` knows; it answers any other one."""


@dataclass
class FakeChannels:
    """Channels: threads with what stands above them. ``fail`` gives the errors of the next changes.

    ``changes`` has thread, name and tags of each change, with its time.
    """

    headers: dict[int, ThreadHeader] = field(default_factory=dict)
    changes: list[tuple[float, int, str | None, tuple[int, ...] | None]] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    fail: list[Exception | None] = field(default_factory=list)
    slow: dict[int, float] = field(default_factory=dict)

    async def header(self, thread_id: int) -> ThreadHeader:
        return self.headers.get(thread_id, ThreadHeader("hello", own=True, open=True))

    async def change_header(self, thread_id: int, *, name: str | None, tags: Sequence[int] | None) -> None:
        self.changes.append((anyio.current_time(), thread_id, name, tuple(tags) if tags is not None else None))
        error = self.fail.pop(0) if self.fail else None
        if error is not None:
            raise error
        old = await self.header(thread_id)
        self.headers[thread_id] = replace(
            old, name=name if name is not None else old.name, tags=tuple(tags) if tags is not None else old.tags
        )
        # As with an empty bucket: it is done, and the call returns much later.
        await anyio.sleep(self.slow.get(thread_id, 0.0))

    def seen_by_all(self, thread_id: int, channel_id: int) -> bool:
        del channel_id
        return thread_id not in self.hidden


@dataclass
class FakeChat:
    """A Chat. ``fail`` gives the error of each call of a kind, ``gates`` what it waits for."""

    threads: dict[int, FakeThread] = field(default_factory=dict)
    opened: list[int] = field(default_factory=list)
    acknowledged: list[tuple[int, str]] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    reacted: list[tuple[int, str]] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    fail: dict[str, Exception] = field(default_factory=dict)
    gates: dict[str, anyio.Event] = field(default_factory=dict)
    channels: FakeChannels = field(default_factory=FakeChannels)

    def thread(self, thread_id: int) -> ThreadPort:
        return self.threads.setdefault(thread_id, FakeThread())

    def first_role(self, guild_id: int | None, among: Sequence[int]) -> int | None:
        del guild_id
        return next(iter(among), None)

    def upload_limit(self, guild_id: int | None) -> int:
        return 10 * 2**20

    async def open_thread(self, inbound: Inbound) -> None:
        self.opened.append(inbound.message_id)
        await self._answer("open_thread")

    async def open_post(self, forum_id: int, title: str, body: Body) -> int:
        await self._answer("open_post")
        return await self.thread(forum_id).send(body, nonce=title)

    async def acknowledge(self, inbound: Inbound, emoji: str) -> None:
        self.acknowledged.append((inbound.message_id, emoji))
        await self._answer("acknowledge")

    async def react(self, channel_id: int, message_id: int, emoji: str, *, instead_of: tuple[str, ...] = ()) -> None:
        self.reacted.append((message_id, emoji))
        await self._answer("react")

    async def fetch(self, attachment: Attachment, save: Save, limit: int) -> None:
        self.fetched.append(attachment.name)
        await self._answer("fetch")
        await save(self.files[attachment.name])

    async def refuse(self, inbound: Inbound, text: str) -> None:
        self.refused.append((inbound.message_id, text))
        await self._answer("refuse")

    async def _answer(self, kind: str) -> None:
        if kind in self.gates:
            await self.gates[kind].wait()
        if kind in self.fail:
            raise self.fail[kind]

    def texts(self, thread_id: int = 100) -> list[str]:
        """Return what the thread shows, oldest first."""
        return self.threads[thread_id].texts if thread_id in self.threads else []


@dataclass
class FakeLookups:
    """Lookups. ``messages`` and ``talks`` give what is found, by link and by message, or the error that is raised.

    ``people`` has who is let in otherwise than as asked. ``gate``: what every question waits for; ``asked``: all of
    them.
    """

    messages: dict[MessageLink, Quote | Exception | None] = field(default_factory=dict)
    talks: dict[int, Earlier | Exception] = field(default_factory=dict)
    asked: list[tuple[object, ...]] = field(default_factory=list)
    gate: anyio.Event | None = None
    people: dict[int, Actor | Exception | None] = field(default_factory=dict)
    pages: ThreadPage | Exception = field(default_factory=ThreadPage)
    where: Where | Exception = field(default_factory=lambda: NotAllowed("There is no channel."))

    async def linked(self, link: MessageLink, asker: Actor) -> Quote | None:
        self.asked.append((link, asker.id))
        return await self._answer(self.messages.get(link))

    async def earlier(self, inbound: Inbound, since: int, most: int) -> Earlier:
        self.asked.append((inbound.message_id, since, most))
        return await self._answer(self.talks.get(inbound.message_id, Earlier()))

    async def let_in(self, place: ThreadPlace, person: Actor) -> Actor | None:
        self.asked.append((place.thread_id, person.id))
        return await self._answer(self.people.get(person.id, person))

    async def page(self, inbound: Inbound, before: int | None, most: int) -> ThreadPage:
        self.asked.append((inbound.thread_id, before, most))
        return await self._answer(self.pages)

    async def may_open(self, inbound: Inbound) -> Where:
        return await self._answer(self.where)

    async def _answer(self, found: T | Exception) -> T:
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(found, Exception):
            raise found
        return found


@dataclass(slots=True)
class NotedStore(MemoryStore):
    """A store that notes its calls; ``fail`` gives the error of each call of a kind, ``gates`` what it waits for.

    ``outlives``: it is handed to the next dispatcher, as a file is.
    """

    calls: list[tuple[str, int]] = field(default_factory=list)
    fail: dict[str, Exception] = field(default_factory=dict)
    gates: dict[str, anyio.Event] = field(default_factory=dict)
    outlives: bool = False

    async def accept(self, prompt: AcceptedPrompt) -> bool:
        await self._begin("accept", prompt.message_id)
        return await MemoryStore.accept(self, prompt)

    async def started(self, first: int, others: Sequence[int] = ()) -> None:
        await self._begin("started", first)
        await MemoryStore.started(self, first, others)

    async def finished(self, message_id: int, outcome: str, *, keep: bool = False, turn: int | None = None) -> None:
        await self._begin("finished", message_id)
        await MemoryStore.finished(self, message_id, outcome, keep=keep, turn=turn)

    @property
    def durable(self) -> bool:
        return self.outlives

    async def _begin(self, kind: str, message_id: int) -> None:
        self.calls.append((kind, message_id))
        if kind in self.gates:
            await self.gates[kind].wait()
        if kind in self.fail:
            raise self.fail[kind]


def kept() -> NotedStore:
    """Return a store that the next dispatcher goes on with."""
    return NotedStore(outlives=True)


async def cut_off_together(store: NotedStore) -> None:
    """Leave a turn of two messages, and a third one that was said into it, as a kill does."""
    for message in (inbound(1, text="one"), inbound(2, text="two"), inbound(3, text="three", author=BOB)):
        await store.accept(accepted_prompt(message))
    await store.started(1, [2])
    await store.started(1, [3])


def busy_scheduler() -> Scheduler[Any]:
    """A scheduler that says of every thread that something runs there: nothing is forgotten unasked."""
    return cast("Scheduler[Any]", SimpleNamespace(queue=lambda _thread_id: SimpleNamespace(idle=False)))


@dataclass
class Work:
    """A dispatcher at work, and all that stands around it."""

    dispatcher: Dispatcher
    pool: ConnectionPool
    chat: FakeChat
    store: NotedStore
    agents: PlayedAgents
    outcomes: list[tuple[int, Outcome]]

    def post(self, message_id: int, text: str = "hello", *, thread_id: int = 100, **fields: Any) -> None:
        """Let somebody post a message."""
        self.dispatcher.submit(replace(inbound(message_id, thread_id=thread_id, text=text), **fields))

    async def until(self, condition: Callable[[], object]) -> None:
        """Let virtual time pass until the condition holds."""
        with anyio.fail_after(60):
            while not condition():  # noqa: ASYNC110  the clock is virtual: nothing is slept through
                await anyio.sleep(0.01)

    async def prompted(self, *texts: str) -> None:
        """Wait until the agents have been sent these prompts, in this order."""
        await self.until(lambda: self.agents.prompted == list(texts))

    async def over(self, count: int = 1) -> list[tuple[int, Outcome]]:
        """Wait for so many outcomes, and long enough for one more to be seen; return them all."""
        await self.until(lambda: len(self.outcomes) >= count)
        await self.settled()
        return self.outcomes

    def buttons(self, thread_id: int = 100) -> list[tuple[int, str]]:
        """Return message and custom_id of each button that the thread shows."""
        messages = self.chat.threads[thread_id].messages.items()
        return [(number, button.custom_id) for number, body in messages for button in body.buttons]

    async def outcome(self, message_id: int) -> Outcome:
        """Wait until the message has its outcome, and long enough for another one, which it may not have."""
        await self.until(lambda: message_id in dict(self.outcomes))
        await self.settled()
        (found,) = [outcome for number, outcome in self.outcomes if number == message_id]
        return found

    async def settled(self) -> None:
        """Let everything happen that needs nothing from outside."""
        await anyio.sleep(5)

    def told(self, text: str, thread_id: int = 100) -> list[str]:
        """Return the messages of the thread that have the text in them."""
        return [shown for shown in self.chat.texts(thread_id) if text in shown]

    async def shown(self, text: str, thread_id: int = 100) -> None:
        """Wait until a message of the thread has the text in it."""
        await self.until(lambda: self.told(text, thread_id))


@asynccontextmanager
async def running_work(
    *,
    limits: WorkLimits = LIMITS,
    max_agents: int = 2,
    redact: Callable[[str], str] = str,
    store: NotedStore | None = None,
    chat: FakeChat | None = None,
    held: bool = False,
    named: Agents = ONE_AGENT,
    observer: Observer | None = None,
    may: Callable[[Inbound], bool] = lambda _inbound: True,
    rights: Callable[[Actor, ThreadPlace], Actor | None] = lambda by, _place: by,
    launcher: ByThread | None = None,
    lookups: FakeLookups | None = None,
    **parts: Callable[[PlayedSession], object],
) -> AsyncIterator[Work]:
    """A dispatcher at work while the block runs, set up and taken down as the bot does it; ``parts`` join `PARTS`."""
    agents, chat, store = PlayedAgents(parts=PARTS | parts), chat or FakeChat(), store or NotedStore()
    outcomes: list[tuple[int, Outcome]] = []
    pool = ConnectionPool(
        launcher or ByThread(),
        store,
        PoolLimits(max_agents=max_agents),
        cast("Any", None),
        on_change=lambda: dispatcher.admit(),  # noqa: PLW0108  the dispatcher is made right below
        on_cut_off=lambda thread_id: dispatcher.late_outputs.cut_off(thread_id),  # noqa: PLW0108  see above
        open_connection=cast("OpenConnection", agents.play),
    )
    async with pool, anyio.create_task_group() as tasks:
        dispatcher = Dispatcher(
            tasks,
            chat,
            pool,
            store,
            limits,
            named,
            observer or Observer(),
            may=may,
            rights=rights,
            redact=redact,
            lookups=lookups or FakeLookups(),
            journals=Path("/nonexistent/merges"),
            mirrors=Path("/nonexistent/remote"),
        )
        listeners = dispatcher.deliveries.listeners
        listeners.append(lambda inbound, outcome: outcomes.append((inbound.message_id, outcome)))
        if held:
            dispatcher.hold()
        await dispatcher.recover()
        try:
            yield Work(dispatcher, pool, chat, store, agents, outcomes)
        finally:
            with anyio.CancelScope(shield=True):
                await dispatcher.shutdown()
            tasks.cancel_scope.cancel()
