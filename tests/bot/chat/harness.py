"""What the socket tests share: a dispatcher that records, a stamp in memory, a gateway to the loopback Discord."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import anyio
from discord.gateway import DiscordWebSocket
from discord.http import Route

from acp.commands import AgentCommand
from acp.elicitation import ElicitationParams, ElicitationRequest
from acp.permission_request import PermissionRequest
from bot.chat.authorize import Policy
from bot.chat.fence import MaySend, always
from bot.chat.gateway import ChatConfig, DiscordGateway
from bot.chat.rest import RetryLimits
from bot.model import Actor, Inbound, QueueMode, ThreadPlace
from bot.redaction import Redactor
from bot.sandbox import FakeDiscord
from bot.work.attention.inbox import Inbox
from bot.work.attention.notifications import Notify
from bot.work.controls import AT_WORK, Controls
from bot.work.dispatcher import Dispatcher
from bot.work.login.logins import Logins
from bot.work.outside.boards import ENDED, HERE, MOVED, NONE_HERE
from bot.work.permissions.cards import Card, PermissionRegistry
from bot.work.ports import Answer
from bot.work.projects.listing import TreeEntry
from bot.work.questions.form import read_form
from bot.work.questions.registry import Question, QuestionRegistry
from bot.work.schedules.service import Schedules
from bot.work.schedules.zones import TimeZones
from bot.work.slash.commands import NO_COMMANDS, AgentCommands
from bot.work.thread_settings import ThreadSettings
from bot.work.transcripts.export import Exports, Format
from bot.work.transcripts.service import Transcripts
from pool.storage.durable import SessionStore
from tests.bot.chat.choices import FakeChoices
from tests.bot.work.fakes import permission_request
from tests.bot.work.observing import Noted
from tests.pool.memory import MemoryStore

QUICK = RetryLimits(budget=5.0, first=0.01, longest=0.05)


DETAILS = "It thought about it."


class FakeTranscripts(Transcripts):
    """Knows the same of every turn."""

    async def details(self, thread_id: int, turn_id: int) -> Answer:
        return Answer(DETAILS, accepted=True)


class FakeExports(Exports):
    """Has the same to say of every thread."""

    async def export(self, thread_id: int, guild_id: int | None, wanted: Format = "markdown") -> Answer:
        return Answer(DETAILS, accepted=True)


class FakeCommands(AgentCommands):
    """One command, which every agent has; running it is refused, as every place shows that alike."""

    def __init__(self) -> None:
        pass

    def of(self, thread_id: int, guild_id: int | None) -> tuple[AgentCommand, ...]:
        return (AgentCommand("compact", "makes it short", "how much"),)

    def prompt(self, thread_id: int, guild_id: int | None, name: str, given: str) -> Answer:
        return Answer(NO_COMMANDS, accepted=False)


class FakePosts(set[int]):
    """The posts that are sessions."""

    def claim(self, thread_id: int) -> None:
        self.add(thread_id)


LOGINS = "These are the ways to log in."


class FakeLogins(Logins):
    """Agents that are logged in and out by saying so."""

    def __init__(self) -> None:
        pass

    def place_of(self, thread_id: int | None, channel_id: int) -> int:
        return thread_id or channel_id

    async def show(self, place_id: int, here: int, by: Actor) -> Answer:
        return Answer(LOGINS, accepted=True)

    async def log_in(self, place_id: int, digest: str, by: Actor) -> Answer:
        return Answer(f"Logged in by {digest}.", accepted=True)

    async def log_out(self, place_id: int, by: Actor) -> Answer:
        return Answer("Logged out.", accepted=True)


class FakeTrees:
    """Work trees with which everything has been done already; of a list there are none."""

    def __init__(self) -> None:
        self.actions = self.list = self

    async def commit(self, *_args: object) -> Answer:
        return Answer("Committed.", accepted=True)

    async def merge(self, *_args: object, **_options: object) -> Answer:
        return Answer("Merged.", accepted=True)

    async def publish(self, *_args: object) -> Answer:
        return Answer("Pushed.", accepted=True)

    async def all(self) -> list[TreeEntry]:
        return []


class FakeBoards(set[int]):
    """The channels with a board."""

    def put_up(self, guild_id: int, channel_id: int) -> Answer:
        del guild_id
        answer = MOVED if channel_id in self else HERE
        self.add(channel_id)
        return answer

    def end(self, channel_id: int) -> Answer:
        if channel_id not in self:
            return NONE_HERE
        self.remove(channel_id)
        return ENDED


@dataclass
class FakeDispatcher(Dispatcher):
    """Records what it is asked; `wait` waits for something recorded.

    `course` has all that concerns messages in order; `started` what a real dispatcher would start, each message once;
    `revisions` what became of messages later. What it `refuses` has no effect.
    """

    inbounds: list[Inbound] = field(default_factory=list)
    calls: list[tuple[object, ...]] = field(default_factory=list)
    deciders: list[Actor] = field(default_factory=list)
    late: list[Inbound] = field(default_factory=list)
    revisions: list[tuple[object, ...]] = field(default_factory=list)
    course: list[str] = field(default_factory=list)
    started: list[Inbound] = field(default_factory=list)
    unwritten: frozenset[int] = frozenset()
    queued: dict[int, list[int]] = field(default_factory=dict)
    writers: frozenset[tuple[int, int]] = frozenset()
    _held: list[Inbound] | None = None
    busy: frozenset[int] = frozenset()
    outside: Any = field(
        default_factory=lambda: SimpleNamespace(
            posts=FakePosts(), boards=FakeBoards(), opened=lambda thread_id, title: None
        )
    )
    sessions: Any = field(default_factory=lambda: SimpleNamespace(catalogues=SimpleNamespace(shown={})))
    broken: bool = False
    refuses: bool = False
    state: str = "All quiet."
    changes: Answer = field(default_factory=lambda: Answer("Nothing has changed.", accepted=True))
    permissions: PermissionRegistry = field(default_factory=PermissionRegistry)
    questions: QuestionRegistry = field(default_factory=QuestionRegistry)
    commands: FakeCommands = field(default_factory=FakeCommands)
    logins: FakeLogins = field(default_factory=FakeLogins)
    trees: Any = field(default_factory=FakeTrees)
    notifications: Any = field(init=False)
    options: FakeChoices = field(default_factory=FakeChoices)
    inbox: Inbox = field(init=False)
    schedules: Schedules = field(init=False)
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        # What people ask for is recorded with all the rest.
        self.controls = cast("Controls", self)
        self.notifications = SimpleNamespace(choose=self.choose)
        self.transcripts = FakeTranscripts(cast("Any", None), str, 30)
        self.exports = FakeExports(self.transcripts, lambda _guild_id: 0)
        self.inbox = Inbox(KeptHere(), str)
        tracker = cast("Any", SimpleNamespace(begin=lambda *_step, name: None))
        self.schedules = Schedules(tracker, cast("Any", None), TimeZones(KeptHere(), "Etc/UTC"))

    async def saved(self) -> bool:
        return True

    def archived(self, thread_id: int) -> None:
        self._record("archived", thread_id)

    def submit(self, inbound: Inbound) -> None:
        self.inbounds.append(inbound)
        self.course.append(inbound.text)
        self._start([inbound])
        self.note()

    def choose(self, level: Notify, by: Actor, thread_id: int | None, guild_id: int | None) -> Answer:
        self._record("notify", thread_id, by.id, str(level))
        return Answer("Chosen.", accepted=True)

    def stop(self, thread_id: int, by: Actor, prompt: int | None = None, before: int | None = None) -> Answer:
        self._record("stop", thread_id, by.id, prompt)
        return Answer("Stopping.", accepted=True)

    async def look_at_nodes(self) -> None:
        pass  # all machines are known as they are now

    def status(self, thread_id: int | None) -> str:
        self._record("status", thread_id)
        return self.state

    def reset(self, thread_id: int, by: Actor) -> Answer:
        self._record("reset", thread_id, by.id)
        return Answer("Starting afresh.", accepted=True)

    def agents(self) -> tuple[str, ...]:
        return ("claude", "codex", "gemini")

    def project_names(self) -> tuple[str, ...]:
        return ("web", "shop")

    def renew(self, thread_id: int | None, agent: str | None, by: Actor, project: str | None = None) -> Answer:
        self._record("renew", thread_id, agent, by.id, *filter(None, [project]))
        return Answer("No." if self.refuses else "A new conversation.", accepted=not self.refuses)

    def hand_off(self, thread_id: int, agent: str, by: Actor) -> Answer:
        self._record("hand off", thread_id, agent, by.id)
        return AT_WORK

    def assign(self, thread_id: int, channel_id: int, agent: str | None, project: str | None = None) -> None:
        self._record("assign", thread_id, channel_id, agent, *filter(None, [project]))

    def keep_name(self, thread_id: int) -> None:
        self._record("keep name", thread_id)

    def decide(self, request: str, option: int, by: Actor, message_id: int = 0) -> Answer:
        del message_id
        self.deciders.append(by)
        self._record("decide", request, option, by.id)
        return Answer("Allowed.", accepted=True)

    @property
    def at_work(self) -> bool:
        return self._held is None

    def pending(self) -> frozenset[int]:
        return self.unwritten

    def hold(self) -> None:
        self.course.append("hold")
        if self._held is None:
            self._held = []
        self.note()

    def release(self) -> None:
        self.course.append("release")
        held, self._held = self._held or [], None
        self._start(sorted(held, key=lambda one: one.message_id))
        self.note()

    def _start(self, inbounds: list[Inbound]) -> None:
        if self._held is not None:
            self._held += inbounds
            return
        known = {one.message_id for one in self.started}
        self.started += [one for one in inbounds if one.message_id not in known]

    def missed(self, inbound: Inbound) -> None:
        self.late.append(inbound)
        self.course.append(inbound.text)
        self.note()

    def waiting(self) -> dict[int, list[int]]:
        return self.queued

    def at_rest(self, thread_id: int) -> bool:
        return thread_id not in self.busy

    def forget(self, *gone: int) -> None:
        self._record("forget", *gone)

    def authors(self) -> frozenset[tuple[int, int]]:
        return self.writers

    def roles_now(self, guild_id: int, user_id: int, roles: frozenset[int]) -> None:
        self._revise("roles", guild_id, user_id, roles)

    def pressed(self, guild_id: int, by: Actor) -> None:
        self.permissions.roles_now(guild_id, by.id, by.roles)

    def edited(self, message_id: int, text: str) -> None:
        self._revise("edited", message_id, text)

    def deleted(self, message_id: int) -> None:
        self._revise("deleted", message_id)

    def _revise(self, *revision: object) -> None:
        self.revisions.append(revision)
        self.course.append(str(revision[0]))
        self.note()

    def stop_all(self, thread_id: int, by: Actor, before: int) -> Answer:
        self._record("stop all", thread_id, by.id, before)
        self.course.append("stop all")
        return Answer("Stopping all.", accepted=True)

    async def diff(self, thread_id: int) -> Answer:
        self._record("diff", thread_id)
        return self.changes

    def queue(self, thread_id: int, guild_id: int | None = None) -> str:
        self._record("queue", thread_id)
        return "Nothing waits."

    def choose_mode(self, place_id: int, mode: QueueMode, by: Actor, *, server: bool) -> Answer:
        self._record("mode", place_id, mode, by.id, server)
        return Answer(f"From now on: {mode}.", accepted=not self.refuses)

    def clear(self, thread_id: int, by: Actor) -> Answer:
        self._record("clear", thread_id, by.id)
        return Answer("Cleared.", accepted=True)

    def end_left(self, thread_id: int, token: str, by: Actor) -> Answer:
        self._record("end left", thread_id, token, by.id)
        return Answer("Ending it.", accepted=not self.refuses)

    def promote(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        self._record("promote", thread_id, prompt, by.id)
        return Answer("It runs next.", accepted=not self.refuses)

    def remove(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        self._record("remove", thread_id, prompt, by.id)
        return Answer("Removed.", accepted=not self.refuses)

    def go_on(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer:
        self._record("go on", thread_id, prompt, notice, by.id)
        return Answer("Going on.", accepted=not self.refuses)

    def place_of(self, token: str) -> ThreadPlace | None:
        asked = self.permissions.find(token) or self.questions.find(token)
        return asked.place if asked is not None else None

    def thread_gone(self, thread_id: int, reason: str) -> None:
        self._record("gone", thread_id, reason)

    def _record(self, *call: object) -> None:
        if self.broken:
            raise LookupError("the dispatcher is on fire")
        self.calls.append(call)
        self.note()

    def note(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def wait(self, ready: Callable[[FakeDispatcher], object]) -> None:
        with anyio.fail_after(30):
            while not ready(self):
                await self._changed.wait()

    async def inbound(self, number: int = 1) -> Inbound:
        await self.wait(lambda dispatcher: len(dispatcher.inbounds) >= number)
        return self.inbounds[number - 1]


@dataclass
class Decider(FakeDispatcher):
    """A dispatcher whose permission requests are real."""

    def decide(self, request: str, option: int, by: Actor, message_id: int = 0) -> Answer:
        return self.permissions.decide(request, option, by, message_id)

    def asked(
        self, place: ThreadPlace, by: Actor, title: str = "rm", *, message_id: int = 77, **rights: bool
    ) -> tuple[Card, PermissionRequest]:
        """Return a request of somebody's turn whose card is shown."""
        request = permission_request(title)
        card = self.permissions.open(place, request, by, lambda _card: None, **rights)
        card.message_id = message_id
        return card, request

    def questioned(
        self, place: ThreadPlace, by: Actor, properties: dict[str, Any], *, message_id: int = 78, **rights: bool
    ) -> Question:
        """Return a question with fields, of somebody's turn, whose card is shown."""
        params = ElicitationParams(message="Which\none?", mode="form")
        request = ElicitationRequest(1, params, lambda _request, _response: None)
        form = read_form({"properties": properties})
        question = self.questions.open(place, request, form, by, lambda _question: None, **rights)
        question.message_id = message_id
        return question


