"""What must survive a restart: sessions, prompts, replies on their way, what was seen, decided, ruled and transcribed.

`pool.storage.durable.SessionStore` keeps these records. What a prompt or a reply consists of is opaque here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

import anyio


class StoreBusy(Exception):
    """Too much waits to be written: the prompt was not accepted."""


class StoreClosed(anyio.ClosedResourceError):
    """The store was left, or is another bot's by now; whether what was handed in is written is not known."""

    def __init__(self) -> None:
        super().__init__("the store is closed")


@dataclass(frozen=True, slots=True)
class ThreadRecord:
    """What is remembered of a thread.

    Attributes:
        agent: the name of the agent that made the session.
        session_id: the session to resume; None starts afresh.
        cwd: the directory in which the session was opened.
        previous_session_id: the session before this one, when it was forgotten or unknown to the agent.
        mode: the session's mode that people chose; options: their other choices, as JSON.
        base: what its directory was like when it began.
    """

    thread_id: int
    agent: str | None = None
    session_id: str | None = None
    cwd: str | None = None
    previous_session_id: str | None = None
    title: str | None = None
    mode: str | None = None
    options: str | None = None
    base: str | None = None


class ThreadChanges(TypedDict, total=False):
    """What changes of a `ThreadRecord`; a field that is left out stays as it is."""

    agent: str | None
    session_id: str | None
    cwd: str | None
    title: str | None
    mode: str | None
    options: str | None
    base: str | None


@dataclass(frozen=True, slots=True)
class AcceptedPrompt:
    """A message that was accepted as a prompt; ``payload`` is all that is needed to run it after a restart."""

    message_id: int
    thread_id: int
    channel_id: int
    author_id: int
    payload: str


@dataclass(frozen=True, slots=True)
class OpenPrompt:
    """A prompt without an end; one that was ``started`` may have had side effects: nobody runs it again unasked.

    ``shown`` holds the ids of the messages that show its reply so far, in order; ``turn`` the first message of the turn
    that it is part of, where that is another one.
    """

    prompt: AcceptedPrompt
    started: bool
    shown: tuple[int, ...] = ()
    turn: int | None = None


@dataclass(frozen=True, slots=True)
class PendingReply:
    """The reply of a turn that is over, of which nobody knows whether it arrived; ``shown`` as in `OpenPrompt`."""

    prompt: AcceptedPrompt
    outcome: str
    payload: str
    shown: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenPlace:
    """A thread or a channel in which a prompt was accepted, and the newest message there that was dealt with.

    Attributes:
        parent_id, owner_id: of a thread, the channel it stands in and who opened it.
        seen: the snowflake of that message; 0 if there is none.
    """

    place_id: int
    guild_id: int | None
    parent_id: int | None = None
    owner_id: int | None = None
    seen: int = 0


@dataclass(frozen=True, slots=True)
class KeptCard:
    """A card that a thread may show, and that waits for people.

    Attributes:
        token: names it, and is in the ids of its buttons.
        prompt: the first message of its turn, which is older than the card.
        message_id: of the card, once that is known; 0 before.
        archive: the minutes of silence after which the thread was archived before the card was there, if that was
            changed for it.
    """

    token: str
    thread_id: int
    prompt: int
    message_id: int = 0
    archive: int | None = None


@dataclass(frozen=True, slots=True)
class KeptNotice:
    """A thread that may show notices of what waits in it; none of them is older than the message ``since``.

    ``stopping``: the newest of them tells that the bot is about to restart.
    """

    thread_id: int
    since: int
    stopping: bool = False


