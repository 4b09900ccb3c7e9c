"""What people do with the work trees of threads: look, commit, merge, and have the agent resolve what conflicts."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.agents.model import Project
from bot.model import Outcome
from bot.sandbox import CallbackType, FakeDiscord, Message, Person
from bot.work.workspace.journal import Entry, Journal
from tests.agents import Gate, ScriptedAgent, Step, scenario
from tests.bot.work.repositories import commit, make_repository, needs_git, run_git
from tests.e2e.busy import friends
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.process import mention, run, shown, until_answered
from tests.e2e.test_projects import AS_A_PERSON, on_projects, on_web, repository, tree_of, web
from tests.repeat import in_soak, long_run

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_notices"), needs_git]

RESOLVE_LABEL = "Ask the agent to resolve"
RESOLVE = """
import pathlib, subprocess
subprocess.run(["git", "merge", "main"], capture_output=True)
for name in pathlib.Path().glob("*.txt"):
    kept = [line for line in name.read_text().split("\\n") if line[:7] not in ("<<<<<<<", "=======", ">>>>>>>")]
    name.write_text("\\n".join(kept))
subprocess.run(["git", "commit", "-q", "-a", "-m", "resolved"], check=True)
"""
"""Keeps what both sides wrote."""


def writes(line: int, text: str) -> list[Step]:
    """Change one line of a file that all threads have."""
    code = (
        "import pathlib; p = pathlib.Path('notes.txt'); lines = p.read_text().split('\\n'); "
        f"lines[{line}] = {text!r}; p.write_text('\\n'.join(lines))"
    )
    return [{"python": code}, {"text": "done"}]


def editing(tmp_path: Path, words: dict[str, list[Step]], **keys: Any) -> ScriptedAgent:
    return scenario(tmp_path, words={"esolve": [{"python": RESOLVE}, {"text": "resolved"}], **words}, **keys)


async def give(game: Play, thread_id: int, name: str, person: Person | None = None, **options: Any) -> str:
    """Give a command; return what the person alone reads: "" if the thread reads it all."""
    used = await (person or game.owner).slash(thread_id, name, **options)
    assert (used.kind, used.ephemeral) == (CallbackType.DEFERRED_MESSAGE, True)
    await game.discord.wait_for(lambda _: not used.waiting, timeout=LIMIT)
    return "" if used.original_removed else await used.told()


def told(game: Play, thread_id: int, words: str) -> list[Message]:
    """Return what the thread reads that has some words in it."""
    return [message for message in game.replies(thread_id) if words in message.content]


async def until_told(game: Play, thread_id: int, words: str, count: int = 1) -> Message:
    await game.discord.wait_for(lambda _: len(told(game, thread_id, words)) >= count, timeout=LIMIT)
    return told(game, thread_id, words)[-1]


def buttons(message: Message) -> dict[str, str]:
    """Return the custom_ids of a message's buttons, by their labels."""
    return {one["label"]: one["custom_id"] for row in message.components for one in row["components"]}


def untouched(path: Path) -> None:
    """The base is checked out there, as people left it: nothing changed, nothing new, nothing half-way."""
    assert run_git(path, "status", "--porcelain") == ""
    assert run_git(path, "rev-parse", "--abbrev-ref", "HEAD") == "main"


async def resolved(game: Play, thread_id: int, person: Person | None = None) -> int:
    """Have the agent resolve what conflicts; return the message that asks it to."""
    message = await until_told(game, thread_id, "could not merge")
    pressed = await (person or game.owner).click(message.id, buttons(message)[RESOLVE_LABEL])
    assert pressed.original_id is not None
    assert await game.outcome(pressed.original_id) is Outcome.ANSWERED, game.shown(thread_id)
    return pressed.original_id


