"""REST routes on application commands, interaction callbacks and followups."""

from bot.sandbox import objects
from bot.sandbox.checks import check_commands
from bot.sandbox.errors import DiscordError
from bot.sandbox.model import Json
from bot.sandbox.rest import Call, Callers, Reply, Route
from bot.sandbox.state import State

GLOBAL_SCOPE = ""


def _scope(call: Call) -> str:
    """The key of the command list: the guild's id, or empty for the global commands."""
    if call.id("application") != call.state.application_id:
        raise DiscordError(10002)
    if "guild" not in call.params:
        return GLOBAL_SCOPE
    if call.id("guild") != call.state.guild_id:
        raise DiscordError(10004)
    return str(call.state.guild_id)


def _list(call: Call) -> Reply:
    return Reply(call.state.commands.get(_scope(call), []))


def _overwrite(call: Call) -> Reply:
    """Replace all commands; one that keeps its name keeps its id."""
    state, scope = call.state, _scope(call)
    wanted = check_commands(call.body)
    state.commands[scope] = [_registered(state, scope, one) for one in wanted]
    state.command_syncs += 1
    state.changes.note()
    return Reply(state.commands[scope])


def _add(call: Call) -> Reply:
    state, scope = call.state, _scope(call)
    (wanted,) = check_commands([call.form])
    command = _registered(state, scope, wanted)
    others = [one for one in state.commands.get(scope, []) if one["id"] != command["id"]]
    state.commands[scope] = [*others, command]
    return Reply(command, status=201)


def _edit(call: Call) -> Reply:
    state, scope = call.state, _scope(call)
    old = _known(call, scope)
    (wanted,) = check_commands([{**old, **call.form}])
    command = {**old, **wanted, "id": old["id"], "version": str(state.ids())}
    state.commands[scope] = [command if one is old else one for one in state.commands[scope]]
    return Reply(command)


def _remove(call: Call) -> Reply:
    state, scope = call.state, _scope(call)
    old = _known(call, scope)
    state.commands[scope] = [one for one in state.commands[scope] if one is not old]
    return Reply()


def _known(call: Call, scope: str) -> Json:
    for command in call.state.commands.get(scope, []):
        if command["id"] == call.params["command"]:
            return command
    raise DiscordError(10063)


def _registered(state: State, scope: str, wanted: Json) -> Json:
    kind = wanted.get("type", 1)
    # One that is replaced keeps its id, by which clients know it.
    same = [one for one in state.commands.get(scope, []) if (one["name"], one["type"]) == (wanted["name"], kind)]
    command: Json = {
        "id": same[0]["id"] if same else str(state.ids()),
        "application_id": str(state.application_id),
        "version": str(state.ids()),
        "default_member_permissions": None,
        "description": "",
        "nsfw": False,
        "options": [],
        **wanted,
        "type": kind,
    }
    if scope:
        command["guild_id"] = scope
    if command.get("contexts") is not None:
        state.command_contexts[command["id"]] = command["contexts"]
    else:
        state.command_contexts.pop(command["id"], None)
    return {name: value for name, value in command.items() if name not in ("contexts", "integration_types")}


def _callback(call: Call) -> Reply:
    """Take the first answer; its description is sent where the client asks for it."""
    described = call.backend.interactions.acknowledge(
        call.id("interaction"), call.params["token"], call.form, call.uploads
    )
    return Reply(described) if call.query.get("with_response") in ("1", "true") else Reply()


def _follow_up(call: Call) -> Reply:
    interactions = call.backend.interactions
    interaction = interactions.by_token(call.id("application"), call.params["token"])
    message = interactions.follow_up(interaction, call.form, call.uploads)
    return Reply(objects.message_json(call.state, message)) if call.query.get("wait") != "false" else Reply()


def _fetch_message(call: Call) -> Reply:
    interactions = call.backend.interactions
    interaction = interactions.by_token(call.id("application"), call.params["token"])
    return Reply(objects.message_json(call.state, interactions.find(interaction, call.params["message"])))


def _edit_message(call: Call) -> Reply:
    interactions = call.backend.interactions
    interaction = interactions.by_token(call.id("application"), call.params["token"])
    message = interactions.find(interaction, call.params["message"])
    edited = interactions.edit(interaction, message, call.form, call.uploads)
    return Reply(objects.message_json(call.state, edited))


def _delete_message(call: Call) -> Reply:
    interactions = call.backend.interactions
    interaction = interactions.by_token(call.id("application"), call.params["token"])
    interactions.delete(interaction, interactions.find(interaction, call.params["message"]))
    return Reply()


def _command_routes(base: str) -> list[Route]:
    one = base + "/{command}"
    return [
        Route("GET", base, _list, callers=Callers.BOTS),
        Route("PUT", base, _overwrite, callers=Callers.BOTS),
        Route("POST", base, _add, callers=Callers.BOTS),
        Route("PATCH", one, _edit, callers=Callers.BOTS),
        Route("DELETE", one, _remove, callers=Callers.BOTS),
    ]


_WEBHOOK = "/webhooks/{application}/{token}"
_WEBHOOK_MESSAGE = _WEBHOOK + "/messages/{message}"

ROUTES = [
    *_command_routes("/applications/{application}/commands"),
    *_command_routes("/applications/{application}/guilds/{guild}/commands"),
    # Whoever has the interaction's own token may answer: Discord asks for no other.
    Route("POST", "/interactions/{interaction}/{token}/callback", _callback, "interaction", needs_token=False),
    Route("POST", _WEBHOOK, _follow_up, "followup", needs_token=False),
    Route("GET", _WEBHOOK_MESSAGE, _fetch_message, "followup", needs_token=False),
    Route("PATCH", _WEBHOOK_MESSAGE, _edit_message, "followup", needs_token=False),
    Route("DELETE", _WEBHOOK_MESSAGE, _delete_message, "followup", needs_token=False),
]
