"""Settings: what is refused, with which words, and what the defaults are."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.agents.model import only
from bot.config import ConfigError, Settings, default_state_dir, load_settings, take_token, unknown_variables
from bot.preflight import checked_settings, preflight
from tests.commands import TOKEN

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
    return {"DISCORD_TOKEN": TOKEN, "WEFT_AGENT_COMMAND": "/bin/cat -u", "WEFT_WORKSPACE": str(tmp_path)}


def test_everything_that_is_needed_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in good(tmp_path).items():
        monkeypatch.setenv(name, value)
    wanted = preflight(load_settings())
    assert (wanted.token, wanted.agents) == (TOKEN, only(("/bin/cat", "-u"), str(tmp_path)))


def test_each_thing_that_is_missing_gets_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = problems(monkeypatch)
    assert [line.split()[0] for line in lines] == ["DISCORD_TOKEN", "WEFT_AGENT_COMMAND", "WEFT_WORKSPACE"]


def test_a_channel_id_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(monkeypatch, WEFT_ALLOWED_CHANNELS="general") == (
        "WEFT_ALLOWED_CHANNELS (environment): 'general' is not a Discord id (a number of 15 to 20 digits)",
    )


def test_an_agent_command_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = good(tmp_path) | {"WEFT_AGENT_COMMAND": "no-such-agent acp"}
    assert problems(monkeypatch, **environment) == ("WEFT_AGENT_COMMAND (environment): no-such-agent was not found",)


def test_an_agent_that_is_not_executable_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "agent").write_text("#!/bin/sh\n")
    environment = good(tmp_path) | {"WEFT_AGENT_COMMAND": str(tmp_path / "agent")}
    assert problems(monkeypatch, **environment) == (
        f"WEFT_AGENT_COMMAND (environment): {tmp_path}/agent is not executable",
    )


@pytest.mark.parametrize("workspace", ["/no/such/directory", "/no/such/directory/{thread_id}"])
def test_a_workspace_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workspace: str
) -> None:
    environment = good(tmp_path) | {"WEFT_WORKSPACE": workspace}
    assert problems(monkeypatch, **environment) == (
        "WEFT_WORKSPACE (environment): /no/such/directory is not a directory",
    )


def test_a_directory_for_each_thread_needs_only_its_parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (good(tmp_path) | {"WEFT_WORKSPACE": f"{tmp_path}/t-{{thread_id}}"}).items():
        monkeypatch.setenv(name, value)
    (agent,) = preflight(load_settings()).agents
    assert agent.workspace == f"{tmp_path}/t-{{thread_id}}"


def test_a_relative_workspace_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    environment = good(tmp_path) | {"WEFT_WORKSPACE": "work"}
    assert problems(monkeypatch, **environment) == (
        f"WEFT_WORKSPACE (environment): work is not an absolute path: write the whole path, such as {tmp_path}/work",
    )


def test_a_state_directory_that_is_a_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = good(tmp_path) | {"WEFT_STATE_DIR": str(tmp_path / "file")}
    assert problems(monkeypatch, **environment) == (
        f"WEFT_STATE_DIR (environment): {tmp_path}/file is not a directory",
    )


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
    monkeypatch.setenv("DISCORD_TOKEN", TOKEN)
    assert TOKEN not in repr(load_settings())


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


def faults(directory: Path, text: str) -> tuple[str, ...]:
    """What is wrong with a file of settings, without the directory in which it lies."""
    (directory / ".env").write_text(text)
    with pytest.raises(ConfigError) as caught:
        checked_settings(directory / ".env")
    return tuple(problem.replace(f"{directory}/", "") for problem in caught.value.problems)


def test_everything_that_is_wrong_is_named_at_once_with_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Settings and exits: nothing that follows from another fault only."""
    monkeypatch.setenv("WEFT_LOG_LEVEL", "loud")
    monkeypatch.setenv("HOME", "/home/me")
    text = """\
# a comment

DISCORD_TOKEN=canary
WEFT_WORKSPCE=/srv
WEFT_WORKSPACE=~/x
export WEFT_IDLE_TTL=15m
WEFT_MAX_AGENTS=twelve
WEFT_AGENT_COMMAND='cat -u
WEFT_REACTIONS
"""
    assert faults(tmp_path, text) == (
        ".env, line 8: the quote before the value of WEFT_AGENT_COMMAND is not closed:"
        " write WEFT_AGENT_COMMAND='value'",
        ".env, line 9: this is not a setting: write NAME=value, or put # before a comment",
        "WEFT_WORKSPCE (.env, line 4): there is no such setting; did you mean WEFT_WORKSPACE?",
        "WEFT_MAX_AGENTS (.env, line 7): 'twelve' is not a whole number",
        "WEFT_IDLE_TTL (.env, line 6): '15m' is not a number: give seconds, such as 900",
        "WEFT_LOG_LEVEL (environment): 'loud' is unknown: write 'debug', 'info', 'warning' or 'error'",
        "DISCORD_TOKEN (.env, line 3): this is not a bot token (three parts with dots between them): copy it"
        " from Discord's developer portal (Bot, Reset Token)",
        "WEFT_WORKSPACE (.env, line 5): ~/x is not an absolute path: write the whole path, such as /home/me/x",
    )


