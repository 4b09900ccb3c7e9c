"""What ``weft init`` asks Discord: whose the token is, which servers the bot is in, and the ids behind names.

Each call opens a connection, asks over REST and closes it; no gateway, as with the doctor.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlencode

import aiohttp
import anyio

from bot.config import ConfigError
from bot.ops.doctor.account import judge_application, not_accepted
from bot.ops.doctor.finding import Finding, Verdict, harmless, ok, several, warn
from bot.ops.doctor.places import invite_link
from bot.ops.doctor.rest import Application, AskError, FoundMember, PartialGuild, Questions, Role, User
from bot.wording import nearest

_ID = re.compile(r"(?:<@[!&]?)?([0-9]{15,20})>?")
_MOST_SERVERS = 20
_FOUND = 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Account:
    """What Discord says of a token.

    Attributes:
        findings: as the doctor has them.
        application: None: Discord did not say.
    """

    findings: Sequence[Finding]
    application: Application | None = None
    guilds: Sequence[PartialGuild] = ()

    @property
    def refused(self) -> bool:
        """Whether Discord does not take the token."""
        return any(one.verdict is Verdict.FAIL and one.subject == "account" for one in self.findings)

    @property
    def reads_content(self) -> bool:
        """Whether the message content intent is on, or could not be looked at."""
        return self.application is None or self.application.reads_content

    @property
    def invitation(self) -> str:
        """The address that invites the bot, empty if its application is not known."""
        return invite_link(self.application.id) if self.application else ""


@dataclass(frozen=True, slots=True)
class Portal:
    """Asks with one token; ``api``: the address of the REST interface."""

    api: str
    token: str = field(repr=False)

    def account(self) -> Account:
        """Return what Discord says of the token; that it can't be reached is a finding, too."""
        return self._run(_account)

    def roles(self, texts: Sequence[str]) -> tuple[int, ...]:
        """Return the ids of roles that are given by name or id.

        Raises:
            ConfigError: a line for each name that does not lead to exactly one.
        """
        return self._resolved("role", texts, _roles)

    def users(self, texts: Sequence[str]) -> tuple[int, ...]:
        """As `roles`, for people."""
        return self._resolved("member", texts, _members)

    def _resolved(self, kind: str, texts: Sequence[str], search: Search) -> tuple[int, ...]:
        # Only names are looked up: with ids alone no question is asked at all.
        names = [text for text in texts if not _ID.fullmatch(text)]
        found = self._run(lambda questions: _look_up(questions, kind, names, search)) if names else {}
        if problems := [problem for one in found.values() if isinstance(problem := one, str)]:
            raise ConfigError(*problems)
        ids = [int(match[1]) if (match := _ID.fullmatch(text)) else found[text] for text in texts]
        # Each once, in the order in which they were given.
        return tuple(dict.fromkeys(one for one in ids if isinstance(one, int)))

    def _run(self, ask: Callable[[Questions], Awaitable[T]]) -> T:
        async def run() -> T:
            async with aiohttp.ClientSession() as session:
                return await ask(Questions(session, self.api, self.token))

        # A loop for each call: the conversation around it is synchronous, and may last for an hour.
        return anyio.run(run)


def only_ids(kind: str, texts: Sequence[str]) -> tuple[int, ...]:
    """Return ids where nobody can be asked for names.

    Raises:
        ConfigError: a line for each text that is none.
    """
    if names := [text for text in texts if not _ID.fullmatch(text)]:
        raise ConfigError(*(f"{name!r} is not the id of a {kind}: names can't be looked up now" for name in names))
    return tuple(dict.fromkeys(int(match[1]) for text in texts if (match := _ID.fullmatch(text))))


async def _account(questions: Questions) -> Account:
    try:
        bot = await questions.ask("/users/@me", User)
    except AskError as exc:
        return Account([not_accepted(exc)])
    hello = ok("account", f"{bot.username} ({bot.id})")
    try:
        application = await questions.ask("/applications/@me", Application)
        guilds = await questions.ask("/users/@me/guilds?limit=200", list[PartialGuild])
    except AskError as exc:
        return Account([hello, warn("portal", f"{exc}")])
    judged = [finding for finding in judge_application(application) if finding.subject != "invite"]
    return Account([hello, *judged], application, guilds)


# --- names ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody or something that has a name; ``names``: each that people may know it by, the usual one first."""

    id: int
    names: tuple[str, ...]
    server: str

    def called(self, name: str) -> bool:
        """Whether that is one of its names, whatever the case."""
        return name.casefold() in {one.casefold() for one in self.names}

    def __str__(self) -> str:
        return harmless(f"{self.names[0]} ({self.id}, in {self.server})")


Search = Callable[[Questions, PartialGuild, str], Awaitable[list[Candidate]]]


async def _look_up(questions: Questions, kind: str, names: Sequence[str], search: Search) -> dict[str, int | str]:
    """Return for each name an id, or what is wrong with it."""
    try:
        guilds = await questions.ask("/users/@me/guilds?limit=200", list[PartialGuild])
        if not guilds:
            return {
                name: f"{name!r}: Weft is in no server yet, so names can't be looked up: give ids" for name in names
            }
        found: dict[str, int | str] = {}
        for text in names:
            name = text.removeprefix("@")
            there = [one for guild in guilds[:_MOST_SERVERS] for one in await search(questions, guild, name)]
            found[text] = _choose(kind, name, there)
    except AskError as exc:
        return {name: f"{name!r} could not be looked up: {exc}: give the id" for name in names}
    return found


def _choose(kind: str, name: str, there: Sequence[Candidate]) -> int | str:
    """Return the one id that a name stands for, or say why it stands for none."""
    # By id: the same person may be found in several servers.
    ids = {one.id: one for one in there if one.called(name)}
    if len(ids) == 1:
        return next(iter(ids))
    if ids:
        return (
            f"{name!r} is the name of more than one {kind}: give the id: {several([str(one) for one in ids.values()])}"
        )
    known = list(dict.fromkeys(label for one in there for label in one.names))
    near = nearest(name, known)
    hint = f"did you mean {harmless(near)}?" if near else f"there are {harmless(several(known))}" if known else ""
    return f"there is no {kind} called {name!r}" + (f": {hint}" if hint else "")


async def _roles(questions: Questions, guild: PartialGuild, name: str) -> list[Candidate]:
    # The role of everybody has the server's id: with it whoever joins could use the bot.
    roles = await questions.ask(f"/guilds/{guild.id}/roles", list[Role])
    return [Candidate(one.id, (one.name,), guild.name) for one in roles if one.id != guild.id]


async def _members(questions: Questions, guild: PartialGuild, name: str) -> list[Candidate]:
    # Discord finds by the beginning of a name; `_choose` wants the whole.
    query = urlencode({"query": name, "limit": _FOUND})
    members = await questions.ask(f"/guilds/{guild.id}/members/search?{query}", list[FoundMember])
    return [Candidate(one.user.id, tuple(_names(one)), guild.name) for one in members]


def _names(member: FoundMember) -> Iterator[str]:
    yield from filter(None, (member.user.username, member.user.global_name, member.nick))
