"""Agents for the tests: `scenario` writes what one is to do, `scripted.py` does it, `manners` knows four real ones."""

from tests.agents.scenario import Entry, Gate, ScriptedAgent, Step, alive, scenario

__all__ = ["Entry", "Gate", "ScriptedAgent", "Step", "alive", "scenario"]
