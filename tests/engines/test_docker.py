"""The docker engine against a server of ours that speaks the API's requests: P9, and what goes wrong on the way."""

from __future__ import annotations

import re
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import structlog

from acp.errors import AgentExited, AgentSpawnError, SpawnFailure
from acp.shutdown import StopStage
from pool.engines.bot_run import BotRun
from pool.engines.docker.agent import AWAY
from pool.engines.docker.engine import DockerEngine
from pool.engines.docker.settings import DockerSettings
from tests.clock import flying
from tests.engines.docker_bed import LIMITS, SECRET, WATCH, bed, launch, started, until_empty, until_seen
from tests.engines.docker_server import STDERR, Answer, Container, Fault, deaf, frame, stubborn

pytestmark = pytest.mark.asyncio


# --- a start, and what is said -----------------------------------------------------------------------------------


async def test_a_container_is_made_as_the_settings_say(tmp_path: Path) -> None:
    """P14"""
    values = {
        "memory": "64M", "cpus": 1.5, "pids": 40, "user": "1000", "network": "none", "home": "/home/agent",
        "read_only": True, "volumes": ["weft-{thread_id}:/work", "/srv/data:/data:ro"],
    }  # fmt: skip
    async with bed(tmp_path, **values) as (docker, engine), started(engine) as agent:
        config = docker.only.config
        assert {name: config[name] for name in ("OpenStdin", "StdinOnce", "Tty", "User")} == {
            "OpenStdin": True, "StdinOnce": True, "Tty": False, "User": "1000",
        }  # fmt: skip
        assert config["Entrypoint"][-1] == "/work/7"
        assert config["Cmd"] == ["agent", "--acp"]
        assert set(config["Env"]) == {f"API_KEY={SECRET}", "HOME=/home/agent"}
        labels = config["Labels"]
        assert (labels["weft.state"], labels["weft.agent"], labels["weft.thread"]) == ("s1", "claude", "7")
        host = config["HostConfig"]
        assert {name: host[name] for name in ("Init", "CapDrop", "SecurityOpt", "ReadonlyRootfs", "NetworkMode")} == {
            "Init": True, "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "ReadonlyRootfs": True,
            "NetworkMode": "none",
        }  # fmt: skip
        assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
            1 << 26,
            1 << 26,
            15 * 10**8,
            40,
        )
        assert host["LogConfig"]["Type"] == "none"
        assert host["Mounts"] == [
            {"Type": "volume", "Source": "weft-7", "Target": "/work", "ReadOnly": False},
            {"Type": "bind", "Source": "/srv/data", "Target": "/data", "ReadOnly": True},
        ]
        assert SECRET not in str({name: value for name, value in config.items() if name != "Env"})
        assert re.fullmatch(r"container weft-claude-\w+ on fake-host", agent.place)
        assert agent.pid is None


async def test_streams_are_attached_before_the_start_and_nothing_is_lost(tmp_path: Path) -> None:
    """P14"""

    async def program(container: Container) -> int:
        await container.say(b"at once\n")
        await container.say(b"apart\n", STDERR)
        await container.say(await container.read())
        return 3

    async with bed(tmp_path) as (docker, engine):
        docker.program = program
        async with started(engine) as agent:
            calls = [re.sub(r"[0-9a-f]{64}", "ID", one) for one in docker.seen]
            assert calls.index("POST /containers/ID/start") > max(i for i, one in enumerate(calls) if "attach" in one)
            assert await agent.stdout.receive() == b"at once\n"
            await agent.stdin.send(b"hello")
            assert await agent.stdout.receive() == b"hello"
            ended = await agent.wait()
            await agent.drained.wait()
            assert (ended.returncode, ended.reason, ended.unreachable) == (3, "", False)
            assert agent.stderr_since(0) == "apart\n"
            assert (await agent.stop(LIMITS)).stage is StopStage.GONE
        assert docker.containers == {}


