from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acp.errors import AgentSpawnError, SpawnFailure
from pool.launcher import LauncherByName, LocalLauncher, Sharing
from pool.wrapping import ResourceLimits

THREADS = "{thread_id}"


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
