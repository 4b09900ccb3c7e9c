from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.agents.checks import agents_problems, fixed_part, program_problem
from bot.agents.file import AgentsFile
from bot.agents.model import AgentProfile, Agents, Project
from pool.wrapping import ResourceLimits

FILE = AgentsFile(Path("weft.toml"), "")


def problems(tmp_path: Path, **fields: Any) -> list[str]:
    given: dict[str, Any] = {"name": "red", "command": ("/bin/cat",), "workspace": str(tmp_path)} | fields
    return list(agents_problems(Agents({"red": AgentProfile(**given)}, "red"), FILE))


def test_an_agent_that_is_there_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path) == []
    assert problems(tmp_path, limits=ResourceLimits(open_files=64), workspace=f"{tmp_path}/{{thread_id}}/x") == []


def test_each_agent_is_looked_at(tmp_path: Path) -> None:
    """Settings and exits: a line for each problem of each agent."""
    red = AgentProfile("red", ("no-such-agent",), str(tmp_path))
    blue = AgentProfile("blue", ("/bin/cat",), "/no/such/place")
    assert list(agents_problems(Agents({"red": red, "blue": blue}, "red"), FILE)) == [
        "weft.toml: agents.red.command: no-such-agent was not found",
        "weft.toml: agents.blue.workspace: /no/such/place is not a directory",
    ]


def test_each_project_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W1: a line for each problem of each project."""
    (tmp_path / "web/.git").mkdir(parents=True)
    (tmp_path / "bare").mkdir()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/.git").write_text("gitdir: elsewhere")
    state = tmp_path / "state/worktrees"
    projects = [
        Project("gone", tmp_path / "gone", state),
        Project("bare", tmp_path / "bare", state),
        Project("plain", tmp_path / "bare", state, worktree=False),
        Project("tree", tmp_path / "tree", state),
        Project("around", tmp_path / "web", tmp_path / "web/state/worktrees"),
    ]
    red = AgentProfile("red", ("/bin/cat",), str(tmp_path))
    agents = Agents({"red": red}, "red", projects={one.name: one for one in projects})
    assert list(agents_problems(agents, FILE)) == [
        f"weft.toml: projects.gone.path: {tmp_path}/gone is not a directory",
        f"weft.toml: projects.bare.path: {tmp_path}/bare is not a git repository: write worktree = false, or run git "
        "init in it",
        "weft.toml: projects.around.path: the state directory is in it: choose another WEFT_STATE_DIR",
    ]
    monkeypatch.setenv("PATH", str(tmp_path))
    without_git = replace(agents, projects={"tree": projects[3], "plain": projects[2]})
    assert list(agents_problems(without_git, FILE)) == [
        "weft.toml: projects.tree.worktree: git was not found: install it, or write worktree = false"
    ]


def test_with_a_wrapper_the_wrapper_has_to_be_there(tmp_path: Path) -> None:
    """R5: the command may be in a container or on another machine."""
    assert problems(tmp_path, command=("inside",), wrapper=("/bin/cat",)) == []
    assert problems(tmp_path, wrapper=("no-such-wrapper",)) == [
        "weft.toml: agents.red.wrapper: no-such-wrapper was not found"
    ]


def test_the_agents_own_path_counts(tmp_path: Path) -> None:
    """R5: it is started with that one."""
    program = tmp_path / "own-agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert problems(tmp_path, command=("own-agent",), fixed={"PATH": str(tmp_path)}) == []
    assert problems(tmp_path, command=("own-agent",)) == ["weft.toml: agents.red.command: own-agent was not found"]


def test_limits_need_the_program_that_sets_them(tmp_path: Path) -> None:
    """R5"""
    expected = ["weft.toml: agents.red.limits: prlimit was not found"]
    assert problems(tmp_path, limits=ResourceLimits(open_files=64), fixed={"PATH": str(tmp_path)}) == expected


@pytest.mark.parametrize(
    ("workspace", "expected"),
    [("/srv/a", "/srv/a"), ("/srv/{thread_id}", "/srv"), ("/srv/t-{thread_id}/x", "/srv"), ("/srv/", "/srv")],
)
def test_the_fixed_part_is_what_is_the_same_for_all_threads(workspace: str, expected: str) -> None:
    assert fixed_part(workspace) == Path(expected)


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("{here}", "{here} is a directory, not a program"),
        ("~/agent", "~/agent is not an absolute path: write the whole path, such as {here}/agent"),
        ("bin/agent", "bin/agent is not an absolute path: write the whole path, such as {here}/bin/agent"),
    ],
)
def test_what_is_no_program_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, problem: str
) -> None:
    """Settings and exits."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert program_problem(program.format(here=tmp_path)) == problem.format(here=tmp_path)