@pytest.mark.parametrize(("count", "alone"), [(4, 3), *in_soak([(long_run(20, 10), long_run(16, 8))])])
async def test_many_threads_change_the_same_file_and_are_merged_one_after_the_other(
    tmp_path: Path, count: int, alone: int
) -> None:
    """W4: conflicts are shown, resolved by the agent and merged; the base's own checkout is never left dirty."""
    text = "\n".join(f"line {number}" for number in range(100))
    make_repository(tmp_path / "web", "-b", "main", notes__txt=text)
    # The last ones change what others change as well.
    lines = {number: 5 * (number % alone) for number in range(count)}
    words = {f"task-{number:02}": writes(line, f"by {number}") for number, line in lines.items()}
    async with on_web(tmp_path, editing(tmp_path, words), max_agents=22, lane_main=20) as game:
        threads = {number: await game.mention(f"task-{number:02}") for number in lines}
        for thread_id in threads.values():
            assert await game.outcome(thread_id) is Outcome.ANSWERED, game.shown(thread_id)
        untouched(tmp_path / "web")
        for number, thread_id in threads.items():
            assert await give(game, thread_id, "commit", message=f"Work {number}") == ""
            untouched(tmp_path / "web")
            assert await give(game, thread_id, "merge") == ""
            untouched(tmp_path / "web")
            if number >= alone:
                conflict = await until_told(game, thread_id, "could not merge")
                assert "it conflicts with `main` in `notes.txt` (both changed it)" in conflict.content
                await resolved(game, thread_id)
                untouched(tmp_path / "web")
                assert await give(game, thread_id, "merge") == ""
            await until_told(game, thread_id, "merged `weft/")
    merged = (tmp_path / "web/notes.txt").read_text().split("\n")
    assert {f"by {number}" for number in lines} <= set(merged)
    untouched(tmp_path / "web")


async def test_what_was_done_the_thread_reads_and_what_was_not_the_person_alone(tmp_path: Path) -> None:
    """W4: in a few words, with what to do next."""
    agent = editing(tmp_path, {"Fix": writes(0, "fixed"), "more": [{"python": "open('new.txt', 'w').write('x\\n')"}]})
    async with on_web(tmp_path, agent) as game:
        thread_id, _ = await game.ask("Fix the login")
        branch = run_git(tree_of(tmp_path, thread_id), "rev-parse", "--abbrev-ref", "HEAD")
        owner = f"`{game.owner.name}`"
        refused = await give(game, thread_id, "merge")
        assert refused.startswith("Nothing was merged: "), refused
        assert "commit" in refused
        assert await give(game, thread_id, "commit", message="Mend `it`\n\nat last") == ""
        line = await until_told(game, thread_id, "committed")
        commit = run_git(tmp_path / "web", "rev-parse", branch)[:7]
        assert line.content == f"📌 {owner} committed `{commit}` to `{branch}` · 1 file +1 −1\n`Mend ˋit`"
        again = await give(game, thread_id, "commit")
        assert again.startswith("Nothing was committed: "), again
        assert await give(game, thread_id, "merge", squash=True) == ""
        line = await until_told(game, thread_id, "squashed")
        assert line.content == f"🌿 {owner} squashed `{branch}` into `main` · 1 file +1 −1"
        assert run_git(tmp_path / "web", "log", "-1", "--format=%s", "main") == "Fix the login"
        # What was squashed does not conflict with itself, and is merged.
        assert await game.outcome(await game.say(thread_id, "more")) is Outcome.ANSWERED
        assert await give(game, thread_id, "commit", message="More\n\nof it") == ""
        assert await give(game, thread_id, "merge") == ""
        assert (tmp_path / "web/new.txt").read_text() == "x\n"
        again = await give(game, thread_id, "merge")
        assert again.startswith("Nothing was merged: "), again
        audit = await (await game.owner.slash(thread_id, "audit")).told()
        assert audit.split("\n")[0].endswith(f": done by {owner}")
        assert [line.split("`")[1].split(" ")[0] for line in audit.split("\n")[:4]] == [
            "merged", "committed", "squashed", "committed",
        ]  # fmt: skip


async def test_what_was_taken_out_of_the_base_is_not_brought_back(tmp_path: Path) -> None:
    """W4: a base that was rewritten after the thread began is told, with what to do."""
    make_repository(tmp_path / "web", "-b", "main", notes__txt="line\n")
    (tmp_path / "web/secret").write_text("by mistake\n")
    dropped = commit(tmp_path / "web")
    async with on_web(tmp_path, editing(tmp_path, {"Fix": writes(0, "fixed")})) as game:
        thread_id, _ = await game.ask("Fix the login")
        run_git(tmp_path / "web", "reset", "-q", "--hard", "HEAD^")
        assert await give(game, thread_id, "commit") == ""
        refused = await give(game, thread_id, "merge")
        assert refused.startswith("Nothing was merged: `main` was rewritten since"), refused
        assert f"`git rebase --onto main {dropped[:12]}`" in refused
        untouched(tmp_path / "web")
        run_git(tree_of(tmp_path, thread_id), "rebase", "-q", "--onto", "main", dropped)
        assert await give(game, thread_id, "merge") == ""
        assert not (tmp_path / "web/secret").exists()


