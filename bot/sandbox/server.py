"""`FakeDiscord`: the loopback Discord as an async context manager, with the calls that tests and the demo make.

It owns the listening socket; the parts it joins own their state.
"""

import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Self

import anyio
from aiohttp import web

from bot.sandbox import (
    audit,
    channels,
    messages,
    objects,
    routes_channels,
    routes_interactions,
    routes_messages,
    routes_people,
    routes_user_interactions,
    thread_actions,
)
from bot.sandbox.accounts import Accounts
from bot.sandbox.breakage import Breakage
from bot.sandbox.cdn import Cdn
from bot.sandbox.command_line import CommandLineApi
from bot.sandbox.controls import Control
from bot.sandbox.faults import Faults
from bot.sandbox.gateway import Gateway
from bot.sandbox.guard import KEY_HEADER, Guard
from bot.sandbox.interactions import Interaction, Interactions
from bot.sandbox.model import (
    EVERYONE_PERMISSIONS,
    PERMISSIONS,
    Channel,
    ChannelType,
    Event,
    Intents,
    Json,
    Message,
    Overwrite,
    RestCall,
    Role,
    User,
    permission_bits,
)
from bot.sandbox.page import Page
from bot.sandbox.people import Person, add_member, remove_member
from bot.sandbox.ratelimit import Limiter, RateLimits
from bot.sandbox.rest import MAX_REQUEST_BYTES, PREFIX, Backend, Pipeline
from bot.sandbox.session import PageSession
from bot.sandbox.state import Clock, Snowflakes, State

SHUTDOWN_SECONDS = 1.0

_ROUTES = [
    *routes_people.ROUTES,
    *routes_messages.ROUTES,
    *routes_channels.ROUTES,
    *routes_interactions.ROUTES,
    *routes_user_interactions.ROUTES,
]


