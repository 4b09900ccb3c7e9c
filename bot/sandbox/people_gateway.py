"""The gateway's sessions of people's clients: READY, RESUME, and the events that each of them gets.

A client of a person names no intents: it gets all that concerns what the person sees. The mutable state is the
sessions, each with the places that its client knows.
"""

from collections import deque

from bot.sandbox import guilds, objects
from bot.sandbox.gateway_sessions import Connection, Session
from bot.sandbox.model import ChannelType, Event, Intents, Json, User
from bot.sandbox.state import State
from bot.sandbox.visibility import appearing, changes_what_is_seen, for_person, seen_places, vanishing

EVENTS_KEPT = 1_000
IDLE_SESSIONS_KEPT = 4


class PeopleSessions:
    def __init__(self, state: State) -> None:
        self._state = state
        self._sessions: dict[str, Session] = {}

    def has(self, who: int, session_id: str) -> bool:
        """Whether that is a session of the person."""
        session = self._sessions.get(session_id)
        return session is not None and session.who == who

    def tell(self, name: str, data: Json, only: int | None = None) -> None:
        """Send an event exactly as given to the sessions of all people, or of one."""
        for session in self._sessions.values():
            if only in (None, session.who):
                session.send(name, data)

    def dispatch(self, event: Event) -> None:
        """Send an event to the people whom it concerns, to each in their form."""
        # Most runs have no client of a person; they shall not pay for the forms.
        if not self._sessions:
            return
        # First: what tells of a place must not come before the place itself.
        if changes_what_is_seen(event):
            self._look_again()
        forms: dict[int, Json | None] = {}
        for session in self._sessions.values():
            if event.session not in (None, session.id):
                continue
            if session.who not in forms:
                forms[session.who] = for_person(self._state, event, session.who)
            data = forms[session.who]
            # None is remembered like a form: two pages of one person ask once.
            if data is not None:
                session.send(event.name, data)
                _note_place(session, event)

    def _look_again(self) -> None:
        """Tell each client of the places that have appeared or vanished for it."""
        for session in self._sessions.values():
            before, now = session.seen, self._seen(session.who)
            if before is None or now is None:
                if before is not None:
                    session.send("GUILD_DELETE", {"id": str(self._state.guild_id)})
                elif now is not None:
                    self._send_guild(session)
                session.seen = now
                continue
            lost = [vanishing(self._state, one) for one in sorted(before - now)]
            # Channels before their threads: an id is never older than its parent's.
            found = [appearing(self._state, session.who, one) for one in sorted(now - before)]
            session.seen = now
            for told in (*lost, *found):
                if told is not None:
                    session.send(*told)

    def _seen(self, who: int) -> frozenset[int] | None:
        return seen_places(self._state, who) if self._state.in_guild(who) else None

    def _send_guild(self, session: Session) -> None:
        session.send("GUILD_CREATE", guilds.guild_event_json(self._state, session.who, all_members=True))

    # -- one connection --------------------------------------------------------------------------------------------

    def authenticate(self, connection: Connection, account: User, data: Json, *, resume: bool, url: str) -> None:
        """Begin a session, or go on with one of the same person."""
        if not resume:
            self._identify(connection, account, url)
            return
        session = self._sessions.get(str(data.get("session_id")))
        # Nobody goes on with a session of somebody else, whose events they would be sent.
        if session is None or session.who != account.id or not session.has_all_since(data.get("seq")):
            connection.push({"op": 9, "d": False})
            return
        if session.connection is not None:
            session.connection.drop()
            session.connection.session = None
        session.resume(connection, data["seq"])

    def _identify(self, connection: Connection, account: User, url: str) -> None:
        state = self._state
        session_id = f"session-{state.ids()}"
        session = Session(session_id, account.id, Intents.NONE, connection, events=deque(maxlen=EVENTS_KEPT))
        # Each reload of a page leaves one behind, and every event would be kept for it.
        idle = [key for key, one in self._sessions.items() if one.connection is None]
        for key in idle[: max(0, len(idle) - IDLE_SESSIONS_KEPT)]:
            del self._sessions[key]
        self._sessions[session.id] = session
        connection.session = session
        # Before READY, which shows just these places.
        session.seen = self._seen(account.id)
        inside = session.seen is not None
        ready: Json = {
            "v": 10,
            "user": objects.own_user_json(account),
            "guilds": [{"id": str(state.guild_id), "unavailable": True}] if inside else [],
            "session_id": session.id,
            "resume_gateway_url": url,
            "session_type": "normal",
            "private_channels": private_channels_json(state, account.id),
        }
        session.send("READY", ready)
        if inside:
            self._send_guild(session)

    def forget(self, connection: Connection, *, given_up: bool) -> None:
        """End a connection; a session that its client has given up can't be resumed."""
        session, connection.session = connection.session, None
        if session is None:
            return
        session.connection = None
        if given_up:
            self._sessions.pop(session.id, None)


def private_channels_json(state: State, who: int) -> list[Json]:
    """The direct message channels of a person."""
    own = [one for one in state.channels.values() if one.type is ChannelType.DM and who in one.member_ids]
    return [objects.channel_json(state, one, who) for one in own]


def _note_place(session: Session, event: Event) -> None:
    """Remember that the client knows a new place, or it would appear a second time."""
    if event.name in ("CHANNEL_CREATE", "THREAD_CREATE") and event.place is not None and session.seen is not None:
        session.seen |= {event.place.id}
