from __future__ import annotations

from pathlib import Path

import pytest

from bot.agents.model import AgentProfile, Agents, launcher_of, secret_values
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
