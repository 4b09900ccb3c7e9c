"""Images for the pods, made from what this machine has: busybox, and the Python that runs the tests.

The archive is as `docker save` writes it, which containerd imports. Python lies where it lies here, so that the
scripted agents' command is the same in a pod.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PAUSE = "weft.invalid/pause:1"
AGENT = "weft.invalid/agent:1"

AGENTS = Path("/opt/agents")
"""Where the scripted agents are as well: a volume may lie over the place that they have here."""

# Not the environment's: that is not in the images.
INTERPRETER = Path(sys._base_executable)  # type: ignore[attr-defined]
STANDARD = Path(sysconfig.get_paths()["stdlib"])

_LEFT_OUT = re.compile(r"/(site-packages|test|tests|idlelib|tkinter|lib2to3|ensurepip|__pycache__|config-[^/]*)(/|$)")
_LIBRARY = re.compile(r"(/\S+\.so\S*) \(0x")
# What the scripted agents import beyond the interpreter's own.
_MODULES = (
    "_socket",
    "_json",
    "_struct",
    "_random",
    "_bisect",
    "math",
    "select",
    "zlib",
    "binascii",
    "_posixsubprocess",
)


def write_images(path: Path, busybox: Path, agents: Path) -> None:
    """Write an archive with the images of pause and agent.

    Args:
        agents: the directory of the scripted agents; it is at the same place in the image, and at `AGENTS`.
    """
    base, python = layer(lambda tar: add_busybox(tar, busybox)), layer(lambda tar: _add_python(tar, agents))
    forever = {"Env": ["PATH=/bin"], "Cmd": ["sleep", "2147483647"]}
    write_archive(path, {PAUSE: (forever, [base]), AGENT: (forever, [base, python])})


def write_archive(path: Path, images: Mapping[str, tuple[Mapping[str, Any], Sequence[bytes]]]) -> None:
    """Write an archive with images: how each is run, and its layers."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[sysconfig.get_platform().rpartition("-")[2]]
    with tarfile.open(path, "w") as archive:
        manifest = []
        for name, (run, layers) in images.items():
            digests = [hashlib.sha256(one).hexdigest() for one in layers]
            config = _config(architecture, run, digests)
            config_name = f"{hashlib.sha256(config).hexdigest()}.json"
            add_file(archive, config_name, config)
            for digest, one in zip(digests, layers, strict=True):
                if f"{digest}.tar" not in archive.getnames():
                    add_file(archive, f"{digest}.tar", one)
            files = [f"{digest}.tar" for digest in digests]
            manifest.append({"Config": config_name, "RepoTags": [name], "Layers": files})
        add_file(archive, "manifest.json", json.dumps(manifest).encode())


def _config(architecture: str, run: Mapping[str, Any], digests: Sequence[str]) -> bytes:
    return json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
            "history": [{"created_by": "weft's tests"} for _ in digests],
        }
    ).encode()


def layer(fill: Callable[[tarfile.TarFile], None]) -> bytes:
    """Return a layer with what a function puts into it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        fill(tar)
    return buffer.getvalue()


def add_file(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    """Put a file into an archive."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    archive.addfile(member, io.BytesIO(data))


def add_busybox(tar: tarfile.TarFile, busybox: Path) -> None:
    for directory, mode in (("bin", 0o755), ("tmp", 0o1777), ("root", 0o755), ("etc", 0o755)):
        member = tarfile.TarInfo(directory)
        member.type, member.mode = tarfile.DIRTYPE, mode
        tar.addfile(member)
    add_file(tar, "bin/busybox", busybox.read_bytes(), 0o755)
    add_file(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000:agent:/tmp:/bin/sh\n")
    listed = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=True, timeout=30)
    for applet in set(listed.stdout.split()) - {"busybox"}:
        member = tarfile.TarInfo(f"bin/{applet}")
        member.type, member.linkname = tarfile.SYMTYPE, "busybox"
        tar.addfile(member)


def _add_python(tar: tarfile.TarFile, agents: Path) -> None:
    extensions = [path for name in _MODULES for path in (STANDARD / "lib-dynload").glob(f"{name}.*.so")]
    for path in (INTERPRETER, INTERPRETER.resolve(), *libraries(INTERPRETER.resolve(), *extensions)):
        # Followed: a library is a link to its version, and it is asked for by the link's name.
        tar.add(path.resolve(), arcname=str(path).lstrip("/"))
    for directory, place in ((STANDARD, STANDARD), (agents, agents), (agents, AGENTS)):
        tar.add(directory, arcname=str(place).lstrip("/"), filter=_kept)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _LEFT_OUT.search(f"/{member.name}".replace("/tests/agents", "/agents")) else member


def libraries(*programs: Path) -> list[Path]:
    """Return the libraries that these are linked with, by the names that they are asked for."""
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True, timeout=60)
    return [Path(one) for one in sorted(set(_LIBRARY.findall(said.stdout)))]
