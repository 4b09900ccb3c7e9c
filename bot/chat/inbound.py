"""Decides whether a message is a prompt or a typed command, and for what; and what an edit makes of it (pure).

Works on a plain description of the message, which `posts` makes out of Discord's JSON. Nothing here remembers messages;
`OncePer`, `BotRuns` and `Wordings` hold the small memories that the rules need: who was refused when, how many bots
spoke in a row, and what prompts last said.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, field, replace
from enum import Enum

from bot.chat.authorize import Policy, Request, Verdict, authorize
from bot.model import Actor, Attachment, Conversation, Inbound, Lane, Origin, QueueMode, Quote
from bot.recent import RecentMap
from bot.reply.title import title_of
from bot.work.prompt import named

QUOTE_LIMIT = 500
ASIDE = "//"
HELP = (
    "Mention me and say what you want done. I open a thread for it; there you just keep writing.\n"
    "`stop`, `stop all` and `status` work as words alone; `//` in front of a message leaves me out.\n"
    "`/help` shows what else you can do, wherever you are."
)
UNREAD = "I could not read anything in this message. Please send it again as text."
_MODE = re.compile(rf"!({'|'.join(QueueMode)})(?:\s+|$)", re.IGNORECASE)
_COMMAND = re.compile(r"!?(stop(?P<all>\s+all)?|status)[.!]?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Weft:
    """Weft in a server: its user id and the role that Discord made for it, which people mention by mistake.

    Attributes:
        posts: the ids of posts of forums that people opened and that are Weft's all the same (S6).
    """

    id: int
    role: int | None = None
    posts: Container[int] = frozenset()

    def has(self, place: Place) -> bool:
        """Return whether a place is a conversation in which everything is for Weft."""
        return place.direct or place.owner_id == self.id or place.channel_id in self.posts


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message is; ``parent_id`` and ``owner_id`` (who opened it) are known for threads only.

    ``name`` is what it is called, as far as anybody has looked.
    """

    guild_id: int | None
    channel_id: int
    parent_id: int | None = None
    owner_id: int | None = None
    name: str = field(default="", compare=False)  # renamed, it is the same place

    @property
    def direct(self) -> bool:
        """Whether it is a channel of direct messages: one person and Weft."""
        return self.guild_id is None

    @property
    def conversation(self) -> bool:
        """Whether a session belongs to it: a thread, or direct messages."""
        return self.parent_id is not None or self.direct


@dataclass(frozen=True, slots=True)
class Post:
    """A message as the rules see it.

    Attributes:
        ordinary: something somebody wrote; not a notice by Discord such as "… pinned a message".
        automatic: written by a bot or a webhook.
        mentions: the users whom its text mentions; that a reply notifies somebody is no mention.
        crowds: the roles that the message mentions; ``everyone`` is separate.
        attachments: its files, then those of what it forwards.
        has_thread: whether a thread was opened from it already.
        thread_owner: who opened that thread, where it is known.
        garbled: its text is there, and can't be read.
        edited: Discord says that it was edited.
        reacted: Weft has put a reaction on it.
        quotes: what it brings along that has words.
        gist: how it reads to somebody who quotes it.
        original: the message that it replies to.
        reference: the id of that message while it is not known.
        custom_ids: those of its buttons.
    """

    message_id: int
    place: Place
    author: Actor
    content: str
    ordinary: bool = True
    automatic: bool = False
    mentions: frozenset[int] = frozenset()
    crowds: frozenset[int] = frozenset()
    everyone: bool = False
    attachments: tuple[Attachment, ...] = ()
    has_thread: bool = False
    thread_owner: int | None = None
    garbled: bool = False
    edited: bool = False
    reacted: bool = False
    quotes: tuple[Quote, ...] = ()
    gist: str = ""
    original: Post | None = None
    reference: int | None = None
    custom_ids: tuple[str, ...] = ()

    @property
    def begins_post(self) -> bool:
        """Whether it is the first message of a forum's post: only that one has the id of its thread and is in it."""
        return self.place.parent_id is not None and self.message_id == self.place.channel_id


class Command(Enum):
    """What can be asked for with a word alone."""

    STOP = "stop"
    STOP_ALL = "stop all"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class ParsedPrefix:
    """What a message says once the mentions of Weft are cut out: a command, or a prompt and perhaps its queue mode."""

    text: str = ""
    mode: QueueMode | None = None
    command: Command | None = None