def test_faults_in_the_file_of_agents_are_named_beside_others(tmp_path: Path) -> None:
    """Settings and exits."""
    (tmp_path / "weft.toml").write_text("[agents.red]\ncommand = 'no-such-agent'\nwrk = 1\n")
    text = f"DISCORD_TOKEN={TOKEN}\nWEFT_WORKSPACE=/no/such/place\nWEFT_DRAIN=11\nWEFT_AGENT_COMMAND=cat\n"
    assert faults(tmp_path, text) == (
        "WEFT_DRAIN (.env, line 3): '11' is too large: give at most 10",
        "WEFT_AGENT_COMMAND (.env, line 4): weft.toml already says which agents there are: remove one of the two",
        "WEFT_WORKSPACE (.env, line 2): /no/such/place is not a directory",
        "weft.toml, line 3: agents.red.wrk: there is no such setting",
        "weft.toml, line 2: agents.red.command: no-such-agent was not found",
    )


def test_a_list_may_go_over_several_lines_and_a_name_of_others_may_stand_alone(tmp_path: Path) -> None:
    """Settings and exits: as before there were checks."""
    file = tmp_path / ".env"
    file.write_text(f'WEFT_ALLOWED_USERS="\n{CHANNEL}\n{CHANNEL + 1}\n"\nexport OTHER\nWEFT_DRAIN=1\n')
    settings = load_settings(file)
    assert (settings.allowed_users, settings.drain) == ((CHANNEL, CHANNEL + 1), 1)