async def test_nothing_that_is_secret_is_logged(tmp_path: Path) -> None:
    """R5, P14"""
    with structlog.testing.capture_logs() as logs:
        async with bed(tmp_path) as (docker, engine), started(engine) as agent:
            docker.faults.append(Fault("DELETE", Answer(500, "busy")))
            await agent.stdin.send(b"my prompt")
            assert await agent.stdout.receive() == b"my prompt"
    assert logs
    assert SECRET not in str(logs)
    assert "my prompt" not in str(logs)


# --- ends --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "returncode", "reason"),
    [
        ("exit", 5, ""),
        ("signal", -signal.SIGSEGV, ""),
        ("oom", -signal.SIGKILL, "OOMKilled"),
        ("deleted", -9, "deleted"),
    ],
)
async def test_how_a_container_ended_is_told(tmp_path: Path, how: str, returncode: int, reason: str) -> None:
    """P14"""
    async with bed(tmp_path) as (docker, engine), started(engine) as agent:
        one = docker.only
        await until_seen(docker, "/wait")
        if how == "deleted":
            del docker.containers[one.id]
        one.end({"exit": 5, "signal": 128 + signal.SIGSEGV}.get(how, 137), oom=how == "oom")
        ended = await agent.wait()
        assert (ended.returncode, ended.reason, ended.unreachable) == (returncode, reason, False)
        if how == "exit":
            with pytest.raises(AgentExited):
                await agent.run(("true",), limit=10, seconds=5)


async def test_stop_goes_from_the_end_of_input_over_term_to_removal(tmp_path: Path) -> None:
    """P9, P14"""
    async with bed(tmp_path) as (docker, engine):
        async with started(engine) as polite:
            report = await polite.stop(replace(LIMITS, eof=30.0))
            assert (report.stage, report.left) == (StopStage.EOF, ())
            assert await polite.stop(LIMITS) is report
        docker.program = stubborn
        async with started(engine) as agent:
            one = docker.only
            report = await agent.stop(LIMITS)
            assert (report.stage, report.left, one.signals) == (StopStage.KILL, (), ["SIGTERM"])
            assert (await agent.wait()).returncode == -signal.SIGKILL
        assert docker.containers == {}
        assert (await engine.nodes())[0].running == 0


async def test_an_agent_that_reads_nothing_is_stopped_while_somebody_writes_to_it(tmp_path: Path) -> None:
    """P9, P14"""
    async with bed(tmp_path) as (docker, engine):
        docker.program = deaf
        async with started(engine) as agent, anyio.create_task_group() as tasks:
            sent = 0

            async def write() -> None:
                nonlocal sent
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    while True:
                        await agent.stdin.send(b"x" * 65536)
                        sent += 65536

            tasks.start_soon(write)
            await anyio.wait_all_tasks_blocked()
            report = await agent.stop(replace(LIMITS, term=30.0))
            assert (report.stage, report.left) == (StopStage.TERM, ())
        assert sent < 8 << 20


async def test_removal_in_progress_is_waited_for(tmp_path: Path) -> None:
    """P9, P14"""
    async with bed(tmp_path) as (docker, engine), started(engine) as agent:
        docker.faults.append(Fault("DELETE", Answer(409, "removal is already in progress"), times=2))
        docker.faults.append(Fault("DELETE", Answer(500, "device or resource busy")))
        assert (await agent.stop(LIMITS)).left == ()
        assert docker.containers == {}


async def test_what_cannot_be_removed_is_removed_when_the_daemon_answers_again(tmp_path: Path) -> None:
    """P9, P14"""
    async with bed(tmp_path) as (docker, engine):
        docker.program = stubborn
        async with started(engine) as agent:
            docker.faults.append(Fault("DELETE", Answer(403, "a plugin says no"), times=2))
            report = await agent.stop(LIMITS)
            assert report.left == (agent.place,)
            await until_empty(docker)


# --- the daemon goes away ----------------------------------------------------------------------------------------


