"""What the tests of engines share: one ssh server for each worker, started by the first test that needs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines import sshd


@pytest.fixture(scope="session")
def ssh_server() -> Iterator[sshd.Server]:
    """A server with two accounts."""
    if reason := sshd.why_not():
        pytest.skip(reason)
    with sshd.server() as running:
        yield running