class FakeDiscord:
    """A Discord with one guild, one bot and as many people as asked for, on 127.0.0.1.

    Args:
        requests_kept: of how many of the bot's requests it knows bodies and answers, the latest; None: of all.
    """

    def __init__(
        self,
        *,
        rate_limits: RateLimits = RateLimits.OFF,
        port: int = 0,
        clock: Clock = time.monotonic,
        wall: Clock = time.time,
        requests_kept: int | None = None,
    ) -> None:
        ids = Snowflakes(wall)
        bot, owner = User(ids(), "Weft", bot=True), User(ids(), "owner")
        self._port = port
        self.application_id = bot.id
        self.guild_id = ids()
        self.token = f"sandbox.{bot.id}.{secrets.token_urlsafe(24)}"
        self.state = State(clock, wall, ids, self.guild_id, bot, owner.id, self.application_id)
        self._accounts = Accounts(self.state, self.token)
        self.gateway = Gateway(self.state, self._accounts)
        # Set afterwards: the gateway is made with the state, which tells it of events.
        self.state.publish = self.gateway.dispatch
        self.state.roles[self.guild_id] = Role(self.guild_id, "@everyone", EVERYONE_PERMISSIONS)
        self.faults = Faults()
        self.cdn = Cdn(self.state)
        self.limiter = Limiter(rate_limits)
        self._interactions = Interactions(self.state)
        calls = deque[RestCall](maxlen=requests_kept)
        self._backend = Backend(
            self.state, self.gateway, self._interactions, self.faults, self.limiter, self._accounts, calls
        )
        self._guard = Guard()
        self._people: dict[str, Person] = {}
        breakage = Breakage(self.state, self.gateway, self.faults, self.limiter)
        self._page = PageSession(
            self.state, self.gateway, breakage.controls(), self._people.values, self.token_of, self.key
        )
        self.gateway.on_connection = self._page.tell
        self._runner: web.AppRunner | None = None
        add_member(self.state, bot)
        self.owner = self._join(owner)
        self.channel_id = self.add_channel("general")

    # -- life ------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[self._guard.check])
        app.router.add_get("/gateway", self.gateway.handle)
        app.router.add_get("/gateway/", self.gateway.handle)
        app.router.add_get("/attachments/{channel}/{attachment}/{name}", self.cdn.serve)
        app.router.add_get("/ephemeral-attachments/{application}/{attachment}/{name}", self.cdn.serve)
        CommandLineApi(self.state, self.gateway, self.owner, self.user, self.channel_id).install(app)
        self._page.install(app)
        Page().install(app)
        Pipeline(self._backend).install(app, _ROUTES)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        # Only now is the port known; until here every request is refused.
        self._guard.listen_on(self._port)
        self.state.base_url = f"http://127.0.0.1:{self._port}"
        self.gateway.url = self.gateway_url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Bounded by the gateway's own wait and the runner's.
        with anyio.CancelScope(shield=True):
            # First: the runner would wait for websockets that nobody ends.
            await self.gateway.shut_down()
            if self._runner is not None:
                await self._runner.cleanup()

    def go_by(self, authority: str) -> None:
        """Lead bots to this HOST:PORT from here on, from where something passes their connections on to it."""
        self._guard.go_by(authority)
        self.state.base_url = f"http://{authority}"
        self.gateway.url = f"ws://{authority}/gateway"

    @property
    def url(self) -> str:
        """The server's root."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def api_url(self) -> str:
        """The base of the REST routes."""
        return self.url + PREFIX

    @property
    def key(self) -> str:
        """What the routes below `/_sandbox` need, in a header; new in each run."""
        return self._guard.key

    @property
    def key_header(self) -> dict[str, str]:
        return {KEY_HEADER: self.key}

    @property
    def page_url(self) -> str:
        """The page's address, with the key in the fragment, which browsers send nowhere."""
        return f"{self.url}/#{self.key}"

    def one_time_url(self) -> str:
        """The page's address for one opening: for what others can read, such as the command line of a browser."""
        return f"{self.url}/#{self._guard.ticket()}"

    # -- the page --------------------------------------------------------------------------------------------------

    def introduce(self, person: Person, role: str, note: str) -> None:
        """Say who a person is, in a word and a sentence; the page offers people in the order of these calls."""
        self._page.introduce(person, role, note)

    @property
    def tour(self) -> list[Json]:
        """What the page suggests to try; see `session.PageSession.tour`."""
        return self._page.tour

    @tour.setter
    def tour(self, tour: Iterable[Json]) -> None:
        self._page.tour = list(tour)

    def add_control(self, control: Control) -> None:
        """Offer something to do to the bot."""
        self._page.controls.add(control)

    def announce(self, text: str) -> None:
        """Show one sentence on the bot on all pages; "" takes it away."""
        self._page.notice = text
        self._page.tell()

    @property
    def gateway_url(self) -> str:
        """The websocket's address."""
        return f"ws://127.0.0.1:{self._port}/gateway"

    @property
    def ready(self) -> anyio.Event:
        """Set while a bot client has its READY and GUILD_CREATE, or RESUMED; a lost connection makes a new one."""
        return self.gateway.ready

    @property
    def bot_user(self) -> User:
        return self.state.bot

    @property
    def granted_intents(self) -> int:
        """The intents that IDENTIFY may ask for."""
        return self.gateway.granted_intents

    @granted_intents.setter
    def granted_intents(self, intents: int) -> None:
        self.gateway.granted_intents = int(intents)
        self.state.content_granted = bool(intents & Intents.MESSAGE_CONTENT)

    # -- people and places -----------------------------------------------------------------------------------------

    def user(self, name: str, roles: Iterable[int] = ()) -> Person:
        """The member of that name, who joins on first use; given roles replace the earlier ones."""
        role_ids = tuple(roles)
        person = self._people.get(name)
        if person is None:
            return self._join(User(self.state.ids(), name), role_ids)
        if role_ids:
            add_member(self.state, self.state.members[person.id].user, role_ids)
        return person

    def token_of(self, person: Person) -> str:
        """What a person's client says in the header `Authorization` and in IDENTIFY."""
        return self._accounts.token_of(person.id)

    def kick(self, person: Person) -> None:
        """Throw a member out of the guild; what they posted stays."""
        remove_member(self.state, person.id)

    def _join(self, user: User, role_ids: Iterable[int] = ()) -> Person:
        add_member(self.state, user, role_ids)
        person = Person(user.id, user.name, self.state, self._interactions)
        self._people[user.name] = person
        return person

    def add_channel(
        self,
        name: str,
        kind: ChannelType = ChannelType.TEXT,
        tags: Iterable[str] = (),
        moderated: Iterable[str] = (),
    ) -> int:
        """Make a channel and return its id; a forum can have tags, of which only moderators change some."""
        return channels.add_channel(self.state, name, kind, tags, moderated).id

    def add_role(self, name: str, permissions: int = 0) -> int:
        """Make a role and return its id."""
        return self._put_role(Role(self.state.ids(), name, permissions), "GUILD_ROLE_CREATE")

    def edit_role(self, role_id: int, *permissions: str) -> None:
        """Let a role give these permissions and no others; @everyone's id is the guild's."""
        role = replace(self.state.roles[role_id], permissions=permission_bits(permissions))
        self._put_role(role, "GUILD_ROLE_UPDATE")

    def invite(self, *permissions: str) -> int:
        """Give the bot the role that its invite makes, with these permissions, and return the role's id."""
        role = Role(self.state.ids(), self.bot_user.name, permission_bits(permissions), self.bot_user.id)
        self._put_role(role, "GUILD_ROLE_CREATE")
        add_member(self.state, self.bot_user, (*self.state.members[self.bot_user.id].role_ids, role.id))
        return role.id

    def _put_role(self, role: Role, event: str) -> int:
        self.state.roles[role.id] = role
        position = list(self.state.roles).index(role.id)
        data = {"guild_id": str(self.guild_id), "role": objects.role_json(role, position)}
        self.state.publish(Event(event, data, Intents.GUILDS))
        return role.id

    async def start_thread(self, person: Person, message: Message, name: str) -> Channel:
        current = self.state.messages[message.id]
        return thread_actions.start_from_message(self.state, person.id, current, {"name": name})

    async def start_private_thread(self, person: Person, channel_id: int, name: str, *guests: Person) -> Channel:
        """Let a person start a private thread; the bot and the guests are its members, too."""
        body = {"name": name, "type": int(ChannelType.PRIVATE_THREAD)}
        thread = thread_actions.start(self.state, person.id, self.state.channel(channel_id), body)
        for guest in (self.bot_user.id, *(one.id for one in guests)):
            thread = channels.join(self.state, thread, guest)
        return thread

    def open_dm(self, person: Person) -> int:
        """The id of the bot's direct message channel with a person; both may have begun it."""
        return thread_actions.open_dm(self.state, person.id, self.bot_user.id).id

    async def start_post(
        self, person: Person, forum_id: int, name: str, text: str, *, tags: Iterable[str] = ()
    ) -> Channel:
        """Let a person make a forum's post: a thread with its first message, and tags by their names."""
        forum = self.state.channel(forum_id)
        known = {one.name: one.id for one in forum.tags}
        body = {"name": name, "applied_tags": [known[one] for one in tags], "message": {"content": text}}
        return thread_actions.start_post(self.state, person.id, forum, body, [])[0]

    async def rename(self, person: Person, thread_id: int, name: str) -> None:
        """Let a person give a thread another name."""
        thread_actions.change(self.state, person.id, self.state.channel(thread_id), {"name": name})

    async def tag(self, thread_id: int, *names: str) -> None:
        """Give a forum's post these tags and no others, as its author or a moderator does."""
        thread = self.state.channel(thread_id)
        ids = tuple(one.id for one in self.state.channel(thread.parent_id or 0).tags if one.name in names)
        channels.change(self.state, thread, {"applied_tags": ids})

    def tags(self, thread_id: int) -> list[str]:
        """The names of a post's tags, in their order."""
        thread = self.state.channel(thread_id)
        names = {one.id: one.name for one in self.state.channel(thread.parent_id or 0).tags}
        return [names[one] for one in thread.applied_tags]

    async def archive(self, thread_id: int, *, locked: bool = False) -> None:
        """Archive a thread, as a moderator does."""
        channels.set_archived(self.state, self.state.channel(thread_id), archived=True, locked=locked)

    async def unarchive(self, thread_id: int) -> None:
        """Open and unlock a thread again."""
        channels.set_archived(self.state, self.state.channel(thread_id), archived=False, locked=False)

    async def delete_channel(self, channel_id: int) -> None:
        channels.delete(self.state, self.state.channel(channel_id))

    async def remove_bot(self) -> None:
        """Throw the bot out of the guild: it gets no more events from there, and 50001 for what it asks."""
        gone = {"id": str(self.guild_id)}
        self.state.publish(Event("GUILD_DELETE", gone, Intents.GUILDS, only=self.bot_user.id))
        # After the event, or the bot would not be told.
        self.state.removed = True

    async def delete_message(self, message_id: int) -> None:
        """Delete anyone's message, as a moderator does."""
        messages.delete(self.state, self.state.messages[message_id])

    async def delete_messages(self, channel_id: int, message_ids: Iterable[int]) -> None:
        """Delete many messages at once, as a moderator's bot does; the gateway tells it in one event."""
        messages.delete_many(self.state, channel_id, list(message_ids))

    async def unfurl(self, message_id: int) -> None:
        """Add a link's preview to a message, as Discord does some time after it was posted; this is no edit."""
        messages.unfurl(self.state, self.state.messages[message_id])

    def deny(self, permission: str, channel_id: int) -> None:
        """Take a permission from the bot in a channel; it then gets 403 (50013, or 50001 for `view_channel`)."""
        bits = self._overwrite_of_bot(channel_id)
        self._overwrite(channel_id, self.bot_user.id, bits.allow, bits.deny | PERMISSIONS[permission])

    def allow(self, permission: str, channel_id: int) -> None:
        """Give a denied permission back."""
        bits = self._overwrite_of_bot(channel_id)
        self._overwrite(channel_id, self.bot_user.id, bits.allow, bits.deny & ~PERMISSIONS[permission])

    def overwrite(self, channel_id: int, who: int, *, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        """Set what a channel gives to a role or member and takes from them; @everyone's id is the guild's."""
        self._overwrite(channel_id, who, permission_bits(allow), permission_bits(deny))

    def _overwrite_of_bot(self, channel_id: int) -> Overwrite:
        return self.state.channel(channel_id).overwrites.get(self.bot_user.id, Overwrite())

    def _overwrite(self, channel_id: int, who: int, allow: int, deny: int) -> None:
        channels.overwrite(self.state, self.state.channel(channel_id), who, Overwrite(allow, deny))

    # -- what there is ---------------------------------------------------------------------------------------------

    def messages(self, channel_id: int) -> list[Message]:
        """The messages of a channel in order, without ephemeral ones."""
        return self.state.history(channel_id)

    def message(self, message_id: int) -> Message:
        """One message's present state, ephemeral ones too; raises KeyError."""
        return self.state.messages[message_id]

    def threads(self) -> list[Channel]:
        """All threads, in order of their making."""
        return self.state.threads()

    def thread(self, thread_id: int) -> Channel:
        """One thread or channel's present state."""
        return self.state.channel(thread_id)

    def timeline(self, message_id: int) -> list[tuple[float, str]]:
        """The message's texts with the clock's seconds: its creation and each edit of the text."""
        return list(self.state.timelines.get(message_id, []))

    def rest_calls(self, method: str | None = None, path_contains: str = "") -> list[RestCall]:
        """The finished requests in order; paths come without the API's prefix."""
        calls = self._backend.calls
        return [one for one in calls if method in (None, one.method) and path_contains in one.path]

    def interaction_state(self, interaction_id: int) -> Interaction:
        """The present state of an interaction; raises KeyError."""
        return self._interactions.get(interaction_id)

    @property
    def interactions(self) -> list[Interaction]:
        """Every interaction, oldest first."""
        return self._interactions.all()

    @property
    def commands(self) -> list[Json]:
        """The registered global commands."""
        return list(self.state.commands.get("", []))

    @property
    def command_syncs(self) -> int:
        """How many times a whole command list was put."""
        return self.state.command_syncs

    # -- waiting and judging ---------------------------------------------------------------------------------------

    async def wait_for(self, pred: Callable[["FakeDiscord"], object], timeout: float = 30.0) -> None:
        """Wait until the predicate holds; it is asked again after each change. Raises TimeoutError."""
        with anyio.fail_after(timeout):
            # Asked before the first wait: it may hold already.
            while not pred(self):
                await self.state.changes.wait()

    async def wait_message(
        self, channel_id: int, pred: Callable[[Message], object] = bool, timeout: float = 30.0
    ) -> Message:
        """The first state of a message in that channel, past or to come, that the predicate takes.

        States that were edited over count as well. Raises TimeoutError.
        """
        log, seen = self.state.changes.log, 0
        with anyio.fail_after(timeout):
            while True:
                for message in log[seen:]:
                    if message.channel_id == channel_id and not message.ephemeral and pred(message):
                        return message
                # Before the wait, with no await in between: a change that comes meanwhile is not missed.
                seen = len(log)
                await self.state.changes.wait()

    def assert_clean(self, allow: Collection[int | str | audit.Problem] = ()) -> None:
        """Fail on anything that a bot must not do; `allow` names kinds (`audit.Problem`), statuses or codes.

        Raises:
            AssertionError: with one line for each problem.

        """
        found = audit.find_problems(self._backend.calls, self._interactions.all())
        lines = [f"{one.problem.value}: {one.text}" for one in found if not one.is_allowed(allow)]
        if lines:
            raise AssertionError("the bot did what it must not do:\n  " + "\n  ".join(lines))
