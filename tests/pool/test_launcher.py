"""Where and how agents are started, one of them or each by its name, and which threads may share a process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError, SpawnFailure
from pool.launcher import LauncherByName, LocalLauncher, Sharing
from pool.wrapping import ResourceLimits

THREADS = "{thread_id}"


def launcher(workspace: str) -> LocalLauncher:
    return LocalLauncher(argv=("agent", "--acp"), workspace=workspace, env={"HOME": "/home/me"})


def test_the_workspace_is_the_working_directory(tmp_path: Path) -> None:
    """R5"""
    expected = LaunchSpec(argv=("agent", "--acp"), cwd=str(tmp_path), env={"HOME": "/home/me"})
    assert launcher(str(tmp_path)).spec(5) == expected


def test_each_thread_gets_its_own_directory_when_the_workspace_says_so(tmp_path: Path) -> None:
    """R5"""
    threads = launcher(f"{tmp_path}/thread-{{thread_id}}/files")
    assert threads.spec(5).cwd == f"{tmp_path}/thread-5/files"
    assert threads.spec(6).cwd == f"{tmp_path}/thread-6/files"
    assert Path(threads.spec(5).cwd).is_dir()


def test_a_missing_workspace_is_named_and_fails_for_good(tmp_path: Path) -> None:
    """P7"""
    with pytest.raises(AgentSpawnError, match="missing is not a directory") as caught:
        launcher(f"{tmp_path}/missing").spec(5)
    assert (caught.value.failure, caught.value.transient) == (SpawnFailure.BAD_DIRECTORY, False)


def test_a_missing_base_is_not_made(tmp_path: Path) -> None:
    """R5, P7"""
    with pytest.raises(AgentSpawnError, match="missing is not a directory"):
        launcher(f"{tmp_path}/missing/{{thread_id}}").spec(5)
    assert not (tmp_path / "missing").exists()


def test_a_file_in_the_way_is_a_bad_directory(tmp_path: Path) -> None:
    """P7"""
    (tmp_path / "5").touch()
    with pytest.raises(AgentSpawnError, match="can't be made") as caught:
        launcher(f"{tmp_path}/{{thread_id}}").spec(5)
    assert caught.value.failure is SpawnFailure.BAD_DIRECTORY


def test_other_braces_in_the_workspace_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "{x}").mkdir()
    assert launcher(f"{tmp_path}/{{x}}").spec(5).cwd == f"{tmp_path}/{{x}}"


def sharing(workspace: str, *, sessions: int = 20, **changes: Any) -> LocalLauncher:
    fields: dict[str, Any] = {"argv": ("agent",), "workspace": workspace, "env": {"HOME": "/home/me"}}
    return LocalLauncher(**(fields | changes), sessions_per_process=sessions)


def test_threads_share_no_process_unless_told_to(tmp_path: Path) -> None:
    """R5"""
    assert launcher(f"{tmp_path}/{THREADS}").sharing(5) is None


def test_a_shared_process_starts_in_the_common_part_and_its_sessions_work_in_their_own(tmp_path: Path) -> None:
    """P1, R5"""
    spec = sharing(f"{tmp_path}/thread-{THREADS}/files").spec(5)
    assert (spec.cwd, spec.directory) == (str(tmp_path), f"{tmp_path}/thread-5/files")
    assert Path(spec.directory).is_dir()


def test_in_a_workspace_that_is_the_same_for_all_the_sessions_work_where_the_process_starts(tmp_path: Path) -> None:
    """R5"""
    spec = sharing(str(tmp_path)).spec(5)
    assert spec.cwd == spec.directory == str(tmp_path)


def test_threads_of_one_owner_have_an_equal_key_before_and_after_their_directories_are_made(tmp_path: Path) -> None:
    """O4, R5"""
    threads = sharing(f"{tmp_path}/{THREADS}")
    before = threads.sharing(5)
    threads.spec(6)
    assert before == threads.sharing(6)
    assert before is not None
    assert before.sessions == 20


@pytest.mark.parametrize(
    "changed", [{"argv": ("agent", "--yolo")}, {"env": {"HOME": "/home/you"}}], ids=["argv", "env"]
)
def test_threads_with_another_agent_or_environment_share_nothing(tmp_path: Path, changed: dict[str, Any]) -> None:
    """R5"""
    one, other = sharing(str(tmp_path)).sharing(5), sharing(str(tmp_path), **changed).sharing(5)
    assert one is not None
    assert other is not None
    assert one.key != other.key


def test_threads_in_another_workspace_share_nothing(tmp_path: Path) -> None:
    """R5"""
    (tmp_path / "a").mkdir()
    one, other = sharing(str(tmp_path)).sharing(5), sharing(f"{tmp_path}/a").sharing(5)
    assert one is not None
    assert other is not None
    assert one.key != other.key


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_a_thread_whose_directory_is_another_users_shares_nothing_with_the_others(tmp_path: Path) -> None:
    """R5"""
    threads = sharing(f"{tmp_path}/{THREADS}")
    for thread_id in (5, 6):
        threads.spec(thread_id)
    os.chown(tmp_path / "6", 12345, -1)
    one, other = threads.sharing(5), threads.sharing(6)
    assert one is not None
    assert other is not None
    assert one.key != other.key


def local(workspace: str, **fields: Any) -> LocalLauncher:
    return LocalLauncher(**({"argv": ("agent",), "workspace": workspace, "env": {"HOME": "/home/me"}} | fields))


def test_a_thread_gets_the_agent_of_its_name_with_its_own_environment_only(tmp_path: Path) -> None:
    """R5: no agent sees another's keys."""
    launchers = {
        "red": local(str(tmp_path), argv=("red",), env={"RED_KEY": "r"}),
        "blue": local(str(tmp_path), argv=("blue",), env={"BLUE_KEY": "b"}),
    }
    launcher = LauncherByName(launchers, {1: "red", 2: "blue"}.__getitem__)
    specs = [launcher.spec(thread_id) for thread_id in (1, 2)]
    assert [(spec.argv, spec.env) for spec in specs] == [(("red",), {"RED_KEY": "r"}), (("blue",), {"BLUE_KEY": "b"})]