async def test_a_diff_is_against_the_base_whatever_else_happened_to_that(tmp_path: Path) -> None:
    """W4, V3: committed, not committed and new; not what others have merged since."""
    code = (
        "import subprocess; subprocess.run(['git', 'commit', '-q', '-a', '-m', 'one'], check=True); "
        "open('new.txt', 'w').write('x\\n')"
    )
    agent = editing(tmp_path, {"Fix": [*writes(0, "fixed")[:1], {"python": code}, {"text": "done"}]})
    async with on_web(tmp_path, agent) as game:
        thread_id, _ = await game.ask("Fix it")
        (tmp_path / "web/other.txt").write_text("other\n")
        run_git(tmp_path / "web", "add", "-A")
        base = run_git(tmp_path / "web", "rev-parse", "main")
        run_git(tmp_path / "web", "commit", "-q", "-m", "other")
        answer = await give(game, thread_id, "diff")
        assert answer.split("\n")[:3] == [
            f"2 files +2 −1 on `weft/fix-it-{_short(game, thread_id)}` since it left `main` at `{base[:7]}`",
            "`new.txt` +1 −0",
            "`notes.txt` +1 −1",
        ]
        assert "+fixed" in answer


def _short(game: Play, thread_id: int) -> str:
    branch = game.on_stage.bot.dispatcher.projects.rows[thread_id].branch
    return branch.rsplit("-", 1)[1]


async def test_who_is_not_let_in_or_has_no_say_is_refused(tmp_path: Path) -> None:
    """W4, C1, D2: everybody in the thread may commit; its first author, approvers and owners merge and push."""
    agent = editing(tmp_path, {"Fix": writes(0, "fixed")})
    people = friends("alice", "bob")

    def invite(discord: Any) -> dict[str, Any]:
        settings = people["invite"](discord)
        role = discord.add_role("approver")
        discord.user("carol", roles=[role])
        return {**settings, "approver_roles": (role,)}

    async with on_web(tmp_path, agent, **(people | {"invite": invite})) as game:
        alice, bob, carol, mallory = (game.discord.user(name) for name in ("alice", "bob", "carol", "mallory"))
        thread_id = await game.mention("Fix it", alice)
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        for name in ("commit", "merge", "pr", "worktrees"):
            stranger = await mallory.slash(thread_id, name)
            assert "not on the list" in await stranger.told()
        # A role that lets nobody prompt lets nobody commit.
        assert "not on the list" in await (await carol.slash(thread_id, "commit")).told()
        assert await give(game, thread_id, "commit", bob) == ""
        mine = "This changes what others work on: only the person who began this thread, approvers and the owner of"
        for name in ("merge", "pr"):
            assert (await give(game, thread_id, name, bob)).startswith(mine)
        assert await give(game, thread_id, "merge", carol) == ""
        other = await game.mention("Fix it", alice)
        assert await game.outcome(other) is Outcome.ANSWERED
        assert run_git(tmp_path / "web", "log", "--format=%s", "-1", "main").startswith("Merge weft/fix-it-")
        assert "Nothing was merged" in await give(game, thread_id, "merge", alice), "hers to merge, were there anything"


async def test_a_branch_is_pushed_and_the_thread_reads_where_to(tmp_path: Path) -> None:
    """W4: what the remote has in the way is told the person alone."""
    run_git(tmp_path, "init", "-q", "--bare", "bare.git")
    agent = editing(tmp_path, {"Fix": writes(0, "fixed")})
    async with on_web(tmp_path, agent, web(tmp_path, remote=str(tmp_path / "bare.git"))) as game:
        thread_id, _ = await game.ask("Fix it")
        refused = await give(game, thread_id, "pr")
        assert refused.startswith("Nothing was pushed: "), refused
        assert await give(game, thread_id, "commit") == ""
        assert await give(game, thread_id, "pr", title="Mend it") == ""
        branch = f"weft/fix-it-{_short(game, thread_id)}"
        line = await until_told(game, thread_id, "pushed")
        assert line.content.split("\n")[0] == f"🚀 `{game.owner.name}` pushed `{branch}` to a directory"
        assert str(tmp_path) not in line.content
        assert run_git(tmp_path / "bare.git", "rev-parse", branch) == run_git(tmp_path / "web", "rev-parse", branch)


