"""The order in which workers begin tests, as xdist hands them out."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

CONFTEST = """
import os
from pathlib import Path

import pytest
from tests import order

def pytest_configure(config):
    config.addinivalue_line("markers", "long(seconds): as in the suite")

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    order.begin_with_long(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))

def pytest_runtest_setup(item):
    with Path(os.environ["PYTEST_XDIST_WORKER"]).open("a") as file:
        file.write(item.name + "\\n")
"""
SHORT = (
    "import pytest\n\n@pytest.mark.parametrize('number', range({count}))\ndef test_short(number): assert number >= 0\n"
)
LONG = "\n@pytest.mark.long({seconds})\ndef test_long_{seconds}(): assert True\n"


def begun(directory: Path, count: int, *seconds: int) -> list[list[str]]:
    """Run so many short tests, and long ones, by three workers; return what each began, the workers in any order."""
    (directory / "conftest.py").write_text(CONFTEST)
    text = SHORT.format(count=count) + "".join(LONG.format(seconds=one) for one in seconds)
    (directory / "test_some.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "3", "--dist", "worksteal", "-p", "no:cacheprovider", "."]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True, timeout=60)
    found = [path.read_text().split() for path in directory.glob("gw?")]
    assert sum(len(names) for names in found) == count + len(seconds)
    return found


def test_each_worker_begins_with_the_longest_of_its_own(tmp_path: Path) -> None:
    """And each gets some: they are dealt out by their length."""
    first = {tuple(names[:2]) for names in begun(tmp_path, 60, 10, 20, 30, 40, 50, 60)}
    assert first == {
        ("test_long_60", "test_long_30"),
        ("test_long_50", "test_long_20"),
        ("test_long_40", "test_long_10"),
    }


def test_a_part_that_holds_fewer_than_there_are_loses_none(tmp_path: Path) -> None:
    counted = Counter(name for names in begun(tmp_path, 1, 1, 2, 3, 4) for name in names)
    assert counted == {"test_short[0]": 1, **{f"test_long_{number}": 1 for number in (1, 2, 3, 4)}}
