"""What the bot tells of what happens in it, for whoever counts (pure).

Calls are made on the loop, where things happen: they must not wait and must not raise. Nothing is told for each chunk
of an answer. What a moment's state is, such as how many turns run, is not told but read when somebody asks.
"""

from __future__ import annotations

from bot.model import Lane, Outcome
from bot.work.report import TurnReport


class Observer:
    """Takes no notice; whoever wants to makes a class of it that does.

    Times are in seconds. No argument holds text, and no id but those in a `TurnReport`.
    """

    def prompt_accepted(self, lane: Lane) -> None:
        """A prompt is written down and waits for its turn, or was left waiting by an earlier run."""

    def prompt_ended(self, lane: Lane, outcome: Outcome) -> None:
        """A message has its outcome."""

    def turn_finished(self, report: TurnReport) -> None:
        """A turn is over and its reply delivered, or given up."""

    def reply_visible(self, lane: Lane, after: float) -> None:
        """The first message of a reply is in Discord, so long after the prompt came."""

    def discord_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Discord answered a request; ``status`` 0: it could not be reached. ``route`` is one of a few words."""

    def discord_limited(self, scope: str) -> None:
        """Discord refused a request for coming too soon (429)."""

    def gateway_opened(self, *, resumed: bool) -> None:
        """Events come from now on, in a new session of the gateway or in the one before."""

    def stored(self, seconds: float) -> None:
        """The store has carried out what it was asked, or holds it in memory."""