async def test_a_daemon_that_goes_away_is_told_and_what_ran_is_ended_once_it_is_back(tmp_path: Path) -> None:
    """P9, P14"""
    async with bed(tmp_path) as (docker, engine):
        docker.program = stubborn
        async with started(engine) as agent:
            assert await agent.stdout.receive() == b"ready"
            await docker.go_down()
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)):
                await agent.stdout.receive()
            # Known before the end is heard: who hears of an end without a reason takes it for the agent's doing.
            ended = agent.exit()
            assert ended
            assert (ended.returncode, ended.unreachable, ended.reason) == (None, True, AWAY)
            assert (await agent.stop(LIMITS)).left == (agent.place,)
            with pytest.raises(AgentSpawnError) as caught:
                await engine.start(launch())
            assert (caught.value.failure, caught.value.transient) == (SpawnFailure.UNREACHABLE, True)
            (node,) = await engine.nodes()
            assert not node.reachable
            assert "does not answer" in node.reason
        await docker.come_up()
        await until_empty(docker)
        async with started(engine):
            assert (await engine.nodes())[0].reachable


async def test_a_daemon_that_falls_silent_is_told(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path) as (docker, engine), started(engine) as agent:
        fault = Fault("_ping|DELETE", silent=True, times=1000)
        docker.faults.append(fault)
        async with flying(0.5):
            ended = await agent.wait()
        assert (ended.unreachable, ended.reason) == (True, AWAY)
        docker.faults.remove(fault)


async def test_a_wait_that_breaks_off_is_asked_again(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path) as (docker, engine):
        docker.faults.append(Fault("/wait"))
        docker.faults.append(Fault("/wait", Answer(200, b'{"Stat')))
        async with started(engine) as agent:
            await until_seen(docker, "/wait", 3)
            assert agent.exit() is None
            docker.only.end(4)
            assert (await agent.wait()).returncode == 4


async def test_an_agent_that_closes_its_stdout_alone_is_not_lost(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path) as (docker, engine):
        docker.program = stubborn
        async with started(engine) as agent:
            assert await agent.stdout.receive() == b"ready"
            (_, out), _ = docker.only.listeners
            await out.aclose()
            with pytest.raises(anyio.EndOfStream):
                await agent.stdout.receive()
            assert agent.exit() is None


async def test_podman_is_asked_by_its_own_api_how_a_container_ended(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path) as (docker, engine):
        docker.version["Components"] = [{"Name": "Podman Engine"}]
        async with started(engine) as agent:
            await until_seen(docker, "/libpod/containers")
            docker.only.end(6)
            assert (await agent.wait()).returncode == 6
        assert not any(one.startswith("POST /containers") and "/wait" in one for one in docker.seen)


async def test_streams_that_are_cut_while_the_container_runs_are_a_lost_connection(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path) as (docker, engine):
        docker.program = stubborn
        async with started(engine) as agent:
            assert await agent.stdout.receive() == b"ready"
            one = docker.only
            (_, out), _ = one.listeners
            await out.send(frame(1, b"cut off in the midd")[:-5])
            await one.hang_up()
            assert await agent.stdout.receive() == b"cut off in the"
            with pytest.raises(anyio.BrokenResourceError):
                await agent.stdout.receive()
            ended = agent.exit()
            assert ended
            assert (ended.unreachable, ended.reason) == (True, "the connection to the container was lost")
        assert docker.containers == {}


# --- the sweep ---------------------------------------------------------------------------------------------------


async def test_a_sweep_ends_what_an_earlier_run_left_and_nothing_else(tmp_path: Path) -> None:
    """P9, P14"""
    async with bed(tmp_path) as (docker, engine):
        settings = DockerSettings(url=docker.url, image=next(iter(docker.images)))
        async with DockerEngine("box", settings, WATCH, run=BotRun("earlier")) as earlier:
            left = [await earlier.start(launch()) for _ in range(3)]
            other = await earlier.start(launch(labels={"state": "s2", "agent": "claude", "thread": "1"}))
            docker.named(left[0].place.split()[1]).end(0)
            docker.named(left[1].place.split()[1]).nameless = True
        mine = await engine.start(launch())
        docker.faults.append(Fault("DELETE", Answer(400, "no")))
        swept = await engine.sweep("s1")
        assert (swept.ended, len(swept.left)) == (2, 1)
        while len(docker.containers) > 2:  # noqa: ASYNC110  the one that was refused is ended late
            await anyio.sleep(0.01)
        assert {one.name for one in docker.containers.values()} == {one.place.split()[1] for one in (mine, other)}
        assert (await engine.sweep("s1")).ended == 0
        await mine.stop(LIMITS)


