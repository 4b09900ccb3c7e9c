"""Threads that work on a project: each in a work tree of its own, made and set up before its agent starts there."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.agents.model import AgentProfile, Agents, Project
from bot.model import Outcome
from bot.sandbox import FakeDiscord
from pool.store import KeptWorkTree
from tests.agents import ScriptedAgent, alive, scenario
from tests.bot.work.repositories import ENVIRONMENT, commit, make_repository, needs_git, run_git
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.process import mention, run, shown
from tests.e2e.test_isolation import bubblewrap
from tests.e2e.test_sessions import buttons, keeping, listed, press
from tests.e2e.walls import works
from tests.repeat import in_soak

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_notices"), needs_git]

AS_A_PERSON = {name: value for name, value in ENVIRONMENT.items() if name.startswith("GIT_")}
BUBBLEWRAP = ("bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "true")
TELL_PID = "import os, time; open('../new', 'w').write(str(os.getpid())); os.rename('../new', '../pid')\n"
TELL_PID_ONCE = f"import os\nagain = os.path.exists('../pid')\n{TELL_PID}"
WRITE = """
import os, subprocess
before = open("notes.txt").read()
open("notes.txt", "w").write(f"{before}{os.path.basename(os.getcwd())}\\n")
open(f"only-{os.path.basename(os.getcwd())}", "w").close()
subprocess.run(["git", "add", "-A"], check=True)
subprocess.run(["git", "commit", "-q", "-m", "work"], check=True)
"""
"""Adds the name of the directory to a file that all have, and makes another one."""


def repository(tmp_path: Path) -> Path:
    path = tmp_path / "web"
    make_repository(path, "-b", "main", notes__txt="first\n")
    return path


def on_projects(
    agent: ScriptedAgent,
    *projects: Project,
    channels: Callable[[FakeDiscord], Mapping[int, str]] = lambda discord: {discord.channel_id: "web"},
    **profile: Any,
) -> Callable[[FakeDiscord, str], Agents]:
    def make(discord: FakeDiscord, workspace: str) -> Agents:
        own = AgentProfile("red", agent.argv, workspace, **({"fixed": AS_A_PERSON} | profile))
        known = {one.name: one for one in projects}
        return Agents({"red": own}, "red", projects=known, channel_projects=channels(discord))

    return make


def web(tmp_path: Path, **fields: Any) -> Project:
    return Project("web", tmp_path / "web", tmp_path / "state/worktrees/web", **fields)


@asynccontextmanager
async def on_web(
    tmp_path: Path, agent: ScriptedAgent, project: Project | None = None, **more: Any
) -> AsyncIterator[Play]:
    """The bot, in whose usual channel threads work on a project."""
    if not (tmp_path / "web").exists():
        repository(tmp_path)
    profile = more.pop("profile", {})
    async with play(tmp_path, agent, agents=on_projects(agent, project or web(tmp_path), **profile), **more) as game:
        yield game


def rows(game: Play) -> dict[int, KeptWorkTree]:
    return game.on_stage.bot.dispatcher.projects.rows


def tree_of(tmp_path: Path, thread_id: int) -> Path:
    return tmp_path / f"state/worktrees/web/{thread_id}"


@pytest.mark.parametrize("count", [4, pytest.param(20, marks=pytest.mark.soak)])
async def test_many_threads_change_the_same_file_at_once_and_none_sees_what_another_did(
    tmp_path: Path, count: int
) -> None:
    """W2: each on its own branch, in its own directory; the repository's own files stay as they are."""
    path, agent = repository(tmp_path), scenario(tmp_path, [{"python": WRITE}, {"text": "done"}])
    async with on_web(tmp_path, agent, max_agents=22, lane_main=20) as game:
        threads = [await game.mention(f"Fix the login, part {number}") for number in range(count)]
        for thread_id in threads:
            assert await game.outcome(thread_id) is Outcome.ANSWERED, game.shown(thread_id)
        branches = {thread_id: rows(game)[thread_id].branch for thread_id in threads}
    assert len(set(branches.values())) == count
    for thread_id, branch in branches.items():
        assert branch.startswith("weft/fix-the-login-part-")
        assert run_git(path, "show", f"{branch}:notes.txt") == f"first\n{thread_id}"
        assert run_git(path, "ls-tree", "--name-only", branch).split() == ["notes.txt", f"only-{thread_id}"]
        found = {one.name for one in tree_of(tmp_path, thread_id).iterdir()}
        assert found - {".git", ".weft"} == {"notes.txt", f"only-{thread_id}"}
    assert (run_git(path, "status", "--porcelain"), run_git(path, "log", "--format=%s", "main")) == ("", "x")
    assert (tmp_path / "state/worktrees").stat().st_mode & 0o777 == 0o700