class KeptHere(ThreadSettings):
    """What is settled for places, and written down nowhere."""

    def __init__(self) -> None:
        self._kept = {}

    def keep(self, place_id: int, values: Mapping[str, Any], *, at_once: bool = True) -> None:
        del at_once
        self._kept[place_id] = {
            key: value for key, value in {**self._kept.get(place_id, {}), **values}.items() if value
        }


@dataclass
class MemoryStamp:
    value: str | None = None

    def read(self) -> str | None:
        return self.value

    def write(self, stamp: str) -> None:
        self.value = stamp


@dataclass
class RunningChat:
    """A bot's chat at work."""

    fd: FakeDiscord
    dispatcher: FakeDispatcher
    gateway: DiscordGateway
    observer: Noted

    @property
    def readies(self) -> list[bool]:
        """One entry for each READY."""
        return [resumed for resumed in self.observer.opened if not resumed]

    async def settled(self, channel_id: int) -> None:
        """Wait until everything said so far has been through the client: a last mention by the owner is the mark."""
        before = len(self.dispatcher.inbounds)
        mark = await self.fd.owner.say(channel_id, "mark", mention_bot=True)
        await self.dispatcher.wait(
            lambda dispatcher: any(one.message_id == mark.id for one in dispatcher.inbounds[before:])
        )
        for record in (self.dispatcher.inbounds, self.dispatcher.started):
            record[:] = [one for one in record if one.message_id != mark.id]

    async def caught_up(self) -> None:
        """Wait until no catch-up holds the work."""
        await self.dispatcher.wait(lambda dispatcher: dispatcher.course.count("hold") and dispatcher.at_work)

    @asynccontextmanager
    async def gap(self) -> AsyncIterator[None]:
        """Lose what happens in the block, and the connection with it; it is resumed by nothing."""
        before = len(self.readies)
        with self.fd.gateway.losing():
            yield
        await self.fd.gateway.invalidate()
        await self.dispatcher.wait(lambda _: len(self.readies) > before)
        await self.caught_up()


