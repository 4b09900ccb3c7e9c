"""The ssh engine and hosts that hang, or whose account says what it likes: an agent has that account, and its files.

In place of ssh is a script that runs the remote command here, or does what the host's name says.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import anyio
import pytest

from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError, SpawnFailure
from acp.shutdown import StopLimits
from pool.engines.bot_run import BotRun
from pool.engines.ssh import client as ssh_client
from pool.engines.ssh import engine as ssh_engine
from pool.engines.ssh.engine import SshEngine
from pool.engines.ssh.settings import SshSettings
from tests.clock import passing

pytestmark = pytest.mark.asyncio

QUICK = StopLimits(eof=0.5, term=0.5, kill=0.5)

PROGRAM = r"""#!/bin/sh
for remote; do
    case ${host-} in -E) words=$remote ;; esac
    before=${host-} host=$remote
done
echo "$before" >>"$0.calls"
case $before in
    silent*)
        # As a network that drops all packets, behind an alias: what ssh says is not in the settings.
        sleep 1
        echo "ssh: connect to host 10.9.8.7 port 22: Connection timed out" >"$words"
        exit 255
        ;;
    hung*) echo >>"$0.hung"; exec sleep 600 ;;
    liar*)
        # What a shell of this account could do: read what it is sent, and answer with anything in its form.
        size=${remote##*-c }
        nonce=$(head -c "${size%%)*}" | sed -n 's/^weft_nonce=//p')
        while read -r line; do printf '\036%s %s\n' "$nonce" "$line"; done <"$0.lines"
        ;;
    *) exec sh -c "$remote" ;;
esac
"""


@pytest.fixture
def ssh(tmp_path: Path) -> Path:
    program = tmp_path / "ssh"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return program


@pytest.fixture
def free_state() -> str:
    return uuid.uuid4().hex


def tell(ssh: Path, lines: str) -> None:
    """Have the account of `liar` answer with these lines."""
    Path(f"{ssh}.lines").write_text(f"{lines}\n")


def calls(ssh: Path) -> list[str]:
    """Return the hosts to which connections were made so far."""
    return sorted(Path(f"{ssh}.calls").read_text().split())


def engine(ssh: Path, *hosts: str, **values: Any) -> SshEngine:
    given = {"hosts": hosts, "program": str(ssh), "connect_timeout": 0.2, **values}
    return SshEngine("far", SshSettings.model_validate(given))


def launch(tmp_path: Path, state: str, thread: str = "1234") -> LaunchSpec:
    return LaunchSpec(("cat",), str(tmp_path), {}, labels={"state": state, "agent": "a", "thread": thread})


async def test_a_host_that_hangs_after_the_login_is_left_for_another(
    ssh: Path, tmp_path: Path, free_state: str
) -> None:
    """P6, P14: and for the next start it is not the first choice any more."""
    async with engine(ssh, "hung", "well", shared=True) as far:
        far._hosts["hung"].measured(2**60, anyio.current_time())
        far._hosts["well"].measured(2**30, anyio.current_time())
        for _ in range(2):
            async with passing(ssh_client._BEGIN + 1, Path(f"{ssh}.hung").exists):
                agent = await far.start(launch(tmp_path, free_state))
            assert agent.node == "well"
            far._hosts["well"].measured(2**30, anyio.current_time())  # as it was when no time had passed
            assert {one.name for one in await far.nodes() if not one.reachable} == {"hung"}
            await agent.stop(QUICK)


async def test_hosts_that_are_all_silent_are_asked_once_and_named(ssh: Path, tmp_path: Path, free_state: str) -> None:
    """P6, P14, R5: all at once, and again by the next start only; doctor and /status say the same."""
    names = ("silent-1", "silent-2", "silent-3")
    async with engine(ssh, *names) as far:
        for number, thread in enumerate(("1234", "5678"), 1):
            with pytest.raises(AgentSpawnError) as caught:
                await far.start(launch(tmp_path / thread, free_state, thread))
            assert caught.value.failure is SpawnFailure.UNREACHABLE
            why = "; ".join(f"{name}: does not answer" for name in names)
            assert str(caught.value) == f"far: none of the hosts takes it ({why})"
            assert calls(ssh) == sorted(names * number)
        assert [(one.reachable, one.reason) for one in await far.nodes()] == [(False, "does not answer")] * 3
        # Whoever runs the bot reads what ssh says, too.
        found = await far.check(launch(tmp_path, free_state))
        said = "does not answer (ssh: connect to host 10.9.8.7 port 22: Connection timed out)"
        assert [(one.ok, one.mild, one.what) for one in found] == [(False, False, f"{one}: {said}") for one in names]


async def test_while_a_host_answers_the_silent_ones_are_waited_for_once(
    ssh: Path, tmp_path: Path, free_state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P14: and not again by each start whose knowledge of free memory is old."""
    monkeypatch.setattr(ssh_engine, "_ASKING", 2.0)
    monkeypatch.setattr(ssh_engine, "_FRESH", 0.0)
    async with engine(ssh, "hung", "well", shared=True) as far:
        agents = [await far.start(launch(tmp_path, free_state, thread)) for thread in ("1234", "5678")]
        assert [agent.node for agent in agents] == ["well", "well"]
        assert calls(ssh).count("hung") == 1
        for agent in agents:
            await agent.stop(QUICK)