async def test_a_thread_finds_its_work_tree_again_and_is_set_up_once(tmp_path: Path) -> None:
    """W2, W5: by its next agent, with what is not committed."""
    setup = (sys.executable, "-c", "open('set-up', 'a').write('x')")
    project = web(tmp_path, setup=setup)
    agent = scenario(tmp_path, [{"python": "open('draft', 'a').write('y')"}, {"text": "done"}])
    async with on_web(tmp_path, agent, project) as game:
        thread_id, outcome = await game.ask("begin")
        assert outcome is Outcome.ANSWERED
        before = rows(game)[thread_id]
        assert (before.state, before.setup, before.project) == ("ready", "done", "web")
        assert before.base_commit == run_git(tmp_path / "web", "rev-parse", "main")
        # Its agent ends and starts again, as after an hour without a message.
        game.on_stage.bot.pool.evict(thread_id)
        await game.agents_gone()
        again = await game.say(thread_id, "go on")
        assert await game.outcome(again) is Outcome.ANSWERED
        assert len(agent.pids()) == 2
        assert replace(rows(game)[thread_id], used_at=before.used_at, payload=before.payload) == before
        assert "recreated" not in game.shown(thread_id)
    directory = tree_of(tmp_path, thread_id)
    assert ((directory / "draft").read_text(), (directory / "set-up").read_text()) == ("yy", "x")


async def test_a_work_tree_that_somebody_deleted_is_told_and_made_anew_from_its_branch(tmp_path: Path) -> None:
    """W5: with what was committed, and it is set up again."""
    project = web(tmp_path, setup=(sys.executable, "-c", "open('set-up', 'a').write('x')"))
    agent = scenario(tmp_path, [{"python": WRITE}, {"text": "done"}])
    async with on_web(tmp_path, agent, project) as game:
        thread_id, _ = await game.ask("begin")
        game.on_stage.bot.pool.evict(thread_id)
        await game.agents_gone()
        directory = tree_of(tmp_path, thread_id)
        shutil.rmtree(directory)
        again = await game.say(thread_id, "go on")
        assert await game.outcome(again) is Outcome.ANSWERED
        branch = rows(game)[thread_id].branch
        told = f"-# This thread's work tree was gone, so I recreated it from its branch `{branch}`. "
        assert told in game.shown(thread_id)
        assert (directory / "notes.txt").read_text() == f"first\n{thread_id}\n{thread_id}\n"
        # What the first one made was committed with all else.
        assert (directory / "set-up").read_text() == "xx"


