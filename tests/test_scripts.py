"""The scripts, in a copy of the tree's top, with a Python that only notes what it is asked: nothing is installed.

The measurements and the look at the code's structure are run, by the interpreter that runs the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
TOOLS = ("bash", "cat", "cksum", "dirname", "flock", "mkdir", "chmod", "cp", "rm")
# Answers what the scripts ask of an interpreter; `-m venv` makes one that does the same.
PYTHON = """#!/bin/sh
echo "$0 $*" >>"$CALLS"
case "$*" in
*print*version_info*) echo "3.10" ;;
*version_info*) exit "$OLD" ;;
*ensurepip*) exit "$NO_VENV" ;;
*base_prefix*) echo "/fake $VERSION" ;;
*"-m venv"*) rm -rf .venv && mkdir -p .venv/bin && cp "$FAKE" .venv/bin/python ;;
*"-m pip"*) exit "$NO_PIP" ;;
*"-m scripts.benchmarks"*) [ -z "$REAL" ] || exec "$REAL" "$@" ;;
esac
"""


@dataclass(slots=True)
class Tree:
    """A checkout with nothing in it but scripts, locks and a fake Python on the PATH."""

    root: Path

    def run(self, script: str, *arguments: str, **answers: str) -> subprocess.CompletedProcess[str]:
        self.calls_path.unlink(missing_ok=True)
        settings = {"REAL": "", "OLD": "0", "NO_VENV": "0", "NO_PIP": "0", "VERSION": "3.11.9"}
        fake = {"CALLS": str(self.calls_path), "FAKE": str(self.root / "bin" / "python3")}
        return subprocess.run(
            [str(self.root / "bin" / "bash"), str(self.root / "scripts" / script), *arguments],
            cwd="/",
            env={"PATH": str(self.root / "bin"), **settings, **fake, **answers},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def calls_path(self) -> Path:
        return self.root / "calls"

    def calls(self, what: str) -> list[str]:
        """Return the calls of any Python that contain a text."""
        return [call for call in self.calls_path.read_text().splitlines() if what in call]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        if found := shutil.which(tool):
            (tmp_path / "bin" / tool).symlink_to(found)
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    (tmp_path / "bin" / "python3").write_text(PYTHON)
    (tmp_path / "bin" / "python3").chmod(0o755)
    for name in ("requirements.lock", "requirements-dev.lock", "pyproject.toml"):
        (tmp_path / name).write_text(f"{name}\n")
    return Tree(tmp_path)


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        (
            {"OLD": "1"},
            "Weft needs Python 3.11 or newer; python3 is 3.10. WEFT_PYTHON=/path/to/python3.11 names another one.",
        ),
        (
            {"NO_VENV": "1"},
            "Python's venv module is missing: install it first (Debian and Ubuntu: apt install python3-venv).",
        ),
    ],
)
@pytest.mark.parametrize("script", ["demo", "test", "check"])
def test_what_is_missing_is_said_in_one_line(tree: Tree, script: str, answers: dict[str, str], line: str) -> None:
    done = tree.run(script, **answers)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{line}\n")
    assert not (tree.root / ".venv").exists()


def test_no_python_at_all_is_said_in_one_line(tree: Tree) -> None:
    (tree.root / "bin" / "python3").unlink()
    done = tree.run("demo")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("Weft needs Python 3.11 or newer")


@pytest.mark.parametrize(
    ("wanted", "old", "why"),
    [
        ("no-such-python", "0", "was not found, or is no program"),
        ("python3", "1", "is not Python 3.11 or newer"),
    ],
)
def test_a_python_that_was_asked_for_and_does_not_fit_is_named(tree: Tree, wanted: str, old: str, why: str) -> None:
    (tree.root / "bin" / "python3.12").symlink_to("/bin/true")
    done = tree.run("demo", WEFT_PYTHON=wanted, OLD=old)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"WEFT_PYTHON: {wanted} {why}.\n")
    assert not (tree.root / ".venv").exists()


def test_a_newer_python_beside_an_old_one_is_found(tree: Tree) -> None:
    (tree.root / "bin" / "python3").rename(tree.root / "bin" / "python3.12")
    done = tree.run("demo", FAKE=str(tree.root / "bin" / "python3.12"))
    assert done.returncode == 0, done.stderr
    assert tree.calls("python3.12 -m venv")


def test_the_first_run_installs_from_the_lock_with_hashes_and_then_starts(tree: Tree) -> None:
    done = tree.run("demo", "--prompt", "two words")
    assert (done.returncode, done.stdout) == (0, "")
    first, second = tree.calls("-m pip")
    assert first.endswith("--require-hashes -r requirements.lock")
    assert second.endswith("--no-deps --no-build-isolation -e .")
    assert tree.calls("-m bot demo") == [f"{tree.root}/.venv/bin/python -P -m bot demo --prompt two words"]


def test_a_run_with_nothing_new_installs_nothing_and_says_nothing(tree: Tree) -> None:
    tree.run("demo")
    done = tree.run("demo")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert tree.calls("-m pip") == tree.calls("-m venv") == []


@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml"])
def test_a_change_of_the_lock_or_the_project_is_installed(tree: Tree, changed: str) -> None:
    tree.run("demo")
    (tree.root / changed).write_text("changed\n")
    tree.run("demo")
    assert len(tree.calls("-m pip")) == 2
    assert tree.calls("-m venv") == []


def test_another_python_gets_a_new_environment(tree: Tree) -> None:
    tree.run("demo")
    tree.run("demo", VERSION="3.12.1")
    assert len(tree.calls("-m venv --clear .venv")) == 1
    assert len(tree.calls("-m pip")) == 2


def test_an_installation_that_failed_is_said_and_tried_again(tree: Tree) -> None:
    done = tree.run("demo", NO_PIP="1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "could not install requirements.lock"
    assert tree.calls("-m bot") == []
    tree.run("demo")
    assert len(tree.calls("-m pip")) == 2


def test_the_tests_get_the_tools_of_development_and_their_arguments(tree: Tree) -> None:
    done = tree.run("test", "-m", "soak", "-k", "something")
    assert done.returncode == 0
    assert tree.calls("-m pip")[0].endswith("-r requirements-dev.lock")
    assert tree.calls("-m pytest")[0].endswith("-m pytest -n 6 --dist worksteal -m soak -k something")


@pytest.mark.parametrize(
    ("user", "installed", "works", "said"),
    [
        ("0", False, True, "installing Chromium for the tests of the page ...\n"),
        (
            "0",
            False,
            False,
            "installing Chromium for the tests of the page ...\nthat did not work; what needs it is left out\n",
        ),
        ("0", True, True, ""),
        ("1000", False, True, ""),
    ],
)
def test_chromium_is_installed_where_it_can_be_and_the_tests_run_either_way(
    tree: Tree, user: str, installed: bool, works: bool, said: str
) -> None:
    tree.run("demo")
    tree.run("test")
    apt = f"echo apt-get $* >>$CALLS; {'exit 0' if works else 'exit 100'}"
    programs = {"id": f"echo {user}", "timeout": 'shift; exec "$@"', "apt-get": apt}
    for name, line in {**programs, **({"chromium": "exit 0"} if installed else {})}.items():
        (tree.root / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tree.root / "bin" / name).chmod(0o755)
    done = tree.run("test")
    assert (done.returncode, done.stderr) == (0, said)
    asked = ["apt-get update", "apt-get install --yes --no-install-recommends chromium fonts-noto-color-emoji"]
    assert tree.calls("apt-get") == (asked[: 2 if works else 1] if said else [])
    assert tree.calls("-m pytest")


def test_a_check_changes_nothing_unless_asked(tree: Tree) -> None:
    tree.run("check")
    assert [call.split(" -m ")[1] for call in tree.calls("-m ") if "ruff" in call or "mypy" in call] == [
        "ruff format --check .",
        "ruff check .",
        "mypy",
    ]
    assert tree.calls("structure.py") == [f"{tree.root}/.venv/bin/python scripts/structure.py"]
    tree.run("check", "--fix")
    assert tree.calls("ruff check --fix .")


def test_the_measurements_get_the_tools_of_development_and_their_arguments(tree: Tree) -> None:
    done = tree.run("bench", "chunks", "--runs", "2")
    assert (done.returncode, done.stdout) == (0, "")
    assert tree.calls("-m pip")[0].endswith("-r requirements-dev.lock")
    assert tree.calls("-m scripts.benchmarks")[0].endswith("-m scripts.benchmarks chunks --runs 2")


@pytest.mark.soak
def test_a_measurement_prints_one_object_with_its_figures(tree: Tree) -> None:
    done = tree.run("bench", "start", "--runs", "1", "--json", REAL=sys.executable, PYTHONPATH=str(SCRIPTS.parent))
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert list(figures) == ["start"]
    assert sorted(figures["start"]) == ["import_s", "ready_s", "rss_mb"]
    assert all(value > 0 for value in figures["start"].values())
    assert "start (1 x" in done.stderr


def test_an_unknown_measurement_is_refused_and_nothing_is_measured(tree: Tree) -> None:
    done = tree.run("bench", "start", "lunch", "--json", REAL=sys.executable, PYTHONPATH=str(SCRIPTS.parent))
    assert (done.returncode, done.stdout) == (2, "")
    assert "no scenario lunch" in done.stderr.splitlines()[-1]


def structure(root: Path, **modules: str) -> subprocess.CompletedProcess[str]:
    """Look at a tree that has these modules, each named as in `acp__one`."""
    for name, text in modules.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    command = [sys.executable, str(SCRIPTS / "structure.py"), str(root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_an_import_circle_fails_the_check_even_if_it_is_for_annotations_only(tmp_path: Path) -> None:
    late = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from acp.one import One\n"
    done = structure(tmp_path, acp__one="from acp import two\n", acp__two="import acp.three\n", acp__three=late)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("import circle: acp.")
    assert set(done.stdout.splitlines()[-1].split(": ")[1].split(" -> ")) == {"acp.one", "acp.two", "acp.three"}


def test_a_protocol_needs_a_second_implementation_or_a_fake(tmp_path: Path) -> None:
    port = "from typing import Protocol\nclass Port(Protocol):\n    def send(self) -> None: ...\n"
    real, fake = "class Real:\n    def send(self) -> None: ...\n", "class Fake:\n    def send(self): ...\n"
    alone = structure(tmp_path, bot__port=port, bot__real=real)
    assert (alone.returncode, alone.stdout.splitlines()[-1]) == (
        1,
        "protocol with only one implementation: bot.port.Port",
    )
    assert structure(tmp_path, tests__fakes=fake).returncode == 0


def test_the_cluster_says_what_it_lacks_and_changes_nothing(tree: Tree) -> None:
    cache = tree.root / "cache"
    looked = tree.run("cluster", "--check", WEFT_CLUSTER_CACHE=str(cache))
    lacking = [line.split()[1] for line in looked.stderr.splitlines() if line.startswith("missing: ")]
    assert (looked.returncode, looked.stdout, cache.exists()) == (1, "", False)
    assert {"packages", "runc", "kubelet", "kube-apiserver"} <= set(lacking)
    (cache / "stamps").mkdir(parents=True)
    for line in looked.stderr.splitlines():
        name, _, recipe = line.removeprefix("missing: ").partition(" ")
        (cache / "stamps" / name).write_text(f"{recipe.strip('()')}\n")
    looked = tree.run("cluster", "--check", WEFT_CLUSTER_CACHE=str(cache))
    assert (looked.returncode, looked.stderr) == (0, "")


def test_a_cluster_is_not_begun_without_its_tools(tree: Tree) -> None:
    asked = tree.run("cluster", WEFT_CLUSTER_CACHE=str(tree.root / "cache"))
    assert asked.returncode == 1
    assert asked.stderr.startswith("cannot build the cluster: go ")
    assert not (tree.root / "cache").exists()


def test_every_script_can_be_started() -> None:
    assert [path.name for path in SCRIPTS.iterdir() if path.suffix == "" and not os.access(path, os.X_OK)] == []
