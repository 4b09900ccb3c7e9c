"""Agents for the tests: `scenario` says what one does, `scripted.py` does it, `behaviours` has four real ones."""

from tests.agents.scenario import Entry, Gate, ScriptedAgent, Step, alive, scenario

__all__ = ["Entry", "Gate", "ScriptedAgent", "Step", "alive", "scenario"]
