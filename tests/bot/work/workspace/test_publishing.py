"""What `/pr` does with git and `gh`: nobody is asked, nothing is overwritten, no secret is told."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest

from bot.work.workspace import publishing
from bot.work.workspace.journal import Refused
from bot.work.workspace.publishing import Published, push
from bot.work.workspace.worktrees import WorkTree
from tests.acp.children import gone
from tests.bot.work.repositories import needs_git, run_git
from tests.bot.work.workspace.hostile import hostile_environment, set_traps
from tests.bot.work.workspace.threads import Project, committed
from tests.clock import passing
from tests.repeat import in_soak

pytestmark = [needs_git, pytest.mark.asyncio]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Have a thread with a commit, a bare repository to push to, and a PATH on which programs can be put first."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    for name in ("GH_TOKEN", "GITHUB_TOKEN", "GH_HOST", "GIT_SSH_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    project = Project(tmp_path)
    committed(project.tree().directory, new="n\n")
    run_git(tmp_path, "clone", "-q", "--bare", str(project.path), "bare.git")
    run_git(tmp_path / "bare.git", "update-ref", "-d", "refs/heads/weft/thread-7")
    return project


def tree(project: Project) -> WorkTree:
    return project.trees["7"]


def program(project: Project, name: str, text: str) -> None:
    path = project.beside / "programs" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


async def publish(project: Project, remote: str | None = None, title: str = "A title") -> Published:
    return await push(tree(project), remote or str(project.beside / "bare.git"), title, "A body\n")


async def test_a_branch_is_pushed_and_nothing_is_ever_overwritten(project: Project) -> None:
    """W4: new, again, further; refused where the server has more, or says no; the local repository stays as it is."""
    bare, branch = project.beside / "bare.git", tree(project).branch
    config = (project.path / ".git/config").read_bytes()
    for _ in range(2):
        assert await publish(project) == Published(branch)
        assert run_git(bare, "rev-parse", branch) == project.at(branch)
    committed(tree(project).directory, new="further\n")
    await publish(project)
    theirs = run_git(bare, "commit-tree", f"{branch}^{{tree}}", "-p", branch, "-m", "theirs")
    run_git(bare, "update-ref", f"refs/heads/{branch}", theirs)
    committed(tree(project).directory, new="elsewhere\n")
    with pytest.raises(Refused, match="has commits on `weft/thread-7` that are not here, and I never overwrite any"):
        await publish(project)
    assert run_git(bare, "rev-parse", branch) == theirs
    run_git(bare, "update-ref", f"refs/heads/{branch}", project.at(f"{branch}^"))
    hook = bare / "hooks/update"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Refused, match="that directory` refused it: `hook declined`"):
        await publish(project)
    assert (project.path / ".git/config").read_bytes() == config
    run_git(project.path, "merge", "-q", branch)
    with pytest.raises(Refused, match="nothing to publish: `main` has everything already"):
        await publish(project)


async def test_a_remote_is_looked_up_by_its_name_as_data(project: Project) -> None:
    """W4, R5: agents can write there: only https and ssh, and nothing that changes what an address means."""
    run_git(project.path, "config", "remote.origin.url", str(project.beside / "bare.git"))
    with pytest.raises(Refused, match="neither https nor ssh, and agents could have written it"):
        await publish(project, "origin")
    with pytest.raises(Refused, match="the repository has no remote `upstream`"):
        await publish(project, "upstream")
    program(project, "ssh", f'echo "$@" >> {project.beside}/ssh; for last; do :; done; eval "$last"')
    run_git(project.path, "config", "remote.origin.url", f"git@example.org:{project.beside}/bare.git")
    run_git(project.path, "config", "core.sshCommand", f"touch {project.beside}/trap;")
    run_git(project.path, "config", f"url.{project.beside}/other.insteadOf", "git@example.org:")
    assert await publish(project, "origin") == Published(tree(project).branch, "example.org")
    assert run_git(project.beside / "bare.git", "rev-parse", tree(project).branch) == project.at(tree(project).branch)
    called = (project.beside / "ssh").read_text()
    assert "-o BatchMode=yes" in called
    assert not (project.beside / "trap").exists()


async def test_nothing_that_a_repository_names_is_run_by_a_push(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W4, R5: helpers, hooks, programs for receiving; not even those of the bot's environment."""
    traps = set_traps(project.path, project.beside)
    for name, value in hostile_environment(str(traps.program)).items():
        if name != "GIT_SSH_COMMAND":  # that is the operator's way to call ssh
            monkeypatch.setenv(name, value)
    with pytest.raises(Refused, match="neither https nor ssh"):
        await publish(project, "origin")
    run_git(project.beside, "config", "--file", str(project.path / ".git/config"), "remote.origin.url", "git@x.org:o/n")
    program(project, "ssh", "echo 'git@x.org: Permission denied (publickey).' >&2; exit 255")
    with pytest.raises(Refused, match=r"`x\.org` asks for a login that git does not have here"):
        await publish(project, "origin")
    await publish(project)
    assert traps.sprung() == ""


