"""A repository that would run a program wherever git lets one name a program, and tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.bot.work.repositories import run_git

FILTERS = ("evil", "lfs", 'odd "name\\" x', "a.b.c", "übel")

HOOKS = (
    *("applypatch-msg", "pre-applypatch", "post-applypatch", "pre-commit", "pre-merge-commit", "prepare-commit-msg"),
    *("commit-msg", "post-commit", "pre-rebase", "post-checkout", "post-merge", "pre-push", "pre-receive", "update"),
    *("proc-receive", "post-receive", "post-update", "reference-transaction", "push-to-checkout", "pre-auto-gc"),
    *("post-rewrite", "sendemail-validate", "fsmonitor-watchman", "post-index-change", "anything"),
)


@dataclass(frozen=True)
class Traps:
    """What was set up: ``trace`` is there once a program has run, and holds a line for each that did."""

    program: Path
    trace: Path

    def sprung(self) -> str:
        return self.trace.read_text() if self.trace.exists() else ""


def set_traps(workspace: Path, beside: Path) -> Traps:
    """Have everything in a repository that can name a program name one that leaves a trace.

    Args:
        workspace: the top of the first work tree; nothing in it is committed.
        beside: a directory for the program and its trace.
    """
    traps = Traps(beside / "trap", beside / "trace")
    traps.program.write_text(f'#!/bin/sh\necho "$0 $*" >> {traps.trace}\ncat\n')
    traps.program.chmod(0o755)
    repository, more = workspace / ".git", workspace / ".git/more"
    for key, value in _settings(str(traps.program), repository, more).items():
        run_git(beside, "config", "--file", str(repository / "config"), key, value)
    more.write_text(f"[core]\n\tfsmonitor = {traps.program}\n\thooksPath = {repository}/traps\n")
    (repository / "config.worktree").write_text(f"[core]\n\tfsmonitor = {traps.program}\n")
    for directory in ("traps", "hooks"):
        (repository / directory).mkdir(exist_ok=True)
        for hook in HOOKS:
            (repository / directory / hook).unlink(missing_ok=True)
            (repository / directory / hook).symlink_to(traps.program)
    (repository / "info").mkdir(exist_ok=True)
    (repository / "info/attributes").write_text("* filter=lfs diff=lfs merge=lfs\n")
    return traps


def hostile_attributes() -> str:
    """Return a ``.gitattributes`` that sends every file through what `set_traps` configures."""
    lines = [f"*.{number} filter={name} diff={name} merge={name}" for number, name in enumerate(FILTERS)]
    return "\n".join(["* filter=evil diff=evil merge=evil ident", *lines, ""])


def hostile_environment(trap: str) -> dict[str, str]:
    """Return variables with which a bot may be started that git would obey."""
    names = ("EXTERNAL_DIFF", "SSH_COMMAND", "SSH", "ASKPASS", "PAGER", "PROXY_COMMAND", "EDITOR", "SEQUENCE_EDITOR")
    return {
        **{f"GIT_{name}": trap for name in names},
        **dict.fromkeys(("EDITOR", "VISUAL", "PAGER", "SSH_ASKPASS"), trap),
        **dict.fromkeys(("GIT_DIR", "GIT_INDEX_FILE", "GIT_TEMPLATE_DIR"), "/nonexistent"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": trap,
    }


def _settings(program: str, repository: Path, more: Path) -> dict[str, str]:
    settings = {
        "core.fsmonitor": program,
        "core.hooksPath": str(repository / "traps"),
        "core.pager": program,
        "core.editor": program,
        "sequence.editor": program,
        "core.sshCommand": program,
        "core.gitProxy": program,
        "core.askPass": program,
        "core.alternateRefsCommand": program,
        "core.worktree": "/",
        "core.bare": "true",
        "core.attributesFile": str(more),
        "core.excludesFile": str(more),
        "credential.helper": f"!{program}",
        "gpg.program": program,
        "gpg.ssh.program": program,
        "gpg.ssh.defaultKeyCommand": program,
        "commit.gpgSign": "true",
        "tag.gpgSign": "true",
        "diff.external": program,
        "interactive.diffFilter": program,
        "merge.tool": "evil",
        "mergetool.evil.cmd": program,
        "trailer.evil.command": program,
        "trailer.evil.cmd": program,
        "uploadpack.packObjectsHook": program,
        "protocol.ext.allow": "always",
        "extensions.partialClone": "origin",
        "extensions.worktreeConfig": "true",
        "remote.origin.url": f"ext::{program}",
        "remote.origin.promisor": "true",
        "remote.origin.uploadpack": program,
        "remote.origin.receivepack": program,
        "remote.origin.vcs": "evil",
        "url.ext::evil.insteadOf": "https://",
        "submodule.recurse": "true",
        "submodule.x.update": f"!{program}",
        "submodule.x.url": f"ext::{program}",
        "submodule.active": ".",
        "status.submoduleSummary": "true",
        "gc.auto": "1",
        "include.path": str(more),
        "includeIf.gitdir:/**.path": str(more),
        "hook.evil.command": program,
        "hook.evil.event": "reference-transaction",
    }
    commands = (
        "add",
        "status",
        "diff",
        "commit",
        "update-ref",
        "read-tree",
        "checkout-index",
        "worktree",
        "merge-tree",
    )
    settings |= {f"alias.{name}": f"!{program}" for name in commands}
    settings |= {f"pager.{name}": program for name in commands}
    for name in FILTERS:
        settings |= {f"filter.{name}.{key}": program for key in ("clean", "smudge", "process")}
        settings |= {f"filter.{name}.required": "true"}
        settings |= {f"diff.{name}.{key}": program for key in ("textconv", "command")}
        settings |= {f"merge.{name}.driver": program}
    return settings