@dataclass
class Doorbell(Noted):
    """An observer that wakes whoever waits for something at the dispatcher."""

    dispatcher: FakeDispatcher = field(default_factory=FakeDispatcher)

    def gateway_opened(self, *, resumed: bool) -> None:
        super().gateway_opened(resumed=resumed)
        self.dispatcher.note()


@asynccontextmanager
async def discords_address_kept() -> AsyncIterator[None]:
    """Give discord.py its address back afterwards."""
    base, gateway = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    try:
        yield
    finally:
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = base, gateway


def config_for(fd: FakeDiscord, policy: Policy | None = None, *, token: str | None = None) -> ChatConfig:
    return ChatConfig(
        token=token or fd.token,
        policy=policy or Policy(),
        api_url=fd.api_url,
        guild_ready_timeout=0.05,
        first_pause=0.02,
        longest_pause=0.1,
        retries=QUICK,
    )


def make_gateway(config: ChatConfig) -> DiscordGateway:
    return DiscordGateway(config, MemoryStamp(), Redactor(), store=MemoryStore(), observer=Noted())


@asynccontextmanager
async def running_chat(
    fd: FakeDiscord,
    policy: Policy | None = None,
    stamp: MemoryStamp | None = None,
    *,
    wait: bool = True,
    commands: bool = True,
    dispatcher: FakeDispatcher | None = None,
    seen: SessionStore | None = None,
    secrets: tuple[str, ...] = (),
    may_send: MaySend = always,
    **config: object,
) -> AsyncIterator[RunningChat]:
    """Run a chat on the loopback Discord for the length of the block; ``config`` changes fields of `ChatConfig`."""
    dispatcher = dispatcher or FakeDispatcher()
    observer = Doorbell(dispatcher=dispatcher)
    settings = dataclasses.replace(config_for(fd, policy), **config)  # type: ignore[arg-type]
    gateway = DiscordGateway(
        settings, stamp or MemoryStamp(), Redactor(secrets), store=seen or MemoryStore(), observer=observer,
        may_send=may_send,
    )  # fmt: skip
    async with discords_address_kept(), anyio.create_task_group() as group:
        group.start_soon(gateway.run, dispatcher)
        try:
            with anyio.fail_after(30):
                if wait:
                    await gateway.ready.wait()
                if wait and commands and stamp is None:
                    await fd.wait_for(lambda fd: fd.commands)
            yield RunningChat(fd, dispatcher, gateway, observer)
        finally:
            gateway.close()


@asynccontextmanager
async def in_a_thread(
    *friends: str, dispatcher: FakeDispatcher | None = None, secrets: tuple[str, ...] = ()
) -> AsyncIterator[tuple[RunningChat, int]]:
    """Yield a chat that takes requests from alice and her friends in one channel, and a thread that it opened there."""
    async with FakeDiscord() as fd:
        alice, operator = fd.user("alice"), fd.user("operator")
        policy = Policy(
            channels=frozenset({fd.channel_id}),
            users=frozenset({alice.id, *(fd.user(name).id for name in friends)}),
            owners=frozenset({operator.id}),
        )
        async with running_chat(fd, policy, dispatcher=dispatcher, secrets=secrets) as chat:
            await alice.say(fd.channel_id, "start", mention_bot=True)
            inbound = await chat.dispatcher.inbound()
            await chat.gateway.chat.open_thread(inbound)
            yield chat, inbound.thread_id