async def test_a_repository_that_is_trusted_is_pushed_as_it_is(project: Project) -> None:
    """W2, W4: with its hooks, and to wherever its remote leads."""
    run_git(project.path, "config", "remote.origin.url", str(project.beside / "bare.git"))
    hook = project.path / ".git/hooks/pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {project.beside}/ran\n")
    hook.chmod(0o755)
    with pytest.raises(Refused, match="neither https nor ssh"):
        await publish(project, "origin")
    project.trees["7"] = replace(tree(project), trusted=True)
    await publish(project, "origin")
    assert run_git(project.beside / "bare.git", "rev-parse", tree(project).branch) == project.at(tree(project).branch)
    assert (project.beside / "ran").exists()


@contextmanager
def server(project: Project, answer: int | None, asked: threading.Event | None = None) -> Iterator[int]:
    """Have an https server that gives an answer to everything, or none at all; yields its port."""
    done, was_asked = threading.Event(), asked or threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            was_asked.set()
            if answer is None:
                done.wait(60)
                return
            self.send_response(answer)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    certificate, key = project.beside / "certificate", project.beside / "key"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject)
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield httpd.server_address[1]
    finally:
        done.set()
        httpd.shutdown()
        thread.join(30)
        httpd.server_close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate")
async def test_a_server_that_asks_for_a_password_gets_none_and_keeps_nobody_waiting(
    project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """W4, R5: and what stands in the address is told nobody."""
    with server(project, 401) as port, anyio.fail_after(30):
        monkeypatch.setenv("GIT_SSL_CAINFO", str(project.beside / "certificate"))
        for login in ("", "user:s3cret@", "t0ken@"):
            with pytest.raises(Refused) as caught:
                await publish(project, f"https://{login}127.0.0.1:{port}/o/n.git")
            assert str(caught.value).startswith("`127.0.0.1` asks for a login that git does not have here")
    assert "s3cret" not in (said := "".join(capfd.readouterr()))
    assert "t0ken" not in said


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate")
async def test_a_push_that_does_not_end_is_ended(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """W4: with all that it started."""
    monkeypatch.setattr(publishing, "PUSH_LIMIT", 10.0)
    asked, pid = threading.Event(), project.beside / "pid"
    with server(project, None, asked) as port, anyio.fail_after(60):
        monkeypatch.setenv("GIT_SSL_CAINFO", str(project.beside / "certificate"))
        async with passing(10, asked.is_set):
            with pytest.raises(Refused, match="took longer than 10 s and was ended"):
                await publish(project, f"https://127.0.0.1:{port}/o/n.git")
    program(project, "ssh", f"sleep 60 & echo $! > {pid}.new; mv {pid}.new {pid}; wait")
    async with passing(10, pid.exists):
        with pytest.raises(Refused, match="took longer than 10 s and was ended"):
            await publish(project, "git@example.org:o/n")
    await gone(int(pid.read_text()))


async def test_a_server_that_is_not_there_is_told(project: Project) -> None:
    """W4"""
    with pytest.raises(Refused, match=r"`127\.0\.0\.1` can't be reached"):
        await publish(project, "https://127.0.0.1:1/o/n")
    with pytest.raises(Refused, match="there is no such repository at `that directory`"):
        await publish(project, str(project.beside / "none.git"))
    program(project, "ssh", "echo 'Host key verification failed.' >&2; exit 255")
    with pytest.raises(Refused, match=r"`example\.org` is not known to ssh here"):
        await publish(project, "git@example.org:o/n")


# --- the pull request ---


@pytest.fixture
def github(project: Project) -> Project:
    """Have an ssh that leads every address to the bare repository, and a `gh` that notes how it is called."""
    program(project, "ssh", f"exec git-receive-pack {project.beside}/bare.git")
    receive = Path(run_git(project.path, "--exec-path")) / "git-receive-pack"
    (project.beside / "programs/git-receive-pack").symlink_to(receive)
    return project


def gh(project: Project, login: int = 0, view: str = "exit 1", create: str = "exit 1") -> None:
    program(
        project,
        "gh",
        f'echo "$(pwd): $*" >> {project.beside}/gh; env >> {project.beside}/gh-env\n'
        f'case "$1 $2" in "auth status") exit {login};; "pr view") {view};; "pr create") {create};; esac',
    )


def called(project: Project) -> list[str]:
    calls = project.beside / "gh"
    return [line.split(": ", 1)[1] for line in calls.read_text().splitlines()] if calls.exists() else []


async def test_gh_opens_a_pull_request_where_it_is_logged_in(github: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """W4: from a directory of ours, with no token for a server that an agent may have named."""
    monkeypatch.setenv("GH_ENTERPRISE_TOKEN", "t0ken")
    monkeypatch.setenv("DISCORD_TOKEN", "t0ken")
    gh(github, create="echo Creating; echo https://github.com/o/n/pull/7")
    run_git(github.path, "config", "remote.origin.url", "git@github.com:o/n.git")
    found = await publish(github, "origin", title="-x\nof the title")
    assert found == Published(tree(github).branch, "github.com", None, "https://github.com/o/n/pull/7")
    assert called(github) == [
        "auth status --hostname github.com",
        "pr view weft/thread-7 --repo=github.com/o/n --json=url,state",
        "pr create --repo=github.com/o/n --head=weft/thread-7 --base=main --title=-x of the title --body=A body",
    ]
    assert "t0ken" not in (github.beside / "gh-env").read_text()
    places = {line.split(": ")[0] for line in (github.beside / "gh").read_text().splitlines()}
    assert [anyio.Path(place).name[:9] for place in places] == ["weft-git-"]


async def test_a_pull_request_that_is_open_is_found(github: Project) -> None:
    """W4: one that was closed or merged is not it."""
    shown = {"url": "https://github.com/o/n/pull/3", "state": "OPEN"}
    gh(github, view=f"echo '{json.dumps(shown)}'", create="echo https://github.com/o/n/pull/4")
    assert (await publish(github, "git@github.com:o/n")).pull_request == "https://github.com/o/n/pull/3"
    gh(github, view=f"echo '{json.dumps(shown | {'state': 'MERGED'})}'", create="echo https://github.com/o/n/pull/4")
    assert (await publish(github, "git@github.com:o/n")).pull_request == "https://github.com/o/n/pull/4"


@pytest.mark.parametrize(
    ("login", "create", "note"),
    [
        (0, "echo 'GraphQL: `no` rights' >&2; exit 1", "`gh` could not open it: `GraphQL: ˋnoˋ rights`"),
        *in_soak(
            [
                (1, "exit 9", ""),
                (0, "echo https://evil.example/o/n/pull/1", "`gh` could not open it: `it gave no address`"),
                (0, "sleep 60", "`gh` took longer than 20 s"),
            ]
        ),
    ],
)
async def test_without_gh_there_is_a_link(github: Project, login: int, create: str, note: str) -> None:
    """W4: where it is not logged in, fails, or does not end; the branch is pushed in any case."""
    gh(github, login, create=create)
    link = "https://github.com/o/n/compare/main...weft/thread-7?expand=1"
    async with passing(publishing.GH_LIMIT, lambda: "sleep" in create and "pr create" in str(called(github))):
        published = await publish(github, "git@github.com:o/n")
    assert published == Published(tree(github).branch, "github.com", link, None, note)
    assert run_git(github.beside / "bare.git", "rev-parse", tree(github).branch) == github.at(tree(github).branch)
