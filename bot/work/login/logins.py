"""What `/login` and `/logout` do: an agent's ways to log in, and those that it goes by itself (K4).

A login is that of the machine, for everybody who uses the agent. So anybody who is let in may see what there is to do,
and only owners and approvers may have it done. Nothing is kept here: what an agent offers is asked of it each time.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from acp.connection import AgentConnection
from acp.errors import AcpError, RequestFailed, RequestTimeout
from acp.schema import AuthMethod
from bot.model import Actor
from bot.reply.port import Button
from bot.reply.sanitise import clip, inline_code, one_line
from bot.work.errors import with_data
from bot.work.ports import Answer
from bot.work.thread_settings import ThreadSettings
from pool.pool import ConnectionPool

LOGIN_LIMIT = 120.0
"""Seconds for the agent to log in or out: it may wait for somebody at a browser on its machine."""

OUT = "out"
"""Stands in a button for logging out, where others have the digest of a method."""

_MOST_METHODS = 6
"""Of a list that has to fit into one message; agents have up to four."""
_TERMINAL = "terminal"

NOT_YOURS = Answer(
    "This login is shared by everybody here. Only the owner of this bot and approvers can change it.",
    accepted=False,
)
EVERYBODY = "-# This is the account on Weft's machine, shared by everybody who uses this agent."

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Logins:
    """Asks agents how one logs in to them, and has them do it; ``redact`` takes secrets out of what they say."""

    pool: ConnectionPool
    settings: ThreadSettings
    redact: Callable[[str], str]

    def place_of(self, thread_id: int | None, channel_id: int) -> int:
        """Return the place whose agent is meant: a thread that has one of its own, else its channel."""
        has_agent = thread_id is not None and self.settings.kept(thread_id, "agent") is not None
        return thread_id if thread_id is not None and has_agent else channel_id

    async def show(self, place_id: int, here: int, by: Actor) -> Answer:
        """Say how one logs in to a place's agent; ``here``: the thread or channel of the answer, for its buttons."""
        name = self.settings.called(place_id)
        try:
            async with self.pool.borrow(place_id) as connection:
                methods = connection.agent.auth_methods
        except AcpError as exc:
            return self._not_asked(name, exc)
        if not methods:
            how = "use its own command line on Weft's machine, as the user that Weft runs as"
            return _told(f"{name} offers no way to log in. If it asks for a login, {how}.", accepted=True)
        shown = methods[:_MOST_METHODS]
        left_out = f"-# … and {len(methods) - len(shown)} more." if len(methods) > len(shown) else ""
        ways = [f"{number}. {self._way(place_id, method)}" for number, method in enumerate(shown, 1)]
        # The others need somebody at a terminal: no press can do that.
        by_itself = [method for method in shown if method.type != _TERMINAL]
        buttons = tuple(
            Button(f"weft:auth:{here}:{_digest(method)}", clip(f"Log in: {self.redact(_label(method))}", 80))
            for method in by_itself
            if _may(by)
        )
        who = "-# The owner of this bot or an approver can log in here." if by_itself and not buttons else ""
        text = [f"**Log in to {name}**", *ways, left_out, who, EVERYBODY]
        return Answer("\n".join(line for line in text if line), accepted=True, buttons=buttons)

    async def log_in(self, place_id: int, digest: str, by: Actor) -> Answer:
        """Have a place's agent log in by the method that a button stands for; takes up to `LOGIN_LIMIT`."""
        name = self.settings.called(place_id)
        # Before the agent is asked: nobody starts a process for what they may not do.
        if not _may(by):
            return NOT_YOURS
        try:
            async with self.pool.borrow(place_id) as connection:
                offered = (one for one in connection.agent.auth_methods if one.type != _TERMINAL)
                # Asked for anew: the button may be older than what the agent offers.
                method = next((one for one in offered if _digest(one) == digest), None)
                if method is None:
                    return _told(f"{name} no longer offers this. Use `/login` again.", accepted=False)
                refusal = await self._carry_out(place_id, connection, method)
        except AcpError as exc:
            return self._not_asked(name, exc)
        log.info("login.ended", agent=self.settings.agent_of(place_id), method=method.id, user=by.id, ok=not refusal)
        if refusal:
            return _told(f"{name} is not logged in: {refusal}", accepted=False)
        return Answer(
            f"{name} is logged in with {self._quoted(_label(method), 80)}. Write again in your thread.", accepted=True
        )

    async def offer_logout(self, place_id: int, here: int, by: Actor) -> Answer:
        """Ask whether a place's agent is to be logged out; it is done by the button of the answer."""
        name = self.settings.called(place_id)
        if not _may(by):
            return NOT_YOURS
        try:
            async with self.pool.borrow(place_id) as connection:
                offered = connection.agent.agent_capabilities.auth.logout is not None
        except AcpError as exc:
            return self._not_asked(name, exc)
        if not offered:
            return _told(f"{name} can't be logged out from here: use its own command line.", accepted=False)
        button = Button(f"weft:auth:{here}:{OUT}", "Log out", style="danger")
        return Answer(
            f"**Log {name} out?** Nobody can use it until somebody logs in again.\n{EVERYBODY}", True, buttons=(button,)
        )

    async def log_out(self, place_id: int, by: Actor) -> Answer:
        """Have a place's agent forget its login; takes up to `LOGIN_LIMIT`."""
        name = self.settings.called(place_id)
        if not _may(by):
            return NOT_YOURS
        try:
            async with self.pool.borrow(place_id) as connection:
                refusal = await self._carry_out(place_id, connection, None)
        except AcpError as exc:
            return self._not_asked(name, exc)
        log.info("logout.ended", agent=self.settings.agent_of(place_id), user=by.id, ok=not refusal)
        if refusal:
            return _told(f"{name} may still be logged in: {refusal}", accepted=False)
        return _told(f"{name} is logged out. `/login` shows how to log in.", accepted=True)

    async def _carry_out(self, place_id: int, connection: AgentConnection, method: AuthMethod | None) -> str:
        """Log in by a method, out without one; return why it did not work, "" if it did."""
        try:
            if method is not None:
                await connection.authenticate(method.id, LOGIN_LIMIT)
            else:
                await connection.logout(LOGIN_LIMIT)
        except RequestFailed as exc:
            return self._quoted(with_data(exc.message, exc.data) or f"error {exc.code}", 400)
        except RequestTimeout:
            return f"it did not finish within {LOGIN_LIMIT:g} s. It may be waiting for a browser on Weft's machine."
        # What runs elsewhere may keep the account of before for as long as it lives.
        self.pool.renew_idle(place_id, connection)
        return ""

    def _not_asked(self, name: str, error: AcpError) -> Answer:
        return _told(f"{name} could not be asked: {self._quoted(str(error), 400)}", accepted=False)

    def _quoted(self, text: str, limit: int) -> str:
        # Redacted before it is cut: of a secret that the cut divides, the rest would not be recognised for certain.
        return inline_code(self.redact(text), limit)

    def _way(self, place_id: int, method: AuthMethod) -> str:
        says = one_line(method.description or "")
        told = f"{self._quoted(_label(method), 60)}{f': {self._quoted(says, 150)}' if says else ''}"
        if method.type != _TERMINAL:
            return told
        profile = self.settings.agents.profiles[self.settings.agent_of(place_id)]
        command = shlex.join([*profile.command, *method.args])
        # Names only: a value may be a secret.
        names = ", ".join(inline_code(one, 30) for one in list(method.env)[:3])
        where = f"in a terminal on Weft's machine{f', with {names} set' if names else ''}"
        return f"{told}: run {self._quoted(command, 200)} {where}"


def _may(by: Actor) -> bool:
    """Return whether somebody may change a login (K4)."""
    return by.owner or by.approver


def _label(method: AuthMethod) -> str:
    return one_line(method.name) or one_line(method.id) or "?"


def _digest(method: AuthMethod) -> str:
    # An id may have any length and any characters, a button's hundred.
    return hashlib.sha256(method.id.encode("utf-8", "replace")).hexdigest()[:16]


def _told(text: str, *, accepted: bool) -> Answer:
    return Answer(text[:1].upper() + text[1:], accepted=accepted)
