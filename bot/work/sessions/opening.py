"""Opens a thread with a session: one that was chosen from a list (S1), or a copy of a thread's (S2).

In this order, so that no session is ever in two threads and a kill at any point leaves nothing half done: the session
is claimed, the message is posted, its thread is written down as the one that has the session, the thread is opened, its
prompt is handed over, the claim is dropped. What a kill cut off goes on at the next start. The mutable state is the
messages that were found at this start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import anyio
import anyio.lowlevel
import orjson
import structlog

from acp.errors import AcpError
from bot.model import Actor, Inbound, ThreadPlace
from bot.reply.port import MESSAGE_LIMIT, Body, PortError
from bot.reply.sanitise import clip, inline_code
from bot.work.budget.budgets import Budgets
from bot.work.controls import RESTARTING
from bot.work.editors import Editors
from bot.work.intake import Intake
from bot.work.options.service import SessionChoices
from bot.work.ports import Answer, Chat, Where
from bot.work.projects.service import Projects
from bot.work.retries import open_thread, own_messages
from bot.work.sessions.catalogue import Entry
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from pool.launcher import THREAD_FIELD
from pool.pool import ConnectionPool
from pool.storage.durable import SessionStore
from pool.store import SeenPlace, SessionClaim

log = structlog.get_logger(__name__)

OPEN_LIMIT = 30.0
"""Seconds for Discord to open the thread while somebody waits; after a restart it is tried for as long as it takes."""

COPY_LIMIT = 90.0
"""Seconds for an agent to copy a session, and to be started for that."""

_LOOKED_AT = 100
NOT_OPENED = "I could not open a thread for it: {why}"
NOT_SAFE = Answer(
    "I can't write my state file now, so I can't make sure that no other thread has it. Try again later.", False
)
TAKEN = Answer("Another thread has this session now. Use `/sessions` again to see which.", accepted=False)
WORKS_THERE = "{thread} already works in this session's work tree. Go on there."
LEFT = "Uncommitted changes stay here: the copy's branch begins at the last commit."
NOTHING_TO_COPY = Answer("There is no conversation here to copy yet.", accepted=False)
AMID_A_TURN = "The running turn goes on here; the copy has what the agent had saved of it."
NOT_COPIED = "This conversation could not be copied: {why}."
HANDED_OFF = Answer(NOT_COPIED.format(why="another agent has just taken over"), accepted=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is needed to open a thread with a session, also after a restart.

    Attributes:
        agent: its name in the settings; ``program``: what it calls itself.
        cwd, home: where the session works, see `bot.work.sessions.catalogue.Entry`.
        text: of the message from which the thread is opened.
        prompt: what is asked there; "" if nothing is.
        origin: the thread whose choices the new one has, too; ``chosen``: those of options, as ``by`` may make them.
        project: what the new thread works on, by name.
    """

    agent: str
    program: str | None
    cwd: str
    home: int | None
    title: str
    text: str
    where: Where
    by: Actor
    prompt: str = ""
    origin: int | None = None
    chosen: Mapping[str, str] = field(default_factory=dict)
    project: str | None = None

    def dumped(self) -> str:
        """Return it as the store keeps it."""
        raw = asdict(self)
        raw["by"]["roles"] = sorted(self.by.roles)
        return orjson.dumps(raw).decode()

    @classmethod
    def loaded(cls, payload: str) -> Plan:
        """Return what was dumped."""
        raw: dict[str, Any] = orjson.loads(payload)
        by = raw.pop("by")
        actor = Actor(by["id"], by["name"], frozenset(by["roles"]))
        return cls(where=Where(**raw.pop("where")), by=actor, **raw)

    def inbound(self, message_id: int) -> Inbound:
        """Return the message, which is the new thread's prompt if there is one."""
        where = self.where
        return Inbound(
            message_id=message_id,
            # A post stands in itself, and is open with its message.
            channel_id=message_id if where.forum else where.channel_id,
            thread_id=message_id,
            guild_id=where.guild_id,
            author=self.by,
            text=self.prompt,
            opens_thread=not where.forum,
            title=self.title,
            parent_id=where.channel_id if where.forum else None,
        )


@dataclass(frozen=True, slots=True)
class Opening:
    """A thread that is open and has its session; `Openings.finish` has to be called once its prompt is handed over.

    ``note``: what whoever asked should know of it.
    """

    claim_id: int
    inbound: Inbound
    note: str = ""


