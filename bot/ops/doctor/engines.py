"""Whether each engine can be reached and has what its agents need, and whether these start there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from acp.connection import ConnectionLimits
from bot.agents.engines import EngineProfile, ExtraMissing
from bot.agents.model import Agents, remote
from bot.ops.doctor.agents import check_agent
from bot.ops.doctor.finding import Finding, fail, ok, warn
from pool.engines.model import EngineFinding

STATE = "doctor"
"""Stands for the state to which the agents of a trial belong: no bot's."""


async def check_engine(
    profile: EngineProfile,
    agents: Agents,
    environment: Mapping[str, str],
    limits: ConnectionLimits,
    redact: Callable[[str], str] = str,
) -> list[Finding]:
    """Look at an engine, and try its agents there, one after the other, if nothing is wrong with it."""
    try:
        made = profile.make()
    except ExtraMissing as exc:
        return [fail("engine", f"{profile.name}: {exc}")]
    async with made as engine:
        # What an earlier trial left; a trial that is under way elsewhere has to be repeated.
        await engine.sweep(STATE)
        specs = {
            agent.name: remote(agent, environment, engine, STATE).errand(0)
            for agent in agents
            if agent.engine == profile.name
        }
        found = await engine.check(*specs.values())
        findings = [_finding(profile.name, one, redact) for one in found]
        if all(one.ok or one.mild for one in found):
            for name, spec in specs.items():
                # In its own directory: a temporary one of this machine is nothing to another.
                findings += await check_agent(name, replace(spec, session_cwd=spec.cwd), limits, redact)
        return findings


def _finding(name: str, one: EngineFinding, redact: Callable[[str], str]) -> Finding:
    text = redact(f"{name}: {one.what.rstrip('.')}: {one.fix}" if one.fix else f"{name}: {one.what}")
    return (ok if one.ok else warn if one.mild else fail)("engine", text)
