"""The parts of the ssh engine that decide: settings, the choice of a host, ssh's words, what is tried again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pydantic import ValidationError

from acp.engine import LaunchSpec
from acp.errors import SpawnFailure
from pool.engines.model import EngineFinding
from pool.engines.ssh.check import findings, missing_files, questions, told
from pool.engines.ssh.client import SshClient
from pool.engines.ssh.directory import private_directory
from pool.engines.ssh.failure import is_busy, refusal
from pool.engines.ssh.hosts import AGENT, Homes, HostState, choose
from pool.engines.ssh.leftovers import LONGEST_PAUSE, Leftovers
from pool.engines.ssh.settings import SshHost, SshSettings

GIB = 1024**3


def host(name: str, *, running: int = 0, places: int = 4, memory: int | None = None) -> HostState:
    return HostState(SshHost(address=name, places=places), running, memory)


def test_a_host_may_be_given_by_its_address_alone() -> None:
    """P14"""
    settings = SshSettings.model_validate({"hosts": ["agents@one", {"address": "two", "name": "big", "places": 9}]})
    assert [(one.called, one.places) for one in settings.hosts] == [("agents@one", 4), ("big", 9)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hosts": []}, "name at least one"),
        ({"hosts": ["one", "one"]}, "one stands there twice"),
        ({"hosts": ["-oProxyCommand=x"]}, "give user@host"),
        ({"hosts": ["one two"]}, "give user@host"),
        ({"hosts": [{"address": "one", "place": 3}]}, "Extra inputs"),
        ({"hosts": ["one"], "handshakes": 50}, "less than or equal to 10"),
    ],
)
def test_settings_that_can_not_be_meant_are_refused(values: dict[str, Any], words: str) -> None:
    """P14"""
    with pytest.raises(ValidationError, match=words):
        SshSettings.model_validate(values)


def test_the_doctor_names_files_of_the_settings_that_are_not_there(tmp_path: Path) -> None:
    """P14"""
    there, absent = tmp_path / "key", tmp_path / "none"
    there.touch()
    files = {"identity_file": str(there), "known_hosts": str(absent), "config_file": "/dev/null"}
    found = missing_files(SshSettings.model_validate({"hosts": ["one"], **files}))
    assert [one.what for one in found] == [f"known_hosts: there is no file {absent}"]


def test_what_is_wrong_with_a_host_is_mild_while_another_one_takes_agents() -> None:
    """P14"""
    well, bad = EngineFinding(ok=True, what="reached"), EngineFinding(ok=False, what="no such directory")
    assert [one.mild for one in told([[well, bad], [well]])] == [False, True, False]
    assert [one.mild for one in told([[well, bad], [bad]])] == [False, False, False]


def test_a_program_on_the_agents_own_path_is_not_looked_for_on_the_logins() -> None:
    """P14"""
    own = {"PATH": "/opt/agent/bin"}
    specs = [LaunchSpec(("agent",), "/work", {}), LaunchSpec(("agent",), "/work", own), LaunchSpec(("/a",), "/w", own)]
    assert questions(specs) == ["/work", "agent", "/work", "sh", "/w", "/a"]


def test_what_a_host_failed_with_stands_beside_its_name() -> None:
    """P14"""
    one = host("one")
    one.failed("one: Timeout, server not responding.", 1.0)
    assert one.status().reason == "Timeout, server not responding"


def test_the_host_with_the_most_free_memory_is_taken() -> None:
    """P14"""
    small, big, full = host("small", memory=GIB), host("big", memory=8 * GIB), host("full", running=4, memory=64 * GIB)
    hosts = [small, big, full]
    assert choose(hosts, (), ()) is big
    assert choose(hosts, ("big",), ()) is small
    assert choose(hosts, ("big", "small"), ()) is big  # both failed a moment ago: better one of them than none
    assert choose(hosts, (), ("big", "small")) is None
    assert choose(hosts, (), (), "small") is small
    assert choose(hosts, ("small",), (), "small") is big


def test_starts_at_once_spread_before_memory_is_asked_for_again() -> None:
    """P14"""
    hosts = [host("one", memory=8 * GIB, places=20), host("two", memory=8 * GIB - AGENT // 2, places=20)]
    taken = []
    for _ in range(6):
        chosen = choose(hosts, (), ())
        assert chosen is not None
        chosen.running, chosen.since = chosen.running + 1, chosen.since + 1
        taken.append(chosen.name)
    assert taken == ["one", "two", "one", "two", "one", "two"]


def test_hosts_that_tell_no_memory_fill_evenly() -> None:
    """P14"""
    hosts = [host("one", running=2), host("two", running=1)]
    assert choose(hosts, (), ()) is hosts[1]


@pytest.mark.parametrize(
    ("words", "reason", "fix"),
    [
        ("ssh: connect to host 10.9.8.7 port 22: Connection timed out\r\n", "does not answer", ""),
        ("Connection timed out during banner exchange\r\n", "does not answer", ""),
        ("ssh: connect to host 10.9.8.7 port 22: Connection refused\r\n", "refuses the connection", ""),
        ("ssh: connect to host 10.9.8.7 port 22: No route to host\r\n", "no route to it", ""),
        ("Timeout, server 10.9.8.7 not responding.\r\n", "does not answer any more", ""),
        ("ssh: Could not resolve hostname 10.9.8.7: unknown", "can't be resolved", "log in once by hand"),
        ("No ED25519 host key is known for 10.9.8.7\nHost key verification failed.\n", "host key", "log in once"),
        (
            "Key for 10.9.8.7 has changed and you have requested strict checking\nHost key verification failed.\n",
            "another host key than before",
            "find out why",
        ),
        ("Permission denied to all others.\n\nHave fun!\nConnection reset.\n", "hung up", ""),
        ("secret@10.9.8.7: Permission denied (publickey).\n", "does not let Weft log in", "authorized_keys"),
        ("nc: getaddrinfo for 10.9.8.7: what", "can't be reached", ""),
        ("", "can't be reached", ""),
    ],
)
def test_sshs_last_words_say_what_to_do(words: str, reason: str, fix: str) -> None:
    """P14, R5: people read what is meant, without names of users and addresses; the log has what ssh says."""
    found = refusal(words)
    assert found.failure is (SpawnFailure.RIGHTS if "key" in fix + reason else SpawnFailure.UNREACHABLE)
    assert fix in found.fix
    assert reason in found.reason
    assert "10.9.8.7" not in str(found)
    assert "secret" not in str(found)
    assert found.said == (words.strip().splitlines() or ["ssh ended without a word"])[-1]
    assert not is_busy(words)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="the OpenSSH client is not installed")
def test_directories_of_this_machine_may_have_any_name(tmp_path: Path) -> None:
    """P14: ssh splits the values of its options into words, and expands what has a percent sign."""
    odd = tmp_path / "a home%n"
    client = SshClient(SshSettings.model_validate({"hosts": ["x"], "known_hosts": odd / "known"}))
    program, *more = client.argv(SshHost(address="x"), "true", tmp_path / "words", odd / "1", master=True)
    told = subprocess.run([program, "-G", *more], capture_output=True, text=True, check=False).stdout.splitlines()
    assert f"controlpath {odd}/1" in told
    assert f"userknownhostsfile {odd}/known" in told


def test_a_server_that_hangs_up_early_is_busy() -> None:
    """P14"""
    assert is_busy("kex_exchange_identification: Connection closed by remote host\r\n")


def test_the_doctor_reads_an_answer() -> None:
    """P14"""
    good, *wrong = findings(
        SshHost(address="a@x", name="x"),
        [["memory", str(2 * 1024**2)], ["agents", "1"], ["lacks", "awk"], ["program", "agent"], ["checked"]],
    )
    assert (good.ok, good.what) == (True, "x: reached as a@x, 4 places, 2.0 GB free")
    assert [(one.ok, one.what) for one in wrong] == [(False, "x has no awk"), (False, "x: agent was not found")]
    assert all(one.fix for one in wrong)
    assert findings(SshHost(address="x"), [["memory", ""]])[1].what == "x: the check was cut off"


@pytest.mark.asyncio
async def test_what_was_left_is_tried_again_with_growing_pauses_until_it_is_gone() -> None:
    """P9"""
    now, tries, there = 0.0, list[float](), True

    async def end(host: SshHost, mark: str) -> bool:
        await anyio.lowlevel.checkpoint()
        tries.append(now)
        return not there

    leftovers = Leftovers(end, lambda: now)
    leftovers.add(SshHost(address="x"), "WEFT_AGENT=1", "7", "agent on x")
    (one,) = leftovers._list
    for _ in range(12):
        now = one.due
        assert not await leftovers.end_of(lambda it: it is one)
    pauses = [later - before for before, later in pairwise(tries)]
    assert pauses[:4] == [2.0, 4.0, 8.0, 16.0]
    assert pauses[-1] == LONGEST_PAUSE
    assert leftovers.places() == ("agent on x",)
    # Needed now: not waited for.
    there = False
    assert await leftovers.end_of(lambda it: it.thread == "7")
    assert leftovers.places() == ()


@pytest.mark.asyncio
async def test_what_is_left_later_wakes_who_waits_for_what_is_due() -> None:
    """P9, P14"""
    ended, tried = list[str](), anyio.Event()

    async def end(host: SshHost, mark: str) -> bool:
        await anyio.lowlevel.checkpoint()
        ended.append(mark)
        tried.set()
        return True

    leftovers = Leftovers(end)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leftovers.work)
            leftovers.add(SshHost(address="x"), "late", "7", "late", pause=3600.0)
            await anyio.wait_all_tasks_blocked()
            leftovers.add(SshHost(address="x"), "now", "8", "now")
            await tried.wait()
            tasks.cancel_scope.cancel()
    assert ended == ["now"]
    assert leftovers.places() == ("late",)


@pytest.mark.asyncio
async def test_threads_that_begin_together_are_asked_for_together() -> None:
    """P8"""
    asked, gate = list[list[str]](), anyio.Event()

    async def ask(directories: Sequence[str]) -> dict[str, list[str]]:
        asked.append(list(directories))
        await gate.wait()
        return {"one": [name for name in directories if name in ("/1", "/3")], "two": ["/2", "/3"]}

    homes, found = Homes(ask, 2), dict[int, str]()

    async def look(number: int) -> None:
        found[number] = await homes.of(str(number), f"/{number}")

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for number in range(1, 5):
                tasks.start_soon(look, number)
            await anyio.wait_all_tasks_blocked()
            gate.set()
    assert sorted(directory for some in asked for directory in some) == ["/1", "/2", "/3", "/4"]
    assert (before := len(asked)) <= 2
    assert found == {1: "one", 2: "two", 3: "", 4: ""}
    homes.note("4", "two")
    assert await homes.of("4", "/4") == "two"
    assert len(asked) == before


@pytest.mark.asyncio
async def test_a_host_that_was_silent_is_asked_for_a_threads_files_again() -> None:
    """P8: it may be the one that has them."""
    answers: list[dict[str, list[str]]] = [{"one": []}, {"one": [], "two": ["/1"]}]

    async def ask(directories: Sequence[str]) -> dict[str, list[str]]:
        return answers.pop(0)

    homes = Homes(ask, 2)
    assert [await homes.of("1", "/1") for _ in range(3)] == ["", "two", "two"]


def test_the_directories_of_killed_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R4, P9: but not those that are in use, whatever their age, or just made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("weft-ssh-left", "weft-ssh-new", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.log").touch()
    with private_directory() as used:
        for path in (tmp_path / "weft-ssh-left", tmp_path / "other", used):
            os.utime(path, (1.0, 1.0))
        (tmp_path / "weft-ssh-link").symlink_to(tmp_path / "other")
        with private_directory() as second:
            assert {path.name for path in tmp_path.iterdir()} == {
                *("weft-ssh-new", "weft-ssh-link", "other"),
                *(used.name, second.name),
            }
            assert (tmp_path / "other/1.log").exists()
    assert not used.exists()
