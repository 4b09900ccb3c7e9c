"""The agents of the demo's page: one agent, on a project, with rules and a budget that can be tried out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from bot.agents.model import AgentProfile, Agents
from bot.config import Settings
from bot.demo.assignment import Assignment
from bot.demo.chosen_agent import DEMO_AGENT
from bot.demo.project import NoProject, known_project
from bot.work.budget.limits import MILLION, Budget, Limit, Scope
from bot.work.permissions.rules import Rule, Rules

TWO_PEOPLE = Rules(two_person=(Rule(command="rm -rf*"), Rule(command="git push*")))
BUDGET = Budget({Scope.THREAD: Limit(money=MILLION // 2)})
"""A thread of the demo agent's gets far with it, unless its ``spend`` is tried."""


async def page_agents(assignment: Assignment, settings: Settings) -> tuple[Agents, str]:
    """Return the agents, and why threads have no project to work on, if they have none."""
    profile = _profile(assignment, settings)
    # What real agents cost is for whoever runs them to say.
    budget = BUDGET if assignment.argv == DEMO_AGENT else Budget()
    known = Agents({profile.name: profile}, profile.name, budget=budget)
    try:
        project = await known_project(Path(assignment.root), settings.state_dir)
    except NoProject as exc:
        # The demo goes on without: most of it can be tried all the same.
        return known, f"Threads have no project to work on here, since {exc}."
    places = (*assignment.channels, *assignment.forums)
    return replace(known, projects={project.name: project}, channel_projects=dict.fromkeys(places, project.name)), ""


def _profile(assignment: Assignment, settings: Settings) -> AgentProfile:
    ours = assignment.argv == DEMO_AGENT
    return AgentProfile(
        "demo" if ours else _name(assignment.argv[0]),
        assignment.argv,
        settings.workspace or assignment.root,
        assignment.agent_env,
        # Its sessions go with everything else at the end; where real agents keep theirs is for them to say.
        fixed={"XDG_STATE_HOME": assignment.root} if ours else {},
        rules=TWO_PEOPLE,
    )


def _name(program: str) -> str:
    """Return the name of a program as names of agents are written in `weft.toml`."""
    return re.sub(r"[^a-z0-9_-]+", "-", Path(program).name.lower()).strip("-")[:32] or "agent"
