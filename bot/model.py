"""The words that all of the bot shares: a message, its author, its lane, its mode and its outcome (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DISCORD_EPOCH = 1_420_070_400.0
"""The first second of 2015, in seconds of the wall clock: snowflakes count from there."""


def posted_at(snowflake: int) -> float:
    """Return when a message was posted, in seconds of the wall clock: its id says so, to the millisecond.

    Source: Discord's API reference, "Snowflakes".
    """
    return DISCORD_EPOCH + (snowflake >> 22) / 1000


def snowflake_at(seconds: float) -> int:
    """Return the lowest id of what is made at a time, in seconds of the wall clock."""
    # No id is older than Discord.
    return max(0, int((seconds - DISCORD_EPOCH) * 1000)) << 22


@dataclass(frozen=True, slots=True)
class Actor:
    """A person as far as the work needs one: id, the name to show, and the roles that may give rights.

    ``owner``: owns the Discord application, or is in its team; ``approver``: has a role that may decide what agents ask
    (C1). Both are known of whoever presses a button or gives a command.
    """

    id: int
    name: str
    roles: frozenset[int] = frozenset()
    owner: bool = False
    approver: bool = False


@dataclass(frozen=True, slots=True)
class ThreadPlace:
    """Where a thread is; ``parent_id`` is the channel that it stands in."""

    guild_id: int | None
    thread_id: int
    parent_id: int | None


# Its words are typed, chosen and kept in the store, as are those of the outcomes and lanes below: none changes.
class QueueMode(StrEnum):
    """What a message does that comes while a turn of its thread runs (Q2)."""

    QUEUE = "queue"
    """It waits, and becomes its own turn."""
    FOLLOWUP = "followup"
    """It waits, and becomes one turn together with what else came meanwhile."""
    INTERRUPT = "interrupt"
    """The running turn is cancelled, what waits is superseded, and it runs next."""
    STEER = "steer"
    """It is put into the running turn where the agent can, else that turn is cancelled and it runs next."""


class Verbosity(StrEnum):
    """How much of a turn is shown besides its answer (V1)."""

    QUIET = "quiet"
    NORMAL = "normal"
    VERBOSE = "verbose"


class Outcome(StrEnum):
    """How an accepted message ended; exactly one each. The words are for logs, metrics and tables (O1)."""

    ANSWERED = "answered"
    FAILED = "failed"
    STOPPED = "stopped"
    SUPERSEDED = "superseded"
    REMOVED = "removed"
    DROPPED = "dropped"
    STALE = "stale"
    TIMED_OUT = "timed_out"
    AGENT_DIED = "agent_died"
    AGENT_UNREACHABLE = "agent_unreachable"
    COULD_NOT_START = "could_not_start"
    OVER_BUDGET = "over_budget"
    INTERRUPTED = "interrupted"


class Lane(StrEnum):
    """Which turns share a bound on how many run at once (Q6)."""

    MAIN = "main"
    BACKGROUND = "background"
    """What no person waits for: prompts of bots and webhooks, and those that run on somebody's behalf."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What a message brings along that is not its author's own words: what it replies to, a forwarded message, a poll.

    Attributes:
        headline: what it is and whose, in Weft's words; a name in it comes from `bot.work.prompt.named`.
        text: how it reads; "" if it has no words.
    """

    headline: str
    text: str


class Origin(StrEnum):
    """Which message an attachment hangs on."""

    MESSAGE = "message"
    REPLIED_TO = "replied_to"
    FORWARDED = "forwarded"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in Discord, as Discord describes it: nothing of that has to be true.

    Attributes:
        id: snowflake; the same file has the same one wherever it is quoted or forwarded.
        name: any text that its sender chose.
        size: bytes, as declared.
        content_type: as declared; "" if it is not.
        url: where the bytes are; signed, and good for about a day.
        channel_id, message_id: the message that has a new address for it once this one has expired.
        duration: seconds of a voice message; None: it is none.
    """

    id: int
    name: str
    size: int
    content_type: str
    url: str
    channel_id: int
    message_id: int
    origin: Origin = Origin.MESSAGE
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """What people said where a message was posted, before it, and no agent followed (F9).

    Attributes:
        place_id: the thread, or the channel in which the message opens one.
        before: snowflake of the message.
    """

    place_id: int
    before: int


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message for the agent that `authorize()` let through.

    Attributes:
        message_id: snowflake; the order of arrival and the key that keeps a message from being handled twice.
        channel_id: where it was posted; equal to ``thread_id`` when it was posted in the thread.
        thread_id: the conversation; a thread opened from a message has the message's id, so it is known beforehand.
        opens_thread: whether the thread is still to be opened from this message.
        text: the author's own words, without the mention of Weft; "" if there are only ``quotes``.
        title: the name for a new thread, 1 to 100 characters.
        mode: the queue mode that the message itself asked for; None: that of its thread or server.
        files: how many files hang on the message.
        parent_id: the channel of the thread that it was posted in; None if it was posted in a channel.
        quotes: what it brings along; edits don't change it.
        left_out: names of files, of a message that was accepted by a version that passed none on.
        attachments: its own files, then those of what it forwards, then those of what it replies to.
        conversation: into which it was posted; None in a thread of Weft's, where every message is a prompt.
        beyond_budget: somebody has allowed it although nothing is left to be spent (A4).
        command: it begins with a command that its agent offers, whatever that is made of (K3).
        on_behalf: Weft posted it for its author, a person: an agent's call, or a schedule, asks for it in that name.
        by_agent: an agent scheduled it, so its turn starts and schedules nothing further: no agent multiplies (M2).
    """

    message_id: int
    channel_id: int
    thread_id: int
    guild_id: int | None
    author: Actor
    text: str
    opens_thread: bool
    title: str
    mode: QueueMode | None = None
    lane: Lane = Lane.MAIN
    files: int = 0
    parent_id: int | None = None
    quotes: tuple[Quote, ...] = ()
    left_out: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    conversation: Conversation | None = None
    beyond_budget: bool = False
    command: bool = False
    on_behalf: bool = False
    by_agent: bool = False

    @property
    def automatic(self) -> bool:
        """Whether its author is a bot or a webhook, not a person."""
        # Not by the lane alone: what runs for a person has that person's rights, and asks that person.
        return self.lane is Lane.BACKGROUND and not self.on_behalf

    @property
    def thread(self) -> ThreadPlace:
        """Where its conversation is."""
        # What was asked in a channel has its thread there.
        parent_id = self.parent_id if self.channel_id == self.thread_id else self.channel_id
        return ThreadPlace(self.guild_id, self.thread_id, parent_id)

    @property
    def gist(self) -> str:
        """How it reads in a list: its words, or else what it brings along."""
        quoted = next((f"[{quote.headline}] {quote.text}" for quote in self.quotes), "")
        return self.text or quoted or ", ".join(one.name for one in self.attachments)
