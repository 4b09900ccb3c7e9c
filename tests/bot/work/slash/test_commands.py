"""Which commands of the agents are known when, and what a person gets who names one."""

from __future__ import annotations

import pytest

from acp.commands import AgentCommand
from bot.redaction import Redactor
from bot.work.slash.commands import NO_COMMANDS, nearest_names
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import PlayedSession, answer, kept, running_work

SECRET = "sesame-open-yourself"
COMMANDS = (AgentCommand("compact", "makes it short"), AgentCommand("review", f"{90 * 'd'} {SECRET}", "which part"))


def offering(session: PlayedSession) -> None:
    session.commands = COMMANDS
    answer(session)


@in_virtual_time
async def test_commands_are_known_while_the_agent_runs_after_it_has_ended_and_after_a_restart() -> None:
    """K3: in other threads of the same agent and server, too, where nothing else is known yet."""
    store = kept()
    async with running_work(store=store, redact=Redactor([SECRET]).text, hello=offering) as work:
        commands = work.dispatcher.commands
        assert commands.of(100, 1) == ()
        assert commands.prompt(100, 1, "review", "").accepted, "nothing is known, so nothing is refused"
        assert commands.prompt(100, 1, "a/b", "").text == NO_COMMANDS
        work.post(1)
        await work.over()
        assert commands.of(100, 1) == COMMANDS
        work.pool.evict(100)
        await work.settled()
        assert [one.description[88:] for one in commands.of(100, 1)] == ["", "dd [secret]"]
    async with running_work(store=store) as work:
        commands = work.dispatcher.commands
        assert [one.name for one in commands.of(100, 1)] == ["compact", "review"]
        assert [one.hint for one in commands.of(777, 1)] == ["", "which part"]
        assert commands.of(100, 2) == (), "another server learns nothing"
        assert commands.prompt(100, 1, " /review ", " src ").text == "/review src"
        refused = commands.prompt(100, 1, "nothing-like-it", "")
        assert not refused.accepted
        assert "no command `/nothing-like-it`" in refused.text


@pytest.mark.parametrize(
    ("typed", "found"),
    [("re", ["review", "reset"]), ("rveiw", ["review"]), ("COMP", ["Compact"]), ("zzz", []), ("", [])],
)
def test_the_nearest_names_are_those_that_begin_alike_and_those_with_a_slip(typed: str, found: list[str]) -> None:
    """K3."""
    assert nearest_names(typed, ["review", "reset", "Compact", "init"]) == found
