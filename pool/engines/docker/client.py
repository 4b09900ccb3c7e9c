"""The calls to a Docker daemon's API that an engine needs, each bounded and with one kind of error.

Docker's own daemon and Podman's compatible service answer them alike but for details, which are settled here. The
client library makes the requests; the streams are `pool.engines.docker.stream`'s. The mutable state is the open client.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import aiodocker
import aiodocker.exceptions
import aiodocker.execs
import aiohttp
import anyio

from pool.engines.docker.settings import DockerSettings
from pool.engines.docker.stream import Address, Hijacked, StreamRefused

CALL: Final = 10.0
"""Seconds for a call that needs none of a container's own time."""

_PORTS = {False: 2375, True: 2376}
_NO_CONNECTION = 900
_POLL = 0.1
_MOST_WORDS = 500
_DEPTH = 8
_CUT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""TLS that was cut off says nothing of rights."""
_PODMAN = "Podman Engine"
_LIBPOD = "v4.0.0/libpod"
"""Podman's own API. By Docker's, Podman 4 looks for the end of a container without a pause, with all of a processor."""


class DockerFault(Exception):
    """A call that failed.

    Attributes:
        status: of the answer; None: there was none.
        rights: the daemon, or its socket, does not let us in.
    """

    def __init__(self, message: str, status: int | None = None, *, rights: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.rights = rights or status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)

    @property
    def away(self) -> bool:
        """Whether nobody answered."""
        return self.status is None and not self.rights

    @property
    def missing(self) -> bool:
        """Whether what was asked for is not there."""
        return self.status == HTTPStatus.NOT_FOUND


class DockerClient:
    """One daemon. Made without I/O; `open` makes none but reading the certificates."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings
        self._docker: aiodocker.Docker | None = None
        self._session: aiohttp.ClientSession | None = None
        self._address = Address()
        self._base = ""
        self._podman: bool | None = None
        self._unusable: DockerFault | None = DockerFault("the engine is closed")

    def open(self) -> None:
        """Get ready for calls; each of them reports what is wrong with the certificates."""
        settings, parts = self._settings, urlsplit(self._settings.url)
        self._unusable = None
        try:
            tls = _tls(settings) if settings.tls else None
        except (OSError, ValueError) as exc:
            self._unusable = DockerFault(f"a tls_ file cannot be used: {exc}", rights=True)
            return
        # Without a limit of connections: each agent holds one, in which the daemon will tell how it ended.
        connector: aiohttp.BaseConnector
        if parts.scheme == "unix":
            self._address = Address(path=parts.path)
            connector, self._base = aiohttp.UnixConnector(parts.path, limit=0), "http://docker"
        else:
            port = parts.port or _PORTS[settings.tls]
            self._address = Address(host=parts.hostname or "", port=port, tls=tls)
            connector = aiohttp.TCPConnector(limit=0, ssl=tls if tls is not None else True)
            self._base = f"{'https' if tls else 'http'}://{parts.hostname}:{port}"
        # No session time-out: each call has its bound, and `wait` lasts as long as an agent.
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout())
        self._docker = aiodocker.Docker(self._base, connector=connector, session=self._session)

    async def aclose(self) -> None:
        self._unusable = DockerFault("the engine is closed")
        # Taken away first: a call that comes meanwhile is refused, and not made on a client that closes.
        docker, session, self._docker, self._session = self._docker, self._session, None, None
        if docker is not None:
            await docker.close()
        if session is not None:
            await session.close()

    # --- the daemon ----------------------------------------------------------------------------------------------

    async def ping(self, seconds: float = CALL) -> None:
        """Return if the daemon answers.

        Raises:
            DockerFault: it does not; as for all calls here.
        """
        await self._get("_ping", seconds)

    async def version(self) -> Mapping[str, Any]:
        async with self._calling() as docker:
            return await docker.version()

    async def info(self, seconds: float = CALL) -> Mapping[str, Any]:
        async with self._calling(seconds) as docker:
            return await docker.system.info()

    # --- images --------------------------------------------------------------------------------------------------

    async def image(self, name: str) -> Mapping[str, Any]:
        async with self._calling() as docker:
            return await docker.images.inspect(name)

    async def pull(self, name: str, progress: Callable[[str], None]) -> None:
        """Fetch an image; bounded by the caller. ``progress`` gets ``3 of 7 parts``, each time that changes."""
        layers: dict[str, bool] = {}
        told = ""
        async with self._calling(None) as docker:
            async for event in docker.images.pull(name, stream=True):
                if (layer := event.get("id")) and "progressDetail" in event:
                    done = event.get("status") in ("Pull complete", "Already exists")
                    # One that is done stays so, whatever the daemon says of it again.
                    layers[layer] = layers.get(layer, False) or done
                    text = f"{sum(layers.values())} of {len(layers)} parts"
                    if text != told:
                        progress(told := text)

    async def pullable(self, name: str) -> bool:
        """Return if the image's registry has it, which the daemon asks; False: this one does not ask."""
        if await self._is_podman():
            return False
        await self._get(f"distribution/{quote(name)}/json")
        return True

    async def _get(self, path: str, seconds: float = CALL) -> None:
        async with self._calling(seconds):
            await self._send("GET", path)

    async def _send(self, method: str, path: str) -> str:
        """Make a request that the library has no call for; within `_calling`."""
        assert self._session
        async with self._session.request(method, f"{self._base}/{path}") as answer:
            text = await answer.text()
        if answer.status != HTTPStatus.OK:
            with suppress(ValueError, KeyError, TypeError):
                text = str(json.loads(text)["message"])
            raise DockerFault(text.strip()[:_MOST_WORDS], answer.status)
        return text

    # --- containers ----------------------------------------------------------------------------------------------

    async def create(self, name: str, config: Mapping[str, Any], seconds: float) -> str:
        """Make a container, not running yet; return its id."""
        async with self._calling(seconds) as docker:
            return (await docker.containers.create(dict(config), name=name)).id

    async def start(self, container: str, seconds: float) -> None:
        async with self._calling(seconds) as docker:
            await docker.containers.container(container).start()

    async def wait(self, container: str) -> int:
        """Return the exit status of a container that was started, once it has ended; not bounded."""
        if await self._is_podman():
            async with self._calling(None):
                return int(await self._send("POST", f"{_LIBPOD}/containers/{container}/wait?interval=500ms"))
        async with self._calling(None) as docker:
            ended = await docker.containers.container(container).wait()
        # The wait itself can have failed: its status says nothing then.
        if fault := (ended.get("Error") or {}).get("Message"):
            raise DockerFault(fault, HTTPStatus.INTERNAL_SERVER_ERROR)
        return int(ended["StatusCode"])

    async def _is_podman(self) -> bool:
        if self._podman is None:
            components = (await self.version()).get("Components") or ()
            self._podman = _PODMAN in {one.get("Name") for one in components}
        return self._podman

    async def inspect(self, container: str, seconds: float = CALL) -> Mapping[str, Any]:
        async with self._calling(seconds) as docker:
            return await docker.containers.container(container).show()

    async def kill(self, container: str, signal: str, seconds: float = CALL) -> None:
        async with self._calling(seconds) as docker:
            await docker.containers.container(container).kill(signal=signal)

    async def remove(self, container: str, seconds: float) -> bool:
        """End a container with all that runs in it, and remove it with its nameless volumes.

        Returns once it is gone; False: it was not there.
        """
        tried = False
        with _bounded(seconds):
            while True:
                try:
                    async with self._calling(None) as docker:
                        await docker.containers.container(container).delete(force=True, v=True)
                except DockerFault as fault:
                    if fault.missing:
                        return tried
                    # Somebody is at it (409), or a file was still in use (500): until it is gone, or time is up.
                    if fault.status not in (HTTPStatus.CONFLICT, HTTPStatus.INTERNAL_SERVER_ERROR):
                        raise
                    tried = True
                    await anyio.sleep(_POLL)
                else:
                    return True

    async def containers(self, labels: Mapping[str, str], seconds: float = CALL) -> dict[str, Mapping[str, str]]:
        """Return the labels of all containers with these labels, those that have ended included, by their names."""
        # The daemon looks for them: on a machine with many containers, only ours travel.
        filters = {"label": [f"{name}={value}" for name, value in labels.items()]}
        async with self._calling(seconds) as docker:
            found = await docker.containers.list(all=True, filters=filters)
            # One that is just being removed may have no name any more.
            return {(one["Names"] or [one.id])[0].lstrip("/"): one["Labels"] or {} for one in found}

    # --- streams -------------------------------------------------------------------------------------------------

    async def attach(self, container: str, *, stdin: bool, seconds: float) -> Hijacked:
        """Take a container's streams: stdin and stdout, or stderr; before its start, so that nothing is missed."""
        wanted = {"stream": 1, "stdin": int(stdin), "stdout": int(stdin), "stderr": int(not stdin)}
        return await self._hijack(f"/containers/{container}/attach?{urlencode(wanted)}", b"", seconds)

    async def execute(
        self, container: str, argv: Sequence[str], *, directory: str, stdin: bool, seconds: float
    ) -> tuple[aiodocker.execs.Exec, Hijacked]:
        """Run a command in a container, as the container's user; return it and its streams."""
        async with self._calling(seconds) as docker:
            command = await docker.containers.container(container).exec(list(argv), stdin=stdin, workdir=directory)
        streams = await self._hijack(f"/exec/{command.id}/start", b'{"Detach": false, "Tty": false}', seconds)
        return command, streams

    async def executed(self, command: aiodocker.execs.Exec) -> int:
        """Return the exit status of a command once it has ended, if its output has; bounded by the caller."""
        while True:
            async with self._calling():
                found = await command.inspect()
            # The end of the output may come a moment before that of the command.
            if not found["Running"] and found["ExitCode"] is not None:
                return int(found["ExitCode"])
            await anyio.sleep(_POLL)

    async def _hijack(self, path: str, body: bytes, seconds: float) -> Hijacked:
        if self._unusable is not None:
            raise self._unusable
        with _bounded(seconds):
            try:
                return await Hijacked.open(self._address, path, body)
            except StreamRefused as exc:
                raise DockerFault(exc.message, exc.status) from exc
            except OSError as exc:
                raise DockerFault(_words(exc), rights=_is_about_rights(exc)) from exc

    @asynccontextmanager
    async def _calling(self, seconds: float | None = CALL) -> AsyncIterator[aiodocker.Docker]:
        """Hand the client out, and make all that can go wrong with a call one kind of error."""
        if self._docker is None:
            raise self._unusable or DockerFault("the engine is closed")
        with _bounded(seconds):
            try:
                yield self._docker
            except aiodocker.DockerError as exc:
                raise _fault(exc) from exc
            except aiohttp.ClientError as exc:
                raise DockerFault(_words(exc), rights=_is_about_rights(exc)) from exc
            except (ValueError, KeyError, TypeError) as exc:
                # An answer that is cut off or is none of this API's.
                raise DockerFault("an answer that cannot be read", HTTPStatus.BAD_GATEWAY) from exc


