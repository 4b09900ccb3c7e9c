"""REST routes on channels, threads, the guild, its members and users."""

from typing import Any

from bot.sandbox import guilds, objects, thread_actions
from bot.sandbox.errors import DiscordError
from bot.sandbox.model import Channel, ChannelType
from bot.sandbox.rest import Call, Callers, Reply, Route
from bot.sandbox.state import snowflake_seconds

DEFAULT_THREAD_PAGE = 50


def _fetch(call: Call) -> Reply:
    return Reply(objects.channel_json(call.state, call.place(), call.who))


def _patch(call: Call) -> Reply:
    channel = call.state.channel(call.id("channel"))
    changed = thread_actions.change(call.state, call.who, channel, call.form)
    return Reply(objects.channel_json(call.state, changed, call.who))


def _delete(call: Call) -> Reply:
    channel = call.state.channel(call.id("channel"))
    return Reply(thread_actions.delete(call.state, call.who, channel))


def _start_thread(call: Call) -> Reply:
    """A thread without a message, or a forum's post."""
    state, who = call.state, call.who
    parent = state.channel(call.id("channel"))
    if parent.type is not ChannelType.FORUM:
        thread = thread_actions.start(state, who, parent, call.form)
        return Reply(objects.channel_json(state, thread, who), status=201)
    thread, message = thread_actions.start_post(state, who, parent, call.form, call.uploads)
    shape = objects.channel_json(state, thread, who)
    return Reply({**shape, "message": objects.message_json(state, message, who)}, status=201)


def _active_threads(call: Call) -> Reply:
    require_guild(call)
    found = guilds.active_threads(call.state, call.who)
    return Reply(objects.thread_list_json(call.state, found, call.who))


def _archived(kind: ChannelType, *, joined: bool = False) -> Any:
    def handle(call: Call) -> Reply:
        state = call.state
        parent = call.place("read_message_history")
        found = [
            one
            for one in state.threads()
            if one.parent_id == parent.id and one.archived and one.type is kind
            if not joined or call.who in one.member_ids
            if call.who == state.bot.id or state.sees(call.who, one)
        ]
        return Reply(_archived_page(call, found))

    return handle


def _archived_page(call: Call, found: list[Channel]) -> Any:
    """A page of archived threads, the latest first, before an ISO time or an id."""
    query = call.query
    limit = int(query.get("limit", DEFAULT_THREAD_PAGE))
    before = query.get("before")
    found = sorted(found, key=lambda one: one.archived_at, reverse=True)
    if before is not None and before.isdigit():
        found = [one for one in found if one.id < int(before)]
    elif before is not None:
        found = [one for one in found if objects.timestamp(one.archived_at) < before]
    return {**objects.thread_list_json(call.state, found[:limit], call.who), "has_more": len(found) > limit}


def _membership(*, joins: bool, own: bool) -> Any:
    def handle(call: Call) -> Reply:
        thread = call.state.channel(call.id("channel"))
        user_id = call.who if own else call.id("user")
        thread_actions.set_membership(call.state, call.who, thread, user_id, joins=joins)
        return Reply()

    return handle


def _thread_members(call: Call) -> Reply:
    thread = call.place()
    return Reply([_thread_member_json(thread, one) for one in sorted(thread.member_ids)])


def _thread_member(call: Call) -> Reply:
    thread, user_id = call.place(), call.id("user")
    if user_id not in thread.member_ids:
        raise DiscordError(10007)
    return Reply(_thread_member_json(thread, user_id))


def _thread_member_json(thread: Channel, user_id: int) -> dict[str, Any]:
    joined = objects.timestamp(snowflake_seconds(thread.id))
    return {"id": str(thread.id), "user_id": str(user_id), "join_timestamp": joined, "flags": 0}


def require_guild(call: Call) -> None:
    """Raise 10004 where the path names another guild, or the caller is not in it."""
    if call.id("guild") != call.state.guild_id or not call.state.in_guild(call.who):
        raise DiscordError(10004)


def _guild(call: Call) -> Reply:
    require_guild(call)
    counts = call.query.get("with_counts") in ("1", "true")
    return Reply(guilds.guild_json(call.state, counts=counts))


