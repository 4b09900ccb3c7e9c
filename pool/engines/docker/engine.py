"""Agents in containers, of Docker's daemon or of Podman's compatible service: one daemon, one engine.

A container per agent: made, attached, and only then started, so that no byte is lost; labelled with the state that it
belongs to, so that a later run finds what an earlier one left. What the daemon could not confirm to be gone is ended
once it answers again. The mutable state: the agents that run, the places that are taken, the names of what is to be
ended, and what the daemon last said of itself.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, Self

import anyio
import anyio.abc
import structlog

from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError, SpawnFailure
from pool.engines.bot_run import BotRun
from pool.engines.docker.agent import AWAY, Container, DockerAgent
from pool.engines.docker.check import check
from pool.engines.docker.client import CALL, DockerClient, DockerFault
from pool.engines.docker.settings import DockerSettings, container_environment, host_config, without_credentials
from pool.engines.docker.stream import Hijacked
from pool.engines.model import EngineFinding, NodeStatus, Swept
from pool.engines.upkeep import keep_going, watch_agent

STATE, AGENT, THREAD, RUN, EPOCH = "weft.state", "weft.agent", "weft.thread", "weft.run", "weft.epoch"
"""Labels of a container; the last two tell those of this run of the bot from those of an earlier one."""

_BEGIN: Final = """end() { echo "weft: $1" >&2; exit 1; }
mkdir -p -- "$0" && cd -- "$0" || end directory
command -v "$1" >/dev/null || end program
echo "weft: running" >&2
exec "$@"
"""
"""What starts the agent in its directory and says on stderr, which we read alone until then, how that went.

