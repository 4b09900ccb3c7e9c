"""The guild and the bot's application as Discord's JSON objects.

A guild has two forms: REST gives its settings, and GUILD_CREATE adds what is in it and how it is now.
"""

from bot.sandbox.model import Channel, Json
from bot.sandbox.objects import LOCALE, channel_json, member_json, role_json, timestamp, user_json
from bot.sandbox.state import State, snowflake_seconds

CONTENT_APPLICATION_FLAG = 1 << 19


def partial_guild_json(state: State, who: int) -> Json:
    """The guild as an account's list of guilds has it; the bits are those of its roles, without any channel's."""
    return {
        "id": str(state.guild_id),
        "name": "Sandbox",
        "icon": None,
        "banner": None,
        "owner": state.owner_id == who,
        "permissions": str(state.granted(who)),
        "features": [],
    }


def guild_json(state: State, *, counts: bool = False) -> Json:
    """The guild as REST answers it."""
    shape: Json = {
        "id": str(state.guild_id),
        "name": "Sandbox",
        "owner_id": str(state.owner_id),
        "application_id": None,
        "roles": roles_json(state),
        "emojis": [],
        "stickers": [],
        "features": [],
    }
    shape |= _looks() | _rules() | _places() | _limits()
    if counts:
        shape |= {"approximate_member_count": len(state.members), "approximate_presence_count": len(state.members)}
    return shape


def _looks() -> Json:
    return {
        "icon": None,
        "description": None,
        "home_header": None,
        "splash": None,
        "discovery_splash": None,
        "banner": None,
        "vanity_url_code": None,
        "preferred_locale": LOCALE,
        "region": "deprecated",
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "premium_progress_bar_enabled": False,
    }


def _rules() -> Json:
    return {
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw": False,
        "nsfw_level": 0,
        "incidents_data": None,
    }


def _places() -> Json:
    return {
        "afk_channel_id": None,
        "afk_timeout": 300,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "widget_enabled": False,
        "widget_channel_id": None,
        "rules_channel_id": None,
        "safety_alerts_channel_id": None,
        "public_updates_channel_id": None,
    }


def _limits() -> Json:
    return {
        "max_presences": None,
        "max_members": 500_000,
        "max_stage_video_channel_users": 50,
        "max_video_channel_users": 25,
    }


def guild_event_json(state: State, who: int, *, all_members: bool) -> Json:
    """The whole guild, as GUILD_CREATE carries it."""
    # Without the members' intent a bot gets itself alone.
    people = [one for one in state.members.values() if not one.left] if all_members else [state.members[who]]
    return {
        **guild_json(state),
        "channels": channels_json(state, who),
        "threads": [channel_json(state, one, who) for one in active_threads(state, who)],
        "members": [member_json(one) for one in people],
        "member_count": len(state.members),
        "joined_at": timestamp(snowflake_seconds(state.guild_id)),
        "unavailable": False,
        "large": False,
        "voice_states": [],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


def channels_json(state: State, who: int) -> list[Json]:
    """The guild's channels, without threads: the bot gets all, people those that they see."""
    places = [one for one in state.channels.values() if not one.is_thread and one.in_guild]
    return [channel_json(state, one, who) for one in places if who == state.bot.id or state.sees(who, one)]


def active_threads(state: State, who: int) -> list[Channel]:
    """The open threads, oldest first: the bot gets all, people those that they see."""
    # Discord's list of active threads, and GUILD_CREATE, have no archived ones.
    open_ones = [one for one in state.threads() if not one.archived]
    return [one for one in open_ones if who == state.bot.id or state.sees(who, one)]


def roles_json(state: State) -> list[Json]:
    """All roles, @everyone first."""
    return [role_json(one, position) for position, one in enumerate(state.roles.values())]


def application_json(state: State) -> Json:
    """The bot's application, with its owner."""
    flags = CONTENT_APPLICATION_FLAG if state.content_granted else 0
    return {
        "id": str(state.application_id),
        "name": state.bot.name,
        "icon": None,
        "description": "",
        "type": None,
        "bot": user_json(state.bot),
        "bot_public": False,
        "bot_require_code_grant": False,
        "verify_key": "0" * 64,
        "flags": flags,
        "flags_new": str(flags),
        "owner": user_json(state.members[state.owner_id].user),
        "team": None,
        "redirect_uris": [],
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "eligible_oauth2_scopes": [],
        "explicit_content_filter": 0,
        "approximate_guild_count": 0 if state.removed else 1,
        "approximate_user_install_count": 0,
        "approximate_user_authorization_count": 0,
    }
