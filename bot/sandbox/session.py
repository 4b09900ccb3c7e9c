"""What the page asks for when it starts, and what it may do to the sandbox: `/_sandbox/session`, `state`, `controls`.

Who the people are, what to try and what the bot's state is in words are told from outside: the sandbox knows nothing
of the bot. The mutable state is just that.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from bot.sandbox.controls import Control, ControlError, Controls, UnknownControl
from bot.sandbox.gateway import Gateway
from bot.sandbox.guard import SANDBOX_PREFIX, SESSION
from bot.sandbox.model import Json
from bot.sandbox.people import Person
from bot.sandbox.state import State

STATE_EVENT = "SANDBOX_STATE"


@dataclass(frozen=True, slots=True)
class _Introduction:
    role: str
    note: str


class PageSession:
    """Answers the page.

    Args:
        own: the sandbox's own controls.
        people: all accounts of people there are.
        token_of: what a person's client logs in with.
        key: of the run.

    Attributes:
        tour: what to try, as the page takes it: `title`, `text`, and perhaps `prompt`, `person`, `place`, `steps`.
        notice: one sentence on the bot, shown beside whether it is connected; "" for none.
    """

    def __init__(
        self,
        state: State,
        gateway: Gateway,
        own: Iterable[Control],
        people: Callable[[], Iterable[Person]],
        token_of: Callable[[Person], str],
        key: str,
    ) -> None:
        self._state = state
        self._gateway = gateway
        self._people = people
        self._token_of = token_of
        self._key = key
        self._introduced: dict[int, _Introduction] = {}
        self._told: Json = {}
        self.controls = Controls(own, self.tell)
        self.tour: list[Json] = []
        self.notice = ""

    def install(self, app: web.Application) -> None:
        """Register the routes."""
        app.router.add_get(SESSION, self._session)
        app.router.add_get(SANDBOX_PREFIX + "/state", self._answer_state)
        app.router.add_post(SANDBOX_PREFIX + "/controls/{id}", self._control)

    def introduce(self, person: Person, role: str, note: str) -> None:
        """Say who somebody is; those who are introduced come first, in this order."""
        self._introduced[person.id] = _Introduction(role, note)

    def tell(self) -> None:
        """Tell all pages how things are, if that has changed."""
        state = self._state_json()
        # Asked at every change of a connection, most of which change nothing that is shown.
        if state != self._told:
            self._told = state
            self._gateway.people.tell(STATE_EVENT, state)

    def _state_json(self) -> Json:
        return {"connected": self._gateway.connected, "notice": self.notice, "controls": self.controls.switches()}

    def _people_json(self) -> list[Json]:
        order = list(self._introduced)
        here = [one for one in self._people() if not self._state.members[one.id].left]
        here.sort(key=lambda one: order.index(one.id) if one.id in self._introduced else len(order))
        return [self._person_json(one) for one in here]

    def _person_json(self, person: Person) -> Json:
        known = self._introduced.get(person.id, _Introduction("", ""))
        return {
            "id": str(person.id),
            "name": person.name,
            "role": known.role,
            "note": known.note,
            "token": self._token_of(person),
        }

    async def _session(self, _request: web.Request) -> web.Response:
        state = self._state
        places = (one.id for one in state.channels.values() if one.in_guild and not one.is_thread)
        return _answer(
            {
                "key": self._key,
                "guild": str(state.guild_id),
                "channel": str(next(places, "")),
                "application": str(state.application_id),
                "bot": {"id": str(state.bot.id), "name": state.bot.name},
                "people": self._people_json(),
                "tour": self.tour,
                **self._state_json(),
                "controls": self.controls.described(),
            }
        )

    async def _answer_state(self, _request: web.Request) -> web.Response:
        return _answer(self._state_json())

    async def _control(self, request: web.Request) -> web.Response:
        try:
            body: Any = await request.json()
            on, place = body.get("on"), body.get("channel_id")
            text = await self.controls.run(
                request.match_info["id"],
                # What is no truth value is none: `Controls.run` says what is wanted.
                on if isinstance(on, bool) else None,
                int(place) if place else None,
            )
        except ControlError as error:
            return _answer({"error": str(error)}, 400)
        except UnknownControl:
            return _answer({"error": "There is no such control. Reload the page."}, 404)
        except (ValueError, AttributeError, TypeError, RecursionError):
            return _answer({"error": "The body must be an object with `on` and `channel_id`."}, 400)
        return _answer({"text": text})


def _answer(data: Json, status: int = 200) -> web.Response:
    # It has tokens in it: no cache of the browser may keep it.
    return web.json_response(data, status=status, headers={"Cache-Control": "no-store"})
