"""Who may speak to Weft, and where (pure). One function decides for messages, buttons and commands alike.

Closed by default. What a person may do with somebody else's turn is decided by the work, not here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto

from bot.model import Actor


class Reason(StrEnum):
    """Why a request is refused; the value is the text for the person."""

    NONE = ""
    DIRECT = "I only work in servers, not in direct messages."
    UNLISTED = "In direct messages I only take requests from my owner and from people who are listed by user id."
    GUILD = "I am not set up to work in this server."
    CHANNEL = "I am not set up to work in this channel."
    BOT = "I don't take requests from this bot."
    PERSON = "You are not on the list of people I take requests from. Ask whoever runs me."


class Purpose(Enum):
    """What somebody wants to do."""

    PROMPT = auto()
    """Have an agent work, or control what it does."""
    DECIDE = auto()
    """Answer what an agent asks, or look at what was answered (C1)."""


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody wants something somewhere.

    Attributes:
        guild_id: None for a direct message.
        channel_id: where it was posted; a thread has its own id.
        parent_id: the channel of the thread, or None outside threads.
        automatic: a bot or a webhook asks, not a person.
    """

    guild_id: int | None
    channel_id: int
    parent_id: int | None
    user_id: int
    roles: frozenset[int] = frozenset()
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may use Weft: ids only.

    An empty ``guilds`` or ``channels`` means any; with ``users`` and ``roles`` both empty only the owners may.
    ``approvers`` are roles, too: who has one of them may decide, and prompt only if on another list as well. In
    ``forums`` each new post is a prompt, by whoever may prompt there. With ``direct``, owners and ``users`` may write
    direct messages.
    """

    guilds: frozenset[int] = frozenset()
    channels: frozenset[int] = frozenset()
    users: frozenset[int] = frozenset()
    roles: frozenset[int] = frozenset()
    owners: frozenset[int] = frozenset()
    approvers: frozenset[int] = frozenset()
    direct: bool = False
    forums: frozenset[int] = frozenset()

    def knows(self, actor: Actor) -> Actor:
        """Return a person with the rights that their id and their roles give them."""
        owner, approver = actor.id in self.owners, bool(actor.roles & self.approvers)
        return replace(actor, owner=owner, approver=approver)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the request is allowed and, if not, why."""

    allowed: bool
    reason: Reason = Reason.NONE


def authorize(request: Request, policy: Policy, purpose: Purpose = Purpose.PROMPT) -> Verdict:
    """Decide about a request; a thread counts as its parent channel."""
    # 1. A direct message. This one binds owners, too: without the setting Weft is not even sent any (S7).
    if request.guild_id is None and not policy.direct:
        return Verdict(allowed=False, reason=Reason.DIRECT)
    # The owner may use it everywhere, or nobody could ever set a server up. A bot of theirs is not the owner.
    if request.user_id in policy.owners and not request.automatic:
        return Verdict(allowed=True)
    if request.guild_id is None:
        # Neither servers, nor channels, nor roles: only who somebody is. No bot writes to another one here.
        listed = request.user_id in policy.users and not request.automatic
        return Verdict(allowed=listed, reason=Reason.NONE if listed else Reason.UNLISTED)
    # 2. In a server: where first, then who. A thread is judged by its channel, as nobody can list what is still to be
    # opened.
    channel = request.channel_id if request.parent_id is None else request.parent_id
    if policy.guilds and request.guild_id not in policy.guilds:
        reason = Reason.GUILD
    elif policy.channels and channel not in policy.channels:
        reason = Reason.CHANNEL
    # Before bots are refused: this list, of ids, is the one that can let a bot in.
    elif request.user_id in policy.users:
        reason = Reason.NONE
    elif request.automatic:
        # A role never admits a bot: two bots that answer each other would never stop.
        reason = Reason.BOT
    else:
        roles = policy.roles | policy.approvers if purpose is Purpose.DECIDE else policy.roles
        reason = Reason.NONE if request.roles & roles else Reason.PERSON
    return Verdict(allowed=not reason, reason=reason)