def test_the_name_counts_that_holds_when_the_process_is_started(tmp_path: Path) -> None:
    """Q8: a thread that was given another agent gets that one with its next process."""
    names = {1: "red"}
    launchers = {name: local(str(tmp_path), argv=(name,)) for name in ("red", "blue")}
    launcher = LauncherByName(launchers, names.__getitem__)
    assert launcher.spec(1).argv == ("red",)
    names[1] = "blue"
    assert launcher.spec(1).argv == ("blue",)


def test_two_agents_that_are_alike_share_no_process(tmp_path: Path) -> None:
    """R5"""
    launchers = {name: local(str(tmp_path), sessions_per_process=5) for name in ("red", "blue")}
    launcher = LauncherByName(launchers, {1: "red", 2: "red", 3: "blue"}.__getitem__)
    first, second, third = (launcher.sharing(thread_id) for thread_id in (1, 2, 3))
    assert first == second
    assert isinstance(first, Sharing)
    assert isinstance(third, Sharing)
    assert (first.sessions, first.key == third.key) == (5, False)


def test_an_agent_that_shares_nothing_says_so(tmp_path: Path) -> None:
    launcher = LauncherByName({"red": local(str(tmp_path))}, lambda _: "red")
    assert launcher.sharing(1) is None


def test_the_wrapper_is_told_of_the_threads_own_directory(tmp_path: Path) -> None:
    """R5"""
    wrapper = ("bwrap", "--bind", "{workspace}", "/work", "--setenv", "T", "{thread_id}", "--ro-bind", "{home}", "/h")
    spec = local(f"{tmp_path}/{THREADS}", wrapper=wrapper, limits=ResourceLimits(open_files=64)).spec(5)
    directory = f"{tmp_path}/5"
    filled = ("bwrap", "--bind", directory, "/work", "--setenv", "T", "5", "--ro-bind", "/home/me", "/h")
    assert spec.argv == ("prlimit", "--nofile=64", "--", *filled, "agent")
    assert (spec.cwd, spec.directory) == (directory, directory)


def test_sessions_may_work_in_a_directory_that_only_the_agent_sees(tmp_path: Path) -> None:
    """R5: as in a container or on another host."""
    spec = local(str(tmp_path), session_directory=f"/work/{THREADS}", start_timeout=90.0).spec(5)
    assert (spec.cwd, spec.directory, spec.start_timeout) == (str(tmp_path), "/work/5", 90.0)


def test_a_shared_process_is_wrapped_with_what_all_its_threads_have_in_common(tmp_path: Path) -> None:
    """P1, R5"""
    launcher = local(f"{tmp_path}/{THREADS}", wrapper=("wrap", "{workspace}"), sessions_per_process=5)
    spec = launcher.spec(5)
    assert (spec.argv, spec.cwd, spec.directory) == (("wrap", str(tmp_path), "agent"), str(tmp_path), f"{tmp_path}/5")
    assert launcher.sharing(5) == launcher.sharing(6)


def test_what_only_differs_in_its_wrapper_is_not_shared(tmp_path: Path) -> None:
    """R5"""
    launcher = local(str(tmp_path), wrapper=("wrap", "{thread_id}"), sessions_per_process=5)
    assert launcher.sharing(5) != launcher.sharing(6)


