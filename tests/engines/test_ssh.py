"""The ssh engine on OpenSSH's own server, with two accounts as two hosts."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import anyio
import psutil
import pytest

from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError, SpawnFailure
from acp.shutdown import carriers, command_line
from pool.engines.bot_run import BotRun
from pool.engines.model import PoolEngine, RemoteAgent
from pool.engines.ssh.agent import SshAgent
from pool.engines.ssh.engine import SshEngine
from pool.engines.ssh.settings import SshSettings
from tests.engines import matrix
from tests.engines.sshd import ACCOUNTS, FIRST_UID, Cut, Server, Way, session_of, settings_for, ways
from tests.repeat import in_soak

pytestmark = pytest.mark.timeout(600)  # the first test of a worker waits for the server


class SshBed:
    """An engine on the server's accounts, each behind a way of its own; see `tests.engines.matrix.Bed`."""

    def __init__(self, server: Server, ways: Sequence[Way], engine: SshEngine, directory: str) -> None:
        self.engine: PoolEngine = engine
        self.player: Sequence[str] = server.player
        self.python: Sequence[str] = (server.python, "-I", "-S", "-c")
        self.directory = directory
        self.state = uuid.uuid4().hex
        self.ways = ways
        values = settings_for(server, [way.port for way in ways])
        self.recipe = matrix.Recipe(
            "pool.engines.ssh.engine:SshEngine", "pool.engines.ssh.settings:SshSettings", values
        )
        self.cuts: Cut = "reset"

    async def running(self) -> Sequence[str]:
        found = await anyio.to_thread.run_sync(carriers, self.state, "WEFT_ENGINE_STATE")
        return [f"{process.pid}: {command_line(process)}" for process in found]

    async def cut(self, agent: RemoteAgent) -> None:
        number = [node.name for node in await self.engine.nodes()].index(agent.node)
        await self.ways[number].break_off(self.cuts)

    async def mend(self) -> None:
        for way in self.ways:
            way.mend()


@asynccontextmanager
async def made_bed(server: Server, directory: Path, places: int = 10, **settings: Any) -> AsyncIterator[SshBed]:
    async with ways(server.port, 2) as both:
        values = settings_for(server, [way.port for way in both], places, **settings)
        async with SshEngine("farm", SshSettings.model_validate(values)) as engine:
            yield SshBed(server, both, engine, str(directory))


@pytest.fixture
def workplace(ssh_server: Server) -> Path:
    """A directory that both accounts may write to."""
    directory = ssh_server.directory / uuid.uuid4().hex
    directory.mkdir()
    directory.chmod(0o777)
    return directory


@pytest.mark.parametrize("case", [*matrix.QUICK, *in_soak(matrix.LONG)], ids=matrix.name_of)
@pytest.mark.asyncio
async def test_an_agent_on_a_host_is_like_one_here(case: matrix.Case, ssh_server: Server, workplace: Path) -> None:
    """P1, P2, P9: the matrix of all engines."""
    async with made_bed(ssh_server, workplace) as bed:
        await matrix.run(case, bed)


@pytest.mark.parametrize("cut", ["reset", *in_soak(["silent"])])
@pytest.mark.asyncio
async def test_a_lost_connection_is_told_and_the_thread_goes_on_elsewhere(
    cut: Cut, ssh_server: Server, workplace: Path
) -> None:
    """P9, P10: by a reset at once; where nobody tells of it, within the time that ssh waits for a sign of life."""
    async with made_bed(ssh_server, workplace) as bed:
        bed.cuts = cut
        await matrix.run(matrix.lost_connection, bed)


@pytest.mark.soak
@pytest.mark.asyncio
async def test_a_session_that_the_server_ends_is_lost_and_its_tree_with_it(ssh_server: Server, workplace: Path) -> None:
    """P9: by a server's process that is killed; the host answers, so that all is gone soon."""
    spawned = [{"spawn_shell": "sleep 1000"}, {"text": "spawned"}]
    async with made_bed(ssh_server, workplace) as bed:
        with anyio.fail_after(matrix.LIMIT):
            spec = matrix.scripted(bed, spawned, thread=4711, start={"ignore_eof": True})
            async with matrix.talking(replace(spec, cwd=f"{workplace}/4711")) as talk:
                await talk.ask()
                assert isinstance(talk.agent, SshAgent)
                session_of(talk.agent.marks.marker).kill()
                lost = await talk.connection.wait_exited()
            assert lost.unreachable
            assert lost.reason == f"{talk.agent.node}: hung up"
            await matrix.until_gone(bed)
            # The host is well, and has the thread's files.
            spec = replace(matrix.scripted(bed, thread=4711), cwd=f"{workplace}/4711")
            async with matrix.talking(spec) as again:
                assert again.agent.node == talk.agent.node
                assert (await again.ask("again")).text == "again"


