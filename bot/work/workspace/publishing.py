"""Pushes a thread's branch and opens a pull request for it (W4).

Git pushes commits by their ids from a directory of ours, never by force: the repository's configuration, hooks and
helpers are not seen, the user's own are, since they hold the logins. Nothing asks anybody for anything, and what does
not end is ended. Where the server is GitHub and its program `gh` is logged in there, it opens the pull request. There
is no state.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from acp.process import agent_environment, named
from bot.programs import running
from bot.reply.sanitise import clean, clip, inline_code, one_line
from bot.work.workspace.git import GitMissing, our_directory
from bot.work.workspace.journal import Refused
from bot.work.workspace.remotes import NAME, Remote, link_to_open, read_address
from bot.work.workspace.repository import Repository
from bot.work.workspace.standing import look_at, standing_of, tip_of
from bot.work.workspace.worktrees import WorkTree, repository_of
from bot.work.workspace.writing import ASKS_NOBODY, Writer, writing

log = structlog.get_logger(__name__)

PUSH_LIMIT, GH_LIMIT = 60.0, 20.0
"""Seconds for a push, and for each call of `gh`."""

_OUTPUT = 64 * 1024
_TITLE, _BODY = 250, 60_000

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "push.recurseSubmodules=no",
    "push.gpgSign=false",
    "push.followTags=false",
    "submodule.recurse=false",
    "credential.interactive=false",
    "protocol.allow=never",
)
_FROM_ABROAD = (
    *("SSH_AUTH_SOCK", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"),
    *("GH_TOKEN", "GITHUB_TOKEN", "GH_CONFIG_DIR", "GH_HOST"),
)
_ENTERPRISE = ("GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN")

# What git and ssh say, in the order in which it is looked for.
_SAID = (
    (
        re.compile(
            r"could not read (?:Username|Password)|Authentication failed|terminal prompts disabled|Permission denied"
            r"|HTTP 40[13]|returned error: 40[13]|could not be authenticated",
            re.IGNORECASE,
        ),
        "{host} asks for a login that git does not have here: set one up for the user that runs me",
    ),
    (
        re.compile(r"Host key verification failed", re.IGNORECASE),
        "{host} is not known to ssh here: connect to it once as the user that runs me, and check its key",
    ),
    (
        re.compile(
            r"Could not resolve host|Connection (?:refused|timed out|reset)|Failed to connect|unable to connect"
            r"|No route to host|Name or service not known",
            re.IGNORECASE,
        ),
        "{host} can't be reached",
    ),
    (
        re.compile(r"not found|does not (?:exist|appear to be a git repository)", re.IGNORECASE),
        "there is no such repository at {host}, or git may not see it here",
    ),
)
_BEHIND = re.compile(r"non-fast-forward|fetch first|needs force|stale info")


@dataclass(frozen=True, slots=True)
class Published:
    """A branch that was pushed.

    Attributes:
        host: the server; None: a directory.
        link: where to open a pull request; None: that isn't known, or there is one.
        pull_request: the one that is open for it.
        note: why `gh` did not open one, for people; empty if there is nothing to say.
    """

    branch: str
    host: str | None = None
    link: str | None = None
    pull_request: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    """How a program ended, and what it printed."""

    code: int
    out: str
    err: str


async def push(tree: WorkTree, remote: str, title: str, body: str) -> Published:
    """Push a thread's branch, and open a pull request where that can be done from here.

    Args:
        remote: the project's setting: the name of one of the repository's remotes, or an address.
        title, body: of the pull request.

    Raises:
        Refused: it can't be done as things are.
        Unreadable: git can't do it.
    """
    repository = await repository_of(tree)
    standing = await look_at(standing_of, repository)
    async with writing(repository, standing.head, repository.root, index="none") as git:
        commit = await _commit_to_push(git, tree)
        where = await _find(git, tree, remote)
        said = await _push(git, tree, repository, where, commit)
    log.info("work.pushed", commit=commit, host=where.host)
    return await _open(tree, where, said, title, body)


async def _commit_to_push(git: Writer, tree: WorkTree) -> str:
    commit = await tip_of(git, tree.reference)
    if commit is None:
        raise Refused(f"the branch {inline_code(tree.branch)} is gone")
    if tree.branch == tree.base:
        raise Refused(f"{inline_code(tree.base)} is the branch of this thread itself")
    base = await tip_of(git, f"refs/heads/{tree.base}")
    if base is not None and not int((await git.run("rev-list", "--count", commit, "--not", base)).data):
        raise Refused(f"there is nothing to publish: {inline_code(tree.base)} has everything already")
    return commit


async def _find(git: Writer, tree: WorkTree, remote: str) -> Remote:
    """Return where to push to, by a name that is looked up as data, or an address."""
    if not NAME.fullmatch(remote):
        return read_address(f"{Path.home()}{remote[1:]}" if remote.startswith("~/") else remote, ours=True)
    for key in (f"remote.{remote}.pushurl", f"remote.{remote}.url"):
        config = str(git.directory / "theirs")
        found = await git.run("config", "--file", config, "--no-includes", "--get", key, codes=range(256))
        if found.code == 0:
            return read_address(found.data.decode(errors="replace").strip(), ours=tree.trusted)
    raise Refused(
        f"the repository has no remote {inline_code(remote)}: set the project's `remote` to one, or an address"
    )


# --- git --------------------------------------------------------------------------------------------------------------


async def _push(git: Writer, tree: WorkTree, repository: Repository, remote: Remote, commit: str) -> str:
    """Push a commit as the branch; return what the server said."""
    program = shutil.which("git")
    if program is None:
        raise GitMissing("git is not installed where I run")
    environment = {**_environment(), **ASKS_NOBODY, "GIT_SSH_COMMAND": await _ssh(program)}
    settings = [*_SETTINGS, f"protocol.{remote.scheme}.allow=always"]
    if tree.trusted:
        environment |= {"GIT_DIR": str(repository.private), "GIT_WORK_TREE": str(repository.root)}
        settings = ["credential.interactive=false", "gc.auto=0", "maintenance.auto=false"]
    else:
        environment |= {key: git.environment[key] for key in ("GIT_DIR", "GIT_OBJECT_DIRECTORY")}
    words = [word for setting in settings for word in ("-c", setting)]
    # By its id: what was looked at is pushed, wherever the branch is by now.
    what = f"{commit}:{tree.reference}"
    # No force of any kind, here or in the settings: what is not known here is never overwritten.
    command = [program, *words, "push", "--porcelain", "--no-signed", "--no-recurse-submodules", remote.url, what]
    try:
        with anyio.fail_after(PUSH_LIMIT):
            done = await _run(command, environment, git.directory)
    except TimeoutError as exc:
        raise Refused(f"the push to {remote.shown} took longer than {PUSH_LIMIT:.0f} s and was ended") from exc
    if done.code != 0:
        raise Refused(_why_not(remote, tree, done))
    return done.err


async def _ssh(program: str) -> str:
    """Return the user's way to call ssh, with nobody to ask."""
    command = os.environ.get("GIT_SSH_COMMAND", "")
    if not command:
        environment = {**_environment(), "GIT_CONFIG_NOSYSTEM": "1"}
        with anyio.move_on_after(GH_LIMIT):
            done = await _run([program, "config", "--global", "core.sshCommand"], environment, Path("/"))
            command = done.out.strip()
    return f"{command or 'ssh'} -o BatchMode=yes -o ConnectTimeout=20"