def test_a_trial_needs_no_workspace(tmp_path: Path) -> None:
    launcher = local(f"/nowhere/{THREADS}", wrapper=("wrap", "{workspace}"))
    with pytest.raises(AgentSpawnError) as caught:
        launcher.spec(5)
    assert caught.value.failure is SpawnFailure.BAD_DIRECTORY
    spec = launcher.spec_in(tmp_path, 0)
    assert (spec.argv, spec.cwd) == (("wrap", str(tmp_path), "agent"), str(tmp_path))


def test_an_errand_needs_the_base_alone_and_knows_whose_agent_it_asks(tmp_path: Path) -> None:
    """P4, P12, K4: no directory is made for a thread that may never be."""
    launchers = {name: local(f"{tmp_path}/{name}/{THREADS}") for name in ("a", "b")}
    launcher = LauncherByName(launchers, lambda thread_id: "a" if thread_id < 10 else "b")
    (tmp_path / "a").mkdir()
    assert launcher.errand(5).cwd == f"{tmp_path}/a"
    assert list((tmp_path / "a").iterdir()) == []
    with pytest.raises(AgentSpawnError):
        launcher.errand(15)
    assert launcher.same_agent(1, 2)
    assert not launcher.same_agent(1, 15)


def in_projects(tmp_path: Path, projects: dict[int, str | None]) -> LauncherByName:
    """Two agents, each of them alone, in web, where work trees are made by others, and in notes."""
    (tmp_path / "web").mkdir()
    web = {"makes_directories": False, "repository": "/srv/web", "wrapper": ("wrap", "{repository}")}
    places: dict[str | None, dict[str, Any]] = {
        None: {"workspace": str(tmp_path)},
        "web": {"workspace": f"{tmp_path}/web/{THREADS}"} | web,
        "notes": {"workspace": str(tmp_path)},
    }
    names = ("red", "blue")
    made = {(name, at): local(argv=(name,), sessions_per_process=5, **places[at]) for at in places for name in names}
    alone = {name: made[name, None] for name in names}
    of_projects = {(name, at): one for (name, at), one in made.items() if at is not None}
    return LauncherByName(alone, lambda one: "red" if one < 10 else "blue", int, of_projects, projects.__getitem__)


def test_threads_share_a_process_only_with_those_of_their_agent_and_project(tmp_path: Path) -> None:
    """W1, R5: however alike the directories are."""
    launcher = in_projects(tmp_path, {1: None, 2: "notes", 3: "notes", 12: "notes", 4: "web", 5: "web"})
    keys = {thread: sharing.key for thread in (1, 2, 3, 12, 4, 5) if (sharing := launcher.sharing(thread))}
    assert (keys[2], keys[4]) == (keys[3], keys[5])
    assert len({keys[1], keys[2], keys[12], keys[4]}) == 4
    assert launcher.same_agent(1, 4)
    assert not launcher.same_agent(2, 12)


def test_the_directory_of_a_work_tree_is_never_made_here(tmp_path: Path) -> None:
    """W2: an empty one in its place would look like work that is lost."""
    launcher = in_projects(tmp_path, {4: "web"})
    with pytest.raises(AgentSpawnError, match="web/4 is gone") as caught:
        launcher.spec(4)
    assert caught.value.failure is SpawnFailure.BAD_DIRECTORY
    assert list((tmp_path / "web").iterdir()) == []
    (tmp_path / "web/4").mkdir()
    spec = launcher.spec(4)
    assert (spec.argv, spec.cwd, spec.directory) == (
        ("wrap", "/srv/web", "red"),
        f"{tmp_path}/web",
        f"{tmp_path}/web/4",
    )


def test_a_project_that_is_gone_starts_nothing_anywhere(tmp_path: Path) -> None:
    """W1"""
    launcher = in_projects(tmp_path, {7: "gone"})
    assert launcher.sharing(7) is None
    for start in (launcher.spec, launcher.errand):
        with pytest.raises(AgentSpawnError, match="the project gone is not in the settings") as caught:
            start(7)
        assert caught.value.failure is SpawnFailure.BAD_DIRECTORY


def test_a_wrapper_without_a_project_has_the_workspace_for_a_repository(tmp_path: Path) -> None:
    """R5"""
    assert local(str(tmp_path), wrapper=("wrap", "{repository}")).spec(5).argv == ("wrap", str(tmp_path), "agent")


@pytest.mark.asyncio
async def test_a_thread_is_prepared_by_whoever_knows_its_project(tmp_path: Path) -> None:
    """W2"""
    prepared: list[int] = []

    async def prepare(thread_id: int) -> None:
        await anyio.lowlevel.checkpoint()
        prepared.append(thread_id)

    await LauncherByName({"red": local(str(tmp_path))}, lambda _: "red", preparing=prepare).prepare(5)
    assert prepared == [5]