async def test_a_daemon_that_was_away_is_swept_when_it_is_back(tmp_path: Path) -> None:
    """P9, P14"""
    async with bed(tmp_path) as (docker, engine):
        settings = DockerSettings(url=docker.url, image=next(iter(docker.images)))
        async with DockerEngine("box", settings, WATCH, run=BotRun("earlier")) as earlier:
            await earlier.start(launch())
            await docker.go_down()
        assert (await engine.sweep("s1")).left
        await docker.come_up()
        await until_empty(docker)


@pytest.mark.parametrize("status", [500, 502])
async def test_a_container_that_a_failing_daemon_made_after_all_is_removed(tmp_path: Path, status: int) -> None:
    """P9"""
    async with bed(tmp_path) as (docker, engine):
        docker.faults.append(Fault("POST /containers/create", Answer(status, "a hook failed"), after=True))
        with pytest.raises(AgentSpawnError):
            await engine.start(launch())
        await until_empty(docker)


# --- beside, and the doctor --------------------------------------------------------------------------------------


async def test_commands_run_beside_an_agent(tmp_path: Path) -> None:
    """P14"""
    async with bed(tmp_path) as (docker, engine), started(engine) as agent:
        docker.executed = lambda argv, stdin: (7, b" ".join([*map(str.encode, argv), stdin]), b"oh")
        ran = await agent.run(("tar", "-x"), b"data", limit=100, seconds=5)
        assert (ran.returncode, ran.stdout, ran.stderr) == (7, b"tar -x data", b"oh")
        docker.executed = lambda *_: (0, b"x" * 100, b"")
        cut = await agent.run(("yes",), limit=10, seconds=5)
        assert (cut.returncode, cut.stdout) == (None, b"x" * 10)
        ended: list[list[str]] = []

        def note(argv: list[str], _: bytes) -> tuple[int, bytes, bytes]:
            ended.append(argv)
            return 0, b"", b""

        docker.executed = note
        docker.faults.append(Fault("GET /exec", silent=True))
        assert (await agent.run(("sleep", "9"), limit=10, seconds=1.0)).returncode is None
        assert ended[-1][-1] == "17"
        docker.faults.append(Fault("POST /containers/.*/exec", Answer(500, "broken")))
        with pytest.raises(AgentExited, match="broken"):
            await agent.run(("true",), limit=10, seconds=5)


async def test_the_doctor_finds_the_daemon_the_image_and_a_container(tmp_path: Path) -> None:
    """P14"""

    async def program(container: Container) -> int:
        for target in container.config["Cmd"]:
            if target == "/closed":
                await container.say(b"/closed\n")
        return 0

    async with bed(tmp_path, volumes=["weft-{thread_id}:/work"]) as (docker, engine):
        docker.program = program
        findings = await engine.check()
        assert [one.ok for one in findings] == [True, True, True]
        assert "fake-host" in findings[0].what
        assert docker.containers == {}
    async with bed(tmp_path, image="other/x") as (docker, engine):
        docker.version["Components"] = [{"Name": "Podman Engine"}]  # which asks no registry before it has to
        finding = (await engine.check())[-1]
        assert finding.ok
        assert finding.what.endswith("is fetched at the first start, if it can be had")
    for image, ok, words in [("known/x", True, "is fetched at the first start"), ("other/x", False, "token=…")]:
        async with bed(tmp_path, image=image) as (_, engine):
            finding = (await engine.check())[-1]
            assert finding.ok is ok
            assert words in finding.what
    async with bed(tmp_path, volumes=["data:/closed"]) as (docker, engine):
        docker.program = program
        assert "may not write to /closed" in (await engine.check())[-1].what
        docker.faults.append(Fault("create", Answer(400, "no such network")))
        assert "no such network" in (await engine.check())[-1].what
        assert docker.containers == {}
