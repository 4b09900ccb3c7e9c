"""The gateway: HELLO, IDENTIFY, RESUME with replay, heartbeats, dispatch by intents, and the faults of a gateway.

An aiohttp handler runs one connection each. What an event says is decided elsewhere, who gets it in `visibility`.
The bot under test and people's clients speak the same protocol here, but all faults, counters and waits are about the
bot alone: whoever watches it in a browser goes on watching. The mutable state is the sessions (each with its numbered
events), the open connections, and the fault switches.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
from aiohttp import WSMsgType, web

from bot.sandbox import guilds, objects
from bot.sandbox.accounts import Accounts
from bot.sandbox.gateway_sessions import FRAMES_WAITING, Close, Connection, Session, write_frames
from bot.sandbox.model import KNOWN_INTENTS, PRIVILEGED_INTENTS, Event, Intents, Json
from bot.sandbox.people_gateway import PeopleSessions
from bot.sandbox.state import State
from bot.sandbox.visibility import for_bot

HEARTBEAT_SECONDS = 41.25
SESSIONS_KEPT = 16
CLOSE_WAIT_SECONDS = 0.5
ABNORMAL_CLOSURE = 1006
MAX_FRAME = 4096

UNKNOWN_ERROR, UNKNOWN_OPCODE, DECODE_ERROR, NOT_AUTHENTICATED, AUTHENTICATION_FAILED = 4000, 4001, 4002, 4003, 4004
ALREADY_AUTHENTICATED, INVALID_INTENTS, DISALLOWED_INTENTS = 4005, 4013, 4014


class Gateway:
    """All sessions: the bot's here, people's in `people`; the switches in `__init__` make trouble for the bot."""

    def __init__(self, state: State, accounts: Accounts) -> None:
        self._state = state
        self._accounts = accounts
        self.people = PeopleSessions(state)
        self.url = ""
        self.granted_intents: int = KNOWN_INTENTS & ~int(Intents.GUILD_MEMBERS | Intents.GUILD_PRESENCES)
        self.heartbeat_seconds = HEARTBEAT_SECONDS
        self.refuse_resume = False
        self.silent = False
        self.duplicate_next = 0
        self.refuse_connections = 0
        self.hold_back: set[str] = set()
        self.identifies = 0
        self.resumes = 0
        self.close_codes: list[int] = []
        self.ready = anyio.Event()
        self.sessions: dict[str, Session] = {}
        self._connections: list[Connection] = []
        self._held: list[Event] = []
        self.on_connection: Callable[[], None] = lambda: None
        self._out = False
        self._cut_until = 0.0
        self._losing = False
        self._ended = anyio.Event()

    # -- what tests and the demo ask for ---------------------------------------------------------------------------

    async def close(self, code: int = 1000) -> None:
        """Close every connection of the bot with a code."""
        self._close(self._bots(), code)

    async def reconnect(self) -> None:
        """Ask every client to reconnect and resume (op 7)."""
        self._broadcast({"op": 7, "d": None}, detach=True)

    async def invalidate(self, *, resumable: bool = False) -> None:
        """Tell every client that its session is invalid (op 9)."""
        if not resumable:
            self.sessions.clear()
        self._broadcast({"op": 9, "d": resumable}, detach=True)

    async def request_heartbeat(self) -> None:
        """Ask every client to beat at once (op 1)."""
        self._broadcast({"op": 1, "d": None})

    async def dispatch_raw(self, name: str, data: Json) -> None:
        """Send an event exactly as given to every session of the bot."""
        for session in list(self.sessions.values()):
            session.send(name, data)

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Reset all connections of the bot and refuse new ones until left; events are kept for RESUME.

        What comes from a browser is let in: before IDENTIFY nothing else tells people from the bot.
        """
        self._out = True
        self._drop_all()
        try:
            yield
        finally:
            self._out = False

    def cut(self, seconds: float, *, forget: bool = False) -> None:
        """Reset the bot's connections and let none in for so long; `forget`: nor is anything kept for RESUME."""
        self._cut_until = self._state.clock() + seconds
        self._drop_all()
        if forget:
            self.sessions.clear()

    def _drop_all(self) -> None:
        for connection in self._bots():
            connection.drop()
            self._detach(connection)

    @contextmanager
    def losing(self) -> Iterator[None]:
        """Lose every event until left: nobody gets it, and no RESUME brings it back."""
        self._losing = True
        try:
            yield
        finally:
            self._losing = False

    async def shut_down(self) -> None:
        """Close every connection for good and take no new one."""
        self._out = True
        # Wakes those whom a cut keeps waiting, or the end would wait for the cut.
        self._ended.set()
        self._close(list(self._connections), 1001)
        with anyio.move_on_after(CLOSE_WAIT_SECONDS):
            while self._connections:
                await self._state.changes.wait()
        for connection in list(self._connections):
            connection.drop()

    @property
    def connected(self) -> bool:
        """Whether the bot holds a session on an open connection."""
        return any(one.session is not None for one in self._bots())

    def _bots(self) -> list[Connection]:
        """The bot's connections, and those that have not said yet whose they are."""
        return [one for one in self._connections if not one.of_person]

    def _close(self, connections: list[Connection], code: int) -> None:
        for connection in connections:
            connection.push(Close(code))
            self._detach(connection)

    def _broadcast(self, frame: Json, *, detach: bool = False) -> None:
        for connection in self._bots():
            connection.push(frame)
            if detach:
                self._detach(connection)

    # -- dispatch --------------------------------------------------------------------------------------------------

    def dispatch(self, event: Event) -> None:
        """Send an event to all whom it concerns; what `hold_back` names waits for the bot's next MESSAGE_CREATE."""
        self.people.dispatch(event)
        # After the people: faults are the bot's alone.
        if self._losing or not for_bot(self._state, event):
            return
        if event.name in self.hold_back:
            self._held.append(event)
            return
        takers = [one for one in self.sessions.values() if not event.intent or one.intents & event.intent]
        copies = 2 if takers and self.duplicate_next > 0 else 1
        self.duplicate_next -= copies - 1
        for session in takers * copies:
            # By each session's own intents, as two clients of one bot may have others.
            hidden = event.masked is not None and not session.intents & Intents.MESSAGE_CONTENT
            session.send(event.name, event.masked if hidden and event.masked is not None else event.data)
        if event.name == "MESSAGE_CREATE":
            self._release_held()

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for event in held:
            for session in self.sessions.values():
                if session.intents & event.intent:
                    session.send(event.name, event.data)

    # -- one connection --------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one websocket until either side ends it."""
        if self._refuses(request) or not await self._outlasts_cut(request):
            return web.Response(status=503)
        ws = web.WebSocketResponse(timeout=CLOSE_WAIT_SECONDS, max_msg_size=1 << 20)
        await ws.prepare(request)
        send, receive = anyio.create_memory_object_stream[Json | Close](FRAMES_WAITING)
        connection = Connection(request, send)
        self._connections.append(connection)
        # HELLO comes before anything is read: a client says nothing until then.
        connection.push({"op": 10, "d": {"heartbeat_interval": int(self.heartbeat_seconds * 1000)}})
        close_code = ABNORMAL_CLOSURE
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write_frames, ws, receive)
                async with send:
                    close_code = await self._read_frames(ws, connection)
                # The writer ends by itself, as nothing can be pushed any more; it may still be closing the connection.
        finally:
            self._forget(connection, close_code)
        return ws

    def _refuses(self, request: web.Request) -> bool:
        if self._ended.is_set():
            return True
        if "Origin" in request.headers:  # a browser
            return False
        if self._out or self.refuse_connections > 0:
            self.refuse_connections = max(0, self.refuse_connections - 1)
            return True
        return False

    async def _outlasts_cut(self, request: web.Request) -> bool:
        """Wait for the end of a cut; False if the client has left by then, or the server ends.

        Clients that are refused come back later and later, long after the end.
        """
        if "Origin" in request.headers:
            return True
        while (left := self._cut_until - self._state.clock()) > 0:
            with anyio.move_on_after(left):
                await self._ended.wait()
                return False
        return request.transport is not None and not request.transport.is_closing()

    async def _read_frames(self, ws: web.WebSocketResponse, connection: Connection) -> int:
        """Handle frames until the end, and return the code that the client closed with, or 1006."""
        while True:
            message = await ws.receive()
            if message.type is WSMsgType.CLOSE:
                return int(message.data or ABNORMAL_CLOSURE)
            if message.type in (WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return ABNORMAL_CLOSURE
            # Not ended here: the close is in the queue behind what was pushed, and the client answers it.
            if message.type is not WSMsgType.TEXT or len(message.data) > MAX_FRAME:
                connection.push(Close(DECODE_ERROR))
                continue
            try:
                frame = json.loads(message.data)
            except (ValueError, RecursionError):
                frame = None
            if isinstance(frame, dict):
                self._handle_frame(connection, frame)
            else:
                connection.push(Close(DECODE_ERROR))

    def _handle_frame(self, connection: Connection, frame: Json) -> None:
        op, data = frame.get("op"), frame.get("d")
        if op == 1:
            if not self.silent or connection.of_person:
                connection.push({"op": 11})
        # What comes between our close and the client's is from a session that is over.
        elif connection.detached:
            return
        elif op in (2, 6) and isinstance(data, dict):
            self._authenticate(connection, data, resume=op == 6)
        elif connection.session is None:
            connection.push(Close(NOT_AUTHENTICATED))
        elif op == 8 and isinstance(data, dict):
            self._send_members(connection.session, data)
        elif op not in (3, 4) and not connection.of_person:
            connection.push(Close(UNKNOWN_OPCODE))

    def _authenticate(self, connection: Connection, data: Json, *, resume: bool) -> None:
        account = self._accounts.by_token(str(data.get("token")))
        if account is None:
            connection.push(Close(AUTHENTICATION_FAILED))
        elif connection.session is not None:
            connection.push(Close(ALREADY_AUTHENTICATED))
        # From here on it is a person's, and no fault of the bot's connections hits it.
        elif account != self._state.bot:
            connection.of_person = True
            self.people.authenticate(connection, account, data, resume=resume, url=self.url)
        elif resume:
            self._resume(connection, data)
        else:
            self._identify(connection, data)

    def _identify(self, connection: Connection, data: Json) -> None:
        intents = data.get("intents")
        if not isinstance(intents, int) or intents & ~KNOWN_INTENTS:
            connection.push(Close(INVALID_INTENTS))
            return
        # Only these need a grant; the others are anybody's.
        if intents & ~self.granted_intents & int(PRIVILEGED_INTENTS):
            connection.push(Close(DISALLOWED_INTENTS))
            return
        self.identifies += 1
        session = Session(f"session-{self._state.ids()}", self._state.bot.id, Intents(intents), connection)
        self._remember(session)
        connection.session = session
        session.send("READY", self._ready_json(session, data.get("shard")))
        if session.intents & Intents.GUILDS:
            members = bool(session.intents & Intents.GUILD_MEMBERS)
            session.send("GUILD_CREATE", guilds.guild_event_json(self._state, session.who, all_members=members))
        self._note_ready()

    def _remember(self, session: Session) -> None:
        # Oldest first, as a dict keeps its order; one with a connection is never forgotten.
        idle = [key for key, one in self.sessions.items() if one.connection is None]
        for key in idle[: max(0, len(self.sessions) + 1 - SESSIONS_KEPT)]:
            del self.sessions[key]
        self.sessions[session.id] = session

    def _ready_json(self, session: Session, shard: object) -> Json:
        state = self._state
        shape: Json = {
            "v": 10,
            "user": objects.own_user_json(state.bot),
            "guilds": [{"id": str(state.guild_id), "unavailable": True}],
            "session_id": session.id,
            "resume_gateway_url": self.url,
            "session_type": "normal",
            "private_channels": [],
            "application": {"id": str(state.application_id), "flags": guilds.application_json(state)["flags"]},
        }
        return {**shape, "shard": shard} if shard is not None else shape

    def _resume(self, connection: Connection, data: Json) -> None:
        session = self.sessions.get(str(data.get("session_id")))
        if self.refuse_resume or session is None or not session.has_all_since(data.get("seq")):
            connection.push({"op": 9, "d": False})
            return
        self.resumes += 1
        # A session has one connection: the old one may be half dead without knowing it.
        if session.connection is not None:
            session.connection.drop()
            self._detach(session.connection)
        session.resume(connection, data["seq"])
        self._note_ready()

    def _send_members(self, session: Session, data: Json) -> None:
        """Answer op 8: members by ids, or all of them by an empty query; nothing to who is not among them."""
        if not self._state.in_guild(session.who):
            return
        wanted = data.get("user_ids") or []
        texts = {str(one) for one in (wanted if isinstance(wanted, list) else [wanted])}
        ids = {int(one) for one in texts if one.isascii() and one.isdigit()}
        people = [one for key, one in self._state.members.items() if not wanted or key in ids]
        chunk: Json = {
            "guild_id": str(self._state.guild_id),
            "members": [objects.member_json(one) for one in people],
            "chunk_index": 0,
            "chunk_count": 1,
            "not_found": [str(one) for one in ids - self._state.members.keys()],
        }
        session.send("GUILD_MEMBERS_CHUNK", {**chunk, "nonce": data["nonce"]} if "nonce" in data else chunk)

    def _note_ready(self) -> None:
        self.ready.set()
        self._state.changes.note()
        self.on_connection()

    def _detach(self, connection: Connection) -> None:
        """Take the session off a connection that is ending, so that the session can be resumed on another one."""
        session, connection.session = connection.session, None
        connection.detached = True
        if session is not None:
            session.connection = None
        # A new event: those who wait for `ready` from now on wait for the next connection.
        if not self.connected and self.ready.is_set():
            self.ready = anyio.Event()
            self._state.changes.note()
            self.on_connection()

    def _forget(self, connection: Connection, close_code: int) -> None:
        """End a connection; a client that closed with 1000 or 1001 gives its session up."""
        self._connections.remove(connection)
        if connection.of_person:
            self.people.forget(connection, given_up=close_code in (1000, 1001))
            self._state.changes.note()
            return
        self.close_codes.append(close_code)
        # Any other code leaves the session for a RESUME.
        if connection.session is not None and close_code in (1000, 1001):
            self.sessions.pop(connection.session.id, None)
        self._detach(connection)
        self._state.changes.note()