async def test_nothing_is_done_while_the_agent_works_nor_where_there_is_no_work_tree(tmp_path: Path) -> None:
    """W4: with what to do instead."""
    gate = Gate(tmp_path / "gate")
    agent = editing(tmp_path, {"wait": [{"mark": "begun"}, gate.step, {"text": "done"}]})
    async with on_web(tmp_path, agent) as game:
        thread_id = await game.mention("wait")
        await agent.seen("mark")
        for name in ("commit", "merge", "pr"):
            refused = await give(game, thread_id, name)
            assert refused == "The agent is working: wait or press Stop, then try again."
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        other = game.discord.add_channel("other")
        elsewhere = await game.owner.say(other, "hello", mention_bot=True)
        assert await game.outcome(elsewhere.id) is Outcome.ANSWERED
        for place, text in ((elsewhere.id, "This thread has no work tree"), (other, "inside a Weft thread")):
            assert text in await give(game, place, "merge")


@pytest.mark.soak
async def test_conflicts_are_given_to_the_agent_once_however_often_that_is_pressed(tmp_path: Path) -> None:
    """W4: by two people in the same moment, and of a merge that was tried again, by the last button alone."""
    agent = editing(tmp_path, {"one": writes(0, "one"), "two": writes(0, "two")})
    async with on_web(tmp_path, agent, **friends("alice")) as game:
        alice, threads = game.discord.user("alice"), [await game.mention("one"), await game.mention("two")]
        for thread_id in threads:
            assert await game.outcome(thread_id) is Outcome.ANSWERED
            assert await give(game, thread_id, "commit") == ""
            assert await give(game, thread_id, "merge") == ""
        thread_id = threads[1]
        first = await until_told(game, thread_id, "could not merge")
        assert await give(game, thread_id, "merge") == ""
        second = await until_told(game, thread_id, "could not merge", 2)
        late = await game.owner.click(first.id, buttons(first)[RESOLVE_LABEL])
        assert await late.told() == "This button is outdated. Use `/merge` to see how things are now."
        pressed = [person.begin_click(second.id, buttons(second)[RESOLVE_LABEL]) for person in (alice, game.owner)]
        answers = [await one.told() for one in pressed]
        assert [one.ephemeral for one in pressed] == [False, True], answers
        assert answers[1] == "The agent has been asked already. When it is done, use `/merge` again."
        assert pressed[0].original_id is not None
        assert await game.outcome(pressed[0].original_id) is Outcome.ANSWERED
        assert sum("esolve" in prompt for prompt in agent.prompts()) == 1
        assert await give(game, thread_id, "merge") == ""
        await until_told(game, thread_id, "merged `weft/")
        assert (tmp_path / "web/notes.txt").read_text().split("\n")[:2] == ["two", "one"]


async def test_the_footer_ends_with_the_branch_and_what_it_changed(tmp_path: Path) -> None:
    """W3: also `/status`; a thread without a work tree has none."""
    agent = editing(tmp_path, {"Fix": writes(0, "fixed"), "look": [{"text": "seen"}]})
    async with on_web(tmp_path, agent) as game:
        thread_id, _ = await game.ask("Fix it")
        branch = f"weft/fix-it-{_short(game, thread_id)}"
        await until_told(game, thread_id, f" · `{branch}` · 1 file +1 −1")
        status = await (await game.owner.slash(thread_id, "status")).told()
        assert f"Branch: `{branch}` · 1 file +1 −1" in status.split("\n")
        assert await give(game, thread_id, "commit") == ""
        assert await give(game, thread_id, "merge") == ""
        assert await game.outcome(await game.say(thread_id, "look")) is Outcome.ANSWERED
        message = await until_told(game, thread_id, "seen")
        await game.discord.wait_for(lambda _: f" · `{branch}`" in told(game, thread_id, "seen")[0].content)
        assert message.content.startswith("seen\n-# ")
        assert told(game, thread_id, "seen")[0].content.endswith(f" · `{branch}`")