async def test_a_set_up_that_fails_is_told_with_its_last_lines_and_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W2, R5: the agent goes on, and may mend it; what the project is given by name is blacked out."""
    monkeypatch.setenv("KEY", "npm-0123456789")
    program = "import os, sys; print('line\\n' * 50 + os.environ['KEY']); sys.exit(not os.path.exists('mended'))"
    project = web(tmp_path, setup=(sys.executable, "-c", program), env=("KEY",))
    agent = scenario(tmp_path, [{"python": "open('mended', 'w').close()"}, {"text": "mended it"}])
    async with on_web(tmp_path, agent, project) as game:
        thread_id, outcome = await game.ask("begin")
        assert outcome is Outcome.ANSWERED
        text = game.shown(thread_id)
        assert "⚠️ Set-up failed: `" in text
        assert "ended with exit status 1. The agent continues anyway and may fix it." in text
        assert "npm-0123" not in text
        assert re.search(r"line\n\S+\n```", text)
        assert text.count("line") < 20
        assert rows(game)[thread_id].setup == "failed"
        game.on_stage.bot.pool.evict(thread_id)
        await game.agents_gone()
        again = await game.say(thread_id, "go on")
        assert await game.outcome(again) is Outcome.ANSWERED
        assert rows(game)[thread_id].setup == "done"
        assert game.shown(thread_id).count("Set-up failed") == 1


async def test_a_set_up_has_its_time(tmp_path: Path) -> None:
    """W2: nothing of it is left then."""
    program = (
        "import os, time; open('../new', 'w').write(str(os.getpid())); os.rename('../new', '../pid'); time.sleep(60)"
    )
    project = web(tmp_path, setup=(sys.executable, "-c", program), setup_timeout=3.0)
    async with on_web(tmp_path, scenario(tmp_path), project) as game:
        thread_id = await game.mention("begin")
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert "took longer than 3 s. The agent continues" in game.shown(thread_id)
        assert not alive_at(tmp_path / "state/worktrees/web/pid")


async def test_a_stop_ends_a_set_up_and_the_next_message_begins_it_anew(tmp_path: Path) -> None:
    """W2, T6"""
    program = f"{TELL_PID_ONCE}time.sleep(0 if again else 60)"
    project = web(tmp_path, setup=(sys.executable, "-c", program))
    async with on_web(tmp_path, scenario(tmp_path), project) as game:
        thread_id = await game.mention("begin")
        await until(lambda: alive_at(tmp_path / "state/worktrees/web/pid"))
        assert game.on_stage.bot.dispatcher.projects.doing(thread_id).startswith("setting up: `")
        assert await game.stop(thread_id) == "Stopping."
        assert await game.outcome(thread_id) is Outcome.STOPPED
        await until(lambda: not alive_at(tmp_path / "state/worktrees/web/pid"))
        again = await game.say(thread_id, "now")
        assert await game.outcome(again) is Outcome.ANSWERED
        assert rows(game)[thread_id].setup == "done"


async def test_a_newer_message_takes_over_a_set_up_that_goes_on(tmp_path: Path) -> None:
    """W2, Q2: the next turn needs it as well."""
    gate = tmp_path / "gate"
    program = f"{TELL_PID}open('../runs', 'a').write('x')\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    async with on_web(tmp_path, scenario(tmp_path), web(tmp_path, setup=(sys.executable, "-c", program))) as game:
        thread_id = await game.mention("begin")
        await until(lambda: alive_at(tmp_path / "state/worktrees/web/pid"))
        newer = await game.say(thread_id, "!interrupt now")
        assert await game.outcome(thread_id) is Outcome.SUPERSEDED
        gate.touch()
        assert await game.outcome(newer) is Outcome.ANSWERED
    assert (tmp_path / "state/worktrees/web/runs").read_text() == "x"


def alive_at(file: Path) -> bool:
    """Whether there is a file with the id of a process that lives."""
    return file.exists() and alive(int(file.read_text() or "0"))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  another process makes it so
        await anyio.sleep(0.01)


async def test_new_with_a_project_works_there_and_other_threads_do_not(tmp_path: Path) -> None:
    """W1"""
    repository(tmp_path)
    agent = scenario(tmp_path, [{"python": "open('here', 'w').close()"}, {"text": "done"}])
    (tmp_path / "notes").mkdir()
    notes = Project("notes", tmp_path / "notes", tmp_path / "state/worktrees/notes", worktree=False)
    agents = on_projects(agent, web(tmp_path), notes, channels=lambda _: {})
    async with play(tmp_path, agent, agents=agents) as game:
        plain, _ = await game.ask("no project")
        for project in ("web", "notes"):
            command = await game.owner.slash(game.discord.channel_id, "new", project=project, prompt="go")
            assert command.original_id is not None
            assert await game.outcome(command.original_id) is Outcome.ANSWERED
            inbox = await (await game.owner.slash(game.discord.channel_id, "inbox")).told()
            assert f"ago in `{project}`: " in inbox
            help_text = await (await game.owner.slash(command.original_id, "help")).told()
            assert f"which works in the project `{project}`." in help_text
            status = await game.owner.slash(command.original_id, "status")
            assert f"Project: `{project}`" in str((status.response or {})["content"])
            assert game.discord.message(command.original_id).content.startswith(f"A new conversation on `{project}`.")
        assert plain not in rows(game)
        (row,) = rows(game).values()
        refused = await game.owner.slash(row.thread_id, "new", project="notes")
        assert "can't change" in str((refused.response or {})["content"])
    places = [tmp_path / "workspace/here", Path(row.directory, "here"), tmp_path / "notes/here"]
    assert [place.exists() for place in places] == [True, True, True]


async def test_a_thread_whose_project_is_gone_does_not_start_anywhere(tmp_path: Path) -> None:
    """W1: it says what to do."""
    agent = scenario(tmp_path)
    async with on_web(tmp_path, agent) as game:
        thread_id, _ = await game.ask("begin")
        game.on_stage.bot.pool.evict(thread_id)
        await game.agents_gone()
        settings = game.on_stage.bot.dispatcher.thread_settings
        settings.agents = replace(settings.agents, projects={})
        again = await game.say(thread_id, "go on")
        assert await game.outcome(again) is Outcome.COULD_NOT_START
        assert "the project web is no longer in weft.toml. Put it back and restart Weft" in game.shown(thread_id)
        assert len(agent.pids()) == 1


async def test_a_repository_that_git_can_not_use_is_told(tmp_path: Path) -> None:
    """W2: nobody sees an empty directory in its place."""
    agent = scenario(tmp_path)
    async with on_web(tmp_path, agent, web(tmp_path, base="nowhere")) as game:
        thread_id, outcome = await game.ask("begin")
        assert outcome is Outcome.COULD_NOT_START
        assert "the work tree on web could not be made" in game.shown(thread_id)
        assert rows(game)[thread_id].state == "making"
        assert agent.pids() == []


async def test_a_set_up_runs_behind_the_wrapper_of_the_agent_with_the_project_known_to_it(tmp_path: Path) -> None:
    """W2, R5"""
    wrapper = tmp_path / "wrap"
    wrapper.write_text('#!/bin/sh\nprintf "%s\\n" "$1 $2 $4" >> "$0.log"\nshift 2\nexec "$@"\n')
    wrapper.chmod(0o755)
    project = web(tmp_path, setup=(sys.executable, "-c", "pass"))
    profile = {"wrapper": (str(wrapper), "{workspace}", "{repository}")}
    async with on_web(tmp_path, scenario(tmp_path), project, profile=profile) as game:
        thread_id, outcome = await game.ask("begin")
        assert outcome is Outcome.ANSWERED
    lines = (tmp_path / "wrap.log").read_text().splitlines()
    assert [line.split()[:2] for line in lines] == [[str(tree_of(tmp_path, thread_id)), str(tmp_path / "web")]] * 2
    assert [line.split()[2] for line in lines] == ["-c", "-I"]


async def test_threads_of_a_project_share_a_process_and_each_session_has_its_own_work_tree(tmp_path: Path) -> None:
    """W2, P1: a slow preparation of one keeps no other waiting."""
    agent = scenario(tmp_path)
    gate = tmp_path / "gate"
    program = f"import os, time\nwhile os.path.exists('slow') and not os.path.exists('{gate}'): time.sleep(0.01)"
    project = web(tmp_path, setup=(sys.executable, "-c", program))
    async with on_web(tmp_path, agent, project, sessions_per_process=10) as game:
        first, _ = await game.ask("begin")
        (tmp_path / "web/slow").touch()
        commit(tmp_path / "web")
        slow = await game.mention("slow")
        await until(lambda: game.on_stage.bot.dispatcher.projects.doing(slow).startswith("setting up"))
        again = await game.say(first, "go on")
        assert await game.outcome(again) is Outcome.ANSWERED
        gate.touch()
        assert await game.outcome(slow) is Outcome.ANSWERED
        opened = [message["params"]["cwd"] for message in agent.received("session/new")]
        assert opened == [str(tree_of(tmp_path, first)), str(tree_of(tmp_path, slow))]
        assert len(agent.pids()) == 1


@pytest.mark.parametrize("sessions_per_process", [10, *in_soak([1])])
async def test_a_fork_works_in_a_work_tree_of_its_own_from_where_the_original_is(
    tmp_path: Path, sessions_per_process: int
) -> None:
    """S2, W2: on a branch of its own, which it is set up for; neither sees what the other one does from then on."""
    (tmp_path / "sessions").mkdir()
    keeps: dict[str, Any] = {"resume": True, "fork": True, "close": True, "store": str(tmp_path / "sessions")}
    agent = scenario(tmp_path, **keeps)
    project = web(tmp_path, setup=(sys.executable, "-c", "open('set-up', 'a').write('x')"))
    async with on_web(tmp_path, agent, project, sessions_per_process=sessions_per_process) as game:
        first, _ = await game.ask("begin")
        (tree_of(tmp_path, first) / "notes.txt").write_text("of the original")
        done = commit(tree_of(tmp_path, first))
        (tree_of(tmp_path, first) / "draft").touch()
        told = await (await game.owner.slash(first, "fork", prompt="another way")).told()
        assert "Uncommitted changes stay here" in told
        (copy,) = (thread.id for thread in game.discord.threads() if thread.id != first)
        assert await game.outcome(copy) is Outcome.ANSWERED
        (forked,) = agent.received("session/fork")
        home = game.on_stage.bot.dispatcher.thread_settings.home_of(copy)
        directory = tree_of(tmp_path, home)
        assert forked["params"]["cwd"] == str(directory)
        assert home not in (first, copy)
        assert {row.setup for row in rows(game).values()} == {"done"}
        assert len({row.branch for row in rows(game).values()}) == 2
        assert run_git(directory, "rev-parse", "HEAD") == done
        assert ((directory / "notes.txt").read_text(), (directory / "draft").exists()) == ("of the original", False)
        assert (directory / "set-up").read_text() == "xx"  # the original's was committed


async def test_of_a_fork_that_can_not_be_made_no_work_tree_is_left(tmp_path: Path) -> None:
    """S2, W2"""
    agent = scenario(tmp_path, resume=True, fork="fails")
    async with on_web(tmp_path, agent) as game:
        first, _ = await game.ask("begin")
        assert "could not be copied" in await (await game.owner.slash(first, "fork")).told()
        await until(lambda: set(rows(game)) == {first})
        branches = run_git(tmp_path / "web", "branch", "--list", "weft/*").split()
    assert len([one for one in branches if one.startswith("weft/")]) == 1
    found = {one.name for one in (tmp_path / "state/worktrees/web").iterdir() if not one.name.startswith(".")}
    assert found == {str(first)}


@pytest.mark.skipif(bool(works(*BUBBLEWRAP)), reason="bubblewrap does not work here")
async def test_in_bubblewrap_an_agent_commits_in_its_work_tree_and_sees_no_other(tmp_path: Path) -> None:
    """W2, R5: with the recipe of docs/isolation.md; hooks and configuration of the repository stay as they are."""
    path, told = repository(tmp_path), "told"
    probe = f"""
