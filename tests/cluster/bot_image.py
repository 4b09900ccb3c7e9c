"""The image of the bot: what the Containerfile makes, of this checkout and of the environment that runs the tests.

Entry, environment and places are the Containerfile's. In place of Debian there is busybox, and there is no agent.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tests.cluster.image import INTERPRETER, STANDARD, add_busybox, add_file, layer, libraries, write_archive

BOT = "weft.invalid/weft:1"
_ROOT = Path(__file__).parents[2]
_PREFIX = Path("opt/weft")
_PACKAGES = _PREFIX / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
_USER = 10001
_LEFT_OUT = re.compile(r"/(site-packages|test|tests|idlelib|tkinter|ensurepip|config-[^/]*)(/|$)|\.opt-[12]\.pyc$")


def write_bot_image(path: Path, busybox: Path) -> None:
    """Write an archive with the image."""
    layers = [layer(lambda tar: add_busybox(tar, busybox)), layer(_add_python), layer(_add_bot)]
    write_archive(path, {BOT: (run_config((_ROOT / "Containerfile").read_text()), layers)})


def run_config(containerfile: str) -> dict[str, Any]:
    """Return how an image is run, by the last stage of its Containerfile."""
    lines = [line for line in containerfile.splitlines() if not line.lstrip().startswith("#")]
    stage = re.split(r"^FROM .*$", "\n".join(lines), flags=re.MULTILINE)[-1].replace("\\\n", " ")
    said = re.findall(r"^([A-Z]+) (.*)$", stage, re.MULTILINE)
    arguments = dict(word.partition("=")[::2] for name, rest in said if name == "ARG" for word in shlex.split(rest))
    environment = [word for name, rest in said if name == "ENV" for word in shlex.split(rest)]
    for name, value in arguments.items():
        environment = [word.replace(f"${{{name}}}", value) for word in environment]
    words = {name: json.loads(rest) for name, rest in said if name in ("ENTRYPOINT", "CMD")}
    return {"Env": environment, "Entrypoint": words["ENTRYPOINT"], "Cmd": words["CMD"]}


def _add_python(tar: tarfile.TarFile) -> None:
    extensions = (STANDARD / "lib-dynload").glob("*.so")
    for path in (INTERPRETER, INTERPRETER.resolve(), *libraries(INTERPRETER.resolve(), *extensions)):
        tar.add(path.resolve(), arcname=str(path).lstrip("/"))
    tar.add(STANDARD, arcname=str(STANDARD).lstrip("/"), filter=_kept)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _LEFT_OUT.search(f"/{member.name}") else member


def _add_bot(tar: tarfile.TarFile) -> None:
    for name, owner, mode in (("var/lib/weft", _USER, 0o700), ("srv/projects", _USER, 0o755)):
        member = tarfile.TarInfo(name)
        member.type, member.uid, member.gid, member.mode = tarfile.DIRTYPE, owner, owner, mode
        tar.addfile(member)
    add_file(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nweft:x:10001:10001::/var/lib/weft:/bin/false\n")
    entry = (_ROOT / "scripts/container-entry").read_bytes()
    add_file(tar, "usr/local/bin/weft-entry", entry, 0o755)
    # A virtual environment, as pip makes it.
    add_file(tar, f"{_PREFIX}/pyvenv.cfg", f"home = {INTERPRETER.parent}\n".encode())
    member = tarfile.TarInfo(f"{_PREFIX}/bin/python")
    member.type, member.linkname = tarfile.SYMTYPE, str(INTERPRETER)
    tar.addfile(member)
    program = f"#!/{_PREFIX}/bin/python\nfrom bot.__main__ import main\nmain()\n"
    add_file(tar, f"{_PREFIX}/bin/weft", program.encode(), 0o755)
    packages = list(_packages())
    for source, place in packages:
        tar.add(source, arcname=str(_PACKAGES / place), recursive=False)
    for path in libraries(*(source for source, _ in packages if ".so" in source.suffixes)):
        # What a package brings along lies beside it.
        if "site-packages" not in path.parts:
            tar.add(path.resolve(), arcname=str(path).lstrip("/"))


def _packages() -> Iterator[tuple[Path, Path]]:
    """Yield the files of the code and of all that it needs, and where below `site-packages` they are."""
    for distribution in _needed("weft", frozenset({"kubernetes"})):
        for file in distribution.files or ():
            path = Path(str(file))
            # Not the programs; and the tests' environment has Weft's code by a link to a checkout.
            if ".." not in path.parts and path.suffix != ".pth" and (source := Path(str(file.locate()))).exists():
                yield source, path
    for package in ("acp", "pool", "bot"):
        for source in sorted((_ROOT / package).rglob("*")):
            if source.is_file():
                yield source, source.relative_to(_ROOT)


def _needed(name: str, extras: frozenset[str]) -> Iterator[Distribution]:
    """Yield a distribution that is installed, and those that it needs; each once."""
    wanted, seen = [(name, extras)], set[tuple[str, frozenset[str]]]()
    while wanted:
        one = wanted.pop()
        if one in seen:
            continue
        seen.add(one)
        found = importlib.metadata.distribution(one[0])
        if sum(name == one[0] for name, _ in seen) == 1:
            yield found
        for requirement in map(Requirement, found.requires or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (one[1] or {""})):
                wanted.append((requirement.name, frozenset(requirement.extras)))