def held_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str = "*") -> Path:
    """Put a git on the PATH that waits, in some directories, while a file is there; return that file."""
    real, held = shutil.which("git"), tmp_path / "held"
    assert real is not None
    (tmp_path / "bin").mkdir()
    waits = f'case "$PWD" in {where}) while [ -e {held} ]; do sleep 0.02; done;; esac'
    (tmp_path / "bin/git").write_text(f'#!/bin/sh\n{waits}\nexec {real} "$@"\n')
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return held


async def test_a_git_that_hangs_holds_up_neither_an_answer_nor_the_next_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W3, W4: nor another command, nor the end of the bot; the footer goes without the branch."""
    held = held_git(tmp_path, monkeypatch)
    monkeypatch.setattr("bot.work.projects.actions.LIMIT", 1.0)
    monkeypatch.setattr("bot.work.projects.branches.FOOTER_LIMIT", 1000.0)  # what waited for git would wait for ever
    agent = scenario(tmp_path, [{"text": "one"}], [{"text": "two"}], [{"text": "three"}])
    async with on_web(tmp_path, agent) as game:
        thread_id, _ = await game.ask("begin")
        branch = f"weft/begin-{_short(game, thread_id)}"
        await until_told(game, thread_id, f" · `{branch}`")
        held.touch()
        with anyio.fail_after(20):
            assert await game.outcome(await game.say(thread_id, "go on")) is Outcome.ANSWERED
            assert await game.outcome(await game.say(thread_id, "and on")) is Outcome.ANSWERED
        assert [branch in message.content for message in told(game, thread_id, "-# ")] == [True, False, False]
        slow = game.owner.begin_slash(thread_id, "commit")
        assert f"Branch: `{branch}`" in await (await game.owner.slash(thread_id, "status")).told()
        assert (await slow.told()).startswith("Git took longer than ")
    assert len(told(game, thread_id, "-# ")) == 3


@pytest.mark.soak
async def test_a_repository_that_hangs_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W4: neither its commands nor its list, however many wait for it."""
    held = held_git(tmp_path, monkeypatch, "*/web/*")
    repository(tmp_path)
    make_repository(tmp_path / "shop", "-b", "main", notes__txt="first\n")
    agent = editing(tmp_path, {"Fix": writes(0, "fixed")})
    shop = Project("shop", tmp_path / "shop", tmp_path / "state/worktrees/shop")
    places: dict[str, int] = {}

    def channels(discord: FakeDiscord) -> dict[int, str]:
        places["shop"] = discord.add_channel("shop")
        return {discord.channel_id: "web", places["shop"]: "shop"}

    async with play(tmp_path, agent, agents=on_projects(agent, web(tmp_path), shop, channels=channels)) as game:
        stuck = [await game.mention("Fix it") for _ in range(3)]
        free = (await game.owner.say(places["shop"], "Fix it", mention_bot=True)).id
        for thread_id in (*stuck, free):
            assert await game.outcome(thread_id) is Outcome.ANSWERED, game.shown(thread_id)
            await until_told(game, thread_id, " · `weft/")
        held.touch()
        waiting = [game.owner.begin_slash(thread_id, name) for thread_id in stuck for name in ("diff", "commit")]
        await game.discord.wait_for(lambda _: all(one.waiting for one in waiting), timeout=LIMIT)
        with anyio.fail_after(20):
            assert "fixed" in await give(game, free, "diff")
            assert await give(game, free, "commit") == ""
            assert await give(game, free, "merge") == ""
        assert all(one.waiting for one in waiting)
        held.unlink()
        await game.discord.wait_for(lambda _: not any(one.waiting for one in waiting), timeout=LIMIT)
        for thread_id in stuck:
            await until_told(game, thread_id, "committed")