DecidedBy = Literal["person", "rule", "mode", "timeout", "cancel", "agent"]
DecisionOutcome = Literal[
    "agreed", "allowed", "rejected", "answered", "cancelled", "expired", "kept", "revoked", "done"
]
"""``agreed``: one of several people whose word is needed; ``answered``: a question; ``kept``, ``revoked``: a rule;
``done``: what nobody was asked about, as somebody did it themselves, or an agent by a tool of ours."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a request of an agent, by whom, when and where. No text of it is longer than needed.

    Attributes:
        at: seconds since the epoch.
        prompt_id: the first message of the turn that asked; 0: none did.
        asker_id, asker_name: whose prompt it is.
        what: what was asked for; of a question, no answer.
        kind: the kind of the tool that was to run, as the agent says it; "question" for a question, "rule" for a rule
            that somebody has added or taken back, "option" for an option that somebody has chosen for the sessions of
            the thread, "worktree" for what somebody did with the thread's work tree, "tool" for what an agent did by a
            tool of ours.
        person_id, person_name: who decided, agreed, or ended what asked; None: it was no person.
        decided_by: "agent": it was for the person whose prompt it is.
        rule: the rule that decided, if one did.
        option: what the agent calls the option that was taken; of a question, the names of the fields that were filled.
        reason: why, in our words, where that is not to be seen from the rest.
    """

    at: float
    guild_id: int | None
    thread_id: int
    prompt_id: int
    asker_id: int
    asker_name: str
    what: str
    kind: str
    decided_by: DecidedBy
    person_id: int | None
    person_name: str | None
    rule: str | None
    option: str | None
    outcome: DecisionOutcome
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class KeptTranscript:
    """What was said and done in a turn.

    Attributes:
        turn_id: the first message of the turn.
        at: when it ended, in seconds since the epoch.
        payload: whoever made it knows how to read it.
    """

    turn_id: int
    thread_id: int
    at: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class KeptRule:
    """A rule that a person has added: what is allowed, or refused, to an agent in a directory without a question.

    Attributes:
        rule_id: names it; a later rule has a greater one.
        agent, workspace: for which agent, and where.
        kind, command, path: patterns; None: any.
        added_at: seconds since the epoch.
        thread_id, prompt_id, request: where it was added, and from which request.
    """

    rule_id: int
    agent: str
    workspace: str
    allow: bool
    kind: str | None
    command: str | None
    path: str | None
    added_by_id: int
    added_by_name: str
    added_at: float
    thread_id: int
    prompt_id: int
    request: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What a turn took.

    Attributes:
        prompt_id: the first message of the turn, of which there is one row.
        at: seconds since the epoch; ``day``: as whoever counts has them, as ``2026-11-30``.
        money: in millionths of the ``currency``, which is None where nobody has told money.
        session: names the session; ``total`` and ``context``: the money that it has taken in all, and the tokens in its
            context, as far as that is known.
    """

    prompt_id: int
    at: int
    day: str
    person_id: int
    thread_id: int
    agent: str
    money: int
    currency: str | None
    tokens: int
    session: str | None = None
    total: int | None = None
    context: int | None = None


@dataclass(frozen=True, slots=True)
class KeptSpending:
    """What was spent, added up; money counts in one currency, and tokens of turns without money in it.

    Attributes:
        days: of days not long ago, by person and thread: day, person, thread, money, tokens.
        threads: of all days: thread, money, tokens; the one used last comes last.
        sessions: how far each session has come: session, money, currency, context; the one used last comes last.
    """

    days: tuple[tuple[str, int, int, int, int], ...] = ()
    threads: tuple[tuple[int, int, int], ...] = ()
    sessions: tuple[tuple[str, int | None, str | None, int | None], ...] = ()


@dataclass(frozen=True, slots=True)
class SessionClaim:
    """A session that is kept for a thread which is still to be opened.

    Attributes:
        claim_id: a snowflake, older than the thread.
        thread_id: the thread, once it is known; 0 before.
        payload: all that is needed to go on after a restart; opaque here.
    """

    claim_id: int
    session_id: str
    payload: str
    thread_id: int = 0


@dataclass(frozen=True, slots=True)
class KnownSession:
    """A session that a thread has (``held``), had, or that was copied from its own (``copy``)."""

    session_id: str
    thread_id: int
    held: bool
    copy: bool = False


@dataclass(frozen=True, slots=True)
class ThreadSession:
    """A thread with the session that it has, and what its agent calls itself; ``used_at``: seconds since the epoch."""

    thread_id: int
    session_id: str
    agent: str | None
    cwd: str | None
    title: str | None
    used_at: int


@dataclass(frozen=True, slots=True)
class KeptWorkTree:
    """The work tree of a thread; kept until it is removed, also when the thread is gone.

    Attributes:
        repository: the directory of the project that it belongs to.
        base_commit: where its branch began; "" until that is known.
        state: "making", "ready" or "removing".
        setup: "" (not begun), "running", "done" or "failed".
        made_at, used_at: seconds since the epoch.
        payload: JSON of the bot's; opaque here.
    """

    thread_id: int
    project: str
    repository: str
    directory: str
    branch: str
    base: str
    base_commit: str
    state: str
    setup: str
    made_at: int
    used_at: int
    payload: str = "{}"


@dataclass(frozen=True, slots=True)
class KeptSchedule:
    """A prompt that is to run again and again.

    Attributes:
        channel_id: where the thread is; the thread itself if it is in no channel.
        cron, zone: when, and by the clock of which time zone.
        paused: why it does not run; "" while it does.
        created_at, due_at, fired_at: seconds since the epoch; 0: never.
        payload: JSON of the bot's; opaque here.
    """

    schedule_id: int
    guild_id: int | None
    channel_id: int
    thread_id: int
    author_id: int
    author_name: str
    cron: str
    zone: str
    prompt: str
    paused: str
    created_at: int
    due_at: int
    fired_at: int
    payload: str = "{}"
