"""The text of the unit and of its strict drop-in (pure).

What is allowed by default is what agents need that run on Node and build software; `strict` takes more away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bot.config import TOKEN_CREDENTIAL

NAME = "weft.service"
STRICT_NAME = "50-strict.conf"
MARK = "# Written by `weft service install`, which overwrites it; changes belong in a drop-in (systemctl edit)."
STARTS_PER_HOUR = 10
USUAL_PATH = tuple(map(Path, ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")))
"""Where systemd looks for programs by itself; source: systemd.exec(5)."""

HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""Directories that `ProtectHome=` means."""

TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  places to look out for, not to write to
"""Directories that `PrivateTmp=` means."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What differs from one installation to the next; all paths are absolute.

    Attributes:
        python: the interpreter of the environment in which Weft is installed.
        prefixes: where that environment, the interpreter behind it and Weft's own code lie, and the agents' file.
        run_as: the user of the service; None for a service of one's own (``systemctl --user``).
        token_file: holds the token, which comes in by the standard input.
        sealed_token: holds the token as an encrypted credential. With neither, the settings have it.
        writable: directories that the bot and its agents may write to, the state directory apart.
        path: where the service looks for programs, the directories of the agents first.
    """

    python: Path
    prefixes: tuple[Path, ...]
    env_file: Path
    run_as: str | None
    token_file: Path | None
    sealed_token: Path | None
    writable: tuple[Path, ...]
    path: tuple[Path, ...] = USUAL_PATH


_HEAD = """\
{mark}
[Unit]
Description=Weft, coding agents in Discord threads
{network}# Each start is a login at Discord, which allows 1000 a day: at most {starts} an hour, then a person must look.
# While Discord is away, one start waits for it: an outage uses up none.
StartLimitIntervalSec=1h
StartLimitBurst={starts}

[Service]
Type=notify
NotifyAccess=main
ExecStart={start}
ExecReload=/bin/kill -HUP $MAINPID
# Where agents, and Node for them, were found when this was written; once they are elsewhere, install the service again.
Environment={path}
{token}# Waiting for Discord at the start, and for turns at the end, ask for more time than this by themselves.
TimeoutStartSec=90
TimeoutStopSec=90
WatchdogSec=60
TimeoutAbortSec=15
# The bot ends its agents in order; whatever is left of them is killed with the unit.
KillMode=mixed
# Even after an exit code of 0: an agent runs as the same user and can send SIGTERM. `systemctl stop` is no exit.
Restart=always
RestartSec=10
# A restart fixes neither the configuration (78) nor a second bot on the same state (75).
RestartPreventExitStatus=75 78
# An agent that runs out of memory must not take the others along.
OOMPolicy=continue
UMask=0077
NoNewPrivileges=yes
"""

_SYSTEM = """\
User={run_as}
StateDirectory=weft
StateDirectoryMode=0700
{runtime}WorkingDirectory=%S/weft

# Node and build tools stand all of this. Not here, since they need it: memory that is written and executed, user
# namespaces (sandboxes), most system calls.
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ReadWritePaths={writable}
PrivateTmp=yes
{binds}PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
KeyringMode=private
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""

_OWN = """\
{runtime}WorkingDirectory=%h

[Install]
WantedBy=default.target
"""

_STRICT = """\
{mark}
# What this breaks: sandboxes around agents (bubblewrap needs RestrictNamespaces=no and SystemCallFilter=@mount capset),
# tools that need further system calls (strace, perf), and files in other users' homes.
[Service]
ProtectHome=tmpfs
{binds}PrivateUsers=yes
RestrictNamespaces=yes
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
# An error instead of a kill: Node tries calls that it can do without.
SystemCallErrorNumber=EPERM
"""

_RUNTIME = """\
# For the socket at which agents reach the bot, and that of WEFT_HEALTH, if that is one.
RuntimeDirectory=weft
RuntimeDirectoryMode=0700
"""

_NETWORK = "Wants=network-online.target\nAfter=network-online.target\n"

_STDIN = """\
# systemd opens it as root: neither agents nor anything else of the service's user can read the token.
StandardInput=file:{token_file}
"""

_CREDENTIAL = """\
# Whatever runs as the service's user can read it, agents as well; on the disk it is sealed.
LoadCredentialEncrypted={name}:{token_file}
"""


def unit(plan: Plan) -> str:
    own = plan.run_as is None
    # -P: the service starts in a directory that agents can write to, where a module `bot` would be taken for ours.
    start = [str(plan.python), "-P", "-m", "bot", "run", "--env-file", str(plan.env_file)]
    if plan.token_file is not None:
        start.append("--token-stdin")
    head = _HEAD.format(
        mark=MARK,
        starts=STARTS_PER_HOUR,
        network="" if own else _NETWORK,
        # systemd puts variables into command lines.
        start=" ".join(quoted(word).replace("$", "$$") for word in start),
        path=quoted("PATH=" + ":".join(map(str, plan.path))),
        token=_token(plan),
    )
    if own:
        return head + _OWN.format(runtime=_RUNTIME)
    binds = _binds(plan, TEMPORARY)
    return head + _SYSTEM.format(runtime=_RUNTIME, run_as=plan.run_as, writable=_words(plan.writable), binds=binds)


def _token(plan: Plan) -> str:
    if plan.token_file is not None:
        return _STDIN.format(token_file=_path(plan.token_file))
    if plan.sealed_token is not None:
        return _CREDENTIAL.format(name=TOKEN_CREDENTIAL, token_file=_path(plan.sealed_token))
    return ""


def strict(plan: Plan) -> str:
    """Return the drop-in that takes away what agents without a sandbox can do without."""
    return _STRICT.format(mark=MARK, binds=_binds(plan, HOMES))


def _binds(plan: Plan, hidden: tuple[Path, ...]) -> str:
    """Return the lines that make visible what the service needs of directories that it would not see."""
    # The directory of the settings, not the file: an editor puts a new one in its place.
    readable = (*plan.prefixes, plan.env_file.parent)
    return _bound("BindPaths", plan.writable, hidden) + _bound("BindReadOnlyPaths", readable, hidden)


def _bound(setting: str, paths: Iterable[Path], hidden: tuple[Path, ...]) -> str:
    words = _words(path for path in paths if any(path.is_relative_to(directory) for directory in hidden))
    return f"{setting}={words}\n" if words else ""


def quoted(text: str) -> str:
    """Return a word as units have it: specifiers doubled, and in quotes if it needs some."""
    escaped = _path(text)
    if not any(character.isspace() or character in "\"'\\;" for character in escaped):
        return escaped
    inner = escaped.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


def _path(text: str | Path) -> str:
    return str(text).replace("%", "%%")


def _words(paths: Iterable[Path]) -> str:
    return " ".join(quoted(str(path)) for path in dict.fromkeys(paths))
