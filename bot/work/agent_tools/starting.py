"""The tool that starts a thread: another agent works there on a prompt, in the requester's name (M2).

In this order, so that a kill at any point leaves no thread twice and none without its prompt: the plan is kept with the
thread that asks, the message is posted, its thread is settled, opened and prompted, and the plan is reduced to what a
repeated call is told by. What a kill cut off goes on at the next start, and a turn that is continued after it finds
what it has started. All state is in the settings of threads.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import anyio
import anyio.lowlevel
import structlog

from bot.mcp.tools import StartThread, ToolRefused
from bot.model import Actor, Inbound, Lane, Outcome, Quote, snowflake_at
from bot.reply.port import MESSAGE_LIMIT, Attachment, Body, PortError
from bot.reply.sanitise import clip, in_full, inline_code, units
from bot.reply.title import title_of
from bot.work.budget.budgets import Budgets
from bot.work.editors import Editors
from bot.work.ending import TurnEnd
from bot.work.intake import Intake
from bot.work.ports import Chat, Lookups, NotAllowed, Where
from bot.work.prompt import named
from bot.work.questions.cards import literal
from bot.work.queue.rate import RateLimit
from bot.work.retries import open_thread, own_messages
from bot.work.running_turn import RunningTurn
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.turn_events import TurnListener
from pool.storage.durable import SessionStore
from pool.store import SeenPlace

log = structlog.get_logger(__name__)

MOST_STARTED = 3
"""Threads that one turn may start."""

OPEN_LIMIT = 30.0
"""Seconds for Discord to open the thread while an agent waits; after a restart it is tried for as long as it takes."""

STARTED, STARTED_BY = "started", "started_by"
"""Kept of a thread: which threads its agent has started, and which thread's agent has started it."""

_KEPT = 20
_CLOCKS_DIFFER = 60.0  # seconds between ours and Discord's

TOO_DEEP = "This thread was started by an agent itself, so no further threads can be started from here."
ENOUGH = f"{MOST_STARTED} threads were started in this turn already. Say in your answer what else there is to do."
FOR_PEOPLE = "Threads are started only for people, and the one asking you is a bot."
NOT_LET_IN = "The person who asks you may not use Weft in the channel of this thread."
NOT_KNOWN = "Discord can't say right now whether that is allowed. Try again later, or leave it."
NOT_SAFE = "Weft can't write its state file now, so nothing is started. Try again later, or leave it."
STOPPING = "Weft is restarting, so nothing is started now."
UNDER_WAY = "That thread is being started already."


@dataclass(frozen=True, slots=True)
class Plan:
    """A thread that is to be started.

    Attributes:
        prompt_id: the turn's; ``digest``: tells what is asked for in it from anything else.
        after: the message is newer than this snowflake.
        thread_id: 0 until its message is posted.
        by: in whose name; ``asked_in``: the thread whose agent asks.
        settled: its turn has ended, or a later one: whoever asks for the same again wants another thread.
    """

    prompt_id: int
    digest: str
    after: int
    where: Where
    by: Actor
    asked_in: int
    prompt: str
    agent: str | None
    project: str | None
    thread_id: int = 0
    settled: bool = False

    def dumped(self) -> dict[str, Any]:
        """Return it as the settings of a thread keep it."""
        raw = asdict(self)
        raw["by"] = {"id": self.by.id, "name": self.by.name, "roles": sorted(self.by.roles)}
        return raw

    @classmethod
    def loaded(cls, raw: dict[str, Any]) -> Plan:
        """Return what was dumped."""
        by = raw["by"]
        actor = Actor(by["id"], by["name"], frozenset(by["roles"]))
        return cls(**(raw | {"where": Where(**raw["where"]), "by": actor}))

    @property
    def nonce(self) -> str:
        """The nonce of its message: the same one for a repeated call of the same turn."""
        return "t" + hashlib.sha256(f"{self.prompt_id} {self.digest}".encode()).hexdigest()[:20]

    @property
    def title(self) -> str:
        """The name of the thread."""
        return title_of(self.prompt) or "Request"

    @property
    def link(self) -> str:
        """Where it is."""
        return f"https://discord.com/channels/{self.where.guild_id}/{self.thread_id}"

    @property
    def inbound(self) -> Inbound:
        """The message as the prompt of the new thread."""
        where = self.where
        headline = f"An agent wrote this prompt in another thread, in which it works for {named(self.by)}"
        return Inbound(
            message_id=self.thread_id,
            # A post stands in itself, and is open with its message.
            channel_id=self.thread_id if where.forum else where.channel_id,
            thread_id=self.thread_id,
            guild_id=where.guild_id,
            author=self.by,
            text=self.prompt,
            opens_thread=not where.forum,
            title=self.title,
            lane=Lane.BACKGROUND,
            on_behalf=True,
            parent_id=where.channel_id if where.forum else None,
            quotes=(Quote(headline, ""),),
        )


