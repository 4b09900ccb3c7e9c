"""Where the socket for agents lies (M1)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bot.mcp.place import private_place

from .host import short_directory

INSTANCE = "0123456789abcdef0123456789abcdef"


def test_it_lies_in_the_runtime_directory_of_the_service_in_a_directory_of_its_own() -> None:
    """M1: a sandbox that is given the directory sees nothing else"""
    with short_directory() as base:
        (base / "run").mkdir()
        environment = {"RUNTIME_DIRECTORY": f"{base / 'run'}:/other", "XDG_RUNTIME_DIR": str(base / "user")}
        old = os.umask(0)
        try:
            with private_place(environment, base / "state", INSTANCE) as path:
                assert path == base / "run" / "mcp-01234567" / "socket"
                assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        finally:
            os.umask(old)
        assert list((base / "run").iterdir()) == []


def test_it_lies_with_the_state_else_with_the_user_else_in_a_new_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """M1"""
    with short_directory() as base:
        (base / "user").mkdir()
        (base / "state").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(base))
        environment = {"XDG_RUNTIME_DIR": str(base / "user")}
        with private_place(environment, base / "state", INSTANCE) as path:
            assert path == base / "state" / "mcp" / "socket"
        # A path that no socket can have.
        with private_place(environment, base / ("x" * 100), INSTANCE) as path:
            assert path == base / "user" / "weft-01234567" / "socket"
        with private_place({"XDG_RUNTIME_DIR": "not/absolute"}, base / ("x" * 100), INSTANCE) as path:
            assert (path.parent.parent, stat.S_IMODE(path.parent.stat().st_mode)) == (base, 0o700)
        monkeypatch.setattr("tempfile.tempdir", str(base / ("x" * 100)))
        with private_place({}, base / ("x" * 100), INSTANCE) as path:
            assert path.parent.parent == Path("/tmp")
        assert sorted(each.name for each in base.iterdir()) == ["state", "user"]


def test_a_directory_that_was_left_open_is_closed_and_a_link_is_not_followed() -> None:
    """M1"""
    with short_directory() as base:
        for name in ("state", "run", "elsewhere"):
            (base / name).mkdir()
        (base / "state" / "mcp").mkdir(mode=0o755)
        (base / "run" / "mcp-01234567").symlink_to(base / "elsewhere")
        with private_place({"RUNTIME_DIRECTORY": str(base / "run")}, base / "state", INSTANCE) as path:
            assert path.parent == base / "state" / "mcp"
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to have files of somebody else")
def test_a_directory_of_somebody_else_is_not_used() -> None:
    """M1"""
    with short_directory() as base:
        for name in ("state", "run"):
            (base / name).mkdir()
        (base / "run" / "mcp-01234567").mkdir()
        os.chown(base / "run" / "mcp-01234567", 65534, 65534)
        with private_place({"RUNTIME_DIRECTORY": str(base / "run")}, base / "state", INSTANCE) as path:
            assert path.parent == Path(base, "state", "mcp")
