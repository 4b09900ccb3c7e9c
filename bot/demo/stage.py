"""A stage for the bot: the loopback Discord, the bot itself and an agent, all on this machine.

The demo and the end-to-end tests play on it. State and workspace are temporary unless given; HOME stays the real one,
so that a real agent finds its login. Settings come from the caller alone: those of a real bot in the environment must
neither lead the demo to a real Discord nor stop it.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from bot.agents.model import ONLY, AgentProfile, Agents
from bot.app import Bot, running_bot
from bot.config import Settings
from bot.demo.chosen_agent import DEMO_AGENT
from bot.demo.project import NoProject, make_project
from bot.model import Inbound, Outcome
from bot.preflight import RunSettings
from bot.sandbox import FakeDiscord, RateLimits

_READY_LIMIT = 30.0


class StageSettings(Settings):
    """Settings that are read from no environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the caller's values only."""
        # Neither the environment nor a `.env`: they may be those of a real bot.
        return (init_settings,)


@dataclass(slots=True)
class Stage:
    """The parts, and the outcomes so far by message id; ``no_project``: why there is none although one was wanted."""

    discord: FakeDiscord
    bot: Bot
    settings: Settings
    no_project: str = ""
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def record(self, inbound: Inbound, outcome: Outcome) -> None:
        """Keep an outcome; a message must never get two."""
        assert inbound.message_id not in self.outcomes, f"a second outcome, {outcome}, for {inbound.message_id}"
        self.outcomes[inbound.message_id] = outcome
        self._changed.set()
        self._changed = anyio.Event()

    async def outcome(self, message_id: int) -> Outcome:
        while message_id not in self.outcomes:
            await self._changed.wait()
        return self.outcomes[message_id]


@asynccontextmanager
async def stage(
    argv: tuple[str, ...] = DEMO_AGENT,
    *,
    rate_limits: RateLimits = RateLimits.REAL,
    directory: Path | None = None,
    invite: Callable[[FakeDiscord], dict[str, Any]] | None = None,
    agents: Callable[[FakeDiscord, str], Agents] | None = None,
    with_project: bool = False,
    **overrides: Any,
) -> AsyncIterator[Stage]:
    """Run everything until left; the bot is ready when the body begins.

    Args:
        directory: where ``state`` and ``workspace`` are made; a temporary one, removed at the end, if not given.
        invite: makes people and places before the bot starts, and returns settings with their ids.
        agents: names several agents in place of ``argv``, from the places and the workspace.
        with_project: threads work on the demo's project, if git is there.
        overrides: settings by their field names.
    """
    with tempfile.TemporaryDirectory(prefix="weft-demo-") as temporary:
        root = directory or Path(temporary)
        # Around the bot: at its end it still edits messages.
        async with FakeDiscord(rate_limits=rate_limits) as discord:
            invited = invite(discord) if invite else {}
            settings = stage_settings(
                root, token=discord.token, api_url=discord.api_url, argv=argv, **(overrides | invited)
            )
            workspace = settings.workspace or str(root)
            known, problem = _agent(argv, workspace, settings.agent_env, root), ""
            if agents is not None:
                known = agents(discord, workspace)
            elif with_project:
                known, problem = await _on_project(known, root, settings.state_dir, discord.channel_id)
            wanted = RunSettings(discord.token, known)
            async with running_bot(settings, wanted) as bot:
                on_stage = Stage(discord, bot, settings, problem)
                # Before it is ready: no outcome may come before somebody listens.
                bot.dispatcher.deliveries.listeners.append(on_stage.record)
                with anyio.fail_after(_READY_LIMIT):
                    await bot.ready.wait()
                yield on_stage


def _agent(argv: tuple[str, ...], workspace: str, env: tuple[str, ...], root: Path) -> Agents:
    # Its sessions go with everything else at the end; where real agents keep theirs is for them to say.
    fixed = {"XDG_STATE_HOME": str(root)} if argv == DEMO_AGENT else {}
    return Agents({ONLY: AgentProfile(ONLY, argv, workspace, env, fixed=fixed)}, ONLY, chosen=False)


async def _on_project(known: Agents, root: Path, state_dir: Path, channel_id: int) -> tuple[Agents, str]:
    """Return the agents with the demo's project for a channel; as they are, and why, if it can't be made."""
    try:
        project = await make_project(root, state_dir)
    except NoProject as exc:
        return known, str(exc)
    # Chosen: what a thread works on is kept with it.
    on_project = replace(
        known, chosen=True, projects={project.name: project}, channel_projects={channel_id: project.name}
    )
    return on_project, ""


def stage_settings(root: Path, *, token: str, api_url: str, argv: tuple[str, ...], **overrides: Any) -> Settings:
    """Return settings for a bot on this machine's Discord, with state and workspace below ``root``."""
    workspace = root / "workspace"
    workspace.mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "DISCORD_TOKEN": token,
        "discord_api": api_url,
        "agent_command": argv,
        "workspace": str(workspace),
        "state_dir": root / "state",
        "stop_grace": 0,  # leaving the demo does not wait for its turns
        "debounce": 0,  # and nobody else is there to wait for
        "welcome": False,  # it says itself what one can do
    }
    return StageSettings(**(values | overrides))
