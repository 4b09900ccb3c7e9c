"""Agents for the tests: `scenario` says what one does, `scripted` does it; four real ones in `behaviours`, `offers`."""

from tests.agents.scenario import Entry, Gate, ScriptedAgent, Step, alive, scenario

__all__ = ["Entry", "Gate", "ScriptedAgent", "Step", "alive", "scenario"]
