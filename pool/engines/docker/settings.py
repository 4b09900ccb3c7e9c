"""The settings of an engine of kind ``docker``, and what a container gets by them (pure).

Readable without the package's extra. A setting that cannot work is refused here, in words for the person who wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pool.engines.model import without_marks
from pool.sizes import Memory

SOCKET = "unix:///var/run/docker.sock"

_THREAD, _AGENT = "{thread_id}", "{agent}"
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SHARED = "shared"


class DockerSettings(BaseModel):
    """One daemon that runs agents in containers; several daemons are several engines.

    Attributes:
        url: of the daemon's API: ``unix:///path``, ``tcp://host:port`` or ``https://host:port``.
        tls_ca: file with the certificate that the daemon's is checked by; with it, or with our own certificate, a
            ``tcp://`` address speaks TLS.
        tls_cert, tls_key: files with the certificate and key by which the daemon knows us.
        image: that containers are made of.
        pull: whether an image that is not there is fetched.
        places: agents at most; None: as many as `memory` allows.
        memory: bytes for each container.
        cpus: processors for each container.
        pids: processes and threads in each container.
        user: that the agent runs as; None: as the image says.
        network: a network's name, ``none`` or ``host``; None: the daemon's usual one.
        volumes: ``what:where`` or ``what:where:ro``, where ``what`` is a volume's name or an absolute path on the
            daemon's machine; ``{thread_id}`` and ``{agent}`` in it are filled in.
        home: the agent's ``HOME`` in the container; None: as the image says.
        read_only: whether the image's files are; ``/tmp`` stays writable.
        start_timeout: seconds until the agent runs, fetching the image included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = SOCKET
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    image: Annotated[str, Field(min_length=1)]
    pull: Literal["missing", "never"] = "missing"
    places: Annotated[int, Field(ge=1)] | None = None
    memory: Memory | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    pids: Annotated[int, Field(ge=4)] = 1000
    user: str | None = None
    network: str | None = None
    volumes: tuple[str, ...] = ()
    home: Annotated[str, Field(pattern="^/")] | None = None
    read_only: bool = False
    start_timeout: Annotated[float, Field(gt=0)] = 120.0

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        value = f"unix://{value}" if value.startswith("/") else value
        parts = urlsplit(value)
        if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
            return value
        if parts.scheme in ("tcp", "http", "https") and parts.hostname and not parts.path.strip("/"):
            if parts.username or parts.password:
                raise ValueError("a daemon knows us by a certificate (tls_cert, tls_key), not by a password in the url")
            parts.port  # noqa: B018 - raises where it is no number
            return value
        raise ValueError(f'{value!r} is not an address such as "{SOCKET}" or "tcp://build-host:2376"')

    @field_validator("volumes")
    @classmethod
    def _mountable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            parts = one.split(":")
            # Filled in as it will be, so that a name made of fields is judged as a name.
            what = volume_source(parts[0], "1", "a")
            named = what.startswith("/") or _VOLUME.fullmatch(what)
            if len(parts) not in (2, 3) or parts[2:] not in ([], ["ro"]) or not named or not parts[1].startswith("/"):
                raise ValueError(f'{one!r} is not a volume such as "weft-work:/work" or "/srv/data:/data:ro"')
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if self.url.startswith(("unix://", "http://")) and (self.tls_ca or self.tls_cert):
            raise ValueError(f"{self.url} does not speak TLS: leave the tls_ settings out, or use tcp:// or https://")
        return self

    @property
    def tls(self) -> bool:
        """Whether the way to the daemon is encrypted."""
        return self.url.startswith("https://") or bool(self.tls_ca or self.tls_cert)

    @property
    def unguarded(self) -> bool:
        """Whether everybody who reaches the address is root on the daemon's machine."""
        return not self.url.startswith("unix://") and not self.tls_cert


def volume_source(text: str, thread: str, agent: str) -> str:
    """Return a volume's source for a thread of an agent; a process that several threads share has its own."""
    return text.replace(_THREAD, thread or _SHARED).replace(_AGENT, re.sub(r"[^A-Za-z0-9_.-]", "-", agent) or "agent")


def container_environment(settings: DockerSettings, env: Mapping[str, str]) -> dict[str, str]:
    """Return what is set for an agent in its container; what marks processes of this machine is not among it."""
    return ({"HOME": settings.home} if settings.home else {}) | without_marks(env)


def host_config(settings: DockerSettings, thread: str, agent: str) -> dict[str, Any]:
    """Return a container's ``HostConfig``: its limits, its rights and its volumes."""
    config: dict[str, Any] = {
        # An init takes in what the agent leaves and passes signals on: as process 1 the agent would have to do both.
        "Init": True,
        "PidsLimit": settings.pids,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        # What is said goes over the attached streams alone: the daemon's log would keep whole conversations.
        "LogConfig": {"Type": "none", "Config": {}},
        "RestartPolicy": {"Name": "no"},
        # Not as "Binds": of those the daemon makes what is missing, as root.
        "Mounts": [_mount(one, thread, agent) for one in settings.volumes],
    }
    if settings.memory is not None:
        # Without swap on top of it: an agent that is over its limit is ended, and does not slow the machine down.
        config |= {"Memory": settings.memory, "MemorySwap": settings.memory}
    if settings.cpus is not None:
        config["NanoCpus"] = int(settings.cpus * 1e9)
    if settings.network is not None:
        config["NetworkMode"] = settings.network
    if settings.read_only:
        config |= {"ReadonlyRootfs": True, "Tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777"}}  # noqa: S108
    return config


def _mount(volume: str, thread: str, agent: str) -> dict[str, Any]:
    what, target, *mode = volume.split(":")
    source = volume_source(what, thread, agent)
    kind = "bind" if source.startswith("/") else "volume"
    return {"Type": kind, "Source": source, "Target": target, "ReadOnly": bool(mode)}


def without_credentials(words: str) -> str:
    """Return what a registry says without the credentials that it may repeat: addresses with passwords, and tokens."""
    words = re.sub(r"://[^/\s@]+@", "://", words)
    words = re.sub(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}", r"\1 …", words)
    return re.sub(
        r"(?i)\b([\w-]*(?:token|password|secret|signature|credential)[\w-]*)([=:]\s*)[^\s&\"']+", r"\1\2…", words
    )
