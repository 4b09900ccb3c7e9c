"""REST routes that only people's clients have: their direct messages, and whom they can mention."""

from bot.sandbox import objects
from bot.sandbox.errors import InvalidForm
from bot.sandbox.people_gateway import private_channels_json
from bot.sandbox.rest import Call, Callers, Reply, Route
from bot.sandbox.routes_channels import require_guild

MAX_FOUND = 1000


def _direct_messages(call: Call) -> Reply:
    return Reply(private_channels_json(call.state, call.who))


def _search_members(call: Call) -> Reply:
    """The members whose names begin with the query, whatever its case."""
    require_guild(call)
    query, limit = call.query.get("query", "").casefold(), call.query.get("limit", "1")
    if not query:
        raise InvalidForm("query", "This field is required", "BASE_TYPE_REQUIRED")
    if not limit.isdigit() or not 1 <= int(limit) <= MAX_FOUND:
        raise InvalidForm("limit", f"int value should be between 1 and {MAX_FOUND}.", "NUMBER_TYPE_MAX")
    present = [one for one in call.state.members.values() if not one.left]
    found = [one for one in present if one.user.name.casefold().startswith(query)]
    return Reply([objects.member_json(one) for one in found[: int(limit)]])


# These stand before the routes with {user} in the same place.
ROUTES = [
    Route("GET", "/users/@me/channels", _direct_messages, callers=Callers.PEOPLE),
    Route("GET", "/guilds/{guild}/members/search", _search_members),
]
