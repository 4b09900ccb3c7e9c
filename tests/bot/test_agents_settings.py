"""Where the agents' file is found, and how it goes with the settings that name one agent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import structlog.testing

from bot.agents.model import only
from bot.app import Reload
from bot.config import ConfigError, Settings, load_settings
from bot.preflight import preflight
from tests.agents import scenario
from tests.commands import TOKEN, weft

TWO = """
default = "red"
[agents.red]
command = "/bin/cat"
[agents.blue]
command = "/bin/cat"
"""


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("WEFT_") or name in ("DISCORD_TOKEN", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("DISCORD_TOKEN", TOKEN)


def given(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def names(settings: Settings) -> tuple[str, ...]:
    return preflight(settings).agents.names


def test_the_file_beside_the_settings_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings and exits: also where there is no .env."""
    given(monkeypatch, {"WEFT_WORKSPACE": str(tmp_path)})
    (tmp_path / "weft.toml").write_text(TWO)
    assert names(load_settings(tmp_path / ".env")) == ("red", "blue")


def test_a_file_that_is_named_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings and exits."""
    (tmp_path / "weft.toml").write_text("nothing good")
    (tmp_path / "other.toml").write_text('[agents.green]\ncommand = "/bin/cat"')
    given(monkeypatch, {"WEFT_WORKSPACE": str(tmp_path), "WEFT_AGENTS_FILE": str(tmp_path / "other.toml")})
    assert names(load_settings(tmp_path / ".env")) == ("green",)


def test_a_file_that_is_named_has_to_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings and exits."""
    given(monkeypatch, {"WEFT_AGENTS_FILE": str(tmp_path / "none.toml")})
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / ".env")
    assert caught.value.problems == (f"WEFT_AGENTS_FILE (environment): {tmp_path}/none.toml does not exist",)


def test_without_a_file_there_is_the_one_agent_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """R5: as it was."""
    given(monkeypatch, {"WEFT_AGENT_COMMAND": "/bin/cat -u", "WEFT_AGENT_ENV": "A B", "WEFT_WORKSPACE": str(tmp_path)})
    expected = only(("/bin/cat", "-u"), str(tmp_path), ("A", "B"))
    assert preflight(load_settings(tmp_path / ".env")).agents == expected


def test_what_names_an_agent_beside_the_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings and exits: together with all else that is wrong, a line each."""
    file = tmp_path / "weft.toml"
    file.write_text(f"{TWO}\nworkspace = '/no/such/place'")
    given(monkeypatch, {"WEFT_AGENT_COMMAND": "/bin/cat", "WEFT_AGENT_ENV": "A", "DISCORD_TOKEN": ""})
    with pytest.raises(ConfigError) as caught:
        preflight(load_settings(tmp_path / ".env"))
    both = f"{file} already says which agents there are: remove one of the two"
    assert caught.value.problems[1:] == (
        f"WEFT_AGENT_COMMAND (environment): {both}",
        f"WEFT_AGENT_ENV (environment): {both}",
        "weft.toml, line 3: agents.red.workspace: is missing, and WEFT_WORKSPACE is not set",
    )
    given(monkeypatch, {"WEFT_WORKSPACE": str(tmp_path)})
    with pytest.raises(ConfigError) as caught:
        preflight(load_settings(tmp_path / ".env"))
    assert caught.value.problems[3:] == ("weft.toml, line 8: agents.blue.workspace: /no/such/place is not a directory",)


def test_a_changed_file_needs_a_restart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """R1: SIGHUP says so and changes nothing of it."""
    given(monkeypatch, {"WEFT_WORKSPACE": str(tmp_path)})
    file = tmp_path / "weft.toml"
    file.write_text(TWO)

    def load() -> Settings:
        return load_settings(tmp_path / ".env")

    reload = Reload(load(), load, lambda _: pytest.fail("nothing can be applied"))
    file.write_text(TWO.replace("blue", "green"))
    with structlog.testing.capture_logs() as logs:
        reload()
    assert [(one["changed"], one["need_a_restart"]) for one in logs] == [([], ["agents_file"])]


def test_a_run_with_a_wrong_file_ends_with_78_and_a_line_for_each_problem(tmp_path: Path) -> None:
    """Settings and exits."""
    (tmp_path / "weft.toml").write_text(f"{TWO}\nenv = ['A B']\nnew = 1")
    done = weft(tmp_path, "run", DISCORD_TOKEN=TOKEN, WEFT_WORKSPACE=str(tmp_path))
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.splitlines() == [
        "weft: weft.toml, line 8: agents.blue.env.0: 'A B' is not a variable's name",
        "weft: weft.toml, line 9: agents.blue.new: there is no such setting",
    ]


def test_the_doctor_starts_each_agent_as_it_is_wrapped(tmp_path: Path) -> None:
    """Settings and exits."""
    agent = scenario(tmp_path)
    (tmp_path / "weft.toml").write_text(f"""
        default = "red"
        [agents.red]
        command = {list(agent.argv)!r}
        env = ["RED_KEY"]
        wrapper = ["env", "PLACE={{workspace}}"]
        [agents.blue]
        command = "/bin/true"
    """)
    done = weft(tmp_path, "doctor", "--offline", DISCORD_TOKEN=TOKEN, WEFT_WORKSPACE=str(tmp_path))
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "ok agents red, blue (default: red)" in lines
    assert "warn agent env RED_KEY is listed in agents.red.env, but is not set" in lines
    (red,) = (line for line in lines if line.startswith("ok initialize red: "))
    assert "scripted" in red
    # The bot runs without it: whoever asks for it is told.
    assert any(line.startswith("warn initialize blue: ") for line in lines)


@pytest.mark.parametrize("above", ["permissions", "agents.blue.permissions"])
def test_rules_for_two_people_need_approvers(above: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """C1: else each of them would only wait until its time is up."""
    given(monkeypatch, {"WEFT_WORKSPACE": str(tmp_path)})
    path = tmp_path / "weft.toml"
    path.write_text(f"{TWO}[{above}]\ntwo_person = ['git push*']\n")
    with pytest.raises(ConfigError) as refused:
        names(load_settings(tmp_path / ".env"))
    (problem,) = refused.value.problems
    assert problem.startswith(f"WEFT_APPROVER_ROLES is not set: name a role, as the two_person rules in {path} ")
    given(monkeypatch, {"WEFT_APPROVER_ROLES": "12"})
    with pytest.raises(ConfigError) as refused:
        names(load_settings(tmp_path / ".env"))
    assert "is not a Discord id" in refused.value.problems[0]
    given(monkeypatch, {"WEFT_APPROVER_ROLES": "123456789012345678"})
    assert names(load_settings(tmp_path / ".env")) == ("red", "blue")
