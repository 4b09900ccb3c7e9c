"""Gives sessions what holds for their threads: what people chose, and before that what the settings say.

Each session is given each choice once. What an agent changes by itself is left as it is, and is no longer what somebody
chose. The mutable state is what was given to which session; what was chosen is in `bot.work.options.memory`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final
from weakref import WeakKeyDictionary

import anyio
import structlog

from acp.errors import AUTH_REQUIRED, METHOD_NOT_FOUND, AcpError, RequestFailed, RequestTimeout
from acp.session import AgentSession
from acp.session_options import Kind, SessionOption
from bot.model import ThreadPlace
from bot.reply.port import Body
from bot.reply.sanitise import inline_code
from bot.work.editors import Editors
from bot.work.ending import TurnEnd
from bot.work.options.memory import OptionMemory
from bot.work.options.words import label, resolve, shown
from bot.work.running_turn import RunningTurn
from bot.work.thread_settings import ThreadSettings
from bot.work.turn_events import TurnListener
from pool.pool import ConnectionPool, SessionLease

log = structlog.get_logger(__name__)

SET_LIMIT: Final = 10.0
"""Seconds for an agent's answer to one choice, and twice that for all before a prompt."""

_MOST_SILENCES = 2
"""Times in a session that a choice may go unanswered: each costs the next prompt as many seconds."""

_ORDER = {Kind.MODEL: 0, Kind.MODE: 1}
_MOST_LINES = 5
_TOO_SLOW = "The agent took too long to apply what was chosen. I'll try again with the next message."


class Trouble(Enum):
    """Why a choice did not take effect."""

    REFUSED = auto()
    OTHERWISE = auto()
    """The agent took another value."""
    SILENT = auto()
    """It has not answered in time, and is asked again."""
    GONE = auto()
    """Its process, or its pipe, is gone; the next session is given it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A choice that did not take effect, and what people read about it."""

    option: SessionOption
    value: str
    trouble: Trouble
    text: str = ""

    @property
    def final(self) -> bool:
        """Whether asking again would change nothing."""
        return self.trouble in (Trouble.REFUSED, Trouble.OTHERWISE)


@dataclass(eq=False, slots=True)
class Given:
    """What a session was given, by option; ``lock`` is held while it is given something.

    ``silences``: how often it has not answered a choice, by option.
    """

    values: dict[str, str] = field(default_factory=dict)
    silences: dict[str, int] = field(default_factory=dict)
    opened: bool = False
    lock: anyio.Lock = field(default_factory=anyio.Lock)

    def chosen_anew(self, option_id: str) -> None:
        """Forget what was given: the agent may have left it since, or answer now."""
        self.values.pop(option_id, None)
        self.silences.pop(option_id, None)


