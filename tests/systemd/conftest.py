"""One machine for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.systemd.machine import Machine, NoMachine, booted, missing


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    if why := missing():
        pytest.skip(why)
    try:
        with booted() as found:
            yield found
    except NoMachine as exc:
        pytest.skip(str(exc))