def test_a_variable_that_the_file_of_agents_names_is_no_unknown_setting(tmp_path: Path) -> None:
    """Settings and exits, P12: as for WEFT_AGENT_ENV."""
    (tmp_path / "weft.toml").write_text("[agents.red]\ncommand = 'cat'\nenv = ['WEFT_RED_*']\n")
    (tmp_path / ".env").write_text("WEFT_RED_KEY=a\n")
    assert load_settings(tmp_path / ".env").agents_file is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('WEFT_A="x\nWEFT_B="\n', ".env, line 1: the quote before the value of WEFT_A is not closed"),
        ('WEFT_A="x\nWEFT_B="y"\n', ".env, line 1: the quote before the value of WEFT_A is not closed"),
        ("\n\nKEY='x' y\n", ".env, line 3: KEY: there is text after the closing quote"),
        ("canary secret\n", ".env, line 1: this is not a setting"),
        ("WEFT_STATE_DIR='~/s'\n", "WEFT_STATE_DIR (.env, line 1): ~/s is not an absolute path"),
        ("WEFT_AGENTS_FILE=~/a\n", "WEFT_AGENTS_FILE (.env, line 1): ~/a is not an absolute path"),
        ("WEFT_DISCORD_TOKEN=a\n", "WEFT_DISCORD_TOKEN (.env, line 1): there is no such setting; did you mean"),
        (
            "WEFT_LANE_MAIN=19\nWEFT_MAX_AGENTS=2\nWEFT_DRAIN=x",
            "WEFT_MAX_AGENTS (.env, line 2): 2 agents are fewer than the 19 + 2 turns that the lanes let run",
        ),
        ("WEFT_QQ=a\n", "WEFT_QQ (.env, line 1): there is no such setting; .env.example lists them all"),
    ],
)
def test_a_line_that_can_not_be_used_is_named(tmp_path: Path, text: str, problem: str) -> None:
    """Settings and exits: what it says is not repeated where it may be a secret."""
    found = faults(tmp_path, text)
    assert [line for line in found if line.startswith(problem)]
    assert "canary" not in "".join(found)
    assert "WEFT_B" not in "".join(found)


def test_what_is_for_agents_may_be_anything(tmp_path: Path) -> None:
    """R5: several lines, another name of Weft's that is passed on, and a mark before the text."""
    (tmp_path / ".env").write_text('PEM="a\nb"\nWEFT_AGENT_ENV="WEFT_MINE PEM"\nWEFT_MINE=1\n', "utf-8-sig")
    assert load_settings(tmp_path / ".env").agent_env == ("WEFT_MINE", "PEM")


def test_an_unknown_name_in_the_environment_is_only_worth_a_warning() -> None:
    """Settings and exits: others set variables there, too."""
    environ = {"WEFT_QUEUE_MOD": "x", "WEFT_PYTHON": "python3", "PATH": "/bin", "WEFT_AGENT": "x"}
    assert unknown_variables(load_settings(), environ) == [
        "WEFT_QUEUE_MOD (environment): there is no such setting; did you mean WEFT_QUEUE_MODE?"
    ]


def credentials(directory: Path, content: str) -> dict[str, str]:
    (directory / "discord-token").write_text(content)
    return {"CREDENTIALS_DIRECTORY": str(directory)}


def token(env_file: Path | None = None, given: str | None = None) -> str | None:
    found = load_settings(env_file, given).discord_token
    return found.get_secret_value() if found else None


@pytest.mark.parametrize(("content", "found"), [("sealed\n", "sealed"), ("\n", "open"), ("", "open")])
def test_the_credential_goes_before_the_variable_which_is_removed(tmp_path: Path, content: str, found: str) -> None:
    """R5"""
    environ = credentials(tmp_path, content) | {"DISCORD_TOKEN": "open"}
    assert take_token(environ) == found
    assert "DISCORD_TOKEN" not in environ


@pytest.mark.parametrize("environ", [{}, {"DISCORD_TOKEN": " "}, {"CREDENTIALS_DIRECTORY": "/no/such/place"}])
def test_there_may_be_no_token(environ: dict[str, str]) -> None:
    """R5"""
    assert take_token(environ) is None


def test_a_credential_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    """R3: exit 78."""
    (tmp_path / "discord-token").mkdir()
    with pytest.raises(ConfigError, match="the credential discord-token can't be read: "):
        take_token({"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_reload_still_knows_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """R3, R5: its variable is gone by then; what the file says comes after."""
    monkeypatch.delenv("DISCORD_TOKEN", raising=False)
    env_file = tmp_path / "env"
    env_file.write_text("DISCORD_TOKEN=of-the-file\n")
    assert token(env_file, "taken") == "taken"
    assert token(env_file) == "of-the-file"


def test_the_checks_see_the_credential_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """R5"""
    for name, value in credentials(tmp_path, "sealed").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DISCORD_TOKEN", "open")
    assert token() == "sealed"
