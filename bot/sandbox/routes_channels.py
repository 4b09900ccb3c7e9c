"""REST routes on channels, threads, the guild, its members and users."""

from typing import Any

from bot.sandbox import channels, messages, objects
from bot.sandbox.drafts import make_draft
from bot.sandbox.errors import DiscordError, InvalidForm
from bot.sandbox.model import THREAD_TYPES, Channel, ChannelType
from bot.sandbox.rest import Call, Reply, Route
from bot.sandbox.state import State, snowflake_seconds

DEFAULT_THREAD_PAGE = 50


def _fetch(call: Call) -> Reply:
    channel = call.state.channel(call.id("channel"))
    call.state.require(channel)
    return Reply(objects.channel_json(call.state, channel))


def _patch(call: Call) -> Reply:
    state = call.state
    channel = state.channel(call.id("channel"))
    fields = channels.patch_fields(state, channel, call.form)
    _require_change(state, channel, fields)
    changed = channels.change(state, channel, fields)
    messages.tell_of_name(state, channel, changed, state.bot.id)
    return Reply(objects.channel_json(state, changed))


def _require_change(state: State, channel: Channel, fields: dict[str, Any]) -> None:
    """The bot may archive, rename and tag its own threads; all else needs the permission to manage."""
    moderated = "applied_tags" in fields and channels.moderated_changes(state, channel, fields["applied_tags"])
    if not channel.is_thread:
        state.require(channel, "manage_channels")
    elif channel.owner_id != state.bot.id or "locked" in fields or moderated:
        state.require(channel, "manage_threads")
    else:
        state.require(channel)


def _delete(call: Call) -> Reply:
    state = call.state
    channel = state.channel(call.id("channel"))
    state.require(channel, "manage_threads" if channel.is_thread else "manage_channels")
    shape = objects.channel_json(state, channel)
    channels.delete(state, channel)
    return Reply(shape)


def _start_thread(call: Call) -> Reply:
    """A thread without a message, or a forum's post."""
    state = call.state
    parent = state.channel(call.id("channel"))
    if parent.is_thread or not parent.in_guild:
        raise DiscordError(50024)
    if parent.type is ChannelType.FORUM:
        return _start_post(call, parent)
    kind = call.form.get("type", ChannelType.PRIVATE_THREAD)
    if kind not in THREAD_TYPES:
        raise InvalidForm("type", "Value must be one of (11, 12).", "BASE_TYPE_CHOICES")
    public = kind == ChannelType.PUBLIC_THREAD
    state.require(parent, "create_public_threads" if public else "create_private_threads")
    thread = channels.start_thread(state, parent.id, state.bot.id, call.form, kind=ChannelType(kind))
    return Reply(objects.channel_json(state, thread), status=201)


def _start_post(call: Call, forum: Channel) -> Reply:
    state = call.state
    state.require(forum, "send_messages")
    draft = make_draft(call.form.get("message") or {}, call.uploads, state.ids)
    thread, message = messages.start_post(state, forum, state.bot.id, call.form, draft)
    shape = objects.channel_json(state, thread)
    return Reply({**shape, "message": objects.message_json(state, message)}, status=201)


def _active_threads(call: Call) -> Reply:
    _require_guild(call)
    return Reply(objects.thread_list_json(call.state, [one for one in call.state.threads() if not one.archived]))


def _archived(kind: ChannelType, *, joined: bool = False) -> Any:
    def handle(call: Call) -> Reply:
        state = call.state
        parent = state.channel(call.id("channel"))
        state.require(parent, "read_message_history")
        found = [
            one
            for one in state.threads()
            if one.parent_id == parent.id and one.archived and one.type is kind
            if not joined or state.bot.id in one.member_ids
        ]
        return Reply(_archived_page(state, found, call.query))

    return handle


def _archived_page(state: State, found: list[Channel], query: dict[str, str]) -> Any:
    """A page of archived threads, the latest first, before an ISO time or an id."""
    limit = int(query.get("limit", DEFAULT_THREAD_PAGE))
    before = query.get("before")
    found = sorted(found, key=lambda one: one.archived_at, reverse=True)
    if before is not None and before.isdigit():
        found = [one for one in found if one.id < int(before)]
    elif before is not None:
        found = [one for one in found if objects.timestamp(one.archived_at) < before]
    return {**objects.thread_list_json(state, found[:limit]), "has_more": len(found) > limit}


def _membership(*, joins: bool, own: bool) -> Any:
    def handle(call: Call) -> Reply:
        state = call.state
        thread = state.channel(call.id("channel"))
        if not thread.is_thread:
            raise DiscordError(50024)
        if thread.archived:
            raise DiscordError(50083)
        user_id = state.bot.id if own else call.id("user")
        state.member(user_id)
        change = channels.join if joins else channels.leave
        change(state, thread, user_id)
        return Reply()

    return handle


def _thread_members(call: Call) -> Reply:
    thread = call.state.channel(call.id("channel"))
    return Reply([_thread_member_json(thread, one) for one in sorted(thread.member_ids)])


def _thread_member(call: Call) -> Reply:
    thread, user_id = call.state.channel(call.id("channel")), call.id("user")
    call.state.require(thread)
    if user_id not in thread.member_ids:
        raise DiscordError(10007)
    return Reply(_thread_member_json(thread, user_id))


def _thread_member_json(thread: Channel, user_id: int) -> dict[str, Any]:
    joined = objects.timestamp(snowflake_seconds(thread.id))
    return {"id": str(thread.id), "user_id": str(user_id), "join_timestamp": joined, "flags": 0}


def _require_guild(call: Call) -> None:
    if call.id("guild") != call.state.guild_id or call.state.removed:
        raise DiscordError(10004)


def _guild(call: Call) -> Reply:
    _require_guild(call)
    counts = call.query.get("with_counts") in ("1", "true")
    return Reply(objects.guild_json(call.state, counts=counts))


def _guild_channels(call: Call) -> Reply:
    _require_guild(call)
    return Reply(objects.channels_json(call.state))


def _guild_roles(call: Call) -> Reply:
    _require_guild(call)
    return Reply(objects.roles_json(call.state))


def _guild_member(call: Call) -> Reply:
    _require_guild(call)
    return Reply(objects.member_json(call.state.member(call.id("user"))))


def _me(call: Call) -> Reply:
    return Reply(objects.own_user_json(call.state.bot))


def _my_guilds(call: Call) -> Reply:
    return Reply([] if call.state.removed else [objects.partial_guild_json(call.state)])


def _user(call: Call) -> Reply:
    member = call.state.members.get(call.id("user"))
    if member is None:
        raise DiscordError(10013)
    return Reply(objects.user_json(member.user))


def _open_dm(call: Call) -> Reply:
    recipient = str(call.form.get("recipient_id"))
    channel = channels.open_dm(call.state, int(recipient) if recipient.isdigit() else 0)
    return Reply(objects.channel_json(call.state, channel))


def _application(call: Call) -> Reply:
    return Reply(objects.application_json(call.state))


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
    Route("GET", "/gateway", _gateway, needs_token=False),
    Route("GET", "/gateway/bot", _gateway_bot),
    Route("GET", "/users/@me", _me),
    Route("GET", "/users/@me/guilds", _my_guilds),
    Route("POST", "/users/@me/channels", _open_dm),
    Route("GET", "/users/{user}", _user),
    Route("GET", "/oauth2/applications/@me", _application),
    Route("GET", "/applications/@me", _application),
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
