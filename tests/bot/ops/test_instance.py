"""One bot on a state directory, and what outlives it there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bot.ops.instance import AlreadyRunning, CommandStampFile, own_temporary_files, sole_instance


def test_a_second_instance_is_refused(tmp_path: Path) -> None:
    """R4."""
    refused = pytest.raises(AlreadyRunning, match="another Weft is running on")
    with sole_instance(tmp_path / "state"), refused, sole_instance(tmp_path / "state"):
        pytest.fail("two instances at once")


def test_the_state_is_free_again_after_the_end(tmp_path: Path) -> None:
    """R4."""
    with sole_instance(tmp_path) as first:
        pass
    with sole_instance(tmp_path) as second:
        assert second == first


def test_a_killed_instance_leaves_no_lock_behind(tmp_path: Path) -> None:
    """R4: the kernel gives the lock back."""
    hold = (
        "import sys; from pathlib import Path; from bot.ops.instance import sole_instance\n"
        "with sole_instance(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning), sole_instance(tmp_path):
            pytest.fail("two instances at once")
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(timeout=30)
    with sole_instance(tmp_path) as identity:
        assert len(identity) == 32


def test_two_states_have_two_ids(tmp_path: Path) -> None:
    """P9: the agents of one bot are not taken for another's."""
    with sole_instance(tmp_path / "a") as one, sole_instance(tmp_path / "b") as other:
        assert one != other


def test_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """R6."""
    with sole_instance(tmp_path / "state"):
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert modes == {"lock": 0o600, "identity": 0o600}


def test_no_commands_were_registered_at_first(tmp_path: Path) -> None:
    """D7."""
    assert CommandStampFile(tmp_path / "stamp").read() is None


def test_a_stamp_outlives_the_process(tmp_path: Path) -> None:
    """D7."""
    CommandStampFile(tmp_path / "stamp").write("first")
    CommandStampFile(tmp_path / "stamp").write("second")
    assert CommandStampFile(tmp_path / "stamp").read() == "second"


def test_temporary_files_of_a_killed_bot_go_with_the_next_start(tmp_path: Path) -> None:
    """R4: also those that lie in directories of theirs."""
    before = tempfile.gettempdir()
    left = tmp_path / "tmp/weft-git-old"
    left.mkdir(parents=True)
    (left / "index").write_text("x")
    with own_temporary_files(tmp_path):
        assert not left.exists()
        with tempfile.TemporaryDirectory() as made:
            assert Path(made).parent == tmp_path / "tmp"
    assert (tempfile.gettempdir(), list(tmp_path.iterdir())) == (before, [])


def test_a_link_in_the_place_of_temporary_files_costs_nobody_a_file(tmp_path: Path) -> None:
    """R4: agents may have put it there."""
    before, theirs = tempfile.gettempdir(), tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_text("x")
    (tmp_path / "state").mkdir()
    (tmp_path / "state/tmp").symlink_to(theirs)
    with own_temporary_files(tmp_path / "state"):
        assert tempfile.gettempdir() == before
    assert (theirs / "file").read_text() == "x"