def _environment() -> dict[str, str]:
    return agent_environment(os.environ, _FROM_ABROAD)


def _why_not(remote: Remote, tree: WorkTree, done: _Said) -> str:
    branch = inline_code(tree.branch)
    for line in done.out.split("\n"):
        if line.startswith("!"):
            why = line.split("\t")[-1]
            if _BEHIND.search(why):
                return (
                    f"{remote.shown} has commits on {branch} that are not here, and I never overwrite any: ask the "
                    "agent to fetch and merge them"
                )
            if "remote rejected" in why:
                said = remote.scrubbed(why.removeprefix("[remote rejected]").strip(" ()"))
                return f"{remote.shown} refused it: {inline_code(said, 200)}"
    text = remote.scrubbed(done.err)
    for pattern, sentence in _SAID:
        if pattern.search(text):
            return sentence.format(host=remote.shown)
    lines = [line.removeprefix("fatal:").strip() for line in text.split("\n") if line.strip()]
    return f"git could not push to {remote.shown}: {inline_code(lines[0] if lines else f'exit code {done.code}', 200)}"


# --- the pull request -------------------------------------------------------------------------------------------------


async def _open(tree: WorkTree, remote: Remote, said: str, title: str, body: str) -> Published:
    link = link_to_open(remote, tree.branch, tree.base, remote.scrubbed(said))
    plain = Published(tree.branch, remote.host, link)
    program = shutil.which("gh")
    if program is None or remote.host is None or remote.slug is None or remote.slug.count("/") != 1:
        return plain
    if "gitlab" in remote.host:
        return plain
    try:
        async with _gh(program, remote) as gh:
            if (await gh("auth", "status", "--hostname", remote.host)).code != 0:
                return plain
            found = await _existing(gh, tree, remote) or await _create(gh, tree, remote, title, body)
    except TimeoutError:
        return Published(tree.branch, remote.host, link, note=f"`gh` took longer than {GH_LIMIT:.0f} s")
    if found.startswith("https://"):
        return Published(tree.branch, remote.host, pull_request=found)
    return Published(tree.branch, remote.host, link, note=f"`gh` could not open it: {inline_code(found, 200)}")


