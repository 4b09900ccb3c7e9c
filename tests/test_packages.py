"""Wheel and sdist, as `scripts/build` makes them from a copy of this checkout, and Weft as it runs from a wheel.

The interpreter of the tests has the tools and libraries of the lock; nothing is downloaded. That the lock has all that
a new environment needs is for the long runs to show.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path
from urllib.request import urlopen

import pytest

from bot import packaged
from tests.packages import ROOT, TRACKED, WITHOUT_SETTINGS, Checkout, cloned, copied

PACKAGES = ("acp", "pool", "bot")
pytestmark = pytest.mark.skipif(not TRACKED, reason="this is no checkout of git")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which everything is built."""
    made = copied(tmp_path_factory.mktemp("packages") / "checkout")
    made.build()
    return made


def names_in(path: Path) -> set[str]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return set(wheel.namelist())
    with tarfile.open(path) as sdist:
        return {member.name.partition("/")[2] for member in sdist}


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist() if not name.endswith("/RECORD")}


def metadata(checkout: Checkout) -> dict[str, list[str]]:
    text = next(text for name, text in contents(checkout.wheel).items() if name.endswith(".dist-info/METADATA"))
    found = message_from_string(text.decode())
    return {key: found.get_all(key, []) for key in ("Version", "License-File", "License-Expression")}


def test_the_wheel_has_every_file_of_the_packages_and_what_comes_along(checkout: Checkout) -> None:
    found = {name for name in names_in(checkout.wheel) if ".dist-info/" not in name}
    code = {name for name in TRACKED if name.split("/")[0] in PACKAGES}
    along = {f"bot/_packaged/{name}" for name in packaged.files_below(checkout.root)}
    assert found == code | along | {"bot/_commit"}
    assert {"bot/_packaged/docs/guide.md", "bot/_packaged/.env.example", "bot/_packaged/weft.toml.example"} <= along


@pytest.mark.soak
def test_the_sdist_has_every_file_of_the_checkout(checkout: Checkout) -> None:
    assert names_in(checkout.sdist) == {*TRACKED, "PKG-INFO", "bot/_commit"}


def test_both_carry_every_licence(checkout: Checkout) -> None:
    licences = [name for name in TRACKED if re.search(r"(^|/)(LICEN[CS]E|NOTICE|COPYING)[^/]*$|/bundled/", name)]
    assert sorted(metadata(checkout)["License-File"]) == licences
    within = {name.partition(".dist-info/licenses/")[2] for name in names_in(checkout.wheel)}
    assert set(licences) <= within
    assert set(licences) <= names_in(checkout.sdist)