The daemon would make the directory, too, but as root's.
"""
_BEGUN = re.compile(rb"(.*?)^weft: (directory|program|running)\n", re.DOTALL | re.MULTILINE)
_MOST_BEFORE: Final = 16 * 1024

_SWEEP: Final = 60.0
_AT_ONCE: Final = 4
_CREATE: Final = 30.0
_UNSURE: Final = 300.0
"""Seconds in which a container whose making was never confirmed may still turn up."""

_NO_DIRECTORY = re.compile(r"bind source path does not exist|no such volume|error mounting|statfs .* no such file")
_NO_ROOM = re.compile(
    r"cannot allocate memory|resource temporarily unavailable|no available IPv4 addresses", re.IGNORECASE
)
"""What the daemon says when a container has no room that the end of another one makes: memory, processes, addresses."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """How the daemon is watched while agents run, in seconds: how often, with what patience, and how many misses."""

    every: float = 2.0
    patience: float = 3.0
    misses: int = 3


class DockerEngine:
    """One Docker daemon; see `pool.engines.model.PoolEngine`."""

    kind = "docker"

    def __init__(
        self, name: str, settings: DockerSettings, watch: WatchLimits = WatchLimits(), *, run: BotRun | None = None
    ) -> None:
        self.name = name
        self.start_timeout = settings.start_timeout
        self._settings = settings
        self._watch = watch
        self._client = DockerClient(settings)
        self._tasks: anyio.abc.TaskGroup | None = None
        self._run = run or BotRun()
        self._agents: dict[str, DockerAgent] = {}
        self._taken = 0
        self._left: dict[str, float] = {}
        self._unswept = ""
        self._node = NodeStatus(name, 0, settings.places, None, reachable=False, reason="not asked yet")
        self._total_memory: int | None = None
        self._asking = anyio.Lock()

    async def __aenter__(self) -> Self:
        self._client.open()
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(keep_going, self.name, self._look_after)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        tasks, self._tasks = self._tasks, None
        assert tasks
        tasks.cancel_scope.cancel()
        try:
            await tasks.__aexit__(None, None, None)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(CALL):
                # The pool has stopped its agents by now; nobody else ends what is still here.
                for agent in list(self._agents.values()):
                    await agent.lose("the engine was closed")
                await self._client.aclose()

    # --- starts --------------------------------------------------------------------------------------------------

    async def start(self, spec: LaunchSpec) -> DockerAgent:
        name = _container_name(spec.labels.get("agent", ""))
        try:
            with anyio.fail_after(self.start_timeout):
                async with self._asking:  # how much room there is, and where
                    if self._total_memory is None:
                        await self._client.ping()
                        await self._ask_about_node(_CREATE)  # a busy daemon may take its time
                with self._place():
                    return await self._start(spec, name)
        except DockerFault as fault:
            raise self._spawn_error(fault) from fault
        except TimeoutError as exc:
            message = f"{self.name}: no container within {self.start_timeout:g} s; fetching its image may need more"
            raise AgentSpawnError(message, failure=SpawnFailure.TIMEOUT) from exc

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Hold a place for the time of a start; the agent itself counts from then on."""
        # No await from here until it is counted, or two starts take the last place.
        places = self._places()
        taken = len(self._agents) + self._taken
        if places is not None and taken >= places:
            text = f"{self.name}: all {places} places are taken"
            raise AgentSpawnError(text, failure=SpawnFailure.NO_ROOM, room_on=())
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    def _places(self) -> int | None:
        if self._settings.places is not None or not self._settings.memory or not self._total_memory:
            return self._settings.places
        return self._total_memory // self._settings.memory

    async def _start(self, spec: LaunchSpec, name: str) -> DockerAgent:
        container = await self._create(spec, name)
        streams: list[Hijacked] = []
        try:
            # Both before the start: what an agent says first, or why it fails, must not be missed.
            streams.append(await self._client.attach(container, stdin=True, seconds=self.start_timeout))
            streams.append(await self._client.attach(container, stdin=False, seconds=self.start_timeout))
            self._run.check()
            await self._client.start(container, self.start_timeout)
            said = await _begun(streams[1], spec)
            found = Container(container, name, self._node.name, spec.cwd)
            agent = DockerAgent(self._client, found, streams, said, self._remove)
            self._started(name, agent)
        except BaseException:
            with anyio.CancelScope(shield=True):
                for one in streams:
                    await one.aclose()
                await self._remove(name, CALL)
            raise
        return agent

    def _started(self, name: str, agent: DockerAgent) -> None:
        if self._tasks is None:
            raise DockerFault("the engine is closed")
        self._agents[name] = agent
        self._tasks.start_soon(watch_agent, self.name, agent.watch, agent.lose)
        log.info("agent.spawned", place=agent.place, engine=self.name)

    async def _create(self, spec: LaunchSpec, name: str) -> str:
        """Make the container, with its image fetched if need be; the caller removes it, even if it is cancelled."""
        config = self._config(spec)
        for fetched in (False, True):
            self._run.check()
            try:
                # Cut short, nobody would know whether there is one.
                with anyio.CancelScope(shield=True):
                    return await self._client.create(name, config, min(self.start_timeout, _CREATE))
            except DockerFault as fault:
                if fault.away or (fault.status or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    # It may have been heard all the same, or be made by half.
                    self._left[name] = anyio.current_time() + _UNSURE
                if fetched or not (fault.missing and _is_about_image(fault)):
                    raise
                await self._fetch(spec, fault)
        raise AssertionError("a second try returns or raises")

    async def _fetch(self, spec: LaunchSpec, fault: DockerFault) -> None:
        image = self._settings.image
        if self._settings.pull == "never":
            message = f"{self.name}: the image {image} is not there, and pull is never"
            raise AgentSpawnError(message, failure=SpawnFailure.IMAGE) from fault
        spec.tell(f"fetching the image {image}")
        try:
            await self._client.pull(image, lambda parts: spec.tell(f"fetching the image {image}: {parts}"))
        except DockerFault as refused:
            if refused.away:
                raise
            message = f"{self.name}: the image {image} cannot be fetched: {without_credentials(refused.message)}"
            raise AgentSpawnError(message, failure=SpawnFailure.IMAGE) from refused

    def _config(self, spec: LaunchSpec) -> dict[str, Any]:
        thread, agent = spec.labels.get("thread", ""), spec.labels.get("agent", "")
        env = container_environment(self._settings, spec.env)
        config: dict[str, Any] = {
            "Image": self._settings.image,
            # The image's own entry point could be anything.
            "Entrypoint": ["/bin/sh", "-c", _BEGIN, spec.cwd],
            "Cmd": list(spec.argv),
            "Env": [f"{key}={value}" for key, value in env.items()],
            "Labels": {
                STATE: spec.labels.get("state", ""),
                AGENT: agent,
                THREAD: thread,
                RUN: self._run.name,
                EPOCH: self._run.epoch_mark,
            },
            "OpenStdin": True,
            # The agent's input ends with our connection, even if we are killed.
            "StdinOnce": True,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": False,
            "HostConfig": host_config(self._settings, thread, agent),
        }
        if self._settings.user is not None:
            config["User"] = self._settings.user
        return config

    # --- ends ----------------------------------------------------------------------------------------------------

    async def _remove(self, name: str, seconds: float) -> bool:
        """End a container and return whether that is certain; what is not is tried again later."""
        # Its place is free even if the daemon can't say that it is gone: `_left` remembers that.
        self._agents.pop(name, None)
        try:
            await self._client.remove(name, seconds)
        except DockerFault as fault:
            log.warning("docker.not_removed", engine=self.name, container=name, why=fault.message)
            self._left[name] = 0.0
            return False
        return True

    async def sweep(self, state: str) -> Swept:
        self._unswept = ""
        try:
            return await self._sweep(state)
        except BaseException:
            # The caller may wait for less time than it takes; what an earlier run left must go all the same.
            self._unswept = state
            raise

    async def _sweep(self, state: str) -> Swept:
        try:
            found = await self._client.containers({STATE: state})
        except DockerFault as fault:
            self._unswept = state
            return Swept(0, (f"{self.name}: {self._words(fault)}",))
        # A daemon that comes back late is swept late, when this run has agents there, or a later one.
        names = [
            name for name, labels in found.items() if self._run.follows(labels.get(RUN, ""), labels.get(EPOCH, ""))
        ]
        left = set(names)
        # A few at a time, as the daemon is to answer others meanwhile.
        limiter = anyio.CapacityLimiter(_AT_ONCE)

        async def end(name: str) -> None:
            async with limiter:
                if await self._remove(name, CALL):
                    left.discard(name)

        with anyio.move_on_after(_SWEEP) as bound:
            async with anyio.create_task_group() as tasks:
                for name in names:
                    tasks.start_soon(end, name)
        if bound.cancelled_caught:
            self._unswept = state  # what was not even tried
        (log.info if names else log.debug)("docker.swept", engine=self.name, found=len(names), left=sorted(left))
        return Swept(len(names) - len(left), tuple(sorted(left)))

    async def _look_after(self) -> None:
        """Ask the daemon for a sign of life while it matters; give agents up, and end what was left, accordingly."""
        misses = 0
        while True:
            await anyio.sleep(self._watch.every)
            if not (self._agents or self._left or self._unswept):
                misses = 0
                continue
            try:
                await self._client.ping(self._watch.patience)
            except DockerFault as fault:
                misses += 1
                log.debug("docker.silent", engine=self.name, misses=misses, why=fault.message)
                # One miss is no loss: a daemon that makes containers may be slow to answer.
                if misses >= self._watch.misses:
                    for agent in list(self._agents.values()):
                        await agent.lose(AWAY)
            else:
                misses = 0
                await self._catch_up()

    async def _catch_up(self) -> None:
        if self._unswept:
            await self.sweep(self._unswept)
        for name, until in list(self._left.items()):
            try:
                found = await self._client.remove(name, CALL)
            except DockerFault:
                continue
            # One whose making was never confirmed may still turn up.
            if found or anyio.current_time() >= until:
                self._left.pop(name, None)
                log.info("docker.removed_late", engine=self.name, container=name)

    # --- what it is like -----------------------------------------------------------------------------------------

    async def nodes(self, fresh: float | None = None) -> Sequence[NodeStatus]:
        del fresh  # it is asked each time
        try:
            await self._client.ping(self._watch.patience)
            await self._ask_about_node()
        except DockerFault as fault:
            self._node = replace(self._node, reachable=False, reason=self._words(fault))
        places, running = self._places(), len(self._agents)
        full = places is not None and running >= places
        reason = f"all {places} places are taken" if full and self._node.reachable else self._node.reason
        memory, total = self._settings.memory, self._total_memory
        free = max(0, total - running * memory) if memory and total else None
        return (replace(self._node, running=running, places=places, free_memory=free, reason=reason),)

    async def _ask_about_node(self, seconds: float = CALL) -> None:
        info = await self._client.info(seconds)
        self._total_memory = int(info.get("MemTotal") or 0)
        self._node = replace(self._node, name=str(info.get("Name") or self.name), reachable=True, reason="")

    async def check(self, *specs: LaunchSpec) -> Sequence[EngineFinding]:
        del specs  # any of its machines is like the others: the trial start says it
        return await check(self._client, self._settings)

    def _words(self, fault: DockerFault) -> str:
        """Return a fault in words for people."""
        if fault.rights:
            return f"the Docker daemon at {self._settings.url} refuses Weft: {fault.message}"
        if fault.away:
            return f"the Docker daemon at {self._settings.url} does not answer: {fault.message}"
        return f"the Docker daemon says: {fault.message}"

    def _spawn_error(self, fault: DockerFault) -> AgentSpawnError:
        failure, text = SpawnFailure.OTHER, self._words(fault)
        if _NO_ROOM.search(fault.message):
            return AgentSpawnError(f"{self.name}: {text}", failure=SpawnFailure.NO_ROOM, room_on=())
        if fault.rights:
            failure = SpawnFailure.RIGHTS
        elif fault.away:
            failure = SpawnFailure.UNREACHABLE
        elif "/bin/sh" in fault.message:
            failure, text = SpawnFailure.IMAGE, f"the image {self._settings.image} has no /bin/sh, which a start needs"
        elif _NO_DIRECTORY.search(fault.message):
            failure = SpawnFailure.BAD_DIRECTORY
        return AgentSpawnError(f"{self.name}: {text}", failure=failure)


async def _begun(errors: Hijacked, spec: LaunchSpec) -> bytes:
    """Wait until the agent runs; return what came on its stderr behind that.

    Raises:
        AgentSpawnError: it does not.
    """
    said = bytearray()
    while (found := _BEGUN.match(said)) is None:
        try:
            said += (await errors.receive())[1]
        except (anyio.EndOfStream, anyio.BrokenResourceError) as exc:
            words = bytes(said).decode(errors="replace").strip()
            raise AgentSpawnError(f"the container ended at once: {words}", failure=SpawnFailure.EXITED) from exc
        if len(said) > _MOST_BEFORE:
            raise AgentSpawnError("the container says something else than Weft's start", failure=SpawnFailure.IMAGE)
    if found[2] == b"program":
        message = f"{spec.argv[0]} is not in the image, or is no program"
        raise AgentSpawnError(message, failure=SpawnFailure.NOT_FOUND)
    if found[2] == b"directory":
        words = found[1].decode(errors="replace").strip()
        message = f"the working directory {spec.cwd} cannot be used: {words}"
        raise AgentSpawnError(message, failure=SpawnFailure.BAD_DIRECTORY)
    return bytes(said[found.end() :])


def _container_name(agent: str) -> str:
    return f"weft-{re.sub(r'[^A-Za-z0-9_.-]+', '-', agent)[:30] or 'agent'}-{secrets.token_hex(6)}"


def _is_about_image(fault: DockerFault) -> bool:
    """Whether what is missing is the image, and not a network or a volume's driver."""
    return "image" in fault.message.lower()
