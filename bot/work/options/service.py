"""What people choose for the sessions of their threads, answered at once from what is known.

A choice is kept by thread. It takes effect at once if no turn runs, else before the next prompt, and the answer says
which. Menus and suggestions show what was last known, whatever the agent does. Nothing is kept here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import structlog

from acp.session import AgentSession
from acp.session_options import Kind, SessionOption, first_of
from bot.model import Actor, ThreadPlace
from bot.reply.port import Body
from bot.reply.sanitise import inline_code
from bot.work.later_answer import LaterAnswer
from bot.work.options import pickers
from bot.work.options.giving import OptionGiver, Trouble
from bot.work.options.memory import OptionMemory
from bot.work.options.trust import anybody_may, harmless, may_choose
from bot.work.options.words import Options, label, resolve, shown, value_of, without_secrets
from bot.work.permissions.decisions import OPTION, Decision, Decisions
from bot.work.ports import Answer
from bot.work.task_tracker import TaskTracker
from pool.pool import ConnectionPool

log = structlog.get_logger(__name__)

NOT_KNOWN = Answer("I don't know yet what the agent offers. Send it a message first, then try again.", accepted=False)
NO_LONGER = Answer("The agent no longer offers this. Use the command again to see what it offers.", accepted=False)
NO_SUCH_VALUE = "{label} has no {value}. Choose one from the suggestions, or send the command alone for a menu."
ONLY_APPROVERS = (
    "Only approvers and the owner of this bot can choose {label} {value}: the agent may ask for less permission then."
    " The owner can open it to everybody with `modes` under `[permissions]`."
)


@dataclass(eq=False)
class SessionChoices:
    """What can be chosen in threads, and is."""

    tracker: TaskTracker
    pool: ConnectionPool
    memory: OptionMemory
    giver: OptionGiver
    decisions: Decisions

    # --- what is known -----------------------------------------------------------------------------------------------

    def offered(self, place: ThreadPlace) -> Options | None:
        """Return what can be chosen in a thread and is chosen now, of whatever age; None: nobody knows."""
        session = self.pool.live_session(place.thread_id)
        if session is not None:
            known: Options | None = without_secrets(session.options.all, self.giver.redact)
        else:
            known = self.memory.offered(place.thread_id, place.guild_id)
        if known is None:
            return None
        # What waits for the next prompt counts: that is what somebody who looks wants to know.
        return tuple(self._as_wanted(place.thread_id, session, option) for option in known)

    def _as_wanted(self, thread_id: int, session: AgentSession | None, option: SessionOption) -> SessionOption:
        value = self.memory.chosen(thread_id).get(option.id)
        waits = session is None or self.giver.to(session).values.get(option.id) != value
        return option.choosing(value) if value is not None and waits and option.offers(value) else option

    def describe(self, thread_id: int) -> list[str]:
        """Return what is chosen in a thread as a line for ``/status``; none if nothing is known."""
        options = self.offered(ThreadPlace(None, thread_id, None)) or ()
        found = [first_of(options, kind) for kind in (Kind.MODEL, Kind.MODE, Kind.EFFORT)]
        parts = [f"{label(one)}: {shown(one, one.current)}" for one in found if one is not None and one.current]
        return [" · ".join(parts)] if parts else []

    def _find(self, place: ThreadPlace, wanted: Kind | str) -> SessionOption | Answer:
        options = self.offered(place)
        if options is None:
            return NOT_KNOWN
        if isinstance(wanted, Kind):
            found = first_of(options, wanted)
            return found or Answer(pickers.NONE_OF_KIND[wanted], accepted=False)
        return pickers.option_named(options, wanted) or Answer(pickers.NONE_OF_KIND[Kind.OTHER], accepted=False)

    # --- menus and suggestions ---------------------------------------------------------------------------------------

    def menu(self, place: ThreadPlace, wanted: Kind | str | None, page: int | None = None) -> Answer:
        """Return a page of the values of an option, by its kind, id, name or digest; None: of all options."""
        if wanted is None:
            options = self.offered(place)
            return NOT_KNOWN if options is None else pickers.option_menu(place.thread_id, options, page)
        option = self._find(place, wanted)
        if isinstance(option, Answer):
            return option
        return pickers.value_menu(place.thread_id, option, partial(self._open_to_all, place, option), page)

    def suggest(self, place: ThreadPlace, wanted: Kind | str | None) -> list[tuple[str, str]]:
        """Return names of values, or of options if None is wanted, and what stands for them."""
        if wanted is None:
            return [(pickers.plain(one.name), pickers.token_of(one.id)) for one in self.offered(place) or ()]
        option = self._find(place, wanted)
        return [] if isinstance(option, Answer) else pickers.suggestions(option.values)

    # --- choosing ----------------------------------------------------------------------------------------------------

    def choose(
        self, place: ThreadPlace, wanted: Kind | str, said: str, by: Actor, *, announced: bool = False
    ) -> Answer:
        """Choose a value of an option for a thread, and have it take effect; the answer says from when on.

        Args:
            wanted: the option, as for `menu`.
            said: the value, its digest or its name.
            announced: the thread reads of it, as the answer is seen by one person alone.
        """
        option = self._find(place, wanted)
        if isinstance(option, Answer):
            return option
        value = pickers.value_digested(option, said) or value_of(option, said)
        if value is None:
            text = NO_SUCH_VALUE.format(label=label(option), value=inline_code(said, 60))
            return NO_LONGER if announced else Answer(text, accepted=False)
        if not may_choose(by, option, value, self._start(place, option), self._listed(place)):
            return Answer(ONLY_APPROVERS.format(label=label(option), value=shown(option, value)), accepted=False)
        thread_id = place.thread_id
        log.info("option.chosen", thread=thread_id, option=option.id, value=value, user=by.id)
        if not self._open_to_all(place, option, value):
            # It decides about what the agent is not going to ask.
            self.decisions.record(_decision(place, option, value, by))
        self.memory.choose(thread_id, option.id, value)
        session, status = self.pool.live_session(thread_id), self.pool.status(thread_id)
        if session is not None:
            self.giver.to(session).chosen_anew(option.id)
        # A claim is there from the admission of a turn on: what the turn is given before its prompt has this in it.
        if session is None or status is None or status.busy:
            self._announce(thread_id, f"{_named(option, value)}, from the next message on", by if announced else None)
            return Answer(f"{_named(option, value)}, from your next message on.", accepted=True, lasting=True)
        later = LaterAnswer()
        act = partial(self._apply, place, session, option, value, later, by if announced else None)
        self.tracker.begin(act, name=f"choose {thread_id}")
        text = f"{_named(option, value)}. The agent is being told."
        return Answer(text, accepted=True, lasting=True, later=later)

    async def _apply(
        self,
        place: ThreadPlace,
        session: AgentSession,
        option: SessionOption,
        value: str,
        later: LaterAnswer,
        announced_by: Actor | None,
    ) -> None:
        """Tell an idle session what was chosen, and people what came of it."""
        answer = Answer(f"{_named(option, value)}, from your next message on.", accepted=True)
        try:
            failure = await self.giver.apply(place, session, option.id, value)
            if failure is None:
                answer = Answer(f"{_named(option, value)}, as of now.", accepted=True)
            elif failure.trouble is not Trouble.GONE:
                answer = Answer(failure.text, accepted=not failure.final)
        finally:
            later.settle(answer)
        if answer.accepted:
            self._announce(place.thread_id, answer.text.rstrip("."), announced_by)

    def _announce(self, thread_id: int, text: str, by: Actor | None) -> None:
        if by is not None:
            self.giver.editors.of(thread_id).say(Body(f"-# {text} ({inline_code(by.name, 40)})"))

    # --- who may -----------------------------------------------------------------------------------------------------

    def beginnings(self, place: ThreadPlace) -> dict[str, str]:
        """Return with what new sessions of a place's agent begin, of the options that not everybody may choose."""
        offered = self.memory.offered(place.thread_id, place.guild_id) or ()
        found = {option.id: (option, self._start(place, option)) for option in offered if not harmless(option)}
        return {key: start for key, (option, start) in found.items() if start is not None and option.offers(start)}

    def permitted(self, place: ThreadPlace, by: Actor) -> dict[str, str]:
        """Return what is chosen in a thread, by option, as somebody may choose it elsewhere.

        In place of what they may not choose stands what sessions begin with, where that is known.
        """
        offered = {option.id: option for option in self.offered(place) or ()}
        found: dict[str, str] = {}
        for option_id, value in self.memory.chosen(place.thread_id).items():
            option = offered.get(option_id)
            start = self._start(place, option) if option is not None else None
            if option is not None and may_choose(by, option, value, start, self._listed(place)):
                found[option_id] = value
            elif option is not None and start is not None and option.offers(start):
                # Said, and not left out: the agent may copy what is chosen with the conversation.
                found[option_id] = start
        return found

    def _open_to_all(self, place: ThreadPlace, option: SessionOption, value: str) -> bool:
        return anybody_may(option, value, self._start(place, option), self._listed(place))

    def _start(self, place: ThreadPlace, option: SessionOption) -> str | None:
        """Return with which value of an option new sessions of the thread's agent begin, if that is known."""
        said, _ = resolve((option,), self.giver.defaults(place))
        return said.get(option.id) or self.memory.starts(place.thread_id, place.guild_id).get(option.id)

    def _listed(self, place: ThreadPlace) -> frozenset[str]:
        return self.giver.settings.profile_of(place.thread_id).modes


def _decision(place: ThreadPlace, option: SessionOption, value: str, by: Actor) -> Decision:
    """Return that somebody has chosen what not everybody may."""
    return Decision(
        at=time.time(),
        guild_id=place.guild_id,
        thread_id=place.thread_id,
        prompt_id=0,
        asker_id=by.id,
        asker_name=by.name,
        what=f"{option.name}: {option.name_of(value)}",
        kind=OPTION,
        decided_by="person",
        person_id=by.id,
        person_name=by.name,
        rule=None,
        option=value,
        outcome="allowed",
    )


def _named(option: SessionOption, value: str) -> str:
    return f"{label(option)}: {shown(option, value)}"
