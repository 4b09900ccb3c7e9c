"""`weft service`: what is written, called, refused and left alone; systemctl is a script that notes its calls."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.service.unit import MARK

SYSTEMCTL = """#!/bin/sh
echo "$*" >>"{root}/calls"
env >>"{root}/environments"
case "$*" in *"{fails}"*) exit 5 ;; esac
"""


class Desk:
    """An account with settings, a workspace and a systemctl."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.units = root / "config" / "systemd" / "user"
        self.unit = self.units / "weft.service"
        self.env_file = root / "env"
        (root / "work").mkdir()
        (root / "bin").mkdir()
        self.settings(DISCORD_TOKEN="of-nobody", WEFT_WORKSPACE=f"{root}/work/{{thread_id}}")

    def settings(self, **settings: str) -> None:
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def service(self, *arguments: str, fails: str = "nothing") -> Result:
        systemctl = self.root / "bin" / "systemctl"
        systemctl.write_text(SYSTEMCTL.format(root=self.root, fails=fails))
        systemctl.chmod(0o755)
        where = ["--env-file", str(self.env_file)] if arguments[0] in ("install", "show") else []
        environ = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "DISCORD_TOKEN": "canary-token",
            "SOME_API_KEY": "canary-key",
        }
        return CliRunner().invoke(main, ["service", *arguments, *where], env=environ)

    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_install_writes_the_unit_and_enables_it(desk: Desk) -> None:
    """R3"""
    done = desk.service("install", "--user", "--now")
    assert (done.exit_code, done.output) == (0, f"{desk.unit}: installed and enabled, starting\n")
    assert desk.unit.read_text().startswith(MARK)
    assert f"--env-file {desk.env_file}" in desk.unit.read_text()
    assert desk.calls() == [
        "--user show --property=Version",
        "--user daemon-reload",
        "--user enable weft.service",
        "--user restart --no-block weft.service",
    ]


def test_systemctl_is_told_no_secret_and_still_finds_the_bus(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """R5"""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/of/the/bus")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/of/the/user")
    desk.service("install", "--user", "--now")
    desk.service("uninstall", "--user")
    seen = (desk.root / "environments").read_text()
    assert "canary" not in seen
    calls = len(desk.calls())
    assert calls == seen.count("unix:path=/of/the/bus") == seen.count("XDG_RUNTIME_DIR=/of/the/user")


def test_uninstall_takes_all_of_it_away(desk: Desk) -> None:
    """R3"""
    desk.service("install", "--user")
    done = desk.service("uninstall", "--user")
    assert (done.exit_code, done.output) == (0, f"{desk.unit}: removed\n")
    assert list(desk.units.iterdir()) == []
    assert desk.calls()[-3:] == [
        "--user disable --now weft.service",
        "--user reset-failed weft.service",
        "--user daemon-reload",
    ]
    assert desk.service("uninstall", "--user").output == f"{desk.unit}: not installed\n"


def test_show_prints_and_changes_nothing(desk: Desk) -> None:
    """R3: of a system's service both files."""
    done = desk.service("show", "--run-as", "root", "--strict")
    assert done.exit_code == 0
    assert done.output.startswith("# /etc/systemd/system/weft.service\n# Written by")
    assert "\n# /etc/systemd/system/weft.service.d/50-strict.conf\n" in done.output
    assert f"ReadWritePaths={desk.root}/work" in done.output
    assert not desk.units.exists()


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_unit_of_somebody_else_is_left_alone(desk: Desk, command: str) -> None:
    desk.units.mkdir(parents=True)
    desk.unit.write_text("[Unit]\n")
    done = desk.service(command, "--user")
    assert done.exit_code == 1
    assert done.output == f"weft: {desk.unit} was not written by `weft service install`: move it away, then try again\n"
    assert desk.unit.read_text() == "[Unit]\n"


def test_a_systemctl_that_fails_is_told(desk: Desk) -> None:
    done = desk.service("install", "--user", fails="enable")
    assert done.exit_code == 1
    assert "weft: `systemctl --user enable weft.service` failed with exit code 5\n" in done.output