import os
told = open("{told}", "w")
print(sorted(os.listdir("..")), file=told)
for name in ("hooks/post-commit", "config"):
    try:
        open("{path}/.git/" + name, "a").write("x")
        print("wrote", name, file=told)
    except OSError as exc:
        print(exc.strerror, file=told)
"""
    scripts = tmp_path / "agent"
    scripts.mkdir()
    # In a namespace of their own its processes have other ids than here, so none is looked for by them.
    agent = replace(
        scenario(scripts, [{"python": probe}, {"python": WRITE}, {"text": "done"}]), log_path=tmp_path / "no log"
    )
    project = web(tmp_path, setup=("/bin/sh", "-c", "git status > set-up"))
    printed = bubblewrap()
    last = printed.index("--bind")
    profile = {"wrapper": (*printed[:last], "--bind", str(scripts), str(scripts), *printed[last:])}
    async with on_web(tmp_path, agent, project, profile=profile) as game:
        first, second = await game.mention("one"), await game.mention("two")
        for thread_id in (first, second):
            assert await game.outcome(thread_id) is Outcome.ANSWERED, game.shown(thread_id)
            branch = rows(game)[thread_id].branch
            assert run_git(path, "show", f"{branch}:notes.txt") == f"first\n{thread_id}"
            lines = (tree_of(tmp_path, thread_id) / told).read_text().splitlines()
            assert lines == [f"['{thread_id}']", *["Read-only file system"] * 2]
            assert branch in (tree_of(tmp_path, thread_id) / "set-up").read_text()


FILE = """
[agents.red]
command = {argv!r}
[projects.web]
path = {path!r}
setup = {setup!r}
[channels]
"{channel}" = {{ project = "web" }}
"""
SLOW_ONCE = """#!/bin/sh
case "$*" in *" {what}"*)
    if mkdir "{once}" 2>/dev/null; then sleep 1.5; fi;;
