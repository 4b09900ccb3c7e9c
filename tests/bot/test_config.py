"""Settings: what is refused, with which words, and what the defaults are."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.agents.model import only
from bot.config import ConfigError, Settings, default_state_dir, load_settings, preflight

CHANNEL = 100000000000000001


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("WEFT_") or name in ("DISCORD_TOKEN", "STATE_DIRECTORY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def problems(monkeypatch: pytest.MonkeyPatch, **environment: str) -> tuple[str, ...]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        preflight(load_settings())
    return caught.value.problems


def good(tmp_path: Path) -> dict[str, str]:
    return {"DISCORD_TOKEN": "a.fake.token", "WEFT_AGENT_COMMAND": "/bin/cat -u", "WEFT_WORKSPACE": str(tmp_path)}


def test_everything_that_is_needed_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in good(tmp_path).items():
        monkeypatch.setenv(name, value)
    wanted = preflight(load_settings())
    assert (wanted.token, wanted.agents) == ("a.fake.token", only(("/bin/cat", "-u"), str(tmp_path)))


def test_each_thing_that_is_missing_gets_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = problems(monkeypatch)
    assert [line.split()[0] for line in lines] == ["DISCORD_TOKEN", "WEFT_AGENT_COMMAND", "WEFT_WORKSPACE"]


def test_a_channel_id_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(monkeypatch, WEFT_ALLOWED_CHANNELS="general") == (
        "WEFT_ALLOWED_CHANNELS: 'general' is not a Discord id (a number of 15 to 20 digits)",
    )


def test_an_agent_command_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = good(tmp_path) | {"WEFT_AGENT_COMMAND": "no-such-agent acp"}
    assert problems(monkeypatch, **environment) == ("WEFT_AGENT_COMMAND: no-such-agent was not found",)


def test_an_agent_that_is_not_executable_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "agent").write_text("#!/bin/sh\n")
    environment = good(tmp_path) | {"WEFT_AGENT_COMMAND": str(tmp_path / "agent")}
    assert problems(monkeypatch, **environment) == (f"WEFT_AGENT_COMMAND: {tmp_path}/agent is not executable",)


@pytest.mark.parametrize("workspace", ["/no/such/directory", "/no/such/directory/{thread_id}"])
def test_a_workspace_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workspace: str
) -> None:
    environment = good(tmp_path) | {"WEFT_WORKSPACE": workspace}
    assert problems(monkeypatch, **environment) == ("WEFT_WORKSPACE: /no/such/directory is not a directory",)


def test_a_directory_for_each_thread_needs_only_its_parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (good(tmp_path) | {"WEFT_WORKSPACE": f"{tmp_path}/t-{{thread_id}}"}).items():
        monkeypatch.setenv(name, value)
    (agent,) = preflight(load_settings()).agents
    assert agent.workspace == f"{tmp_path}/t-{{thread_id}}"


def test_a_relative_workspace_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = good(tmp_path) | {"WEFT_WORKSPACE": "work"}
    assert problems(monkeypatch, **environment) == ("WEFT_WORKSPACE: work is not an absolute path",)


def test_a_state_directory_that_is_a_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = good(tmp_path) | {"WEFT_STATE_DIR": str(tmp_path / "file")}
    assert problems(monkeypatch, **environment) == (f"WEFT_STATE_DIR: {tmp_path}/file is not a directory",)


def test_nothing_is_made_while_settings_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = tmp_path / "state" / "weft"
    problems(monkeypatch, WEFT_STATE_DIR=str(state))
    assert not state.exists()


def test_lists_of_ids_take_commas_and_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_ALLOWED_USERS", f"{CHANNEL}, {CHANNEL + 1} {CHANNEL + 2}")
    assert load_settings().allowed_users == (CHANNEL, CHANNEL + 1, CHANNEL + 2)


def test_an_empty_setting_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_MAX_AGENTS", "")
    assert load_settings().max_agents == 12


def test_the_token_is_not_in_the_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """R5."""
    monkeypatch.setenv("DISCORD_TOKEN", "a.fake.token")
    assert "a.fake.token" not in repr(load_settings())


def test_a_file_gives_settings_and_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WEFT_MAX_AGENTS=3\nWEFT_IDLE_TTL=5\n")
    monkeypatch.setenv("WEFT_IDLE_TTL", "7")
    settings = load_settings(tmp_path / ".env")
    assert (settings.max_agents, settings.idle_ttl) == (3, 7)


def test_lanes_count_the_sessions_that_share_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Q6, P11."""
    monkeypatch.setenv("WEFT_MAX_AGENTS", "2")
    assert load_settings().lanes == (2, 2)
    monkeypatch.setenv("WEFT_SESSIONS_PER_PROCESS", "10")
    assert load_settings().lanes == (8, 2)
    monkeypatch.setenv("WEFT_LANE_MAIN", "19")
    with pytest.raises(ConfigError, match="2 agents with 10 sessions each are fewer than the 19 \\+ 2 turns"):
        load_settings()


def test_every_setting_has_its_line_in_the_example_file() -> None:
    example = (Path(__file__).parents[2] / ".env.example").read_text()
    names = {"DISCORD_TOKEN"} | {f"WEFT_{name.upper()}" for name in Settings.model_fields if name != "discord_token"}
    assert {name for name in names if f"{name}=" not in example} == set()


def test_state_is_kept_where_systemd_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/weft:/var/lib/other")
    assert default_state_dir() == Path("/var/lib/weft")