async def test_a_git_that_is_slow_adds_the_branch_to_the_footer_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W3: by an edit, in whatever order the next turn comes; its button stays."""
    held = held_git(tmp_path, monkeypatch)
    monkeypatch.setattr("bot.work.projects.branches.FOOTER_LIMIT", 1000.0)  # the turns may take longer than git may
    tool = {"tool": {"title": "look", "output": "x"}}
    agent = scenario(tmp_path, [{"text": "one"}], [tool, {"text": "two"}], [{"text": "three"}])
    async with on_web(tmp_path, agent) as game:
        thread_id, _ = await game.ask("begin")
        branch = f"weft/begin-{_short(game, thread_id)}"
        await until_told(game, thread_id, f" · `{branch}`")
        held.touch()
        assert await game.outcome(await game.say(thread_id, "go on")) is Outcome.ANSWERED
        assert await game.outcome(await game.say(thread_id, "and on")) is Outcome.ANSWERED
        before = {message.id: message.content for message in told(game, thread_id, "-# ")[1:]}
        held.unlink()
        await game.discord.wait_for(lambda _: len(told(game, thread_id, branch)) == 3, timeout=LIMIT)
        after = {message.id: message.content for message in told(game, thread_id, "-# ")[1:]}
        assert after == {key: f"{text} · `{branch}`" for key, text in before.items()}
        assert list(buttons(game.discord.message(next(iter(after))))) == ["Details"]


FILE = """
[agents.red]
command = {argv!r}
set = {{ {fixed} }}
[projects.web]
path = {path!r}
[channels]
"{channel}" = {{ project = "web" }}
"""


@pytest.mark.soak
async def test_a_restart_finds_conflicts_and_their_button_again(tmp_path: Path) -> None:
    """W4, W5, R2: what nobody committed is there as well; the button asks once over both runs."""
    agent = editing(tmp_path, {"one": writes(0, "one"), "two": writes(0, "two")})
    path, state = repository(tmp_path), tmp_path / "state"
    async with FakeDiscord() as discord:
        fixed = ", ".join(f"{name} = {value!r}" for name, value in AS_A_PERSON.items())
        text = FILE.format(argv=list(agent.argv), path=str(path), channel=discord.channel_id, fixed=fixed)
        (tmp_path / "weft.toml").write_text(text)
        named = {
            "WEFT_AGENT_COMMAND": "",
            "WEFT_AGENTS_FILE": str(tmp_path / "weft.toml"),
            "WEFT_STATE_DIR": str(state),
        }

        async def give(thread_id: int, name: str) -> None:
            used = await discord.owner.slash(thread_id, name)
            await discord.wait_for(lambda _: used.original_removed, timeout=LIMIT)

        async with run(tmp_path, discord.api_url, discord.token, agent, **named) as bot:
            await discord.ready.wait()
            threads = [await mention(discord, word) for word in ("one", "two")]
            for thread_id in threads:
                await until_answered(discord, thread_id, "done")
                await give(thread_id, "commit")
                await give(thread_id, "merge")
            thread_id = threads[1]
            await discord.wait_for(lambda fd: "could not merge" in shown(fd, thread_id), timeout=LIMIT)
            draft = state / f"worktrees/web/{thread_id}/draft"
            draft.write_text("not committed")
            assert await bot.signalled(signal.SIGKILL) == -signal.SIGKILL
        branch = run_git(state / f"worktrees/web/{thread_id}", "rev-parse", "--abbrev-ref", "HEAD")
        old, new = run_git(path, "rev-parse", "main", branch).split()
        # As if it had been killed in the middle of another merge.
        cut_off = Entry("merge", str(path / ".git"), "refs/heads/main", old, new, branch, ())
        Journal.begin(state / "merges", cut_off).leave()
        async with run(tmp_path, discord.api_url, discord.token, agent, **named) as bot:
            await bot.logged("gateway.ready")
            words = "The merge into `main` was interrupted when I stopped. Nothing was changed: try it again."
            await discord.wait_for(lambda fd: words in shown(fd, thread_id), timeout=LIMIT)
            (message,) = [one for one in discord.messages(thread_id) if "could not merge" in one.content]
            custom_id = buttons(message)[RESOLVE_LABEL]
            first, again = [await discord.owner.click(message.id, custom_id) for _ in range(2)]
            assert await again.told() == "The agent has been asked already. When it is done, use `/merge` again."
            assert not first.ephemeral
            await until_answered(discord, thread_id, "resolved")
            assert draft.read_text() == "not committed"
            await give(thread_id, "commit")
            await give(thread_id, "merge")
            await discord.wait_for(lambda fd: "merged `weft/two" in shown(fd, thread_id), timeout=LIMIT)
            assert (path / "notes.txt").read_text().split("\n")[:2] == ["two", "one"]
            untouched(path)