class Kind(Enum):
    """What is to be done with a message."""

    IGNORE = "ignore"
    PROMPT = "prompt"
    COMMAND = "command"
    HELP = "help"
    TELL = "tell"
    """Useless as it is, which its author has to know, even if late."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done: hand ``inbound`` over, carry ``command`` out, or answer with ``text``."""

    kind: Kind
    inbound: Inbound | None = None
    text: str = ""
    command: Command | None = None


IGNORED = Decision(Kind.IGNORE)


def decide(post: Post, weft: Weft, policy: Policy) -> Decision:
    """Say whether the message is for Weft and by somebody who may speak to it, and what it asks for."""
    if post.author.id == weft.id or not post.ordinary:
        return IGNORED
    # 1. Is it for Weft? In its own threads everything is, unless it is an aside or for somebody else.
    for_others = bool(post.mentions or post.crowds or post.everyone)
    # In a forum of Weft's a new post asks it, mentioned or not. It is not Weft's yet, so it is an aside by itself.
    left_out = for_others or post.content.lstrip().startswith(ASIDE)
    begins = post.begins_post and post.place.parent_id in policy.forums and not left_out
    addressed = weft.id in post.mentions or weft.role in post.crowds or begins or post.place.direct
    if _is_aside(post, weft) or (not addressed and (not weft.has(post.place) or for_others)):
        return IGNORED
    # 2. May its author speak to Weft? Who only wrote in a thread is not bothered with a refusal.
    verdict = _judge(post, policy)
    if not verdict.allowed:
        # Not to a bot: it might answer the refusal, and be refused again.
        polite = addressed and not post.automatic
        return Decision(Kind.REFUSE, text=verdict.reason) if polite else IGNORED
    # 3. What does it ask for?
    parsed = parse_prefix(post.content, weft)
    if parsed.command is not None:
        return Decision(Kind.COMMAND, command=parsed.command)
    inbound = _inbound(post, parsed, weft)
    if inbound.text or inbound.quotes or inbound.attachments:
        return Decision(Kind.PROMPT, inbound)
    # 4. Nothing: then its author learns why. A bot that answers help would get help again.
    if post.automatic:
        return IGNORED
    if (addressed or parsed.mode is not None) and not post.garbled:
        return Decision(Kind.HELP, text=HELP)
    return Decision(Kind.TELL, text=UNREAD)


def revised(post: Post, weft: Weft, policy: Policy) -> str | None:
    """Return what an edited message asks for now: "" if nothing; None if its author has no say (Q5)."""
    if post.author.id == weft.id or not post.ordinary or post.garbled or not _judge(post, policy).allowed:
        return None
    # Its mentions no longer matter: it was a prompt already, or the work does not know it.
    return "" if _is_aside(post, weft) else parse_prefix(post.content, weft).text


def asks_nothing(post: Post, text: str, weft: Weft) -> bool:
    """Return whether an edited message is a prompt no more; ``text``: what `revised` made of it."""
    return not text and (not post.attachments or _is_aside(post, weft))


def _is_aside(post: Post, weft: Weft) -> bool:
    return weft.has(post.place) and post.content.lstrip().startswith(ASIDE)


def _judge(post: Post, policy: Policy) -> Verdict:
    place, author = post.place, post.author
    request = Request(place.guild_id, place.channel_id, place.parent_id, author.id, author.roles, post.automatic)
    return authorize(request, policy)


def _inbound(post: Post, parsed: ParsedPrefix, weft: Weft) -> Inbound:
    """Return a message as a prompt; what it brings along is marked as such, since its author does not say it."""
    place, original, quotes, attachments = post.place, post.original, post.quotes, post.attachments
    if original is not None:
        own = original.author.id == weft.id
        headline = "In reply to what you wrote" if own else f"In reply to {named(original.author)}, who wrote"
        quotes = (Quote(headline, clip(original.gist, QUOTE_LIMIT)), *quotes)
        # Files of Weft's own messages are the agent's: it has what is in them.
        if not own:
            attachments += tuple(replace(one, origin=Origin.REPLIED_TO) for one in original.attachments)
    elif post.reference is not None:
        # The agent has to know that something is missing, or it guesses what "this" means.
        quotes = (Quote("In reply to a message that could not be looked up", ""), *quotes)
    if post.begins_post and place.name.strip():
        # Half of what its author says is there, and no message has it.
        quotes = (Quote("The title of the post", place.name), *quotes)
    in_thread = place.conversation
    return Inbound(
        message_id=post.message_id,
        channel_id=place.channel_id,
        # A thread opened from a message has the message's id.
        thread_id=place.channel_id if in_thread else post.message_id,
        guild_id=place.guild_id,
        author=post.author,
        text=parsed.text,
        opens_thread=not in_thread and not post.has_thread,
        title=title("\n".join([parsed.text, *(quote.text for quote in quotes), *(one.name for one in attachments)])),
        mode=parsed.mode,
        lane=Lane.BACKGROUND if post.automatic else Lane.MAIN,
        files=sum(one.origin is Origin.MESSAGE for one in post.attachments),
        parent_id=place.parent_id,
        quotes=quotes,
        attachments=attachments,
        conversation=_conversation(post, weft),
    )