def test_what_is_missing_is_told_in_a_line_each(desk: Desk) -> None:
    """R3: exit 78."""
    desk.settings(HOME="/")
    done = desk.service("install", "--run-as", "nobody-at-all")
    assert done.exit_code == 78
    workspace, token, user = done.output.splitlines()
    assert workspace == f"weft: {desk.env_file} has no WEFT_WORKSPACE: the directory in which agents work"
    assert token == f"weft: {desk.env_file} has no DISCORD_TOKEN, and there is no --token-file"
    assert user.startswith("weft: there is no user nobody-at-all: create it with useradd --system ")


def test_settings_and_files_that_are_not_there_are_told(desk: Desk) -> None:
    """R3"""
    desk.settings(WEFT_WORKSPACE="/no/such/place", DISCORD_TOKEN="x")
    done = desk.service("install", "--user", "--token-file", "/no/such/file")
    assert done.output.splitlines() == [
        "weft: WEFT_WORKSPACE: /no/such/place is not a directory",
        "weft: --token-file: /no/such/file is not a file",
    ]
    desk.env_file.unlink()
    assert desk.service("install", "--user").output == f"weft: --env-file: {desk.env_file} does not exist\n"


def test_the_token_comes_one_way_only(desk: Desk) -> None:
    """R5"""
    done = desk.service("show", "--user", "--token-file", str(desk.env_file), "--sealed-token", str(desk.env_file))
    assert (done.exit_code, done.output) == (78, "weft: --token-file and --sealed-token: give only one of the two\n")
    assert "LoadCredentialEncrypted" in desk.service("show", "--user", "--sealed-token", str(desk.env_file)).output


def test_strict_needs_a_system_service(desk: Desk) -> None:
    done = desk.service("install", "--user", "--strict")
    assert done.exit_code == 2
    assert "--strict needs a system service" in done.output


def test_an_install_without_strict_takes_the_drop_in_away(desk: Desk) -> None:
    drop_in = desk.units / "weft.service.d" / "50-strict.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(f"{MARK}\n")
    assert desk.service("install", "--user").exit_code == 0
    assert not drop_in.parent.exists()