esac
exec {git} "$@"
"""
"""A git that takes its time over one thing, once."""


async def killed_and_run_again(tmp_path: Path, program: str, killed_when: Callable[[], bool], **more: str) -> int:
    """Let a prompt begin a thread, kill the bot amid that and start it anew; return the thread, which has its answer.

    Its prompt had not been started, so the next run does that by itself.
    """
    agent = scenario(tmp_path)
    async with FakeDiscord() as discord:
        setup, channel = [sys.executable, "-c", program], discord.channel_id
        text = FILE.format(argv=list(agent.argv), path=str(tmp_path / "web"), setup=setup, channel=channel)
        (tmp_path / "weft.toml").write_text(text)
        settings = {
            "WEFT_AGENT_COMMAND": "",
            "WEFT_AGENTS_FILE": str(tmp_path / "weft.toml"),
            "WEFT_STATE_DIR": str(tmp_path / "state"),
        }
        async with run(tmp_path, discord.api_url, discord.token, agent, **settings, **more) as bot:
            await discord.ready.wait()
            thread_id = await mention(discord, "begin")
            await until(killed_when)
            bot.process.kill()
            await bot.ended()
        async with run(tmp_path, discord.api_url, discord.token, agent, **settings, **more):
            await discord.wait_for(lambda fd: "begin" in shown(fd, thread_id), timeout=LIMIT)
    return thread_id


async def test_a_bot_that_is_killed_amid_a_set_up_completes_it_at_the_next_start(tmp_path: Path) -> None:
    """W2, R2: nothing of the first one is left, and the work tree is the same."""
    repository(tmp_path)
    program = f"{TELL_PID_ONCE}time.sleep(0 if again else 60); open('set-up', 'a').write('x')"
    pid = tmp_path / "state/worktrees/web/pid"
    thread_id = await killed_and_run_again(tmp_path, program, lambda: alive_at(pid))
    assert (tree_of(tmp_path, thread_id) / "set-up").read_text() == "x"


@pytest.mark.parametrize(
    "what",
    ["read-tree", *(pytest.param(what, marks=pytest.mark.soak) for what in ("for-each-ref", "update-ref"))],
)
async def test_a_bot_that_is_killed_amid_making_a_work_tree_makes_it_at_the_next_start(
    tmp_path: Path, what: str
) -> None:
    """W2, R2: on the same branch, with all files; of the first try nothing is left."""
    path, once = repository(tmp_path), tmp_path / "once"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(SLOW_ONCE.format(what=what, once=once, git=shutil.which("git")))
    (tmp_path / "bin/git").chmod(0o755)
    with_git = f"{tmp_path}/bin:{os.environ['PATH']}"
    program = "open('set-up', 'w').write('x')"
    thread_id = await killed_and_run_again(tmp_path, program, once.exists, PATH=with_git)
    directory = tree_of(tmp_path, thread_id)
    assert ((directory / "notes.txt").read_text(), (directory / "set-up").read_text()) == ("first\n", "x")
    (branch,) = run_git(path, "for-each-ref", "--format=%(refname:short)", "refs/heads/weft").split()
    assert run_git(directory, "status", "--short", "--branch").splitlines() == [f"## {branch}", "?? set-up"]
    assert [one.name for one in directory.parent.iterdir() if "making" in one.name] == []


async def test_an_earlier_session_of_a_thread_is_opened_in_no_other_one(tmp_path: Path) -> None:
    """S1, W2: two threads would be in one work tree; and what a deleted thread leaves, nobody sees there."""
    agent = keeping(tmp_path)
    # Discord is asked for the thread that is gone.
    async with on_web(tmp_path, agent, clean=False) as game:
        first, _ = await game.ask("mend it")
        await game.owner.slash(first, "reset")
        found = await listed(game, game.discord.channel_id)
        told = await press(found, "Open 1 here", game.owner)
        assert told == f"<#{first}> already works in this session's work tree. Go on there."
        assert len(game.discord.threads()) == 1
        await game.discord.delete_channel(first)
        projects = game.on_stage.bot.dispatcher.projects
        await until(lambda: projects.users_of(first) == [])
        assert "Open 1 here" not in buttons(await listed(game, game.discord.channel_id))
        assert list(projects.rows) == [first]
    assert (tree_of(tmp_path, first) / "notes.txt").exists()


async def test_another_agent_takes_over_in_the_same_work_tree(tmp_path: Path) -> None:
    """S4, W1: the thread keeps its project and its branch."""
    repository(tmp_path)
    red, blue = scenario(tmp_path), scenario(tmp_path)

    def both(discord: FakeDiscord, workspace: str) -> Agents:
        profiles = {name: AgentProfile(name, one.argv, workspace) for name, one in (("red", red), ("blue", blue))}
        return Agents(profiles, "red", projects={"web": web(tmp_path)}, channel_projects={discord.channel_id: "web"})

    async with play(tmp_path, red, agents=both) as game:
        thread_id, _ = await game.ask("begin")
        await game.owner.slash(thread_id, "handoff", agent="blue")
        again = await game.say(thread_id, "go on")
        assert await game.outcome(again) is Outcome.ANSWERED
        places = [one.received("session/new")[0]["params"]["cwd"] for one in (red, blue)]
        assert places == [str(tree_of(tmp_path, thread_id))] * 2
        assert list(rows(game)) == [thread_id]
