"""A person's client for tests: REST and gateway with the person's token, over sockets, beside the bot's discord.py."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio

from bot.sandbox import FakeDiscord, Person
from tests.bot.sandbox.raw import Answer

Json = dict[str, Any]


class PersonClient:
    """What one browser tab of a person does, and the events that it was told of, as `(name, data)`."""

    def __init__(self, fd: FakeDiscord, person: Person, session: aiohttp.ClientSession) -> None:
        self._fd = fd
        self.person = person
        self.token = fd.token_of(person)
        self._session = session
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self.events: list[tuple[str, Json]] = []
        self.sequence = 0
        self.session_id = ""

    async def call(self, method: str, path: str, body: Any = None, *, files: Any = (), **query: str) -> Answer:
        """One request; `files` are names with contents, sent as a multipart form."""
        form = None
        if files:
            form, body = multipart(body, files), None
        headers = {"Authorization": self.token}
        url = self._fd.api_url + path
        async with self._session.request(method, url, json=body, data=form, headers=headers, params=query) as response:
            text = await response.text()
            return Answer(response.status, json.loads(text) if text else None, dict(response.headers))

    async def post(self, channel_id: int, content: str = "hi", **body: Any) -> Answer:
        """Post a message."""
        return await self.call("POST", f"/channels/{channel_id}/messages", {"content": content, **body})

    async def connect(self, *, resume: bool = False) -> None:
        """Open the gateway, as far as GUILD_CREATE (or RESUMED)."""
        self._ws = await self._session.ws_connect(self._fd.gateway_url)
        assert (await self._ws.receive_json())["op"] == 10
        data: Json = {"token": self.token, "properties": {}}
        if resume:
            data |= {"session_id": self.session_id, "seq": self.sequence}
        await self._ws.send_json({"op": 6 if resume else 2, "d": data})
        if not resume:
            self.session_id = (await self.event("READY"))["session_id"]

    async def close(self, code: int = 1000) -> None:
        """Close the gateway."""
        assert self._ws is not None
        await self._ws.close(code=code)

    async def send(self, frame: Json) -> None:
        """Send the gateway a frame."""
        assert self._ws is not None
        await self._ws.send_json(frame)

    async def rest(self) -> int:
        """How many more frames there are until the gateway's connection ends."""
        assert self._ws is not None
        with anyio.fail_after(30):
            return len([None async for _ in self._ws])

    async def frame(self) -> Json:
        """The gateway's next frame."""
        assert self._ws is not None
        with anyio.fail_after(30):
            frame: Json = json.loads((await self._ws.receive()).data)
        self.sequence = frame.get("s") or self.sequence
        return frame

    async def event(self, name: str, holds: Callable[[Json], object] = lambda _data: True) -> Json:
        """The next event of that name for which `holds` is true; all on the way are kept in `events`.

        What the page alone is told, of the bot's connection and of faults, comes at any time and is left out.
        """
        while True:
            frame = await self.frame()
            if frame["op"] != 0 or (frame["t"] == "SANDBOX_STATE" != name):
                continue
            self.events.append((frame["t"], frame["d"]))
            if frame["t"] == name and holds(frame["d"]):
                return dict(frame["d"])

    async def names_until(self, fd: FakeDiscord, mark: str) -> list[str]:
        """The names of all events since the last read one, up to a mark that is sent now."""
        fd.gateway.people.tell("MARK", {"mark": mark}, self.person.id)
        before = len(self.events)
        await self.event("MARK", lambda data: data["mark"] == mark)
        return [name for name, _ in self.events[before:-1]]


def multipart(body: Any, files: Any) -> aiohttp.FormData:
    """A form with the JSON body and the files."""
    form = aiohttp.FormData()
    form.add_field("payload_json", json.dumps(body or {}), content_type="application/json")
    for index, (name, content) in enumerate(files):
        form.add_field(f"files[{index}]", content, filename=name)
    return form


@asynccontextmanager
async def client_of(fd: FakeDiscord, person: Person, *, connects: bool = True) -> AsyncIterator[PersonClient]:
    """A client of a person, connected to the gateway unless it shall not be."""
    async with aiohttp.ClientSession() as session:
        client = PersonClient(fd, person, session)
        if connects:
            await client.connect()
        yield client