def test_variables_of_this_shell_do_not_count(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """R3: the service would not have them."""
    monkeypatch.setenv("WEFT_WORKSPACE", str(desk.root))
    desk.settings(DISCORD_TOKEN="x")
    assert desk.service("install", "--user").exit_code == 78


def test_every_agent_of_the_file_may_write_to_its_workspace(desk: Desk) -> None:
    """R3, P12, W2: a system service sees all else read-only; agents commit to the repositories of projects."""
    for name in ("one", "other", "web"):
        (desk.root / name).mkdir()
    (desk.root / "weft.toml").write_text(
        'default = "a"\n'
        f'[agents.a]\ncommand = "true"\nworkspace = "{desk.root}/one/{{thread_id}}"\n'
        f'[agents.b]\ncommand = "true"\nworkspace = "{desk.root}/other"\n'
        f'[projects.web]\npath = "{desk.root}/web"\n'
    )
    desk.settings(DISCORD_TOKEN="of-nobody")
    shown = desk.service("show", "--run-as", "root").output
    (writable,) = (line for line in shown.splitlines() if line.startswith("ReadWritePaths="))
    assert f"{desk.root}/one {desk.root}/other {desk.root}/web" in writable


def test_a_file_of_agents_that_can_not_be_understood_is_told(desk: Desk) -> None:
    """R3, P12."""
    (desk.root / "weft.toml").write_text("[agents\n")
    done = desk.service("install", "--user")
    assert done.exit_code == 78
    assert "weft.toml" in done.output


def test_what_lies_in_a_temporary_directory_is_there_for_the_service_too(desk: Desk) -> None:
    """R3: the service has a /tmp of its own."""
    shown = desk.service("show", "--run-as", "root").output.splitlines()
    hidden = desk.root.is_relative_to("/tmp")
    assert (f"BindPaths={desk.root}/work" in "\n".join(shown)) is hidden
    assert any(line.startswith("BindReadOnlyPaths=") and str(desk.root) in line for line in shown) is hidden


def test_a_file_of_agents_that_the_service_would_look_for_elsewhere_is_refused(desk: Desk) -> None:
    """R3, P12."""
    desk.settings(DISCORD_TOKEN="of-nobody", WEFT_WORKSPACE=f"{desk.root}/work", WEFT_AGENTS_FILE="weft.toml")
    done = desk.service("install", "--user")
    assert done.exit_code == 78
    assert "WEFT_AGENTS_FILE: weft.toml is not an absolute path" in done.output
    assert not desk.unit.exists()


NO_BUS = "show --property=Version"


def test_without_systemd_nothing_is_written_and_what_is_there_goes(desk: Desk) -> None:
    """R3"""
    done = desk.service("install", "--user", fails=NO_BUS)
    assert (done.exit_code, desk.unit.exists()) == (1, False)
    assert done.output == "weft: systemctl --user gets no answer from systemd: exit code 5\n"
    desk.service("install", "--user")
    link = desk.units / "default.target.wants" / "weft.service"
    link.parent.mkdir()
    link.symlink_to(desk.unit)
    done = desk.service("uninstall", "--user", fails=NO_BUS)
    assert (done.exit_code, done.output) == (0, f"{desk.unit}: removed\n")
    assert list(desk.units.rglob("weft.service")) == []


def test_a_service_that_can_not_be_stopped_is_removed_and_told(desk: Desk) -> None:
    """R3"""
    desk.service("install", "--user")
    done = desk.service("uninstall", "--user", fails="disable")
    assert (done.exit_code, desk.unit.exists()) == (1, False)
    assert f"weft: {desk.unit}: removed, but `systemctl --user disable --now weft.service` failed" in done.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs for another user")
def test_settings_that_the_services_user_can_not_read_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """R3"""
    monkeypatch.setattr(sys, "executable", "/bin/sh")  # everybody's
    desk.env_file.chmod(0o600)
    done = desk.service("install", "--run-as", "nobody")
    assert done.exit_code == 78
    hint = f"chgrp nobody {desk.env_file}; chmod 640 {desk.env_file}"
    assert done.output == f"weft: {desk.env_file} can't be read by nobody, the user of the service: {hint}\n"


def test_the_unit_looks_for_programs_where_the_agent_and_its_node_are(desk: Desk) -> None:
    """R3: not where a version manager has put them for this session only."""
    stays, session = desk.root / "node-v22" / "bin", desk.root / "session"
    stays.mkdir(parents=True)
    session.symlink_to(stays.parent)
    for name, text in (("agent", "#!/usr/bin/env node\n"), ("node", "#!/bin/sh\n")):
        (stays / name).write_text(text)
        (stays / name).chmod(0o755)
    desk.settings(
        DISCORD_TOKEN="of-nobody", WEFT_WORKSPACE=f"{desk.root}/work", WEFT_AGENT_COMMAND=f"{session}/bin/agent"
    )
    usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
    assert f"\nEnvironment=PATH={stays}:{usual}\n" in desk.service("show", "--user").output
    desk.settings(DISCORD_TOKEN="of-nobody", WEFT_WORKSPACE=f"{desk.root}/work", WEFT_AGENT_COMMAND="sh -c x")
    assert f"\nEnvironment=PATH={usual}\n" in desk.service("show", "--user").output


def test_a_file_of_settings_that_can_not_be_understood_is_not_installed(desk: Desk) -> None:
    """R3"""
    desk.env_file.write_text("DISCORD_TOKEN='x\n")
    done = desk.service("install", "--user")
    assert (done.exit_code, desk.unit.exists()) == (78, False)
    assert f"{desk.env_file}, line 1: the quote before the value of DISCORD_TOKEN is not closed" in done.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs for another user")
def test_a_weft_that_the_services_user_can_not_start_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """R3: pipx puts what root installs below a home that others can't enter."""
    python = desk.root / "home" / "python"
    python.parent.mkdir(mode=0o700)
    python.symlink_to("/bin/sh")
    monkeypatch.setattr(sys, "executable", str(python))
    done = desk.service("install", "--run-as", "nobody")
    assert done.exit_code == 78
    assert (
        f"weft: {python} can't be run by nobody: install Weft where that user can enter, such as below /opt"
        in done.output
    )
    assert not desk.unit.exists()