async def test_starts_that_wait_for_a_host_hear_that_it_is_silent(ssh: Path, tmp_path: Path, free_state: str) -> None:
    """P14: each would else have to find that out, a few at a time."""
    heard: list[str] = []

    async def start(thread: str) -> None:
        with pytest.raises(AgentSpawnError) as caught:
            await far.start(launch(tmp_path, free_state, thread))
        heard.append(str(caught.value))

    async with engine(ssh, "silent", handshakes=1) as far:
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(start, str(number))
        assert heard == ["silent: does not answer"] * 4
        assert calls(ssh) == ["silent"]


async def test_a_host_that_takes_all_the_time_of_a_start_is_avoided_by_the_next(
    ssh: Path, tmp_path: Path, free_state: str
) -> None:
    """P6, P14"""
    async with engine(ssh, "hung", "well", shared=True, start_timeout=5) as far:
        far._hosts["hung"].measured(2**60, anyio.current_time())
        far._hosts["well"].measured(2**30, anyio.current_time())
        async with passing(5, Path(f"{ssh}.hung").exists):
            with pytest.raises(AgentSpawnError) as caught:
                await far.start(launch(tmp_path, free_state))
        assert caught.value.failure is SpawnFailure.TIMEOUT
        assert "hung: has not started an agent within 5 s" in str(caught.value)
        far.start_timeout = 30
        agent = await far.start(launch(tmp_path, free_state, "5678"))
        assert agent.node == "well"
        await agent.stop(QUICK)


_LIES = [
    "",
    "failed",
    "ended",
    "ended ٣",
    "ended " + "9" * 5000,
    "memory 1 2 3\nhas\nhas 7\nhas -1\nhas x y",
    "memory " + "9" * 5000 + "\nhas " + "9" * 5000,
    "checked\nmemory " + "9" * 5000,
]


async def test_what_an_account_says_keeps_no_other_host_from_its_work(
    ssh: Path, tmp_path: Path, free_state: str
) -> None:
    """P14: whoever has one host's account must not be able to stop the starts on all of them."""
    async with engine(ssh, "liar", "well") as far:
        for lines in _LIES:
            tell(ssh, lines)
            assert (await far.sweep(free_state)).ended == 0
            await far._ask_for_memory(-1, list(far._hosts.values()), ["/there"], {})
            found = await far.check(launch(tmp_path, free_state))
            assert any(one.ok and one.what.startswith("well: reached") for one in found)
        far._hosts["liar"].running = 4
        agent = await far.start(launch(tmp_path, free_state))
        assert agent.node == "well"
        await agent.stop(QUICK)


async def test_a_start_that_an_account_answers_with_anything_fails_as_a_start(
    ssh: Path, tmp_path: Path, free_state: str
) -> None:
    """P6"""
    tell(ssh, "failed")
    async with engine(ssh, "liar") as far:
        with pytest.raises(AgentSpawnError):
            await far.start(launch(tmp_path, free_state))


async def test_an_answer_without_an_end_is_cut_off(ssh: Path, monkeypatch: pytest.MonkeyPatch, free_state: str) -> None:
    """P14"""
    monkeypatch.setattr(ssh_client, "_LINES", 100)
    tell(ssh, "agents 1\n" * 1000)
    async with engine(ssh, "liar") as far:
        host = far._hosts["liar"].host
        answer = await far._client.ask(host, "probe", {"state": free_state}, seconds=10)
    assert len(answer) == 100


async def test_an_agent_that_tells_its_own_end_breaks_nothing(ssh: Path, tmp_path: Path, free_state: str) -> None:
    """P14: it can read the nonce from the lines that share its stderr."""
    async with engine(ssh, "well") as far:
        agent = await far.start(launch(tmp_path, free_state))
        for words in (["exit", "9" * 5000], ["exit", "²"], ["exit"], ["stage", "none"], [""]):
            agent._hear(words)
        assert agent.exit() is None
        await agent.stop(QUICK)


async def test_a_late_sweep_leaves_the_agents_of_this_run_alone(ssh: Path, tmp_path: Path, free_state: str) -> None:
    """P9: two engines may use one account; what an earlier run has left there is ended all the same."""
    async with (
        engine(ssh, "well") as one,
        engine(ssh, "well") as other,
        SshEngine("far", one._settings, run=BotRun("earlier")) as before,
    ):
        left = await before.start(launch(tmp_path, free_state, "5678"))
        agent = await other.start(launch(tmp_path, free_state))
        assert (await one.sweep(free_state)).ended == 1
        with anyio.fail_after(30):
            await left.wait()
        assert agent.exit() is None
        for either in (left, agent):
            await either.stop(QUICK)
