"""The settings of an ssh engine: `[engines.NAME]` with ``kind = "ssh"``. Nothing here changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

# None with a dash in front: ssh would take it for an option.
_ADDRESS = re.compile(r"[^\s\x00-\x1f\x7f-][^\s\x00-\x1f\x7f]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")

Seconds = Annotated[float, Field(gt=0, le=3600)]


class SshHost(BaseModel):
    """A host of the engine.

    Attributes:
        address: ``user@host``, or an alias of ssh's own configuration.
        name: as people know it; empty: the address.
        port: None: as ssh's configuration says.
        places: agents that it takes at most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    name: str = ""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    places: Annotated[int, Field(ge=1, le=1000)] = 4

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if not _ADDRESS.fullmatch(value):
            raise ValueError('give user@host, or an alias of ~/.ssh/config, such as "agents@build-1"')
        return value

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if value and not _NAME.fullmatch(value):
            raise ValueError("a name has letters, digits, '.', '_', '@' and '-'")
        return value

    @property
    def called(self) -> str:
        """How people know it."""
        return self.name or self.address


class SshSettings(BaseModel):
    """How an ssh engine reaches its hosts.

    Attributes:
        hosts: a host may be given by its address alone.
        identity_file: the private key; None: as ssh's configuration and agent have it.
        known_hosts: the file of the hosts' keys; None: ssh's own.
        config_file: in place of ``~/.ssh/config``.
        connect_timeout: seconds for ssh to connect.
        start_timeout: seconds in which an agent's process has to run, whatever that takes.
        shared: all hosts have the same files, so that a thread's agent may run on any; else it goes back to its host.
        handshakes: connections that are being made to one host at once; more than 10 are refused by an sshd that is
            left as it comes (``MaxStartups``).
        program: the OpenSSH client.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: tuple[SshHost, ...]
    identity_file: Path | None = None
    known_hosts: Path | None = None
    config_file: Path | None = None
    connect_timeout: Seconds = 10.0
    start_timeout: Seconds = 60.0
    shared: bool = False
    handshakes: Annotated[int, Field(ge=1, le=10)] = 4
    program: str = "ssh"

    @field_validator("hosts", mode="before")
    @classmethod
    def _addresses_alone(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple({"address": one} if isinstance(one, str) else one for one in value)
        return value

    @field_validator("identity_file", "known_hosts", "config_file")
    @classmethod
    def _of_the_home(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @model_validator(mode="after")
    def _hosts_are_told_apart(self) -> Self:
        if not self.hosts:
            raise ValueError("hosts: name at least one")
        names = [host.called for host in self.hosts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"hosts: {', '.join(twice)} stands there twice; give each its own name")
        return self

    def files(self) -> Mapping[str, Path]:
        """Return the files that are named, by the settings' keys."""
        named = {
            "identity_file": self.identity_file,
            "known_hosts": self.known_hosts,
            "config_file": self.config_file,
        }
        return {key: path for key, path in named.items() if path is not None}
