"""The servers that give each session tools of ours, and the tokens by which they say for which session they speak (M1).

A token is made for one session just before that is opened, and forgotten with it, however it ends: `SessionServers`
makes offers, and whoever opens a session withdraws its offer. The mutable state is the offers that are not withdrawn.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Self

import anyio
import psutil
import structlog

from acp.mcp_servers import McpServer
from acp.session import AgentSession

log = structlog.get_logger(__name__)

_RANDOM_BYTES = 24


class Offer:
    """What one session is offered.

    Attributes:
        servers: for the request that opens the session.
        thread_id: whose session it is; None: nobody's yet, as of a copy that is still to be given to a thread.
        session: the session, once it is open. The turn that runs in it is the one on whose behalf tools are called.
        ended: set once the offer was withdrawn.
    """

    def __init__(self, thread_id: int | None, withdraw: Callable[[], None]) -> None:
        self.servers: tuple[McpServer, ...] = ()
        self.thread_id = thread_id
        self.session: AgentSession | None = None
        self.ended = anyio.Event()
        self._withdraw = withdraw

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.withdraw()

    def withdraw(self) -> None:
        """End it with its session: its token is unknown from now on. Again: nothing."""
        self._withdraw()
        self.ended.set()


class SessionServers:
    """Makes offers, and knows their tokens.

    Args:
        servers_for: returns the servers for a session of a thread, to which it gives the token; must not wait.
        key: what every token begins with, at random: a redactor that knows it makes all tokens useless.
    """

    def __init__(
        self, servers_for: Callable[[int, str], tuple[McpServer, ...]] | None = None, key: str | None = None
    ) -> None:
        self._servers_for = servers_for
        self._key = key or new_key()
        self._offers: dict[bytes, Offer] = {}

    def offer(self, thread_id: int, *, copy: bool = False) -> Offer:
        """Return an offer for a session that is about to be opened; ``copy``: it is to be another thread's."""
        token = self._key + secrets.token_urlsafe(_RANDOM_BYTES)
        digest = _digest(token)
        offer = Offer(None if copy else thread_id, lambda: self._forget(digest))
        if self._servers_for is not None:
            offer.servers = self._servers_for(thread_id, token)
        if offer.servers:
            self._offers[digest] = offer
        return offer

    def find(self, token: str, pid: int | None = None) -> Offer | None:
        """Return the offer of a token; None: there is no such session, it has ended, or it is nobody's yet.

        Args:
            pid: the process that shows the token. It must not be one of another session's agent: that one has found
                a token that is not its own.
        """
        # By its digest: how long the look takes tells nothing about the tokens that there are.
        offer = self._offers.get(_digest(token))
        if offer is None or offer.thread_id is None or (pid is not None and self._is_anothers(offer, pid)):
            return None
        return offer

    def _is_anothers(self, offer: Offer, pid: int) -> bool:
        agents = {other.session.pid for other in self._offers.values() if other.session is not None}
        # Before its own session is open, there is no process to tell its agent by.
        own = offer.session.pid if offer.session is not None else None
        # Not the other way round: in a container, a server need not be a child of what Weft has started.
        try:
            line = [pid, *(parent.pid for parent in psutil.Process(pid).parents())]
        except psutil.Error:
            return False  # it has just ended, and reads no answer
        nearest = next((one for one in line if one in agents), None)
        if nearest is None or nearest == own or own is None:
            return False
        log.warning("tools.foreign_token", thread=offer.thread_id, pid=pid, agent=nearest)
        return True

    @property
    def count(self) -> int:
        """How many tokens are valid."""
        return len(self._offers)

    def _forget(self, digest: bytes) -> None:
        self._offers.pop(digest, None)


def new_key() -> str:
    """Return a key for the tokens of one run."""
    return secrets.token_urlsafe(_RANDOM_BYTES)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