def _guild_channels(call: Call) -> Reply:
    require_guild(call)
    return Reply(guilds.channels_json(call.state, call.who))


def _guild_roles(call: Call) -> Reply:
    require_guild(call)
    return Reply(guilds.roles_json(call.state))


def _guild_member(call: Call) -> Reply:
    require_guild(call)
    return Reply(objects.member_json(call.state.member(call.id("user"))))


def _me(call: Call) -> Reply:
    return Reply(objects.own_user_json(call.caller))


def _my_guilds(call: Call) -> Reply:
    inside = call.state.in_guild(call.who)
    return Reply([guilds.partial_guild_json(call.state, call.who)] if inside else [])


def _user(call: Call) -> Reply:
    member = call.state.members.get(call.id("user"))
    if member is None:
        raise DiscordError(10013)
    return Reply(objects.user_json(member.user))


def _open_dm(call: Call) -> Reply:
    recipient = str(call.form.get("recipient_id"))
    # 0 is nobody's, so that what is no id is an unknown account.
    other = int(recipient) if recipient.isdigit() else 0
    channel = thread_actions.open_dm(call.state, call.who, other)
    return Reply(objects.channel_json(call.state, channel, call.who))


def _application(call: Call) -> Reply:
    return Reply(guilds.application_json(call.state))


def _gateway(call: Call) -> Reply:
    return Reply({"url": call.backend.gateway.url})


def _gateway_bot(call: Call) -> Reply:
    limit = {
        "total": 1000,
        "remaining": call.state.session_starts,
        "reset_after": 14_400_000,
        "max_concurrency": 1,
    }
    return Reply({"url": call.backend.gateway.url, "shards": 1, "session_start_limit": limit})


_CHANNEL = "/channels/{channel}"
_MEMBERS = _CHANNEL + "/thread-members"
_ARCHIVED = _CHANNEL + "/threads/archived"

ROUTES = [
    # Discord tells this to anybody.
    Route("GET", "/gateway", _gateway, needs_token=False),
    Route("GET", "/gateway/bot", _gateway_bot, callers=Callers.BOTS),
    Route("GET", "/users/@me", _me),
    Route("GET", "/users/@me/guilds", _my_guilds),
    Route("POST", "/users/@me/channels", _open_dm),
    Route("GET", "/users/{user}", _user),
    Route("GET", "/oauth2/applications/@me", _application, callers=Callers.BOTS),
    Route("GET", "/applications/@me", _application, callers=Callers.BOTS),
    Route("GET", _CHANNEL, _fetch),
    Route("PATCH", _CHANNEL, _patch, "edit_channel"),
    Route("DELETE", _CHANNEL, _delete),
    Route("POST", _CHANNEL + "/threads", _start_thread, "start_thread"),
    Route("GET", _ARCHIVED + "/public", _archived(ChannelType.PUBLIC_THREAD)),
    Route("GET", _ARCHIVED + "/private", _archived(ChannelType.PRIVATE_THREAD)),
    Route(
        "GET",
        _CHANNEL + "/users/@me/threads/archived/private",
        _archived(ChannelType.PRIVATE_THREAD, joined=True),
    ),
    Route("GET", _MEMBERS, _thread_members),
    # Before those with {user}, which fit as well: of paths that begin alike up to a brace, the first is taken.
    Route("PUT", _MEMBERS + "/@me", _membership(joins=True, own=True)),
    Route("DELETE", _MEMBERS + "/@me", _membership(joins=False, own=True)),
    Route("GET", _MEMBERS + "/{user}", _thread_member),
    Route("PUT", _MEMBERS + "/{user}", _membership(joins=True, own=False)),
    Route("DELETE", _MEMBERS + "/{user}", _membership(joins=False, own=False)),
    Route("GET", "/guilds/{guild}", _guild),
    Route("GET", "/guilds/{guild}/channels", _guild_channels),
    Route("GET", "/guilds/{guild}/roles", _guild_roles),
    Route("GET", "/guilds/{guild}/members/{user}", _guild_member),
    Route("GET", "/guilds/{guild}/threads/active", _active_threads),
]