@dataclass(eq=False)
class _Opening:
    """A thread that is being opened, for whoever waits for it; ``failed``: why it is not open."""

    plan: Plan
    failed: str = ""
    over: anyio.Event = field(default_factory=anyio.Event)


@dataclass(eq=False)
class ThreadStarter(TurnListener):
    """Starts threads.

    Args:
        may: says whether a message's author would be let in now.
        rate: counts the messages of people, these among them.
        redact: takes secrets out of what is posted.
        wall: tells the seconds since the epoch.
    """

    tracker: TaskTracker
    chat: Chat
    lookups: Lookups
    store: SessionStore
    settings: ThreadSettings
    editors: Editors
    intake: Intake
    budgets: Budgets
    rate: RateLimit
    may: Callable[[Inbound], bool]
    redact: Callable[[str], str]
    wall: Callable[[], float] = time.time

    async def start(self, running: RunningTurn, asker: Inbound, asked: StartThread) -> str:
        """Start a thread for a turn's agent and return what the agent is told.

        Raises:
            ToolRefused: it is not started.
        """
        thread_id, prompt_id = asker.thread_id, running.first.message_id
        self._check(asker, asked)
        where = await self._where(asker)
        project = asked.project or self.settings.project_name(thread_id)
        parts = (asked.prompt, asked.agent or "", project or "")
        # Joined by a sign that is in no name: no two calls that differ read alike.
        digest = hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:20]
        # From here to the plan there is no await: calls that come side by side must not both be the third.
        mine = [one for one in self._kept(thread_id) if one.get("prompt_id") == prompt_id or not one.get("settled")]
        if (same := next((one for one in mine if one.get("digest") == digest), None)) is not None:
            return self._told_again(same, where)
        if len(mine) >= MOST_STARTED:
            raise ToolRefused(ENOUGH)
        # Its message can't be older, so not much has to be looked through for it after a kill.
        after = max(prompt_id, snowflake_at(self.wall() - _CLOCKS_DIFFER))
        plan = Plan(prompt_id, digest, after, where, asker.author, thread_id, asked.prompt, asked.agent, project)
        self._check_limits(plan, running)
        self._keep(plan)
        opening = _Opening(plan)
        # In a task of its own: an agent that gives the call up must not leave half a thread.
        self.tracker.begin(self._open, opening, name=f"start from {thread_id}")
        await opening.over.wait()
        if opening.failed:
            raise ToolRefused(opening.failed)
        return f"Started: {opening.plan.link}. People read the answer there."

    async def recover(self) -> None:
        """Go on with what a kill cut off."""
        for thread_id, kept in self.settings.all_kept(STARTED).items():
            for raw in kept if isinstance(kept, list) else ():
                # One that is over has no prompt any more (`_keep`).
                if not (isinstance(raw, dict) and raw.get("prompt")):
                    continue
                try:
                    plan = Plan.loaded(raw)
                except (KeyError, TypeError):
                    log.exception("start.dropped", thread=thread_id)
                else:
                    self.tracker.begin(self._resume, plan, name=f"start from {thread_id}")

    def ended(self, running: RunningTurn, end: TurnEnd) -> None:
        # A turn that was cut off may be continued, and its agent may not know how far it had come.
        if end.outcome in (Outcome.INTERRUPTED, Outcome.AGENT_DIED, Outcome.AGENT_UNREACHABLE):
            return
        kept = self._kept(running.thread_id)
        if any(not one.get("settled") for one in kept):
            self.settings.keep(running.thread_id, {STARTED: [one | {"settled": True} for one in kept]})

    # --- whether ----------------------------------------------------------------------------------------------------

    def _check(self, asker: Inbound, asked: StartThread) -> None:
        if self.intake.closed:
            raise ToolRefused(STOPPING)
        if asker.automatic:
            raise ToolRefused(FOR_PEOPLE)
        if self.settings.kept(asker.thread_id, STARTED_BY) is not None:
            raise ToolRefused(TOO_DEEP)
        unknown = [
            self.settings.unknown(asked.agent) if asked.agent is not None else None,
            self.settings.unknown_project(asked.project) if asked.project is not None else None,
        ]
        for answer in unknown:
            if answer is not None:
                raise ToolRefused(answer.text)

    async def _where(self, asker: Inbound) -> Where:
        try:
            with anyio.fail_after(OPEN_LIMIT):
                return await self.lookups.may_open(asker)
        except NotAllowed as exc:
            raise ToolRefused(str(exc)) from exc
        except (PortError, TimeoutError) as exc:
            raise ToolRefused(NOT_KNOWN) from exc

    def _check_limits(self, plan: Plan, running: RunningTurn) -> None:
        """Raise what is against one more prompt of this person."""
        if running.stopped_by or self.intake.closed:
            raise ToolRefused(STOPPING)
        inbound = plan.inbound
        if not self.may(replace(inbound, parent_id=plan.where.channel_id)):
            raise ToolRefused(NOT_LET_IN)
        if (why := self.budgets.refusal(inbound)) is not None:
            raise ToolRefused(f"Not started: {why.reason}.")
        now = self.wall()
        if not self.rate.take(plan.by.id, now):
            wait = int(self.rate.wait(plan.by.id, now)) + 1
            raise ToolRefused(f"Too many messages in the name of this person. Try again in {wait} s.")

    def _told_again(self, kept: dict[str, Any], where: Where) -> str:
        thread_id = kept.get("thread_id")
        if not thread_id or kept.get("prompt"):
            raise ToolRefused(UNDER_WAY)
        return f"Started already: https://discord.com/channels/{where.guild_id}/{thread_id}."

    # --- what is kept -----------------------------------------------------------------------------------------------

    def _kept(self, thread_id: int) -> list[dict[str, Any]]:
        kept = self.settings.kept(thread_id, STARTED)
        return [one for one in kept if isinstance(one, dict)] if isinstance(kept, list) else []

    def _keep(self, plan: Plan, *, over: bool = False, dropped: bool = False) -> None:
        """Keep how far a plan is; ``over``: only what tells it from another one."""
        raw = plan.dumped()
        if over:
            raw = {name: raw[name] for name in ("prompt_id", "digest", "thread_id", "settled")}
        key = plan.prompt_id, plan.digest
        others = [one for one in self._kept(plan.asked_in) if (one.get("prompt_id"), one.get("digest")) != key]
        kept = others if dropped else [*others, raw]
        self.settings.keep(plan.asked_in, {STARTED: kept[-_KEPT:] or None})

    # --- how --------------------------------------------------------------------------------------------------------

    async def _open(self, opening: _Opening) -> None:
        try:
            opening.failed = await self._opened(opening)
        except Exception:
            opening.failed = "The thread could not be started because of an error in Weft, which is in its log."
            raise
        finally:
            opening.over.set()

    async def _opened(self, opening: _Opening) -> str:
        """Post and open the thread and have it prompted; return why that can't be."""
        plan = opening.plan
        # Before anything is posted: of a plan that a kill would forget, the message would promise a thread that never
        # comes.
        if not await self._written():
            self._keep(plan, dropped=True)
            return NOT_SAFE
        try:
            thread_id = await self._post(plan)
        except PortError as exc:
            # A repeated call has the same nonce: what Discord has taken all the same is not posted twice.
            self._keep(plan, dropped=True)
            return f"Discord does not take the message that would open the thread: {exc}."
        plan = opening.plan = replace(plan, thread_id=thread_id)
        self._settle(plan)
        await self._written()
        try:
            await open_thread(self.chat, plan.inbound, OPEN_LIMIT)
        except PortError as exc:
            await self._give_back(plan)
            return f"Discord does not open the thread: {exc}."
        await self._prompt(plan)
        return ""

    async def _resume(self, plan: Plan) -> None:
        thread_id = plan.thread_id or await self._posted(plan)
        if not thread_id:
            log.info("start.dropped", thread=plan.asked_in)
            self._keep(plan, dropped=True)
            return
        plan = replace(plan, thread_id=thread_id)
        self._settle(plan)
        try:
            await open_thread(self.chat, plan.inbound)
        except PortError as exc:
            log.warning("thread.not_opened", prompt=thread_id, error=str(exc))
            await self._give_back(plan)
            return
        await self._prompt(plan)

    async def _written(self) -> bool:
        await anyio.lowlevel.checkpoint()  # what was kept is handed in by tasks that begin in this moment
        return await self.store.flush()

    async def _post(self, plan: Plan) -> int:
        body = Body(self._text(plan))
        if plan.where.forum:
            return await self.chat.open_post(plan.where.channel_id, plan.title, body)
        return await self.chat.thread(plan.where.channel_id).send(body, nonce=plan.nonce)

    def _settle(self, plan: Plan) -> None:
        self._keep(plan)
        self.settings.begin(plan.thread_id, plan.where.channel_id, agent=plan.agent, project=plan.project)
        self.settings.keep(plan.thread_id, {STARTED_BY: plan.asked_in})

    async def _prompt(self, plan: Plan) -> None:
        """Hand the prompt over, once its thread is there; again, it changes nothing."""
        where, thread_id, inbound = plan.where, plan.thread_id, plan.inbound
        # Not before it is open: a catch-up would take it for deleted. From now on, what is written in it is looked up.
        await self.store.see([SeenPlace(thread_id, where.guild_id, where.channel_id, where.weft_id, thread_id)])
        if not self.intake.scheduler.queue(thread_id).line.holds(thread_id):
            if _is_cut(self.redact(plan.prompt)):
                whole = Attachment("prompt.txt", in_full(self.redact(plan.prompt)).encode("utf-8", "replace"))
                self.editors.of(thread_id).say(Body("-# The whole prompt:", file=whole))
            self.intake.take(inbound)
        log.info("thread.started", thread=thread_id, asked_in=plan.asked_in, prompt=plan.prompt_id)
        await anyio.lowlevel.checkpoint()  # what takes the prompt begins in this moment, and has it written down first
        # Of a bot that is about to stop, the next run does it again, as this one may have taken no prompt any more.
        self._keep(plan, over=not self.intake.closed)

    async def _posted(self, plan: Plan) -> int:
        """Return the message that was posted before anybody wrote that down; 0: there is none."""
        # The posts of a forum are not looked through: one that nobody knows of is begun by whoever writes in it.
        if plan.where.forum:
            return 0
        text = self.redact(self._text(plan)).strip()
        own = await own_messages(self.chat, plan.where.channel_id, plan.after)
        return next((one.message_id for one in own if one.text == text), 0)

    async def _give_back(self, plan: Plan) -> None:
        """Take the message away that promised a thread."""
        try:
            await self.chat.thread(plan.where.channel_id).delete(plan.thread_id)
        except PortError as exc:
            log.info("message.not_deleted", message=plan.thread_id, error=str(exc))
        self._keep(plan, dropped=True)
        self.settings.forget(plan.thread_id)
        await self.store.forget([plan.thread_id])

    def _text(self, plan: Plan) -> str:
        """Return the message from which the thread is opened: who asks for it, where, and for what."""
        on = f" on {inline_code(plan.project)}" if plan.project else ""
        head = f"🧵 The agent in <#{plan.asked_in}> started this{on} for {inline_code(plan.by.name, 60)}."
        # Redacted before it is cut: the rest of a cut secret would not be recognised for certain.
        said = literal(self.redact(plan.prompt).strip())
        if _is_cut(self.redact(plan.prompt)):
            head += "\n-# Only the beginning of the prompt is shown here; all of it is in the thread."
        return f"{head}\n>>> {clip(said, _SHOWN)}"


_SHOWN = MESSAGE_LIMIT - 400
"""Units of a prompt that are shown in the channel."""


def _is_cut(prompt: str) -> bool:
    return units(literal(prompt.strip())) > _SHOWN
