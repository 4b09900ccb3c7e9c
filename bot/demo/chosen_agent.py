"""Which agent the demo runs: its own, or the one that was asked for. Light: nothing of the bot is imported for ours."""

from __future__ import annotations

import sys
from pathlib import Path

from bot.usage import fail

DEMO_AGENT = (sys.executable, "-P", "-m", "bot.demo.agent")


def checked_agent(argv: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the command that starts the agent, from whatever directory; None means the demo's own.

    Raises:
        ConfigError: there is no such program.
    """
    if argv is None:
        return DEMO_AGENT
    from bot.config import ConfigError
    from bot.preflight import agent_problem

    # The agent starts in another directory, so a relative path must be made absolute.
    argv = (str(Path(argv[0]).absolute()), *argv[1:]) if argv and "/" in argv[0] else argv
    if problem := agent_problem(argv, "--agent"):
        raise ConfigError(problem)
    return argv


def agent_or_leave(argv: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return what `checked_agent` does; leave with a line that says what is wrong with it."""
    if argv is None:
        return checked_agent(None)
    from bot.config import ConfigError

    try:
        return checked_agent(argv)
    except ConfigError as exc:
        fail(*exc.problems)
