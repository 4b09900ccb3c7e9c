from __future__ import annotations

from pathlib import Path

import pytest

from acp.errors import AgentSpawnError, SpawnFailure
from acp.process import LaunchSpec
from pool.launcher import LocalLauncher


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
