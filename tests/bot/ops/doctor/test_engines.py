"""What the doctor makes of what an engine says of itself, and which agents it tries there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from acp.connection import ConnectionLimits
from acp.engine import LaunchSpec
from bot.agents import engines
from bot.agents.engines import EngineProfile
from bot.agents.model import AgentProfile, Agents
from bot.ops.doctor.engines import check_engine
from pool.engines.model import EngineFinding
from tests.agents import scenario
from tests.engines.nearby import NEARBY, NearbyEngine, NearbySettings

WELL = EngineFinding(ok=True, what="near-1: reached")
AWAY = EngineFinding(ok=False, what="near-2: Permission denied.", fix="add the key")


@pytest.mark.parametrize(
    ("found", "told", "tried"),
    [
        ([], [], True),
        ([AWAY], ["FAIL farm: near-2: Permission denied: add the key"], False),
        ([replace(AWAY, mild=True)], ["warn farm: near-2: Permission denied: add the key"], True),
    ],
)
@pytest.mark.asyncio
async def test_agents_are_tried_where_the_engine_can_start_them(
    found: list[EngineFinding], told: list[str], tried: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P14: also while a machine is away that it can do without, which only warns."""
    asked: list[LaunchSpec] = []

    async def check(self: NearbyEngine, *specs: LaunchSpec) -> Sequence[EngineFinding]:
        del self
        asked.extend(specs)
        return [WELL, *found]

    monkeypatch.setattr(engines, "KINDS", {"nearby": NEARBY})
    monkeypatch.setattr(NearbyEngine, "check", check)
    agent = AgentProfile("far", scenario(tmp_path).argv, f"{tmp_path}/there/{{thread_id}}", engine="farm", tools=False)
    agents = Agents({"far": agent, "near": replace(agent, name="near", engine=None)}, "far")
    profile = EngineProfile("farm", "nearby", NearbySettings())
    findings = await check_engine(profile, agents, {}, ConnectionLimits())
    lines = [f"{one.verdict} {one.text}" for one in findings if one.subject == "engine"]
    assert lines == ["ok farm: near-1: reached", *told]
    assert [spec.cwd for spec in asked] == [f"{tmp_path}/there"]
    assert [one.subject for one in findings[len(lines) :]] == (["initialize", "session"] if tried else [])