@pytest.mark.soak
@pytest.mark.asyncio
async def test_a_stop_that_can_not_be_confirmed_is_bounded_and_made_up_for(ssh_server: Server, workplace: Path) -> None:
    """P9: on a connection of which nobody knows yet that it is dead."""
    async with made_bed(ssh_server, workplace) as bed:
        async with matrix.talking(matrix.scripted(bed, start={"ignore_eof": True})) as talk:
            bed.cuts = "silent"
            await bed.cut(talk.agent)
            begun = anyio.current_time()
        assert anyio.current_time() - begun < matrix.LIMIT / 2
        assert talk.connection.stop_report is not None
        assert talk.connection.stop_report.left == (talk.agent.place,)
        await bed.mend()
        await matrix.until_gone(bed)


@pytest.mark.soak
@pytest.mark.asyncio
async def test_a_host_that_is_gone_for_good_costs_one_try(ssh_server: Server, workplace: Path) -> None:
    """P6: the others get the agents; if there are none, the start says why, and may be tried again."""
    async with made_bed(ssh_server, workplace) as bed:
        with anyio.fail_after(matrix.LIMIT):
            told = list[str]()
            await bed.ways[0].break_off("reset")
            for thread in (1, 2):
                spec = replace(matrix.scripted(bed, thread=thread), tell=told.append)
                async with matrix.talking(spec) as talk:
                    assert talk.agent.node == ACCOUNTS[1]
            status = {node.name: node for node in await bed.engine.nodes()}
            assert not status[ACCOUNTS[0]].reachable
            assert status[ACCOUNTS[0]].reason
            assert status[ACCOUNTS[1]].free_memory
            await bed.ways[1].break_off("reset")
            for _ in range(2):
                with pytest.raises(AgentSpawnError) as caught:
                    await bed.engine.start(matrix.scripted(bed))
                assert caught.value.failure is SpawnFailure.UNREACHABLE
                assert caught.value.transient
                assert all(account in str(caught.value) for account in ACCOUNTS)
            await bed.mend()
            async with matrix.talking(matrix.scripted(bed)) as talk:
                assert (await talk.ask("back")).text == "back"


@pytest.mark.soak
@pytest.mark.asyncio
async def test_full_hosts_take_no_more(ssh_server: Server, workplace: Path) -> None:
    """P3, P6"""
    async with made_bed(ssh_server, workplace, places=1) as bed:
        with anyio.fail_after(matrix.LIMIT):
            async with (
                matrix.talking(matrix.scripted(bed)) as one,
                matrix.talking(matrix.scripted(bed, thread=2)) as two,
            ):
                assert {one.agent.node, two.agent.node} == set(ACCOUNTS)
                assert [node.reason for node in await bed.engine.nodes()] == ["full", "full"]
                with pytest.raises(AgentSpawnError) as caught:
                    await bed.engine.start(matrix.scripted(bed, thread=3))
                assert caught.value.failure is SpawnFailure.NO_ROOM
                assert f"{ACCOUNTS[0]} 1 of 1" in str(caught.value)
                assert caught.value.room_on == ACCOUNTS
            async with matrix.talking(matrix.scripted(bed, thread=3)):
                pass


@pytest.mark.soak
@pytest.mark.asyncio
async def test_a_thread_goes_back_to_the_host_that_has_its_files(ssh_server: Server, workplace: Path) -> None:
    """P8: also after a restart of the bot, by the directory that is there."""
    own = workplace / "own"
    own.mkdir()
    os.chown(own, FIRST_UID + 1, FIRST_UID + 1)
    own.chmod(0o700)  # as if it were on one host only
    spec: LaunchSpec
    for _ in range(2):
        async with made_bed(ssh_server, own) as bed:
            with anyio.fail_after(matrix.LIMIT):
                # More memory over there.
                engine = cast("SshEngine", bed.engine)
                engine._hosts[ACCOUNTS[0]].measured(2**50, anyio.current_time())
                spec = replace(matrix.scripted(bed, thread=77), cwd=f"{own}/77")
                (own / "77").mkdir(exist_ok=True)
                os.chown(own / "77", FIRST_UID + 1, FIRST_UID + 1)
                for _ in range(2):
                    async with matrix.talking(spec) as talk:
                        assert talk.agent.node == ACCOUNTS[1]
                # While that host is full, a place there is waited for: elsewhere its conversation would be lost.
                places = engine._hosts[ACCOUNTS[1]]
                places.running += places.room
                with pytest.raises(AgentSpawnError, match=f"no free place on {ACCOUNTS[1]}") as caught:
                    await engine.start(spec)
                assert caught.value.failure is SpawnFailure.NO_ROOM
                assert caught.value.room_on == (ACCOUNTS[1],)
                places.running = 0


