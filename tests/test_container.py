"""The container's files hold together, and its entry hands the token over where agents do not find it.

Building the image takes a network and minutes, so what is looked at here is what breaks it unnoticed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from bot.demo.stage import StageSettings
from bot.derived_settings import pool_limits, work_limits
from bot.life import longest_stop
from bot.packaged import files_below
from tests.packages import ROOT, TRACKED

CONTAINERFILE = (ROOT / "Containerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
ENTRY = (ROOT / "scripts" / "container-entry").read_text()
TOKEN_FILE = "/etc/weft/discord-token"
# Changes the user as setpriv does, for all that the entry can see of it: it says whom it became.
SETPRIV = '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexport AS=weft\nexec "$@"\n'
WEFT = '#!/bin/sh\necho "${AS:-nobody new}: $*"\n[ "$2" != --token-stdin ] || cat\n'


def entry(
    directory: Path,
    *arguments: str,
    user: int,
    agents_read: bool = False,
    weft: str = WEFT,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """Run the entry with a token file below a directory; ``user`` is whom the container runs as."""
    programs = {
        "id": f"#!/bin/sh\necho {user}\n",
        "setpriv": SETPRIV,
        "weft": weft,
        "test": f"#!/bin/sh\nexit {0 if agents_read else 1}\n",
    }
    (directory / "bin").mkdir()
    for name, text in programs.items():
        (directory / "bin" / name).write_text(text)
        (directory / "bin" / name).chmod(0o755)
    script = directory / "entry"
    script.write_text(ENTRY.replace(TOKEN_FILE, str(directory / "token")))
    script.chmod(0o755)
    env = {"PATH": f"{directory / 'bin'}:{os.environ['PATH']}", **settings}
    return subprocess.run([script, *arguments], env=env, capture_output=True, text=True, timeout=30, check=False)


def test_root_opens_the_token_and_the_bot_runs_as_another_user(tmp_path: Path) -> None:
    """R5: agents run as that user, and find the token in no file and no environment."""
    (tmp_path / "token").write_text("the token\n")
    done = entry(tmp_path, "run", user=0)
    assert (done.returncode, done.stdout) == (0, "weft: run --token-stdin\nthe token\n")


@pytest.mark.parametrize("arguments", [("status",), ("demo", "--prompt", "two words")])
def test_other_commands_run_as_that_user_without_the_token(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "token").write_text("the token\n")
    assert entry(tmp_path, *arguments, user=0).stdout == f"weft: {' '.join(arguments)}\n"


def test_without_a_token_file_the_settings_have_it(tmp_path: Path) -> None:
    assert entry(tmp_path, "run", user=0).stdout == "weft: run\n"


def test_a_token_that_agents_could_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("the token\n")
    done = entry(tmp_path, "run", user=0, agents_read=True)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.endswith("agents could read it: close it to all but root (mode 0400)\n")


def test_a_container_that_was_started_as_another_user_stays_that(tmp_path: Path) -> None:
    assert entry(tmp_path, "status", user=1000).stdout == "nobody new: status\n"


@pytest.mark.parametrize(("file", "command"), [("", "opencode acp"), ("/etc/weft/weft.toml", "none")])
def test_the_agent_of_the_image_gives_way_to_a_file_of_agents(tmp_path: Path, file: str, command: str) -> None:
    """P12: the bot takes one of the two."""
    given = {"WEFT_AGENT_COMMAND": "opencode acp", "WEFT_AGENTS_FILE": file}
    done = entry(tmp_path, "run", user=1000, weft='#!/bin/sh\necho "${WEFT_AGENT_COMMAND:-none}"\n', settings=given)
    assert done.stdout == f"{command}\n"


def test_the_orderly_end_fits_into_the_time_that_compose_gives() -> None:
    """R1: what is killed before its end has no outcome until the next start."""
    settings = StageSettings()
    given = re.search(r"stop_grace_period: (\d+)s", COMPOSE)
    assert given is not None
    assert longest_stop(work_limits(settings), pool_limits(settings)) < int(given[1])


def test_the_build_is_given_all_that_it_copies_and_nothing_by_chance() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    given = {line.removeprefix("!") for line in lines if line.startswith("!") and not line.startswith("!.git/")}
    needed = {name.split("/")[0] for name in files_below(ROOT)} | {"pyproject.toml", "requirements.lock", "scripts"}
    assert needed | {"acp", "pool", "bot"} <= given
    assert given - {"examples"} <= {name.split("/")[0] for name in TRACKED}


def test_files_and_volumes_have_one_place_in_entry_image_compose_and_page() -> None:
    page = (ROOT / "docs" / "container.md").read_text()
    for place in (TOKEN_FILE, "/var/lib/weft", "/srv/projects"):
        assert f":{place}" in COMPOSE
        assert f"`{place}`" in page
    assert f"token={TOKEN_FILE}\n" in ENTRY
    assert 'VOLUME ["/var/lib/weft", "/srv/projects"]' in CONTAINERFILE
    for name, value in re.findall(r"^ARG (\w+)=\"?([^\"\n]+)", CONTAINERFILE, re.MULTILINE):
        assert f"| `{name}` | {value if value.isdigit() else f'`{value}`'} |" in page


def test_no_secret_beside_the_compose_file_is_committed_or_built_in() -> None:
    """R8: a checkout is where both files are made."""
    beside = [*re.findall(r"env_file: (\S+)", COMPOSE), *re.findall(r"- \./([^:]+):", COMPOSE)]
    assert beside == ["weft.env", "discord-token"]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert [f"/{name}" for name in beside if f"/{name}" not in ignored] == []
    built_in = (ROOT / ".dockerignore").read_text().splitlines()
    assert built_in[1] == "*"
    assert [name for name in beside if f"!{name}" in built_in] == []
