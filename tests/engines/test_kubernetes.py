"""Agents in pods do what the matrix of all engines wants, against a small API server whose pods are processes."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from tests.engines import matrix
from tests.engines.kube_api import V4
from tests.engines.kube_bed import bed
from tests.repeat import in_soak

# Not `slow_reader`: stderr comes over the same websocket as stdout, and waits with it while nobody reads that.
LONG = [case for case in matrix.LONG if case is not matrix.slow_reader]


@pytest.mark.parametrize("case", [*matrix.QUICK, *in_soak(LONG)], ids=matrix.name_of)
@pytest.mark.asyncio
async def test_an_agent_in_a_pod_is_like_one_here(case: matrix.Case, tmp_path: Path) -> None:
    """P1, P2, P9, R5, Q."""
    async with bed(tmp_path) as one:
        await matrix.run(case, one)


V4_CASES = (*in_soak([matrix.many_small_chunks, matrix.beside, matrix.deaf_agent, matrix.stubborn_tree]),)


@pytest.mark.parametrize("case", [matrix.basic_turn, *V4_CASES], ids=matrix.name_of)
@pytest.mark.asyncio
async def test_an_older_server_has_no_end_of_the_input_but_the_connections(case: matrix.Case, tmp_path: Path) -> None:
    """P9: before v5, closing the websocket is the end of the input."""
    async with bed(tmp_path) as one:
        one.api.protocols = (V4,)
        await matrix.run(case, one)


_FLOOD = """
import os, pathlib, select, sys
os.set_blocking(1, False)
total, said = int(sys.argv[1]), 0
piece = bytes(range(256)) * 256
while said < total:
    if not select.select([], [1], [], 1.0)[1]:
        pathlib.Path("full").touch()
        select.select([], [1], [])
    said += os.write(1, piece[said % 256 :][: total - said])
    pathlib.Path("said").write_text(str(said))
"""


def _held_by_tcp() -> int:
    """Return how many bytes this machine's kernel lets lie in a connection: it gives more where who reads is slow."""
    most = [Path(f"/proc/sys/net/ipv4/tcp_{name}mem") for name in ("r", "w")]
    return sum(int(file.read_text().split()[2]) for file in most if file.exists())


_MOST_BETWEEN = matrix.MOST_BETWEEN + _held_by_tcp()


@pytest.mark.soak
@pytest.mark.asyncio
async def test_an_agent_that_nobody_reads_waits(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path) as one:
        total = 2 * _MOST_BETWEEN
        agent = await one.start(*one.python, _FLOOD, str(total))
        work = anyio.Path(one.directory)
        while not await (work / "full").exists():  # noqa: ASYNC110 - told by a file alone
            await anyio.sleep(0.05)
        assert int(await (work / "said").read_text()) < _MOST_BETWEEN
        got = 0
        while got < total:
            piece = await agent.stdout.receive()
            assert piece == (bytes(range(256)) * 1025)[got % 256 :][: len(piece)]
            got += len(piece)
        assert (await agent.wait()).returncode == 0
        await agent.stop()