@dataclass(eq=False)
class Openings:
    """Opens threads with sessions.

    Args:
        redact: takes secrets out of what is posted.
    """

    tracker: TaskTracker
    chat: Chat
    pool: ConnectionPool
    store: SessionStore
    settings: ThreadSettings
    editors: Editors
    intake: Intake
    budgets: Budgets
    options: SessionChoices
    projects: Projects
    redact: Callable[[str], str]
    _found: set[int] = field(init=False, default_factory=set)
    _taking_over: set[int] = field(init=False, default_factory=set)

    # --- what people ask for -----------------------------------------------------------------------------------------

    async def open(self, claim_id: int, session_id: str, plan: Plan) -> Opening | Answer:
        """Open a thread with a session; return it, or why that can't be.

        Args:
            claim_id: the snowflake of what somebody pressed or typed.
        """
        if self.intake.closed:
            return RESTARTING
        # What is claimed has to outlive a kill.
        if self.store.trouble:
            return NOT_SAFE
        # Outside of the block below: what somebody else has taken is not given back here.
        if (refused := self._lives_there(plan)) is not None:
            return refused
        try:
            return await self._open(claim_id, session_id, plan)
        finally:
            self._taking_over.discard(plan.home or 0)

    def _lives_there(self, plan: Plan) -> Answer | None:
        """Return why a thread can't be opened in a work tree: another one has it, or is about to; else it is taken."""
        project = self.settings.agents.projects.get(plan.project or "")
        if plan.home is None or project is None or not project.worktree:
            return None
        if plan.home in self._taking_over:
            return TAKEN
        if threads := self.settings.at_home(plan.home):
            return Answer(WORKS_THERE.format(thread=f"<#{threads[0]}>"), accepted=False)
        # No await since the look: of two that want it, the other one sees this.
        self._taking_over.add(plan.home)
        return None

    async def _open(self, claim_id: int, session_id: str, plan: Plan) -> Opening | Answer:
        apart = [
            one.thread_id
            for one in await self.store.session_threads(_LOOKED_AT, session_id)
            if self.settings.agent_of(one.thread_id) != plan.agent and one.agent != plan.program
        ]
        claim = SessionClaim(claim_id, session_id, plan.dumped())
        if await self.store.claim_session(claim, apart) is not None:
            return TAKEN
        # A claim in memory alone would be forgotten by a kill, with the message that is posted next still there.
        if not await self.store.flush():
            await self.store.set_claim(claim_id, None)
            return NOT_SAFE
        try:
            message_id = await self._post(claim_id, plan)
        except PortError as exc:
            await self.store.set_claim(claim_id, None)
            return Answer(f"I could not post in this channel: {exc}", accepted=False)
        await self._settle(claim, plan, message_id)
        try:
            await open_thread(self.chat, plan.inbound(message_id), OPEN_LIMIT)
        except PortError as exc:
            await self._give_back(claim_id, plan, message_id)
            return Answer(NOT_OPENED.format(why=exc), accepted=False)
        log.info("session.moved", thread=message_id, agent=plan.agent, copy=plan.origin is not None)
        return Opening(claim_id, plan.inbound(message_id))

    async def open_listed(
        self, claim_id: int, agent: str, entry: Entry, title: str, where: Where, by: Actor, *, rights: Actor
    ) -> Opening | Answer:
        """Open a session of a list in a new thread; for ``rights`` see `copy`."""
        named = f"`{agent}`: " if self.settings.agents.chosen else ""
        what = (
            inline_code(self.redact(entry.title), 80) if entry.title else f"session {inline_code(entry.session_id, 40)}"
        )
        text = self._posted_text(f"{named}{what} goes on here. Write in the thread what you want done.")
        chosen: Mapping[str, str] = {}
        if not (rights.owner or rights.approver):
            # The session may still be in a mode that somebody else chose for it: the agent need not forget that.
            with self.settings.standing_in(claim_id, agent):
                chosen = self.options.beginnings(ThreadPlace(where.guild_id, claim_id, where.channel_id))
        plan = Plan(
            agent, entry.program, entry.cwd, entry.home, title, text, where, by, chosen=chosen, project=entry.project
        )
        return await self.open(claim_id, entry.session_id, plan)

    async def copy(
        self, claim_id: int, thread_id: int, prompt: str, title: str, where: Where, by: Actor, *, rights: Actor
    ) -> Opening | Answer:
        """Open a new thread with a copy of a thread's session as it is now, whatever turn runs in it.

        Where each thread has a work tree, so has the copy: on a branch that begins where that of the thread is.

        Args:
            rights: ``by`` with the rights of this moment: who forks a thread chooses what is chosen there.
        """
        opened: Opening | Answer | None = None
        try:
            opened = await self._copy(claim_id, thread_id, prompt, title, where, by, rights)
        finally:
            # By its own task, as this may have been cancelled: the work tree of a thread that is not to be.
            if not isinstance(opened, Opening) and claim_id in self.projects.rows:
                self.tracker.begin(self.projects.discard, claim_id, name=f"discard {claim_id}")
        return opened

    async def _copy(
        self, claim_id: int, thread_id: int, prompt: str, title: str, where: Where, by: Actor, rights: Actor
    ) -> Opening | Answer:
        # 1. What is there to be copied.
        agent, record = self.settings.agent_of(thread_id), await self.store.thread(thread_id)
        if record is None or record.session_id is None:
            return NOTHING_TO_COPY
        status = self.pool.status(thread_id)
        notes = [AMID_A_TURN] if status is not None and status.busy else []
        project = self.settings.project_of(thread_id)
        apart = project is not None and project.worktree

        async def elsewhere() -> str:
            branched = await self.projects.branch_off(thread_id, claim_id, title or (record.title or ""))
            notes.extend([LEFT] if branched.left else [])
            return branched.directory

        # 2. The copy, in a directory of its own where each thread has a work tree.
        try:
            with anyio.fail_after(COPY_LIMIT):
                copy = await self.pool.copy_session(thread_id, elsewhere if apart else None)
        except TimeoutError:
            return Answer(NOT_COPIED.format(why=f"its agent took more than {COPY_LIMIT:g} s"), accepted=False)
        except AcpError as exc:
            return Answer(NOT_COPIED.format(why=inline_code(self.redact(str(exc)), 200)), accepted=False)
        # The copy is that of one agent, and the other one would be asked for a session that it does not know.
        if self.settings.agent_of(thread_id) != agent:
            self.pool.copies.drop(copy)
            return HANDED_OFF
        # 3. Its thread.
        home = (
            self.settings.home_of(thread_id) if THREAD_FIELD in self.settings.profile_of(thread_id).workspace else None
        )
        text = f"A copy of <#{thread_id}> goes on here."
        text = f"{text}\n>>> {prompt}" if prompt else f"{text} Write in the thread what you want done."
        text = self._posted_text(text)
        plan = Plan(
            agent,
            record.agent,
            copy.cwd,
            claim_id if apart else home,
            title or record.title or "Copy",
            text,
            where,
            by,
            prompt,
            thread_id,
            self.options.permitted(ThreadPlace(where.guild_id, thread_id, where.channel_id), rights),
            self.settings.project_name(thread_id),
        )
        opened = await self.open(claim_id, copy.session.id, plan)
        if isinstance(opened, Answer):
            self.pool.copies.drop(copy)
            return opened
        # 4. Both threads know of it.
        self.pool.copies.give(opened.inbound.thread_id, copy)
        self.budgets.copied(copy.session.id, copy.origin)
        link = f"https://discord.com/channels/{where.guild_id}/{opened.inbound.thread_id}"
        self.editors.of(thread_id).say(Body(f"-# {inline_code(by.name, 32)} copied this conversation: {link}"))
        self.editors.let_go(thread_id)
        return replace(opened, note="\n".join(notes))

    def _posted_text(self, text: str) -> str:
        # As it will stand in Discord: after a kill the message is found by it. Redacted before it is cut, as the rest
        # of a cut secret would not be recognised for certain.
        return clip(self.redact(text), MESSAGE_LIMIT)

    async def finish(self, opening: Opening) -> None:
        """Drop the claim, once the prompt of the thread was handed over.

        Of a bot that is about to stop, the next run does both again, as this one may have taken no prompt any more.
        """
        await anyio.lowlevel.checkpoint()  # what takes the prompt begins in this moment, and has it written down first
        if not self.intake.closed:
            await self.store.set_claim(opening.claim_id, None)

    # --- after a restart ---------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Go on with what a kill cut off."""
        for claim in await self.store.claims():
            try:
                plan = Plan.loaded(claim.payload)
            except (orjson.JSONDecodeError, KeyError, TypeError):
                log.exception("claim.dropped", claim=claim.claim_id)
                await self.store.set_claim(claim.claim_id, None)
            else:
                # In this step, before anybody can ask for the same.
                self._taking_over.add(plan.home or 0)
                self.tracker.begin(self._resume, claim, plan, name=f"claim {claim.claim_id}")

    async def _resume(self, claim: SessionClaim, plan: Plan) -> None:
        try:
            await self._go_on(claim, plan)
        finally:
            self._taking_over.discard(plan.home or 0)

    async def _go_on(self, claim: SessionClaim, plan: Plan) -> None:
        message_id = claim.thread_id or await self._posted(claim, plan)
        if not message_id:
            log.info("claim.dropped", claim=claim.claim_id)
            await self.store.set_claim(claim.claim_id, None)
            await self.projects.discard(claim.claim_id)
            return
        inbound = plan.inbound(message_id)
        # A thread that had it may have another session by now.
        if not claim.thread_id or not await self._had_session(message_id):
            await self._settle(claim, plan, message_id)
        try:
            await open_thread(self.chat, inbound)
        except PortError as exc:
            log.warning("thread.not_opened", prompt=message_id, error=str(exc))
            await self._give_back(claim.claim_id, plan, message_id)
            return
        # Not before it is there: a catch-up would take it for deleted. From now on, what is written in it is looked up.
        where = plan.where
        await self.store.see([SeenPlace(message_id, where.guild_id, where.channel_id, where.weft_id, message_id)])
        # Not if it was written down before: then it is in its queue, or has run.
        if inbound.text and not self.intake.scheduler.queue(message_id).line.holds(message_id):
            self.intake.take(inbound)
        await self.finish(Opening(claim.claim_id, inbound))

    async def _had_session(self, thread_id: int) -> bool:
        record = await self.store.thread(thread_id)
        return record is not None and bool(record.session_id or record.previous_session_id)

    async def _posted(self, claim: SessionClaim, plan: Plan) -> int:
        """Return the message that was posted for a claim before anybody wrote that down; 0 if there is none."""
        # The posts of a forum are not looked through: one that nobody knows of has no session, and is begun afresh.
        if plan.where.forum:
            return 0
        own = await own_messages(self.chat, plan.where.channel_id, claim.claim_id)
        alike = [one.message_id for one in own if one.text == plan.text.strip()]
        # Two may have asked for the same in the same moment: each of their messages is for one of them.
        free = [message_id for message_id in alike if not await self._had_session(message_id)]
        found = next((message_id for message_id in free if message_id not in self._found), 0)
        self._found.add(found)  # no await since the look
        return found

    # --- steps of both -----------------------------------------------------------------------------------------------

    async def _post(self, claim_id: int, plan: Plan) -> int:
        """Post the message that the thread is opened from, or the post that it is; return its id."""
        channel_id, body = plan.where.channel_id, Body(plan.text)
        if plan.where.forum:
            return await self.chat.open_post(channel_id, plan.title, body)
        return await self.chat.thread(channel_id).send(body, nonce=f"c{claim_id}")

    async def _settle(self, claim: SessionClaim, plan: Plan, thread_id: int) -> None:
        """Write down which thread has the session, and with what choices; a second time, nothing changes."""
        self.settings.inherit(thread_id, plan.agent, plan.home, plan.origin, plan.project)
        # What somebody may not choose, they don't get by a copy of a thread in which others have chosen it (K1).
        if self.options.memory.chosen(thread_id) != plan.chosen:
            self.options.memory.choose_alone(thread_id, plan.chosen)
        # Handed in by a task that begins in this moment, and so written before the session: who finds a thread with a
        # session settles nothing any more.
        await anyio.lowlevel.checkpoint()
        await self.store.set_claim(claim.claim_id, thread_id)
        await self.store.bind(
            thread_id, agent=plan.program, session_id=claim.session_id, cwd=plan.cwd, title=plan.title
        )
        await self.store.flush()

    async def _give_back(self, claim_id: int, plan: Plan, thread_id: int) -> None:
        """Free a session whose thread could not be opened, and take the message away that promised one."""
        # The claim goes last: until then, the next run gives back what a kill leaves of this.
        with suppress(PortError):
            await self.chat.thread(plan.where.channel_id).delete(thread_id)
        self.settings.forget(thread_id)
        await self.store.forget([thread_id])
        await self.store.set_claim(claim_id, None)
        # If it is a copy's: it has the id of what asked for it, which is that of no other work tree.
        await self.projects.discard(claim_id)