@pytest.mark.soak
def test_one_commit_makes_the_same_bytes_and_changes_are_told(checkout: Checkout, tmp_path: Path) -> None:
    """The time of a file, its mode and its place do not count, nor that the wheel is built from the sdist."""
    again = cloned(checkout, tmp_path / "elsewhere")
    for path in (again.root / "docs").glob("*.md"):
        os.utime(path, (0, 0))
        path.chmod(0o600)
    made = again.build()
    assert made == {path.name: path.read_bytes() for path in (checkout.root / "dist").iterdir()}
    assert len(made) == 2
    # pip and pipx build a wheel from a checkout by themselves: only the order of its files is another.
    again.run(sys.executable, "-P", "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "straight"))
    assert contents(next((tmp_path / "straight").iterdir())) == contents(checkout.wheel)
    (again.root / "bot" / "wording.py").write_text("# changed\n")
    again.build()
    commit = again.git("rev-parse", "--short=7", "HEAD")
    assert contents(again.wheel)["bot/_commit"].decode() == f"{commit} + changes\n"


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment with Weft in it and nowhere else; ``outside`` is a directory from which it is started."""

    root: Path
    outside: Path

    @property
    def weft(self) -> str:
        return str(self.root / "bin" / "weft")

    @property
    def python(self) -> str:
        return str(self.root / "bin" / "python")

    def run(
        self, *command: str, settings: Mapping[str, str] | None = None, exit_code: int = 0, limit: float = 60
    ) -> subprocess.CompletedProcess[str]:
        env = {**WITHOUT_SETTINGS, "HOME": str(self.outside), **(settings or {})}
        done = subprocess.run(
            command, cwd=self.outside, env=env, capture_output=True, text=True, timeout=limit, check=False
        )
        assert done.returncode == exit_code, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def installed(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Weft as pip installs it from the wheel.

    The libraries are those of the tests, by way of a path: what is installed there to be edited is not taken up, as the
    files that would do that are read in an environment's own directory only.
    """
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "venv", with_pip=False, symlinks=True)
    site = next((place / "venv").glob("lib/python*/site-packages"))
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries) + "\n")
    made = Installed(place / "venv", place / "outside")
    # Whatever lies where an agent works is not taken for Weft's.
    (made.outside / "bot").mkdir(parents=True)
    (made.outside / "bot" / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    pip = [sys.executable, "-m", "pip", "--python", made.python, "install", "--quiet", "--no-index", "--no-deps"]
    made.run(*pip, "--disable-pip-version-check", str(checkout.wheel))
    return made


def test_an_installed_weft_says_from_which_commit_it_is(checkout: Checkout, installed: Installed) -> None:
    version = metadata(checkout)["Version"][0]
    commit = checkout.git("rev-parse", "--short=7", "HEAD")
    assert installed.run(installed.weft, "--version").stdout == f"weft {version} ({commit})\n"


@pytest.mark.long(11)
def test_an_installed_weft_has_what_comes_along_by_the_names_of_the_repository(installed: Installed) -> None:
    code = "from bot.packaged import files; print(*[f'{name} {path}' for name, path in files().items()], sep='\\n')"
    told = dict(line.split(" ", 1) for line in installed.run(installed.python, "-P", "-c", code).stdout.splitlines())
    here = packaged.files()
    assert list(told) == list(here)
    assert all(Path(told[name]).read_bytes() == path.read_bytes() for name, path in here.items())
    assert all(Path(path).is_relative_to(installed.root) for path in told.values())


@pytest.mark.long(50)
@pytest.mark.soak
def test_an_installed_weft_runs_the_demo(installed: Installed) -> None:
    """Bot, agent and what the agent calls are all started from the wheel."""
    done = installed.run(installed.weft, "demo", "--prompt", "say hello weft")
    assert "hello weft" in done.stdout
    assert done.stdout.endswith("outcome: answered\n")


def test_an_installed_weft_serves_every_file_of_the_page(installed: Installed) -> None:
    files = [name.removeprefix("bot/sandbox") for name in TRACKED if name.startswith("bot/sandbox/page/")]
    # The table of its libraries and their licences are there to be read in the package.
    served = [name for name in files if Path(name).suffix != ".md" and not Path(name).name.startswith("LICENSE")]
    assert {"/page/index.html", "/page/main.js"} <= set(served)
    env = {**WITHOUT_SETTINGS, "HOME": str(installed.outside)}
    command = [installed.weft, "sandbox"]
    with subprocess.Popen(command, cwd=installed.outside, env=env, stdout=subprocess.PIPE, text=True) as sandbox:
        try:
            assert sandbox.stdout is not None
            place = next(found[0] for line in sandbox.stdout if (found := re.search(r"http://[\d.]+:\d+", line)))
            for name in ("/", *served):
                with urlopen(f"{place}{name}", timeout=30) as answer:
                    here = ROOT / "bot" / "sandbox" / (name.removeprefix("/") or "page/index.html")
                    assert answer.read() == here.read_bytes(), name
        finally:
            sandbox.kill()


def test_an_installed_weft_checks_the_machine(installed: Installed) -> None:
    workspace = installed.outside / "workspace"
    workspace.mkdir()
    settings = {
        "DISCORD_TOKEN": "MTAwMDAwMDAwMDAwMDAwMDAx.canary.canary",
        "WEFT_AGENT_COMMAND": f"{installed.python} -P -m bot.demo.agent",
        "WEFT_WORKSPACE": str(workspace),
        "WEFT_STATE_DIR": str(installed.outside / "state"),
    }
    done = installed.run(installed.weft, "doctor", "--offline", settings=settings)
    assert "FAIL" not in done.stdout
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ok    initialize")]


def test_agents_start_the_tools_of_an_installed_weft_wherever_they_work(installed: Installed) -> None:
    """M1: the command that a session is offered, and what a wrapper has to let in for it."""
    code = (
        "from pathlib import Path\n"
        "from bot.agents.tool_access import ToolAccess\n"
        "from bot.agents.model import only\n"
        "access = ToolAccess(Path('/run/weft/socket'))\n"
        "server = access.servers(next(iter(only(('agent',), '/'))), 'token')[0]\n"
        "print(server.command, *server.args, sep='\\n')\n"
        "print(access.places()['weft'], access.places()['weft_code'], sep='\\n')"
    )
    *command, libraries, package = installed.run(installed.python, "-P", "-c", code).stdout.splitlines()
    assert Path(libraries) == installed.root
    assert Path(package).is_relative_to(installed.root)
    started = installed.run(*command, exit_code=78)
    assert started.stderr == "weft: WEFT_MCP_SOCKET and WEFT_MCP_TOKEN are not set: agents start this by themselves\n"


def test_an_installed_weft_is_what_its_service_starts(installed: Installed) -> None:
    env_file = installed.outside / "settings"
    env_file.write_text(f"DISCORD_TOKEN=x\nWEFT_AGENT_COMMAND=/bin/cat\nWEFT_WORKSPACE={installed.outside}\n")
    shown = installed.run(installed.weft, "service", "show", "--user", "--env-file", str(env_file)).stdout
    assert f"ExecStart={installed.python} -P -m bot run --env-file {env_file}\n" in shown


@pytest.mark.long(150)
@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_lock_has_all_that_a_new_environment_needs(checkout: Checkout, tmp_path: Path) -> None:
    """As somebody installs a release: only here are the libraries installed, too, from wherever pip takes them."""
    made = Installed(tmp_path / "venv", tmp_path / "outside")
    made.outside.mkdir()
    venv.create(made.root, with_pip=True)
    pip = [made.python, "-P", "-m", "pip", "--disable-pip-version-check"]
    own = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_")) or name == "HOME"}
    lock = ["--require-hashes", "-r", str(checkout.root / "requirements.lock")]
    made.run(*pip, "install", "--quiet", *lock, settings=own, limit=500)
    for package in (checkout.wheel, checkout.sdist):
        # The tools that build the sdist come from the lock as well.
        alone = ("--quiet", "--force-reinstall", "--no-deps", "--no-build-isolation")
        made.run(*pip, "install", *alone, str(package), settings=own)
        assert made.run(*pip, "check").stdout == "No broken requirements found.\n"
        told = made.run(made.weft, "--version").stdout
        assert told == f"weft {metadata(checkout)['Version'][0]} ({checkout.git('rev-parse', '--short=7', 'HEAD')})\n"
        assert made.run(made.weft, "demo", "--prompt", "say hello weft").stdout.endswith("outcome: answered\n")
