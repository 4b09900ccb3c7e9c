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
from collections.abc import Callable
from pathlib import Path

PAUSE = "weft.invalid/pause:1"
AGENT = "weft.invalid/agent:1"

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
    """Write an archive with both images.

    Args:
        agents: the directory of the scripted agents; it is at the same place in the image.
    """
    base, python = _layer(lambda tar: _add_busybox(tar, busybox)), _layer(lambda tar: _add_python(tar, agents))
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[sysconfig.get_platform().rpartition("-")[2]]
    images = {PAUSE: [base], AGENT: [base, python]}
    with tarfile.open(path, "w") as archive:
        manifest = []
        for name, layers in images.items():
            config = _config(architecture, layers)
            config_name = f"{hashlib.sha256(config).hexdigest()}.json"
            _add(archive, config_name, config)
            files = []
            for layer in layers:
                files.append(f"{hashlib.sha256(layer).hexdigest()}.tar")
                if files[-1] not in archive.getnames():
                    _add(archive, files[-1], layer)
            manifest.append({"Config": config_name, "RepoTags": [name], "Layers": files})
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def _config(architecture: str, layers: list[bytes]) -> bytes:
    digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    return json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sleep", "2147483647"]},
            "rootfs": {"type": "layers", "diff_ids": digests},
            "history": [{"created_by": "weft's tests"} for _ in layers],
        }
    ).encode()


def _layer(fill: Callable[[tarfile.TarFile], None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        fill(tar)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    archive.addfile(member, io.BytesIO(data))


def _add_busybox(tar: tarfile.TarFile, busybox: Path) -> None:
    for directory, mode in (("bin", 0o755), ("tmp", 0o1777), ("root", 0o755), ("etc", 0o755)):
        member = tarfile.TarInfo(directory)
        member.type, member.mode = tarfile.DIRTYPE, mode
        tar.addfile(member)
    _add(tar, "bin/busybox", busybox.read_bytes(), 0o755)
    _add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000:agent:/tmp:/bin/sh\n")
    listed = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=True, timeout=30)
    for applet in set(listed.stdout.split()) - {"busybox"}:
        member = tarfile.TarInfo(f"bin/{applet}")
        member.type, member.linkname = tarfile.SYMTYPE, "busybox"
        tar.addfile(member)


def _add_python(tar: tarfile.TarFile, agents: Path) -> None:
    interpreter = Path(sys._base_executable)  # type: ignore[attr-defined]  # not the environment's: it is not there
    standard = Path(sysconfig.get_paths()["stdlib"])
    extensions = [path for name in _MODULES for path in (standard / "lib-dynload").glob(f"{name}.*.so")]
    libraries = {match for path in (interpreter.resolve(), *extensions) for match in _libraries(path)}
    for path in (interpreter, interpreter.resolve(), *map(Path, sorted(libraries))):
        # Followed: a library is a link to its version, and it is asked for by the link's name.
        tar.add(path.resolve(), arcname=str(path).lstrip("/"))
    for directory in (standard, agents):
        tar.add(directory, arcname=str(directory).lstrip("/"), filter=_kept)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _LEFT_OUT.search(f"/{member.name}".replace("/tests/agents", "/agents")) else member


def _libraries(path: Path) -> list[str]:
    said = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=True, timeout=30)
    return _LIBRARY.findall(said.stdout)
