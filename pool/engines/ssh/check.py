"""What the doctor asks a host of an ssh engine, and what the answers mean (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from acp.engine import LaunchSpec
from pool.engines.model import EngineFinding
from pool.engines.ssh.script import number, shared_part
from pool.engines.ssh.settings import SshHost, SshSettings


def questions(specs: Sequence[LaunchSpec]) -> list[str]:
    """Return the script's arguments: pairs of the directory that has to be there and the program."""
    pairs = dict.fromkeys((shared_part(one.cwd, one.labels.get("thread", "")), _program(one)) for one in specs)
    return [word for pair in pairs for word in pair]


def _program(spec: LaunchSpec) -> str:
    # By the agent's own PATH it is looked for by the trial start only: what is asked here has that of the login.
    return "sh" if "PATH" in spec.env and "/" not in spec.argv[0] else spec.argv[0]


def missing_files(settings: SshSettings) -> list[EngineFinding]:
    """Return which files of the settings are not there: ssh says so of none of them, and does without."""
    fix = "correct the path, or leave the setting out"
    return [
        _wrong(f"{name}: there is no file {path}", fix) for name, path in settings.files().items() if not _there(path)
    ]


def _there(path: Path) -> bool:
    try:
        return path.is_file() or path.is_char_device()
    except OSError:
        return False


def told(hosts: Sequence[Sequence[EngineFinding]]) -> list[EngineFinding]:
    """Return what was found on all hosts; while one of them takes agents, what is wrong with others is mild."""
    one_is_well = any(all(finding.ok for finding in found) for found in hosts)
    return [replace(finding, mild=one_is_well and not finding.ok) for found in hosts for finding in found]


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