def _conversation(post: Post, weft: Weft) -> Conversation | None:
    """Return what the agent has not followed: a thread of other people's, or the channel in which a thread begins."""
    followed = weft.has(post.place) or post.begins_post if post.place.conversation else post.has_thread
    return None if followed else Conversation(post.place.channel_id, post.message_id)


def parse_prefix(content: str, weft: Weft) -> ParsedPrefix:
    """Return what a message asks for, without the mentions of Weft and the spaces that they leave.

    `!queue fix it` chooses what happens to that message while a turn runs (Q2); `stop`, `stop all` and `status` alone
    are commands and never prompts (Q7, Q11).
    """
    names = rf"@!?{weft.id}" if weft.role is None else rf"@!?{weft.id}|@&{weft.role}"
    text = re.sub(rf"[ \t]*<(?:{names})>", "", content).strip()
    # A command is the whole message: "stop using tabs" is a prompt, and nothing is stopped by guess.
    if found := _COMMAND.fullmatch(text):
        if found["all"]:
            return ParsedPrefix(command=Command.STOP_ALL)
        return ParsedPrefix(command=Command.STATUS if found[1].lower() == "status" else Command.STOP)
    if chosen := _MODE.match(text):
        return ParsedPrefix(text[chosen.end() :], QueueMode(chosen[1].lower()))
    return ParsedPrefix(text)


def title(text: str) -> str:
    """Return a thread's name, 1 to 100 characters: the first line that says something, without markup and mentions."""
    return title_of(text) or "Request"


def clip(text: str, limit: int) -> str:
    """Return the text, cut with an ellipsis to at most ``limit`` UTF-16 code units, whole characters only."""
    # Discord counts as JavaScript does: a character beyond the first 65,536 counts twice. One more than the limit is
    # enough to see that a text is too long, and it may have megabytes.
    sizes = [2 if ord(character) > 0xFFFF else 1 for character in text[: limit + 1]]
    if sum(sizes) <= limit:
        return text
    kept, room = 0, limit - 1
    while sizes[kept] <= room:
        room -= sizes[kept]
        kept += 1
    return text[:kept].rstrip() + "…"


@dataclass(slots=True)
class OncePer:
    """Lets each key through once in a period (seconds); forgets keys whose period is over."""

    period: float
    _last: dict[int, float] = field(default_factory=dict)

    def due(self, key: int, now: float) -> bool:
        """Return whether the key's turn has come, and count it as used."""
        self._last = {k: at for k, at in self._last.items() if now - at < self.period}
        if key in self._last:
            # Not renewed: whoever goes on writing would never be answered again.
            return False
        self._last[key] = now
        return True


@dataclass(slots=True)
class BotRuns:
    """Counts the prompts that bots gave in a row in each thread; a person's prompt starts the count anew."""

    limit: int
    _runs: RecentMap[int, int] = field(default_factory=lambda: RecentMap(1000))

    def allow(self, thread_id: int, *, automatic: bool) -> bool:
        """Count a prompt; False when it is one more than bots may give in a row."""
        run = self._runs.pop(thread_id, 0) + 1 if automatic else 0
        if run:
            self._runs.put(thread_id, min(run, self.limit + 1))
        else:
            self._runs.pop(thread_id, None)
        return run <= self.limit


class Wordings(RecentMap[int, int]):
    """Remembers, as hashes, what the latest prompts say: Discord tells of pins, previews and threads as of edits."""

    def note(self, message_id: int, text: str) -> bool | None:
        """Take note of a prompt's text; return whether it is another than before, None if none was known."""
        # Good within this process only, as Python salts hashes: they must never be written down.
        before, now = self.get(message_id), hash(text)
        self.put(message_id, now)
        return None if before is None else before != now
