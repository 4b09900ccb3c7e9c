"""A small server that speaks what the engine asks of Docker's API, and misbehaves as it is told to.

A container in it is a coroutine with two streams, its `Program`. Requests are answered in their order on each
connection, as HTTP has it; `Fault` says which is answered otherwise, or not at all.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
import anyio.abc

from tests.engines.docker_daemon import IMAGE

_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
_VERSION = re.compile(r"^/v[0-9.]+(?=/)")
STDOUT, STDERR = 1, 2


def frame(channel: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", channel, len(data)) + data


class Answer(Exception):
    """What a request is answered with."""

    def __init__(self, status: int, body: Any = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = {"message": body} if isinstance(body, str) else body


@dataclass
class Fault:
    """What becomes of requests whose ``METHOD /path`` matches.

    Attributes:
        answer: in place of the usual one; None: the connection is closed.
        silent: there is none at all, until the server ends or the fault is taken back.
        after: the request is carried out all the same.
        times: so often.
    """

    match: str
    answer: Answer | None = None
    silent: bool = False
    after: bool = False
    times: int = 1


@dataclass(eq=False)
class Container:
    """A container: what was asked for, how it is, and its streams."""

    id: str
    name: str
    config: Mapping[str, Any]
    program: Program
    status: str = "created"
    code: int = 0
    oom: bool = False
    nameless: bool = False
    signals: list[str] = field(default_factory=list)
    stdin: bytearray = field(default_factory=bytearray)
    eof: bool = False
    ended: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    listeners: list[tuple[frozenset[int], anyio.abc.ByteStream]] = field(default_factory=list)
    news: anyio.Event = field(default_factory=anyio.Event)

    async def say(self, data: bytes, channel: int = STDOUT) -> None:
        for channels, stream in self.listeners:
            if channel in channels:
                with suppress(*_GONE):
                    await stream.send(frame(channel, data))

    async def read(self) -> bytes:
        """Return what came on stdin; empty at its end."""
        while not self.stdin and not self.eof:
            await self.news.wait()
        data, self.stdin = bytes(self.stdin), bytearray()
        return data

    def changed(self) -> None:
        self.news.set()
        self.news = anyio.Event()

    async def run(self) -> None:
        self.status = "running"
        with self.scope:
            await self.say(b"weft: running\n", STDERR)
            self.end(await self.program(self))
        await self.hang_up()

    def end(self, code: int, *, oom: bool = False) -> None:
        """Be over, if it was not."""
        if not self.ended.is_set():
            self.status, self.code, self.oom = "exited", code, oom
            self.ended.set()
            self.scope.cancel()

    async def hang_up(self) -> None:
        """End its streams, as the daemon does behind it."""
        for _, stream in self.listeners:
            with suppress(*_GONE):
                await stream.aclose()


Program = Callable[[Container], Awaitable[int]]


async def echo(container: Container) -> int:
    """Say what is heard; end at the end of the input."""
    while data := await container.read():
        await container.say(data)
    return 0


async def stubborn(container: Container) -> int:
    """End at nothing but KILL."""
    await container.say(b"ready")
    await anyio.sleep_forever()
    return 0


async def deaf(container: Container) -> int:
    """Never read: the server takes nothing for it, either."""
    await anyio.sleep_forever()
    return 0


class FakeDocker:
    """The server.

    Attributes:
        program: what the next containers run once they have said that they do; `run`: all of it.
        faults: what goes wrong; taken out once they have.
        seen: all requests, as ``METHOD /path``.
        executed: what a command beside an agent does: from its argv and stdin to status, stdout and stderr.
        pulled: the lines that a pull is answered with.
        images: that are there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.program: Program = echo
        self.run: Callable[[Container], Coroutine[Any, Any, None]] = Container.run
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.containers: dict[str, Container] = {}
        self.images = {IMAGE}
        self.pulled: list[dict[str, Any]] = []
        self.memory = 8 << 30
        self.version: dict[str, Any] = {"Version": "20.10", "ApiVersion": "1.41"}
        self.executed: Callable[[list[str], bytes], tuple[int, bytes, bytes]] = lambda _, stdin: (0, stdin, b"")
        self._execs: dict[str, tuple[list[str], list[int]]] = {}
        self._tasks: anyio.abc.TaskGroup
        self._serving: anyio.CancelScope | None = None
        self._number = 0

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    # --- up and down ---------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeDocker]:
        async with anyio.create_task_group() as self._tasks:
            await self.come_up()
            yield self
            self._tasks.cancel_scope.cancel()

    async def come_up(self) -> None:
        """Answer from now on."""
        listener = await anyio.create_unix_listener(self.path)
        scope = self._serving = anyio.CancelScope()

        async def serve() -> None:
            async with listener:
                with scope:
                    await listener.serve(self._connection)

        self._tasks.start_soon(serve)

    async def go_down(self) -> None:
        """Close all connections and the socket; containers run on, as with ``live-restore``."""
        assert self._serving
        self._serving.cancel()
        self.path.unlink()
        for container in self.containers.values():
            await container.hang_up()

    def named(self, name: str) -> Container:
        for one in self.containers.values():
            if name in (one.id, one.name):
                return one
        raise Answer(404, f"No such container: {name}")

    @property
    def only(self) -> Container:
        (one,) = self.containers.values()
        return one

    # --- HTTP ----------------------------------------------------------------------------------------------------

    async def _connection(self, stream: anyio.abc.SocketStream) -> None:
        buffer = bytearray()
        async with stream:
            with suppress(*_GONE):
                while await self._request(stream, buffer):
                    pass

    async def _request(self, stream: anyio.abc.ByteStream, buffer: bytearray) -> bool:
        """Answer one request; return whether the connection goes on."""
        while b"\r\n\r\n" not in buffer:
            buffer += await stream.receive()
        head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(fields.get("content-length", 0))
        while len(rest) < length:
            rest += await stream.receive()
        buffer[:] = rest[length:]
        method, target, _ = lines[0].split(" ")
        parts = urlsplit(target)
        path, query = (
            _VERSION.sub("", unquote(parts.path)),
            {name: one[0] for name, one in parse_qs(parts.query).items()},
        )
        request = f"{method} {path}"
        self.seen.append(request)
        fault = next((one for one in self.faults if re.search(one.match, f"{request}?{parts.query}")), None)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
        try:
            if fault is not None and fault.answer is not None:
                raise fault.answer
            if fault is not None and not fault.after:
                if fault.silent:
                    await anyio.sleep_forever()
                return False
            if path.endswith("/attach"):
                return await self._attach(stream, path, query, buffer)
            if path.startswith("/exec/") and path.endswith("/start"):
                return await self._execute(stream, path, buffer)
            answer = await self._route(method, path, query, json.loads(rest[:length] or b"null"))
        except Answer as exc:
            answer = exc
        if fault is not None and fault.answer is None:
            # Carried out, but nobody hears of it.
            if fault.silent:
                await anyio.sleep_forever()
            return False
        await stream.send(_response(answer))
        return True

    async def _route(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Answer:
        for pattern, handler in self._routes():
            if found := re.fullmatch(pattern, f"{method} {path}"):
                return await handler(*found.groups(), query, body)
        return Answer(404, f"page not found: {path}")

    def _routes(self) -> Iterator[tuple[str, Callable[..., Awaitable[Answer]]]]:
        yield r"GET /(_ping|version|info)", self._about
        yield r"GET /images/(.+)/json", self._image
        yield r"GET /distribution/(.+)/json", self._registry
        yield r"POST /images/create", self._pull
        yield r"POST /containers/create", self.create
        yield r"GET /containers/json", self._list
        yield r"GET /containers/(.+)/json", self._inspect
        yield r"POST /containers/(.+)/start", self._start
        yield r"POST /containers/(.+)/wait", self._wait
        yield r"POST /libpod/containers/(.+)/wait", self._libpod_wait
        yield r"POST /containers/(.+)/kill", self._kill
        yield r"POST /containers/(.+)/exec", self._exec
        yield r"DELETE /containers/(.+)", self._delete
        yield r"GET /exec/(.+)/json", self._exec_status

    # --- what the API has ----------------------------------------------------------------------------------------

    async def _about(self, what: str, *_: Any) -> Answer:
        if what == "info":
            return Answer(200, {"Name": "fake-host", "MemTotal": self.memory, "NCPU": 2})
        return Answer(200, self.version if what == "version" else {})

    async def _image(self, name: str, *_: Any) -> Answer:
        return Answer(200, {"Id": "1"}) if name in self.images else Answer(404, f"No such image: {name}")

    async def _registry(self, name: str, *_: Any) -> Answer:
        return Answer(200, {}) if "known" in name else Answer(401, "denied: token=abcdefgh1234 is not good for it")

    async def _pull(self, query: Mapping[str, str], _: Any) -> Answer:
        if not any("error" in line for line in self.pulled):
            self.images.add(query["fromImage"])
        return Answer(200, b"".join(json.dumps(line).encode() + b"\n" for line in self.pulled))

    async def create(self, query: Mapping[str, str], body: Any) -> Answer:
        if body["Image"] not in self.images:
            return Answer(404, f"No such image: {body['Image']}")
        self._number += 1
        made = Container(f"{self._number:064x}", query["name"], body, self.program)
        self.containers[made.id] = made
        return Answer(201, {"Id": made.id})

    async def _list(self, query: Mapping[str, str], _: Any) -> Answer:
        wanted = [label.split("=") for label in json.loads(query["filters"])["label"]]
        found = [one for one in self.containers.values() if all(one.config["Labels"].get(k) == v for k, v in wanted)]
        names = {one.id: None if one.nameless else [f"/{one.name}"] for one in found}
        return Answer(200, [{"Id": one.id, "Names": names[one.id], "Labels": one.config["Labels"]} for one in found])

    async def _inspect(self, name: str, *_: Any) -> Answer:
        one = self.named(name)
        state = {"Status": one.status, "Running": one.status == "running", "OOMKilled": one.oom, "ExitCode": one.code}
        return Answer(200, {"Id": one.id, "State": state, "Config": {"Tty": False}})

    async def _start(self, name: str, *_: Any) -> Answer:
        self._tasks.start_soon(self.run, self.named(name))
        return Answer(204)

    async def _wait(self, name: str, *_: Any) -> Answer:
        one = self.named(name)
        await one.ended.wait()
        return Answer(200, {"StatusCode": one.code})

    async def _libpod_wait(self, name: str, *_: Any) -> Answer:
        one = self.named(name)
        await one.ended.wait()
        return Answer(200, str(one.code).encode())

    async def _kill(self, name: str, query: Mapping[str, str], _: Any) -> Answer:
        one = self.named(name)
        one.signals.append(query["signal"])
        if one.program is not stubborn:
            one.end(128 + 15)
        return Answer(204)

    async def _delete(self, name: str, *_: Any) -> Answer:
        one = self.named(name)
        one.end(128 + 9)
        del self.containers[one.id]
        return Answer(204)

    async def _exec(self, name: str, _: Any, body: Any) -> Answer:
        if self.named(name).status != "running":
            return Answer(409, "Container is not running")
        self._number += 1
        self._execs[str(self._number)] = (body["Cmd"], [int(body["AttachStdin"])])
        return Answer(201, {"Id": str(self._number)})

    async def _exec_status(self, number: str, *_: Any) -> Answer:
        code = self._execs[number][1][1:]
        config = {"tty": False}
        return Answer(200, {"Running": not code, "ExitCode": code[0] if code else None, "ProcessConfig": config})

    # --- streams -------------------------------------------------------------------------------------------------

    async def _attach(self, stream: anyio.abc.ByteStream, path: str, query: Mapping[str, str], rest: bytearray) -> bool:
        one = self.named(path.split("/")[2])
        wanted = {STDOUT: "stdout", STDERR: "stderr"}
        one.listeners.append((frozenset(n for n, name in wanted.items() if query.get(name) == "1"), stream))
        await stream.send(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        data = bytes(rest)
        with suppress(*_GONE):
            while query.get("stdin") == "1":
                if one.program is deaf:
                    await one.ended.wait()
                    return False
                one.stdin += data
                one.changed()
                data = await stream.receive()
        if query.get("stdin") == "1":
            one.eof = True
            one.changed()
        await one.ended.wait()
        return False

    async def _execute(self, stream: anyio.abc.ByteStream, path: str, rest: bytearray) -> bool:
        argv, state = self._execs[path.split("/")[2]]
        await stream.send(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
        stdin = bytes(rest)
        with suppress(*_GONE):
            while state[0]:
                stdin += await stream.receive()
        # As its wrapper does: first the process id.
        command = argv[4:] if argv[1] == "-c" and "echo $$" in argv[2] else argv
        code, out, err = self.executed(command, stdin)
        await stream.send(frame(STDOUT, b"17\n" + out) + (frame(STDERR, err) if err else b""))
        state.append(code)
        return False


def _response(answer: Answer) -> bytes:
    body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    body = b"" if answer.status == 204 else body
    length = f"Content-Length: {len(body)}\r\n" if answer.status != 204 else ""
    return f"HTTP/1.1 {answer.status} x\r\nContent-Type: application/json\r\n{length}\r\n".encode() + body
