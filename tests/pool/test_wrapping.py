from __future__ import annotations

import subprocess

import pytest

from pool.wrapping import ResourceLimits, filled, unknown_placeholders, wrapped

VALUES = {"workspace": "/srv/7", "thread_id": "7", "home": "/home/me"}
COMMAND = ("agent", "--config", '{"workspace": "{workspace}"}')


def test_without_wrapper_and_limits_the_command_is_what_is_started() -> None:
    """R5"""
    assert wrapped(COMMAND, (), ResourceLimits(), VALUES) == COMMAND


def test_a_wrapper_stands_before_the_command_which_stays_as_it_is() -> None:
    """R5"""
    wrapper = ("bwrap", "--bind", "{workspace}", "{home}/w-{thread_id}", "--")
    expected = ("bwrap", "--bind", "/srv/7", "/home/me/w-7", "--", *COMMAND)
    assert wrapped(COMMAND, wrapper, ResourceLimits(), VALUES) == expected


@pytest.mark.parametrize("text", ["{other}", "${home}", '{"a": 1}', "{}", "{HOME}", "{{.ID}}", "{thread-id}"])
def test_braces_that_are_no_placeholder_stay(text: str) -> None:
    assert filled(text, VALUES) == text


def test_a_misspelt_placeholder_is_told_and_other_braces_are_not() -> None:
    words = ("{workspace}{wrkspace}", "${shell}", '{"a": 1}', "{thread_id}{wrkspace}", "{nope}")
    assert unknown_placeholders(words) == ["wrkspace", "nope"]


def test_limits_stand_first_so_that_the_wrapper_has_them_too() -> None:
    """R5"""
    limits = ResourceLimits(memory=1024, processes=50, open_files=64)
    expected = ("prlimit", "--data=1024", "--nproc=50", "--nofile=64", "--", "setpriv", *COMMAND)
    assert wrapped(COMMAND, ("setpriv",), limits, VALUES) == expected


def test_a_scope_of_systemd_holds_memory_and_processes_itself() -> None:
    """R5: they bind all processes of the agent together there."""
    limits = ResourceLimits(memory=1024, processes=50, open_files=64)
    argv = wrapped(("agent",), ("/usr/bin/systemd-run", "--user", "--scope"), limits, VALUES)
    scope = ("/usr/bin/systemd-run", "--property=MemoryMax=1024", "--property=TasksMax=50", "--user", "--scope")
    assert argv == ("prlimit", "--nofile=64", "--", *scope, "agent")


def test_the_limits_are_those_that_the_command_has() -> None:
    """R5: as the kernel tells them."""
    limits = ResourceLimits(memory=200 * 2**20, processes=500, open_files=64)
    argv = wrapped(("cat", "/proc/self/limits"), (), limits, VALUES)
    told = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout
    rows = {line[:26].strip(): line[26:].split()[:2] for line in told.splitlines()}
    assert rows["Max data size"] == [str(200 * 2**20)] * 2
    assert rows["Max processes"] == ["500"] * 2
    assert rows["Max open files"] == ["64"] * 2


def test_there_are_limits_or_none() -> None:
    assert not ResourceLimits()
    assert ResourceLimits(open_files=0)