@pytest.mark.soak
@pytest.mark.asyncio
async def test_what_a_sweep_could_not_reach_is_ended_before_its_host_gets_an_agent(
    ssh_server: Server, workplace: Path
) -> None:
    """P9"""
    async with made_bed(ssh_server, workplace) as before, made_bed(ssh_server, workplace) as after:
        after.state = before.state
        cast("SshEngine", before.engine)._run = BotRun("earlier")
        with anyio.fail_after(matrix.LIMIT):
            stray = matrix.scripted(before, start={"ignore_eof": True})
            async with matrix.talking(stray) as left:
                number = ACCOUNTS.index(left.agent.node)
                await after.ways[number].break_off("reset")
                swept = await after.engine.sweep(after.state)
                assert swept.left == (left.agent.node,)
                assert left.connection.alive()
                await after.ways[1 - number].break_off("reset")
                after.ways[number].mend()
                async with matrix.talking(matrix.scripted(after)) as talk:
                    assert talk.agent.node == left.agent.node
                    assert (await left.connection.wait_exited()).returncode == -signal.SIGTERM
                    assert (await talk.ask("alone")).text == "alone"


@pytest.mark.soak
@pytest.mark.asyncio
async def test_who_is_refused_hears_what_to_do(ssh_server: Server, workplace: Path, tmp_path: Path) -> None:
    """P6: a host's key that nobody has checked is never taken; neither start nor check gets round it."""
    (tmp_path / "none").touch()
    async with made_bed(ssh_server, workplace, known_hosts=str(tmp_path / "none")) as bed:
        with anyio.fail_after(matrix.LIMIT):
            with pytest.raises(AgentSpawnError) as caught:
                await bed.engine.start(matrix.scripted(bed))
            assert caught.value.failure is SpawnFailure.RIGHTS
            assert "has a host key that Weft does not know" in str(caught.value)
            assert "log in once by hand" in str(caught.value)
            found = await bed.engine.check()
            assert [one.ok for one in found] == [False, False]
            assert all("log in once by hand" in one.fix for one in found)
            assert all("Host key verification failed" in one.what for one in found)
            assert (tmp_path / "none").read_text() == ""


@pytest.mark.soak
@pytest.mark.asyncio
async def test_the_doctor_sees_each_host_with_directory_and_command(ssh_server: Server, workplace: Path) -> None:
    """P14"""
    async with made_bed(ssh_server, workplace) as bed:
        engine = cast("SshEngine", bed.engine)
        with anyio.fail_after(matrix.LIMIT):
            good = await engine.check(matrix.scripted(bed))
            assert [one.ok for one in good] == [True, True]
            assert "10 places" in good[0].what
            bad = await engine.check(replace(matrix.scripted(bed), cwd="/nowhere", argv=("no-such-agent",)))
            assert [one.what for one in bad if not one.ok][:2] == [
                f"{ACCOUNTS[0]}: /nowhere is not a directory",
                f"{ACCOUNTS[0]}: no-such-agent was not found",
            ]


@pytest.mark.soak
@pytest.mark.asyncio
async def test_no_value_stands_in_a_command_line(ssh_server: Server, workplace: Path) -> None:
    """R5: neither here nor there, where other users can read it; what a login prints is not the agent's."""
    (ssh_server.home(ACCOUNTS[0]) / ".bashrc").write_text("echo noise from the login\n")
    secret = uuid.uuid4().hex
    async with made_bed(ssh_server, workplace) as bed:
        await bed.ways[1].break_off("reset")
        with anyio.fail_after(matrix.LIMIT):
            async with matrix.raw(bed, "import os; print(os.environ['KEY'])\nwhile 1: input()", KEY=secret) as agent:
                assert agent.node == ACCOUNTS[0]
                assert await matrix.read_line(agent, bytearray()) == secret.encode()
                ran = await agent.run(("sh", "-c", "echo $KEY"), limit=1000, seconds=matrix.LIMIT)
                assert ran.stdout.decode().strip() == secret
                assert [one.pid for one in psutil.process_iter() if secret in command_line(one)] == []
