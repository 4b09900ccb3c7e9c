"""Calls of agents' tools: each for the turn that runs in the session, in its requester's name, shown and recorded (M2).

A session without a running turn has no requester, and so no rights: what an agent does in the background gets none of
these tools. Each tool does what the button or the command of that kind does. The mutable state is in what it calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import anyio
import structlog

from acp.schema import ToolCallUpdate
from acp.snapshot import Phase
from bot.links import links_in
from bot.mcp.tools import Ask, ReadThread, Schedule, SendFile, SetTitle, StartThread, ToolArguments, ToolRefused
from bot.model import Actor, Inbound, ThreadPlace
from bot.reply.port import PortError
from bot.work.agent_tools.asking import ask
from bot.work.agent_tools.reading import ThreadReader
from bot.work.agent_tools.sending import FileSender
from bot.work.agent_tools.starting import ThreadStarter
from bot.work.agent_tools.use import in_words
from bot.work.outside.titles import Titles
from bot.work.permissions.decisions import TOOL, DecisionOutcome, Decisions, decision_on
from bot.work.ports import Answer, Lookups
from bot.work.running_turn import RunningTurn
from bot.work.runs import Runs
from pool.session_servers import Offer

log = structlog.get_logger(__name__)

ROLES_LIMIT = 3.0
"""Seconds for Discord to say which roles somebody has."""

NO_TURN = "No turn runs in this session, so there is nobody in whose name this could be done. Wait until you are asked."
NO_ACCESS = "The person who asks you may not use Weft here any more, so nothing is done in their name."
NOT_KNOWN = "Discord can't say right now whether the person who asks you may do that. Try again later, or leave it."
NO_LINKS = (
    "A prompt that you write can't link to messages of Discord: they are not looked up for you. Write what they say."
)
BY_SCHEDULE = (
    "An agent scheduled this prompt, so nothing further is started or scheduled from it."
    " Say in your answer what else there is to do."
)
FOR_PEOPLE = "Prompts are scheduled only for people, and the one asking you is a bot."
_LARGEST_ID = 2**63 - 1


@dataclass(slots=True)
class _End:
    """How a call ended, as far as is known."""

    # What is left where nothing else was said: a call that its caller gives up ends by a cancel.
    outcome: DecisionOutcome = "cancelled"
    reason: str | None = None


@dataclass(eq=False)
class AgentTools:
    """Carries calls out.

    Args:
        may: says whether a message's author would be let in now.
        schedule: has a prompt run at certain times, as one that an agent has scheduled.
    """

    runs: Runs
    lookups: Lookups
    decisions: Decisions
    files: FileSender
    reader: ThreadReader
    starter: ThreadStarter
    titles: Titles
    may: Callable[[Inbound], bool]
    schedule: Callable[[ThreadPlace, Actor, str, str], Awaitable[Answer]]

    async def call(self, offer: Offer, arguments: ToolArguments) -> str:
        """Carry a call of an agent out; return what its model reads. Cancelled, it withdraws what it waits for.

        Raises:
            ToolRefused: it is not done; the text says why, for the model.
        """
        running = self._turn_in(offer)
        with self._shown(running, arguments):
            # By all of its messages: what a person said meanwhile may have joined the agent's prompt.
            if isinstance(arguments, StartThread | Schedule) and any(one.by_agent for one in running.entry.messages):
                raise ToolRefused(BY_SCHEDULE)
            asker = await self._asker(running.first, strict=isinstance(arguments, StartThread | Schedule))
            # Asked again, as the look-up took a while: nothing is begun for a turn that is over or was stopped.
            self._turn_in(offer)
            if isinstance(arguments, StartThread | Schedule) and links_in(arguments.prompt, running.first.guild_id):
                # The prompt will stand in the requester's name, who may read what this agent may not.
                raise ToolRefused(NO_LINKS)
            match arguments:
                case SendFile(path=path, caption=caption):
                    return await self.files.send(running, path, caption or "")
                case Ask():
                    return await ask(running, arguments)
                case ReadThread(limit=limit, before=before):
                    # A model writes any number, and Discord takes none that is larger.
                    older_than = None if before is None else min(int(before), _LARGEST_ID)
                    return await self.reader.read(asker, limit, older_than)
                case StartThread():
                    return await self.starter.start(running, asker, arguments)
                case Schedule(when=when, prompt=prompt):
                    return await self._schedule(asker, when, prompt)
                case SetTitle(title=title):
                    return await self.titles.give(running.thread_id, title)

    def _turn_in(self, offer: Offer) -> RunningTurn:
        """Return the turn that runs in the session.

        Raises:
            ToolRefused: none does.
        """
        session = offer.session
        for running in self.runs.in_thread(offer.thread_id or 0):
            # By the session, not by the thread: a turn on a copy beside it may be another person's.
            if session is not None and running.session is session and running.turn.phase is Phase.RUNNING:
                return running
        raise ToolRefused(NO_TURN)

    async def _asker(self, first: Inbound, *, strict: bool) -> Inbound:
        """Return a turn's prompt with the rights that its author has now.

        Args:
            strict: nothing is done while Discord does not say which.

        Raises:
            ToolRefused: they are not let in any more.
        """
        # A bot has no rights but its being listed, which the settings say.
        person: Actor | None = first.author
        if not first.automatic:
            try:
                with anyio.fail_after(ROLES_LIMIT):
                    person = await self.lookups.let_in(first.thread, first.author)
            except (PortError, TimeoutError) as exc:
                if strict:
                    raise ToolRefused(NOT_KNOWN) from exc
                log.info("requester.not_looked_up", thread=first.thread_id, error=str(exc))
        asker = replace(first, author=person) if person is not None else None
        if asker is None or not self.may(asker):
            raise ToolRefused(NO_ACCESS)
        return asker

    async def _schedule(self, asker: Inbound, when: str, prompt: str) -> str:
        if asker.automatic:
            raise ToolRefused(FOR_PEOPLE)
        answer = await self.schedule(asker.thread, asker.author, when, prompt)
        if not answer.accepted:
            raise ToolRefused(answer.text)
        return answer.text

    @contextmanager
    def _shown(self, running: RunningTurn, arguments: ToolArguments) -> Iterator[None]:
        """Show a call in its turn while the body carries it out, and record how it ended."""
        words, end = self.decisions.redact(in_words(arguments)), _End()
        call_id = running.turn.begin_own_call(arguments.tool, words, anyio.current_time())
        running.reply.touch()
        try:
            yield
            end.outcome = "done"
        except ToolRefused as exc:
            end.outcome, end.reason = "rejected", str(exc)
            raise
        except Exception:
            end.outcome, end.reason = "rejected", "an error in Weft"
            raise
        finally:
            if call_id is not None:
                running.turn.end_own_call(call_id, failed=end.outcome != "done")
                running.reply.touch()
            self._record(running, arguments, words, end)

    def _record(self, running: RunningTurn, arguments: ToolArguments, words: str, end: _End) -> None:
        # A question that was asked has its own row, which says who answered and not what was asked.
        if (isinstance(arguments, Ask) and end.outcome != "rejected") or not running.tools.records():
            return
        what = "Ask people" if isinstance(arguments, Ask) else words
        call = ToolCallUpdate(tool_call_id="", title=what, kind=TOOL)
        self.decisions.record(decision_on(call, running.first, "agent", end.outcome, reason=end.reason))
