"""Turns in a row that ended without a word from the agent's model: its provider may refuse, or be overloaded (T7).

Agents retry then in silence, and tell nobody why. The mutable state is the count for each agent.
"""

from __future__ import annotations

import structlog

from bot.model import Outcome
from bot.reply.sanitise import inline_code

log = structlog.get_logger(__name__)

SUSPICIOUS = 3
"""Such turns in a row from which on the provider is suspected."""

_GIVEN_UP = (Outcome.STOPPED, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.AGENT_DIED)


class Silences:
    """Counts silent turns; an agent is known by its name."""

    def __init__(self) -> None:
        self._in_a_row: dict[str, int] = {}

    def ended(self, agent: str | None, outcome: Outcome, *, silent: bool) -> None:
        """Take the end of a turn; ``silent``: nothing was heard of the agent for long, with no tool at work."""
        name = agent or ""
        # Only an answer ends the row: a turn that a restart cut off says nothing about the provider.
        if outcome is Outcome.ANSWERED:
            self._in_a_row.pop(name, None)
        elif silent and outcome in _GIVEN_UP:
            count = self._in_a_row[name] = self._in_a_row.get(name, 0) + 1
            # At each further turn: the line of the first may have gone by unseen.
            if count >= SUSPICIOUS:
                log.warning("provider.suspected", agent=agent, turns=count)

    def describe(self, agent: str | None = None) -> list[str]:
        """Return a line for the agent of that name, or, without a name, for each agent that is suspected."""
        counts = self._in_a_row.items() if agent is None else [(agent, self._in_a_row.get(agent, 0))]
        return [
            f"⚠️ The last {count} turns{f' of {inline_code(name)}' if name else ''} ended without a word from its "
            "model: the provider may refuse or be overloaded. Check the agent's login, its limits, and the provider's "
            "status page."
            for name, count in counts
            if count >= SUSPICIOUS
        ]
