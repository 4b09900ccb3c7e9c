"""What `weft doctor` finds of a Docker daemon: the way, the rights, the image, the volumes, and one container."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import anyio

from pool.engines.docker.client import CALL, DockerClient, DockerFault
from pool.engines.docker.settings import DockerSettings, host_config, without_credentials
from pool.engines.docker.stream import STDOUT
from pool.engines.model import EngineFinding

CHECK = "weft.check"
"""The label of a container that was only made for a look."""

_LONGEST: Final = 40.0
_LOOK: Final = 'for d in "$@"; do [ -w "$d" ] || echo "$d"; done'


async def check(client: DockerClient, settings: DockerSettings) -> Sequence[EngineFinding]:
    """Look at each; the first that fails ends it, as the rest could only fail, too. Bounded."""
    findings: list[EngineFinding] = []
    with anyio.move_on_after(_LONGEST) as bound:
        # The guard comes last: what it finds keeps no agent from starting, so the others are looked at before.
        for look in (_reach, _image, _container, _guard):
            found = await look(client, settings)
            findings += found
            if not all(one.ok for one in found):
                break
    if bound.cancelled_caught:
        fix = "look at the daemon's log and at how busy its machine is"
        findings.append(EngineFinding(False, f"{settings.url}: no answer within {_LONGEST:g} s", fix))
    return findings


async def _reach(client: DockerClient, settings: DockerSettings) -> list[EngineFinding]:
    try:
        version = await client.version()
        info = await client.info()
    except DockerFault as fault:
        what = f"the Docker daemon at {settings.url} {'refuses Weft' if fault.rights else 'does not answer'}"
        fix = "start the daemon, or correct url"
        if fault.rights and settings.url.startswith("unix://"):
            fix = "let Weft's user open the socket (for Docker: the group docker)"
        elif fault.rights:
            fix = "check tls_ca, tls_cert and tls_key against the daemon's certificates"
        return [EngineFinding(False, f"{what}: {fault.message}", fix)]
    memory = int(info.get("MemTotal") or 0) / (1 << 30)
    node = f"{info.get('Name') or 'a daemon'}, {info.get('NCPU', '?')} CPUs, {memory:.1f} GB"
    what = f"{settings.url}: {version.get('Version')}, API {version.get('ApiVersion')}, {node}"
    return [EngineFinding(True, what)]


async def _guard(client: DockerClient, settings: DockerSettings) -> list[EngineFinding]:
    del client
    if not settings.unguarded:
        return []
    fix = "set tls_cert and tls_key, and let the daemon ask for them (--tlsverify)"
    return [EngineFinding(False, f"whoever reaches {settings.url} is root on that machine", fix, mild=True)]


async def _image(client: DockerClient, settings: DockerSettings) -> list[EngineFinding]:
    image = settings.image
    try:
        await client.image(image)
    except DockerFault as fault:
        if not fault.missing:
            return [EngineFinding(False, f"the image {image}: {fault.message}", "look at the daemon's log")]
    else:
        return [EngineFinding(True, f"the image {image} is there")]
    if settings.pull == "never":
        return [EngineFinding(False, f"the image {image} is not there", "build or load it there, or set pull")]
    try:
        asked = await client.pullable(image)
    except DockerFault as fault:
        what = f"the image {image} is not there, and its registry says: {without_credentials(fault.message)}"
        return [EngineFinding(False, what, "correct image, or fetch it there by hand after logging in")]
    # Not fetched for a look: that may take minutes.
    return [
        EngineFinding(True, f"the image {image} is fetched at the first start{'' if asked else ', if it can be had'}")
    ]


async def _container(client: DockerClient, settings: DockerSettings) -> list[EngineFinding]:
    """Start a container as an agent's, and look whether it may write where the volumes are."""
    # An image that is still to be fetched has its line already, and nothing can be started of it.
    with suppress(DockerFault):
        await client.image(settings.image)
        return await _try_container(client, settings)
    return []


async def _try_container(client: DockerClient, settings: DockerSettings) -> list[EngineFinding]:
    writable = [one.split(":")[1] for one in settings.volumes if not one.endswith(":ro")]
    name = f"weft-check-{secrets.token_hex(6)}"
    config = {
        "Image": settings.image,
        "Entrypoint": ["/bin/sh", "-c", _LOOK, "sh"],
        "Cmd": writable,
        # Not the state's: the sweep of a bot that starts would take it for an agent.
        "Labels": {CHECK: "1"},
        "AttachStdout": True,
        "HostConfig": host_config(settings, "", "") | {"Mounts": _mounts(settings)},
    } | ({"User": settings.user} if settings.user is not None else {})
    started = anyio.current_time()
    try:
        container = await client.create(name, config, CALL)
        # Before the start, or what it says first is lost.
        streams = await client.attach(container, stdin=True, seconds=CALL)
        said = b""
        try:
            await client.start(container, CALL)
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    channel, data = await streams.receive()
                    said += data if channel == STDOUT else b""
        finally:
            await streams.aclose()
    except DockerFault as fault:
        fix = "look at image, volumes, network, user and the limits: the daemon names what it minds"
        return [EngineFinding(False, f"no container can be started: {fault.message}", fix)]
    finally:
        # At the end of the time, too: no container of a look may stay.
        with anyio.CancelScope(shield=True), suppress(DockerFault):
            await client.remove(name, CALL)
    seconds = anyio.current_time() - started
    closed = said.decode(errors="replace").split()
    if closed:
        fix = "give the directory to the container's user in the image, or set user"
        return [EngineFinding(False, f"the container's user may not write to {', '.join(closed)}", fix)]
    return [
        EngineFinding(True, f"a container started within {seconds:.1f} s" + (", volumes writable" * bool(writable)))
    ]


def _mounts(settings: DockerSettings) -> list[dict[str, Any]]:
    """Return the volumes; in place of those per thread nameless ones, which go again."""
    mounts: list[dict[str, Any]] = host_config(settings, "", "")["Mounts"]
    for volume, mount in zip(settings.volumes, mounts, strict=True):
        if "{" in volume.split(":")[0] and mount["Type"] == "volume":
            mount["Source"] = ""
    return mounts
