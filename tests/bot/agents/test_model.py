from __future__ import annotations

from pathlib import Path

import pytest

from bot.agents.model import AgentProfile, Agents, Project, launcher_of, secret_values
from pool.wrapping import ResourceLimits

ENVIRON = {
    "PATH": "/bin",
    "RED_KEY": "red-secret",
    "BLUE_KEY": "blue-secret",
    "DISCORD_TOKEN": "token",
    "CREDENTIALS_DIRECTORY": "/run/credentials/weft.service",
}


def two(tmp_path: Path) -> Agents:
    red = AgentProfile("red", ("red",), str(tmp_path), env=("RED_KEY",), fixed={"MODE": "r", "PATH": "/opt/red"})
    blue = AgentProfile("blue", ("blue",), str(tmp_path), env=("BLUE_*", "DISCORD_TOKEN", "CREDENTIALS_DIRECTORY"))
    return Agents({"red": red, "blue": blue}, "red")


def test_each_agent_gets_its_own_keys_and_no_others(tmp_path: Path) -> None:
    """R5: nor the token, nor where it lies, even when they are named."""
    launcher = launcher_of(two(tmp_path), ENVIRON, {"MARK": "m"}, {1: "red", 2: "blue"}.__getitem__)
    assert launcher.spec(1).env == {"PATH": "/opt/red", "RED_KEY": "red-secret", "MODE": "r", "MARK": "m"}
    assert launcher.spec(2).env == {"PATH": "/bin", "BLUE_KEY": "blue-secret", "MARK": "m"}


def test_the_keys_of_all_agents_are_blacked_out(tmp_path: Path) -> None:
    """R5: what one agent says may hold what another was given."""
    assert {"red-secret", "blue-secret"} <= set(secret_values(two(tmp_path), ENVIRON))
    assert "r" not in secret_values(two(tmp_path), ENVIRON)


@pytest.mark.parametrize(
    ("own", "wrapper", "expected"),
    [(None, (), 20), (5, (), 5), (1, (), 1), (None, ("bwrap",), 1), (5, ("bwrap",), 5)],
)
def test_threads_share_a_wall_only_where_the_agent_says_so(
    tmp_path: Path, own: int | None, wrapper: tuple[str, ...], expected: int
) -> None:
    """R5: what keeps threads apart is not given up by a setting for all."""
    agent = AgentProfile("red", ("red",), f"{tmp_path}/{{thread_id}}", wrapper=wrapper, sessions_per_process=own)
    sharing = launcher_of(Agents({"red": agent}, "red"), {}, {}, lambda _: "red", 20).sharing(5)
    assert (sharing.sessions if sharing is not None else 1) == expected


def test_what_the_file_says_reaches_the_process(tmp_path: Path) -> None:
    """R5"""
    agent = AgentProfile(
        "red",
        ("red",),
        f"{tmp_path}/{{thread_id}}",
        wrapper=("wrap", "{workspace}"),
        session_directory="/work",
        start_timeout=9.0,
        limits=ResourceLimits(open_files=64),
        sessions_per_process=2,
    )
    launcher = launcher_of(Agents({"red": agent}, "red"), {}, {}, lambda _: "red")
    spec = launcher.spec(5)
    assert spec.argv == ("prlimit", "--nofile=64", "--", "wrap", str(tmp_path), "red")
    assert (spec.cwd, spec.directory, spec.start_timeout) == (str(tmp_path), "/work", 9.0)
    sharing = launcher.sharing(5)
    assert sharing is not None
    assert sharing.sessions == 2


def test_an_agent_gets_the_keys_of_a_project_in_its_threads_alone(tmp_path: Path) -> None:
    """W1, R5: and they are blacked out like its own; a command of the project runs as the agent would."""
    environ = ENVIRON | {"NPM_TOKEN": "npm-secret"}
    (tmp_path / "trees/7").mkdir(parents=True)
    web = Project("web", tmp_path, tmp_path / "trees", env=("NPM_TOKEN", "DISCORD_TOKEN"))
    red = AgentProfile(
        "red", ("red",), str(tmp_path), env=("RED_KEY",), wrapper=("wrap", "{workspace}", "{repository}")
    )
    agents = Agents({"red": red}, "red", projects={"web": web})
    launcher = launcher_of(agents, environ, {"MARK": "m"}, lambda _: "red", project_of={7: "web", 8: None}.__getitem__)
    env = {"PATH": "/bin", "RED_KEY": "red-secret", "MARK": "m"}
    assert launcher.spec(8).env == env
    assert launcher.spec(7).env == env | {"NPM_TOKEN": "npm-secret"}
    assert "npm-secret" in secret_values(agents, environ)
    tree = f"{tmp_path}/trees/7"
    assert launcher.spec(7).argv == ("wrap", tree, str(tmp_path), "red")
    setting_up = launcher.command(("npm", "ci"), 7)
    assert (setting_up.argv, setting_up.cwd) == (("wrap", tree, str(tmp_path), "npm", "ci"), tree)
    assert setting_up.env == env | {"NPM_TOKEN": "npm-secret"}
