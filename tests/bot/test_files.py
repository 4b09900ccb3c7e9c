"""Paths of settings and options where this user may not go: one line each, which names the path and the user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.agents.checks import directory_problem, program_problem
from bot.cli import main
from bot.config import ConfigError, credential, load_settings
from bot.files import Unusable, may, mode_of, read_text, user_name
from bot.ops.doctor.settings import check_workspace
from bot.preflight import state_problem

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can try what another user may do")


@pytest.fixture
def shut(tmp_path: Path) -> Iterator[Path]:
    """A directory with something in it that this user may not enter; root becomes nobody, who may not either."""
    directory = tmp_path / "shut"
    directory.mkdir()
    (directory / "env").write_text("")
    directory.chmod(0o700 if os.geteuid() == 0 else 0)
    if root := os.geteuid() == 0:
        os.seteuid(NOBODY)
    yield directory
    if root:
        os.seteuid(0)
    directory.chmod(0o700)


def test_what_this_user_may_not_look_at_is_told_with_path_and_user(shut: Path) -> None:
    """Settings and exits."""
    path, why = shut / "env", f"can't be used by {user_name()}: Permission denied"
    for look in (read_text, mode_of):
        with pytest.raises(Unusable, match=f"{path} {why}"):
            look(path)
    assert directory_problem(str(path)) == program_problem(str(path)) == f"{path} {why}"
    assert state_problem(path) == f"WEFT_STATE_DIR: {path} {why}"
    with pytest.raises(ConfigError, match=f"the credential discord-token can't be read: .* {why}"):
        credential({"CREDENTIALS_DIRECTORY": str(shut)})
    with pytest.raises(ConfigError, match=f"{path} {why}"):
        load_settings(path)


@pytest.mark.parametrize("command", ["run", "doctor", "status", "service install", "service show"])
@pytest.mark.parametrize(
    ("name", "why"),
    [("none", "does not exist"), ("", "is a directory, not a file"), ("shut/env", "can't be used by")],
    ids=["missing", "directory", "shut"],
)
def test_a_file_of_settings_that_can_not_be_read_ends_every_command_with_78(
    tmp_path: Path, shut: Path, command: str, name: str, why: str
) -> None:
    """Settings and exits, R3: a service does not try again."""
    path = shut.parent / name
    done = CliRunner().invoke(main, [*command.split(), "--env-file", str(path)])
    if os.geteuid() == NOBODY and name != "shut/env":
        why = "can't be used by"  # root's temporary directories are shut to nobody as a whole
    assert (done.exit_code, done.output.count("\n")) == (78, 1)
    assert done.output.startswith(f"weft: --env-file: {path} {why}")


@AS_ROOT
def test_what_another_user_may_do_is_tried_as_that_user(tmp_path: Path) -> None:
    """R3: pytest's directories are root's alone, so the parents count."""
    assert may(None, "w", tmp_path)
    assert may("nobody", "r", Path("/etc/passwd"))
    assert not may("nobody", "w", Path("/etc"))
    assert not may("nobody", "r", tmp_path)


@AS_ROOT
def test_a_workspace_that_the_services_user_can_not_write_is_told() -> None:
    """R3, R5: where each thread needs a directory there, nothing would work."""
    assert check_workspace("/usr", "nobody").line() == (
        "warn  workspace   /usr is not writable for nobody: agents can't change files there"
    )
    assert check_workspace("/usr/{thread_id}", "nobody").line() == (
        "FAIL  workspace   /usr is not writable for nobody, and each thread needs a directory in it"
    )