@dataclass(eq=False)
class OptionGiver(TurnListener):
    """Gives sessions their options; it hears of the ends of turns, since agents change things in them.

    Attributes:
        limit: seconds for an agent's answer to one choice.
    """

    editors: Editors
    pool: ConnectionPool
    settings: ThreadSettings
    memory: OptionMemory
    redact: Callable[[str], str]
    limit: float = SET_LIMIT
    _given: WeakKeyDictionary[AgentSession, Given] = field(default_factory=WeakKeyDictionary)

    def to(self, session: AgentSession) -> Given:
        """Return what a session was given."""
        return self._given.setdefault(session, Given())

    def defaults(self, place: ThreadPlace) -> Mapping[str, str]:
        """Return what the settings say for a thread's agent and, before that, for its channel."""
        channel = self.settings.agents.channel_options.get(place.parent_id or place.thread_id, {})
        return {**self.settings.profile_of(place.thread_id).options, **channel}

    # --- before a prompt ---------------------------------------------------------------------------------------------

    async def give(self, running: RunningTurn, lease: SessionLease) -> None:
        """Give the session of a turn what holds for its thread, before its prompt; what it refuses is said there.

        Bounded, and never an end of the turn: it goes on with what the agent has chosen then.
        """
        place, session = running.first.thread, lease.session
        given, chosen = self.to(session), self.memory.chosen(place.thread_id)
        wanted, unknown = resolve(session.options.all, self.defaults(place))
        told: list[str] = []
        if not given.opened:
            given.opened = True
            if not running.extra:
                self.memory.note(place, session.options, fresh=lease.how == "new")
            starts = self.memory.starts(place.thread_id, place.guild_id)
            # What the settings say is the usual, too: the footer tells of what differs from it.
            session.options.initial = {**session.options.initial, **starts, **wanted}
            told += [
                f"The settings want {inline_code(key)} = {inline_code(one)}, which this agent does not offer."
                for key, one in unknown
            ]
            told += self._no_longer_offered(place.thread_id, session)
        elif not running.extra:
            self._leave(place.thread_id, session)
            chosen = self.memory.chosen(place.thread_id)
        failures: list[Failure] = []
        with anyio.move_on_after(2 * self.limit) as bound:
            async with given.lock:
                failures = await self._set(session, {**wanted, **chosen})
        told += [one.text for one in failures if one.trouble is not Trouble.GONE]
        told += [_TOO_SLOW] if bound.cancelled_caught else []
        if not running.extra:
            self._drop_refused(place.thread_id, session, failures)
            self._note(place, session)
        # One message at most: what was chosen is not what the thread is about.
        if told:
            self.editors.of(place.thread_id).say(Body("\n".join(f"-# ⚠️ {line}" for line in told[:_MOST_LINES])))

    def _no_longer_offered(self, thread_id: int, session: AgentSession) -> list[str]:
        """Let go of choices that the agent does not offer any more, and say so."""
        lines = []
        for option_id, value in self.memory.chosen(thread_id).items():
            option = session.options.find(option_id)
            # An option that is missing may still come: some agents tell of options later.
            if option is not None and not option.offers(value):
                now = shown(option, option.current)
                lines.append(f"{label(option)} {inline_code(value, 60)} is no longer offered; it is {now} now.")
                self.memory.choose(thread_id, option_id, None)
        return lines

    # --- at once -----------------------------------------------------------------------------------------------------

    async def apply(self, place: ThreadPlace, session: AgentSession, option_id: str, value: str) -> Failure | None:
        """Give an idle session one more choice; None: it has it."""
        given, failures = self.to(session), list[Failure]()
        with anyio.move_on_after(2 * self.limit) as bound:
            async with given.lock:
                # Others may change with it: those that hold now are to hold afterwards.
                now = {one.id: one.current for one in session.options.all}
                held = {key: one for key, one in given.values.items() if now.get(key) == one}
                failures = await self._set(session, {**held, option_id: value})
        self._drop_refused(place.thread_id, session, failures)
        self._note(place, session)
        failure = next((one for one in failures if one.option.id == option_id), None)
        option = session.options.find(option_id)
        if failure is None and option is not None and (bound.cancelled_caught or option.current != value):
            return Failure(option, value, Trouble.GONE)
        return failure

    # --- one after the other -----------------------------------------------------------------------------------------

    async def _set(self, session: AgentSession, wanted: Mapping[str, str]) -> list[Failure]:
        """Choose what is wanted and not chosen yet, each once for a session; return what failed.

        A value that the agent has left by itself stays left; one that it leaves since another option is set is set
        again.
        """
        given, failures = self.to(session).values, list[Failure]()
        held = {one.id for one in session.options.all if given.get(one.id) == one.current == wanted.get(one.id)}
        kinds = {option.id: option.kind for option in session.options.all}
        # The model first: what else there is, and is chosen, may change with it.
        for option_id in sorted(wanted, key=lambda one: _ORDER.get(kinds.get(one, Kind.OTHER), len(_ORDER))):
            option, value = session.options.find(option_id), wanted[option_id]
            if option is None or not option.offers(value):
                continue
            if option.current != value and (given.get(option_id) != value or option_id in held):
                failure = await self._set_one(session, option, value)
                if failure is not None:
                    failures.append(failure)
                    if not failure.final:
                        break  # the next one would wait as long
            # Refused is as good as given: it is not asked for again before somebody chooses it anew.
            given[option_id] = value
        return failures

    async def _set_one(self, session: AgentSession, option: SessionOption, value: str) -> Failure | None:
        wanted, before = shown(option, value), shown(option, option.current)
        try:
            now = await session.set_option(option.id, value, self.limit)
        except RequestFailed as exc:
            log.info("option.refused", option=option.id, value=value, code=exc.code)
            text = f"The agent refused {wanted}: {self._why(exc)} {label(option)} stays {before}."
            return Failure(option, value, Trouble.REFUSED, text)
        except RequestTimeout:
            log.warning("option.unanswered", option=option.id, seconds=self.limit)
            silences = self.to(session).silences
            silences[option.id] = silences.get(option.id, 0) + 1
            if silences[option.id] >= _MOST_SILENCES:
                text = (
                    f"The agent again did not answer {wanted}, so I have stopped asking. {label(option)} was {before}."
                )
                return Failure(option, value, Trouble.REFUSED, text)
            text = f"{label(option)}: {wanted}. The agent did not answer; I'll ask again before your next message."
            return Failure(option, value, Trouble.SILENT, text)
        except AcpError:
            # Whoever prompts next finds out, and the next session is given it.
            return Failure(option, value, Trouble.GONE)
        if now != value:
            text = f"The agent did not take {wanted}: {label(option)} is {shown(option, now)}."
            return Failure(option, value, Trouble.OTHERWISE, text)
        return None

    def _why(self, error: RequestFailed) -> str:
        """Return why an agent refused, as a sentence."""
        if error.code == METHOD_NOT_FOUND:
            return "it can't change this in a conversation."
        if error.code == AUTH_REQUIRED:
            return "it needs a login first."
        # Redacted before it is cut: of a secret that the cut divides, the rest would not be recognised for certain.
        return f"{inline_code(self.redact(error.message), 200)}."

    # --- what agents do by themselves --------------------------------------------------------------------------------

    def ended(self, running: RunningTurn, end: TurnEnd) -> None:
        """Remember what a session offers at the end of a turn."""
        del end
        # Of a thread that is gone nothing is remembered any more.
        if running.session is not None and not running.extra and not running.abandoned:
            self._leave(running.thread_id, running.session)
            self._note(running.first.thread, running.session)

    def _leave(self, thread_id: int, session: AgentSession) -> None:
        """Let go of choices that the agent has left by itself: the next session is not brought back to them."""
        given, chosen = self.to(session).values, self.memory.chosen(thread_id)
        for option in session.options.all:
            value = chosen.get(option.id)
            if value is not None and given.get(option.id) == value != option.current:
                self.memory.choose(thread_id, option.id, None)

    def _drop_refused(self, thread_id: int, session: AgentSession, failures: Iterable[Failure]) -> None:
        """Let go of choices that the agent does not take; what was chosen before them, and still is, is kept."""
        for one in failures:
            # Somebody may have chosen again while the agent was asked.
            if one.final and self.memory.chosen(thread_id).get(one.option.id) == one.value:
                now = session.options.find(one.option.id)
                usual = now is None or session.options.initial.get(now.id) == now.current
                self.memory.choose(thread_id, one.option.id, None if usual or now is None else now.current)

    def _note(self, place: ThreadPlace, session: AgentSession) -> None:
        # A session that is no longer the thread's says nothing about it.
        if self.pool.live_session(place.thread_id) is session:
            self.memory.note(place, session.options)