class _Gh:
    """GitHub's program, in an empty directory of ours: it reads the repository that it stands in."""

    def __init__(self, program: str, directory: Path, environment: Mapping[str, str]) -> None:
        self._program = program
        self._directory = directory
        self._environment = environment

    async def __call__(self, *args: str) -> _Said:
        with anyio.fail_after(GH_LIMIT):
            return await _run([self._program, *args], self._environment, self._directory)


@asynccontextmanager
async def _gh(program: str, remote: Remote) -> AsyncIterator[_Gh]:
    environment = {**_environment(), "GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"}
    # `gh` sends these to any server but github.com, and an agent may have named this one.
    if remote.ours or os.environ.get("GH_HOST") == remote.host:
        environment |= named(os.environ, _ENTERPRISE)
    async with our_directory() as (_, directory):
        yield _Gh(program, directory, {**environment, "GIT_CEILING_DIRECTORIES": str(directory.parent)})


async def _existing(gh: _Gh, tree: WorkTree, remote: Remote) -> str | None:
    done = await gh("pr", "view", tree.branch, f"--repo={remote.host}/{remote.slug}", "--json=url,state")
    with suppress(ValueError, TypeError, KeyError):
        found = json.loads(done.out)
        if done.code == 0 and found["state"] == "OPEN":
            return _address(found["url"], remote)
    return None


async def _create(gh: _Gh, tree: WorkTree, remote: Remote, title: str, body: str) -> str:
    """Return the address of a new pull request, or why there is none."""
    name = clip(one_line(clean(title)), _TITLE) or tree.branch
    text = clip(clean(body).strip(), _BODY)
    where = f"--repo={remote.host}/{remote.slug}"
    done = await gh(
        *("pr", "create", where, f"--head={tree.branch}", f"--base={tree.base}", f"--title={name}", f"--body={text}")
    )
    if done.code == 0:
        return _address(done.out.strip().split("\n")[-1], remote) or "it gave no address"
    lines = [line for line in remote.scrubbed(done.err).split("\n") if line.strip()]
    log.warning("gh.failed", exit_code=done.code)
    return lines[0] if lines else f"exit code {done.code}"


def _address(url: str, remote: Remote) -> str | None:
    # Of the very host only: it is a program that says this, and people press links.
    return url if re.fullmatch(rf"https://{re.escape(remote.host or '')}/[\w./-]+", url) else None


# --- programs ---------------------------------------------------------------------------------------------------------


async def _run(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> _Said:
    """Run a program without a terminal or input to its end; nothing that it started goes on afterwards."""
    out, err = bytearray(), bytearray()
    async with running(command, stdin=subprocess.DEVNULL, cwd=directory, env=environment) as process:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_listen, process.stdout, out)
            tasks.start_soon(_listen, process.stderr, err)
        code = await process.wait()
    return _Said(code, out.decode(errors="replace"), err.decode(errors="replace"))


async def _listen(stream: anyio.abc.ByteReceiveStream | None, said: bytearray) -> None:
    assert stream is not None
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for chunk in stream:
            # Read on beyond what is kept: a program waits for ever at a pipe that is full.
            said += chunk[: _OUTPUT - len(said)]
