"""Playing with the bot over HTTP: say, click, use a command, look; as a shell does it, with the key of the run."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from bot.sandbox.errors import DiscordError
from bot.sandbox.gateway import Gateway
from bot.sandbox.guard import SANDBOX_PREFIX
from bot.sandbox.interactions import Interaction
from bot.sandbox.model import Json, Message
from bot.sandbox.people import Person
from bot.sandbox.state import State


class CommandLineApi:
    """Says, clicks, uses commands and shows a channel; the owner acts in the first channel unless told otherwise.

    Unknown ids and names answer 400 with a line that says what is wrong.

    Args:
        person: the member of a name, who joins on first use.
        channel_id: the first channel.
    """

    def __init__(
        self, state: State, gateway: Gateway, owner: Person, person: Callable[[str], Person], channel_id: int
    ) -> None:
        self._state = state
        self._gateway = gateway
        self._owner = owner
        self._by_name = person
        self._channel_id = channel_id

    def install(self, app: web.Application) -> None:
        """Register the routes."""
        app.router.add_post(SANDBOX_PREFIX + "/say", answering(self._say))
        app.router.add_post(SANDBOX_PREFIX + "/click", answering(self._click))
        app.router.add_post(SANDBOX_PREFIX + "/slash", answering(self._slash))
        app.router.add_get(SANDBOX_PREFIX + "/timeline", answering(self._timeline))
        app.router.add_get(SANDBOX_PREFIX + "/info", answering(self._info))

    async def _say(self, request: web.Request) -> Any:
        body = await request.json()
        message = await self._person(body).say(
            self._channel(body.get("channel")), str(body["text"]), mention_bot=bool(body.get("mention", False))
        )
        return self.message(message)

    async def _click(self, request: web.Request) -> Any:
        body = await request.json()
        interaction = await self._person(body).click(int(body["message"]), str(body["custom_id"]))
        return _interaction(interaction)

    async def _slash(self, request: web.Request) -> Any:
        body = await request.json()
        options = body.get("options") or {}
        channel_id = self._channel(body.get("channel"))
        return _interaction(await self._person(body).slash(channel_id, str(body["name"]), **options))

    async def _timeline(self, request: web.Request) -> Any:
        channel_id = self._channel(request.query.get("channel"))
        threads = [one for one in self._state.threads() if one.parent_id == channel_id]
        return {
            "channel": str(channel_id),
            "messages": [self.message(one) for one in self._state.history(channel_id)],
            "threads": [
                {"id": str(one.id), "name": one.name, "archived": one.archived, "locked": one.locked} for one in threads
            ],
        }

    async def _info(self, _request: web.Request) -> Any:
        return {
            "guild": str(self._state.guild_id),
            "channel": str(self._channel_id),
            "bot": str(self._state.bot.id),
            "owner": str(self._owner.id),
            "connected": self._gateway.connected,
        }

    def _person(self, body: Json) -> Person:
        name = body.get("user")
        return self._owner if name is None else self._by_name(str(name))

    def _channel(self, wanted: object) -> int:
        """A channel by its id or name; the first one by default."""
        if wanted is None:
            return self._channel_id
        for channel in self._state.channels.values():
            # A shell has either at hand.
            if str(wanted) in (str(channel.id), channel.name):
                return channel.id
        raise LookupError(f"no channel {wanted!r}")

    def message(self, message: Message) -> Json:
        """A message with its timeline, for reading."""
        return {
            "id": str(message.id),
            "channel": str(message.channel_id),
            "author": self._state.members[message.author_id].user.name,
            "content": message.content,
            "flags": message.flags,
            "components": message.components,
            "attachments": [one.name for one in message.attachments],
            "reactions": {emoji: len(users) for emoji, users in message.reactions.items()},
            "reference": None if message.reference_id is None else str(message.reference_id),
            "timeline": [{"at": at, "content": text} for at, text in self._state.timelines.get(message.id, [])],
        }


def _interaction(interaction: Interaction) -> Json:
    return {
        "id": str(interaction.id),
        "acked": interaction.acked,
        "kind": None if interaction.kind is None else interaction.kind.name.lower(),
        "ephemeral": interaction.ephemeral,
        "response": interaction.response,
        "message": None if interaction.original_id is None else str(interaction.original_id),
    }


def answering(handler: Callable[[web.Request], Awaitable[Any]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handler(request))
        # All that a body of the wrong shape can raise: whoever types by hand wants a line, no page of an error.
        except (DiscordError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)

    return answer
