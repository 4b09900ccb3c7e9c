"""Decides whether a message is a prompt, and for what (pure).

Works on a plain description of the message; `client` makes that out of discord.py's objects. Nothing here remembers
messages; `OncePer`, `BotRuns` and `Taken` hold the small memories that the rules need: who was refused when, how many
bots spoke in a row, and which messages were prompts already.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from bot.chat.authorize import Policy, Request, authorize
from bot.reply.sanitise import clean, visible
from bot.work.model import Actor, Inbound

TITLE_LIMIT = 100
ASIDE = "//"
HELP = (
    "Mention me with what you want done, and I open a thread for it; in that thread just write on. "
    "A message that starts with `//` is left to the people in the thread. "
    "`/status`, `/stop` and `/reset` are there too."
)
_MENTION = re.compile(r"<(?:@[!&]?|#)\d+>")
_REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069]")
_MARKUP = re.compile(r"^[\s#>*_`~|-]+|[*_`~|]+")


@dataclass(frozen=True, slots=True)
class Weft:
    """Weft in a server: its user id and the role that Discord made for it, which people mention by mistake."""

    id: int
    role: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands; ``parent_id`` and ``owner_id`` (who opened it) are known for threads only."""

    guild_id: int | None
    channel_id: int
    parent_id: int | None = None
    owner_id: int | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """A message as the rules see it.

    Attributes:
        ordinary: something somebody wrote; not a notice by Discord such as "… pinned a message".
        automatic: written by a bot or a webhook.
        mentions: the users whom the message notifies, by mention or reply.
        crowds: the roles that the message mentions; ``everyone`` is told apart.
        attachments: how many files hang on it.
        has_thread: whether a thread was opened from it already.
        thread_owner: who opened that thread, where it is known.
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
    attachments: int = 0
    has_thread: bool = False
    thread_owner: int | None = None


class Kind(Enum):
    """What is to be done with a message."""

    IGNORE = "ignore"
    PROMPT = "prompt"
    HELP = "help"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done: hand ``inbound`` over, or answer with ``text``."""

    kind: Kind
    inbound: Inbound | None = None
    text: str = ""


IGNORED = Decision(Kind.IGNORE)


def decide(post: Post, weft: Weft, policy: Policy) -> Decision:
    """Say whether the message is for Weft and by somebody who may speak to it."""
    if post.author.id == weft.id or not post.ordinary:
        return IGNORED
    addressed = weft.id in post.mentions or weft.role in post.crowds
    if not _meant(post, weft, addressed=addressed):
        return IGNORED
    verdict = authorize(_request(post), policy)
    if not verdict.allowed:
        polite = addressed and not post.automatic
        return Decision(Kind.REFUSE, text=verdict.reason) if polite else IGNORED
    text = strip_mention(post.content, weft)
    if text:
        return Decision(Kind.PROMPT, _inbound(post, text))
    helped = (addressed or post.attachments) and not post.automatic  # a bot that answers help would get help again
    return Decision(Kind.HELP, text=HELP) if helped else IGNORED


def _meant(post: Post, weft: Weft, *, addressed: bool) -> bool:
    if post.place.owner_id != weft.id:
        return addressed
    if post.content.lstrip().startswith(ASIDE):
        return False
    return addressed or not (post.mentions or post.crowds or post.everyone)


def _request(post: Post) -> Request:
    place, author = post.place, post.author
    return Request(place.guild_id, place.channel_id, place.parent_id, author.id, author.roles, post.automatic)


def _inbound(post: Post, text: str) -> Inbound:
    place = post.place
    in_thread = place.parent_id is not None
    return Inbound(
        message_id=post.message_id,
        channel_id=place.channel_id,
        # A thread opened from a message has the message's id.
        thread_id=place.channel_id if in_thread else post.message_id,
        guild_id=place.guild_id,
        author=post.author,
        text=text,
        opens_thread=not in_thread and not post.has_thread,
        title=title(text),
    )


def strip_mention(content: str, weft: Weft) -> str:
    """Return the text without the mentions of Weft and the spaces that they leave."""
    names = rf"@!?{weft.id}" if weft.role is None else rf"@!?{weft.id}|@&{weft.role}"
    return re.sub(rf"[ \t]*<(?:{names})>", "", content).strip()


def title(text: str) -> str:
    """Return a thread's name, 1 to 100 characters: the first line that says something, without markup and mentions."""
    for line in _REORDERING.sub("", clean(text)).splitlines():
        name = " ".join(_MARKUP.sub("", _MENTION.sub("", line)).split())
        if visible(name):
            return clip(name, TITLE_LIMIT)
    return "Request"


def clip(text: str, limit: int) -> str:
    """Return the text, cut with an ellipsis to at most ``limit`` UTF-16 code units, whole characters only."""
    if _units(text) <= limit:
        return text
    kept, room = [], limit - 1
    for character in text:
        room -= _units(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…"


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class OncePer:
    """Lets each key through once in a period (seconds); forgets keys whose period is over."""

    def __init__(self, period: float) -> None:
        self._period = period
        self._last: dict[int, float] = {}

    def due(self, key: int, now: float) -> bool:
        """Return whether the key's turn has come, and count it as used."""
        self._last = {k: at for k, at in self._last.items() if now - at < self._period}
        if key in self._last:
            return False
        self._last[key] = now
        return True


class BotRuns:
    """Counts the prompts that bots gave in a row in each thread; a person's prompt starts the count anew."""

    def __init__(self, limit: int, threads: int = 1000) -> None:
        self._limit, self._threads = limit, threads
        self._runs: dict[int, int] = {}

    def allow(self, thread_id: int, *, automatic: bool) -> bool:
        """Count a prompt; False when it is one more than bots may give in a row."""
        before = self._runs.pop(thread_id, 0)
        run = before + 1 if automatic else 0
        if run:
            self._runs[thread_id] = min(run, self._limit + 1)
        while len(self._runs) > self._threads:
            del self._runs[next(iter(self._runs))]
        return run <= self._limit


class Taken:
    """Remembers the latest prompts, so that one that comes again is not taken and not counted twice."""

    def __init__(self, limit: int = 5000) -> None:
        self._limit = limit
        self._ids: dict[int, None] = {}

    def first(self, message_id: int) -> bool:
        """Return whether the message comes for the first time."""
        if message_id in self._ids:
            return False
        self._ids[message_id] = None
        if len(self._ids) > self._limit:
            del self._ids[next(iter(self._ids))]
        return True
