"""Who may talk to the server: programs on this machine and its own page; no other web site in the same browser.

One middleware decides it for every route, the gateway's included. It is no protection from other programs of the same
user: those need a token, as with Discord, or the key of the run. Other users of this machine can do nothing with the
key, which they may have read: a browser is started with the page's address, and what a process is started with is shown
to all.
"""

import hmac
import os
import secrets

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.sandbox.peers import user_of_peer

KEY_HEADER = "X-Sandbox-Key"
SANDBOX_PREFIX = "/_sandbox"
SESSION = SANDBOX_PREFIX + "/session"
_DEFAULT_PORT = 80


class Guard:
    """Refuses what comes from elsewhere, and the sandbox's own routes without the key.

    Attributes:
        key: what the page and the command line show to act as a person; new in each run.
    """

    def __init__(self) -> None:
        self.key = secrets.token_urlsafe(24)
        self._tickets: set[bytes] = set()
        self._hosts: frozenset[str] = frozenset()
        self._origin = ""

    def ticket(self) -> str:
        """What counts as the key once, and only to get the session, which says the key."""
        ticket = secrets.token_urlsafe(24)
        self._tickets.add(ticket.encode())
        return ticket

    def listen_on(self, port: int) -> None:
        """Set the names that the server goes by; until then all is refused."""
        names = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self._hosts = frozenset(names | {"127.0.0.1", "localhost"} if port == _DEFAULT_PORT else names)
        # "localhost" may be another server, on ::1: the page leads there no further than to this address.
        self._origin = "http://127.0.0.1" + ("" if port == _DEFAULT_PORT else f":{port}")

    def go_by(self, authority: str) -> None:
        """Take requests for this HOST:PORT, too."""
        self._hosts |= {authority.lower()}

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 403 or 401, or let the request through."""
        if problem := self._stranger(request):
            return web.Response(status=403, text=problem + "\n")
        # By the route that was found, so that it cannot matter how the path was written.
        resource = request.match_info.route.resource
        if resource is not None and resource.canonical.startswith(SANDBOX_PREFIX):
            if not (self._has_key(request) or (resource.canonical == SESSION and self._takes_ticket(request))):
                advice = f"this needs the header {KEY_HEADER}, with the key that the terminal prints"
                return web.json_response({"error": advice}, status=401)
            # Root may be a proxy, and needs no leave for anything.
            if user_of_peer(request) not in (None, 0, os.geteuid()):
                return web.json_response({"error": "this belongs to another user of this machine"}, status=403)
        return await handler(request)

    def _stranger(self, request: web.Request) -> str:
        """Why a request is refused whatever it asks for, or nothing."""
        # A name of theirs that leads here (DNS rebinding) makes a foreign site same-origin, for the browser.
        if len(hosts := request.headers.getall("Host", [])) != 1 or hosts[0].lower() not in self._hosts:
            return "This server goes by 127.0.0.1 and localhost only."
        # Browsers tell where a script is from, for websockets too; other programs have no such header.
        if any(origin != self._origin for origin in request.headers.getall("Origin", [])):
            return "Other web sites may not use this server."
        # A link to the page may be followed from anywhere; what it loads then comes from the page itself.
        followed = request.path == "/" and request.headers.get("Sec-Fetch-Dest") == "document"
        if not followed and request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
            return "Other web sites may not use this server."
        return ""

    def _has_key(self, request: web.Request) -> bool:
        return hmac.compare_digest(_given(request), self.key.encode())

    def _takes_ticket(self, request: web.Request) -> bool:
        given = _given(request)
        if given not in self._tickets:
            return False
        # Once: who reads it from the browser's command line comes too late.
        self._tickets.remove(given)
        return True


def _given(request: web.Request) -> bytes:
    # Bytes that are no text come as halves of surrogate pairs.
    return request.headers.get(KEY_HEADER, "").encode(errors="surrogatepass")
