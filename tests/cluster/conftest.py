"""One cluster for all tests of a run, and what each of them has on it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import figures
from tests.cluster.cluster import Cluster, missing, running
from tests.cluster.pods import Pods, pods_of, prepare

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if why := missing():
        pytest.skip(why)
    if os.environ.get("PYTEST_XDIST_WORKER"):
        pytest.fail("each worker would start a cluster: give -n 0")
    since = time.monotonic()
    with running() as found:
        figures.measured("the cluster's start (s)", time.monotonic() - since)
        yield found


@pytest.fixture(scope="session")
def config(cluster: Cluster) -> Path:
    """The kubeconfig of an account with the rights that the documentation shows."""
    return prepare(cluster)


@pytest.fixture
def pods(cluster: Cluster, config: Path) -> Iterator[Pods]:
    yield from pods_of(cluster, cluster.shared / f"test-{next(_numbers)}", config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := figures.table():
        terminalreporter.section("measured on the cluster")
        for line in lines:
            terminalreporter.write_line(line)
