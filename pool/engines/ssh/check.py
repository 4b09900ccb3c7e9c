"""What the doctor asks a host of an ssh engine, and what the answers mean (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from acp.engine import LaunchSpec
from pool.engines.model import EngineFinding
from pool.engines.ssh.script import number, shared_part
from pool.engines.ssh.settings import SshHost


def questions(specs: Sequence[LaunchSpec]) -> list[str]:
    """Return the script's arguments: pairs of the directory that has to be there and the program."""
    pairs = dict.fromkeys((shared_part(one.cwd, one.labels.get("thread", "")), one.argv[0]) for one in specs)
    return [word for pair in pairs for word in pair]


def findings(host: SshHost, answer: Sequence[Sequence[str]]) -> list[EngineFinding]:
    """Return what the answer says of a host that was reached."""
    name, found, memory = host.called, [], ""
    for what, *rest in answer:
        text = " ".join(rest)
        if what == "memory" and (kib := number(rest, 0)) is not None:
            memory = f", {kib / 1024**2:.1f} GB free"
        elif what == "lacks":
            found.append(_wrong(f"{name} has no {text}", f"install what has {text} (coreutils or busybox) there"))
        elif what == "blind":
            found.append(_wrong(f"{name}: /proc can't be read", "Weft can end agents there only with a readable /proc"))
        elif what == "directory":
            why, _, path = text.partition(" ")
            does = "is not a directory" if why == "missing" else "can't be written to"
            found.append(_wrong(f"{name}: {path} {does}", f"make {path} there, for the account that Weft logs in to"))
        elif what == "program":
            fix = "install it there, or give the agent a PATH with `set`: a login by ssh reads no profile"
            found.append(_wrong(f"{name}: {text} was not found", fix))
    if not answer or answer[-1][0] != "checked":
        found.append(_wrong(f"{name}: the check was cut off", "try again"))
    good = EngineFinding(True, f"{name}: reached as {host.address}, {host.places} places{memory}")
    return [good, *found]


def _wrong(what: str, fix: str) -> EngineFinding:
    return EngineFinding(False, what, fix)
