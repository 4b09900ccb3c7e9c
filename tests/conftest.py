"""What a run of all tests needs so that it takes no longer than it must."""

from __future__ import annotations

import gc
import importlib
import os
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest

from tests import order, statements

statements.share()

# An example that takes longer than usual says something of the machine, not of the code.
hypothesis.settings.register_profile("patient", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("patient")

gc.disable()  # while tests are collected, of which nothing is garbage: a fifth of that time


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have each worker import other tests first, so that it finds the rest compiled by its neighbours."""
    # On a clean checkout, compiling is most of what collecting takes.
    # All workers collect in one order: without this each would rewrite the assertions of every file by itself.
    number, count = (os.environ.get(f"PYTEST_XDIST_{name}", "") for name in ("WORKER", "WORKER_COUNT"))
    if session.config.args != session.config.getini("testpaths") or not number:
        return
    for path in sorted(Path(__file__).parent.rglob("test_*.py"))[int(number.removeprefix("gw")) :: int(count)]:
        with suppress(Exception):  # told where it is collected
            importlib.import_module(".".join(path.relative_to(session.config.rootpath).with_suffix("").parts))


@pytest.hookimpl(trylast=True)  # when they are shuffled, and those that are not asked for are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each worker begin with what takes long."""
    if count := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        order.begin_with_long(items, int(count))


def pytest_collection_finish() -> None:
    """Leave the tests themselves out of all that the garbage collector looks at from now on."""
    # Thousands of them, with their modules, make each full collection take a third of a second.
    gc.freeze()
    # A bot that lives for half a second makes cycles by the thousand: the usual 700 objects were a tenth of its time.
    gc.set_threshold(20_000, 20, 20)
    gc.enable()