@contextmanager
def _bounded(seconds: float | None) -> Iterator[None]:
    with anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise DockerFault(f"no answer within {seconds:g} s")


def _fault(error: aiodocker.DockerError) -> DockerFault:
    if isinstance(error, aiodocker.exceptions.DockerStreamError):
        return DockerFault(error.message, HTTPStatus.BAD_GATEWAY)
    if error.status != _NO_CONNECTION:
        return DockerFault(error.message.strip(), error.status)
    cause = error.__context__
    return DockerFault(_words(cause or error), rights=cause is not None and _is_about_rights(cause))


def _reason(error: BaseException) -> BaseException:
    """Return what lies behind a library's error: that of TLS, if there is one, as its number means something else."""
    chain = [error]
    # Bounded, as a chain of errors can lead back into itself.
    while (behind := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < _DEPTH:
        chain.append(behind)
    for one in chain:
        told = getattr(one, "os_error", one)
        if isinstance(told, ssl.SSLError) and not isinstance(told, _CUT):
            return told
    return getattr(error, "os_error", error)


def _is_about_rights(error: BaseException) -> bool:
    """Whether a connection failed since the other side, or the socket, does not want us: waiting does not help."""
    return isinstance(_reason(error), (PermissionError, ssl.SSLError))


def _words(error: BaseException) -> str:
    """Return a system's or a library's error in words without the address, which the caller tells."""
    told = _reason(error)
    if isinstance(told, ssl.SSLError):
        return f"TLS: {getattr(told, 'verify_message', '') or (told.reason or 'failed').lower().replace('_', ' ')}"
    if isinstance(told, OSError) and told.errno:
        return os.strerror(told.errno)
    return str(told) or type(told).__name__


def _tls(settings: DockerSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.tls_ca)
    if settings.tls_cert is not None:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context
